//! SYNs as a flood has them: from random sources, each with the options of a Linux client, so that
//! nothing but what comes after tells them from those of honest clients.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use etherparse::{PacketBuilder, TcpOptionElement};

use crate::random::Random;

/// Length of an Ethernet header in bytes.
const ETHERNET: usize = 14;
/// The sources are in `10.0.0.0/8`; no host of the lab is.
const SOURCES: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 0);
/// And in `2001:db8:66::/64`.
const SOURCES6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x66, 0, 0, 0, 0, 0);

/// Makes SYNs without end; which ones the seed decides.
#[derive(Clone, Debug)]
pub struct Syns {
    /// With zeros where the frames differ, and checksums for these.
    template: Vec<u8>,
    /// Where the part of the source address begins that is random, and its length in bytes.
    source: (usize, usize),
    /// Where the TCP header begins.
    tcp: usize,
    random: Random,
}

impl Syns {
    /// pcap-filter(7) words for a SYN that one of these sources has sent.
    pub const FROM_THEM: &str = "(net 10.0.0.0/8 and tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn) \
                                 or (src net 2001:db8:66::/64 and ip6[6] == 6 and ip6[53] & 0x12 == 2)";
    /// The same for a SYN of anybody.
    pub const OF_ANYBODY: &str = "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn or \
                                  (ip6[6] == 6 and ip6[53] & 0x12 == 2)";

    /// SYNs to a port of a host, between hardware addresses: of the sender, and of the next hop.
    ///
    /// # Panics
    /// Never: all headers are short enough.
    pub fn new(from: [u8; 6], to: [u8; 6], target: SocketAddr, seed: u64) -> Self {
        let ethernet = PacketBuilder::ethernet2(from, to);
        let (ip, source, tcp) = match target.ip() {
            IpAddr::V4(target) => {
                let ip = ethernet.ipv4(SOURCES.octets(), target.octets(), 64);
                (ip, (ETHERNET + 13, 3), ETHERNET + 20)
            }
            IpAddr::V6(target) => {
                let ip = ethernet.ipv6(SOURCES6.octets(), target.octets(), 64);
                (ip, (ETHERNET + 16, 8), ETHERNET + 40)
            }
        };
        let builder = ip.tcp(0, target.port(), 0, 64_240).syn().options(&[
            TcpOptionElement::MaximumSegmentSize(if tcp == ETHERNET + 20 { 1460 } else { 1440 }),
            TcpOptionElement::SelectiveAcknowledgementPermitted,
            TcpOptionElement::Timestamp(1, 0),
            TcpOptionElement::Noop,
            TcpOptionElement::WindowScale(7),
        ]);
        let builder = builder.expect("twenty bytes of options");
        let mut template = Vec::with_capacity(builder.size(0));
        builder.write(&mut template, &[]).expect("a vector takes everything");
        Self { template, source, tcp, random: Random(seed) }
    }

    /// So many frames, to be overwritten by [`Syns::fill`].
    pub fn frames(&self, count: usize) -> Vec<Vec<u8>> {
        vec![self.template.clone(); count]
    }

    /// Makes frames of [`Syns::frames`] into the next SYNs.
    pub fn fill(&mut self, frames: &mut [Vec<u8>]) {
        let (source, tcp) = (self.source, self.tcp);
        for frame in frames {
            frame.copy_from_slice(&self.template);
            let address = self.random.next().to_be_bytes();
            frame[source.0..][..source.1].copy_from_slice(&address[..source.1]);
            let numbers = self.random.next().to_be_bytes();
            // Above the ports of services.
            frame[tcp] = numbers[0] | 0x40;
            frame[tcp + 1] = numbers[1];
            frame[tcp + 4..][..4].copy_from_slice(&numbers[4..]);
            // Only words that were zero before have changed, or half of one.
            let words = |frame: &[u8], from: usize, to: usize| -> u32 {
                let words = frame[from & !1..to].chunks(2);
                words.map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum()
            };
            let before = words(&self.template, source.0, source.0 + source.1);
            let changed = words(frame, source.0, source.0 + source.1) - before;
            if source.1 == 3 {
                add(frame, ETHERNET + 10, changed);
            }
            let numbers = words(frame, tcp, tcp + 2) + words(frame, tcp + 4, tcp + 8);
            add(frame, tcp + 16, changed + numbers);
        }
    }
}

/// Takes more 16-bit words into an internet checksum (RFC 1071).
fn add(frame: &mut [u8], at: usize, words: u32) {
    let mut sum = u32::from(!u16::from_be_bytes([frame[at], frame[at + 1]])) + words;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[at..at + 2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use etherparse::{SlicedPacket, TransportSlice};

    use super::*;

    #[test]
    fn every_frame_is_another_syn_with_right_checksums() {
        for target in ["192.0.2.2:80", "[2001:db8::2]:80"] {
            let mut syns = Syns::new([2; 6], [4; 6], target.parse().expect("an address"), 7);
            let mut frames = syns.frames(500);
            syns.fill(&mut frames);
            for frame in &frames {
                let packet = SlicedPacket::from_ethernet(frame).expect("well-formed");
                let Some(TransportSlice::Tcp(tcp)) = packet.transport else { panic!("no TCP") };
                assert!(tcp.syn() && !tcp.ack() && tcp.source_port() >= 0x4000);
                assert_eq!(tcp.options().len(), 20);
                let header = tcp.to_header();
                let right = match packet.net.expect("IP") {
                    etherparse::NetSlice::Ipv4(ip) => {
                        let ip = ip.header();
                        assert_eq!(ip.to_header().calc_header_checksum(), ip.header_checksum());
                        header.calc_checksum_ipv4_raw(ip.source(), ip.destination(), &[])
                    }
                    etherparse::NetSlice::Ipv6(ip) => {
                        let ip = ip.header();
                        header.calc_checksum_ipv6_raw(ip.source(), ip.destination(), &[])
                    }
                    etherparse::NetSlice::Arp(arp) => panic!("{arp:?}"),
                };
                assert_eq!(right, Ok(tcp.checksum()));
            }
            let mut others = frames.clone();
            syns.fill(&mut others);
            assert!(frames.iter().zip(&others).all(|(a, b)| a != b));
            others.sort();
            others.dedup();
            assert_eq!(others.len(), frames.len());
        }
    }
}
