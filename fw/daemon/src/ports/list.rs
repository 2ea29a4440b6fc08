//! `weir nics`: what interfaces there are, what they can, and which two to bridge.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde::Serialize;
use weir_config::settings::NicName;
use weir_hw::inventory::{Driver, ZeroCopy, recommend};
use weir_hw::{Nic, nics};

/// What `weir nics` is called with.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Arguments {
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Lists the interfaces.
pub fn main(arguments: &Arguments) -> ExitCode {
    let found = match nics() {
        Ok(found) => found,
        Err(error) => {
            eprintln!("weir: cannot list interfaces: {error}");
            return ExitCode::FAILURE;
        }
    };
    if arguments.json {
        println!("{}", json(&found));
    } else {
        print!("{}", text(&found));
    }
    ExitCode::SUCCESS
}

/// The kinds of port that an interface can be, the fastest first, as `--io` names them.
fn kinds(driver: Option<&Driver>) -> Vec<&'static str> {
    let mut kinds = vec!["packet"];
    if driver.is_some_and(|driver| driver.xdp) {
        kinds.insert(0, "xdp");
    }
    if driver.is_some_and(|driver| driver.netmap) {
        kinds.insert(0, "netmap");
    }
    kinds
}

/// What is said about its speed as a port.
fn abilities(nic: &Nic) -> String {
    let Some(driver) = nic.known() else {
        return "packet; others have to be tried, the driver is not on weir's list".to_owned();
    };
    let words = kinds(Some(driver)).into_iter().map(|kind| match (kind, driver.zero_copy) {
        ("xdp", ZeroCopy::Since(release)) => format!("xdp (zero-copy since Linux {release})"),
        ("xdp", ZeroCopy::No) => "xdp (copies)".to_owned(),
        ("netmap", _) => "netmap (native)".to_owned(),
        _ => kind.to_owned(),
    });
    words.collect::<Vec<_>>().join(", ")
}

fn text(nics: &[Nic]) -> String {
    let mut out = String::new();
    for nic in nics {
        let driver = nic.driver.as_deref().or(nic.kind.as_deref()).unwrap_or("unknown driver");
        let _ = writeln!(out, "{}: {driver}, {}", nic.name, link(nic));
        let place = nic.pci.as_ref().map(|path| format!("  pci:{path}")).unwrap_or_default();
        let node = nic.node.map(|node| format!("  node {node}")).unwrap_or_default();
        let _ = writeln!(out, "    {}{place}{node}", NicName::Mac(nic.mac));
        let _ = writeln!(out, "    mtu {}  queues {} of {}", nic.mtu, nic.queues, nic.most_queues);
        let _ = writeln!(out, "    ports: {}", abilities(nic));
        let mut uses = nic.addresses.clone();
        uses.extend(nic.default_route.then(|| "default route".to_owned()));
        uses.extend(nic.master.as_ref().map(|master| format!("belongs to {master}")));
        if !uses.is_empty() {
            let _ = writeln!(out, "    in use: {}", uses.join(", "));
        }
    }
    match recommend(nics) {
        Ok(found) => {
            let [one, other] = &found.pair;
            let _ = writeln!(out, "\nTo bridge: {one} and {other}: {}.", found.why.join("; "));
        }
        Err(why) => {
            let why = if why.is_empty() { String::new() } else { format!(": {}", why.join("; ")) };
            let _ = writeln!(out, "\nThere are no two interfaces to bridge{why}.");
        }
    }
    out
}

fn link(nic: &Nic) -> String {
    match (nic.carrier, nic.speed) {
        (None, _) => "down".to_owned(),
        (Some(false), _) => "no link".to_owned(),
        (Some(true), None) => "link".to_owned(),
        (Some(true), Some(speed)) => {
            let half = if nic.full_duplex == Some(false) { " half duplex" } else { "" };
            format!("{speed} Mbit/s{half}")
        }
    }
}

