//! What is known of servers: the options with which they answered when weir last asked, so that it can
//! promise clients what the server itself would have offered.
//!
//! One table for all workers, of fixed size. A server (tags, address, port) has two places, named by a
//! keyed hash; what is newer takes the place of what is older. A place is one atomic word, written
//! only when it changes, so that reading it costs a shared cache line. Entries are made by SYN-ACKs of
//! servers that weir has let a SYN through to, never by SYNs: a flood teaches nothing. What was not
//! seen for [`LIFE`] is forgotten.
//!
//! A server that is not known is asked before the first connection that comes to it: see
//! [`server`](super::server).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::flow::HashKey;
use crate::packet::{Address, Tags};
use crate::time::Instant;

/// Servers that are remembered at most; a power of two.
const PLACES: usize = 8192;
/// Nanoseconds of a unit of age.
const UNIT: u64 = 64_000_000_000;
/// Units after which a server is forgotten: an hour.
const LIFE: u16 = 57;
/// Bits of the unit in which a server was seen.
const AGE_BITS: u32 = 14;
/// In the place of a window scale: none.
const UNSCALED: u64 = 15;

/// What a server answers a SYN that offers everything with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Traits {
    /// Maximum segment size, in bytes.
    pub(super) mss: u16,
    /// Window scale, if it scales windows.
    pub(super) scale: Option<u8>,
    /// The scale before it changed: it may have been promised.
    pub(super) former: Option<u8>,
    /// It knows SACK.
    pub(super) sack: bool,
    /// It knows timestamps.
    pub(super) stamps: bool,
}

/// The hash of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Server(u64);

impl Server {
    /// Of an address and port, in a network.
    pub(super) fn new(key: HashKey, tags: Tags, address: Address, port: u16) -> Self {
        let ends = u64::from(tags.outer) << 32 | u64::from(tags.inner) << 16 | u64::from(port);
        // Five words, as no other hash under this key has.
        let (high, low) = ((address.0 >> 64) as u64, address.0 as u64);
        Self(crate::flow::keyed(key, [high, low, ends, 0, 0]))
    }

    /// A number below `count`, a power of two, for tables of its own kind.
    pub(super) const fn place(self, count: usize) -> usize {
        (self.0 >> 40) as usize & (count - 1)
    }

    /// What tells it from others of its place; never 0.
    const fn tag(self) -> u64 {
        self.0 & 0xff_ffff | 1 << 23
    }
}

/// All workers' knowledge of servers.
#[derive(Debug)]
pub(crate) struct Learned(Box<[AtomicU64]>);

