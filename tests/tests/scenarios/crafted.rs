//! Fragments, options and extension headers as attackers make them, by scapy.

use std::collections::BTreeMap;
use std::path::Path;

use weir_engine::Reason;
use weir_tests::lab::{Capture, Family, Io, Lab, PATIENCE, Weir, WeirOptions, eventually};

use crate::{counter_in, on_every_io};

on_every_io! {
    nothing_that_scapy_crafts_gets_through
}

/// By which reasons the frames of each attack are dropped, and how many by each.
type Attacks = BTreeMap<String, BTreeMap<String, u64>>;

/// The rules pass everything, so that what is dropped is dropped for what it is. Long pings of both
/// families go on in fragments meanwhile, from the same host.
fn nothing_that_scapy_crafts_gets_through(io: Io) {
    let lab = Lab::new();
    let rules = "set timeout frag 2\nset limit frags 2000\npass\n";
    let weir = Weir::start(&lab, &WeirOptions::new(io, rules));
    // Frames that came before the rules did.
    weir.show(&["-F", "info"]);
    let far = Capture::start(&lab.server.namespace, "eth0", "ip or ip6");
    let pings = [Family::Inet, Family::Inet6].map(|family| {
        let to = lab.server.address(family).to_string();
        let ping = ["ping", "-q", "-n", "-i", "0.05", "-c", "100", "-s", "4000", &to];
        lab.client.namespace.start(&ping)
    });

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/crafted.py");
    let macs =
        [&lab.client, &lab.server].map(|host| host.mac.map(|b| format!("{b:02x}")).join(":"));
    let addresses = [Family::Inet, Family::Inet6]
        .map(|family| [&lab.client, &lab.server].map(|host| host.address(family).to_string()));
    let script = script.to_string_lossy();
    // Not the first python3 there is: scapy is the distribution's.
    let mut command = vec!["/usr/bin/python3", &*script];
    command.extend(macs.iter().chain(addresses.as_flattened()).map(String::as_str));
    let said = lab.client.run(&command).expect_success();
    let attacks: Attacks = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"));
    assert!(attacks.len() >= 40, "{said}");

    let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
    for (reason, count) in attacks.values().flatten() {
        *expected.entry(reason).or_default() += count;
    }
    let dropped = || {
        let info = weir.show(&["-s", "info"]);
        let counted =
            Reason::ALL.iter().map(|reason| (reason.name(), counter_in(&info, reason.name())));
        counted.filter(|&(_, count)| count > 0).collect::<BTreeMap<_, _>>()
    };
    let all = expected.values().sum();
    eventually("all of it is dropped", || dropped().values().sum::<u64>() >= all);
    assert_eq!(dropped(), expected, "{attacks:#?}");
    for mut ping in pings {
        let (status, said) = ping.finish(PATIENCE);
        assert!(status.success() && said.contains(" 0% packet loss"), "{said}");
    }
    let seen = |text: &[u8]| far.count(|frame| frame.windows(text.len()).any(|w| w == text));
    eventually("harmless fragments and their answers", || seen(b"harmless") == 4);
    assert_eq!(seen(b"EVIL"), 0);
    // Not even one fragment of anything passed, nor was any put together.
    assert_eq!(dropped(), expected);
}
