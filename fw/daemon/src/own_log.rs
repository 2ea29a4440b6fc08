//! weir's own log on standard error. Who reads that may be slow (a serial console) or stuck (a pager):
//! lines wait in a bounded channel for a thread that does nothing else, so that nobody who logs ever
//! waits. What finds no room is lost, counted, and the loss is told.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait at most.
const WAITING: usize = 1024;

/// Where the lines go in.
#[derive(Clone, Debug)]
pub(crate) struct OwnLog {
    entries: Sender<Entry>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Entry {
    Line(Vec<u8>),
    /// Dropped when everything before it is written.
    Mark(#[expect(dead_code, reason = "its drop is the message")] Sender<()>),
}

impl OwnLog {
    /// A log to `out` with its thread.
    ///
    /// # Errors
    /// When the kernel gives no thread.
    pub(crate) fn start(mut out: impl Write + Send + 'static) -> io::Result<Self> {
        let (entries, waiting) = bounded(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let log = Self { entries, lost: Arc::clone(&lost) };
        std::thread::Builder::new()
            .name("weir-own-log".into())
            .spawn(move || write(&waiting, &lost, &mut out))?;
        Ok(log)
    }

    /// Waits until everything is written that was logged before, but no longer than `patience`.
    pub(crate) fn drain(&self, patience: Duration) {
        let (mark, passed) = bounded(0);
        if self.entries.send_timeout(Entry::Mark(mark), patience).is_ok() {
            // Ends with an error in any case: the mark is dropped, or it takes too long.
            let _ = passed.recv_timeout(patience);
        }
    }
}

/// Until the last [`OwnLog`] is gone. A standard error that is closed is no reason to stop.
fn write(entries: &Receiver<Entry>, lost: &AtomicU64, out: &mut impl Write) {
    for entry in entries {
        match entry {
            Entry::Line(line) => {
                let _ = out.write_all(&line);
            }
            Entry::Mark(_) => {}
        }
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(out, "weir: {lost} lines of this log were lost: nobody read it");
        }
    }
}

impl Write for OwnLog {
    /// Takes a whole line and never waits.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.entries.try_send(Entry::Line(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
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

    use super::{OwnLog, WAITING};

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
        for _ in 0..WAITING + 3 {
            log.write_all(b"line\n").unwrap();
        }
        log.drain(Duration::from_millis(10));
        assert!(lines.lock().is_empty(), "still stuck, and we are here");
        drop(open);
        log.drain(Duration::from_secs(60));
        let text = String::from_utf8(lines.lock().clone()).unwrap();
        assert!(text.starts_with("first\nweir: 3 lines of this log were lost"), "{text}");
        assert_eq!(text.lines().filter(|line| *line == "line").count(), WAITING);
    }
}
