//! Who follows the log, and what of it they want.

use std::sync::Arc;

use weir_config::settings::SEVERITIES;
use weir_engine::{Filter, LogAction, PortIndex, PortNames};
use weir_shell::protocol::MAX_FILTER;

use super::captures::packets;
use super::{Control, Refused};
use crate::log::action_name;
use crate::log::fields::{packet_of, place_of};
use crate::log::hub::Follower;
use crate::log::message::{Event, Kind, LoggedPacket, Message, Subject};

/// What of the log is wanted: everything that fits all that is said.
#[derive(Debug, Default)]
pub struct LogFilter {
    /// Only logged packets, or only messages.
    packets: Option<bool>,
    action: Option<LogAction>,
    rule: Option<String>,
    label: Option<String>,
    reason: Option<String>,
    name: Option<String>,
    /// The least grave.
    severity: Option<u8>,
    criteria: Option<Arc<Filter>>,
}

impl Control {
    /// Begins to follow the log; what was told last comes with it.
    pub fn follow_log(&self) -> (Vec<Arc<Message>>, Follower) {
        self.parts.log.hub().follow()
    }

    /// Reads a filter.
    ///
    /// # Errors
    /// When it is wrong.
    pub fn log_filter(&self, text: &str) -> Result<LogFilter, Refused> {
        LogFilter::read(text, &self.parts.ports)
    }
}

impl LogFilter {
    /// Reads what [`Follow::filter`](weir_shell::protocol::Follow::filter) may say.
    fn read(text: &str, ports: &PortNames) -> Result<Self, Refused> {
        if text.len() > MAX_FILTER {
            let text = format!("a filter is one line of {MAX_FILTER} bytes at most");
            return Err(Refused::Error(text));
        }
        let mut filter = Self::default();
        let mut rest = text.trim();
        while let Some((word, behind)) = first_word(rest) {
            let argument = || {
                let given =
                    first_word(behind).map(|(word, behind)| (word.trim_matches('"'), behind));
                given.ok_or_else(|| Refused::Error(format!("`{word}` of what?")))
            };
            let all = std::mem::replace(&mut rest, behind);
            match word {
                "packets" => filter.packets = Some(true),
                "events" => filter.packets = Some(false),
                "pass" => filter.action = Some(LogAction::Pass),
                "block" => filter.action = Some(LogAction::Block),
                "match" => filter.action = Some(LogAction::Match),
                "rule" | "label" | "reason" | "name" => {
                    let (value, behind) = argument()?;
                    rest = behind;
                    let wanted = match word {
                        "rule" => &mut filter.rule,
                        "label" => &mut filter.label,
                        "reason" => &mut filter.reason,
                        _ => &mut filter.name,
                    };
                    *wanted = Some(value.trim_start_matches('@').to_owned());
                }
                "severity" => {
                    let (value, behind) = argument()?;
                    rest = behind;
                    let known = SEVERITIES.iter().position(|name| *name == value);
                    let known = known.ok_or_else(|| {
                        let known = SEVERITIES.join(", ");
                        Refused::Error(format!("`{value}` is no severity: these are {known}"))
                    })?;
                    filter.severity = Some(known as u8);
                }
                // Here the criteria begin.
                _ => {
                    filter.criteria = packets(all, ports, false)?;
                    break;
                }
            }
        }
        Ok(filter)
    }

    /// Whether a message is wanted.
    pub fn matches(&self, message: &Message) -> bool {
        if self.severity.is_some_and(|least| message.severity() as u8 > least)
            || self.name.as_ref().is_some_and(|name| *name != message.name())
        {
            return false;
        }
        match &message.subject {
            Subject::Packet(packet) => self.packets != Some(false) && self.matches_packet(packet),
            Subject::Event(event) => self.matches_event(event),
        }
    }

    /// What an event says may be what is wanted: how many more a rule has logged.
    fn matches_event(&self, Event { kind, fields, .. }: &Event) -> bool {
        let action = self.action.map(action_name);
        let wanted = [
            ("action", action),
            ("rule", self.rule.as_deref()),
            ("label", self.label.as_deref()),
            ("reason", self.reason.as_deref()),
        ];
        let says = |(name, value): (&str, &str)| {
            fields.iter().any(|(known, said)| *known == name && said == value)
        };
        let is_of_kind = match self.packets {
            Some(true) => *kind != Kind::Events,
            Some(false) => *kind != Kind::Packets,
            None => true,
        };
        is_of_kind
            && wanted.into_iter().filter_map(|(name, value)| Some((name, value?))).all(says)
            // Nothing that only packets have.
            && self.criteria.is_none()
    }

