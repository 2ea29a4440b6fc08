//! The bench's TCP connections: as many as wanted, all alike, each with its own addresses and
//! sequence numbers, and the frames they send. Eight bytes a connection, so that the model of ten
//! million of them does not get in the way of what is measured.

use std::net::Ipv4Addr;

use weir_engine::packet::tcp::flags;

/// Bytes of a frame, without the frame check sequence.
pub(super) const LENGTH: usize = 64;
/// Bytes that each segment of an established connection carries.
const PAYLOAD: usize = LENGTH - TCP - 20;
/// Where the IP and the TCP header begin.
const IP: usize = 14;
const TCP: usize = IP + 20;

/// A frame.
pub(super) type Bytes = [u8; LENGTH];

/// Which end of a connection sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client, on the LAN.
    Client,
    /// The server, behind the WAN.
    Server,
}

/// Most connections there can be: each has a client address of its own in 10.0.0.0/8.
pub(super) const MOST: u32 = 1 << 24;

/// Connections 0 to n - 1.
#[derive(Debug)]
pub(super) struct Flows {
    /// Of each, the sequence number that the client sends next, and the server.
    next: Vec<[u32; 2]>,
    random: u64,
}

impl Flows {
    /// `count` connections, none of which has sent anything; at most [`MOST`].
    pub(super) fn new(count: u32) -> Self {
        assert!(count > 0 && count <= MOST);
        let next = (0..count).map(|flow| [mix(flow), mix(!flow)]).collect();
        Self { next, random: 0x9e37_79b9_7f4a_7c15 }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        self.next.len() as u32
    }

    /// One of them at random.
    pub(super) fn any(&mut self) -> u32 {
        // xorshift64* (S. Vigna, "An experimental exploration of Marsaglia's xorshift generators").
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let high = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        ((high * self.next.len() as u64) >> 32) as u32
    }

    /// The client's SYN.
    pub(super) fn syn(&mut self, flow: u32) -> Bytes {
        self.segment(flow, End::Client, flags::SYN, 0)
    }

    /// The server's SYN-ACK.
    pub(super) fn syn_ack(&mut self, flow: u32) -> Bytes {
        self.segment(flow, End::Server, flags::SYN | flags::ACK, 0)
    }

    /// The client's ACK that completes the handshake.
    pub(super) fn ack(&mut self, flow: u32) -> Bytes {
        self.segment(flow, End::Client, flags::ACK, 0)
    }

    /// The FIN of one end, which acknowledges all that the other has sent.
    pub(super) fn fin(&mut self, flow: u32, from: End) -> Bytes {
        self.segment(flow, from, flags::FIN | flags::ACK, 0)
    }

    /// Data from one end, which acknowledges all that the other has sent.
    pub(super) fn data(&mut self, flow: u32, from: End) -> Bytes {
        self.segment(flow, from, flags::ACK | flags::PSH, PAYLOAD)
    }

    fn segment(&mut self, flow: u32, from: End, set: u8, payload: usize) -> Bytes {
        let next = &mut self.next[flow as usize];
        let [seq, other] = match from {
            End::Client => *next,
            End::Server => [next[1], next[0]],
        };
        let ack = if set & flags::ACK == 0 { 0 } else { other };
        let sent = payload as u32 + u32::from(set & (flags::SYN | flags::FIN) != 0);
        next[from as usize] = seq.wrapping_add(sent);
        let frame = Frame { flow, from, seq, ack, flags: set, payload };
        frame.bytes()
    }
}

/// Addresses and ports of a connection: client, server.
fn endpoints(flow: u32) -> [(Ipv4Addr, u16); 2] {
    let spread = mix(flow);
    let client = Ipv4Addr::from(0x0a00_0000 | flow);
    let server = Ipv4Addr::from(0xc612_0000 | (spread & 0x1_ffff));
    [(client, 1024 + (spread >> 17) as u16), (server, 443)]
}

struct Frame {
    flow: u32,
    from: End,
    seq: u32,
    ack: u32,
    flags: u8,
    payload: usize,
}

