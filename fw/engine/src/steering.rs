//! Which worker owns a flow where NICs deal flows out by a hash that weir has chosen: the one at whose
//! queue it arrives, so that nothing has to be handed over. Elsewhere the keyed hash of the flow
//! decides ([`owner`](crate::flow::owner)).
//!
//! NICs hash with Toeplitz' function (Microsoft, "RSS hashing functions"): for each bit of the input
//! that is set, from the top, 32 bits of the key beginning there are mixed into the result. weir gives
//! them a key that repeats two bytes, whose hash is the same in both directions (Woo and Park,
//! "Scalable TCP Session Monitoring with Symmetric Receive-side Scaling", 2012). Of such a key only 16
//! bits of the input's remain: all its words of two bytes, mixed. Each of them rotates the word, so that
//! the result has two equal halves; it is different for each of the 65,536 values if the word has an odd
//! number of bits set (it is a polynomial over GF(2), which shares no factor with x^16 + 1 = (x + 1)^16
//! then).
//!
//! The word is drawn at each start: who does not know it cannot give all his flows to one worker.
//! TCP and UDP are hashed with their ports, everything else, and every fragment, by addresses alone.
//! What a NIC hashes otherwise (by the tags in front of it, or the tunnel) arrives elsewhere and is
//! handed over: this is a matter of speed only, since the owner is a function of the flow here, too.

use crate::flow::FlowKey;
use crate::packet::protocol;

/// The hash by which both NICs deal out flows to queues, the queue of a worker having its number.
#[derive(Debug)]
pub struct Steering {
    /// What the two bytes of a mixed input are hashed to.
    bytes: [[u16; 256]; 2],
    /// The worker for each value of the hash, modulo its length; not empty.
    table: Box<[u16]>,
}

impl Steering {
    /// Of a Toeplitz key that repeats `word`, and a table of the worker for each value of the hash,
    /// modulo its length. `None` if that is empty.
    pub fn new(word: u16, table: Vec<u16>) -> Option<Self> {
        let of = |byte: usize, shift: u32| {
            let bits = (0..8).filter(|bit| byte >> (7 - bit) & 1 == 1);
            bits.fold(0, |hash, bit| hash ^ word.rotate_left(shift + bit))
        };
        let bytes = [0, 8].map(|shift| std::array::from_fn(|byte| of(byte, shift)));
        (!table.is_empty()).then(|| Self { bytes, table: table.into() })
    }

    /// The number that a draw of 16 bits makes a [`Steering::new`]'s word of, by which different inputs
    /// get different hashes.
    pub const fn word(drawn: u16) -> u16 {
        drawn ^ (drawn.count_ones() as u16 & 1 ^ 1)
    }

    /// The worker, below `workers`, that owns the flow of a key.
    pub(crate) fn owner(&self, key: &FlowKey, workers: u16) -> u16 {
        let hash = u32::from(self.hash(key));
        let place = (hash << 16 | hash) as usize % self.table.len();
        self.table[place] % workers
    }

    /// Either half of the hash of a flow.
    fn hash(&self, key: &FlowKey) -> u16 {
        let (lower, upper) = (key.lower(), key.upper());
        let mut mixed = lower.0.0 ^ upper.0.0;
        mixed ^= mixed >> 64;
        mixed ^= mixed >> 32;
        mixed ^= mixed >> 16;
        let mut mixed = mixed as u16;
        if matches!(key.protocol(), protocol::TCP | protocol::UDP) {
            mixed ^= lower.1 ^ upper.1;
        }
        let [high, low] = mixed.to_be_bytes();
        self.bytes[0][usize::from(high)] ^ self.bytes[1][usize::from(low)]
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};

    use proptest::prelude::*;

    use super::*;
    use crate::flow::Path;
    use crate::frame::{Frames, Owned, PortIndex};
    use crate::packet::{Packet, build};

    /// Toeplitz' function as it is defined.
    fn toeplitz(key: &[u8], input: &[u8]) -> u32 {
        let bit = |bytes: &[u8], at: usize| u32::from(bytes[at / 8] >> (7 - at % 8) & 1);
        let set = (0..8 * input.len()).filter(|&at| bit(input, at) == 1);
        let part = |at| (at..at + 32).fold(0, |part, at| part << 1 | bit(key, at));
        set.fold(0, |hash, at| hash ^ part(at))
    }