impl Default for Learned {
    fn default() -> Self {
        Self((0..PLACES).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Learned {
    /// What is known of a server.
    pub(super) fn get(&self, server: Server, now: Instant) -> Option<Traits> {
        let (_, word) = self.find(server)?;
        (age(word, now) <= LIFE).then(|| unpack(word))
    }

    /// Remembers what a server has answered; nothing is written if that was known.
    pub(super) fn learn(&self, server: Server, traits: Traits, now: Instant) {
        let known = self.find(server);
        let old = known.filter(|&(_, word)| age(word, now) <= LIFE).map(|(_, word)| unpack(word));
        let former = match old {
            Some(old) if old.scale == traits.scale => old.former,
            Some(old) => old.scale,
            None => None,
        };
        let place = known.map_or_else(|| self.oldest(server, now), |(place, _)| place);
        let word = pack(server, Traits { former, ..traits }, now);
        if self.0[place].load(Ordering::Relaxed) != word {
            self.0[place].store(word, Ordering::Relaxed);
        }
    }

    /// Forgets a server that is not what it was.
    pub(super) fn forget(&self, server: Server) {
        if let Some((place, word)) = self.find(server) {
            // Somebody else may have learned anew: then that stays.
            let _ = self.0[place].compare_exchange(word, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    fn places(server: Server) -> [usize; 2] {
        let place = server.place(PLACES);
        [place, place ^ 1]
    }

    fn find(&self, server: Server) -> Option<(usize, u64)> {
        Self::places(server)
            .into_iter()
            .map(|place| (place, self.0[place].load(Ordering::Relaxed)))
            .find(|&(_, word)| word >> 40 == server.tag())
    }

    fn oldest(&self, server: Server, now: Instant) -> usize {
        let [a, b] = Self::places(server);
        let age = |place: usize| match self.0[place].load(Ordering::Relaxed) {
            0 => u16::MAX,
            word => age(word, now),
        };
        if age(b) > age(a) { b } else { a }
    }
}

/// From the top: tag (24 bits), unit of time (14), maximum segment size (16), scale (4), former scale
/// (4), SACK, timestamps.
fn pack(server: Server, traits: Traits, now: Instant) -> u64 {
    let scale = |scale: Option<u8>| scale.map_or(UNSCALED, u64::from);
    server.tag() << 40
        | u64::from(unit(now)) << 26
        | u64::from(traits.mss) << 10
        | scale(traits.scale) << 6
        | scale(traits.former) << 2
        | u64::from(traits.sack) << 1
        | u64::from(traits.stamps)
}

fn unpack(word: u64) -> Traits {
    let scale = |at: u32| match word >> at & 0xf {
        UNSCALED => None,
        scale => Some(scale as u8),
    };
    Traits {
        mss: (word >> 10) as u16,
        scale: scale(6),
        former: scale(2),
        sack: word & 2 != 0,
        stamps: word & 1 != 0,
    }
}

const fn unit(now: Instant) -> u16 {
    (now.0 / UNIT) as u16 & ((1 << AGE_BITS) - 1)
}

/// Units since a word was written, modulo twelve days.
const fn age(word: u64, now: Instant) -> u16 {
    unit(now).wrapping_sub((word >> 26) as u16) & ((1 << AGE_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRAITS: Traits =
        Traits { mss: 1460, scale: Some(7), former: None, sack: true, stamps: true };

    fn server(number: u32) -> Server {
        let address = Address::v4(number.to_be_bytes());
        Server::new(HashKey::new([5; 16]), Tags::default(), address, 80)
    }

    #[test]
    fn what_a_server_answered_is_known_for_an_hour() {
        let (learned, start) = (Learned::default(), Instant::from_secs(1_000_000));
        assert_eq!(learned.get(server(1), start), None);
        learned.learn(server(1), TRAITS, start);
        let bare = Traits { mss: 536, scale: None, sack: false, stamps: false, ..TRAITS };
        learned.learn(server(2), bare, start);
        let later = |seconds: u64| Instant::from_secs(1_000_000 + seconds);
        assert_eq!(learned.get(server(1), later(3600)), Some(TRAITS));
        assert_eq!(learned.get(server(2), later(3600)), Some(bare));
        assert_eq!(learned.get(server(1), later(3800)), None);
        learned.learn(server(2), bare, later(3600));
        assert_eq!(learned.get(server(2), later(7000)), Some(bare));
        learned.forget(server(2));
        assert_eq!(learned.get(server(2), start), None);
    }

    #[test]
    fn a_changed_scale_is_kept_beside_the_new_one() {
        let (learned, now) = (Learned::default(), Instant::from_secs(5));
        learned.learn(server(1), TRAITS, now);
        let other = Traits { scale: Some(9), ..TRAITS };
        for _ in 0..2 {
            learned.learn(server(1), other, now);
            assert_eq!(learned.get(server(1), now), Some(Traits { former: Some(7), ..other }));
        }
    }

    #[test]
    fn a_server_is_an_address_a_port_and_a_network() {
        let key = HashKey::new([5; 16]);
        let make = |outer, address: u128, port| {
            Server::new(key, Tags { outer, inner: 0 }, Address(address), port)
        };
        let one = make(7, 1 << 64 | 2, 80);
        for other in [
            make(8, 1 << 64 | 2, 80),
            make(7, 2 << 64 | 2, 80),
            make(7, 1, 80),
            make(7, 1 << 64 | 2, 81),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn the_newest_are_kept_and_never_taken_for_others() {
        let learned = Learned::default();
        for number in 0..100_000 {
            let traits = Traits { mss: number as u16, ..TRAITS };
            learned.learn(server(number), traits, Instant::from_secs(u64::from(number)));
        }
        let now = Instant::from_secs(100_000);
        let known = |number: &u32| match learned.get(server(*number), now) {
            Some(traits) => {
                assert_eq!(traits.mss, *number as u16);
                true
            }
            None => false,
        };
        assert!((96_500..100_000).filter(known).count() > 2_000);
        assert_eq!((0..90_000).filter(known).count(), 0);
    }
}
