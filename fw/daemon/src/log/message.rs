//! One thing that is told.

use std::fmt;
use std::sync::{Arc, OnceLock};

use weir_engine::{LogAction, LogRecord};

use super::events;
use super::fields::{self, Field};
use super::teller::{self, Teller};
use crate::rules::RuleName;

/// How grave it is, as RFC 5424 numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Severity {
    /// The bridge is closed or open when it should not be.
    Critical = 2,
    /// Something does not work.
    Error = 3,
    /// Something needs care.
    Warning = 4,
    /// Something of note, such as a blocked packet.
    Notice = 5,
    /// What is usual.
    Info = 6,
    /// For those who look closely.
    Debug = 7,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(weir_config::settings::SEVERITIES[*self as usize])
    }
}

/// A message.
#[derive(Debug)]
pub struct Message {
    /// When, in nanoseconds since 1970.
    pub time: u64,
    /// What it is about.
    pub subject: Subject,
}

/// What a message is about.
#[derive(Debug)]
pub enum Subject {
    /// A packet that a rule logs.
    Packet(Box<LoggedPacket>),
    /// Something that happened.
    Event(Event),
}

/// A packet that a rule logs.
#[derive(Debug)]
pub struct LoggedPacket {
    /// As it came from the worker.
    pub record: LogRecord,
    /// The rule, if one spoke.
    pub rule: Option<RuleName>,
    /// Roles of the ports, by index.
    roles: Arc<[String]>,
    text: OnceLock<String>,
}

/// Which of the two kinds of things that weir tells something belongs to: who wants only one of them
/// does not get the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Logged packets, and what is said about them.
    Packets,
    /// What happens to weir itself.
    Events,
    /// Who wants either wants this.
    Both,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// One of [`events::ALL`](super::events::ALL), or `-` for what has no name.
    pub name: &'static str,
    /// Whom it is for.
    pub kind: Kind,
    /// How grave.
    pub severity: Severity,
    /// In words; anything may be in it.
    pub text: String,
    /// What of it programs may want to know.
    pub fields: Vec<Field>,
}

impl LoggedPacket {
    /// A record and what the teller knows of it.
    pub fn new(record: LogRecord, teller: &Teller) -> Self {
        let rule = teller.rule_of(&record);
        Self { record, rule, roles: Arc::clone(&teller.roles), text: OnceLock::new() }
    }

    /// The role of the port whose rule spoke.
    pub fn role(&self) -> &str {
        self.roles.get(usize::from(self.record.at.0)).map_or("?", String::as_str)
    }
}

impl Message {
    /// An event at a time in nanoseconds since 1970.
    pub const fn event(time: u64, event: Event) -> Self {
        Self { time, subject: Subject::Event(event) }
    }

    /// A packet at a time in nanoseconds since 1970.
    pub fn packet(time: u64, packet: LoggedPacket) -> Self {
        Self { time, subject: Subject::Packet(Box::new(packet)) }
    }

    /// The name of its kind: MSGID of RFC 5424.
    pub const fn name(&self) -> &'static str {
        match &self.subject {
            Subject::Packet(_) => events::PACKET,
            Subject::Event(event) => event.name,
        }
    }

    /// Whom it is for.
    pub const fn kind(&self) -> Kind {
        match &self.subject {
            Subject::Packet(_) => Kind::Packets,
            Subject::Event(event) => event.kind,
        }
    }

    /// How grave it is.
    pub const fn severity(&self) -> Severity {
        match &self.subject {
            Subject::Packet(packet) => match packet.record.action {
                LogAction::Block => Severity::Notice,
                LogAction::Pass | LogAction::Match => Severity::Info,
            },
            Subject::Event(event) => event.severity,
        }
    }

    /// In words, on one line; of a packet as tcpdump would print it.
    pub fn text(&self) -> &str {
        match &self.subject {
            Subject::Packet(packet) => packet.text.get_or_init(|| {
                let mut text = String::new();
                teller::tell(&packet.record, packet.rule.as_ref(), packet.role(), &mut text);
                text
            }),
            Subject::Event(event) => &event.text,
        }
    }

    /// What of it programs may want to know.
    pub fn fields(&self) -> Vec<Field> {
        match &self.subject {
            Subject::Packet(packet) => fields::of_packet(packet),
            Subject::Event(event) => event.fields.clone(),
        }
    }
}