impl Frame {
    fn bytes(&self) -> Bytes {
        let mut bytes = [0; LENGTH];
        let [client, server] = endpoints(self.flow);
        let (source, destination) = match self.from {
            End::Client => (client, server),
            End::Server => (server, client),
        };
        let tail = if self.from == End::Client { [1, 2] } else { [2, 1] };
        bytes[..6].copy_from_slice(&[2, 0, 0, 0, 0, tail[1]]);
        bytes[6..12].copy_from_slice(&[2, 0, 0, 0, 0, tail[0]]);
        bytes[12..14].copy_from_slice(&[8, 0]);
        let ip = &mut bytes[IP..];
        ip[0] = 0x45;
        ip[2..4].copy_from_slice(&((40 + self.payload) as u16).to_be_bytes());
        ip[6] = 0x40;
        ip[8] = 64;
        ip[9] = 6;
        ip[12..16].copy_from_slice(&source.0.octets());
        ip[16..20].copy_from_slice(&destination.0.octets());
        let checksum = finish(sum(&ip[..20]));
        ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        let pseudo = sum(&ip[12..20]) + 6 + (20 + self.payload) as u32;
        let tcp = &mut bytes[TCP..TCP + 20 + self.payload];
        tcp[..2].copy_from_slice(&source.1.to_be_bytes());
        tcp[2..4].copy_from_slice(&destination.1.to_be_bytes());
        tcp[4..8].copy_from_slice(&self.seq.to_be_bytes());
        tcp[8..12].copy_from_slice(&self.ack.to_be_bytes());
        tcp[12] = 5 << 4;
        tcp[13] = self.flags;
        tcp[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
        let checksum = finish(pseudo + sum(tcp));
        tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }
}

/// Sum of 16-bit words (RFC 1071); `bytes` are even in number and few.
fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum()
}

const fn finish(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Spreads numbers: the finaliser of `MurmurHash3`, a bijection.
const fn mix(mut value: u32) -> u32 {
    value ^= value >> 16;
    value = value.wrapping_mul(0x85eb_ca6b);
    value ^= value >> 13;
    value = value.wrapping_mul(0xc2b2_ae35);
    value ^ value >> 16
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::SocketAddr;

    use weir_engine::packet::build;

    use super::*;

    fn sockets(flow: u32) -> [SocketAddr; 2] {
        endpoints(flow).map(SocketAddr::from)
    }

    fn field(frame: &Bytes, at: usize) -> u32 {
        u32::from_be_bytes(frame[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn frames_are_what_the_engines_builder_makes() {
        let mut flows = Flows::new(1000);
        let [client, server] = sockets(777);
        let syn = flows.syn(777);
        let (seq, other) = (mix(777), mix(!777));
        let built = build::tcp(client, server, flags::SYN).seq(seq).window(65535).frame();
        assert_eq!(syn[..54], built[..54]);
        let answer = flows.syn_ack(777);
        let built = build::tcp(server, client, flags::SYN | flags::ACK)
            .seq(other)
            .ack(seq.wrapping_add(1))
            .window(65535)
            .frame();
        // Not the addresses of Ethernet, which the builder does not turn around.
        assert_eq!(answer[12..54], built[12..54]);
        assert_eq!(answer[..6], syn[6..12]);
        flows.ack(777);
        let data = flows.data(777, End::Client);
        let built = build::tcp(client, server, flags::ACK | flags::PSH)
            .seq(seq.wrapping_add(1))
            .ack(other.wrapping_add(1))
            .window(65535)
            .payload(&[0; PAYLOAD])
            .frame();
        assert_eq!(data[..], built[..]);
    }

    #[test]
    fn sequence_numbers_advance_in_both_directions() {
        let mut flows = Flows::new(1);
        let _ = (flows.syn(0), flows.syn_ack(0), flows.ack(0));
        let first = flows.data(0, End::Client);
        let second = flows.data(0, End::Client);
        let answer = flows.data(0, End::Server);
        assert_eq!(field(&second, TCP + 4), field(&first, TCP + 4).wrapping_add(10));
        assert_eq!(field(&answer, TCP + 8), field(&second, TCP + 4).wrapping_add(10));
        assert_eq!(field(&answer, TCP + 4), field(&first, TCP + 8));
    }

    #[test]
    fn no_two_connections_are_the_same() {
        let all: HashSet<_> = (0..100_000).chain(MOST - 100_000..MOST).map(endpoints).collect();
        assert_eq!(all.len(), 200_000);
    }

    #[test]
    fn every_connection_is_chosen_about_as_often() {
        let mut flows = Flows::new(10);
        let mut chosen = [0; 10];
        for _ in 0..100_000 {
            chosen[flows.any() as usize] += 1;
        }
        assert!(chosen.iter().all(|&times| (9_500..10_500).contains(&times)), "{chosen:?}");
    }
}
