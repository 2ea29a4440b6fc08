//! The control protocol, version 1: one JSON object a line over the daemon's Unix socket.
//!
//! The client sends a [`Request`] line and reads the answer: no, one or many lines of a listing,
//! then exactly one line that ends the answer ([`Reply::ends`]). Then it may send the next request
//! on the same connection. Whoever may connect is decided by the socket's mode (0600) and the
//! peer's credentials: root, or the user the daemon runs as.
//!
//! Bounds, which the daemon enforces: a request line holds at most [`MAX_REQUEST`] bytes, all that
//! are under way together at most [`MAX_REQUESTS`], and it must be complete within [`TIMEOUT`] of
//! its first byte; a client that does not read for as long, or is silent for [`IDLE`], is cut off; at
//! most [`MAX_CLIENTS`] are served at a time.
//!
//! ```text
//! > {"version":1,"command":"memory"}
//! < {"memory":[{"name":"states","limit":100000,"used":12,"peak":340,"reserved":1000000}]}
//! < {"done":{"count":1}}
//!
//! > {"version":1,"command":{"load":{"sources":[{"name":"stdin","text":"pas\n"}]}}}
//! < {"diagnostics":{"list":[{"severity":"error","message":"...","file":"stdin","line":1,"column":1,
//!    "start":0,"end":3,"excerpt":"pas","underline":[0,3],"expected":["pass"],"notes":[]}],
//!    "errors":1,"omitted":0}}
//! ```

mod captures;
mod tables;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_config::Diagnostics;

use crate::explanation::Explanation;
pub use captures::{Capture, CaptureBegun, MAX_FILTER};
pub use tables::{
    Feedback, Table, TableAction, TableChange, TableEntry, TableFeedback, TableOutcome,
};

/// The version of the protocol that this crate speaks.
pub const VERSION: u32 = 1;

/// Longest request line in bytes, its newline included: room for a million table entries and the
/// rules around them.
pub const MAX_REQUEST: usize = 64 << 20;

/// Bytes of request lines, of all clients together, that the daemon holds at a time.
pub const MAX_REQUESTS: usize = 2 * MAX_REQUEST;

/// How long a begun request may take to arrive, and an answer to be taken.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may be silent between requests.
pub const IDLE: Duration = Duration::from_secs(60);

/// How many clients are served at a time.
pub const MAX_CLIENTS: usize = 32;

/// Where the daemon listens unless told otherwise.
pub const SOCKET: &str = "/run/weir/weir.sock";

/// How long `ctl -d` leaves the bridge open if no deadline is given, in seconds.
pub const DISABLE_SECONDS: u32 = 300;

/// The longest deadline that `ctl -d` takes: a day, in seconds.
pub const MAX_DISABLE_SECONDS: u32 = 86_400;

/// One line from the client.
///
/// `{"version":1,"command":"info"}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// [`VERSION`].
    pub version: u32,
    /// What to do.
    pub command: Command,
}

