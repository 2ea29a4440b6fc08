//! Log records: plain, of fixed size, made on the packet path and formatted elsewhere.

use weir_config::rules::Direction;

use crate::frame::PortIndex;
use crate::reason::Reason;
use crate::state::view::PeerView;
use crate::time::Instant;

/// Bytes of the frame that a record keeps.
pub const CAPTURE: usize = 128;

/// One logged frame.
#[derive(Clone, Copy, Debug)]
pub struct LogRecord {
    /// When it was judged.
    pub time: Instant,
    /// The port it arrived on.
    pub port: PortIndex,
    /// The port whose rule spoke.
    pub at: PortIndex,
    /// Whether that rule saw it arriving or leaving.
    pub direction: Direction,
    /// What became of it.
    pub action: LogAction,
    /// Why it was dropped.
    pub reason: Option<Reason>,
    /// The state that it belongs to, as it was before.
    pub state: Option<StateNote>,
    /// It is for weir's own log (`set debug`) rather than the packet log.
    pub is_debug: bool,
    /// Number of the rule in the program of `epoch`, `u32::MAX` for none.
    pub rule: u32,
    /// Counts the programs that the worker has taken up.
    pub epoch: u32,
    /// Length of the frame in bytes.
    pub length: u32,
    /// How much of `bytes` is used.
    pub captured: u16,
    /// Where the network header begins.
    pub network_offset: u16,
    /// The first bytes of the frame.
    pub bytes: [u8; CAPTURE],
}

/// A state as a record shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateNote {
    /// IP protocol number.
    pub protocol: u8,
    /// Both ends, the initiator first.
    pub peers: [PeerView; 2],
}

/// What became of a logged frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogAction {
    /// It passed.
    Pass,
    /// It was dropped, answered or not.
    Block,
    /// A rule that does not decide matched it: `match`, or one behind `log (matches)`.
    Match,
}

/// Where records go. Must not block; whoever implements it counts what it loses.
pub trait LogSink {
    /// Takes a copy of the record.
    fn log(&mut self, record: &LogRecord);
}

impl LogSink for Vec<LogRecord> {
    fn log(&mut self, record: &LogRecord) {
        self.push(*record);
    }
}
