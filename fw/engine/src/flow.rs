//! Which flow a frame belongs to: the key of the state table, its hash, and the worker that owns it.
//!
//! A key names the two endpoints by the port they are on, not by who sent the frame: both directions
//! of a connection have the same key, and a frame that claims to come from a host on the other side
//! of the bridge has a different one. That is how `set state-policy if-bound` costs nothing. The hash
//! leaves the ports of the bridge out: whatever the policy of a state, the same worker owns the flow,
//! and a look-up finds it at the same place.
//!
//! The tags are in a key, since they tell networks apart; the PPPoE session is not. Its id is a name
//! that each dialling makes anew (RFC 2516, 5.4), while connections over addresses that stay outlive a
//! line that was down for seconds. Two sessions by which the same two addresses and ports talk through
//! one tag stack at one time would share a state.
//!
//! The hash is `SipHash`-1-3 (Aumasson and Bernstein, "`SipHash`: a fast short-input PRF", 2012) with a
//! key drawn at each start, since remote hosts choose every input.

use crate::frame::PortIndex;
use crate::packet::{Address, Fragment, Network, Packet, Quote, Tags};

/// Key of a flow: tag stack, protocol, both endpoints, and the ports of the bridge they are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlowKey {
    /// Address of the endpoint on the port with the lower index, high half first.
    pub(crate) lower: [u64; 2],
    /// Address of the other endpoint.
    pub(crate) upper: [u64; 2],
    /// From the top: lower port (16 bits), upper port (16), outer VID (12), inner VID (12),
    /// protocol (8).
    pub(crate) tail: u64,
    /// The family (bit 7) and the bridge's two ports (3 bits each); no ports if floating (bit 6).
    pub(crate) sides: u8,
}

const INET6: u8 = 0x80;
const FLOATING: u8 = 0x40;

/// The secret of the flow hash. Equal in all workers of a process.
#[derive(Clone, Copy)]
pub(crate) struct HashKey(u64, u64);

impl HashKey {
    /// From sixteen random bytes.
    pub(crate) const fn new(bytes: [u8; 16]) -> Self {
        let key = u128::from_le_bytes(bytes);
        Self(key as u64, (key >> 64) as u64)
    }

    /// Another key, which says nothing about this one. Hashes of three words or more are made of other
    /// inputs.
    pub(crate) const fn derived(self, purpose: u64, number: u64) -> Self {
        Self(keyed(self, [purpose << 8, number]), keyed(self, [purpose << 8 | 1, number]))
    }
}

/// One way through the bridge: where a frame comes in and where it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) from: PortIndex,
    pub(crate) to: PortIndex,
}

impl Path {
    /// The way of a frame through a bridge of two ports.
    #[inline]
    pub(crate) const fn across(port: PortIndex) -> Self {
        Self { from: port, to: PortIndex(1 - (port.0 & 1)) }
    }

    /// The same way backwards.
    pub(crate) const fn reversed(self) -> Self {
        Self { from: self.to, to: self.from }
    }
}

impl FlowKey {
    /// The key of nothing.
    pub(crate) const BLANK: Self = Self { lower: [0; 2], upper: [0; 2], tail: 0, sides: 0 };

    /// The key of a packet and whether its sender is the lower endpoint. `floating` leaves the
    /// bridge's ports out (`set state-policy floating`).
    #[inline]
    pub(crate) fn of_packet(packet: &Packet, path: Path, floating: bool) -> (Self, bool) {
        Self::new(
            (packet.source, packet.source_port),
            (packet.destination, packet.destination_port),
            packet.tags,
            (packet.protocol, packet.network),
            path,
            floating,
        )
    }

    /// The key of the flow that an ICMP error speaks of, and whether the sender of the quoted packet
    /// is the lower endpoint. The quoted packet went the other way than the error.
    pub(crate) fn of_quote(
        packet: &Packet,
        quote: &Quote,
        path: Path,
        floating: bool,
    ) -> (Self, bool) {
        Self::new(
            (quote.source, quote.source_port),
            (quote.destination, quote.destination_port),
            packet.tags,
            (quote.protocol, packet.network),
            path.reversed(),
            floating,
        )
    }

