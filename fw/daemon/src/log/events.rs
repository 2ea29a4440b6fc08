//! What weir tells of itself: the names of its messages, which do not change, and the way from
//! `tracing` to those who want them.
//!
//! The name of a message is its target: `info!(target: events::RULES_LOADED, ...)`. Messages without
//! one have the name `-`.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::{Event as Tracing, Level, Subscriber};
use tracing_subscriber::layer::Context;

use super::message::{Event, Kind, Message, Severity};
use super::sinks::Sinks;

/// Declares names, so that a new one is one line. The compiler complains of one that nobody uses.
macro_rules! events {
    ($($constant:ident, $name:literal, $text:literal;)+) => {
        $(#[doc = $text] pub(crate) const $constant: &str = $name;)+

        /// Every name, and when such a message is written.
        pub const ALL: &[(&str, &str)] = &[$(($name, $text),)+];
    };
}

events! {
    PACKET, "packet", "A packet that a rule with log matched.";
    MORE, "more", "How many more such packets or messages there were than their rate lets through.";
    LOG_LOST, "log-lost", "Messages were lost: a queue was full, or what should have taken them did not.";
    LOG_SERVER_DOWN, "log-server-down", "A log server cannot be reached; what is sent to it waits.";
    LOG_SERVER_UP, "log-server-up", "A log server can be reached again.";
    LOG_FILE, "log-file", "A log file cannot be written, or can be again.";
    COLLECTOR, "collector", "The flow collector cannot be reached, or can be again.";
    STATE_MISMATCH, "state-mismatch", "A packet was refused by the state that it belongs to (set debug).";
    START, "start", "weir starts.";
    STOP, "stop", "weir stops.";
    FORWARDING, "forwarding", "Rules are in force for the first time: from now on frames are forwarded.";
    CLOSED, "closed", "The bridge is closed: a port or a worker failed.";
    OPEN, "open", "The bridge is open again after it was closed.";
    LINK, "link", "A port has lost its link or has one again, or both do not suit each other.";
    RULES_LOADED, "rules-loaded", "A rule set was put in force, by whom and from where.";
    RULES_REFUSED, "rules-refused", "A rule set was refused at the start or at SIGHUP; nothing was changed.";
    RULES_LAST_GOOD, "rules-last-good", "The rule file is broken: the last good rules are in force.";
    RULES_NONE, "rules-none", "There are no good rules: everything is blocked.";
    RULES_WARNING, "rules-warning", "Something in a rule set that was loaded is not what it seems.";
    FLUSHED, "flushed", "Somebody has emptied something: rules, states, tables, counters.";
    COMMIT, "commit", "A change waits to be confirmed, was confirmed, or rules of before were put in force.";
    FILTER_DISABLED, "filter-disabled", "Somebody has disabled filtering: everything passes.";
    FILTER_ENABLED, "filter-enabled", "Filtering is enabled again, by somebody or because its time is over.";
    STATES_FULL, "states-full", "The state table is full, and what that has cost.";
    LIMIT_REACHED, "limit-reached", "As many of something as its limit allows.";
    ATTACK_BEGIN, "attack-begin", "A SYN flood: SYNs are answered with cookies from now on (set syncookies).";
    ATTACK_END, "attack-end", "The SYN flood is over: SYNs make states again.";
    OVERLOAD, "overload", "A source has exceeded a limit and was put into a table, or could not be.";
    TABLE_CHANGED, "table-changed", "Somebody has changed a table.";
    STATES_KILLED, "states-killed", "Somebody has removed states.";
    SOURCES_KILLED, "sources-killed", "Somebody has made weir forget sources.";
    CAPTURE, "capture", "Somebody begins to capture packets, or has ended.";
    LOGIN, "login", "Somebody has given the password of the console.";
    LOGIN_REFUSED, "login-refused", "Somebody was refused at the control socket, or had no right password.";
    PASSWORD, "password", "The password of the console was changed or taken away.";
}

/// Hands weir's own messages on.
#[derive(Debug)]
pub struct Layer {
    sinks: Arc<OnceLock<Arc<Sinks>>>,
}

impl Layer {
    /// To these, as soon as there are any.
    pub const fn new(sinks: Arc<OnceLock<Arc<Sinks>>>) -> Self {
        Self { sinks }
    }
}

impl<S: Subscriber> tracing_subscriber::Layer<S> for Layer {
    fn on_event(&self, event: &Tracing<'_>, _: Context<'_, S>) {
        let Some(sinks) = self.sinks.get() else { return };
        let metadata = event.metadata();
        let name = ALL.iter().find(|(name, _)| *name == metadata.target());
        let name = name.map_or("-", |(name, _)| name);
        let severity = match *metadata.level() {
            _ if [CLOSED, RULES_NONE, FILTER_DISABLED].contains(&name) => Severity::Critical,
            Level::ERROR => Severity::Error,
            Level::WARN => Severity::Warning,
            Level::INFO => Severity::Info,
            Level::DEBUG | Level::TRACE => Severity::Debug,
        };
        let mut words = Words::default();
        event.record(&mut words);
        // A clock before 1970 tells 1970.
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let event =
            Event { name, kind: Kind::Events, severity, text: words.text, fields: Vec::new() };
        sinks.tell_event(Message::event(time.as_nanos() as u64, event));
    }
}

/// The words of a message, with what else it says behind.
#[derive(Default)]
struct Words {
    text: String,
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.text, "{value:?}");
        } else {
            let _ = write!(self.text, " {field}={value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::ALL;

    #[test]
    fn names_are_distinct_and_fit_a_message() {
        let names: HashSet<_> = ALL.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), ALL.len());
        for (name, text) in ALL {
            // RFC 5424, 6: MSGID is 1*32PRINTUSASCII.
            assert!((1..=32).contains(&name.len()), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{name}");
            assert!(text.ends_with('.'), "{name}");
        }
    }

    const MANUAL: &str = include_str!("../../../../config/man/weir-log.5");

    #[test]
    fn the_manual_lists_the_same() {
        let list = MANUAL.split("begin of messages\n").nth(1).expect("there is a list");
        let list = list.split(".\\\" end of messages").next().expect("it ends");
        let listed: Vec<_> = list.split(".It Li ").skip(1).map(str::trim_end).collect();
        let known: Vec<_> = ALL.iter().map(|(name, text)| format!("{name}\n{text}")).collect();
        assert_eq!(listed, known);
    }

    #[test]
    fn the_manual_knows_every_field_and_every_key_of_a_log_server() {
        let words: HashSet<_> = MANUAL
            .lines()
            .filter_map(|line| line.strip_prefix(".It Cm "))
            .flat_map(|line| line.split(" , "))
            .collect();
        for name in crate::log::fields::NAMES.iter().chain(&weir_config::settings::SYSLOG_KEYS) {
            assert!(words.contains(name), "{name}");
        }
    }
}
