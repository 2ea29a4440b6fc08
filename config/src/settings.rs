//! The settings file, `/etc/weir/weir.toml`: which ports, how frames are moved, where things are.
//!
//! ```toml
//! rules = "/etc/weir/weir.conf"      # the rule file
//! socket = "/run/weir/weir.sock"     # the control socket
//! state_dir = "/var/lib/weir"        # where the last good rules are kept
//! log = "stderr"                     # packet log: "stderr", or the path of a file
//!
//! [ports]
//! lan = "eth1"                       # interface of the protected network: its name,
//!                                    # "mac:52:54:00:12:34:56" or "pci:0000:01:00.0"; or --lan
//! wan = "eth0"                       # interface towards the router; or --wan
//! io = "auto"                        # auto, netmap, xdp or packet
//! busy_poll = false                  # whether workers never sleep
//! workers = 0                        # 0: the daemon decides
//! lan_prefixes = []                  # networks behind the port, as in ["192.0.2.0/24"]: what
//! wan_prefixes = []                  # `antispoof for` and `urpf-failed` of the rules go by
//! propagate_link = true              # a port without a link takes the other one's down
//!
//! [threads]
//! share_cores = false                # whether two workers may be on one core
//! realtime = 0                       # 1 to 99: priority of the workers over all else; 0: none
//!
//! [nics]
//! tune = true                        # set queues, rings, hash, flow control, interrupts
//! ring = 0                           # entries in each ring; 0: most that the NIC can (2^n)
//! interrupt_usecs = 10               # how long a NIC may gather frames before it interrupts
//! flow_control = false               # whether pause frames are obeyed and sent
//!
//! [memory]
//! states = 1000000                   # how many states memory is reserved for
//! ```
//!
//! Every key may be left out; the values above are the defaults, except that `lan` and `wan` have
//! none. What is not known is refused. Reading is pure: text in, checked values or findings out.

mod nic_name;

use std::net::IpAddr;
use std::ops::Range;
use std::path::PathBuf;

use ipnet::IpNet;
pub use nic_name::NicName;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::environment::PortPrefixes;
use crate::parse::nearest;
use crate::source::{Places, SourceFile, Span};

/// What the settings file says, defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `[ports]`.
    pub ports: Ports,
    /// `[threads]`.
    pub threads: Threads,
    /// `[nics]`.
    pub nics: Nics,
    /// `rules`: path of the rule file.
    pub rules: PathBuf,
    /// `socket`: path of the control socket.
    pub socket: PathBuf,
    /// `state_dir`: folder for what outlives the process.
    pub state_dir: PathBuf,
    /// `log`: where packets are logged.
    pub log: Log,
    /// `[memory]`.
    pub memory: Memory,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ports: Ports::default(),
            threads: Threads::default(),
            nics: Nics::default(),
            rules: "/etc/weir/weir.conf".into(),
            socket: "/run/weir/weir.sock".into(),
            state_dir: "/var/lib/weir".into(),
            log: Log::Stderr,
            memory: Memory::default(),
        }
    }
}

/// `[ports]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Interface of the protected network.
    pub lan: Option<NicName>,
    /// Interface towards the router; another one than `lan`.
    pub wan: Option<NicName>,
    /// How frames are moved.
    pub io: Io,
    /// Whether workers never sleep, but ask the ports again and again.
    pub busy_poll: bool,
    /// 1 to 1024 workers; `None` leaves it to the daemon.
    pub workers: Option<u16>,
    /// The networks behind `lan`, host bits cleared.
    pub lan_prefixes: Vec<IpNet>,
    /// The networks behind `wan`.
    pub wan_prefixes: Vec<IpNet>,
    /// Whether the loss of one port's link is passed on to the other.
    pub propagate_link: bool,
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            lan: None,
            wan: None,
            io: Io::default(),
            busy_poll: false,
            workers: None,
            lan_prefixes: Vec::new(),
            wan_prefixes: Vec::new(),
            propagate_link: true,
        }
    }
}

impl Ports {
    /// What is behind the ports, by their roles and the names of their interfaces.
    pub fn prefixes(&self) -> Vec<PortPrefixes> {
        [("lan", &self.lan, &self.lan_prefixes), ("wan", &self.wan, &self.wan_prefixes)]
            .into_iter()
            .map(|(role, interface, nets)| PortPrefixes {
                names: std::iter::once(role)
                    .chain(interface.as_ref().and_then(NicName::interface))
                    .map(str::to_owned)
                    .collect(),
                nets: nets.clone(),
            })
            .collect()
    }
}

