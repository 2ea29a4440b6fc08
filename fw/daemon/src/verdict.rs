//! What a tap has seen, in the words of the log.

use std::fmt::Write as _;

use weir_engine::packet::describe::describe;
use weir_engine::{Reason, Verdict};

use crate::log::{Teller, escape};
use crate::tap::{Sighting, Way};

/// A verdict in a word, and the reason of a drop.
pub const fn word(verdict: Verdict) -> (&'static str, Option<Reason>) {
    match verdict {
        Verdict::Forward(_) => ("pass", None),
        Verdict::Drop(reason) => ("block", Some(reason)),
        Verdict::Reflect(reason) => ("return", Some(reason)),
        Verdict::Answer => ("answer", None),
        Verdict::Hold(_) | Verdict::Handover(_) => ("hold", None),
    }
}

/// `rule 1 "web": pass`, `rule 0/block-rule: block`, `rule 2, leaving rule 5: pass`: the rules that
/// decided, the reason of a drop, the verdict. Nothing for a frame that left.
pub fn tell_verdict(teller: &Teller, sighting: &Sighting, line: &mut String) {
    let (Way::Arrived(verdict) | Way::Decided(verdict)) = sighting.way else { return };
    let [arriving, leaving] = sighting.rules;
    teller.rule(sighting.epoch, arriving.or(leaving), line);
    if let (Some(_), Some(leaving)) = (arriving, leaving) {
        line.push_str(", leaving ");
        teller.rule(sighting.epoch, Some(leaving), line);
    }
    let (word, reason) = word(verdict);
    if let Some(reason) = reason {
        let _ = write!(line, "/{reason}");
    }
    let _ = write!(line, ": {word}");
}

/// The line of a packet that arrived, as the log has those of rules: what was decided, where it
/// arrived, and the packet as tcpdump prints it.
pub fn tell(teller: &Teller, sighting: &Sighting, bytes: &[u8], line: &mut String) {
    tell_verdict(teller, sighting, line);
    let _ = write!(line, " in on {}: ", teller.role(sighting.port));
    escape(&describe(bytes, sighting.length).to_string(), line);
}
