//! The segments that weir writes in the name of one end for the other: headers without data, over a
//! frame that came or into an empty one.

use crate::frame::Frames;
use crate::packet::tcp::{self, flags};
use crate::packet::{Network, Tcp};
use crate::packet::{Packet, Transport, ethernet, ipv4, ipv6, protocol};
use crate::reflect;

/// Most bytes of options that are written: maximum segment size, SACK, timestamps, window scale.
const OPTIONS: usize = 20;

/// Options of a segment, padded to words of four bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TcpOptions {
    bytes: [u8; OPTIONS],
    length: usize,
}

impl TcpOptions {
    /// Those of a SYN, in the order in which Linux writes them.
    pub(super) fn of_syn(
        mss: u16,
        sack: bool,
        stamps: Option<[u32; 2]>,
        scale: Option<u8>,
    ) -> Self {
        let mut options = Self::default();
        let [high, low] = mss.to_be_bytes();
        options.add(&[2, 4, high, low]);
        match (sack, stamps) {
            (true, Some(stamps)) => {
                options.add(&[4, 2]);
                options.add_stamps(stamps);
            }
            (true, None) => options.add(&[1, 1, 4, 2]),
            (false, Some(stamps)) => {
                options.add(&[1, 1]);
                options.add_stamps(stamps);
            }
            (false, None) => {}
        }
        if let Some(scale) = scale {
            options.add(&[1, 3, 3, scale]);
        }
        options
    }

    /// Those of any other segment: timestamps, or none.
    pub(super) fn of_ack(stamps: Option<[u32; 2]>) -> Self {
        let mut options = Self::default();
        if let Some(stamps) = stamps {
            options.add(&[1, 1]);
            options.add_stamps(stamps);
        }
        options
    }

    fn add_stamps(&mut self, [value, echo]: [u32; 2]) {
        self.add(&[8, 10]);
        self.add(&value.to_be_bytes());
        self.add(&echo.to_be_bytes());
    }

    fn add(&mut self, bytes: &[u8]) {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }
}

/// What a segment says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: u8,
    pub(super) window: u16,
    pub(super) options: TcpOptions,
    /// Time to live or hop limit.
    pub(super) ttl: u8,
    /// Type of service or traffic class.
    pub(super) tos: u8,
}

impl Segment {
    /// A RST that its receiver believes if it expects `seq` next (RFC 9293, 3.10.7.4).
    pub(super) fn reset(seq: u32) -> Self {
        Self {
            seq,
            ack: 0,
            flags: flags::RST,
            window: 0,
            options: TcpOptions::default(),
            ttl: reflect::TTL,
            tos: 0,
        }
    }

    /// Writes it over the frame that begins in `room`, which carried `packet`, back to that one's
    /// sender. Returns its length, or `None` if there is no room.
    pub(super) fn write_back(&self, room: &mut [u8], packet: &Packet) -> Option<usize> {
        let mut header = [0; tcp::HEADER + OPTIONS];
        let length = tcp::HEADER + self.options.length;
        let header = &mut header[..length];
        header[..2].copy_from_slice(&packet.destination_port.to_be_bytes());
        header[2..4].copy_from_slice(&packet.source_port.to_be_bytes());
        header[4..8].copy_from_slice(&self.seq.to_be_bytes());
        header[8..12].copy_from_slice(&self.ack.to_be_bytes());
        header[12] = (length * 4) as u8;
        header[13] = self.flags;
        header[14..16].copy_from_slice(&self.window.to_be_bytes());
        header[tcp::HEADER..].copy_from_slice(&self.options.bytes[..self.options.length]);
        let mut sum = reflect::pseudo(packet, protocol::TCP, length);
        sum.feed(header);
        header[tcp::CHECKSUM..tcp::CHECKSUM + 2].copy_from_slice(&(!sum.folded()).to_be_bytes());

        let end = usize::from(packet.network_offset) + ip_header(packet) + length;
        let room = room.get_mut(..end)?;
        room[end - length..].copy_from_slice(header);
        reflect::write_ip(room, packet, protocol::TCP, self.ttl, self.tos);
        Some(end)
    }

    /// The same, on to that one's receiver.
    pub(super) fn write_on(&self, room: &mut [u8], packet: &Packet) -> Option<usize> {
        ethernet::swap_addresses(room);
        let written = self.write_back(room, &mirrored(packet));
        if written.is_none() {
            ethernet::swap_addresses(room);
        }
        written
    }

    /// Writes it over frame `i` and says what packet that is then.
    pub(super) fn over<F: Frames>(
        &self,
        frames: &mut F,
        i: usize,
        packet: &Packet,
        towards: reflect::Towards,
    ) -> Option<Packet> {
        let room = frames.room_mut(i);
        let end = match towards {
            reflect::Towards::Sender => self.write_back(room, packet),
            reflect::Towards::Receiver => self.write_on(room, packet),
        }?;
        frames.set_length(i, end);
        Packet::parse(frames.head(i), &frames.meta(i)).ok()
    }
}

