//! Records in words.

use std::fmt::Write as _;
use std::sync::Arc;

use weir_config::rules::Direction;
use weir_engine::packet::describe::describe;
use weir_engine::packet::protocol;
use weir_engine::{LogAction, LogRecord, PortIndex, StateNote};

use crate::rules::{Programs, RuleName};

/// Puts records into words.
#[derive(Clone)]
pub struct Teller {
    /// Roles of the ports, by index.
    pub roles: Arc<[String]>,
    /// The programs that rule numbers belong to.
    pub programs: Arc<Programs>,
}

impl Teller {
    /// As tcpdump prints pflog: rule, label, reason, action, direction, port, packet; then the state
    /// that it belongs to, as it was.
    pub fn tell(&self, record: &LogRecord, line: &mut String) {
        tell(record, self.rule_of(record).as_ref(), self.role(record.at), line);
    }

    /// The rule that a record names.
    pub(super) fn rule_of(&self, record: &LogRecord) -> Option<RuleName> {
        (record.rule != u32::MAX).then(|| self.programs.rule(record.epoch, record.rule))
    }

    /// `rule 14 "label"`, `rule 3.webfarm.0` or `rule none`.
    pub fn rule(&self, epoch: u32, rule: Option<u32>, line: &mut String) {
        tell_rule(rule.map(|rule| self.programs.rule(epoch, rule)).as_ref(), line);
    }

    /// The role of a port.
    pub fn role(&self, port: PortIndex) -> &str {
        self.roles.get(usize::from(port.0)).map_or("?", String::as_str)
    }
}

/// What [`Teller::tell`] says of a record whose rule and port are known.
pub(super) fn tell(record: &LogRecord, rule: Option<&RuleName>, role: &str, line: &mut String) {
    tell_head(record, rule, role, line);
    let head = &record.bytes[..usize::from(record.captured).min(record.bytes.len())];
    line.push(' ');
    escape(&describe(head, record.length).to_string(), line);
    if let Some(state) = &record.state {
        describe_state(state, line);
    }
}

/// `rule 14 "label"/block-rule: block in on wan:`, which many packets have in common.
pub(super) fn tell_head(
    record: &LogRecord,
    rule: Option<&RuleName>,
    role: &str,
    line: &mut String,
) {
    tell_rule(rule, line);
    if let Some(reason) = record.reason {
        let _ = write!(line, "/{reason}");
    }
    let _ = write!(line, ": {} {} on {role}:", action_name(record.action), direction(record));
}

fn tell_rule(rule: Option<&RuleName>, line: &mut String) {
    line.push_str("rule ");
    let Some(rule) = rule else {
        line.push_str("none");
        return;
    };
    escape(&rule.number, line);
    if let Some(label) = &rule.label {
        line.push_str(" \"");
        escape(label, line);
        line.push('"');
    }
}

/// `1,204`.
pub fn grouped(count: impl Into<u64>) -> String {
    let digits = count.into().to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What became of a logged packet, in a word.
pub const fn action_name(action: LogAction) -> &'static str {
    match action {
        LogAction::Pass => "pass",
        LogAction::Block => "block",
        LogAction::Match => "match",
    }
}

/// Which way it went, in a word.
pub(super) const fn direction(record: &LogRecord) -> &'static str {
    match record.direction {
        Direction::In => "in",
        Direction::Out => "out",
    }
}

/// The words of `-vss`: states, then for TCP sequence number, what is allowed beyond it, largest window
/// and window scale of each end, the responder first.
fn describe_state(state: &StateNote, line: &mut String) {
    let [initiator, responder] = &state.peers;
    let _ = write!(line, ", state {}:{}", responder.state, initiator.state);
    if state.protocol != protocol::TCP {
        return;
    }
    for peer in [responder, initiator] {
        let room = peer.seq_hi.wrapping_sub(peer.seq_lo);
        let _ = write!(line, " [{} + {room}]", peer.seq_lo);
        if peer.seq_diff != 0 {
            let _ = write!(line, "(+{})", peer.seq_diff);
        }
        let _ = write!(line, " win {}", peer.window);
        if let Some(scale) = peer.scale {
            let _ = write!(line, " wscale {scale}");
        }
    }
}

/// Appends `text` with everything that is not a printable ASCII character escaped, so that a packet
/// cannot write to a terminal or forge a line.
pub fn escape(text: &str, to: &mut String) {
    for character in text.chars() {
        if character == ' ' || character.is_ascii_graphic() {
            to.push(character);
        } else {
            to.extend(character.escape_default());
        }
    }
}
