//! SYN cookies: what weir promises a client in the name of a server is kept in the numbers that the
//! client sends back, not in memory (D. J. Bernstein, "SYN cookies", 1996; OpenBSD's
//! `pf_syncookies.c`).
//!
//! The sequence number of the SYN-ACK has, from the top,
//!
//! - 23 bits of a keyed hash over the flow, its direction, the client's sequence number and all that
//!   the cookie says,
//! - one bit that names the secret: the low bit of its period,
//! - eight bits, masked by another keyed hash of the flow and the client's number, so that nobody can
//!   choose what he guesses: which of eight sizes the client's segments have at most
//!   ([`SIZES`]), its window scale (15: none was agreed on) and whether both know SACK.
//!
//! If both know timestamps, the one in the SYN-ACK has 16 bits more of the hash and, masked by these,
//! the client's maximum segment size to the byte; then the three bits of the size say whether both know
//! ECN (RFC 3168), which no cookie without timestamps has a bit for. The window scale that was promised
//! in the server's name is hashed, too, and is looked up again: see [`learned`](super::learned).
//!
//! Secrets last [`PERIOD`] seconds, the last two count: a cookie is good for 10 to 20 seconds. All
//! workers derive the same ones from the key of the flow hash and the clock.
//!
//! **Odds.** Whoever has seen no answer has to guess 23 bits. The ACK that completes a handshake is
//! looked at in two ways (a window probe stands one before it), so that one blind ACK in 2^22 is taken
//! for true; one in 2^21 while a server is changing its window scale. An ACK with timestamps has 16 bits
//! more to guess, but nobody has to send them. A cookie that is [plain](Terms::plain) must have eight of
//! the 256 values of its last bits, too: where no others are looked at, one blind ACK in 2^27 is taken
//! for true. That is so for servers for which many have guessed: see [`expected`](super::expected). A
//! cookie of another client, server, port, network or number is a guess like any other.

use crate::flow::{HashKey, keyed};
use crate::packet::Tcp;
use crate::time::Instant;

/// Seconds that a secret lasts.
pub(super) const PERIOD: u64 = 10;
/// Nanoseconds of it.
const PERIOD_NANOS: u64 = PERIOD * 1_000_000_000;
/// Secrets that are kept: the two that count, and two by which a cookie that is too old is known.
const KEPT: usize = 4;
/// What the keys are derived for: "cookie" in ASCII.
const PURPOSE: u64 = 0x636f_6f6b_6965;

/// Maximum segment sizes that a cookie without timestamps can name, in bytes: the smallest that an
/// IPv4 host may have (RFC 1122, 3.3.3 is larger; pf has it, too), the defaults of IPv4 and IPv6 (RFC
/// 9293, 3.7.1), and those of Ethernet with and without tunnels.
const SIZES: [u16; 8] = [216, 536, 1220, 1360, 1400, 1440, 1452, 1460];

/// No window scale.
const UNSCALED: u8 = 15;

/// Whose handshake it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flow {
    /// The keyed hash of the flow, the same in both directions.
    pub(super) hash: u64,
    /// Tells the directions apart: the client's address and port are above the server's.
    pub(super) from_above: bool,
}

/// What client and server agree on, as far as weir has told the client so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// Most bytes of data in a segment to the client.
    pub(super) mss: u16,
    /// Window scales: the client's, and what was promised for the server.
    pub(super) scales: Option<(u8, u8)>,
    /// Selective acknowledgement.
    pub(super) sack: bool,
    /// Timestamps.
    pub(super) stamps: bool,
    /// Explicit congestion notification; only with timestamps.
    pub(super) ecn: bool,
}

impl Terms {
    /// The same with nothing but a segment size, if there are no timestamps: harder to guess.
    pub(super) const fn plain(self) -> Self {
        if self.stamps { self } else { Self { scales: None, sack: false, ..self } }
    }

    const fn is_plain(self) -> bool {
        !self.stamps && !self.sack && self.scales.is_none()
    }
}

/// Which cookies are looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Good {
    /// Window scales of the server that may have been promised.
    pub(super) scales: [Option<u8>; 2],
    /// Of those without timestamps, only the [plain](Terms::plain) ones.
    pub(super) only_plain: bool,
}

/// The numbers of a SYN-ACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cookie {
    /// Sequence number.
    pub(super) seq: u32,
    /// Timestamp, if there are any.
    pub(super) stamp: Option<u32>,
}

/// A client has completed its handshake with weir: made by [`Secrets::check`] alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proven {
    terms: Terms,
    cookie: Cookie,
    seq: u32,
}

impl Proven {
    /// What was agreed on.
    pub(super) const fn terms(&self) -> Terms {
        self.terms
    }