/// `[threads]`: how workers run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Threads {
    /// Whether two workers may be on one core.
    pub share_cores: bool,
    /// Priority of the workers among real-time threads, 1 to 99; `None`: they are ordinary threads.
    pub realtime: Option<u8>,
}

/// `[nics]`: what is set on the interfaces while weir runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nics {
    /// Whether anything is.
    pub tune: bool,
    /// Entries in each ring; `None`: the largest power of two that there can be.
    pub ring: Option<u32>,
    /// Microseconds that a NIC may gather frames for before it interrupts, at most
    /// [`MAX_INTERRUPT_USECS`].
    pub interrupt_usecs: u32,
    /// Whether pause frames are obeyed and sent.
    pub flow_control: bool,
}

impl Default for Nics {
    fn default() -> Self {
        Self { tune: true, ring: None, interrupt_usecs: 10, flow_control: false }
    }
}

/// `io`: how frames are moved. Whether a kind can be had is the daemon's to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Io {
    /// The best that works.
    #[default]
    Auto,
    /// netmap rings.
    Netmap,
    /// `AF_XDP`.
    Xdp,
    /// `AF_PACKET`.
    Packet,
}

impl Io {
    /// The names, as `--io` takes them too.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("auto", Self::Auto),
        ("netmap", Self::Netmap),
        ("xdp", Self::Xdp),
        ("packet", Self::Packet),
    ];
}

/// `log`: where packets are logged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Log {
    /// Standard error.
    #[default]
    Stderr,
    /// A file, appended to.
    File(PathBuf),
}

/// `[memory]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// How many states memory is reserved for, over all workers: at least 1. `set limit states` of
    /// the rules works within it.
    pub states: u32,
}

impl Default for Memory {
    fn default() -> Self {
        Self { states: 1_000_000 }
    }
}

/// Where the settings file is if nobody says otherwise; it may be absent there.
pub const PATH: &str = "/etc/weir/weir.toml";

/// The most workers that can be asked for.
pub const MAX_WORKERS: u16 = 1024;

/// The longest time to gather frames for, in microseconds.
pub const MAX_INTERRUPT_USECS: u32 = 10_000;

/// The longest settings file, in bytes.
pub const MAX_TEXT: usize = 1 << 20;

/// Every key and the section it belongs to; the empty one is the file's top.
const KEYS: &[(&str, &str)] = &[
    ("", "rules"),
    ("", "socket"),
    ("", "state_dir"),
    ("", "log"),
    ("ports", "lan"),
    ("ports", "wan"),
    ("ports", "io"),
    ("ports", "busy_poll"),
    ("ports", "workers"),
    ("ports", "lan_prefixes"),
    ("ports", "wan_prefixes"),
    ("ports", "propagate_link"),
    ("threads", "share_cores"),
    ("threads", "realtime"),
    ("nics", "tune"),
    ("nics", "ring"),
    ("nics", "interrupt_usecs"),
    ("nics", "flow_control"),
    ("memory", "states"),
];

/// The sections.
const SECTIONS: &[&str] = &["ports", "threads", "nics", "memory"];

/// Reads the settings file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(file: &SourceFile) -> Result<Settings, Diagnostics> {
    let mut reader = Reader { file, settings: Settings::default(), found: Diagnostics::default() };
    if file.text.len() > MAX_TEXT {
        reader.error(&(0..0), format!("the settings file is longer than {MAX_TEXT} bytes"));
        return Err(reader.found);
    }
    let (table, errors) = DeTable::parse_recoverable(&file.text);
    for error in errors {
        reader.error(&error.span().unwrap_or(0..0), error.message().replace('\n', ", "));
    }
    if reader.found.is_empty() {
        reader.top(table.get_ref());
    }
    reader.found.sort_from(0);
    if reader.found.is_empty() { Ok(reader.settings) } else { Err(reader.found) }
}

struct Reader<'f> {
    file: &'f SourceFile,
    settings: Settings,
    found: Diagnostics,
}