    fn matches_packet(&self, LoggedPacket { record, rule, .. }: &LoggedPacket) -> bool {
        let number = rule.as_ref().map(|rule| &*rule.number);
        let label = rule.as_ref().and_then(|rule| rule.label.as_ref());
        if self.action.is_some_and(|action| action != record.action)
            || self.rule.as_deref().is_some_and(|wanted| wanted != number.unwrap_or("none"))
            || self.label.is_some() && self.label.as_ref() != label
            || self.reason.is_some()
                && self.reason.as_deref() != record.reason.map(weir_engine::Reason::name)
        {
            return false;
        }
        let Some(criteria) = &self.criteria else { return true };
        let place: (PortIndex, _) = place_of(record);
        packet_of(record).is_some_and(|packet| criteria.matches(&packet, place))
    }
}

/// The first word of a text, and what is behind it without the blanks; a text in quotes is one.
fn first_word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let end = match text.strip_prefix('"').and_then(|inner| inner.find('"')) {
        Some(quote) => quote + 2,
        None => text.find(char::is_whitespace).unwrap_or(text.len()),
    };
    (end > 0).then(|| (&text[..end], text[end..].trim_start()))
}

#[cfg(test)]
mod tests {
    use weir_config::rules::Direction;
    use weir_engine::packet::build::{tcp, udp};
    use weir_engine::{Instant, LogRecord, PortName, Reason};

    use super::*;
    use crate::log::message::Severity;
    use crate::log::{Teller, events};

    fn filter(text: &str) -> Result<LogFilter, String> {
        let port = |role: &str| PortName {
            role: role.into(),
            interface: role.into(),
            prefixes: Vec::new(),
        };
        let ports = PortNames(vec![port("lan"), port("wan")]);
        LogFilter::read(text, &ports).map_err(|refused| refused.to_string())
    }

    fn packet(frame: &[u8], action: LogAction, rule: u32) -> Message {
        let mut bytes = [0; 128];
        bytes[..frame.len()].copy_from_slice(frame);
        let record = LogRecord {
            time: Instant(0),
            port: PortIndex::WAN,
            at: PortIndex::WAN,
            direction: Direction::In,
            action,
            reason: (action == LogAction::Block).then_some(Reason::BlockRule),
            state: None,
            is_debug: false,
            rule,
            epoch: 1,
            length: frame.len() as u32,
            captured: frame.len() as u16,
            network_offset: 14,
            bytes,
        };
        let roles = ["lan".into(), "wan".into()].into();
        let teller = Teller { roles, programs: Arc::default() };
        Message::packet(0, LoggedPacket::new(record, &teller))
    }

    #[test]
    fn lines_are_found_by_what_is_said_of_them() {
        let [from, to] = ["192.0.2.1:4000", "198.51.100.2:22"]
            .map(|end| end.parse::<std::net::SocketAddr>().unwrap());
        let messages = [
            packet(&tcp(from, to, 2).frame(), LogAction::Block, 14),
            packet(&udp(from, to).frame(), LogAction::Pass, 3),
            Message::event(
                0,
                Event {
                    name: events::LINK,
                    kind: Kind::Events,
                    severity: Severity::Warning,
                    text: String::new(),
                    fields: Vec::new(),
                },
            ),
        ];
        for (text, wanted) in [
            ("", [true; 3]),
            ("packets", [true, true, false]),
            ("events", [false, false, true]),
            ("block", [true, false, false]),
            ("pass proto udp", [false, true, false]),
            ("rule @14", [true, false, false]),
            ("rule 3 inet proto udp to port 22", [false, true, false]),
            ("in on wan proto tcp to 198.51.100.0/24", [true, false, false]),
            ("on lan", [false; 3]),
            ("reason block-rule", [true, false, false]),
            ("label \"a b\"", [false; 3]),
            ("name link", [false, false, true]),
            ("severity notice", [true, false, true]),
            ("  severity   warning  ", [false, false, true]),
        ] {
            let filter = filter(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(
                messages.each_ref().map(|message| filter.matches(message)),
                wanted,
                "{text}"
            );
        }
        for (text, error) in [
            ("rule", "`rule` of what?"),
            ("severity loud", "`loud` is no severity: these are emerg"),
            ("proto nonsense", "filter:1:13:"),
            ("keep state", "filter:1:7: `keep state` only goes with pass rules"),
        ] {
            let said = filter(text).expect_err(text);
            assert!(said.contains(error), "{text}: {said}");
        }
    }
}
