//! A guest's serial line, as QEMU's standard streams carry it.

use std::io::{self, Read, Write};
use std::process::{Child, ChildStdin};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// The near end of the line.
#[derive(Debug)]
pub(super) struct Serial {
    stdin: ChildStdin,
    output: Receiver<Vec<u8>>,
    /// Came, and not yet looked at.
    pending: String,
}

impl Serial {
    /// The line of a QEMU that was started with pipes for both streams.
    ///
    /// # Panics
    /// If it was not.
    pub(super) fn of(child: &mut Child) -> Self {
        let stdin = child.stdin.take().expect("it was asked for");
        let mut stdout = child.stdout.take().expect("it was asked for");
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = stdout.read(&mut bytes) {
                if sender.send(bytes[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { stdin, output, pending: String::new() }
    }

    /// Types something.
    pub(super) fn send(&mut self, text: &str) -> io::Result<()> {
        self.stdin.write_all(text.as_bytes())?;
        self.stdin.flush()
    }

    /// What came up to the first of `marks` to appear, without it, and which one it was; what comes
    /// behind it is kept. When none comes: why not, and what came instead.
    pub(super) fn until_any(
        &mut self,
        marks: &[&str],
        patience: Duration,
    ) -> Result<(String, usize), String> {
        let deadline = Instant::now() + patience;
        let longest = marks.iter().map(|mark| mark.len()).max().unwrap_or_default();
        let mut searched = 0;
        loop {
            let found = marks.iter().enumerate().filter_map(|(which, mark)| {
                self.pending[searched..].find(mark).map(|at| (searched + at, which))
            });
            if let Some((at, which)) = found.min() {
                let rest = self.pending.split_off(at + marks[which].len());
                let mut before = std::mem::replace(&mut self.pending, rest);
                before.truncate(at);
                return Ok((before, which));
            }
            searched = self.pending.len().saturating_sub(longest);
            while !self.pending.is_char_boundary(searched) {
                searched -= 1;
            }
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.pending.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!("no end in time: {}", self.pending));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(format!("the machine has ended: {}", self.pending));
                }
            }
        }
    }
}
