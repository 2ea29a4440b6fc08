//! The bench's connections: as many as wanted, all alike, each with its own addresses and sequence
//! numbers, and the frames they send, TCP or UDP. Eight bytes a connection, so that the model of ten
//! million of them does not get in the way of what is measured.

use std::cell::Cell;
use std::net::Ipv4Addr;
use std::rc::Rc;

use weir_engine::packet::tcp::flags;

/// Bytes of a frame, without the frame check sequence.
pub(super) const LENGTH: usize = 64;
/// Where the IP and the transport header begin.
const IP: usize = 14;
const TRANSPORT: usize = IP + 20;
/// Bytes that each segment of an established connection carries.
const PAYLOAD: usize = LENGTH - TRANSPORT - 20;
/// Bytes of a UDP header.
const UDP: usize = 8;
/// IP protocol numbers.
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
/// Fragments of a datagram in fragments.
pub(super) const PARTS: usize = 3;
/// Bytes of a datagram that a fragment holds: as many multiples of eight as the frame has room for.
const PART: usize = (LENGTH - TRANSPORT) / 8 * 8;
/// IPv4's third pair of bytes: don't fragment; more fragments.
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;

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
    /// What their ends know of each other's numbers, if the worker translates them.
    differences: Option<Rc<Differences>>,
    random: u64,
    /// Identification of the last datagram in fragments.
    id: u16,
}

/// By how much the worker changes the sequence numbers of each connection's client and server: as seen
/// in their SYNs.
#[derive(Debug)]
pub(super) struct Differences(Vec<[Cell<u32>; 2]>);

impl Differences {
    /// Of so many connections that have not begun.
    pub(super) fn new(count: u32) -> Self {
        Self((0..count).map(|_| <[Cell<u32>; 2]>::default()).collect())
    }

    /// Whether a segment left as it had to, its numbers translated and its checksum right.
    pub(super) fn are_kept(&self, sent: &Bytes, left: &[u8]) -> bool {
        let from = usize::from(sent[11] - 1);
        let flow = field(sent, if from == 0 { IP + 12 } else { IP + 16 }) & (MOST - 1);
        let Some(differences) = self.0.get(flow as usize).filter(|_| left.len() == LENGTH) else {
            return false;
        };
        let set = sent[TRANSPORT + 13];
        if set & flags::SYN != 0 {
            let seen = field(left, TRANSPORT + 4).wrapping_sub(field(sent, TRANSPORT + 4));
            differences[from].set(seen);
        }
        let mut expected = *sent;
        let mut put = |at: usize, number: u32| {
            expected[at..at + 4].copy_from_slice(&number.to_be_bytes());
        };
        let seq = field(sent, TRANSPORT + 4).wrapping_add(differences[from].get());
        put(TRANSPORT + 4, seq);
        if set & flags::ACK != 0 {
            let ack = field(sent, TRANSPORT + 8).wrapping_sub(differences[1 - from].get());
            put(TRANSPORT + 8, ack);
        }
        expected[TRANSPORT + 16..TRANSPORT + 18].fill(0);
        let end = IP + usize::from(u16::from_be_bytes([sent[IP + 2], sent[IP + 3]]));
        let length = (end - TRANSPORT) as u32;
        let pseudo = sum(&sent[IP + 12..IP + 20]) + u32::from(PROTOCOL_TCP) + length;
        let checksum = finish(pseudo + sum(&expected[TRANSPORT..end]));
        expected[TRANSPORT + 16..TRANSPORT + 18].copy_from_slice(&checksum.to_be_bytes());
        left == expected
    }

    /// Whether a SYN was made into the SYN-ACK of its server, and with which number.
    pub(super) fn are_promised(&self, syn: &Bytes, left: &[u8]) -> bool {
        let flow = field(syn, IP + 12) & (MOST - 1);
        let Some([_, server]) = self.0.get(flow as usize) else { return false };
        if left.len() < TRANSPORT + 20 {
            return false;
        }
        server.set(field(left, TRANSPORT + 4).wrapping_add(1).wrapping_sub(mix(!flow)));
        let turned = [field(syn, IP + 16), field(syn, IP + 12)];
        left[TRANSPORT + 13] == flags::SYN | flags::ACK
            && [field(left, IP + 12), field(left, IP + 16)] == turned
            && field(left, TRANSPORT + 8) == field(syn, TRANSPORT + 4).wrapping_add(1)
    }
}

