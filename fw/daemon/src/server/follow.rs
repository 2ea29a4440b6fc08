//! The log, sent to a client line by line.

use std::io;
use std::time::Duration;

use weir_shell::protocol::{Follow, LogLine, Reply};

use super::session::{Session, done, refusal};
use crate::clock::Date;
use crate::control::Control;
use crate::log::Message;
use crate::log::escape;

/// How long it may take to notice that the client has had enough.
const REST: Duration = Duration::from_millis(100);

impl Session {
    /// Sends what was told, and what is. The reply is left to be sent; `None`: the client has had enough,
    /// and the connection is over.
    pub(super) fn follow(
        &mut self,
        control: &Control,
        follow: &Follow,
    ) -> io::Result<Option<Reply>> {
        let filter = match control.log_filter(&follow.filter) {
            Ok(filter) => filter,
            Err(refused) => return Ok(Some(refusal(refused))),
        };
        let (recent, follower) = control.follow_log();
        let mut wanted: Vec<_> =
            recent.into_iter().filter(|message| filter.matches(message)).collect();
        let last = follow.last.and_then(|last| usize::try_from(last).ok());
        let first = wanted.len().saturating_sub(last.unwrap_or(usize::MAX));
        let mut count = 0;
        for message in wanted.drain(first..) {
            self.connection.send(&Reply::Log(line(&message)))?;
            count += 1;
        }
        if !follow.follow {
            return Ok(Some(done(count)));
        }
        drop(wanted);
        loop {
            if self.connection.has_ended()? {
                self.connection.shut_down()?;
                return Ok(None);
            }
            let (messages, lost) = follower.take(REST);
            for message in messages {
                if filter.matches(&message) {
                    self.connection.send(&Reply::Log(line(&message)))?;
                }
                if self.connection.has_ended()? {
                    self.connection.shut_down()?;
                    return Ok(None);
                }
            }
            if lost > 0 {
                self.connection.send(&Reply::LogLost(lost))?;
            }
        }
    }
}

fn line(message: &Message) -> LogLine {
    let mut text = String::new();
    escape(message.text(), &mut text);
    let data = message.fields();
    LogLine {
        time: message.time,
        date: Date::since_epoch(Duration::from_nanos(message.time)).to_string(),
        name: message.name().to_owned(),
        severity: message.severity().to_string(),
        text,
        data: data.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    }
}
