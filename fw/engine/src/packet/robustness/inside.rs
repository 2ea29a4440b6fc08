//! A packet is the same behind tags and in a PPPoE session: parsed, refused and answered alike,
//! damaged or not.

use super::*;
use crate::packet::Tags;
use crate::reflect::{Towards, reset_for};

const FRAMES: u32 = 400_000;

/// What stands between the hardware addresses and an IP packet.
struct Around {
    tags: &'static [u8],
    /// Bytes of PPP's protocol field in a session.
    protocol: Option<usize>,
    seen: Tags,
}

const AROUND: [Around; 8] = [
    Around { tags: &[], protocol: Some(2), seen: Tags { outer: 0, inner: 0 } },
    Around { tags: &[], protocol: Some(1), seen: Tags { outer: 0, inner: 0 } },
    Around { tags: &[0x81, 0, 0x60, 7], protocol: None, seen: Tags { outer: 7, inner: 0 } },
    Around { tags: &[0x81, 0, 0x60, 7], protocol: Some(2), seen: Tags { outer: 7, inner: 0 } },
    Around {
        tags: &[0x88, 0xa8, 0x6f, 0xfe, 0x81, 0, 0, 5],
        protocol: None,
        seen: Tags { outer: 4094, inner: 5 },
    },
    Around {
        tags: &[0x81, 0, 0x60, 9, 0x81, 0, 0, 5],
        protocol: None,
        seen: Tags { outer: 9, inner: 5 },
    },
    Around {
        tags: &[0x88, 0xa8, 0x60, 9, 0x81, 0, 0, 5],
        protocol: Some(2),
        seen: Tags { outer: 9, inner: 5 },
    },
    Around {
        tags: &[0x91, 0, 0x60, 9, 0x81, 0, 0, 5],
        protocol: Some(1),
        seen: Tags { outer: 9, inner: 5 },
    },
];

impl Around {
    /// How much longer a frame becomes.
    fn length(&self) -> usize {
        self.tags.len() + self.protocol.map_or(0, |protocol| 6 + protocol)
    }

    /// An untagged frame of IP of `length` bytes with all that around its packet.
    fn put(&self, plain: &[u8], length: u32) -> Vec<u8> {
        let mut frame = [&plain[..12], self.tags].concat();
        match self.protocol {
            None => frame.extend(&plain[12..14]),
            Some(protocol) => {
                let payload = length as usize - 14 + protocol;
                // The length of a train cannot be said.
                let [high, low] = u16::try_from(payload).unwrap_or(0).to_be_bytes();
                let number = if plain[12..14] == [8, 0] { 0x21 } else { 0x57 };
                frame.extend([0x88, 0x64, 0x11, 0, 0x12, 0x34, high, low]);
                frame.extend(&[0, number][2 - protocol..]);
            }
        }
        frame.extend(&plain[14..]);
        frame
    }

    fn lend(&self, plain: &Lent) -> Lent {
        let bytes = self.put(plain.head(0), plain.meta.length);
        let mut frame = Lent::new();
        frame.buffer[..bytes.len()].copy_from_slice(&bytes);
        frame.first = bytes.len();
        frame.meta = Meta { length: plain.meta.length + self.length() as u32, ..plain.meta };
        frame
    }

    /// The packet of a plain frame as it is in here.
    fn see(&self, mut packet: Packet) -> Packet {
        let more = self.length() as u16;
        packet.network_offset += more;
        packet.transport_offset += more;
        match &mut packet.transport {
            Transport::IcmpError(_, quote) => {
                quote.offset += more;
                quote.transport += more;
            }
            Transport::Fragment(part) => part.data += more,
            _ => {}
        }
        packet.tags = self.seen;
        packet.priority = if self.tags.is_empty() { ethernet::UNTAGGED_PRIORITY } else { 3 };
        packet.session = self.protocol.and_then(|_| std::num::NonZeroU16::new(0x1234));
        packet
    }
}

/// Answers a packet in its frame; the bytes of the answer.
fn answered(packet: &Packet, frame: &mut Lent) -> Result<Vec<u8>, Reason> {
    match packet.transport {
        Transport::Tcp(_) => reflect::reset(frame, 0, packet, None),
        _ => reflect::unreachable(frame, 0, packet, 1),
    }
    .map(|()| frame.head(0).to_vec())
}

/// Resets for both ends.
fn resets(packet: &Packet, head: &[u8]) -> Vec<Option<Vec<u8>>> {
    [Towards::Sender, Towards::Receiver]
        .map(|towards| {
            let mut room = [0; crate::outbox::LONGEST];
            let end = reset_for(&mut room, head, packet, towards, 0x0102_0304);
            end.map(|end| room[..end].to_vec())
        })
        .into()
}

fn compare(plain: &mut Lent, around: &Around, sampled: bool) {
    let mut inside = around.lend(plain);
    let packet = Packet::parse(plain.head(0), &plain.meta);
    let again = Packet::parse(inside.head(0), &inside.meta);
    assert_eq!(again, packet.map(|packet| around.see(packet)), "{:x?}", inside.head(0));
    let (Ok(packet), Ok(again)) = (packet, again) else { return };
    assert_inside(&again, &inside);
    if !sampled {
        return;
    }
    let wrapped = |bytes: Vec<u8>| around.put(&bytes, bytes.len() as u32);
    if packet.is_tcp() {
        let expected = resets(&packet, plain.head(0));
        let expected: Vec<_> = expected.into_iter().map(|bytes| bytes.map(wrapped)).collect();
        assert_eq!(resets(&again, inside.head(0)), expected);
    }
    let expected = answered(&packet, plain).map(wrapped);
    assert_eq!(answered(&again, &mut inside), expected);
}

#[test]
fn what_is_around_a_packet_changes_nothing() {
    let kinds: Vec<_> = kinds()
        .into_iter()
        .filter(|kind| matches!(kind[12..14], [0x08, 0x00] | [0x86, 0xdd]))
        .collect();
    let mut random = Random(0x1357_9bdf_0246_8ace);
    let mut plain = Lent::new();
    for i in 0..FRAMES {
        let kind = &kinds[random.below(kinds.len())];
        plain.buffer[..kind.len()].copy_from_slice(kind);
        plain.buffer[kind.len()..][..64].fill(0);
        plain.first = kind.len();
        plain.meta = Meta { length: kind.len() as u32, ..Lent::new().meta };
        for _ in 0..random.below(3) {
            mutate(&mut plain, &mut random);
        }
        mend(&mut plain);
        let is_ip = matches!(plain.head(0).get(12..14), Some([0x08, 0x00] | [0x86, 0xdd]));
        if is_ip && plain.meta.length >= 14 {
            plain.first = plain.first.min(plain.meta.length as usize);
            compare(&mut plain, &AROUND[random.below(AROUND.len())], i % SAMPLE == 0);
        }
    }
}
