//! Where something is written that may be slow (a serial console), stuck (a pager) or away (a log
//! server): what is to be written waits in a bounded queue for a thread that does nothing else, so that
//! nobody who has something to tell ever waits. What finds no room is lost and counted.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use tracing_subscriber::fmt::MakeWriter;

/// Lines of weir's own log that wait at most.
pub(crate) const LINES: usize = 1024;

/// The end where things go in.
#[derive(Debug)]
pub struct Outlet<T> {
    entries: Sender<Entry<T>>,
    lost: Arc<AtomicU64>,
}

impl<T> Clone for Outlet<T> {
    fn clone(&self) -> Self {
        Self { entries: self.entries.clone(), lost: Arc::clone(&self.lost) }
    }
}

#[derive(Debug)]
enum Entry<T> {
    Item(T),
    /// Dropped when everything before it is written.
    Mark(Sender<()>),
}

/// The end where they come out.
#[derive(Debug)]
pub struct Queue<T> {
    entries: Receiver<Entry<T>>,
    lost: Arc<AtomicU64>,
    told: u64,
    /// Passed while what was taken before them may not be written yet.
    passed: Vec<Sender<()>>,
}

impl<T> Queue<T> {
    /// The next thing; waits for it. `None`: there will be no more. Everything that was taken before is
    /// written, or never will be.
    pub fn take(&mut self) -> Option<T> {
        self.passed.clear();
        loop {
            match self.entries.recv().ok()? {
                Entry::Item(item) => return Some(item),
                Entry::Mark(_) => {}
            }
        }
    }

    /// The next thing, if it is there, to be written together with what was taken before.
    pub fn take_waiting(&mut self) -> Option<T> {
        loop {
            match self.entries.try_recv().ok()? {
                Entry::Item(item) => return Some(item),
                Entry::Mark(mark) => self.passed.push(mark),
            }
        }
    }

    /// How many were lost and not told of by this before.
    pub fn newly_lost(&mut self) -> u64 {
        let lost = self.lost.load(Ordering::Relaxed);
        lost - std::mem::replace(&mut self.told, lost)
    }

    /// Something that came out cannot be written.
    pub fn lose(&self, count: u64) {
        self.lost.fetch_add(count, Ordering::Relaxed);
    }
}

impl<T: Send + 'static> Outlet<T> {
    /// An outlet with room for so many things; `serve` runs on a thread of that name until the last
    /// [`Outlet`] is gone.
    ///
    /// # Errors
    /// When the kernel gives no thread.
    pub fn start(
        name: &str,
        room: usize,
        serve: impl FnOnce(Queue<T>) + Send + 'static,
    ) -> io::Result<Self> {
        let (entries, waiting) = bounded(room);
        let lost: Arc<AtomicU64> = Arc::default();
        let queue =
            Queue { entries: waiting, lost: Arc::clone(&lost), told: 0, passed: Vec::new() };
        std::thread::Builder::new().name(name.into()).spawn(move || serve(queue))?;
        Ok(Self { entries, lost })
    }

    /// Puts something in, or counts it as lost. Never waits.
    pub fn put(&self, item: T) {
        if self.entries.try_send(Entry::Item(item)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// As [`Outlet::put`] for things that come in floods: these leave an eighth of the room to others.
    pub fn put_crowd(&self, item: T) {
        let room = self.entries.capacity().unwrap_or(usize::MAX);
        if self.entries.len() < room - room / 8 {
            self.put(item);
        } else {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many things were lost.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.entries.len()
    }

    /// Begins to wait until everything is written that was put in before.
    pub fn begin_drain(&self) -> Drain<T> {
        let (mark, passed) = bounded(0);
        let mark = self.entries.try_send(Entry::Mark(mark)).err().map(TrySendError::into_inner);
        Drain { entries: self.entries.clone(), mark, passed }
    }

    /// Waits until everything is written that was put in before, but no longer than `patience`; tells
    /// whether it is.
    pub fn drain(&self, patience: Duration) -> bool {
        self.begin_drain().finish(Instant::now() + patience)
    }
}

/// Somebody who waits for an [`Outlet`] to be empty.
#[derive(Debug)]
pub struct Drain<T> {
    entries: Sender<Entry<T>>,
    /// What found no room yet.
    mark: Option<Entry<T>>,
    passed: Receiver<()>,
}

impl<T> Drain<T> {
    /// Waits, but no longer than that; tells whether everything is written.
    pub fn finish(self, deadline: Instant) -> bool {
        let put = self.mark.is_none_or(|mark| self.entries.send_deadline(mark, deadline).is_ok());
        // Nothing is ever sent: the mark is dropped.
        put && self.passed.recv_deadline(deadline) == Err(RecvTimeoutError::Disconnected)
    }
}

/// weir's own log: lines for standard error.
#[derive(Clone, Debug)]
pub(crate) struct OwnLog(Outlet<Vec<u8>>);

impl OwnLog {
    /// A log to `out` with its thread.
    ///
    /// # Errors
    /// When the kernel gives no thread.
    pub(crate) fn start(mut out: impl Write + Send + 'static) -> io::Result<Self> {
        let write = move |mut lines: Queue<Vec<u8>>| {
            // A standard error that is closed is no reason to stop.
            while let Some(line) = lines.take() {
                let _ = out.write_all(&line);
                let lost = lines.newly_lost();
                if lost > 0 {
                    let _ =
                        writeln!(out, "weir: {lost} lines of this log were lost: nobody read it");
                }
            }
        };
        Outlet::start("weir-own-log", LINES, write).map(Self)
    }

    /// As [`Outlet::drain`].
    pub(crate) fn drain(&self, patience: Duration) -> bool {
        self.0.drain(patience)
    }
}

impl Write for OwnLog {
    /// Takes a whole line and never waits.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.put(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for OwnLog {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::Arc;
    use std::time::Duration;

    use crossbeam::channel::{Receiver, Sender, unbounded};
    use parking_lot::Mutex;

    use super::{LINES, OwnLog};

    /// Takes a line only when it is let.
    struct Stuck {
        began: Sender<()>,
        gate: Receiver<()>,
        lines: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.began.send(());
            let _ = self.gate.recv();
            self.lines.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_a_reader_that_is_stuck() {
        let lines = Arc::<Mutex<Vec<u8>>>::default();
        let (began, has_begun) = unbounded();
        let (open, gate) = unbounded();
        let mut log = OwnLog::start(Stuck { began, gate, lines: Arc::clone(&lines) }).unwrap();
        log.write_all(b"first\n").unwrap();
        has_begun.recv().unwrap();
        // One is being written, so many wait, three are too many.
        for _ in 0..LINES + 3 {
            log.write_all(b"line\n").unwrap();
        }
        log.drain(Duration::from_millis(10));
        assert!(lines.lock().is_empty(), "still stuck, and we are here");
        drop(open);
        log.drain(Duration::from_secs(60));
        let text = String::from_utf8(lines.lock().clone()).unwrap();
        assert!(text.starts_with("first\nweir: 3 lines of this log were lost"), "{text}");
        assert_eq!(text.lines().filter(|line| *line == "line").count(), LINES);
    }
}