    /// What all fragments of a datagram have in common: tags, addresses, identification, the protocol
    /// of IPv4 (RFC 791, 2.3; RFC 8200, 4.5, has none) and the port they come in by; their PPPoE
    /// session stands beside it. Both directions differ. Without the fragment: what all datagrams
    /// between these two hosts have in common.
    pub(crate) fn of_fragments(packet: &Packet, fragment: Option<&Fragment>) -> Self {
        let (family, protocol) = match packet.network {
            Network::Ipv6 => (INET6, 0),
            _ => (0, packet.protocol),
        };
        let (id, protocol) = fragment.map_or((0, 0), |fragment| (fragment.id, protocol));
        let Path { from, to } = Path::across(packet.port);
        Self {
            lower: halves(packet.source),
            upper: halves(packet.destination),
            tail: Self::tail(((id >> 16) as u16, id as u16), packet.tags, protocol),
            sides: family | from.0 << 3 | to.0,
        }
    }

    /// Who sends a packet: the address, of IPv6 the first 64 bits.
    pub(crate) fn of_source(packet: &Packet) -> Self {
        let (address, sides) = match packet.network {
            Network::Ipv6 => (Address(packet.source.0 >> 64 << 64), INET6),
            _ => (packet.source, 0),
        };
        Self { lower: halves(address), sides, ..Self::BLANK }
    }

    const fn tail((lower, upper): (u16, u16), tags: Tags, protocol: u8) -> u64 {
        (lower as u64) << 48
            | (upper as u64) << 32
            | ((tags.outer & 0xfff) as u64) << 20
            | ((tags.inner & 0xfff) as u64) << 8
            | protocol as u64
    }

    #[inline]
    fn new(
        sender: (Address, u16),
        receiver: (Address, u16),
        tags: Tags,
        (protocol, network): (u8, Network),
        path: Path,
        floating: bool,
    ) -> (Self, bool) {
        let family = if network == Network::Ipv6 { INET6 } else { 0 };
        let (sender_is_lower, sides) = if floating {
            (sender <= receiver, family | FLOATING)
        } else if path.from <= path.to {
            (true, family | path.from.0 << 3 | path.to.0)
        } else {
            (false, family | path.to.0 << 3 | path.from.0)
        };
        let (lower, upper) = if sender_is_lower { (sender, receiver) } else { (receiver, sender) };
        let key = Self {
            lower: halves(lower.0),
            upper: halves(upper.0),
            tail: Self::tail((lower.1, upper.1), tags, protocol),
            sides,
        };
        (key, sender_is_lower)
    }

    /// Whether the bridge's ports are left out.
    #[inline]
    pub(crate) const fn is_floating(&self) -> bool {
        self.sides & FLOATING != 0
    }

    /// The key of the same flow under the other state policy, and whether its sender is the lower
    /// endpoint of that. `path` is the way of the sender's packets.
    pub(crate) fn other_policy(&self, sender_is_lower: bool, path: Path) -> (Self, bool) {
        let (lower, upper) = (self.lower(), self.upper());
        let (sender, receiver) = if sender_is_lower { (lower, upper) } else { (upper, lower) };
        let kind = (self.protocol(), self.network());
        Self::new(sender, receiver, self.tags(), kind, path, !self.is_floating())
    }

    /// IP protocol number.
    pub(crate) const fn protocol(&self) -> u8 {
        self.tail as u8
    }

    /// The network layer.
    pub(crate) const fn network(&self) -> Network {
        if self.sides & INET6 != 0 { Network::Ipv6 } else { Network::Ipv4 }
    }

    /// The tag stack.
    pub(crate) const fn tags(&self) -> Tags {
        Tags { outer: (self.tail >> 20) as u16 & 0xfff, inner: (self.tail >> 8) as u16 & 0xfff }
    }

    /// Address and port of the lower endpoint.
    pub(crate) const fn lower(&self) -> (Address, u16) {
        (joined(self.lower), (self.tail >> 48) as u16)
    }

    /// Address and port of the upper endpoint.
    pub(crate) const fn upper(&self) -> (Address, u16) {
        (joined(self.upper), (self.tail >> 32) as u16)
    }

    /// The hash with the ports of the bridge in it, in bits of the half that chooses no place.
    pub(crate) fn sided(&self, hash: u64) -> u64 {
        let turned = self.lower() > self.upper();
        hash ^ (u64::from(self.sides) << 1 | u64::from(turned)) << 32
    }

