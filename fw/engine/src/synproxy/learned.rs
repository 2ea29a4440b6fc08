//! What is known of servers: the options with which they answered when weir last asked, so that it can
//! promise clients what the server itself would have offered.
//!
//! One table for all workers, of fixed size. A server (tags, address, port) has four places, named by a
//! keyed hash. A place is one atomic word, written only when it changes, so that reading it costs a
//! shared cache line. Entries are made by SYN-ACKs of servers that weir has let a SYN through to, never
//! by SYNs: a flood teaches nothing.
//!
//! Nothing is promised any more of a server that was not seen for [`LIFE`], that is not what it was, or
//! that has to make room. But cookies that name its window scale are on their way: that is kept for
//! [`GRACE`], longer than a cookie is good for, and only then is the place free. A server that finds no
//! place waits for that; until then it is one that is not known.
//!
//! A server that is not known is asked before the first connection that comes to it: see
//! [`server`](super::server).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::flow::HashKey;
use crate::packet::{Address, Tags};
use crate::time::Instant;

/// Places that a server may have; half a cache line.
const WAYS: usize = 4;
/// Sets of places; a power of two.
const SETS: usize = 2048;
/// Nanoseconds of a unit of age.
const UNIT: u64 = 64_000_000_000;
/// Units after which a server is forgotten: an hour.
const LIFE: u16 = 57;
/// Units for which its window scales are kept then: one is gone by at least, three periods of
/// [cookies](super::cookie).
const GRACE: u16 = 1;
/// The largest number of a unit that is kept.
const UNITS: u16 = (1 << 14) - 1;
/// In the place of a window scale: none.
const UNSCALED: u64 = 15;
/// The largest segment size that a word holds, in bytes; to promise less harms nobody.
const MOST: u16 = (1 << 14) - 1;

/// What a server answers a SYN that offers everything with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Traits {
    /// Maximum segment size, in bytes.
    pub(super) mss: u16,
    /// Window scale, if it scales windows.
    pub(super) scale: Option<u8>,
    /// It knows SACK.
    pub(super) sack: bool,
    /// It knows timestamps.
    pub(super) stamps: bool,
    /// It knows explicit congestion notification.
    pub(super) ecn: bool,
}

impl Traits {
    const fn is_complete(self) -> bool {
        self.scale.is_some() && self.sack && self.stamps && self.ecn
    }
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

/// What a place holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    traits: Traits,
    /// The scale before it changed: it may have been promised.
    former: Option<u8>,
    /// Nothing is promised any more.
    withdrawn: bool,
}

#[derive(Debug, Default)]
#[repr(align(32))]
struct Set([AtomicU64; WAYS]);

/// All workers' knowledge of servers.
#[derive(Debug)]
pub(crate) struct Learned(Box<[Set]>);

impl Default for Learned {
    fn default() -> Self {
        Self((0..SETS).map(|_| Set::default()).collect())
    }
}

impl Learned {
    /// What may be promised in the name of a server.
    pub(super) fn get(&self, server: Server, now: Instant) -> Option<Traits> {
        let (_, word) = self.find(server)?;
        let known = unpack(word);
        (!known.withdrawn && age(word, now) <= LIFE).then_some(known.traits)
    }

    /// The window scales that may have been promised as long as cookies are good for.
    pub(super) fn promised(&self, server: Server, now: Instant) -> [Option<u8>; 2] {
        match self.find(server).filter(|&(_, word)| !is_over(word, now)) {
            Some((_, word)) => {
                let Known { traits, former, .. } = unpack(word);
                [traits.scale, former.filter(|_| former != traits.scale)]
            }
            None => [None; 2],
        }
    }

    /// Remembers what a server has answered; nothing is written if that was known.
    pub(super) fn learn(&self, server: Server, traits: Traits, now: Instant) {
        let found = self.find(server);
        let mut known = Known { traits, former: None, withdrawn: false };
        let mut since = unit(now);
        if let Some((_, word)) = found.filter(|&(_, word)| !is_over(word, now)) {
            let old = unpack(word);
            let changes = old.traits.scale != traits.scale;
            // Cookies with either of two scales are on their way. A third waits: windows are rescaled.
            let settles = old.former.is_some() && age(word, now) <= GRACE;
            if changes && !(settles && old.traits.scale.is_some() && traits.scale.is_some()) {
                known.former = old.traits.scale;
            } else if settles {
                known.former = old.former;
                known.traits.scale = old.traits.scale;
                since = (word >> 26) as u16 & UNITS;
            }
        }
        let Some(place) = found.map(|(place, _)| place).or_else(|| self.room(server, now)) else {
            return;
        };
        let word = pack(server.tag(), &known, since);
        if place.load(Ordering::Relaxed) != word {
            place.store(word, Ordering::Relaxed);
        }
    }