/// Whether the ACK that proves a client was made into a SYN for its server. The first SYN for a server
/// that is not known has a number half of all numbers away, and asks about congestion notification.
pub(super) fn asks_server(ack: &Bytes, left: &[u8]) -> bool {
    const HALF: u32 = 1 << 31;
    left.len() >= TRANSPORT + 20
        && left[TRANSPORT + 13] & !(flags::ECE | flags::CWR) == flags::SYN
        && left[IP + 12..IP + 20] == ack[IP + 12..IP + 20]
        && field(left, TRANSPORT + 4).wrapping_add(1) | HALF == field(ack, TRANSPORT + 4) | HALF
}

/// The 32-bit field at `at`.
fn field(frame: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]])
}

impl Flows {
    /// `count` connections, none of which has sent anything; at most [`MOST`].
    pub(super) fn new(count: u32) -> Self {
        assert!(count > 0 && count <= MOST);
        let next = (0..count).map(|flow| [mix(flow), mix(!flow)]).collect();
        Self { next, differences: None, random: 0x9e37_79b9_7f4a_7c15, id: 0 }
    }

    /// The same, their numbers translated by the worker.
    pub(super) fn translated(differences: &Rc<Differences>) -> Self {
        let count = differences.0.len() as u32;
        Self { differences: Some(Rc::clone(differences)), ..Self::new(count) }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        self.next.len() as u32
    }

    /// One of them at random.
    pub(super) fn any(&mut self) -> u32 {
        self.any_below(self.count())
    }