/// What a client can ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Puts a rule set in force on all workers, or changes nothing. Answer: `done`,
    /// `diagnostics` or `error`.
    ///
    /// `{"version":1,"command":{"load":{"sources":[{"name":"weir.conf","text":"pass\n"}]}}}`
    Load(Load),
    /// Lists the rules of the main rule set with their counters, as `rules-in` does. Answer:
    /// `rules`, `done`.
    ///
    /// `{"version":1,"command":"rules"}`
    Rules,
    /// Lists the rules of an anchor (`""` is the main rule set) with their counters, and those of
    /// the anchors without a name that they call; with `recursive` those of all anchors. Answer:
    /// `rules`, `done`; `error` if there is no such anchor.
    ///
    /// `{"version":1,"command":{"rules-in":{"anchor":"webfarm","recursive":true}}}`
    RulesIn {
        /// Its path.
        anchor: String,
        /// Those of all other anchors, too.
        recursive: bool,
    },
    /// Lists the rules of layer 2 with their counters. Answer: `rules`, `done`.
    ///
    /// `{"version":1,"command":"ether-rules"}`
    EtherRules,
    /// Lists the paths of all anchors, whether they have rules or are only called. Answer:
    /// `anchors`, `done`.
    ///
    /// `{"version":1,"command":"anchors"}`
    Anchors,
    /// Lists the states. Answer: any number of `states`, `done`.
    ///
    /// `{"version":1,"command":"states"}`
    States,
    /// Status, counters and workers. Answer: `info`, `done`.
    ///
    /// `{"version":1,"command":"info"}`
    Info,
    /// Lists the ports with their counters. Answer: `interfaces`, `done`.
    ///
    /// `{"version":1,"command":"interfaces"}`
    Interfaces,
    /// Lists the time-outs in force. Answer: `timeouts`, `done`.
    ///
    /// `{"version":1,"command":"timeouts"}`
    Timeouts,
    /// Lists the bounded pools and their use. Answer: `memory`, `done`.
    ///
    /// `{"version":1,"command":"memory"}`
    Memory,
    /// Changes a table, or asks about it. Answer: `table-outcome`, any number of `table-feedback` if
    /// the request asks for it, `done`; `error` if nothing was done.
    ///
    /// `{"version":1,"command":{"table":{"name":"bad","action":"add","addresses":["192.0.2.1"]}}}`
    Table(TableChange),
    /// Lists the tables of an anchor (`""` is the main rule set), with `recursive` also those of all
    /// anchors below it. Answer: `tables`, `done`.
    ///
    /// `{"version":1,"command":{"tables":{"anchor":"","recursive":true}}}`
    Tables {
        /// Its path.
        anchor: String,
        /// Those below it, too.
        recursive: bool,
    },
    /// Lists what is in a table. Answer: any number of `table-entries`, `done`; `error` if there is
    /// no such table.
    ///
    /// `{"version":1,"command":{"table-entries":{"anchor":"","name":"bad"}}}`
    TableEntries {
        /// Path of the anchor that it is in.
        anchor: String,
        /// Its name.
        name: String,
    },
    /// Lists the sources that rules limit. Answer: any number of `sources`, `done`.
    ///
    /// `{"version":1,"command":"sources"}`
    Sources,
    /// Forgets the sources with an address in a prefix; their states live on. Answer: `done` with
    /// how many.
    ///
    /// `{"version":1,"command":{"kill-sources":{"from":"192.0.2.0/24"}}}`
    KillSources {
        /// Address or prefix.
        from: String,
    },
    /// Removes states. Answer: `done` with how many.
    ///
    /// `{"version":1,"command":{"kill":{"hosts":{"from":"192.0.2.0/24","to":"198.51.100.2"}}}}`
    Kill(Kill),
    /// Empties something. Answer: `done`.
    ///
    /// `{"version":1,"command":{"flush":"states"}}`
    Flush(Flush),
    /// Ends a `disable`. Answer: `done`; `error` if filtering is on already.
    ///
    /// `{"version":1,"command":"enable"}`
    Enable,
    /// Passes everything, unjudged, for so many seconds (1 to [`MAX_DISABLE_SECONDS`]); root only.
    /// Answer: `done` or `error`.
    ///
    /// `{"version":1,"command":{"disable":{"seconds":300}}}`
    Disable {
        /// When filtering comes back by itself, in seconds from now.
        seconds: u32,
    },
    /// Tells what becomes of a packet in words: by a state that exists, else by the rules and tables
    /// in force. Changes and counts nothing. Answer: `explanation`, `done`; `diagnostics` if the
    /// words are wrong.
    ///
    /// `{"version":1,"command":{"explain":{"packet":"in on wan proto udp from ::1 to ::2 port 53"}}}`
    Explain(Explain),
    /// Captures frames; root only. Answer: `capture`, then no more lines but a pcapng section
    /// (draft-ietf-opsawg-pcapng) with the ports as its interfaces and what became of each packet that
    /// arrived as its comment. It ends after the count or the time that was asked for, or when the
    /// client shuts its side of the connection down, with the numbers of packets that were captured
    /// and lost; the daemon closes the connection then. `error` or `diagnostics` if it does not begin.
    ///
    /// `{"version":1,"command":{"capture":{"port":"wan","filter":"proto tcp to port 22","count":10}}}`
    Capture(Capture),
}