/// A packet the other way.
pub(super) fn mirrored(packet: &Packet) -> Packet {
    Packet {
        source: packet.destination,
        destination: packet.source,
        source_port: packet.destination_port,
        destination_port: packet.source_port,
        ..*packet
    }
}

/// The SYN that a client has sent, as far as its ACK and the cookie tell.
pub(super) fn rebuilt(packet: &Packet, seq: u32, syn: &Segment) -> Packet {
    let header = (tcp::HEADER + syn.options.length) as u8;
    let length = (ip_header(packet) + usize::from(header)) as u32;
    let syn = Tcp { seq, ack: 0, window: syn.window, flags: syn.flags, header };
    Packet { length, payload: 0, transport: Transport::Tcp(syn), ..*packet }
}

/// Whether the frame of a TCP segment is as simple as those that are written here: no options of IPv4,
/// no extension headers, no fragments of a datagram.
pub(super) fn is_plain(packet: &Packet, head: &[u8]) -> bool {
    let at = usize::from(packet.network_offset);
    let whole = packet.network == Network::Ipv6
        || ipv4::Ipv4::new(head, at, head.len())
            .is_ok_and(|header| header.fragment() & !ipv4::DONT_FRAGMENT == 0);
    whole && usize::from(packet.transport_offset) == at + ip_header(packet)
}

const fn ip_header(packet: &Packet) -> usize {
    if let Network::Ipv6 = packet.network { ipv6::HEADER } else { ipv4::HEADER }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Owned, PortIndex};
    use crate::packet::build;
    use crate::packet::tcp::flags::{ACK, PSH, SYN};
    use crate::reflect::Towards;

    const V4: [&str; 2] = ["192.0.2.1:40000", "198.51.100.2:80"];
    const V6: [&str; 2] = ["[2001:db8::1]:40000", "[2001:db8::2]:80"];

    #[test]
    fn segments_are_what_the_hosts_would_send() {
        for ends in [V4, V6] {
            let [client, server] =
                ends.map(|end| end.parse::<std::net::SocketAddr>().expect("an address"));
            let came = build::tcp(client, server, PSH | ACK).vlan(5).payload(&[1; 300]).frame();
            let segment = Segment {
                seq: 77,
                ack: 99,
                flags: SYN | ACK,
                window: 7,
                options: TcpOptions::of_syn(1460, true, Some([1, 2]), Some(9)),
                ttl: 61,
                tos: 0xb8,
            };
            let bytes = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 3, 3, 9];
            for (towards, [from, to], macs) in [
                (Towards::Sender, [server, client], [build::DESTINATION_MAC, build::SOURCE_MAC]),
                (Towards::Receiver, [client, server], [build::SOURCE_MAC, build::DESTINATION_MAC]),
            ] {
                let mut frames = Owned::new();
                frames.push(PortIndex::WAN, &came);
                let packet = Packet::parse(frames.head(0), &frames.meta(0)).unwrap();
                assert!(is_plain(&packet, frames.head(0)));
                let written = segment.over(&mut frames, 0, &packet, towards).unwrap();
                let expected = build::tcp(from, to, SYN | ACK)
                    .macs(macs[0], macs[1])
                    .seq(77)
                    .ack(99)
                    .window(7)
                    .ttl(61)
                    .tos(0xb8)
                    .tcp_options(&bytes)
                    .vlan(5)
                    .frame();
                assert_eq!(frames.bytes(0), expected);
                assert_eq!(written.length as usize, expected.len() - 18);
            }
        }
    }

    #[test]
    fn options_fill_words() {
        let some = |sack, stamps: bool, scale| {
            let options = TcpOptions::of_syn(1, sack, stamps.then_some([3, 4]), scale);
            options.bytes[..options.length].to_vec()
        };
        assert_eq!(some(false, false, None), [2, 4, 0, 1]);
        assert_eq!(some(true, false, None), [2, 4, 0, 1, 1, 1, 4, 2]);
        assert_eq!(some(false, true, Some(0))[4..8], [1, 1, 8, 10]);
        assert_eq!(some(false, false, Some(14)), [2, 4, 0, 1, 1, 3, 3, 14]);
        assert_eq!(TcpOptions::of_ack(None).length, 0);
        assert_eq!(TcpOptions::of_ack(Some([3, 4])).length, 12);
    }

    #[test]
    fn fragments_and_options_are_not_plain() {
        let [client, server] = V4.map(|end| end.parse::<std::net::SocketAddr>().unwrap());
        for frame in [
            build::tcp(client, server, SYN).ip_options(&[1, 1, 1, 1]).frame(),
            build::fragment(
                &build::tcp(client, server, SYN).payload(&[0; 64]).frame(),
                1,
                0..64,
                true,
            ),
        ] {
            let mut frames = Owned::new();
            frames.push(PortIndex::WAN, &frame);
            let packet = Packet::parse(frames.head(0), &frames.meta(0)).unwrap();
            assert!(!is_plain(&packet, frames.head(0)), "{packet:?}");
        }
    }
}
