//! Messages as RFC 5424 has them, and as syslog(3) writes them to `/dev/log` (RFC 3164 without a host).
//!
//! The formats are [`LogFormat`]s of the crate `syslog`, with its facilities and severities. Its own
//! RFC 5424 format has numbers for names of messages, reads the clock when it formats, and escapes no
//! names, so that it would date what waited in a queue wrongly.

use std::fmt::Write as _;
use std::io::Write;
use std::str::FromStr;
use std::time::Duration;

use syslog::{Facility, LogFormat, Severity as Grade};
use weir_config::settings::Syslog;

use crate::clock::Date;
use crate::log::message::Message;
use crate::log::{Severity, escape};

/// Our structured data. weir has no number of its own: this one is for examples (RFC 5612).
const DATA_ID: &str = "weir@32473";

/// Longest text of a message, in bytes.
const TEXT: usize = 4096;

/// Writes messages down for one server.
#[derive(Clone, Debug)]
pub(super) struct Formatter {
    facility: Facility,
    hostname: String,
    pid: u32,
    structured: bool,
}

impl Formatter {
    /// What a server's settings ask for.
    pub(super) fn new(settings: &Syslog) -> Self {
        Self {
            // All that the settings know are known.
            facility: Facility::from_str(settings.facility).unwrap_or(Facility::LOG_LOCAL0),
            hostname: settings.hostname.clone().unwrap_or_else(hostname),
            pid: std::process::id(),
            structured: super::is_structured(settings.format),
        }
    }

    /// Replaces what is in `bytes` with a message.
    pub(super) fn format(&self, message: &Message, bytes: &mut Vec<u8>) {
        bytes.clear();
        let grade = match message.severity() {
            Severity::Critical => Grade::LOG_CRIT,
            Severity::Error => Grade::LOG_ERR,
            Severity::Warning => Grade::LOG_WARNING,
            Severity::Notice => Grade::LOG_NOTICE,
            Severity::Info => Grade::LOG_INFO,
            Severity::Debug => Grade::LOG_DEBUG,
        };
        // What writes into memory does not fail.
        let _ = LogFormat::format(self, bytes, grade, message);
    }
}

impl LogFormat<&Message> for Formatter {
    fn format<W: Write>(
        &self,
        to: &mut W,
        severity: Grade,
        message: &Message,
    ) -> Result<(), syslog::Error> {
        // RFC 5424, 6.2.1.
        let priority = self.facility as u8 | severity as u8;
        let date = Date::since_epoch(Duration::from_nanos(message.time));
        let mut text = String::new();
        escape(message.text(), &mut text);
        text.truncate(TEXT);
        if self.structured {
            let (host, pid, name) = (&self.hostname, self.pid, message.name());
            let data = structured(message);
            write!(to, "<{priority}>1 {date} {host} weir {pid} {name} {data} {text}")
        } else {
            write!(to, "<{priority}>{} weir[{}]: {text}", date.bsd(), self.pid)
        }
        .map_err(syslog::Error::Write)
    }
}

/// RFC 5424, 6.3: `[weir@32473 rule="14" ...]`, or `-`.
fn structured(message: &Message) -> String {
    let fields = message.fields();
    if fields.is_empty() {
        return "-".into();
    }
    let mut data = format!("[{DATA_ID}");
    for (name, value) in fields {
        let _ = write!(data, " {name}=\"");
        parameter(&value, &mut data);
        data.push('"');
    }
    data.push(']');
    data
}

/// The value of a parameter: UTF-8, with a backslash before what RFC 5424, 6.3.3, wants one before, and
/// without control characters.
fn parameter(value: &str, to: &mut String) {
    for character in value.chars() {
        match character {
            '"' | '\\' | ']' => to.extend(['\\', character]),
            // As in the text; its backslash needs one, too.
            control if control.is_control() => {
                control.escape_default().for_each(|c| {
                    if c == '\\' {
                        to.push('\\');
                    }
                    to.push(c);
                });
            }
            character => to.push(character),
        }
    }
}

/// What the host calls itself; `-` if it cannot be said.
fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    let fits = (1..=255).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { name.to_owned() } else { "-".into() }
}

#[cfg(test)]
mod tests {
    use weir_config::SourceFile;
    use weir_config::settings::{self, Settings};

    use super::*;
    use crate::log::message::{Event, Kind};

    fn formatter(more: &str) -> Formatter {
        let text = format!("[[log.syslog]]\nto = \"unix:/x\"\nhostname = \"fw\"\n{more}");
        let settings: Settings = settings::parse(&SourceFile::new("f", text)).expect("valid");
        Formatter { pid: 7, ..Formatter::new(&settings.log.syslog[0]) }
    }

    fn message(text: &str, fields: Vec<(&'static str, String)>) -> Message {
        let event = Event {
            name: "start",
            kind: Kind::Events,
            severity: Severity::Warning,
            text: text.into(),
            fields,
        };
        Message::event(1_709_251_199_000_001_000, event)
    }

    fn formatted(formatter: &Formatter, message: &Message) -> String {
        let mut bytes = b"what was there".to_vec();
        formatter.format(message, &mut bytes);
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn messages_are_as_the_rfcs_have_them() {
        // local0 is 16, warning 4.
        let begin = "<132>1 2024-02-29T23:59:59.000001Z fw weir 7 start";
        let plain = message("on\nand on", Vec::new());
        assert_eq!(formatted(&formatter(""), &plain), format!("{begin} - on\\nand on"));
        let bsd = formatter("format = \"rfc3164\"\nfacility = \"daemon\"\n");
        assert_eq!(formatted(&bsd, &plain), "<28>Feb 29 23:59:59 weir[7]: on\\nand on");
        let awkward = vec![("label", "a\"b\\c]d\u{1b}\u{e9}".to_owned()), ("len", "4".into())];
        assert_eq!(
            formatted(&formatter(""), &message("x", awkward)),
            format!("{begin} [weir@32473 label=\"a\\\"b\\\\c\\]d\\\\u{{1b}}\u{e9}\" len=\"4\"] x")
        );
    }

    #[test]
    fn texts_are_cut() {
        let long = formatted(&formatter(""), &message(&"\u{e9}".repeat(5000), Vec::new()));
        assert!(long.len() < TEXT + 100, "{}", long.len());
    }
}