    /// One of the first `count` at random.
    pub(super) fn any_below(&mut self, count: u32) -> u32 {
        // xorshift64* (S. Vigna, "An experimental exploration of Marsaglia's xorshift generators").
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let high = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        ((high * u64::from(count)) >> 32) as u32
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

    /// A UDP datagram from one end in three fragments, in order.
    pub(super) fn fragments(&mut self, flow: u32, from: End) -> [Bytes; PARTS] {
        self.id = self.id.wrapping_add(1);
        let id = self.id;
        let mut frames = [[0; LENGTH]; PARTS];
        for (part, bytes) in (0_u16..).zip(&mut frames) {
            let more = if usize::from(part) + 1 < PARTS { MORE_FRAGMENTS } else { 0 };
            let fragment = more + part * (PART / 8) as u16;
            let headers = Headers { flow, from, protocol: PROTOCOL_UDP, id, fragment };
            let (ports, addresses) = headers.write(bytes, PART);
            if part == 0 {
                // The pseudo header has the length of the datagram, not of the fragment.
                let length = PARTS * PART;
                let pseudo = addresses + (length - PART) as u32;
                bytes[TRANSPORT..TRANSPORT + UDP].copy_from_slice(&udp(ports, pseudo, length));
            }
        }
        frames
    }

    fn segment(&mut self, flow: u32, from: End, set: u8, payload: usize) -> Bytes {
        let next = &mut self.next[flow as usize];
        let [seq, other] = match from {
            End::Client => *next,
            End::Server => [next[1], next[0]],
        };
        let difference = self.differences.as_ref();
        let other = difference.map_or(other, |differences| {
            other.wrapping_add(differences.0[flow as usize][1 - from as usize].get())
        });
        let ack = if set & flags::ACK == 0 { 0 } else { other };
        let sent = payload as u32 + u32::from(set & (flags::SYN | flags::FIN) != 0);
        next[from as usize] = seq.wrapping_add(sent);
        let mut bytes = [0; LENGTH];
        let headers =
            Headers { flow, from, protocol: PROTOCOL_TCP, id: 0, fragment: DONT_FRAGMENT };
        let (ports, pseudo) = headers.write(&mut bytes, 20 + payload);
        let tcp = &mut bytes[TRANSPORT..TRANSPORT + 20 + payload];
        tcp[..4].copy_from_slice(&ports);
        tcp[4..8].copy_from_slice(&seq.to_be_bytes());
        tcp[8..12].copy_from_slice(&ack.to_be_bytes());
        tcp[12] = 5 << 4;
        tcp[13] = set;
        tcp[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
        let checksum = finish(pseudo + sum(tcp));
        tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }
}

/// A UDP datagram from one end that fills its frame.
pub(super) fn datagram(flow: u32, from: End) -> Bytes {
    let mut bytes = [0; LENGTH];
    let headers = Headers { flow, from, protocol: PROTOCOL_UDP, id: 0, fragment: DONT_FRAGMENT };
    let length = LENGTH - TRANSPORT;
    let (ports, pseudo) = headers.write(&mut bytes, length);
    bytes[TRANSPORT..TRANSPORT + UDP].copy_from_slice(&udp(ports, pseudo, length));
    bytes
}

/// Addresses and ports of a connection: client, server.
fn endpoints(flow: u32) -> [(Ipv4Addr, u16); 2] {
    let spread = mix(flow);
    let client = Ipv4Addr::from(0x0a00_0000 | flow);
    let server = Ipv4Addr::from(0xc612_0000 | (spread & 0x1_ffff));
    [(client, 1024 + (spread >> 17) as u16), (server, 443)]
}

/// What stands in front of the transport header.
struct Headers {
    flow: u32,
    from: End,
    protocol: u8,
    id: u16,
    fragment: u16,
}

impl Headers {
    /// Writes them for so many bytes behind them. Returns both ports, as a transport header begins
    /// with them, and the sum of the pseudo header.
    fn write(&self, bytes: &mut Bytes, behind: usize) -> ([u8; 4], u32) {
        let [client, server] = endpoints(self.flow);
        let (source, destination) = match self.from {
            End::Client => (client, server),
            End::Server => (server, client),
        };
        let tail = if self.from == End::Client { [1, 2] } else { [2, 1] };
        bytes[..6].copy_from_slice(&[2, 0, 0, 0, 0, tail[1]]);
        bytes[6..12].copy_from_slice(&[2, 0, 0, 0, 0, tail[0]]);
        bytes[12..14].copy_from_slice(&[8, 0]);
        let ip = &mut bytes[IP..TRANSPORT];
        ip[0] = 0x45;
        ip[2..4].copy_from_slice(&((20 + behind) as u16).to_be_bytes());
        ip[4..6].copy_from_slice(&self.id.to_be_bytes());
        ip[6..8].copy_from_slice(&self.fragment.to_be_bytes());
        ip[8] = 64;
        ip[9] = self.protocol;
        ip[12..16].copy_from_slice(&source.0.octets());
        ip[16..20].copy_from_slice(&destination.0.octets());
        let checksum = finish(sum(ip));
        ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        let pseudo = sum(&ip[12..20]) + u32::from(self.protocol) + behind as u32;
        let [[a, b], [c, d]] = [source.1, destination.1].map(u16::to_be_bytes);
        ([a, b, c, d], pseudo)
    }
}

/// The UDP header of `length` bytes of header and zeros.
fn udp([a, b, c, d]: [u8; 4], pseudo: u32, length: usize) -> [u8; UDP] {
    let [high, low] = (length as u16).to_be_bytes();
    let mut header = [a, b, c, d, high, low, 0, 0];
    let checksum = finish(pseudo + sum(&header));
    header[6..].copy_from_slice(&checksum.to_be_bytes());
    header
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
    fn datagrams_are_what_the_engines_builder_makes() {
        let [client, server] = sockets(777);
        let built = build::udp(client, server).payload(&[0; 22]).frame();
        assert_eq!(datagram(777, End::Client)[..], built[..]);
        let answer = datagram(777, End::Server);
        let built = build::udp(server, client).payload(&[0; 22]).frame();
        assert_eq!(answer[12..], built[12..]);
    }

    #[test]
    fn fragments_are_those_of_one_datagram() {
        let mut flows = Flows::new(1000);
        let [client, server] = sockets(777);
        let built = build::udp(client, server).payload(&[0; 64]).frame();
        let parts = flows.fragments(777, End::Client);
        let mut together: Vec<u8> = Vec::new();
        for (number, part) in parts.iter().enumerate() {
            assert_eq!(part[16..20], [0, 20 + 24, 0, 1]);
            let more = if number < 2 { 0x20 } else { 0 };
            assert_eq!(part[20..22], [more, 3 * number as u8]);
            assert_eq!(finish(sum(&part[IP..TRANSPORT])), 0);
            together.extend(&part[TRANSPORT..TRANSPORT + PART]);
        }
        assert_eq!(together, built[TRANSPORT..]);
        assert_eq!(flows.fragments(777, End::Client)[0][18..20], [0, 2]);
    }

    #[test]
    fn sequence_numbers_advance_in_both_directions() {
        let mut flows = Flows::new(1);
        let _ = (flows.syn(0), flows.syn_ack(0), flows.ack(0));
        let first = flows.data(0, End::Client);
        let second = flows.data(0, End::Client);
        let answer = flows.data(0, End::Server);
        assert_eq!(field(&second, TRANSPORT + 4), field(&first, TRANSPORT + 4).wrapping_add(10));
        assert_eq!(field(&answer, TRANSPORT + 8), field(&second, TRANSPORT + 4).wrapping_add(10));
        assert_eq!(field(&answer, TRANSPORT + 4), field(&first, TRANSPORT + 8));
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
