//! The pcap-file port: frames come out of one file, what is transmitted goes into another.
//!
//! Made for replay in virtual time: the caller reads [`PcapPort::next_time`] of its ports, sets the
//! engine's clock and, by [`PcapPort::set_clock`], the ports' to the earliest, and runs a round.
//! Without a clock frames come as fast as they are asked for.

pub mod file;

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;

use crate::frame::{Frame, Meta};
use crate::pcap::file::{Reader, Record, Writer};
use crate::port::{Kind, Port, PortError, Stats};
use crate::sys::memory::Pool;

/// A port over two files, either of which may be missing.
pub struct PcapPort {
    reader: Option<Reader<Box<dyn Read + Send>>>,
    writer: Option<Writer<Box<dyn Write + Send>>>,
    /// The next frame, read ahead: its record, and its bytes in `bytes`.
    next: Option<Record>,
    bytes: Vec<u8>,
    /// What went wrong while reading ahead; told when that frame's turn comes.
    pending: Option<file::Error>,
    /// Frames of later are not received yet, in nanoseconds since 1970.
    clock: Option<u64>,
    /// When the latest received frame was captured.
    last_time: u64,
    stats: Stats,
}

impl fmt::Debug for PcapPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PcapPort")
            .field("next", &self.next)
            .field("clock", &self.clock)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

impl PcapPort {
    /// Receives what `input` holds (no frames if `None`), writes to `output` what is transmitted
    /// (`None`: it is thrown away). Both should be buffered.
    ///
    /// # Errors
    /// What is wrong with the header of `input`, or with writing that of `output`. A broken first
    /// record is an error of the first `receive`.
    pub fn new(
        input: Option<Box<dyn Read + Send>>,
        output: Option<Box<dyn Write + Send>>,
    ) -> Result<Self, file::Error> {
        let mut port = Self {
            reader: input.map(Reader::new).transpose()?,
            writer: output.map(Writer::new).transpose()?,
            next: None,
            bytes: Vec::new(),
            pending: None,
            clock: None,
            last_time: 0,
            stats: Stats::default(),
        };
        port.read_ahead();
        Ok(port)
    }

    /// When the next frame was captured, in nanoseconds since 1970; `None` when no more can be
    /// received, at the end of the file or at an error that `receive` will tell.
    pub fn next_time(&self) -> Option<u64> {
        self.next.map(|record| record.time)
    }

    /// When the latest received frame was captured, likewise; 0 if none was.
    pub const fn last_time(&self) -> u64 {
        self.last_time
    }

    /// Sets the time, likewise: `receive` keeps to frames captured until then, transmitted ones are
    /// stamped with it. Before the first call they carry the time of the latest received one.
    pub const fn set_clock(&mut self, time: u64) {
        self.clock = Some(time);
    }

    fn read_ahead(&mut self) {
        self.next = None;
        let Some(reader) = &mut self.reader else { return };
        loop {
            match reader.next(&mut self.bytes) {
                Ok(Some(record)) if !record.is_whole() || record.captured == 0 => {
                    // Cut by the capture's snap length: the rest of the frame is nowhere.
                    self.stats.malformed += 1;
                }
                Ok(record) => {
                    self.next = record;
                    return;
                }
                Err(error) => {
                    self.pending = Some(error);
                    self.reader = None;
                    return;
                }
            }
        }
    }

    /// A frame of the bytes read ahead; `None` if the pool has not enough buffers.
    fn frame(&self, pool: &mut Pool) -> Option<Frame> {
        let capacity = pool.memory().buffer_size();
        let mut chain: Option<(Frame, u32)> = None;
        for part in self.bytes.chunks(capacity) {
            let Some(mut buffer) = pool.allocate() else {
                if let Some((frame, _)) = chain {
                    pool.release(frame);
                }
                return None;
            };
            pool.buffer_mut(&mut buffer)[..part.len()].copy_from_slice(part);
            let index = buffer.0;
            match &mut chain {
                None => chain = Some((pool.frame(buffer, 0, part.len(), Meta::default()), index)),
                Some((frame, last)) => pool.append(frame, last, buffer, 0, part.len()),
            }
        }
        chain.map(|(frame, _)| frame)
    }
}