impl Reader<'_> {
    fn error(&mut self, at: &Range<usize>, message: String) {
        let text = &self.file.text;
        let start = at.start.min(text.len());
        let span = Span { file: 0, start: start as u32, end: at.end.min(text.len()) as u32 };
        let places = Places::new(std::slice::from_ref(self.file));
        let Some(place) = places.place(span) else { return };
        self.found.push(Diagnostic {
            severity: Severity::Error,
            message,
            place,
            expected: Vec::new(),
            notes: Vec::new(),
        });
    }

    fn top(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            match value.get_ref() {
                DeValue::Table(section) if SECTIONS.contains(&name) => {
                    for (key, value) in section {
                        self.entry(name, key, value);
                    }
                }
                _ if SECTIONS.contains(&name) => {
                    self.error(&key.span(), format!("`{name}` is a section: write `[{name}]`"));
                }
                DeValue::Table(_) => self.unknown("section", key, SECTIONS.iter().copied()),
                _ => self.entry("", key, value),
            }
        }
        if let (Some(lan), Some(wan)) = (&self.settings.ports.lan, &self.settings.ports.wan)
            && lan == wan
        {
            let message = format!("`lan` and `wan` are both `{lan}`: a bridge has two ports");
            let at = table.get("ports").map_or(0..0, Spanned::span);
            self.error(&at, message);
        }
    }

    fn unknown(
        &mut self,
        what: &str,
        key: &Spanned<toml::de::DeString<'_>>,
        known: impl Iterator<Item = &'static str>,
    ) {
        let name = key.get_ref();
        let shown: String = name.chars().take(40).flat_map(char::escape_debug).collect();
        let message = match nearest(name, known) {
            Some(near) => format!("unknown {what} `{shown}`, did you mean `{near}`?"),
            None => format!("unknown {what} `{shown}`"),
        };
        self.error(&key.span(), message);
    }

    fn entry(
        &mut self,
        section: &str,
        key: &Spanned<toml::de::DeString<'_>>,
        value: &Spanned<DeValue<'_>>,
    ) {
        let name = key.get_ref().as_ref();
        if !KEYS.contains(&(section, name)) {
            let home = KEYS.iter().find(|(_, known)| *known == name);
            match home {
                Some(("", _)) => {
                    let message = format!("`{name}` must stand before the first section");
                    self.error(&key.span(), message);
                }
                Some((home, _)) => {
                    self.error(&key.span(), format!("`{name}` belongs to the section [{home}]"));
                }
                None => {
                    let here = KEYS.iter().filter(|(known, _)| *known == section);
                    self.unknown("key", key, here.map(|&(_, name)| name));
                }
            }
            return;
        }
        match name {
            "states" => {
                if let Some(states) = self.integer(name, value, 1, u32::MAX) {
                    self.settings.memory.states = states;
                }
            }
            "workers" => {
                if let Some(workers) = self.integer(name, value, 0, u32::from(MAX_WORKERS)) {
                    self.settings.ports.workers = (workers != 0).then_some(workers as u16);
                }
            }
            "lan_prefixes" => {
                if let Some(nets) = self.prefixes(name, value) {
                    self.settings.ports.lan_prefixes = nets;
                }
            }
            "wan_prefixes" => {
                if let Some(nets) = self.prefixes(name, value) {
                    self.settings.ports.wan_prefixes = nets;
                }
            }
            "realtime" => {
                if let Some(priority) = self.integer(name, value, 0, 99) {
                    self.settings.threads.realtime = (priority != 0).then_some(priority as u8);
                }
            }
            "ring" => {
                if let Some(entries) = self.integer(name, value, 0, 1 << 16) {
                    self.settings.nics.ring = (entries != 0).then_some(entries);
                }
            }
            "interrupt_usecs" => {
                if let Some(usecs) = self.integer(name, value, 0, MAX_INTERRUPT_USECS) {
                    self.settings.nics.interrupt_usecs = usecs;
                }
            }
            "busy_poll" | "propagate_link" | "share_cores" | "tune" | "flow_control" => {
                if let Some(on) = self.boolean(name, value) {
                    let settings = &mut self.settings;
                    *match name {
                        "busy_poll" => &mut settings.ports.busy_poll,
                        "propagate_link" => &mut settings.ports.propagate_link,
                        "share_cores" => &mut settings.threads.share_cores,
                        "tune" => &mut settings.nics.tune,
                        _ => &mut settings.nics.flow_control,
                    } = on;
                }
            }
            _ => {
                if let Some(text) = self.string(name, value) {
                    self.text(name, text, &value.span());
                }
            }
        }
    }

    fn text(&mut self, name: &str, text: &str, at: &Range<usize>) {
        let settings = &mut self.settings;
        match name {
            "lan" | "wan" => match text.parse() {
                Ok(nic) if name == "lan" => settings.ports.lan = Some(nic),
                Ok(nic) => settings.ports.wan = Some(nic),
                Err(message) => self.error(at, message),
            },
            "io" => {
                if let Some(&(_, io)) = Io::NAMES.iter().find(|(name, _)| *name == text) {
                    settings.ports.io = io;
                } else {
                    self.error(at, "`io` must be one of auto, netmap, xdp, packet".to_owned());
                }
            }
            "log" if text == "stderr" => settings.log = Log::Stderr,
            _ if !text.starts_with('/') || text.contains('\0') => {
                let or = if name == "log" { "\"stderr\" or " } else { "" };
                self.error(
                    at,
                    format!("`{name}` must be {or}a path from the root, as in \"/...\""),
                );
            }
            "log" => settings.log = Log::File(text.into()),
            "rules" => settings.rules = text.into(),
            "socket" => settings.socket = text.into(),
            _ => settings.state_dir = text.into(),
        }
    }

    /// A list of networks; all that are none are reported.
    fn prefixes(&mut self, name: &str, value: &Spanned<DeValue<'_>>) -> Option<Vec<IpNet>> {
        let Some(items) = value.get_ref().as_array() else {
            let message = format!("`{name}` must be a list of networks, as in [\"192.0.2.0/24\"]");
            self.error(&value.span(), message);
            return None;
        };
        let mut nets = Some(Vec::new());
        for item in items {
            let text = item.get_ref().as_str().unwrap_or_default();
            let net = text.parse::<IpNet>().ok();
            let net = net.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
            match (net, &mut nets) {
                (Some(net), Some(list)) => list.push(net.trunc()),
                (Some(_), None) => {}
                (None, _) => {
                    let message = format!("`{name}`: a network is written as in \"192.0.2.0/24\"");
                    self.error(&item.span(), message);
                    nets = None;
                }
            }
        }
        nets
    }

    fn string<'v>(&mut self, name: &str, value: &'v Spanned<DeValue<'_>>) -> Option<&'v str> {
        let text = value.get_ref().as_str();
        if text.is_none() {
            let kind = value.get_ref().type_str();
            self.error(&value.span(), format!("`{name}` must be a string, not {kind}"));
        }
        text
    }

    fn boolean(&mut self, name: &str, value: &Spanned<DeValue<'_>>) -> Option<bool> {
        let on = value.get_ref().as_bool();
        if on.is_none() {
            self.error(&value.span(), format!("`{name}` must be true or false"));
        }
        on
    }

    fn integer(
        &mut self,
        name: &str,
        value: &Spanned<DeValue<'_>>,
        least: u32,
        most: u32,
    ) -> Option<u32> {
        let number = value
            .get_ref()
            .as_integer()
            .and_then(|number| u32::from_str_radix(number.as_str(), number.radix()).ok())
            .filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.error(&value.span(), format!("`{name}` must be a number from {least} to {most}"));
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        parse(&SourceFile::new("weir.toml", text)).map_err(|found| found.to_string())
    }

    fn nic(name: &str) -> NicName {
        name.parse().expect("a name")
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        assert_eq!(read(""), Ok(Settings::default()));
        assert_eq!(read("[ports]\nworkers = 0\n"), Ok(Settings::default()));
    }

    #[test]
    fn everything_can_be_set() {
        let settings = read(
            "rules = \"/r\"\nsocket = \"/s\"\nstate_dir = \"/d\"\nlog = \"/l\"\n[ports]\nlan = \
             \"eth1\"\nwan = 'eth0'\nio = \"netmap\"\nbusy_poll = true\nworkers = 4\nlan_prefixes = [\"10.1.2.3/8\", \
             \"::1\"]\npropagate_link = false\n[threads]\nshare_cores = true\nrealtime = 7\n[nics]\ntune \
             = false\nring = 512\ninterrupt_usecs = 0\nflow_control = true\n[memory]\nstates = 1_000\n",
        )
        .expect("valid");
        assert_eq!(
            settings,
            Settings {
                ports: Ports {
                    lan: Some(nic("eth1")),
                    wan: Some(nic("eth0")),
                    io: Io::Netmap,
                    busy_poll: true,
                    workers: Some(4),
                    lan_prefixes: vec![
                        "10.0.0.0/8".parse().expect("a prefix"),
                        "::1/128".parse().expect("a prefix"),
                    ],
                    wan_prefixes: Vec::new(),
                    propagate_link: false,
                },
                threads: Threads { share_cores: true, realtime: Some(7) },
                nics: Nics { tune: false, ring: Some(512), interrupt_usecs: 0, flow_control: true },
                rules: "/r".into(),
                socket: "/s".into(),
                state_dir: "/d".into(),
                log: Log::File("/l".into()),
                memory: Memory { states: 1000 },
            }
        );
    }

    #[test]
    fn ports_are_known_by_role_and_interface() {
        let settings = read("[ports]\nlan = \"eth1\"\nwan_prefixes = [\"::/0\"]\n").expect("valid");
        let [lan, wan] = settings.ports.prefixes().try_into().expect("two ports");
        assert_eq!((lan.names, lan.nets), (vec!["lan".into(), "eth1".into()], vec![]));
        assert_eq!(wan.names, ["wan"]);
        assert_eq!(wan.nets, ["::/0".parse().expect("a prefix")]);
    }

    #[test]
    fn the_example_in_the_module_head_is_valid() {
        let head = include_str!("settings.rs").lines().map_while(|line| line.strip_prefix("//!"));
        let example: Vec<_> = head
            .map(|line| line.strip_prefix(' ').unwrap_or(line))
            .skip_while(|line| *line != "```toml")
            .skip(1)
            .take_while(|line| *line != "```")
            .collect();
        let settings = read(&example.join("\n")).expect("valid");
        let ports = Ports { lan: Some(nic("eth1")), wan: Some(nic("eth0")), ..Ports::default() };
        assert_eq!(settings, Settings { ports, ..Settings::default() });
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, message) in [
            ("rule = \"/x\"", "1:1: unknown key `rule`, did you mean `rules`?"),
            ("[port]\nlan = 'a'", "1:2: unknown section `port`, did you mean `ports`?"),
            ("[ports]\nlam = \"a\"", "2:1: unknown key `lam`, did you mean `lan`?"),
            ("io = \"xdp\"", "1:1: `io` belongs to the section [ports]"),
            ("[ports]\nlog = \"/x\"", "2:1: `log` must stand before the first section"),
            ("[ports]\nio = \"dpdk\"", "2:6: `io` must be one of auto, netmap, xdp, packet"),
            ("[ports]\nworkers = 2000", "2:11: `workers` must be a number from 0 to 1024"),
            ("[ports]\nworkers = \"two\"", "2:11: `workers` must be a number from 0 to 1024"),
            ("[ports]\nlan = 5", "2:7: `lan` must be a string, not integer"),
            ("[ports]\nlan = \"a b\"", "2:7: `a b` is no name of an interface"),
            (
                "[ports]\nlan_prefixes = \"10.0.0.0/8\"",
                "2:16: `lan_prefixes` must be a list of networks, as in [\"192.0.2.0/24\"]",
            ),
            (
                "[ports]\nwan_prefixes = [\"10.0.0.0/8\", \"10/8\"]",
                "2:31: `wan_prefixes`: a network is written as in \"192.0.2.0/24\"",
            ),
            ("[nics]\ntune = 1", "2:8: `tune` must be true or false"),
            ("[threads]\nrealtime = 100", "2:12: `realtime` must be a number from 0 to 99"),
            ("flow_control = true", "1:1: `flow_control` belongs to the section [nics]"),
            ("[ports]\nlan = 'pci:1'", "2:7: `pci:1` is no PCI path, as in pci:0000:01:00.0"),
            ("[memory]\nstates = 0", "2:10: `states` must be a number from 1 to 4294967295"),
            ("ports = 1", "1:1: `ports` is a section: write `[ports]`"),
            (
                "log = \"syslog\"",
                "1:7: `log` must be \"stderr\" or a path from the root, as in \"/...\"",
            ),
            ("rules = \"x\"", "1:9: `rules` must be a path from the root, as in \"/...\""),
        ] {
            assert_eq!(read(text), Err(format!("weir.toml:{message}\n")), "{text}");
        }
        let same = read("[ports]\nlan = 'pci:01:00.0'\nwan = 'pci:0000:01:00.0'").expect_err("two");
        assert!(same.contains("both `pci:0000:01:00.0`"), "{same}");
        let same = read("[ports]\nlan = 'a'\nwan = 'a'").expect_err("two ports");
        assert!(same.contains("`lan` and `wan` are both `a`"), "{same}");
        let broken = read("rules = \n[ports\n").expect_err("no TOML");
        assert!(broken.starts_with("weir.toml:1:"), "{broken}");
    }

    #[test]
    fn all_errors_come_in_one_run() {
        let found = read("rule = 1\n[ports]\nlam = 2\nio = 3\n").expect_err("three errors");
        assert_eq!(found.lines().count(), 3, "{found}");
    }
}
