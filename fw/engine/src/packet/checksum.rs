//! The Internet checksum (RFC 1071), whole and incremental (RFC 1624), over segments of any length.

use super::bytes::be16;
use super::crc32c::Crc32c;
use super::{Network, Packet, Transport, ipv6, protocol, sctp, tcp, udp};
use crate::frame::{Checksum, Frames};

/// A one's complement sum in progress: bytes are fed in order, in pieces of any length.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    /// Sum of the 16-bit words as numbers; stays far below 2^64 for any frame.
    words: u64,
    /// An odd number of bytes has been fed.
    odd: bool,
}

impl Sum {
    /// Adds the next bytes.
    #[inline]
    pub fn feed(&mut self, bytes: &[u8]) {
        let sum = sum(bytes);
        self.words += u64::from(if self.odd { sum.swap_bytes() } else { sum });
        self.odd ^= bytes.len() % 2 == 1;
    }

    /// Adds a number that is a sum of 16-bit words itself, such as a pseudo header.
    #[inline]
    pub fn add(&mut self, words: u64) {
        self.words += u64::from(fold(words));
    }

    /// The sum in 16 bits, not complemented.
    #[inline]
    pub fn folded(self) -> u16 {
        fold(self.words)
    }
}

/// The one's complement sum of the 16-bit big-endian words of `bytes`, an odd last byte padded with
/// zero; not complemented.
pub fn sum(bytes: &[u8]) -> u16 {
    // The sum does not depend on the byte order it is made in (RFC 1071, 2 (B)), so native words
    // are added and the bytes swapped once at the end. Lanes of 64 bits cannot overflow.
    let mut lanes = [0u64; 8];
    let (chunks, rest) = bytes.as_chunks::<32>();
    for chunk in chunks {
        let (words, _) = chunk.as_chunks::<4>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane += u64::from(u32::from_ne_bytes(*word));
        }
    }
    let mut total: u64 = lanes.iter().map(|&lane| (lane & 0xffff_ffff) + (lane >> 32)).sum();
    let (words, rest) = rest.as_chunks::<4>();
    for word in words {
        total += u64::from(u32::from_ne_bytes(*word));
    }
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    total += u64::from(u32::from_ne_bytes(last));
    u16::from_be(fold(total))
}

/// Folds a sum into 16 bits by end-around carry.
#[inline]
pub const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// Whether the checksum of an IPv4 header is right; options come in words of four bytes.
#[inline]
pub fn ipv4_header_is_right(fixed: &[u8; 20], options: &[u8]) -> bool {
    let words = fixed.as_chunks::<4>().0.iter().chain(options.as_chunks::<4>().0);
    fold(words.map(|&word| u64::from(u32::from_ne_bytes(word))).sum()) == 0xffff
}

/// The checksum after a 16-bit field changed from `old` to `new` (RFC 1624, equation 3).
#[inline]
#[must_use]
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    !fold(!checksum as u64 + !old as u64 + new as u64)
}

/// As [`update`], for a 32-bit field that begins at an even offset.
#[inline]
#[must_use]
pub const fn update32(checksum: u16, old: u32, new: u32) -> u16 {
    !fold(!checksum as u64 + (!old >> 16) as u64 + (!old & 0xffff) as u64 + new as u64)
}

/// As [`update`], for bytes that begin at an even offset; `old` and `new` are equally long.
#[must_use]
pub fn update_bytes(checksum: u16, old: &[u8], new: &[u8]) -> u16 {
    !fold(u64::from(!checksum) + u64::from(!sum(old)) + u64::from(sum(new)))
}

/// Sum of the pseudo header of TCP and UDP over IPv4 (RFC 9293, 3.1), not folded. `length` counts
/// transport header and payload in bytes.
#[inline]
pub const fn pseudo_v4(source: u32, destination: u32, protocol: u8, length: u32) -> u64 {
    source as u64 + destination as u64 + protocol as u64 + length as u64
}

/// Sum of the pseudo header over IPv6 (RFC 8200, 8.1), not folded. `length` as in [`pseudo_v4`].
#[inline]
pub const fn pseudo_v6(source: u128, destination: u128, protocol: u8, length: u32) -> u64 {
    halves(source) + halves(destination) + protocol as u64 + length as u64
}