impl Port for PcapPort {
    fn kind(&self) -> Kind {
        Kind::Pcap
    }

    /// Frames that the file holds only in part are counted as malformed and left out.
    ///
    /// # Errors
    /// [`PortError::Io`] with the offset of what is broken in the file, once; it ends there.
    fn receive(
        &mut self,
        pool: &mut Pool,
        port: u8,
        frames: &mut Vec<Frame>,
        max: usize,
    ) -> Result<usize, PortError> {
        let mut received = 0;
        while received < max
            && let Some(record) = self.next
        {
            if self.clock.is_some_and(|clock| record.time > clock) {
                break;
            }
            let Some(mut frame) = self.frame(pool) else {
                self.stats.pool_empty += 1;
                break;
            };
            frame.port = port;
            frames.push(frame);
            self.last_time = record.time;
            self.stats.received += 1;
            received += 1;
            self.read_ahead();
        }
        if received == 0
            && self.next.is_none()
            && let Some(error) = self.pending.take()
        {
            return Err(PortError::Io(error.into()));
        }
        Ok(received)
    }

    fn transmit(
        &mut self,
        pool: &mut Pool,
        queue: &mut VecDeque<Frame>,
    ) -> Result<usize, PortError> {
        let time = self.clock.unwrap_or(self.last_time);
        let mut sent = 0;
        while let Some(frame) = queue.front() {
            if let Some(writer) = &mut self.writer {
                let segments: Vec<&[u8]> = pool.segments(frame).collect();
                writer.write(time, segments.into_iter()).map_err(io::Error::from)?;
            }
            if let Some(frame) = queue.pop_front() {
                pool.release(frame);
            }
            self.stats.transmitted += 1;
            sent += 1;
        }
        Ok(sent)
    }

