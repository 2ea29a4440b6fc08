//! `weir box network`: the management port, a NIC in a network namespace of its own, so that what it
//! says and hears can never mix with what is bridged. Nothing listens there but what the settings ask
//! for, nothing is forwarded, and what goes wrong is tried again each second.
//!
//! Everything is done by comparing: the settings are read again each second, and where they say something
//! else than what was done, all of it is undone and done anew.

mod lease;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use weir_config::SourceFile;
use weir_config::settings::{self, ManagementAddress, NicName, Settings};
use weir_hw::nic::Configurator;
use weir_hw::sys::namespace::{open_or_make, within};

use self::lease::Lease;
use crate::clock::Kept;
use crate::setup::nics::index;

/// Where the namespace is.
pub const NAMESPACE: &str = "/run/netns/management";

/// What `show management` shows.
const STATUS: &str = "/run/weir-box/management";

/// How often all is compared.
const ROUND: Duration = Duration::from_secs(1);

/// How long udhcpc stays away after it has ended.
const PAUSE: Duration = Duration::from_secs(5);

/// Where things are.
#[derive(Clone, Debug)]
struct Places {
    namespace: PathBuf,
    settings: PathBuf,
    status: PathBuf,
    lease: PathBuf,
    /// The process number of udhcpc, for a successor of ours.
    pid: PathBuf,
    /// What udhcpc calls.
    script: PathBuf,
    busybox: PathBuf,
}

/// Looks after the management port until it is ended.
///
/// # Errors
/// When there can be no namespace.
pub fn main() -> io::Result<()> {
    let places = Places {
        namespace: NAMESPACE.into(),
        settings: settings::PATH.into(),
        status: STATUS.into(),
        lease: "/run/weir-box/lease".into(),
        pid: "/run/weir-box/udhcpc.pid".into(),
        script: "/usr/lib/weir/dhcp".into(),
        busybox: "/bin/busybox".into(),
    };
    let mut network = Network::new(places)?;
    loop {
        network.step();
        std::thread::sleep(ROUND);
    }
}

/// Prints how the management port is.
///
/// # Errors
/// When nobody looks after it.
pub fn show() -> io::Result<()> {
    let text = fs::read_to_string(STATUS)
        .map_err(|_| io::Error::other("nobody looks after the management port"))?;
    print!("{text}");
    Ok(())
}

/// The interfaces of the management namespace; none if there is no such.
pub(crate) fn nics() -> Vec<weir_hw::Nic> {
    let found = File::open(NAMESPACE).and_then(|namespace| within(&namespace, weir_hw::nics));
    found.and_then(|found| found).unwrap_or_default()
}

/// What the settings ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Wanted {
    nic: Option<NicName>,
    /// Never to be taken.
    bridged: Vec<NicName>,
    addresses: Vec<ManagementAddress>,
    gateways: Vec<IpAddr>,
    ntp: Vec<IpAddr>,
}

impl Wanted {
    fn of(settings: &Settings) -> Self {
        let management = &settings.management;
        Self {
            nic: management.nic.clone(),
            bridged: [&settings.ports.lan, &settings.ports.wan]
                .into_iter()
                .flatten()
                .cloned()
                .collect(),
            addresses: management.addresses.clone(),
            gateways: management.gateways.clone(),
            ntp: settings.clock.ntp.clone(),
        }
    }

    fn has(&self, address: ManagementAddress) -> bool {
        self.addresses.contains(&address)
    }
}

/// udhcpc.
#[derive(Debug)]
struct Dhcp {
    child: Option<Child>,
    /// It is not started before.
    until: Option<Instant>,
    lease: Option<Lease>,
}