    /// What a connection has shown of a server that was `known`, as far as it was offered. One that
    /// lacks something is not known for longer by that: it is asked again an hour after it said so, for
    /// it may have learned, or what was offered may have been lost.
    pub(super) fn confirm(&self, server: Server, known: Traits, seen: Traits, now: Instant) {
        if seen != known || seen.is_complete() {
            self.learn(server, seen, now);
        }
    }

    /// Promises nothing any more of a server that is not what it was.
    pub(super) fn forget(&self, server: Server, now: Instant) {
        if let Some((place, word)) = self.find(server) {
            withdraw(place, word, now);
        }
    }

    const fn set(&self, server: Server) -> &[AtomicU64; WAYS] {
        &self.0[server.place(SETS)].0
    }

    fn find(&self, server: Server) -> Option<(&AtomicU64, u64)> {
        self.set(server)
            .iter()
            .map(|place| (place, place.load(Ordering::Relaxed)))
            .find(|&(_, word)| word >> 40 == server.tag())
    }

    /// A free place for a server. If there is none, one will be.
    fn room(&self, server: Server, now: Instant) -> Option<&AtomicU64> {
        let words = || self.set(server).iter().map(|place| (place, place.load(Ordering::Relaxed)));
        if let Some((free, _)) = words().find(|&(_, word)| is_over(word, now)) {
            return Some(free);
        }
        if !words().any(|(_, word)| unpack(word).withdrawn) {
            let (oldest, word) = words().max_by_key(|&(_, word)| age(word, now))?;
            withdraw(oldest, word, now);
        }
        None
    }
}