/// An interface in `--json`. What is not known is null.
#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    driver: Option<&'a str>,
    kind: Option<&'a str>,
    mac: String,
    pci: Option<&'a str>,
    numa_node: Option<u32>,
    mtu: u32,
    up: bool,
    link: Option<bool>,
    /// Mbit/s.
    speed: Option<u32>,
    full_duplex: Option<bool>,
    queues: u32,
    max_queues: u32,
    ports: Vec<&'static str>,
    /// The release of Linux since which the driver can; null if it cannot or is not known.
    xdp_zero_copy_since: Option<&'static str>,
    addresses: &'a [String],
    default_route: bool,
    master: Option<&'a str>,
}

#[derive(Serialize)]
struct Listing<'a> {
    nics: Vec<Entry<'a>>,
    /// Two names, or null.
    bridge: Option<[String; 2]>,
    why: Vec<String>,
}

fn json(nics: &[Nic]) -> String {
    let entries = nics.iter().map(|nic| Entry {
        name: &nic.name,
        driver: nic.driver.as_deref(),
        kind: nic.kind.as_deref(),
        mac: NicName::Mac(nic.mac).to_string().replacen("mac:", "", 1),
        pci: nic.pci.as_deref(),
        numa_node: nic.node,
        mtu: nic.mtu,
        up: nic.up,
        link: nic.carrier,
        speed: nic.speed,
        full_duplex: nic.full_duplex,
        queues: nic.queues,
        max_queues: nic.most_queues,
        ports: kinds(nic.known()),
        xdp_zero_copy_since: nic.known().and_then(|driver| match driver.zero_copy {
            ZeroCopy::Since(release) => Some(release),
            ZeroCopy::No => None,
        }),
        addresses: &nic.addresses,
        default_route: nic.default_route,
        master: nic.master.as_deref(),
    });
    let nics_listed = entries.collect();
    let (bridge, why) = match recommend(nics) {
        Ok(found) => (Some(found.pair), found.why),
        Err(why) => (None, why),
    };
    let listing = Listing { nics: nics_listed, bridge, why };
    // Strings, numbers and lists: nothing in it can fail.
    serde_json::to_string(&listing).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn igc(name: &str) -> Nic {
        Nic {
            name: name.into(),
            mac: [0x52, 0x54, 0, 0x12, 0x34, 0x56],
            mtu: 1500,
            up: true,
            carrier: Some(true),
            speed: Some(2500),
            full_duplex: Some(true),
            driver: Some("igc".into()),
            pci: Some("0000:01:00.0".into()),
            node: Some(0),
            queues: 4,
            most_queues: 4,
            ..Nic::default()
        }
    }

    #[test]
    fn a_listing_says_what_there_is_and_what_to_take() {
        let mut office = igc("eno1");
        office.addresses.push("192.0.2.7/24".into());
        office.default_route = true;
        let said = text(&[office, igc("eno2"), igc("eno3")]);
        assert!(said.starts_with(
            "eno1: igc, 2500 Mbit/s\n    mac:52:54:00:12:34:56  pci:0000:01:00.0  node 0\n    mtu 1500  \
             queues 4 of 4\n    ports: netmap (native), xdp (zero-copy since Linux 5.14), packet\n    \
             in use: 192.0.2.7/24, default route\neno2: "
        ), "{said}");
        assert!(said.ends_with(
            "To bridge: eno2 and eno3: neither has an address or a route; same driver (igc); same \
             speed (2500 Mbit/s); same NUMA node (0).\n"
        ), "{said}");
        assert!(text(&[igc("eno2")]).ends_with("\nThere are no two interfaces to bridge.\n"));
    }

    #[test]
    fn json_has_the_same() {
        let strange = Nic { driver: Some("strange".into()), up: false, ..Nic::default() };
        let said: serde_json::Value =
            serde_json::from_str(&json(&[igc("a"), igc("b"), strange])).unwrap();
        assert_eq!(said["bridge"], serde_json::json!(["a", "b"]));
        assert_eq!(said["nics"][0]["speed"], 2500);
        assert_eq!(said["nics"][0]["xdp_zero_copy_since"], "5.14");
        assert_eq!(said["nics"][2]["ports"], serde_json::json!(["packet"]));
        assert_eq!(said["nics"][2]["link"], serde_json::Value::Null);
    }
}