    /// What weir answered.
    pub(super) const fn cookie(&self) -> Cookie {
        self.cookie
    }

    /// The sequence number of the client's SYN.
    pub(super) const fn seq(&self) -> u32 {
        self.seq
    }
}

/// Why an ACK proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fails {
    /// Its cookie was right once.
    Expired,
    /// It has none.
    Invalid,
}

/// The secrets of now.
pub(super) struct Secrets {
    base: HashKey,
    period: u64,
    /// That of the period, then older ones.
    keys: [HashKey; KEPT],
}

impl Secrets {
    /// Derived from the key of the flow hash.
    pub(super) fn new(key: HashKey, now: Instant) -> Self {
        let base = key.derived(PURPOSE, 0);
        let mut secrets = Self { base, period: 0, keys: [base; KEPT] };
        secrets.set(now.0 / PERIOD_NANOS);
        secrets
    }

    fn set(&mut self, period: u64) {
        self.period = period;
        let base = self.base;
        self.keys = std::array::from_fn(|age| {
            base.derived(PURPOSE, period.wrapping_sub(age as u64).wrapping_add(KEPT as u64))
        });
    }

    /// Keeps up with the clock. How many periods have passed.
    pub(super) fn turn(&mut self, now: Instant) -> u64 {
        let passed = (now.0 / PERIOD_NANOS).saturating_sub(self.period);
        if passed > 0 {
            self.set(self.period + passed);
        }
        passed
    }

    /// What weir answers a SYN with this sequence number.
    pub(super) fn cookie(&self, flow: Flow, seq: u32, terms: Terms) -> Cookie {
        self.of_age(0, flow, seq, terms)
    }

    fn of_age(&self, age: usize, flow: Flow, seq: u32, terms: Terms) -> Cookie {
        let size = SIZES.iter().rposition(|&size| size <= terms.mss).unwrap_or(0);
        let (scale, promised) = terms.scales.unwrap_or((UNSCALED, UNSCALED));
        let named = if terms.stamps { u8::from(terms.ecn) } else { size as u8 };
        let data = named << 5 | (scale & 0xf) << 1 | u8::from(terms.sack);
        let exact = if terms.stamps { terms.mss } else { SIZES[size] };
        let hash = keyed(
            self.keys[age],
            [
                flow.hash,
                u64::from(seq) << 32
                    | u64::from(exact) << 16
                    | u64::from(data) << 8
                    | u64::from(promised) << 4
                    | u64::from(terms.stamps) << 1
                    | u64::from(flow.from_above),
            ],
        );
        let parity = (self.period as u32).wrapping_sub(age as u32) & 1;
        let mask = self.mask(age, flow, seq);
        let more = (hash >> 16) as u16;
        Cookie {
            seq: (hash >> 41 << 9) as u32 | parity << 8 | u32::from(data ^ mask),
            stamp: terms.stamps.then(|| u32::from(more) << 16 | u32::from(terms.mss ^ more)),
        }
    }

    /// What hides the last bits of a cookie. No bit of it stands elsewhere in the cookie.
    fn mask(&self, age: usize, flow: Flow, seq: u32) -> u8 {
        // Three words, as the cookie's own hash under this key has not.
        let flow = [flow.hash, u64::from(seq), u64::from(flow.from_above)];
        keyed(self.keys[age], flow) as u8
    }

    /// Whether an ACK, with the timestamp that it echoes, answers one of the last SYN-ACKs. `empty` says
    /// that the segment carries nothing, or may be a probe.
    pub(super) fn check(
        &self,
        flow: Flow,
        header: &Tcp,
        empty: bool,
        echo: Option<u32>,
        good: Good,
    ) -> Result<Proven, Fails> {
        let cookie = Cookie { seq: header.ack.wrapping_sub(1), stamp: echo };
        // What hosts send first behind the handshake; a probe of a closed window stands before it.
        let first = header.seq.wrapping_sub(1);
        let probe = empty.then_some(header.seq);
        let age = usize::from((self.period as u32 ^ cookie.seq >> 8) & 1 != 0);
        let mut fails = Fails::Invalid;
        for seq in [Some(first), probe].into_iter().flatten() {
            for age in [age, age + 2] {
                let mask = self.mask(age, flow, seq);
                for terms in said(cookie, mask, good).into_iter().flatten() {
                    if !same(self.of_age(age, flow, seq, terms), cookie) {
                        continue;
                    }
                    if age < 2 {
                        return Ok(Proven { terms, cookie, seq });
                    }
                    fails = Fails::Expired;
                }
            }
        }
        Err(fails)
    }
}