/// A packet to be explained.
///
/// `{"packet":"in on wan proto udp from ::1 to ::2 port 53","all":true}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    /// In the words of [`weir_config::probe`].
    pub packet: String,
    /// Tell every rule, not just those that match.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
}

/// A rule set as text. The daemon opens no file that a client names: it parses again from exactly
/// these texts.
///
/// `{"sources":[{"name":"/etc/weir/weir.conf","text":"pass\n"}],"macros":["ext=wan"]}`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// The rule file, then every file that reading it has read: those of `include`, `load anchor`
    /// and tables.
    pub sources: Vec<Source>,
    /// `name=value` as `-D` takes it, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub macros: Vec<String>,
    /// Path of the anchor that is loaded; the main rule set if it is empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub anchor: String,
    /// What of it is put in force.
    #[serde(default, skip_serializing_if = "Part::is_all")]
    pub part: Part,
    /// Options that the files do not set stay as they are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub merge: bool,
}

/// What of a load is put in force; the rest of it must be right, too, but changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Everything.
    #[default]
    All,
    /// `-R`: the rules, those of layer 2 and of anchors included.
    Rules,
    /// `-T load`: the tables.
    Tables,
    /// `-O`: the `set` options.
    Options,
}

impl Part {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    const fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }
}

/// One file of a rule set.
///
/// `{"name":"stdin","text":"block all\n"}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// What messages call it.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// Which states to remove.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kill {
    /// Those begun by a host, and only those to another host if one is given.
    ///
    /// `{"hosts":{"from":"192.0.2.1"}}`
    Hosts {
        /// Address or prefix of the initiator.
        from: String,
        /// Address or prefix of the responder.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
    },
    /// The one with this id, as `-vvss` prints it.
    ///
    /// `{"id":"00000000000000a1"}`
    Id(String),
    /// Those that a rule with this label made.
    ///
    /// `{"label":"ssh"}`
    Label(String),
}

/// What to empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flush {
    /// The rules of the main rule set: everything that no state lets pass is blocked. Tables,
    /// options and what was loaded into anchors stay.
    Rules,
    /// What is in an anchor (`""` is the main rule set): its rules and tables.
    ///
    /// `{"rules-in":{"anchor":"webfarm","recursive":true}}`
    RulesIn {
        /// Its path.
        anchor: String,
        /// And in all anchors below it.
        recursive: bool,
    },
    /// The state table.
    States,
    /// The sources: all are forgotten, their states live on.
    Sources,
    /// The counters that belong to no rule.
    Info,
    /// The counters of the rules of an anchor (`""` is the main rule set, with the rules of layer
    /// 2).
    ///
    /// `{"rule-counters":{"anchor":"","recursive":false}}`
    RuleCounters {
        /// Its path.
        anchor: String,
        /// And of those in all anchors below it.
        recursive: bool,
    },
    /// The `set` options: their defaults hold again.
    Options,
    /// The tables of an anchor (`""` is the main rule set): they are deleted, as by `kill`.
    ///
    /// `{"tables":{"anchor":"","recursive":false}}`
    Tables {
        /// Its path.
        anchor: String,
        /// And those of all anchors below it.
        recursive: bool,
    },
}

/// What is emptied, in words.
impl fmt::Display for Flush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, anchor, recursive) = match self {
            Self::Rules => return f.write_str("the rules"),
            Self::States => return f.write_str("the states"),
            Self::Sources => return f.write_str("the sources"),
            Self::Info => return f.write_str("the counters that belong to no rule"),
            Self::Options => return f.write_str("the options"),
            Self::RulesIn { anchor, recursive } => ("the rules and tables", anchor, *recursive),
            Self::RuleCounters { anchor, recursive } => {
                ("the counters of the rules", anchor, *recursive)
            }
            Self::Tables { anchor, recursive } => ("the tables", anchor, *recursive),
        };
        f.write_str(what)?;
        match (anchor.is_empty(), recursive) {
            (true, true) => f.write_str(" with those of all anchors"),
            (true, false) => Ok(()),
            (false, true) => write!(f, " of the anchor {anchor:?} and all below it"),
            (false, false) => write!(f, " of the anchor {anchor:?}"),
        }
    }
}

