//! Captures: a connection that carries a pcapng section instead of lines.

use std::io;
use std::time::{Duration, Instant};

use tracing::info;
use weir_hw::pcap::ng::Writer;
use weir_shell::protocol::{Capture, Reply};

use super::session::{Session, refusal};
use crate::control::{Control, Watch};
use crate::log::events;

impl Session {
    /// Captures until the client has had enough, one way or another. What is returned says why nothing
    /// was begun; else the connection is over.
    pub(super) fn capture(
        &mut self,
        control: &Control,
        capture: &Capture,
    ) -> io::Result<Option<Reply>> {
        let uid = self.uid;
        if uid != 0 {
            let text = "permission denied: only root may capture";
            return Ok(Some(Reply::Error(text.into())));
        }
        let mut watch = match control.watch(capture) {
            Ok(watch) => watch,
            Err(refused) => return Ok(Some(refusal(refused))),
        };
        let filter = match capture.filter.as_str() {
            "" => "everything".to_owned(),
            filter => filter.escape_debug().to_string(),
        };
        info!(target: events::CAPTURE, "user {uid} begins to capture {filter}");
        self.connection.send(&Reply::Capture(watch.begun()))?;
        let streamed = self.stream(capture, &mut watch);
        let ([lan, wan], [lan_lost, wan_lost]) = (watch.written(), watch.lost());
        let (seen, lost) = (lan + wan, lan_lost + wan_lost);
        match &streamed {
            Ok(()) => {
                info!(target: events::CAPTURE, "user {uid} captured {seen} packets, {lost} were lost");
            }
            Err(error) => {
                info!(target: events::CAPTURE, "user {uid} captured {seen} packets, {lost} were lost: {error}");
            }
        }
        streamed.map(|()| None)
    }

    /// Sends what a capture sees.
    fn stream(&mut self, capture: &Capture, watch: &mut Watch<'_>) -> io::Result<()> {
        /// How much is sent at a time, in bytes, more or less.
        const SHARE: usize = 256 << 10;
        /// So long packets wait at most.
        const REST: Duration = Duration::from_millis(20);
        let deadline =
            capture.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
        let mut writer =
            Writer::new(Vec::new(), "weir capture", &watch.interfaces(), watch.begun().snap)?;
        let mut left = capture.count.unwrap_or(u64::MAX);
        let mut ending = false;
        loop {
            if !ending {
                let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
                ending = left == 0 || late || self.connection.has_ended()?;
                if ending {
                    watch.stop();
                }
            }
            left -= watch.write_some(&mut writer, SHARE, left);
            let last = ending && (left == 0 || !watch.has_more());
            if last {
                watch.write_statistics(&mut writer);
            }
            let bytes = writer.take_output();
            if !bytes.is_empty() {
                self.connection.send_bytes(&bytes)?;
            }
            if last {
                return self.connection.shut_down();
            }
            if !ending && !watch.has_more() && left > 0 {
                let until = deadline.map(|end| end.saturating_duration_since(Instant::now()));
                self.connection.rest(until.map_or(REST, |until| until.min(REST)));
            }
        }
    }
}
