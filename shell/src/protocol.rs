//! The control protocol, version 1: one JSON object a line over the daemon's Unix socket.
//!
//! The daemon begins with a [`Hello`] line, which says what version it speaks and what the client may
//! do, or with an error, and hangs up. Then the client sends a [`Request`] line and reads the answer: no,
//! one or many lines of a listing, then exactly one line that ends the answer ([`Reply::ends`]). Then it
//! may send the next request on the same connection.
//!
//! Who may connect is decided by the credentials of the peer (unix(7)): root may do everything, the user that
//! the daemon runs as and members of the group `weir` everything but to disable the filter and to
//! capture, members of the group `weir-ro` may send what [`Command::changes`] nothing. `[control]` of the
//! settings file may name other groups.
//!
//! Bounds, which the daemon enforces: a request line holds at most [`MAX_REQUEST`] bytes, of those who may
//! only look [`MAX_QUESTION`]; all that are under way together at most [`MAX_REQUESTS`]. A line must be
//! complete within [`TIMEOUT`] of its first byte; a client that takes nothing of an answer for
//! [`UNREAD`], or is silent for [`IDLE`], is cut off. At most [`MAX_CLIENTS`] are served at a time: half
//! of the places are for those who may change things, a quarter for those who may only look, half of these
//! for one user; root may take any.
//!
//! ```text
//! < {"hello":{"version":1,"weir":"0.1.0","access":"write"}}
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
mod explain;
mod files;
mod flush;
mod hello;
mod history;
mod info;
mod limits;
mod loads;
mod log;
mod ports;
mod query;
mod rules;
mod seat;
mod sources;
mod states;
mod tables;
mod tally;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_config::Diagnostics;

use crate::explanation::Explanation;
pub use captures::{Capture, CaptureBegun, MAX_FILTER};
pub use explain::Explain;
pub use files::{Files, OwnFile, Setting, StoreRules};
pub use flush::Flush;
pub use hello::{Access, Hello};
pub use history::{
    Commit, Cut, Entry, Expanded, Fate, History, MAX_COMMENT, MAX_CONFIRM_SECONDS, Rollback, Terms,
    Version,
};
pub use info::{Info, InterfaceStats, ReasonCount, Syncookies, WorkerInfo};
pub use limits::{Limit, Timeout};
pub use loads::{Load, Part, Source};
pub use log::{Follow, LogLine};
pub use ports::{Device, Interface, Traffic};
pub use query::{
    Bound, MAX_CRITERIA, MAX_SORTED, Query, SORTED, SourceCriterion, SourceOrder, SourceQuery,
    StateCriterion, StateOrder, StateQuery,
};
pub use rules::{Call, Rule, RuleListing};
pub use seat::{MAX_PASSWORD, MIN_PASSWORD, Seat, SeatRequest};
pub use sources::TrackedSource;
pub use states::{Kill, Peer, State};
pub use tables::{
    Feedback, Table, TableAction, TableChange, TableEntry, TableFeedback, TableOutcome,
};
pub use tally::{HostTally, MAX_TALLY, Phase, StateTally};

/// The version of the protocol that this crate speaks.
pub const VERSION: u32 = 1;

/// Longest request line in bytes, its newline included: room for a million table entries and the
/// rules around them.
pub const MAX_REQUEST: usize = 64 << 20;

/// Longest request line of a client that may only look, its newline included.
pub const MAX_QUESTION: usize = 64 << 10;

/// Bytes of request lines, of all clients together, that the daemon holds at a time.
pub const MAX_REQUESTS: usize = 2 * MAX_REQUEST;

/// How long a begun request may take to arrive.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may take nothing of an answer: somebody reads it in a pager.
pub const UNREAD: Duration = Duration::from_secs(600);

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