/// One line from the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// The request was carried out, the listing is complete. Ends the answer.
    ///
    /// `{"done":{"count":3}}`
    Done(Done),
    /// The request was refused and changed nothing. Ends the answer.
    ///
    /// `{"error":"malformed request: ..."}`
    Error(String),
    /// The rules have errors; nothing was changed. Ends the answer.
    ///
    /// `{"diagnostics":{"list":[{"severity":"error","message":"...","file":"stdin","line":1,...}],...}`
    Diagnostics(Diagnostics),
    /// The rules of one rule set.
    Rules(RuleListing),
    /// Paths of anchors, in order.
    Anchors(Vec<String>),
    /// How a change of a table went.
    TableOutcome(TableOutcome),
    /// What became of some addresses.
    TableFeedback(Vec<TableFeedback>),
    /// Tables, by anchor and name.
    Tables(Vec<Table>),
    /// Some entries of a table, in order.
    TableEntries(Vec<TableEntry>),
    /// Some states.
    States(Vec<State>),
    /// Some sources.
    Sources(Vec<TrackedSource>),
    /// Status and counters.
    Info(Box<Info>),
    /// The ports.
    Interfaces(Vec<Interface>),
    /// The time-outs.
    Timeouts(Vec<Timeout>),
    /// The pools.
    Memory(Vec<Limit>),
    /// What becomes of a packet.
    Explanation(Box<Explanation>),
    /// A capture has begun: what follows on the connection are no lines.
    Capture(CaptureBegun),
}

impl Reply {
    /// Whether the answer ends with this line.
    pub const fn ends(&self) -> bool {
        matches!(self, Self::Done(_) | Self::Error(_) | Self::Diagnostics(_))
    }
}

/// How it went.
///
/// `{"count":3,"note":"unchanged"}`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// How many things were listed, removed or loaded.
    pub count: u64,
    /// Something to tell the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The rules of one rule set.
///
/// `{"origin":"/etc/weir/weir.conf","built_in":["pass quick arp"],"rules":[]}`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleListing {
    /// Path of the anchor; empty for the main rule set.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub anchor: String,
    /// Name of the file they came from; absent when everything is blocked for want of rules, and
    /// for an anchor that nothing was loaded into.
    pub origin: Option<String>,
    /// What passes before any rule is asked, in words; only in the main rule set's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub built_in: Vec<String>,
    /// The rules, in order.
    pub rules: Vec<Rule>,
    /// The rule sets of anchors that were asked for with this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nested: Vec<Self>,
}

/// A rule with its counters, summed over workers.
///
/// `{"number":0,"text":"pass all flags S/SA","evaluations":9,"packets":[4,4],"bytes":[400,900],
/// "states":1,"states_total":2}`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its number in its rule set, from 0.
    pub number: u32,
    /// As `-s rules` prints it.
    pub text: String,
    /// Its label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// How often it was looked at.
    pub evaluations: u64,
    /// Packets it decided: arriving, leaving.
    pub packets: [u64; 2],
    /// Bytes of them.
    pub bytes: [u64; 2],
    /// States it holds now.
    pub states: u64,
    /// States it has made.
    pub states_total: u64,
    /// What its limits have refused, by the name of the reason; limits that refused nothing are not
    /// there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, u64>,
    /// The anchor that it calls, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<Call>,
}

/// An anchor as a rule calls it.
///
/// `{"path":"authpf","wildcard":true}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Its path; with `wildcard` that of its parent, which may be the main rule set.
    pub path: String,
    /// All anchors directly below.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wildcard: bool,
}