/// What a cookie says behind its mask, if it is one: once for each scale that may have been promised.
fn said(cookie: Cookie, mask: u8, good: Good) -> [Option<Terms>; 2] {
    let data = cookie.seq as u8 ^ mask;
    let size = SIZES[usize::from(data >> 5)];
    let ecn = cookie.stamp.is_some() && data >> 5 & 1 != 0;
    let scale = data >> 1 & 0xf;
    let exact = |stamp: u32| stamp as u16 ^ (stamp >> 16) as u16;
    let terms = Terms {
        mss: cookie.stamp.map_or(size, exact),
        scales: None,
        sack: data & 1 != 0,
        stamps: cookie.stamp.is_some(),
        ecn,
    };
    let all = if scale == UNSCALED {
        [Some(terms), None]
    } else {
        good.scales.map(|promised| Some(Terms { scales: Some((scale, promised?)), ..terms }))
    };
    all.map(|terms| terms.filter(|terms| !good.only_plain || terms.stamps || terms.is_plain()))
}

/// One comparison of all bits: it takes as long whichever of them differ.
#[inline]
fn same(a: Cookie, b: Cookie) -> bool {
    let all = |cookie: Cookie| u64::from(cookie.seq) << 32 | u64::from(cookie.stamp.unwrap_or(0));
    std::hint::black_box(all(a) ^ all(b)) == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secrets(second: u64) -> Secrets {
        Secrets::new(HashKey::new([7; 16]), Instant::from_secs(second))
    }

    fn flow(hash: u64) -> Flow {
        Flow { hash, from_above: false }
    }

    const fn promised(scale: u8) -> Good {
        Good { scales: [Some(scale), None], only_plain: false }
    }

    const NONE: Good = Good { scales: [None; 2], only_plain: false };
    const PLAINLY: Good = Good { only_plain: true, ..promised(7) };

    fn ack(cookie: Cookie, seq: u32) -> Tcp {
        Tcp {
            seq: seq.wrapping_add(1),
            ack: cookie.seq.wrapping_add(1),
            window: 0,
            flags: crate::packet::tcp::flags::ACK,
            header: 20,
        }
    }

    const PLAIN: Terms = Terms { mss: 1460, scales: None, sack: false, stamps: false, ecn: false };

    proptest! {
        #[test]
        fn a_cookie_says_what_was_agreed(
            hash: u64, from_above: bool, seq: u32, mss in 216_u16..=u16::MAX, scale in 0_u8..15,
            scale_of_server in 0_u8..15, scaled: bool, sack: bool, stamps: bool, ecn: bool, probes: bool,
        ) {
            let secrets = secrets(77);
            let flow = Flow { hash, from_above };
            let scales = scaled.then_some((scale, scale_of_server));
            let terms = Terms { mss, scales, sack, stamps, ecn: ecn && stamps };
            let cookie = secrets.cookie(flow, seq, terms);
            prop_assert_eq!(cookie.stamp.is_some(), stamps);
            let mut header = ack(cookie, seq);
            if probes {
                header.seq = seq;
            }
            let good = promised(scale_of_server);
            let proven = secrets.check(flow, &header, true, cookie.stamp, good).unwrap();
            let size = SIZES.into_iter().rfind(|&size| size <= mss).unwrap();
            let mss = if stamps { mss } else { size };
            prop_assert_eq!(proven.terms(), Terms { mss, ..terms });
            prop_assert_eq!((proven.cookie(), proven.seq()), (cookie, seq));
            let plainly = Good { only_plain: true, ..good };
            let counts = secrets.check(flow, &header, true, cookie.stamp, plainly).is_ok();
            prop_assert_eq!(counts, stamps || terms.plain() == terms);
        }

        #[test]
        fn nothing_of_it_may_differ(hash: u64, seq: u32, bit in 0_u32..32, stamps: bool) {
            let secrets = secrets(77);
            let terms = Terms { stamps, ..PLAIN };
            let cookie = secrets.cookie(flow(hash), seq, terms);
            let check = |flow, header: Tcp, stamp| secrets.check(flow, &header, true, stamp, NONE);
            let good = ack(cookie, seq);
            prop_assert!(check(flow(hash), good, cookie.stamp).is_ok());
            prop_assert!(check(flow(hash ^ 1), good, cookie.stamp).is_err());
            let back = Flow { hash, from_above: true };
            prop_assert!(check(back, good, cookie.stamp).is_err());
            let flipped = Tcp { ack: good.ack ^ 1_u32 << bit, ..good };
            prop_assert!(check(flow(hash), flipped, cookie.stamp).is_err());
            for far in [2, 1_000, 1 << 31] {
                let shifted = Tcp { seq: good.seq.wrapping_add(far), ..good };
                prop_assert!(check(flow(hash), shifted, cookie.stamp).is_err());
            }
            match cookie.stamp {
                Some(stamp) => {
                    prop_assert!(check(flow(hash), good, Some(stamp ^ 1_u32 << bit)).is_err());
                    prop_assert!(check(flow(hash), good, None).is_err());
                }
                None => prop_assert!(check(flow(hash), good, Some(seq)).is_err()),
            }
        }
    }

    #[test]
    fn it_is_good_for_ten_to_twenty_seconds() {
        for made in [1000, 1005, 1009] {
            let cookie = secrets(made).cookie(flow(1), 5, PLAIN);
            let later = |seconds| {
                let mut later = secrets(made);
                later.turn(Instant::from_secs(made + seconds));
                later.check(flow(1), &ack(cookie, 5), true, None, NONE)
            };
            for age in 0..=10 {
                assert!(later(age).is_ok(), "{made} + {age}");
            }
            assert_eq!(later(20), Err(Fails::Expired));
            assert_eq!(later(29), Err(Fails::Expired));
            assert_eq!(later(41), Err(Fails::Invalid));
        }
    }

    #[test]
    fn all_workers_have_the_same_secrets_and_no_other_key_has() {
        let one = secrets(1000).cookie(flow(1), 5, PLAIN);
        let mut other = secrets(3);
        assert_eq!(other.turn(Instant::from_secs(1000)), 100);
        assert_eq!(other.cookie(flow(1), 5, PLAIN), one);
        let stranger = Secrets::new(HashKey::new([8; 16]), Instant::from_secs(1000));
        assert_ne!(stranger.cookie(flow(1), 5, PLAIN), one);
    }

    #[test]
    fn the_scale_that_was_promised_counts_though_another_is_known_now() {
        let secrets = secrets(1000);
        let terms = Terms { scales: Some((8, 7)), ..PLAIN };
        let cookie = secrets.cookie(flow(1), 5, terms);
        let check = |good: Good| secrets.check(flow(1), &ack(cookie, 5), true, None, good);
        assert_eq!(check(promised(7)).unwrap().terms(), terms);
        assert!(check(promised(9)).is_err());
        let changed = Good { scales: [Some(9), Some(7)], ..NONE };
        assert_eq!(check(changed).unwrap().terms(), terms);
    }

    /// What somebody makes of a number by chance.
    type Guess = fn(u32) -> u32;

    #[test]
    fn blind_guesses_succeed_as_often_as_the_head_says() {
        let secrets = secrets(1000);
        // Some guess what a plain cookie would be if its mask were read off its top, or were none.
        let mut hits = [0; 5];
        let any: Guess = |ack| ack;
        let top: Guess = |ack| (ack & !0xff | (ack >> 24 ^ 0xfe)) + 1;
        let bare: Guess = |ack| (ack & !0xff | 0xfe) + 1;
        let cases = [
            (false, promised(7), any),
            (true, promised(7), any),
            (false, PLAINLY, any),
            (false, PLAINLY, top),
            (false, PLAINLY, bare),
        ];
        for (case, (stamped, good, guess)) in cases.into_iter().enumerate() {
            let mut state = 0x9e37_79b9_7f4a_7c15_u64;
            for _ in 0..1 << 24 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let ack = guess((state >> 33) as u32);
                let header = Tcp { seq: state as u32, ack, ..Tcp::default() };
                let echo = stamped.then_some(state as u32 ^ (state >> 32) as u32);
                let proven = secrets.check(flow(state), &header, true, echo, good);
                hits[case] += u32::from(proven.is_ok());
            }
        }
        // 2^24 by 2^22 is four, give or take two; by 2^27 it is an eighth.
        assert!((1..=10).contains(&hits[0]) && hits[1] == 0, "{hits:?}");
        assert!(hits[2..].iter().all(|&hits| hits <= 1), "{hits:?}");
    }

    #[test]
    fn eight_of_the_values_that_a_cookie_may_have_are_plain() {
        for mask in 0..=u8::MAX {
            let plain = |seq: &u32| {
                let cookie = Cookie { seq: *seq, stamp: None };
                said(cookie, mask, PLAINLY).into_iter().flatten().count() == 1
            };
            assert_eq!((0xab00_0000..0xab00_0100).filter(plain).count(), 8);
        }
    }

    #[test]
    fn cookies_look_like_chance() {
        // Each of the 32 bits is set in half of the cookies of one client's ports.
        let secrets = secrets(1000);
        let mut set = [0_u32; 32];
        for hash in 0..20_000 {
            let cookie = secrets.cookie(flow(hash * 0x9e37_79b9), 5, PLAIN).seq;
            (0..32).for_each(|bit| set[bit] += cookie >> bit & 1);
        }
        for (bit, count) in set.into_iter().enumerate().filter(|&(bit, _)| bit != 8) {
            assert!((9_500..10_500).contains(&count), "bit {bit}: {count}");
        }
    }
}