/// Promises nothing any more of the server in a place, unless somebody has learned anew.
fn withdraw(place: &AtomicU64, word: u64, now: Instant) {
    let known = unpack(word);
    if !known.withdrawn {
        let withdrawn = pack(word >> 40, &Known { withdrawn: true, ..known }, unit(now));
        let _ = place.compare_exchange(word, withdrawn, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Whether a place is free.
const fn is_over(word: u64, now: Instant) -> bool {
    let kept = if word & WITHDRAWN != 0 { GRACE } else { LIFE + GRACE };
    word == 0 || age(word, now) > kept
}

// From the top: tag (24 bits), unit of time (14), maximum segment size (14), scale (4), former scale
// (4), SACK, timestamps, ECN, withdrawn.
const SACK: u64 = 8;
const STAMPS: u64 = 4;
const ECN: u64 = 2;
const WITHDRAWN: u64 = 1;

fn pack(tag: u64, known: &Known, unit: u16) -> u64 {
    let &Known { traits, former, withdrawn } = known;
    let scale = |scale: Option<u8>| scale.map_or(UNSCALED, u64::from);
    let bit = |set: bool, bit: u64| if set { bit } else { 0 };
    tag << 40
        | u64::from(unit) << 26
        | u64::from(traits.mss.min(MOST)) << 12
        | scale(traits.scale) << 8
        | scale(former) << 4
        | bit(traits.sack, SACK)
        | bit(traits.stamps, STAMPS)
        | bit(traits.ecn, ECN)
        | bit(withdrawn, WITHDRAWN)
}

fn unpack(word: u64) -> Known {
    let scale = |at: u32| match word >> at & 0xf {
        UNSCALED => None,
        scale => Some(scale as u8),
    };
    let traits = Traits {
        mss: (word >> 12) as u16 & MOST,
        scale: scale(8),
        sack: word & SACK != 0,
        stamps: word & STAMPS != 0,
        ecn: word & ECN != 0,
    };
    Known { traits, former: scale(4), withdrawn: word & WITHDRAWN != 0 }
}

const fn unit(now: Instant) -> u16 {
    (now.0 / UNIT) as u16 & UNITS
}

/// Units since a word was written, modulo twelve days.
const fn age(word: u64, now: Instant) -> u16 {
    unit(now).wrapping_sub((word >> 26) as u16) & UNITS
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRAITS: Traits =
        Traits { mss: 1460, scale: Some(7), sack: true, stamps: true, ecn: true };
    const BARE: Traits = Traits { mss: 536, scale: None, sack: false, stamps: false, ecn: false };

    fn server(number: u32) -> Server {
        let address = Address::v4(number.to_be_bytes());
        Server::new(HashKey::new([5; 16]), Tags::default(), address, 80)
    }

    const fn at(second: u64) -> Instant {
        Instant::from_secs(1_000_000 + second)
    }

    #[test]
    fn what_a_server_answered_is_known_for_an_hour() {
        let learned = Learned::default();
        assert_eq!(learned.get(server(1), at(0)), None);
        learned.learn(server(1), TRAITS, at(0));
        learned.learn(server(2), BARE, at(0));
        assert_eq!(learned.get(server(1), at(3600)), Some(TRAITS));
        assert_eq!(learned.get(server(2), at(3600)), Some(BARE));
        assert_eq!(learned.get(server(1), at(3800)), None);
        learned.learn(server(2), BARE, at(3600));
        assert_eq!(learned.get(server(2), at(7000)), Some(BARE));
        let jumbo = Traits { mss: u16::MAX, ..TRAITS };
        learned.learn(server(3), jumbo, at(0));
        assert_eq!(learned.get(server(3), at(0)), Some(Traits { mss: 16_383, ..TRAITS }));
    }

    #[test]
    fn scales_that_were_promised_are_kept_when_nothing_is_promised_any_more() {
        // It expires.
        let learned = Learned::default();
        learned.learn(server(1), TRAITS, at(0));
        let last =
            (0..10_000).find(|&second| learned.get(server(1), at(second)).is_none()).unwrap();
        for second in last..last + 20 {
            assert_eq!(learned.promised(server(1), at(second)), [Some(7), None]);
        }
        assert_eq!(learned.promised(server(1), at(last + 130)), [None; 2]);
        // It is forgotten, at any time of a unit, and learned again as something else.
        for start in 0..64 {
            let learned = Learned::default();
            learned.learn(server(1), TRAITS, at(start));
            learned.forget(server(1), at(start));
            learned.forget(server(1), at(start + 5));
            assert_eq!(learned.get(server(1), at(start)), None);
            assert_eq!(learned.promised(server(1), at(start + 20)), [Some(7), None]);
            assert_eq!(learned.promised(server(1), at(start + 130)), [None; 2]);
            learned.learn(server(1), BARE, at(start + 20));
            assert_eq!(learned.get(server(1), at(start + 20)), Some(BARE));
            assert_eq!(learned.promised(server(1), at(start + 20)), [None, Some(7)]);
        }
    }

    #[test]
    fn a_third_scale_waits_until_cookies_with_the_first_are_over() {
        for start in 0..64 {
            let learned = Learned::default();
            let learn = |scale, second| {
                learned.learn(server(1), Traits { scale: Some(scale), ..TRAITS }, at(second));
                learned.promised(server(1), at(second))
            };
            learn(7, start);
            assert_eq!(learn(9, start), [Some(9), Some(7)]);
            for second in (start..start + 60).step_by(5) {
                assert_eq!(learn(8, second), [Some(9), Some(7)]);
                assert_eq!(learn(9, second), [Some(9), Some(7)]);
            }
            assert_eq!(learn(8, start + 130), [Some(8), Some(9)]);
            assert_eq!(learn(8, start + 260), [Some(8), None]);
        }
    }

    #[test]
    fn a_server_that_lacks_something_is_asked_again_after_an_hour() {
        for (traits, known) in [(TRAITS, true), (BARE, false)] {
            let learned = Learned::default();
            learned.learn(server(1), traits, at(0));
            for second in (0..=3_600).step_by(60) {
                learned.confirm(server(1), traits, traits, at(second));
            }
            assert_eq!(learned.get(server(1), at(3_800)).is_some(), known);
        }
    }

    #[test]
    fn a_changed_scale_is_kept_beside_the_new_one() {
        let (learned, now) = (Learned::default(), at(0));
        learned.learn(server(1), TRAITS, now);
        let other = Traits { scale: Some(9), ..TRAITS };
        for _ in 0..2 {
            learned.learn(server(1), other, now);
            assert_eq!(learned.get(server(1), now), Some(other));
            assert_eq!(learned.promised(server(1), now), [Some(9), Some(7)]);
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
    fn the_oldest_make_room_when_their_cookies_are_over_and_none_is_taken_for_another() {
        const MANY: u32 = 60_000;
        let learned = Learned::default();
        let known = |from: u32, second| {
            let known = |number: &u32| match learned.get(server(*number), at(second)) {
                Some(traits) => {
                    assert_eq!(traits.mss, *number as u16 & MOST);
                    true
                }
                None => false,
            };
            (from..from + MANY).filter(known).collect::<Vec<_>>()
        };
        let learn = |from: u32, second| {
            for number in from..from + MANY {
                let traits = Traits { mss: number as u16 & MOST, ..TRAITS };
                learned.learn(server(number), traits, at(second));
            }
        };
        learn(0, 0);
        let first = known(0, 0);
        assert!(first.len() > SETS * WAYS / 2);
        // One of each set has made room, nobody has a place of it before the cookies are over.
        learn(MANY, 0);
        assert!(known(0, 0) == first && known(MANY, 0).is_empty());
        for &number in &first {
            assert_eq!(learned.promised(server(number), at(20)), [Some(7), None]);
        }
        learn(MANY, 130);
        assert!(known(MANY, 130).len() > SETS * 9 / 10);
        assert!(known(0, 130).len() >= first.len() - SETS, "at most one of each set again");
    }
}