impl Request {
    /// Reads a line, its newline left out.
    ///
    /// # Errors
    /// Says what is wrong with it; that it is of another version, if it is.
    pub fn read(line: &[u8]) -> Result<Command, String> {
        /// What every version of the protocol will have.
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        if let Ok(Versioned { version }) = serde_json::from_slice(line)
            && version != VERSION
        {
            return Err(format!("protocol version {version} is not spoken here, only {VERSION}"));
        }
        serde_json::from_slice::<Self>(line)
            .map(|request| request.command)
            .map_err(|error| format!("malformed request: {error}"))
    }
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
    /// Lists states: those that a query means. Answer: any number of `states`, `done` with how many
    /// were listed, or how many there are if only that is asked for.
    ///
    /// `{"version":1,"command":{"states":{"where":[{"to-port":[80,80]}],"sort":"bytes","limit":10}}}`
    States(StateQuery),
    /// Sums all states up: how many are in which phase, and the hosts that have most of them, at most
    /// [`MAX_TALLY`]. Answer: `tally`, `done`.
    ///
    /// `{"version":1,"command":{"tally":{"hosts":10}}}`
    Tally {
        /// How many sources and destinations are named.
        hosts: u32,
    },
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
    /// Lists sources that rules limit: those that a query means. Answer: any number of `sources`,
    /// `done`, as for `states`.
    ///
    /// `{"version":1,"command":{"sources":{"where":[{"states":{"over":100}}],"sort":"rate"}}}`
    Sources(SourceQuery),
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
    /// `{"version":1,"command":{"kill":{"where":[{"from":"192.0.2.0/24"}]}}}`
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
    /// Puts a rule set in force as `load` does, on terms. Answer: `done`, `cut` if it cuts more than
    /// may be cut without `force`, `diagnostics` or `error`.
    ///
    /// `{"version":1,"command":{"commit":{"load":{"sources":[{"name":"a","text":"pass\n"}]},"terms":{"confirm":300}}}}`
    Commit(Commit),
    /// What waits to be confirmed holds. Answer: `done` with its number; `error` if nothing does, or
    /// something else than was meant, or it cannot be noted.
    ///
    /// `{"version":1,"command":{"confirm":{"number":13}}}`
    Confirm {
        /// The change that is meant; without it whichever waits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        number: Option<u64>,
    },
    /// Puts an earlier rule set in force, or undoes what waits to be confirmed. Answer: as for
    /// `commit`.
    ///
    /// `{"version":1,"command":{"rollback":{"number":12,"terms":{}}}}`
    Rollback(Rollback),
    /// Lists the loads that are kept. Answer: `history`, `done`.
    ///
    /// `{"version":1,"command":"history"}`
    History,
    /// Shows one of them, or without a number what is in force, with the files as they were loaded: for
    /// clients that may change things. Answer: `rule-set`, `done`; `error` if
    /// there is none.
    ///
    /// `{"version":1,"command":{"rule-set":{"number":12}}}`
    RuleSet {
        /// Which.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        number: Option<u64>,
    },
    /// Lists what was told last: logged packets and weir's own messages, the oldest first; with `follow`
    /// also what comes, until the client shuts its side of the connection down or hangs up. Answer:
    /// any number of `log` and, where some were lost because the client did not read them in time,
    /// `log-lost` in their place; `done` unless it follows. `error` or `diagnostics` if the filter is
    /// wrong.
    ///
    /// `{"version":1,"command":{"follow":{"follow":true,"filter":"block rule 14 proto tcp"}}}`
    Follow(Follow),
    /// Reads or writes a file of the daemon's own. Answer: `file` if it is read, `done`; `error` or
    /// `diagnostics` if it is not written.
    ///
    /// `{"version":1,"command":{"files":{"set":{"key":"ports.wan","value":"eth3"}}}}`
    Files(Files),
    /// Asks who may sit at the console. Answer: `seat` if it is asked, `done`; `error` if it was the
    /// wrong password, or it cannot be changed.
    ///
    /// `{"version":1,"command":{"seat":{"login":{"password":"correct horse"}}}}`
    Seat(SeatRequest),
}

