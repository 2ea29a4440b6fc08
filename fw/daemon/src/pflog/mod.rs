//! Logged packets in the format of pf's log: capture files of link type `DLT_PFLOG`, whose packets
//! begin with what pf has to say of them, and which `tcpdump -ner` prints with rule number, action,
//! reason and interface. Rules with `log (to pflogN)` have a file N of their own beside the first.

mod files;
mod header;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use self::files::Rotated;
use self::header::head;
use crate::log::events;
use crate::log::message::{LoggedPacket, Message, Subject};
use crate::log::outlet::{Drain, Outlet, Queue};

/// Packets that wait to be written at most.
const WAITING: usize = 8192;

/// Between two words about what was lost.
const PAUSE: Duration = Duration::from_secs(10);

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
        let mut files = Files {
            path: path.to_owned(),
            size,
            keep,
            open: BTreeMap::new(),
            losses: 0,
            told: None,
        };
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
    /// Packets that were lost and not told of, and when some last were.
    losses: u64,
    told: Option<Instant>,
}

impl Files {
    fn serve(&mut self, queue: &mut Queue<Arc<Message>>) {
        // There from the start, so that it can be watched.
        self.file(0).begin();
        self.tell(queue);
        while let Some(message) = queue.take() {
            self.write(&message);
            while let Some(message) = queue.take_waiting() {
                self.write(&message);
            }
            self.open.values_mut().for_each(Rotated::flush);
            self.tell(queue);
        }
    }

    /// Says which files cannot be written any more, which can again, and what was lost.
    fn tell(&mut self, queue: &mut Queue<Arc<Message>>) {
        for file in self.open.values_mut() {
            let news = file.take_news();
            queue.lose(file.take_lost());
            let path = file.path().display();
            match news {
                Some(Err(error)) => {
                    warn!(target: events::LOG_FILE, "{path}: {error}; packets are lost there");
                }
                Some(Ok(())) => info!(target: events::LOG_FILE, "{path}: is written again"),
                None => {}
            }
        }
        self.losses += queue.newly_lost();
        if self.losses > 0 && self.told.is_none_or(|at| at.elapsed() >= PAUSE) {
            let lost = std::mem::take(&mut self.losses);
            self.told = Some(Instant::now());
            let path = self.path.display();
            warn!(target: events::LOG_LOST, "{lost} packets are missing in {path}");
        }
    }

    fn write(&mut self, message: &Message) {
        let Subject::Packet(packet) = &message.subject else { return };
        let Some(head) = head(packet) else { return };
        let LoggedPacket { record, rule, .. } = &**packet;
        let offset = record.network_offset;
        let captured = &record.bytes[..usize::from(record.captured).min(record.bytes.len())];
        let Some(bytes) = captured.get(usize::from(offset)..) else { return };
        let length = record.length.saturating_sub(offset.into());
        let file = self.file(rule.as_ref().map_or(0, |rule| rule.log_to));
        file.write(message.time, &head, bytes, length);
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
