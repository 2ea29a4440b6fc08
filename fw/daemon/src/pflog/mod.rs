//! Logged packets in the format of pf's log: capture files of link type `DLT_PFLOG`, whose packets
//! begin with what pf has to say of them, and which `tcpdump -ner` prints with rule number, action,
//! reason and interface. Rules with `log (to pflogN)` have a file N of their own beside the first.

mod files;
mod header;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{info, warn};

use self::files::Rotated;
use self::header::head;
use crate::log::events;
use crate::log::message::{LoggedPacket, Message, Subject};
use crate::log::outlet::{Drain, Outlet, Queue};

/// Packets that wait to be written at most.
const WAITING: usize = 8192;

/// The files, and the thread that writes them.
#[derive(Debug)]
pub struct Pflog {
    outlet: Outlet<Arc<Message>>,
}

impl Pflog {
    /// Writes to `path` from now on, beginning anew after `size` bytes and keeping `keep` old files.
    ///
    /// # Errors
    /// When the kernel gives no thread. A file that cannot be written is said in weir's own log, and
    /// tried again.
    pub fn start(path: &Path, size: u64, keep: u32) -> io::Result<Self> {
        let mut files =
            Files { path: path.to_owned(), size, keep, open: BTreeMap::new(), broken: false };
        let serve = move |mut queue: Queue<Arc<Message>>| files.serve(&mut queue);
        Ok(Self { outlet: Outlet::start("weir-pflog", WAITING, serve)? })
    }

    /// Writes a logged packet down; never waits.
    pub fn put(&self, message: Arc<Message>) {
        self.outlet.put(message);
    }

    /// Packets that were lost.
    pub fn lost(&self) -> u64 {
        self.outlet.lost()
    }

    /// Begins to wait until everything is written.
    pub fn begin_drain(&self) -> Drain<Arc<Message>> {
        self.outlet.begin_drain()
    }
}

/// By the number behind `pflog`.
struct Files {
    path: PathBuf,
    size: u64,
    keep: u32,
    open: BTreeMap<u8, Rotated>,
    /// It was said that a file cannot be written.
    broken: bool,
}

impl Files {
    fn serve(&mut self, queue: &mut Queue<Arc<Message>>) {
        // There from the start, so that it can be watched.
        let begun = self.file(0).begin();
        self.tell(begun);
        while let Some(message) = queue.take() {
            let mut count = 0;
            let mut written = self.write(&message).map(|()| count += 1);
            while written.is_ok()
                && let Some(message) = queue.take_waiting()
            {
                written = self.write(&message).map(|()| count += 1);
            }
            let flushed = self.open.values_mut().try_for_each(Rotated::flush);
            let lost = u64::from(written.is_err()) + if flushed.is_err() { count } else { 0 };
            if lost > 0 {
                queue.lose(lost);
            }
            self.tell(written.and(flushed));
        }
    }

    /// Says when files cannot be written any more, and when they can again.
    fn tell(&mut self, written: io::Result<()>) {
        let path = self.path.display();
        match written {
            Err(error) if !self.broken => {
                self.broken = true;
                warn!(target: events::LOG_FILE, "{path}: {error}; packets are lost there");
            }
            Ok(()) if self.broken => {
                self.broken = false;
                info!(target: events::LOG_FILE, "{path}: is written again");
            }
            _ => {}
        }
    }

    fn write(&mut self, message: &Message) -> io::Result<()> {
        let Subject::Packet(packet) = &message.subject else { return Ok(()) };
        let Some(head) = head(packet) else { return Ok(()) };
        let LoggedPacket { record, rule, .. } = &**packet;
        let offset = record.network_offset;
        let captured = &record.bytes[..usize::from(record.captured).min(record.bytes.len())];
        let Some(bytes) = captured.get(usize::from(offset)..) else { return Ok(()) };
        let length = record.length.saturating_sub(offset.into());
        let file = self.file(rule.as_ref().map_or(0, |rule| rule.log_to));
        file.write(message.time, &head, bytes, length)
    }

    fn file(&mut self, number: u8) -> &mut Rotated {
        self.open.entry(number).or_insert_with(|| {
            let path = match number {
                0 => self.path.clone(),
                number => {
                    let mut name = self.path.as_os_str().to_owned();
                    name.push(number.to_string());
                    name.into()
                }
            };
            Rotated::new(path, self.size, self.keep)
        })
    }
}