    /// SipHash-1-3 of the key without the ports of the bridge: the endpoints in their own order. IPv4
    /// addresses count with their 32 bits only.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "2 ns a frame otherwise")]
    pub(crate) fn hash(&self, key: HashKey) -> u64 {
        let mut sip = Sip::new(key);
        let ipv6 = self.sides & INET6 != 0;
        let ports = (self.tail >> 48, self.tail >> 32 & 0xffff);
        let turned = if ipv6 {
            (self.lower, ports.0) > (self.upper, ports.1)
        } else {
            // An IPv4 address takes up 48 bits of its half.
            self.lower[1] << 16 | ports.0 > self.upper[1] << 16 | ports.1
        };
        let (lower, upper, tail) = if turned {
            let rest = self.tail & 0xffff_ffff;
            (&self.upper, &self.lower, ports.1 << 48 | ports.0 << 32 | rest)
        } else {
            (&self.lower, &self.upper, self.tail)
        };
        let length = if ipv6 {
            for word in [lower[0], lower[1], upper[0], upper[1], tail] {
                sip.word(word);
            }
            41
        } else {
            sip.word(lower[1] << 32 | upper[1] & 0xffff_ffff);
            sip.word(tail);
            17
        };
        sip.word(length << 56 | u64::from(self.sides & INET6));
        sip.finish()
    }

    /// What hides the sequence numbers of a flow's ends: in the low half for the lower endpoint, in the
    /// high half for the upper.
    pub(crate) const fn hash_sequence(&self, key: HashKey) -> u64 {
        let Self { lower, upper, tail, .. } = *self;
        let mut sip = Sip::new(key);
        // A length that no other hash under this key has.
        let words = [lower[0], lower[1], upper[0], upper[1], tail, 40 << 56];
        let mut i = 0;
        while i < words.len() {
            sip.word(words[i]);
            i += 1;
        }
        sip.finish()
    }
}

/// Hash of a source and of what tracks it.
pub(crate) fn hash_source(key: HashKey, source: Address, tracker: u64) -> u64 {
    let mut sip = Sip::new(key);
    let [high, low] = halves(source);
    for word in [high, low, tracker, 24 << 56] {
        sip.word(word);
    }
    sip.finish()
}

/// Hash of a few numbers. How many they are is not hashed: one key is for one length.
#[inline]
pub(crate) const fn keyed<const N: usize>(key: HashKey, words: [u64; N]) -> u64 {
    let mut sip = Sip::new(key);
    let mut i = 0;
    while i < N {
        sip.word(words[i]);
        i += 1;
    }
    sip.finish()
}

/// The worker that owns the flow with this hash.
#[inline]
pub(crate) const fn owner(hash: u64, workers: u16) -> u16 {
    (((hash >> 32) * workers as u64) >> 32) as u16
}

const fn halves(address: Address) -> [u64; 2] {
    [(address.0 >> 64) as u64, address.0 as u64]
}

const fn joined(halves: [u64; 2]) -> Address {
    Address((halves[0] as u128) << 64 | halves[1] as u128)
}

struct Sip([u64; 4]);

impl Sip {
    #[inline]
    const fn new(key: HashKey) -> Self {
        Self([
            key.0 ^ 0x736f_6d65_7073_6575,
            key.1 ^ 0x646f_7261_6e64_6f6d,
            key.0 ^ 0x6c79_6765_6e65_7261,
            key.1 ^ 0x7465_6462_7974_6573,
        ])
    }

