//! SCTP (RFC 9260): the common header and which chunks follow.

use super::Sctp;
use super::bytes::{be16, be32, header};
use crate::reason::Reason;

/// Length of the common header, in bytes.
pub const HEADER: usize = 12;
/// Where the checksum stands in the common header, four bytes long.
pub const CHECKSUM: usize = 8;
/// Length of the header of a chunk, in bytes.
const CHUNK: usize = 4;
/// Chunks that are looked at; a packet of a host has a handful before its data.
const MOST: usize = 64;

/// Chunk types (IANA).
pub mod chunk {
    /// Payload data.
    pub const DATA: u8 = 0;
    /// Initiation.
    pub const INIT: u8 = 1;
    /// Initiation acknowledgement.
    pub const INIT_ACK: u8 = 2;
    /// Selective acknowledgement.
    pub const SACK: u8 = 3;
    /// Heartbeat request.
    pub const HEARTBEAT: u8 = 4;
    /// Heartbeat acknowledgement.
    pub const HEARTBEAT_ACK: u8 = 5;
    /// Abort.
    pub const ABORT: u8 = 6;
    /// Shutdown.
    pub const SHUTDOWN: u8 = 7;
    /// Shutdown acknowledgement.
    pub const SHUTDOWN_ACK: u8 = 8;
    /// Operation error.
    pub const ERROR: u8 = 9;
    /// State cookie.
    pub const COOKIE_ECHO: u8 = 10;
    /// Cookie acknowledgement.
    pub const COOKIE_ACK: u8 = 11;
    /// Shutdown complete.
    pub const SHUTDOWN_COMPLETE: u8 = 14;
}

/// The T bit of ABORT and SHUTDOWN COMPLETE: the tag is the one that the sender itself goes by.
const REFLECTED: u8 = 1;

/// Reads the packet at `at` that ends before `end`, of which `head` is the first segment: ports, then
/// what tracking needs. Chunks are read up to the first of data, behind which no other may stand (RFC
/// 9260, 6.10), and up to the end of `head`. Fails with [`Reason::TruncatedSctp`],
/// [`Reason::SplitHeader`] or [`Reason::SctpChunks`].
pub(super) fn parse(head: &[u8], at: usize, end: usize) -> Result<([u16; 2], Sctp), Reason> {
    let fixed: &[u8; HEADER] = header(head, at, end, Reason::TruncatedSctp)?;
    let mut sctp = Sctp { tag: be32(fixed, 4), initiate: 0, chunks: 0, reflected: false };
    let mut next = at + HEADER;
    let mut count = 0;
    while next < end && count < MOST {
        let Some(&[kind, flags, high, low]) = head.get(next..).and_then(<[u8]>::first_chunk) else {
            // In a later segment of the frame there is data, or nothing that a host sends.
            return if count == 0 { Err(Reason::SplitHeader) } else { Ok((ports(fixed), sctp)) };
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length < CHUNK || next + length > end {
            return Err(Reason::SctpChunks);
        }
        if kind < 16 {
            sctp.chunks |= 1 << kind;
        }
        match kind {
            chunk::DATA => break,
            chunk::INIT | chunk::INIT_ACK => {
                let tag: &[u8; CHUNK] = header(head, next + CHUNK, end, Reason::SctpChunks)?;
                sctp.initiate = be32(tag, 0);
                // Such a chunk is alone in its packet, and its tag is never 0 (RFC 9260, 3.3.2).
                if count > 0 || sctp.initiate == 0 || next + length.next_multiple_of(4) < end {
                    return Err(Reason::SctpChunks);
                }
            }
            chunk::ABORT | chunk::SHUTDOWN_COMPLETE => sctp.reflected = flags & REFLECTED != 0,
            _ => {}
        }
        next += length.next_multiple_of(4);
        count += 1;
    }
    // An INIT has no tag to go by yet, and nothing else goes without (RFC 9260, 8.5.1).
    if sctp.chunks == 0 || sctp.has(chunk::INIT) != (sctp.tag == 0) {
        return Err(Reason::SctpChunks);
    }
    Ok((ports(fixed), sctp))
}

fn ports(fixed: &[u8; HEADER]) -> [u16; 2] {
    [be16(fixed, 0), be16(fixed, 2)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: [u8; 4] = [0x0b, 0x59, 0x26, 0xec];

    fn packet(tag: u32, chunks: &[&[u8]]) -> Vec<u8> {
        let mut bytes = PORTS.to_vec();
        bytes.extend(tag.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(chunks.concat());
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Sctp, Reason> {
        parse(bytes, 0, bytes.len()).map(|(ports, sctp)| {
            assert_eq!(ports, [2905, 9964]);
            sctp
        })
    }

    const INIT: &[u8] = &[1, 0, 0, 20, 0, 0, 0, 7, 0, 1, 0, 0, 0, 10, 0, 10, 0, 0, 0, 1];

    #[test]
    fn reads_chunks_up_to_the_data() {
        let sctp = read(&packet(0, &[INIT])).unwrap();
        assert_eq!((sctp.tag, sctp.initiate, sctp.chunks), (0, 7, 1 << chunk::INIT));
        let echo = [10, 0, 0, 6, 1, 2, 0, 0];
        let data = [0, 3, 0, 17, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0];
        let sctp = read(&packet(9, &[&echo, &data, &[6, 0, 0, 4]])).unwrap();
        assert_eq!(sctp.chunks, 1 << chunk::COOKIE_ECHO | 1 << chunk::DATA);
        let abort = read(&packet(9, &[&[6, 1, 0, 4]])).unwrap();
        assert!(abort.has(chunk::ABORT) && abort.reflected);
    }

    #[test]
    fn refuses_what_no_host_sends() {
        let chunks = Err(Reason::SctpChunks);
        for (tag, chunk) in [
            (9, &[][..]),
            (9, &[3, 0, 0, 3]),
            (9, &[3, 0, 0, 5]),
            (9, INIT),
            (0, &[10, 0, 0, 4]),
            (0, &[1, 0, 0, 4]),
            (0, &[INIT, &[6, 0, 0, 4]].concat()),
            (9, &[&[3, 0, 0, 4][..], INIT].concat()),
            (0, &[1, 0, 0, 8, 0, 0, 0, 0]),
        ] {
            assert_eq!(read(&packet(tag, &[chunk])), chunks, "{tag} {chunk:?}");
        }
        assert_eq!(read(&packet(9, &[INIT])[..11]), Err(Reason::TruncatedSctp));
        let bytes = packet(0, &[INIT]);
        assert_eq!(parse(&bytes[..12], 0, 32).map(|_| ()), Err(Reason::SplitHeader));
    }
}