impl Command {
    /// Whether it does more than to look at what listings show: then the client must be allowed to
    /// change things.
    pub const fn changes(&self) -> bool {
        match self {
            Self::Rules
            | Self::RulesIn { .. }
            | Self::EtherRules
            | Self::Anchors
            | Self::States(_)
            | Self::Tally { .. }
            | Self::Info
            | Self::Interfaces
            | Self::Timeouts
            | Self::Memory
            | Self::Tables { .. }
            | Self::TableEntries { .. }
            | Self::Sources(_)
            | Self::Explain(_)
            | Self::Follow(_)
            | Self::History
            | Self::Seat(SeatRequest::Ask) => false,
            // Trying a change costs what making it does.
            Self::Table(change) => !matches!(change.action, TableAction::Test),
            // What files say, comments and all, only those read who may write it.
            Self::RuleSet { .. }
            | Self::Load(_)
            | Self::KillSources { .. }
            | Self::Kill(_)
            | Self::Flush(_)
            | Self::Enable
            | Self::Disable { .. }
            | Self::Capture(_)
            | Self::Commit(_)
            | Self::Confirm { .. }
            | Self::Rollback(_)
            | Self::Files(_)
            // Wrong passwords keep others waiting.
            | Self::Seat(_) => true,
        }
    }
}

/// One line from the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// The first line of the connection.
    ///
    /// `{"hello":{"version":1,"weir":"0.1.0","access":"write"}}`
    Hello(Hello),
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
    /// The request was refused: it would cut too many states. Ends the answer.
    ///
    /// `{"cut":{"states":1000,"cut":400,"limit":20}}`
    Cut(Cut),
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
    /// All states in sum.
    Tally(Box<StateTally>),
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
    /// The loads that are kept.
    History(History),
    /// One of them.
    RuleSet(Box<Version>),
    /// A capture has begun: what follows on the connection are no lines.
    Capture(CaptureBegun),
    /// Something that was told.
    Log(LogLine),
    /// So many things were told that are not here.
    LogLost(u64),
    /// A file of the daemon's own.
    File(OwnFile),
    /// How the console is guarded.
    Seat(Seat),
}

impl Reply {
    /// Whether the answer ends with this line.
    pub const fn ends(&self) -> bool {
        matches!(self, Self::Done(_) | Self::Error(_) | Self::Diagnostics(_) | Self::Cut(_))
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

#[cfg(test)]
mod tests {
    use weir_config::Diagnostics;

    use super::{Command, Reply, Request};

    /// The examples in the documentation above are what the code reads.
    #[test]
    fn documented_requests_parse() {
        let text = include_str!("protocol.rs");
        let commands =
            text.split("pub enum Command {").nth(1).unwrap().split("\n}").next().unwrap();
        let is_variant = |line: &&str| {
            line.strip_prefix("    ").is_some_and(|line| line.starts_with(char::is_uppercase))
        };
        let commands = commands.lines().filter(is_variant).count();
        let mut seen = 0;
        for line in text.lines() {
            let Some(example) = line.trim().strip_prefix("/// `{\"version\":1") else { continue };
            let example = format!("{{\"version\":1{}", example.strip_suffix('`').unwrap());
            let request: Request = serde_json::from_str(&example).unwrap();
            assert_eq!(request.version, super::VERSION);
            assert_eq!(serde_json::to_string(&request).unwrap(), example);
            seen += 1;
        }
        assert_eq!(seen, commands + 1, "one example for each command and one for the request");
    }

    #[test]
    fn unknown_fields_are_refused() {
        for bad in [
            r#"{"version":1,"command":"info","extra":1}"#,
            r#"{"version":1,"command":{"kill":{"where":[],"more":1}}}"#,
            r#"{"version":1,"command":{"kill":{}}}"#,
            r#"{"version":1,"command":{"load":{"sources":[],"file":"/etc/passwd"}}}"#,
            r#"{"version":1}"#,
        ] {
            assert!(serde_json::from_str::<Request>(bad).is_err(), "{bad}");
        }
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