    #[inline]
    const fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.0;
        a = a.wrapping_add(b);
        c = c.wrapping_add(d);
        b = b.rotate_left(13) ^ a;
        d = d.rotate_left(16) ^ c;
        a = a.rotate_left(32);
        c = c.wrapping_add(b);
        a = a.wrapping_add(d);
        b = b.rotate_left(17) ^ c;
        d = d.rotate_left(21) ^ a;
        c = c.rotate_left(32);
        self.0 = [a, b, c, d];
    }

    #[inline]
    const fn word(&mut self, word: u64) {
        self.0[3] ^= word;
        self.round();
        self.0[0] ^= word;
    }

    #[inline]
    const fn finish(mut self) -> u64 {
        self.0[2] ^= 0xff;
        self.round();
        self.round();
        self.round();
        self.0[0] ^ self.0[1] ^ self.0[2] ^ self.0[3]
    }
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher;

    use siphasher::sip::SipHasher13;

    use super::*;

    const TO_WAN: Path = Path { from: PortIndex::LAN, to: PortIndex::WAN };

    fn key(source: Address, destination: Address, path: Path, floating: bool) -> (FlowKey, bool) {
        let tags = Tags { outer: 7, inner: 4094 };
        let network = if source.0 >> 32 == 0xffff { Network::Ipv4 } else { Network::Ipv6 };
        FlowKey::new((source, 1000), (destination, 80), tags, (6, network), path, floating)
    }

    #[test]
    fn hash_is_siphash_1_3() {
        let secret: [u8; 16] = std::array::from_fn(|i| i as u8 * 17);
        let mut reference = SipHasher13::new_with_key(&secret);
        let a = Address::v6(std::array::from_fn(|i| i as u8));
        let b = Address::v6(std::array::from_fn(|i| 0xf0 | i as u8));
        let (v6, _) = key(a, b, TO_WAN, false);
        for word in [v6.lower[0], v6.lower[1], v6.upper[0], v6.upper[1], v6.tail] {
            reference.write(&word.to_le_bytes());
        }
        reference.write(&[INET6]);
        assert_eq!(v6.hash(HashKey::new(secret)), reference.finish());

        let (v4, _) = key(Address::v4([10, 1, 2, 3]), Address::v4([192, 0, 2, 1]), TO_WAN, false);
        let mut reference = SipHasher13::new_with_key(&secret);
        reference.write(&[1, 2, 0, 192, 3, 2, 1, 10]);
        reference.write(&v4.tail.to_le_bytes());
        reference.write(&[0]);
        assert_eq!(v4.hash(HashKey::new(secret)), reference.finish());
    }

    #[test]
    fn hash_does_not_depend_on_sides_or_policy() {
        let secret = HashKey::new([7; 16]);
        let (v4, v6) = (Network::Ipv4, Network::Ipv6);
        let host = Address::v4([10, 1, 2, 3]);
        for (a, b, network) in [
            (host, Address::v4([192, 0, 2, 1]), v4),
            (host, host, v4),
            (Address::v6([0x20; 16]), Address::v6([0xfd; 16]), v6),
        ] {
            let mut hashes = Vec::new();
            for (sender, receiver) in [((a, 1000), (b, 80)), ((b, 80), (a, 1000))] {
                for path in [TO_WAN, TO_WAN.reversed()] {
                    let tags = Tags::default();
                    let (bound, sender_is_lower) =
                        FlowKey::new(sender, receiver, tags, (6, network), path, false);
                    let (floating, lower) = bound.other_policy(sender_is_lower, path);
                    assert!(floating.is_floating() && !bound.is_floating());
                    assert_eq!(floating.other_policy(lower, path), (bound, sender_is_lower));
                    hashes.extend([bound.hash(secret), floating.hash(secret)]);
                }
            }
            assert!(hashes.iter().all(|&hash| hash == hashes[0]), "{hashes:x?}");
        }
    }

    #[test]
    fn both_directions_share_a_key_and_the_wrong_side_does_not() {
        let (a, b) = (Address::v4([192, 0, 2, 1]), Address::v4([198, 51, 100, 2]));
        let tags = Tags::default();
        let make = |from, to, path, floating| {
            FlowKey::new(from, to, tags, (6, Network::Ipv4), path, floating).0
        };
        for floating in [false, true] {
            let there = make((a, 1000), (b, 80), TO_WAN, floating);
            let back = make((b, 80), (a, 1000), TO_WAN.reversed(), floating);
            assert_eq!(there, back);
            let wrong_side = make((b, 80), (a, 1000), TO_WAN, floating);
            assert_eq!(there == wrong_side, floating);
        }
    }

    #[test]
    fn key_gives_back_what_went_in() {
        let (a, b) = (Address::v4([192, 0, 2, 1]), Address::v4([198, 51, 100, 2]));
        let (key, lower) = key(a, b, TO_WAN.reversed(), false);
        assert!(!lower);
        assert_eq!(key.upper(), (a, 1000));
        assert_eq!(key.lower(), (b, 80));
        assert_eq!(key.tags(), Tags { outer: 7, inner: 4094 });
        assert_eq!((key.protocol(), key.network()), (6, Network::Ipv4));
    }

    #[test]
    fn owners_are_spread_evenly() {
        let secret = HashKey::new([3; 16]);
        let mut counts = [0_u32; 3];
        for i in 0..30_000_u32 {
            let (key, _) =
                key(Address::v4(i.to_be_bytes()), Address::v4([10, 0, 0, 1]), TO_WAN, false);
            counts[usize::from(owner(key.hash(secret), 3))] += 1;
        }
        assert!(counts.iter().all(|count| (9_000..11_000).contains(count)), "{counts:?}");
    }
}
