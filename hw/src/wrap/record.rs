//! A port that writes down what comes and goes, without loss: writing holds the worker up.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::frame::Frame;
use crate::pcap;
use crate::pcap::ng::{Direction, Interface, Note, Writer};
use crate::port::{Kind, Port, PortError, Stats};
use crate::sys::memory::Pool;

/// A pcapng file that several ports and workers write to.
#[derive(Debug)]
pub struct Record(Mutex<Writer<BufWriter<File>>>);

impl Record {
    /// Makes the file, with an interface for each port.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(path: &Path, ports: &[&str]) -> io::Result<Arc<Self>> {
        let interfaces: Vec<_> = ports
            .iter()
            .map(|&name| Interface { name: name.to_owned(), description: String::new() })
            .collect();
        let file = BufWriter::new(File::create(path)?);
        Ok(Arc::new(Self(Mutex::new(Writer::new(file, "weir", &interfaces, 0)?))))
    }

    fn write<'a>(
        &self,
        port: u32,
        direction: Direction,
        pool: &Pool,
        frames: impl Iterator<Item = &'a Frame>,
    ) -> io::Result<()> {
        let mut writer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let note = Note { direction: Some(direction), comment: "" };
        for frame in frames {
            let length = frame.len() as u32;
            let record = pcap::Record { time: now.as_nanos() as u64, length, captured: length };
            writer.write(port, record, pool.segments(frame), note)?;
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }
}

/// A port that is recorded.
pub struct Recorder {
    inner: Box<dyn Port>,
    record: Arc<Record>,
    port: u32,
    /// Frames at the head of the queue that were written down when they could not be sent.
    waiting: usize,
}

impl Recorder {
    /// Records a port, by its number in the record.
    pub fn new(inner: Box<dyn Port>, record: Arc<Record>, port: u32) -> Self {
        Self { inner, record, port, waiting: 0 }
    }
}

impl Port for Recorder {
    fn kind(&self) -> Kind {
        self.inner.kind()
    }

    /// # Errors
    /// As the inner port's, and when the record cannot be written: a recording with a hole would be
    /// worse than none.
    fn receive(
        &mut self,
        pool: &mut Pool,
        port: u8,
        frames: &mut Vec<Frame>,
        max: usize,
    ) -> Result<usize, PortError> {
        let before = frames.len();
        let received = self.inner.receive(pool, port, frames, max);
        let fresh = frames[before..].iter();
        self.record.write(self.port, Direction::Inbound, pool, fresh)?;
        received
    }

    fn transmit(
        &mut self,
        pool: &mut Pool,
        queue: &mut VecDeque<Frame>,
    ) -> Result<usize, PortError> {
        let fresh = queue.iter().skip(self.waiting);
        self.record.write(self.port, Direction::Outbound, pool, fresh)?;
        let sent = self.inner.transmit(pool, queue);
        self.waiting = queue.len();
        sent
    }

    fn flush(&mut self, pool: &mut Pool) -> Result<(), PortError> {
        self.inner.flush(pool)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inner.descriptor()
    }

    fn output_descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inner.output_descriptor()
    }

    fn error_shown(&mut self) -> Result<(), PortError> {
        self.inner.error_shown()
    }

    fn is_sending(&self) -> bool {
        self.inner.is_sending()
    }

    fn stats(&self) -> Stats {
        self.inner.stats()
    }

    fn carries_offloads(&self) -> bool {
        self.inner.carries_offloads()
    }

    /// Writes what is still in the record's buffer; an error of that is logged.
    fn close(&mut self, pool: &mut Pool) {
        self.inner.close(pool);
        if let Err(error) = self.record.flush() {
            tracing::error!("record: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;
    use crate::frame::Checksum;
    use crate::pcap::AnyReader;
    use crate::pcap::fed::fed;
    use crate::sys::memory::Memory;

    #[test]
    fn what_comes_and_goes_is_written_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record.pcapng");
        let record = Record::create(&path, &["lan", "wan"]).unwrap();
        let (inner, wire) = fed();
        let mut port = Recorder::new(Box::new(inner), Arc::clone(&record), 1);
        let mut pool = Pool::new(Memory::new(16, 2048).unwrap());
        let jumbo = vec![3; 5000];
        wire.put(b"first".to_vec(), Checksum::Unknown);
        wire.put(jumbo.clone(), Checksum::Unknown);
        let mut frames = Vec::new();
        assert_eq!(port.receive(&mut pool, 1, &mut frames, 9).unwrap(), 2);
        let mut queue: VecDeque<Frame> = frames.drain(..).collect();
        // One that could not be sent when it was written down.
        let fresh = queue.iter().take(1);
        record.write(1, Direction::Outbound, &pool, fresh).unwrap();
        port.waiting = 1;
        assert_eq!(port.transmit(&mut pool, &mut queue).unwrap(), 2);
        port.close(&mut pool);
        let file = BufReader::new(File::open(path).unwrap());
        let mut reader = AnyReader::new(file).unwrap();
        let (mut bytes, mut seen) = (Vec::new(), Vec::new());
        while let Some(packet) = reader.next(&mut bytes).unwrap() {
            assert_eq!(packet.interface, "wan");
            let direction = packet.direction.unwrap();
            seen.push((direction, bytes.clone()));
        }
        let (came, went) = (Direction::Inbound, Direction::Outbound);
        let first = b"first".to_vec();
        assert_eq!(
            seen,
            [(came, first.clone()), (came, jumbo.clone()), (went, first), (went, jumbo)]
        );
        pool.drain();
        assert_eq!(pool.memory().free_count(), 16);
    }
}
