//! TCP Fast Open (RFC 7413) is taken out of a SYN where connections are limited: a server that takes
//! data from a SYN accepts the connection before its handshake has shown who is behind it. Without
//! cookie and data it is a plain SYN; the client repeats the data behind the handshake (RFC 7413,
//! 4.2.1).

use crate::frame::Frames;
use crate::packet::checksum::{self, Sum};
use crate::packet::{Network, Packet, Transport, ipv6, pppoe, protocol, tcp};

/// Option kinds: end of the list, no operation (RFC 9293, 3.1), Fast Open (RFC 7413, 4.1.1), and the
/// experimental kind with the number that Fast Open had before (RFC 6994; IANA).
const END: u8 = 0;
const NOP: u8 = 1;
const FAST_OPEN: u8 = 34;
const EXPERIMENT: u8 = 254;
const EXPERIMENT_FAST_OPEN: [u8; 2] = [0xf9, 0x89];
/// The checksum in an IPv4 header.
const IPV4_CHECKSUM: std::ops::Range<usize> = 10..12;

/// Makes frame `i`, a SYN whose checksum is right, a plain one. Returns it as it is then, or `None`
/// if it is one already.
pub(super) fn strip<F: Frames + ?Sized>(
    frames: &mut F,
    i: usize,
    packet: &Packet,
) -> Option<Packet> {
    let Transport::Tcp(header) = packet.transport else { return None };
    let at = usize::from(packet.transport_offset);
    let end = at + usize::from(header.header);
    let segment = frames.head_mut(i).get_mut(at..end)?;
    let found = blank(&mut segment[tcp::HEADER..]);
    if !found && packet.payload == 0 {
        return None;
    }
    segment[tcp::CHECKSUM..tcp::CHECKSUM + 2].fill(0);
    let (source, destination) = (packet.source.0, packet.destination.0);
    let length = segment.len() as u32;
    let mut sum = Sum::default();
    sum.add(if packet.network == Network::Ipv6 {
        checksum::pseudo_v6(source, destination, protocol::TCP, length)
    } else {
        checksum::pseudo_v4(source as u32, destination as u32, protocol::TCP, length)
    });
    sum.feed(segment);
    segment[tcp::CHECKSUM..tcp::CHECKSUM + 2].copy_from_slice(&(!sum.folded()).to_be_bytes());

    let begin = usize::from(packet.network_offset);
    let total = end - begin;
    let network = &mut frames.head_mut(i)[begin..at];
    if packet.network == Network::Ipv6 {
        let payload = (total - ipv6::HEADER) as u16;
        network[4..6].copy_from_slice(&payload.to_be_bytes());
    } else {
        network[2..4].copy_from_slice(&(total as u16).to_be_bytes());
        network[IPV4_CHECKSUM].fill(0);
        let checksum = !checksum::sum(network);
        network[IPV4_CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
    }
    pppoe::set_length(&mut frames.head_mut(i)[..end], packet);
    frames.set_length(i, end);
    Some(Packet { payload: 0, length: total as u32, ..*packet })
}

/// Writes no operations over the options; tells whether there were any.
fn blank(options: &mut [u8]) -> bool {
    let mut found = false;
    let mut rest = options;
    while let [kind, behind @ ..] = rest {
        let length = match *kind {
            END => break,
            NOP => 1,
            // A length that is none ends the list: no stack reads on.
            _ => match behind.first() {
                Some(&length) if length >= 2 && usize::from(length) <= 1 + behind.len() => {
                    usize::from(length)
                }
                _ => break,
            },
        };
        let is_experiment = *kind == EXPERIMENT && behind.get(1..3) == Some(&EXPERIMENT_FAST_OPEN);
        let (option, others) = rest.split_at_mut(length);
        if option[0] == FAST_OPEN || is_experiment {
            option.fill(NOP);
            found = true;
        }
        rest = others;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Owned, PortIndex};
    use crate::packet::build;
    use crate::packet::tcp::flags::SYN;

    const V4: [&str; 2] = ["192.0.2.1:40000", "198.51.100.2:80"];
    const V6: [&str; 2] = ["[2001:db8::1]:40000", "[2001:db8::2]:80"];

    #[test]
    fn a_syn_is_as_if_fast_open_were_unknown() {
        let cookie = [2, 4, 5, 0xb4, 34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1];
        let experiment = [254, 4, 0xf9, 0x89, 254, 4, 1, 2];
        let plain = [2, 4, 5, 0xb4, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1];
        for ends in [V4, V6] {
            let [client, server] =
                ends.map(|end| end.parse::<std::net::SocketAddr>().expect("an address"));
            let syn = |options: &[u8]| build::tcp(client, server, SYN).seq(7).tcp_options(options);
            for (given, expected) in [
                (syn(&cookie).payload(b"GET /"), syn(&plain)),
                (syn(&cookie), syn(&plain)),
                (syn(&[]).payload(b"GET /"), syn(&[])),
                (syn(&experiment), syn(&[1, 1, 1, 1, 254, 4, 1, 2])),
            ] {
                let inside = |syn: &build::Build| syn.clone().vlan(7).pppoe(1);
                for (given, expected) in
                    [(given.clone(), expected.clone()), (inside(&given), inside(&expected))]
                {
                    let mut frames = Owned::new();
                    frames.push(PortIndex::WAN, &given.frame());
                    let packet = Packet::parse(frames.head(0), &frames.meta(0)).unwrap();
                    let stripped = strip(&mut frames, 0, &packet).unwrap();
                    assert_eq!(frames.bytes(0), expected.frame());
                    let again = Packet::parse(frames.head(0), &frames.meta(0)).unwrap();
                    assert_eq!(again, stripped);
                    assert!(checksum::verify(&again, &frames, 0));
                    assert_eq!(strip(&mut frames, 0, &again), None);
                }
            }
        }
    }

    #[test]
    fn broken_options_are_left_alone() {
        for options in [&[34][..], &[34, 0, 1], &[34, 1], &[34, 9, 1], &[0, 34, 2], &[]] {
            let mut bytes = options.to_vec();
            assert!(!blank(&mut bytes), "{options:?}");
            assert_eq!(bytes, options);
        }
    }
}