const fn halves(address: u128) -> u64 {
    let (high, low) = ((address >> 64) as u64, address as u64);
    (high >> 32) + (high & 0xffff_ffff) + (low >> 32) + (low & 0xffff_ffff)
}

/// Where the checksum of the transport stands and what it covers.
struct Coverage {
    /// Offset of the field in the first segment.
    field: usize,
    /// First byte covered.
    from: usize,
    /// Behind the last byte covered.
    to: usize,
    /// The pseudo header, 0 if there is none.
    pseudo: u64,
}

/// `None` if the transport has no checksum that is known, or it is switched off (UDP, field 0) or
/// cannot be told (a routing header whose final destination is compressed).
fn coverage(packet: &Packet, head: &[u8]) -> Option<Coverage> {
    let from = usize::from(packet.transport_offset);
    let to = usize::from(packet.network_offset) + packet.length as usize;
    let (field, to) = match (packet.transport, packet.protocol) {
        (Transport::Tcp(_), _) => (from + tcp::CHECKSUM, to),
        // What is behind the UDP length is not part of the datagram.
        (Transport::Udp, _) => (from + udp::CHECKSUM, from + udp::HEADER + packet.payload as usize),
        (Transport::Sctp(_) | Transport::Other | Transport::Fragment(_), _) => return None,
        (_, protocol::ICMP) => {
            return Some(Coverage { field: from + 2, from, to, pseudo: 0 });
        }
        _ => (from + 2, to),
    };
    let length = (to - from) as u32;
    let pseudo = if packet.network == Network::Ipv4 {
        let (source, destination) = (packet.source.0 as u32, packet.destination.0 as u32);
        pseudo_v4(source, destination, packet.protocol, length)
    } else {
        let destination = if packet.options {
            ipv6::final_destination(packet, head)?
        } else {
            packet.destination
        };
        pseudo_v6(packet.source.0, destination.0, packet.protocol, length)
    };
    Some(Coverage { field, from, to, pseudo })
}

/// Sums the bytes `from..to` of frame `i`.
fn sum_of_frame<F: Frames + ?Sized>(frames: &F, i: usize, from: usize, to: usize) -> Sum {
    let mut sum = Sum::default();
    each_part(frames, i, from, to, |part| sum.feed(part));
    sum
}

/// The checksum of the SCTP packet in frame `i`, as it has to be, its field taken for zero.
fn crc_of_frame<F: Frames + ?Sized>(packet: &Packet, frames: &F, i: usize) -> [u8; 4] {
    let from = usize::from(packet.transport_offset);
    let to = usize::from(packet.network_offset) + packet.length as usize;
    let mut crc = Crc32c::default();
    each_part(frames, i, from, from + sctp::CHECKSUM, |part| crc.feed(part));
    crc.feed(&[0; 4]);
    each_part(frames, i, from + sctp::HEADER, to, |part| crc.feed(part));
    crc.bytes()
}

/// The field of that, which lies in the first segment.
fn crc_field<'a>(packet: &Packet, head: &'a [u8]) -> Option<&'a [u8; 4]> {
    let at = usize::from(packet.transport_offset) + sctp::CHECKSUM;
    head.get(at..)?.first_chunk()
}

/// The bytes `from..to` of frame `i`, over all its segments.
fn each_part<F: Frames + ?Sized>(
    frames: &F,
    i: usize,
    from: usize,
    to: usize,
    mut take: impl FnMut(&[u8]),
) {
    let mut begin = 0;
    let mut k = 0;
    while begin < to
        && let Some(segment) = frames.segment(i, k)
    {
        let inside = from.saturating_sub(begin).min(segment.len())..(to - begin).min(segment.len());
        take(segment.get(inside).unwrap_or_default());
        begin += segment.len();
        k += 1;
    }
}

/// Whether the checksum of the TCP, UDP, ICMP, ICMPv6 or SCTP packet in frame `i` is right, all segments
/// read. True without reading if [`Checksum::Valid`] says so, the protocol has none, a UDP sender
/// made none, or a routing header hides what it covers.
pub fn verify<F: Frames + ?Sized>(packet: &Packet, frames: &F, i: usize) -> bool {
    if frames.meta(i).checksum == Checksum::Valid {
        return true;
    }
    let head = frames.head(i);
    if let Transport::Sctp(_) = packet.transport {
        return crc_field(packet, head) == Some(&crc_of_frame(packet, frames, i));
    }
    let Some(coverage) = coverage(packet, head) else { return true };
    if packet.transport == Transport::Udp && field(head, coverage.field) == Some(0) {
        return true;
    }
    let mut sum = sum_of_frame(frames, i, coverage.from, coverage.to);
    sum.add(coverage.pseudo);
    sum.folded() == 0xffff
}

