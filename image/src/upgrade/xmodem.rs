//! Receiving a file over the console: XMODEM with CRC and blocks of 128 or 1024 bytes (Forsberg,
//! "XMODEM/YMODEM Protocol Reference", 1988), which every terminal program can send.

use std::io::{self, Write};
use std::time::Duration;

const SOH: u8 = 0x01;
const STX: u8 = 0x02;
const ETX: u8 = 0x03;
const EOT: u8 = 0x04;
const ACK: u8 = 0x06;
const NAK: u8 = 0x15;
const CAN: u8 = 0x18;
/// Asks for blocks with CRC.
const CRC: u8 = b'C';

/// What the last block is filled up with.
pub(super) const PADDING: u8 = 0x1a;

/// How often it is asked for the first block, once every [`ASKING`]: somebody has to find the menu.
const BEGINNINGS: u32 = 60;
const ASKING: Duration = Duration::from_secs(3);
/// How long a byte of a block may take.
const BYTE: Duration = Duration::from_secs(2);
/// How long a block may take to begin.
const BLOCK: Duration = Duration::from_secs(10);
/// After an error: how long the line must be silent.
const SILENCE: Duration = Duration::from_millis(500);
/// Errors in a row that end it.
const ERRORS: u32 = 10;

/// A line of bytes in both directions.
pub trait Line {
    /// The next byte; `None` if none comes in time.
    ///
    /// # Errors
    /// When the line is gone.
    fn read(&mut self, patience: Duration) -> io::Result<Option<u8>>;

    /// Sends bytes.
    ///
    /// # Errors
    /// When the line is gone.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// What came instead of a block, if none did.
enum Came {
    /// A block with its number.
    Block(u8, Vec<u8>),
    /// Nothing that makes sense.
    Noise,
    /// Nothing.
    Nothing,
    /// The end of the file.
    End,
    /// The sender gave up, or somebody has typed Ctrl-C.
    Stop,
}

/// Receives a file of at most so many bytes, its padding included.
///
/// # Errors
/// When nobody sends, the sender gives up, there are too many errors, or it is longer; or it cannot be
/// written.
pub fn receive(line: &mut impl Line, into: &mut impl Write, most: u64) -> io::Result<u64> {
    let received = blocks(line, into, most);
    if received.is_err() {
        // Whatever the line is like: the sender should stop.
        let _ = line.write(&[CAN, CAN, CAN, CAN]);
    }
    received
}

fn blocks(line: &mut impl Line, into: &mut impl Write, most: u64) -> io::Result<u64> {
    let ended = |text: &str| Err(io::Error::other(text.to_owned()));
    let (mut expected, mut length) = (1_u8, 0);
    let (mut begun, mut errors) = (false, 0);
    line.write(&[CRC])?;
    loop {
        let patience = if begun { BLOCK } else { ASKING };
        match block(line, patience)? {
            Came::Block(number, bytes) if number == expected => {
                length += bytes.len() as u64;
                if length > most {
                    return ended("the file is longer than any upgrade");
                }
                into.write_all(&bytes)?;
                expected = expected.wrapping_add(1);
                (begun, errors) = (true, 0);
                line.write(&[ACK])?;
            }
            // Our answer to it was lost.
            Came::Block(number, _) if begun && number == expected.wrapping_sub(1) => {
                errors += 1;
                line.write(&[ACK])?;
            }
            Came::Block(..) => return ended("a block is missing: the transfer was broken off"),
            Came::End => {
                line.write(&[ACK])?;
                return Ok(length);
            }
            Came::Stop => return ended("the transfer was broken off"),
            Came::Noise => {
                errors += 1;
                while line.read(SILENCE)?.is_some() {}
                line.write(&[if begun { NAK } else { CRC }])?;
            }
            Came::Nothing => {
                errors += 1;
                line.write(&[if begun { NAK } else { CRC }])?;
            }
        }
        if errors >= if begun { ERRORS } else { BEGINNINGS } {
            return ended(if begun {
                "too many errors on the line: the transfer was broken off"
            } else {
                "nobody sends anything"
            });
        }
    }
}

fn block(line: &mut impl Line, patience: Duration) -> io::Result<Came> {
    let size = match line.read(patience)? {
        None => return Ok(Came::Nothing),
        Some(SOH) => 128,
        Some(STX) => 1024,
        Some(EOT) => return Ok(Came::End),
        Some(ETX) => return Ok(Came::Stop),
        // One may be noise.
        Some(CAN) if line.read(BYTE)? == Some(CAN) => return Ok(Came::Stop),
        Some(_) => return Ok(Came::Noise),
    };
    let mut bytes = Vec::with_capacity(size + 4);
    while bytes.len() < size + 4 {
        let Some(byte) = line.read(BYTE)? else { return Ok(Came::Noise) };
        bytes.push(byte);
    }
    let sum = u16::from_be_bytes([bytes[size + 2], bytes[size + 3]]);
    let number = bytes[0];
    if bytes[1] != !number || crc16(&bytes[2..size + 2]) != sum {
        return Ok(Came::Noise);
    }
    bytes.truncate(size + 2);
    bytes.drain(..2);
    Ok(Came::Block(number, bytes))
}

/// CRC-16 of the XMODEM protocol: polynomial 0x1021, from 0.
pub(crate) fn crc16(bytes: &[u8]) -> u16 {
    let step = |crc: u16| crc << 1 ^ if crc & 0x8000 == 0 { 0 } else { 0x1021 };
    bytes.iter().fold(0, |crc, &byte| (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| step(crc)))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io;
    use std::time::Duration;

    use super::{ACK, CAN, CRC, EOT, Line, NAK, SOH, STX, crc16, receive};

    #[test]
    fn the_checksum_is_that_of_the_protocol() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
    }