    /// What a NIC hashes: addresses, and perhaps ports, as they stand in the packet.
    fn input([from, to]: [SocketAddr; 2], ports: bool) -> Vec<u8> {
        let mut input = Vec::new();
        for end in [from, to] {
            match end.ip() {
                IpAddr::V4(address) => input.extend(address.octets()),
                IpAddr::V6(address) => input.extend(address.octets()),
            }
        }
        if ports {
            input.extend([from, to].iter().flat_map(|end| end.port().to_be_bytes()));
        }
        input
    }

    fn repeated(word: u16) -> Vec<u8> {
        word.to_be_bytes().repeat(26)
    }

    fn key(frame: &[u8], port: PortIndex, floating: bool) -> FlowKey {
        let mut frames = Owned::new();
        frames.push(port, frame);
        let packet = Packet::parse(frames.head(0), &frames.meta(0)).expect("a packet");
        FlowKey::of_packet(&packet, Path::across(port), floating).0
    }

    /// Microsoft's "Verifying the RSS hash calculation".
    #[test]
    fn the_definition_is_that_of_the_nics() {
        let key = [
            0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
            0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
            0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
        ];
        for (from, to, with, without) in [
            ("66.9.149.187:2794", "161.142.100.80:1766", 0x51cc_c178, 0x323e_8fc2),
            ("199.92.111.2:14230", "65.69.140.83:4739", 0xc626_b0ea, 0xd718_262a),
            ("[3ffe:2501:200:1fff::7]:2794", "[3ffe:2501:200:3::1]:1766", 0x4020_7d3d, 0x2cc1_8cd5),
        ] {
            let ends = [from, to].map(|end| end.parse().unwrap());
            assert_eq!(toeplitz(&key, &input(ends, true)), with, "{from}");
            assert_eq!(toeplitz(&key, &input(ends, false)), without, "{from}");
        }
    }

    proptest! {
        #[test]
        fn the_worker_is_the_one_at_whose_queue_it_arrives(
            (from, to) in any::<((u128, u16), (u128, u16))>(),
            (ipv6, floating, drawn) in any::<(bool, bool, u16)>(),
            bits in 0_u32..10,
        ) {
            let end = |(address, port): (u128, u16)| -> SocketAddr {
                // No multicast, nothing that is reserved.
                if ipv6 {
                    (std::net::Ipv6Addr::from(address >> 8 | 0x20 << 120), port).into()
                } else {
                    (std::net::Ipv4Addr::from(address as u32 >> 2 | 1 << 26), port).into()
                }
            };
            let ends = [end(from), end(to)];
            let word = Steering::word(drawn);
            let queues: Vec<u16> = (0..7).cycle().take(1 << bits).collect();
            let steering = Steering::new(word, queues.clone()).unwrap();
            let queue = |ends, ports| {
                let hash = toeplitz(&repeated(word), &input(ends, ports));
                queues[hash as usize & (queues.len() - 1)]
            };
            let turned = [ends[1], ends[0]];
            for (ends, port) in [(ends, PortIndex::LAN), (turned, PortIndex::WAN)] {
                let tcp = build::tcp(ends[0], ends[1], 2).frame();
                let udp = build::udp(ends[0], ends[1]).vlan(5).frame();
                for frame in [tcp, udp] {
                    let owner = steering.owner(&key(&frame, port, floating), 7);
                    prop_assert_eq!(owner, queue(ends, true));
                }
                let gre = build::other(ends[0].ip(), ends[1].ip(), 47).frame();
                let owner = steering.owner(&key(&gre, port, floating), 7);
                prop_assert_eq!(owner, queue(ends, false));
            }
        }
    }

    #[test]
    fn different_inputs_have_different_hashes() {
        for drawn in [0, 1, 0x6d5a, 0x8000, 0xffff, 0x1234, 0xfffe] {
            let word = Steering::word(drawn);
            assert!(word == drawn || word == drawn ^ 1);
            let steering = Steering::new(word, vec![0]).unwrap();
            let mut hashes: Vec<u16> = (0..=u16::MAX)
                .map(|word| {
                    let [high, low] = word.to_be_bytes();
                    let hosts = [[10, 0, high, low], [10, 0, 0, 1]].map(IpAddr::from);
                    let gre = build::other(hosts[0], hosts[1], 47).frame();
                    steering.hash(&key(&gre, PortIndex::LAN, false))
                })
                .collect();
            hashes.sort_unstable();
            hashes.dedup();
            assert_eq!(hashes.len(), 1 << 16, "{word:#x}");
        }
    }

    #[test]
    fn no_table_is_none() {
        assert!(Steering::new(0x6d5a, vec![]).is_none());
    }
}