    /// Does nothing: buffers are free already, and the file is written when its buffer is full.
    fn flush(&mut self, _pool: &mut Pool) -> Result<(), PortError> {
        Ok(())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn stats(&self) -> Stats {
        self.stats
    }

    /// Writes what is still in the writer's buffer; an error of that is logged.
    fn close(&mut self, _pool: &mut Pool) {
        if let Some(writer) = &mut self.writer
            && let Err(error) = writer.flush()
        {
            tracing::error!("pcap: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, BufWriter};
    use std::sync::Arc;

    use super::*;
    use crate::sys::memory::Memory;

    /// A file with these frames, (time, bytes).
    fn file(frames: &[(u64, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes).unwrap();
        for &(time, frame) in frames {
            writer.write(time, std::iter::once(frame)).unwrap();
        }
        bytes
    }

    fn port(input: Vec<u8>) -> PcapPort {
        PcapPort::new(Some(Box::new(io::Cursor::new(input))), None).unwrap()
    }

    fn pool(count: u32) -> Pool {
        Pool::new(Memory::new(count, 2048).unwrap())
    }

    #[test]
    fn frames_go_from_file_to_file() {
        let jumbo = vec![9; 9000];
        let input = file(&[(10, b"first"), (20, &jumbo), (30, b"last")]);
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("in.pcap"), directory.path().join("out.pcap"));
        std::fs::write(&from, &input).unwrap();
        let reader = BufReader::new(std::fs::File::open(from).unwrap());
        let writer = BufWriter::new(std::fs::File::create(&to).unwrap());
        let mut port = PcapPort::new(Some(Box::new(reader)), Some(Box::new(writer))).unwrap();
        let mut pool = pool(16);
        let mut frames = Vec::new();
        assert_eq!(port.receive(&mut pool, 3, &mut frames, 2).unwrap(), 2);
        assert_eq!((frames[0].port, frames[0].len(), frames[1].len()), (3, 5, 9000));
        assert_eq!((port.last_time(), port.next_time()), (20, Some(30)));
        let mut queue: VecDeque<Frame> = frames.drain(..).collect();
        assert_eq!(port.transmit(&mut pool, &mut queue).unwrap(), 2);
        port.set_clock(99);
        assert_eq!(port.receive(&mut pool, 3, &mut frames, 2).unwrap(), 1);
        queue.extend(frames.drain(..));
        port.transmit(&mut pool, &mut queue).unwrap();
        port.flush(&mut pool).unwrap();
        port.close(&mut pool);
        assert_eq!(port.receive(&mut pool, 3, &mut frames, 2).unwrap(), 0);
        let expected = file(&[(20, b"first"), (20, &jumbo), (99, b"last")]);
        assert!(std::fs::read(to).unwrap() == expected);
        let stats = port.stats();
        assert_eq!((stats.received, stats.transmitted, stats.malformed), (3, 3, 0));
        pool.drain();
        let memory = Arc::clone(pool.memory());
        assert_eq!(memory.free_count(), 16, "no buffer is lost");
    }

    #[test]
    fn frames_of_later_wait_for_the_clock() {
        let mut port = port(file(&[(10, b"a"), (20, b"b"), (20, b"c")]));
        let mut pool = pool(4);
        let mut frames = Vec::new();
        for (clock, count) in [(9, 0), (10, 1), (19, 0), (20, 2), (21, 0)] {
            port.set_clock(clock);
            assert_eq!(port.receive(&mut pool, 0, &mut frames, 64).unwrap(), count, "{clock}");
        }
        for frame in frames {
            pool.release(frame);
        }
    }

    #[test]
    fn cut_and_empty_frames_are_malformed() {
        let mut input = file(&[(1, b"cut here"), (2, b""), (3, b"whole")]);
        // Its length on the wire was 9.
        input[24 + 12] = 9;
        let mut port = port(input);
        let mut pool = pool(4);
        let mut frames = Vec::new();
        assert_eq!(port.next_time(), Some(3));
        assert_eq!(port.receive(&mut pool, 0, &mut frames, 64).unwrap(), 1);
        assert_eq!(pool.head(&frames[0]), b"whole");
        assert_eq!(port.stats().malformed, 2);
        pool.release(frames.pop().unwrap());
    }

    #[test]
    fn a_broken_record_ends_the_file_after_what_was_good() {
        let mut input = file(&[(1, b"good"), (2, b"bad")]);
        input.truncate(input.len() - 1);
        let mut port = port(input);
        let mut pool = pool(4);
        let mut frames = Vec::new();
        assert_eq!(port.receive(&mut pool, 0, &mut frames, 64).unwrap(), 1);
        let error = port.receive(&mut pool, 0, &mut frames, 64).unwrap_err();
        assert_eq!(error.to_string(), "offset 60: the file ends in the middle of it");
        assert_eq!(port.receive(&mut pool, 0, &mut frames, 64).unwrap(), 0, "told once");
        pool.release(frames.pop().unwrap());
    }

    #[test]
    fn an_empty_pool_loses_nothing() {
        let mut port = port(file(&[(1, &[1; 5000]), (2, b"next")]));
        let mut pool = pool(3);
        let mut frames = Vec::new();
        let held = pool.allocate().unwrap();
        assert_eq!(port.receive(&mut pool, 0, &mut frames, 64).unwrap(), 0);
        assert_eq!(port.stats().pool_empty, 1);
        pool.free(held);
        assert_eq!(port.receive(&mut pool, 0, &mut frames, 64).unwrap(), 1);
        assert_eq!(port.next_time(), Some(2));
        pool.release(frames.pop().unwrap());
        assert_eq!(port.receive(&mut pool, 0, &mut frames, 64).unwrap(), 1);
        pool.release(frames.pop().unwrap());
    }
}