    fn block(number: u8, bytes: &[u8]) -> Vec<u8> {
        let size = if bytes.len() > 128 { 1024 } else { 128 };
        let mut padded = bytes.to_vec();
        padded.resize(size, 0x1a);
        let sum = crc16(&padded).to_be_bytes();
        [&[if size == 128 { SOH } else { STX }, number, !number], &padded[..], &sum].concat()
    }

    /// A sender that answers as a terminal program does, over a line that spoils some blocks.
    struct Sender {
        blocks: Vec<Vec<u8>>,
        at: usize,
        /// Blocks are spoiled at these sendings.
        spoiled: Vec<usize>,
        sent: usize,
        waiting: VecDeque<u8>,
        ended: bool,
    }

    impl Sender {
        fn new(file: &[u8], size: usize, spoiled: &[usize]) -> Self {
            let numbered = file.chunks(size).zip((1..=255).chain(0..=0).cycle());
            let blocks = numbered.map(|(bytes, number)| block(number, bytes)).collect();
            let spoiled = spoiled.to_vec();
            Self { blocks, at: 0, spoiled, sent: 0, waiting: VecDeque::new(), ended: false }
        }
    }

    impl Line for Sender {
        fn read(&mut self, _: Duration) -> io::Result<Option<u8>> {
            Ok(self.waiting.pop_front())
        }

        fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
            for &byte in bytes {
                match byte {
                    ACK if self.at == self.blocks.len() => {
                        self.ended = true;
                        return Ok(());
                    }
                    ACK => self.at += 1,
                    NAK | CRC => {}
                    _ => {
                        self.waiting.clear();
                        self.blocks.clear();
                        return Ok(());
                    }
                }
                let Some(block) = self.blocks.get(self.at) else {
                    self.waiting.push_back(EOT);
                    continue;
                };
                let mut block = block.clone();
                if self.spoiled.contains(&self.sent) {
                    let middle = block.len() / 2;
                    block[middle] ^= 0x40;
                }
                self.sent += 1;
                self.waiting.extend(block);
            }
            Ok(())
        }
    }

    #[test]
    fn files_arrive_over_good_lines_and_bad_ones() {
        let file: Vec<u8> = (0..70_000_u32).map(|at| (at / 3) as u8).collect();
        for (size, spoiled) in
            [(128, &[][..]), (1024, &[]), (128, &[0, 3, 4, 260]), (1024, &[0, 1, 68])]
        {
            let mut sender = Sender::new(&file, size, spoiled);
            let mut got = Vec::new();
            let length = receive(&mut sender, &mut got, 1 << 20).unwrap();
            assert!(sender.ended);
            assert_eq!((length as usize, &got[..70_000]), (got.len(), &file[..]));
            assert!(got.len() < 71_024 && got[70_000..].iter().all(|&byte| byte == 0x1a));
        }
    }

    #[test]
    fn what_goes_wrong_ends_in_words() {
        let file = vec![1; 4000];
        let wrong = |mut sender: Sender, most| {
            let error = receive(&mut sender, &mut Vec::new(), most).unwrap_err();
            assert!(sender.blocks.is_empty(), "the sender was told");
            error.to_string()
        };
        assert!(wrong(Sender::new(&file, 128, &[]), 3999).contains("longer"));
        let all: Vec<_> = (1..100).collect();
        assert!(wrong(Sender::new(&file, 128, &all), 1 << 20).contains("too many errors"));
        let mut missing = Sender::new(&file, 128, &[]);
        missing.blocks.remove(2);
        assert!(wrong(missing, 1 << 20).contains("a block is missing"));
        let mut stopped = Sender::new(&file, 128, &[]);
        stopped.blocks[1] = vec![CAN, CAN];
        assert!(wrong(stopped, 1 << 20).contains("broken off"));
        let mut silent = Sender::new(&file, 128, &[]);
        silent.blocks = vec![Vec::new()];
        assert!(wrong(silent, 1 << 20).contains("nobody sends"));
    }

    #[test]
    fn a_block_whose_answer_was_lost_is_taken_once() {
        let mut sender = Sender::new(&[1; 300], 128, &[]);
        let again = sender.blocks[0].clone();
        sender.blocks.insert(1, again);
        let mut got = Vec::new();
        assert_eq!(receive(&mut sender, &mut got, 1 << 20).unwrap(), 384);
    }
}