/// A state.
///
/// `{"id":"00000000000000a1","worker":0,"port":"wan","protocol":6,
/// "source":"192.0.2.1","source_port":40000,"destination":"198.51.100.2","destination_port":80,
/// "peers":[{"state":"ESTABLISHED","seq_lo":1,"seq_hi":2,"wscale":7},...],
/// "age":5,"expires":86398,"packets":[5,4],"bytes":[500,400],"rules":[3,null]}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Its id, sixteen hexadecimal digits.
    pub id: String,
    /// The worker that owns it.
    pub worker: u16,
    /// The port its initiator is on, by role.
    pub port: String,
    /// VLAN ids, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vlans: Vec<u16>,
    /// IP protocol number.
    pub protocol: u8,
    /// Address of the initiator.
    pub source: std::net::IpAddr,
    /// Its port, or the id of an ICMP query, or 0.
    pub source_port: u16,
    /// Address of the responder.
    pub destination: std::net::IpAddr,
    /// Its port, or the id of an ICMP query, or 0.
    pub destination_port: u16,
    /// Initiator and responder.
    pub peers: [Peer; 2],
    /// Seconds since it was made.
    pub age: u32,
    /// Seconds until it ends if nothing more comes.
    pub expires: u32,
    /// Packets from the initiator and from the responder.
    pub packets: [u64; 2],
    /// Bytes of them.
    pub bytes: [u64; 2],
    /// The rules that let it pass, arriving and leaving: their numbers, counted over the main rule
    /// set and then the anchors in the order of their paths.
    pub rules: [Option<u32>; 2],
    /// For those in anchors, how logs call them: `3.webfarm.0` is rule 0 of `webfarm`, which rule 3
    /// of the main rule set calls.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub anchored: [Option<String>; 2],
}

fn is_empty(pair: &[Option<String>; 2]) -> bool {
    pair.iter().all(Option::is_none)
}

/// A source that rules limit.
///
/// `{"address":"192.0.2.1","states":3,"connections":2,"rate":[15,10],"age":5,"expires":null,
/// "packets":9,"bytes":900,"rule":3}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackedSource {
    /// Its address.
    pub address: std::net::IpAddr,
    /// States that it has begun.
    pub states: u32,
    /// Its connections, as `set src-conn-count` counts them.
    pub connections: u32,
    /// Tenths of connections that count for `max-src-conn-rate` now, and its seconds; 0 and 0 without
    /// one.
    pub rate: (u64, u32),
    /// Seconds since its first state.
    pub age: u64,
    /// Seconds until it is forgotten, if it has no states.
    pub expires: Option<u64>,
    /// Packets of its ended states.
    pub packets: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Number of the rule that counts it, as for a state; absent for `source-track global`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
    /// If that is in an anchor, how logs call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchored: Option<String>,
}

/// One end of a state.
///
/// `{"state":"ESTABLISHED","seq_lo":1000,"seq_hi":66536,"wscale":7}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its state by name; for ICMP a number.
    pub state: String,
    /// Lowest sequence number it may send next.
    pub seq_lo: u32,
    /// Highest sequence number it may send up to.
    pub seq_hi: u32,
    /// What is added to its sequence numbers for the other end, if they are translated.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub seq_diff: u32,
    /// Window scale, if both ends have offered one.
    pub wscale: Option<u8>,
}

/// Status and counters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Info {
    /// weir's version.
    pub version: String,
    /// `enabled`, `disabled` (everything passes) or `blocked` (no rule set is in force).
    pub status: String,
    /// Seconds since the daemon was started.
    pub uptime: u64,
    /// Seconds until filtering comes back, if it is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_for: Option<u64>,
    /// Port kind.
    pub io: String,
    /// What the port of `set loginterface` has counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_interface: Option<InterfaceStats>,
    /// States now.
    pub states: u64,
    /// Percent that is left of each time-out because there are more states than `adaptive.start`;
    /// absent while they run in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adaptive: Option<u32>,
    /// States of TCP connections whose handshake is not complete.
    #[serde(default)]
    pub half_open: u64,
    /// Look-ups in the state table.
    pub searches: u64,
    /// States made.
    pub inserts: u64,
    /// States that ended.
    pub removals: u64,
    /// Unproven states that had to make room for new ones.
    pub evictions: u64,
    /// Packets of TCP connections that had ended, passed or dropped.
    #[serde(default)]
    pub late: u64,
    /// Handshakes that weir makes in the names of servers.
    #[serde(default)]
    pub syncookies: Syncookies,
    /// Sources that are tracked now.
    #[serde(default)]
    pub src_nodes: u64,
    /// Sources that were seen anew.
    #[serde(default)]
    pub src_node_inserts: u64,
    /// Sources that were forgotten.
    #[serde(default)]
    pub src_node_removals: u64,
    /// Answers to blocked packets.
    pub reflected: u64,
    /// Other frames that weir itself has sent, such as the resets of a connection over a limit.
    #[serde(default)]
    pub crafted: u64,
    /// Frames passed unjudged while the filter was disabled.
    pub unfiltered: u64,
    /// Drops by reason, every reason.
    pub reasons: Vec<ReasonCount>,
    /// Frames judged by all workers together.
    pub frames: u64,
    /// Frames handed to another worker.
    pub handed_over: u64,
    /// Log records that were lost for want of room or by the rate bound.
    pub log_lost: u64,
    /// Each worker.
    pub workers: Vec<WorkerInfo>,
}