/// Whether the TCP or UDP checksum of frame `i` is not one that is left to offload hardware, whose
/// field holds just the folded sum of the pseudo header. What comes off the wire is finished, and what
/// was perhaps not has been by [`finish_partial`].
#[inline]
pub fn is_finished<F: Frames + ?Sized>(packet: &Packet, frames: &F, i: usize) -> bool {
    if frames.meta(i).checksum != Checksum::Valid {
        return true;
    }
    let head = frames.head(i);
    let Some(coverage) = coverage(packet, head) else { return true };
    if field(head, coverage.field) != Some(fold(coverage.pseudo)) {
        return true;
    }
    // One finished checksum in 65,536 looks like that too.
    let mut sum = sum_of_frame(frames, i, coverage.from, coverage.to);
    sum.add(coverage.pseudo);
    sum.folded() == 0xffff
}

/// Finishes the TCP, UDP or SCTP checksum of frame `i` if the sender left it to offload hardware: its
/// field holds just the folded sum of the pseudo header, or nothing for SCTP. Costs one comparison if
/// not; returns whether it was done.
///
/// A finished checksum looks like that once in 65,536 frames; finishing it again changes nothing.
pub fn finish_partial<F: Frames + ?Sized>(packet: &Packet, frames: &mut F, i: usize) -> bool {
    if frames.meta(i).checksum != Checksum::MaybePartial {
        return false;
    }
    match packet.transport {
        Transport::Tcp(_) | Transport::Udp => {}
        Transport::Sctp(_) => return finish_partial_crc(packet, frames, i),
        _ => return false,
    }
    let head = frames.head(i);
    let Some(coverage) = coverage(packet, head) else { return false };
    if field(head, coverage.field) != Some(fold(coverage.pseudo)) {
        return false;
    }
    // The field itself is summed in place of the pseudo header that it holds.
    let checksum = !sum_of_frame(frames, i, coverage.from, coverage.to).folded();
    let checksum =
        if packet.transport == Transport::Udp && checksum == 0 { 0xffff } else { checksum };
    let Some(bytes) = frames.head_mut(i).get_mut(coverage.field..coverage.field + 2) else {
        return false;
    };
    bytes.copy_from_slice(&checksum.to_be_bytes());
    true
}

fn finish_partial_crc<F: Frames + ?Sized>(packet: &Packet, frames: &mut F, i: usize) -> bool {
    if crc_field(packet, frames.head(i)) != Some(&[0; 4]) {
        return false;
    }
    let crc = crc_of_frame(packet, frames, i);
    let at = usize::from(packet.transport_offset) + sctp::CHECKSUM;
    frames.head_mut(i)[at..at + crc.len()].copy_from_slice(&crc);
    true
}