/// All there is to look after.
struct Network {
    places: Places,
    namespace: OwnedFd,
    /// The namespace that NICs come from.
    home: OwnedFd,
    outside: Configurator,
    inside: Configurator,
    clock: Kept,
    /// The text of the settings that was read last.
    text: Option<String>,
    wanted: Wanted,
    /// The name of the NIC that was set up.
    port: Option<String>,
    dhcp: Option<Dhcp>,
    /// What was complained of, once each.
    complaints: HashSet<String>,
    trouble: Option<String>,
}

impl Network {
    fn new(places: Places) -> io::Result<Self> {
        end_leftover(&places.pid);
        let _ = fs::remove_file(&places.lease);
        let home = File::open("/proc/thread-self/ns/net")?.into();
        let outside = Configurator::new()?;
        let namespace = open_or_make(&places.namespace)?;
        let (inside, clock) = within(&namespace, || (Configurator::new(), Kept::start()))?;
        let mut network = Self {
            places,
            namespace,
            home,
            outside,
            inside: inside?,
            clock: clock?,
            text: None,
            wanted: Wanted::default(),
            port: None,
            dhcp: None,
            complaints: HashSet::new(),
            trouble: None,
        };
        network.inside.set_up("lo", true)?;
        // A forwarding host would be a way around the firewall.
        for key in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            network.sysctl(key, "0")?;
        }
        Ok(network)
    }

    /// Does what is to be done now.
    fn step(&mut self) {
        self.read_settings();
        let mut trouble = self.keep_port().err().map(|error| error.to_string());
        if let Some(dhcp) = self.keep_dhcp().err() {
            trouble.get_or_insert_with(|| format!("DHCP: {dhcp}"));
        }
        if let Some(new) = trouble.as_ref().filter(|new| self.trouble.as_ref() != Some(*new)) {
            self.complain(&new.clone());
        }
        self.trouble = trouble;
        let status = self.status();
        // Nobody but a person reads it.
        if fs::read_to_string(&self.places.status).ok().as_ref() != Some(&status) {
            let new = self.places.status.with_extension("new");
            let _ = fs::write(&new, status).and_then(|()| fs::rename(&new, &self.places.status));
        }
    }

    /// Says something once.
    fn complain(&mut self, text: &str) {
        // Bounded whatever happens: who has said so much is not listened to.
        if self.complaints.len() < 1000 && self.complaints.insert(text.to_owned()) {
            eprintln!("weir: management port: {text}");
        }
    }

    fn read_settings(&mut self) {
        let text = fs::read_to_string(&self.places.settings).unwrap_or_default();
        if self.text.as_ref() == Some(&text) {
            return;
        }
        match settings::parse(&SourceFile::new(settings::PATH, &*text)) {
            Ok(settings) => {
                let wanted = Wanted::of(&settings);
                if wanted.ntp != self.wanted.ntp {
                    self.clock.follow(&wanted.ntp);
                }
                let same = Wanted { ntp: Vec::new(), ..wanted.clone() }
                    == Wanted { ntp: Vec::new(), ..self.wanted.clone() };
                if !same {
                    self.undo();
                }
                self.wanted = wanted;
            }
            Err(_) => self.complain("the settings are broken: it stays as it was"),
        }
        self.text = Some(text);
    }

    /// Gives the NIC back, without addresses.
    fn undo(&mut self) {
        self.end_dhcp();
        let Some(name) = self.port.take() else { return };
        let undone = self
            .inside
            .set_up(&name, false)
            .and_then(|()| self.inside.move_to(&name, self.home.as_fd()));
        if let Err(error) = undone {
            self.complain(&format!("{name} is not given back: {error}"));
        }
    }

    fn end_dhcp(&mut self) {
        if let Some(Dhcp { child: Some(mut child), .. }) = self.dhcp.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_file(&self.places.lease);
    }

    /// Sets the NIC up, if it is not.
    fn keep_port(&mut self) -> io::Result<()> {
        let Some(wanted) = self.wanted.nic.clone() else { return Ok(()) };
        if let Some(name) = self.port.clone() {
            // One that was pulled out comes back as a new one.
            if self.inside.has_link(&name).is_ok() {
                return Ok(());
            }
            self.end_dhcp();
            self.port = None;
        }
        let name = self.fetch(&wanted)?;
        self.port = Some(name.clone());
        let set_up = self.set_up(&name);
        if set_up.is_err() {
            // Tried anew from the beginning: half of it is worth nothing.
            self.undo();
        }
        set_up
    }

    /// Has the NIC in the namespace, and tells its name there.
    fn fetch(&mut self, wanted: &NicName) -> io::Result<String> {
        let inside = within(&self.namespace, weir_hw::nics)??;
        if let Some(at) = index(&inside, Some(wanted)) {
            return Ok(inside[at].name.clone());
        }
        let outside = weir_hw::nics()?;
        let Some(at) = index(&outside, Some(wanted)) else {
            return Err(io::Error::other(format!("there is no {wanted}")));
        };
        if self.wanted.bridged.iter().any(|port| index(&outside, Some(port)) == Some(at)) {
            return Err(io::Error::other(format!("{wanted} is a port of the bridge")));
        }
        let name = outside[at].name.clone();
        self.outside.move_to(&name, self.namespace.as_fd())?;
        Ok(name)
    }

    fn set_up(&mut self, name: &str) -> io::Result<()> {
        let slaac = self.wanted.has(ManagementAddress::Slaac);
        let fixed = self.wanted.addresses.iter().filter_map(|address| match address {
            ManagementAddress::Fixed(net) => Some(*net),
            _ => None,
        });
        let fixed: Vec<_> = fixed.collect();
        let v6 = slaac || fixed.iter().any(|net| net.addr().is_ipv6());
        let on = |on: bool| if on { "1" } else { "0" };
        for (key, value) in [
            ("disable_ipv6", on(!v6)),
            ("accept_ra", on(slaac)),
            ("autoconf", on(slaac)),
            ("accept_redirects", "0"),
        ] {
            self.sysctl(&format!("ipv6/conf/{name}/{key}"), value)?;
        }
        self.sysctl(&format!("ipv4/conf/{name}/accept_redirects"), "0")?;
        // What is left of another process that did this.
        for (ip, prefix) in self.inside.addresses(name)? {
            self.inside.remove_address(name, ip, prefix)?;
        }
        self.inside.set_up(name, true)?;
        for net in fixed {
            self.inside.add_address(name, net.addr(), net.prefix_len())?;
        }
        for gateway in self.wanted.gateways.clone() {
            self.inside.set_gateway(name, gateway).map_err(|error| {
                io::Error::new(error.kind(), format!("gateway {gateway}: {error}"))
            })?;
        }
        Ok(())
    }

    /// Has udhcpc run, if it is wanted, and does what it has learnt.
    fn keep_dhcp(&mut self) -> io::Result<()> {
        let Some(name) = self.port.clone() else { return Ok(()) };
        if !self.wanted.has(ManagementAddress::Dhcp) {
            return Ok(());
        }
        let dhcp = self.dhcp.get_or_insert(Dhcp { child: None, until: None, lease: None });
        let ended = dhcp.child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)));
        if ended {
            dhcp.child = None;
            dhcp.until = Some(Instant::now() + PAUSE);
        }
        if dhcp.child.is_none() && dhcp.until.is_none_or(|until| Instant::now() >= until) {
            // Set first, so that a failure is not repeated at once.
            dhcp.until = Some(Instant::now() + PAUSE);
            let mut command = udhcpc(&self.places, &name);
            let child = within(&self.namespace, || command.spawn())??;
            let _ = fs::write(&self.places.pid, child.id().to_string());
            dhcp.child = Some(child);
        }
        let text = fs::read_to_string(&self.places.lease).unwrap_or_default();
        let lease = lease::read(&text);
        if lease == dhcp.lease {
            return Ok(());
        }
        let before = dhcp.lease.take();
        let moves = |other: &Option<Lease>, one: &Lease| {
            other
                .as_ref()
                .is_none_or(|other| (other.address, other.prefix) != (one.address, one.prefix))
        };
        if let Some(before) = before.filter(|before| moves(&lease, before)) {
            // It may be gone with the interface.
            let _ = self.inside.remove_address(&name, before.address.into(), before.prefix);
        }
        if let Some(lease) = &lease {
            self.inside.add_address(&name, lease.address.into(), lease.prefix)?;
            // A gateway that was typed is meant.
            let typed = self.wanted.gateways.iter().any(IpAddr::is_ipv4);
            if let Some(router) = lease.router.filter(|_| !typed) {
                self.inside.set_gateway(&name, router.into())?;
            }
        }
        if let Some(dhcp) = &mut self.dhcp {
            dhcp.lease = lease;
        }
        Ok(())
    }

    /// Sets a key of `net` in the namespace; a protocol that the kernel does not have has none.
    fn sysctl(&self, key: &str, value: &str) -> io::Result<()> {
        let path = Path::new("/proc/sys/net").join(key);
        match within(&self.namespace, || fs::write(&path, value))? {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io::Error::new(error.kind(), format!("net/{key}: {error}")))
            }
            _ => Ok(()),
        }
    }

    fn status(&mut self) -> String {
        let mut text = String::new();
        let _ = match (&self.wanted.nic, &self.port) {
            (None, _) => writeln!(text, "there is no management port"),
            (Some(nic), None) => writeln!(text, "interface {nic}: not there"),
            (Some(nic), Some(name)) => {
                let link = self.inside.has_link(name).unwrap_or(false);
                writeln!(
                    text,
                    "interface {name} ({nic}), link {}",
                    if link { "up" } else { "down" }
                )
            }
        };
        if let Some(name) = &self.port {
            let lease = self.dhcp.as_ref().and_then(|dhcp| dhcp.lease.as_ref());
            for (ip, prefix) in self.inside.addresses(name).unwrap_or_default() {
                let leased = lease.filter(|lease| IpAddr::from(lease.address) == ip);
                let from = match leased.map(|lease| lease.seconds) {
                    None => String::new(),
                    Some(None) => " (DHCP)".to_owned(),
                    Some(Some(seconds)) => format!(" (DHCP, for {seconds} s)"),
                };
                let _ = writeln!(text, "address {ip}/{prefix}{from}");
            }
            if self.wanted.has(ManagementAddress::Dhcp) && lease.is_none() {
                text.push_str("address: waiting for DHCP\n");
            }
            let typed = self.wanted.gateways.iter().map(ToString::to_string);
            let given = lease.and_then(|lease| lease.router).map(|router| router.to_string());
            for gateway in
                typed.chain(given.filter(|_| !self.wanted.gateways.iter().any(IpAddr::is_ipv4)))
            {
                let _ = writeln!(text, "gateway {gateway}");
            }
        }
        text.push_str(&self.clock.said());
        if let Some(trouble) = &self.trouble {
            let _ = writeln!(text, "trouble: {trouble}");
        }
        text
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.end_dhcp();
    }
}

/// Ends the udhcpc of a process like this one that did not end by itself.
fn end_leftover(pid: &Path) {
    let text = fs::read_to_string(pid).unwrap_or_default();
    let Some(pid) = text.trim().parse().ok().and_then(Pid::from_raw) else { return };
    // The number may be somebody else's by now.
    let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    if line.split(|&byte| byte == 0).nth(1) == Some(b"udhcpc") {
        let _ = kill_process(pid, Signal::KILL);
    }
}

fn udhcpc(places: &Places, name: &str) -> Command {
    let mut command = Command::new(&places.busybox);
    command
        .args(["udhcpc", "-f", "-i", name, "-t", "5", "-T", "3", "-A", "10", "-s"])
        .arg(&places.script)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("WEIR_LEASE", &places.lease)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}
