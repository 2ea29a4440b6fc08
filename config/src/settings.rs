//! The settings file, `/etc/weir/weir.toml`: which ports, how frames are moved, where things are.
//!
//! ```toml
//! rules = "/etc/weir/weir.conf"      # the rule file
//! socket = "/run/weir/weir.sock"     # the control socket
//! state_dir = "/var/lib/weir"        # where the last good rules are kept
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
//!
//! [control]
//! write_group = "weir"              # its members may use the control socket
//! read_group = "weir-ro"            # its members may look only
//!
//! [history]
//! entries = 100                      # how many loads of rules are kept
//! mebibytes = 256                    # and how much room they may take
//!
//! [commit]
//! cut_percent = 20                   # `weir commit` asks before it cuts more of the states
//!
//! [log]
//! packets = "stderr"                 # a line a logged packet: "stderr", a file, or "none"
//! rate = 100                         # lines a second of one rule; 0: as many as there are
//! pflog = "none"                     # a file that tcpdump reads, or "none"
//! pflog_size = 10                    # MiB after which it is put aside and a new one begun
//! pflog_files = 5                    # how many old ones are kept
//!
//! [metrics]
//! listen = "none"                    # "127.0.0.1:9787", "unix:/run/weir/metrics.sock"
//!
//! [pflow]
//! collector = "none"                 # IPFIX collector, as in "192.0.2.1:4739"
//! domain = 0                         # the observation domain that flow records name
//!
//! [management]
//! namespace = ""                     # network namespace of log servers and metrics; "": the daemon's
//! nic = "none"                       # interface that the appliance moves there
//! inband = false                     # whether the bridge has a port there instead
//! inband_tag = 0                     # the VLAN of that port, 1 to 4094; 0: untagged
//! inband_mac = "auto"                # its hardware address
//! addresses = ["dhcp"]               # "dhcp", "slaac", "192.0.2.10/24"
//! gateways = []                      # as in ["192.0.2.1"]
//!
//! [clock]
//! ntp = []                           # NTP servers, as in ["192.0.2.1"]
//!
//! [shell]
//! idle_lock = 600                    # seconds until the console's shell asks for its password again
//! ```
//!
//! Every key may be left out; the values above are the defaults, except that `lan` and `wan` have
//! none. Log servers are sections `[[log.syslog]]`, see [`Syslog`]. What is not known is refused.
//! Reading is pure: text in, checked values or findings out.

mod commit;
mod control;
mod export;
mod history;
mod log;
mod management;
mod memory;
mod nic_name;
mod nics;
mod ports;
mod reader;
mod shell;
#[cfg(test)]
mod tests;
mod threads;

use std::path::PathBuf;

pub use commit::Commit;
pub use control::Control;
pub use export::{Metrics, Pflow};
pub use history::{History, MAX_ENTRIES, MAX_MEBIBYTES};
pub use log::{
    FACILITIES, Format, Log, MAX_SERVERS, Packets, SEVERITIES, SYSLOG_KEYS, Server, Syslog,
};
pub use management::{Clock, MAX_ADDRESSES, MAX_GATEWAYS, MAX_NTP, Management, ManagementAddress};
pub use memory::Memory;
pub use nic_name::NicName;
pub use nics::{MAX_INTERRUPT_USECS, Nics};
pub use ports::{Io, MAX_WORKERS, Ports};
use reader::Reader;
pub use shell::{MAX_IDLE_LOCK, Shell};
pub use threads::Threads;
use toml::de::DeTable;

use crate::diagnostic::Diagnostics;
use crate::source::SourceFile;

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
    /// `[log]` and `[[log.syslog]]`.
    pub log: Log,
    /// `[metrics]`: where they are served, if anywhere.
    pub metrics: Option<Metrics>,
    /// `[pflow]`.
    pub pflow: Pflow,
    /// `[memory]`.
    pub memory: Memory,
    /// `[control]`.
    pub control: Control,
    /// `[history]`.
    pub history: History,
    /// `[commit]`.
    pub commit: Commit,
    /// `[management]`.
    pub management: Management,
    /// `[clock]`.
    pub clock: Clock,
    /// `[shell]`.
    pub shell: Shell,
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
            log: Log::default(),
            metrics: None,
            pflow: Pflow::default(),
            memory: Memory::default(),
            control: Control::default(),
            history: History::default(),
            commit: Commit::default(),
            management: Management::default(),
            clock: Clock::default(),
            shell: Shell::default(),
        }
    }
}

/// Where the settings file is if nobody says otherwise; it may be absent there.
pub const PATH: &str = "/etc/weir/weir.toml";

/// The longest settings file, in bytes.
pub const MAX_TEXT: usize = 1 << 20;

/// Every key and the section it belongs to; the empty one is the file's top.
pub const KEYS: &[(&str, &str)] = &[
    ("", "rules"),
    ("", "socket"),
    ("", "state_dir"),
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
    ("control", "write_group"),
    ("control", "read_group"),
    ("history", "entries"),
    ("history", "mebibytes"),
    ("commit", "cut_percent"),
    ("log", "packets"),
    ("log", "rate"),
    ("log", "pflog"),
    ("log", "pflog_size"),
    ("log", "pflog_files"),
    ("log", "syslog"),
    ("metrics", "listen"),
    ("pflow", "collector"),
    ("pflow", "domain"),
    ("management", "namespace"),
    ("management", "nic"),
    ("management", "inband"),
    ("management", "inband_tag"),
    ("management", "inband_mac"),
    ("management", "addresses"),
    ("management", "gateways"),
    ("clock", "ntp"),
    ("shell", "idle_lock"),
];

/// The sections, each in a file of its own.
const SECTIONS: &[&str] = &[
    "ports",
    "threads",
    "nics",
    "memory",
    "control",
    "history",
    "commit",
    "log",
    "metrics",
    "pflow",
    "management",
    "clock",
    "shell",
];

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