fn field(head: &[u8], at: usize) -> Option<u16> {
    head.get(at..at + 2).map(|bytes| be16(bytes, 0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Sum, finish_partial, fold, sum, update, update_bytes, update32, verify};
    use crate::frame::{Checksum, Frames, Owned, PortIndex};
    use crate::packet::{Packet, build, tcp::flags};

    /// RFC 1071 word for word.
    fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        }
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn folds_every_carry() {
        assert_eq!(fold(u64::MAX), 0xffff);
        assert_eq!(fold(0xffff_0001_0000), 1);
        assert_eq!(fold(0x1_ffff), 1);
        assert_eq!(fold(0), 0);
    }

    #[test]
    fn example_of_rfc_1071() {
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    }

    /// An ABORT whose checksum was worked out elsewhere.
    #[test]
    fn sctp_has_another_checksum_and_hardware_finishes_that_too() {
        let abort = [0x13, 0x88, 0x0b, 0x59, 0, 0, 0, 5, 0xe3, 0xc7, 0xcf, 0x9d, 6, 0, 0, 4];
        let frame = build::other([192, 0, 2, 1], [192, 0, 2, 2], 132).payload(&abort).frame();
        let judge = |frame: &[u8], checksum: Checksum| {
            let mut frames = Owned::new();
            frames.push(PortIndex::LAN, frame);
            frames.meta_mut(0).checksum = checksum;
            let packet = Packet::parse(frames.head(0), &frames.meta(0)).unwrap();
            let finished = finish_partial(&packet, &mut frames, 0);
            (finished, verify(&packet, &frames, 0), frames.bytes(0))
        };
        assert_eq!(judge(&frame, Checksum::Unknown), (false, true, frame.clone()));
        assert_eq!(judge(&frame, Checksum::MaybePartial), (false, true, frame.clone()));
        for at in 34..50 {
            let mut damaged = frame.clone();
            damaged[at] ^= 4;
            if !matches!(at, 46 | 48 | 49) {
                assert!(!judge(&damaged, Checksum::Unknown).1, "byte {at}");
            }
        }
        let mut partial = frame.clone();
        partial[42..46].fill(0);
        assert!(!judge(&partial, Checksum::Unknown).1);
        assert_eq!(judge(&partial, Checksum::MaybePartial), (true, true, frame));
    }

    proptest! {
        #[test]
        fn sum_is_the_naive_one(bytes: Vec<u8>) {
            prop_assert_eq!(sum(&bytes), naive(&bytes));
        }

        #[test]
        fn pieces_of_any_length_sum_as_the_whole(pieces: Vec<Vec<u8>>) {
            let mut parts = Sum::default();
            for piece in &pieces {
                parts.feed(piece);
            }
            prop_assert_eq!(parts.folded(), naive(&pieces.concat()));
        }

        #[test]
        fn incremental_is_full(
            mut bytes in prop::collection::vec(any::<u8>(), 8..200),
            new: [u8; 8],
            at: prop::sample::Index,
        ) {
            // All zero has two representations, which the checksum of a real header never meets.
            bytes[0] = 0x45;
            let at = 2 * at.index((bytes.len() - 2) / 2) + 2;
            let room = (bytes.len() - at).min(8) / 2 * 2;
            let before = !sum(&bytes);
            let old = bytes[at..at + room].to_vec();
            bytes[at..at + room].copy_from_slice(&new[..room]);
            prop_assert_eq!(update_bytes(before, &old, &new[..room]), !sum(&bytes));
            if room >= 2 {
                bytes[at..at + room].copy_from_slice(&old);
                let word = |b: &[u8]| u16::from_be_bytes([b[0], b[1]]);
                bytes[at..at + 2].copy_from_slice(&new[..2]);
                prop_assert_eq!(update(before, word(&old), word(&new)), !sum(&bytes));
            }
            if room >= 4 {
                bytes[at..at + 4].copy_from_slice(&new[..4]);
                let word = |b: &[u8]| u32::from_be_bytes([b[0], b[1], b[2], b[3]]);
                prop_assert_eq!(update32(before, word(&old), word(&new)), !sum(&bytes));
            }
        }

        #[test]
        fn agrees_with_etherparse(source: [u8; 4], destination: [u8; 4], ports: [u16; 2],
            payload: Vec<u8>) {
            let mut frame = Vec::new();
            etherparse::PacketBuilder::ethernet2([2; 6], [4; 6])
                .ipv4(source, destination, 64)
                .udp(ports[0], ports[1])
                .write(&mut frame, &payload)
                .unwrap();
            let built = build::udp((source, ports[0]), (destination, ports[1]))
                .macs([2; 6], [4; 6])
                .payload(&payload)
                .frame();
            prop_assert_eq!(built, frame);
        }
    }

    const HERE: ([u8; 4], u16) = ([192, 0, 2, 1], 40000);
    const THERE: ([u8; 4], u16) = ([198, 51, 100, 2], 53);
    const HERE6: ([u16; 8], u16) = ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 40000);
    const THERE6: ([u16; 8], u16) = ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 2], 53);

    /// Frames of every protocol with a checksum, 111 bytes of payload.
    fn kinds() -> Vec<build::Build> {
        let segments = [0u8; 16];
        vec![
            build::tcp(HERE, THERE, flags::ACK),
            build::tcp(HERE6, THERE6, flags::SYN).vlan(7),
            build::tcp(HERE6, THERE6, flags::SYN).extension(60, &segments[..8]),
            build::udp(HERE, THERE).ip_options(&[1, 1, 1]),
            build::udp(HERE6, THERE6),
            build::echo(HERE.0, THERE.0, 1, 2),
            build::echo(HERE6.0, THERE6.0, 1, 2),
        ]
        .into_iter()
        .map(|kind| kind.payload(&[0xa5; 111]))
        .collect()
    }

    fn batch(segments: &[&[u8]]) -> (Packet, Owned) {
        let mut frames = Owned::new();
        frames.push_segments(PortIndex::LAN, segments);
        let packet = Packet::parse(frames.head(0), &frames.meta(0)).unwrap();
        (packet, frames)
    }

    #[test]
    fn verifies_over_segments_of_any_length() {
        for kind in kinds() {
            let frame = kind.frame();
            for cut in frame.len() - 111..frame.len() {
                let (head, tail) = frame.split_at(cut);
                let (packet, frames) =
                    batch(&[head, &tail[..tail.len() / 3], &tail[tail.len() / 3..]]);
                assert!(verify(&packet, &frames, 0), "{packet:?}");
            }
            for at in usize::from(batch(&[&frame]).0.transport_offset) + 4..frame.len() {
                let mut bad = frame.clone();
                bad[at] ^= 0x10;
                if let Ok(packet) = Packet::parse(&bad, &batch(&[&frame]).1.meta(0)) {
                    let (_, mut frames) = batch(&[&frame]);
                    frames.head_mut(0).copy_from_slice(&bad);
                    assert!(!verify(&packet, &frames, 0), "{at} of {packet:?}");
                    frames.meta_mut(0).checksum = Checksum::Valid;
                    assert!(verify(&packet, &frames, 0));
                }
            }
        }
    }

    #[test]
    fn padding_and_what_is_behind_udp_do_not_count() {
        let mut padded = build::udp(HERE, THERE).payload(b"odd").frame();
        padded.resize(60, 0xff);
        let (packet, frames) = batch(&[&padded]);
        assert!(verify(&packet, &frames, 0));
        let none = build::udp(HERE, THERE).no_checksum().payload(b"x").frame();
        let (packet, frames) = batch(&[&none]);
        assert!(verify(&packet, &frames, 0));
    }

    #[test]
    fn finishes_what_offload_left() {
        for kind in kinds().into_iter().take(5) {
            let (right, partial) = (kind.frame(), kind.clone().partial().frame());
            assert_ne!(right, partial);
            let (packet, mut frames) =
                batch(&[&partial[..partial.len() - 37], &partial[partial.len() - 37..]]);
            assert!(!finish_partial(&packet, &mut frames, 0), "nothing said so");
            frames.meta_mut(0).checksum = Checksum::MaybePartial;
            assert!(finish_partial(&packet, &mut frames, 0));
            assert_eq!(frames.bytes(0), right);
            assert!(!finish_partial(&packet, &mut frames, 0));
            assert_eq!(frames.bytes(0), right);
        }
    }

    #[test]
    fn udp_never_gets_a_zero_checksum() {
        let zero = (0..=u16::MAX)
            .map(|word| build::udp(HERE, THERE).payload(&word.to_be_bytes()))
            .find(|kind| kind.frame()[40..42] == [0xff, 0xff])
            .expect("one of all words makes it zero");
        let (packet, mut frames) = batch(&[&zero.clone().partial().frame()]);
        frames.meta_mut(0).checksum = Checksum::MaybePartial;
        assert!(finish_partial(&packet, &mut frames, 0));
        assert_eq!(frames.bytes(0), zero.frame());
        assert!(verify(&packet, &frames, 0));
    }

    #[test]
    fn a_route_ends_at_its_final_destination() {
        let last: [u16; 8] = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 9];
        // Made for the last address of the route, then put on its way.
        let mut route = vec![0, 2, 4, 1, 0, 0, 0, 0];
        route.extend(std::net::Ipv6Addr::from(last).octets());
        let mut frame = build::udp(HERE6, (last, 53)).extension(43, &route).payload(b"x").frame();
        frame[38 + 15] = 0x77;
        let (packet, frames) = batch(&[&frame]);
        assert!(verify(&packet, &frames, 0));
        frame[14 + 40 + 3] = 0;
        let (packet, frames) = batch(&[&frame]);
        assert!(!verify(&packet, &frames, 0));
    }
}