/// The port of `set loginterface`.
///
/// `{"name":"eth1","traffic":[{"passed":[10,1000],"blocked":[1,60]},...]}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceStats {
    /// Name of the network interface.
    pub name: String,
    /// By family and direction: IPv4 in, IPv4 out, IPv6 in, IPv6 out.
    pub traffic: [Traffic; 4],
}

/// Handshakes that weir makes in the names of servers (`synproxy state`, `set syncookies`).
///
/// `{"mode":"adaptive","active":true,"start":25,"end":12,"sent":9000,"resent":2,"valid":70,
/// "invalid":3,"expired":1,"surplus":0,"refused":2,"silent":0,"lacking":0}`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Syncookies {
    /// `never`, `always` or `adaptive`.
    pub mode: String,
    /// Whether SYNs that no rule with `synproxy state` passes are answered now.
    pub active: bool,
    /// Percent of `limit states` that half-open connections have to reach for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<u8>,
    /// Percent below which it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<u8>,
    /// SYNs answered.
    pub sent: u64,
    /// Answers sent again.
    pub resent: u64,
    /// Right cookies that came back.
    pub valid: u64,
    /// Wrong ones.
    pub invalid: u64,
    /// Right ones that came too late.
    pub expired: u64,
    /// Clients turned away because a limit was reached.
    pub surplus: u64,
    /// Clients turned away because their server refused them.
    pub refused: u64,
    /// Clients turned away because their server was silent.
    pub silent: u64,
    /// Connections that ended because the server lacked an option that it had before.
    pub lacking: u64,
}

/// A counter of dropped frames.
///
/// `{"name":"block-rule","count":7,"description":"A block rule matched."}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonCount {
    /// The reason.
    pub name: String,
    /// Frames.
    pub count: u64,
    /// What it means.
    pub description: String,
}

/// What a worker has done.
///
/// `{"worker":0,"cpu":2,"states":10,"frames":1000,"handed_over":3,"back_pressure":0}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerInfo {
    /// Its number.
    pub worker: u16,
    /// The CPU it is pinned to.
    pub cpu: Option<u32>,
    /// States in its table.
    pub states: u64,
    /// Frames it judged.
    pub frames: u64,
    /// Frames it handed to another worker.
    pub handed_over: u64,
    /// Rounds in which it did not receive because an output queue was more than half full.
    pub back_pressure: u64,
}

/// A port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// `lan` or `wan`.
    pub role: String,
    /// Name of the network interface.
    pub name: String,
    /// Port kind.
    pub io: String,
    /// `set skip on` it is in force.
    pub skip: bool,
    /// Networks behind it, as the settings file says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<String>,
    /// Seconds since the counters were cleared.
    pub cleared: u64,
    /// By family and direction: IPv4 in, IPv4 out, IPv6 in, IPv6 out, rest in, rest out.
    pub traffic: [Traffic; 6],
    /// What the port itself has counted since it was opened.
    pub device: Device,
}

/// Packets and bytes of one family and direction.
///
/// `{"passed":[10,1000],"blocked":[1,60]}`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Packets and bytes that passed.
    pub passed: [u64; 2],
    /// Packets and bytes that were blocked.
    pub blocked: [u64; 2],
}

