//! Bytes for long transfers: made while they are sent and compared while they arrive, so that a
//! gigabyte of them takes no memory.

use std::io::{self, ErrorKind, Read, Write};

use crate::random::Random;

/// Length of what repeats: a prime, so that no power of two brings the same bytes back to the same
/// place.
const BLOCK: usize = 1_000_003;

/// A stream that looks random. Two differ by their seed.
#[derive(Clone, Debug)]
pub struct Stream {
    block: Vec<u8>,
}

impl Stream {
    /// Makes it.
    pub fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        Self { block: (0..BLOCK).map(|_| random.next() as u8).collect() }
    }

    /// Writes its first `length` bytes.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn send(&self, mut to: impl Write, length: u64) -> io::Result<()> {
        let mut left = length;
        while left > 0 {
            let part = &self.block[..left.min(BLOCK as u64) as usize];
            to.write_all(part)?;
            left -= part.len() as u64;
        }
        Ok(())
    }

    /// Reads to the end and compares every byte; returns how many there were.
    ///
    /// # Errors
    /// Those of the reader, and [`ErrorKind::InvalidData`] at the first byte that is wrong.
    pub fn check(&self, mut from: impl Read) -> io::Result<u64> {
        let (mut buffer, mut count) = (vec![0; 1 << 18], 0);
        loop {
            let length = match from.read(&mut buffer) {
                Ok(0) => return Ok(count),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let mut rest = &buffer[..length];
            while !rest.is_empty() {
                let at = (count % BLOCK as u64) as usize;
                let (part, more) = rest.split_at(rest.len().min(BLOCK - at));
                if part != &self.block[at..at + part.len()] {
                    return Err(ErrorKind::InvalidData.into());
                }
                count += part.len() as u64;
                rest = more;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_right_and_nothing_else() {
        let (stream, other) = (Stream::new(1), Stream::new(2));
        let mut sent = Vec::new();
        let length = 2 * BLOCK as u64 + 5;
        stream.send(&mut sent, length).expect("a vector takes everything");
        assert_eq!(stream.check(&sent[..]).expect("the same"), length);
        assert!(other.check(&sent[..]).is_err());
        sent.remove(BLOCK - 1);
        assert!(stream.check(&sent[..]).is_err(), "a byte is missing");
    }
}