/// Counters of the ring or socket behind a port, summed over its queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Frames taken in.
    pub received: u64,
    /// Frames given out.
    pub transmitted: u64,
    /// Frames that came in broken.
    pub malformed: u64,
    /// Frames that this port can never send.
    pub unsendable: u64,
    /// Frames lost before weir saw them.
    pub missed: u64,
    /// Rounds in which a full transmit ring left frames waiting.
    pub transmit_full: u64,
    /// Rounds in which an empty pool left frames in the receive ring.
    pub pool_empty: u64,
}

/// A time-out in force.
///
/// `{"name":"tcp.first","value":120,"unit":"s"}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeout {
    /// As pf.conf(5) names it.
    pub name: String,
    /// In units of `unit`.
    pub value: u32,
    /// `s` or `states`.
    pub unit: String,
}

/// A bounded pool.
///
/// `{"name":"states","limit":100000,"used":12,"peak":340,"reserved":1000000}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// As `set limit` names it.
    pub name: String,
    /// How many there may be.
    pub limit: u64,
    /// How many there are.
    pub used: u64,
    /// How many there were at most.
    pub peak: u64,
    /// For how many memory is reserved from the start on: the highest limit that can be set. Absent
    /// where memory is taken as it is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved: Option<u64>,
}

/// Whether a number need not be said.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_zero(value: &u32) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use weir_config::Diagnostics;

    use super::{Command, Flush, Kill, Reply, Request};

    /// The examples in the documentation above are what the code reads.
    #[test]
    fn documented_requests_parse() {
        let text = include_str!("protocol.rs");
        let mut seen = 0;
        for line in text.lines() {
            let Some(example) = line.trim().strip_prefix("/// `{\"version\":1") else { continue };
            let example = format!("{{\"version\":1{}", example.strip_suffix('`').unwrap());
            let request: Request = serde_json::from_str(&example).unwrap();
            assert_eq!(request.version, super::VERSION);
            assert_eq!(serde_json::to_string(&request).unwrap(), example);
            seen += 1;
        }
        assert_eq!(seen, 22, "one example for each command and one for the request");
    }

    #[test]
    fn what_is_flushed_is_said_in_words() {
        let within = |anchor: &str, recursive| {
            let anchor = anchor.to_owned();
            [
                Flush::RulesIn { anchor: anchor.clone(), recursive },
                Flush::RuleCounters { anchor: anchor.clone(), recursive },
                Flush::Tables { anchor, recursive },
            ]
            .map(|flush| flush.to_string())
        };
        assert_eq!(Flush::States.to_string(), "the states");
        assert_eq!(within("", false)[1], "the counters of the rules");
        assert_eq!(within("web", false)[2], "the tables of the anchor \"web\"");
        assert_eq!(
            within("a/b", true)[0],
            "the rules and tables of the anchor \"a/b\" and all below it"
        );
        assert_eq!(within("", true)[2], "the tables with those of all anchors");
    }

    #[test]
    fn unknown_fields_are_refused() {
        for bad in [
            r#"{"version":1,"command":"info","extra":1}"#,
            r#"{"version":1,"command":{"kill":{"hosts":{}}}}"#,
            r#"{"version":1,"command":{"load":{"sources":[],"file":"/etc/passwd"}}}"#,
            r#"{"version":1}"#,
        ] {
            assert!(serde_json::from_str::<Request>(bad).is_err(), "{bad}");
        }
        let kill: Kill = serde_json::from_str(r#"{"hosts":{"from":"192.0.2.1"}}"#).unwrap();
        assert_eq!(kill, Kill::Hosts { from: "192.0.2.1".into(), to: None });
        assert_eq!(
            serde_json::from_str::<Command>(r#""memory""#).unwrap(),
            Command::Memory,
            "commands without arguments are bare words"
        );
    }

    #[test]
    fn an_answer_ends_once() {
        assert!(Reply::Error(String::new()).ends());
        assert!(Reply::Diagnostics(Diagnostics::default()).ends());
        assert!(!Reply::States(Vec::new()).ends());
    }
}
