//! A TCP header in the numbers of the end that it goes to.

use super::{Splice, acknowledges};
use crate::packet::bytes::{be16, be32};
use crate::packet::checksum::fold;
use crate::packet::tcp::{CHECKSUM, HEADER, Options, TcpOption, flags, overwrite};
use crate::state::entry::Peer;

/// Bytes of the longest header.
const LONGEST: usize = 60;
/// The largest window, before scaling.
const MAX_WINDOW: u32 = 0xffff;

/// What changes in the segments of one end on their way to the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Translation {
    /// Added to sequence numbers.
    seq: u32,
    /// Taken off acknowledgement numbers and the edges of SACK blocks.
    ack: u32,
    /// Added to timestamps.
    clock: u32,
    /// Taken off echoes of timestamps.
    echo: u32,
    /// Shifts windows to the left, or to the right if negative.
    window: i8,
}

impl Translation {
    /// For the segments of peer `from`.
    #[inline]
    pub(super) const fn new(peers: &[Peer; 2], splice: &Splice, from: usize) -> Self {
        Self {
            seq: peers[from].seq_diff,
            ack: peers[1 - from].seq_diff,
            clock: splice.clock[from],
            echo: splice.clock[1 - from],
            window: splice.window[from],
        }
    }

    /// Whether it changes nothing.
    #[inline]
    pub(super) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Translates a whole header, options and all. A finished checksum is brought up to date, one
    /// that is left to hardware covers what changes by itself.
    #[inline]
    pub(super) fn apply(&self, segment: &mut [u8], finished: bool) {
        let Some(fixed) = segment.first_chunk_mut::<HEADER>() else { return };
        let (set, ack) = (fixed[13], be32(fixed, 8));
        let acknowledges = acknowledges(set, ack);
        // RFC 1624, equation 3, of all that changes at once.
        let mut sum = u64::from(!be16(fixed, CHECKSUM));
        let seq = be32(fixed, 4);
        let new = seq.wrapping_add(self.seq);
        sum += u64::from(!seq) + u64::from(new);
        fixed[4..8].copy_from_slice(&new.to_be_bytes());
        if acknowledges {
            let new = ack.wrapping_sub(self.ack);
            sum += u64::from(!ack) + u64::from(new);
            fixed[8..12].copy_from_slice(&new.to_be_bytes());
        }
        // The window of a SYN is not scaled (RFC 7323, 2.2).
        if self.window != 0 && set & flags::SYN == 0 {
            let window = be16(fixed, 14);
            let new = shifted(window, self.window);
            sum += u64::from(!window) + u64::from(new);
            fixed[14..16].copy_from_slice(&new.to_be_bytes());
        }
        if finished {
            fixed[CHECKSUM..CHECKSUM + 2].copy_from_slice(&(!fold(sum)).to_be_bytes());
        }
        if segment.len() > HEADER {
            self.apply_to_options(segment, finished);
        }
    }

    fn apply_to_options(&self, segment: &mut [u8], finished: bool) {
        let mut before = [0; LONGEST];
        let length = segment.len().min(LONGEST);
        let before = &mut before[..length];
        before.copy_from_slice(&segment[..length]);
        let mut options = Options::new(&before[HEADER..]);
        while let Some(option) = options.next() {
            let behind = length - options.rest().len();
            match option {
                TcpOption::Timestamps { value, echo } if self.clock | self.echo != 0 => {
                    let value = value.wrapping_add(self.clock);
                    // 0 is no echo.
                    let echo = if echo == 0 { 0 } else { echo.wrapping_sub(self.echo) };
                    let pair = u64::from(value) << 32 | u64::from(echo);
                    overwrite(segment, behind - 8, &pair.to_be_bytes(), finished);
                }
                TcpOption::Sack(blocks) if self.ack != 0 => {
                    let at = (behind - 8 * blocks.edges().len()..).step_by(8);
                    for (at, (left, right)) in at.zip(blocks.edges()) {
                        let [left, right] = [left, right].map(|edge| edge.wrapping_sub(self.ack));
                        let pair = u64::from(left) << 32 | u64::from(right);
                        overwrite(segment, at, &pair.to_be_bytes(), finished);
                    }
                }
                _ => {}
            }
        }
    }
}

/// A window for an end that scales it otherwise: never more than was meant, at most what the field
/// holds.
pub(super) const fn shifted(window: u16, by: i8) -> u16 {
    let window = window as u32;
    let by_bits = if by.unsigned_abs() > 14 { 14 } else { by.unsigned_abs() };
    let window = if by < 0 { window >> by_bits } else { window << by_bits };
    if window > MAX_WINDOW { MAX_WINDOW as u16 } else { window as u16 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::checksum::sum;
    use crate::packet::tcp;

    /// Shifts that show when they are applied twice, to the wrong field, or not at all.
    const ALL: Translation = Translation {
        seq: 0x1000_0000,
        ack: 0x0200_0000,
        clock: 0x0030_0000,
        echo: 0x0004_0000,
        window: 2,
    };

    /// 40000 > 22, seq 0x01020304, ack 0x11121314, ACK, window 0x00fa; nop nop TS(0x21222324,
    /// 0x31323334), nop nop SACK(0x41424344-0x51525354, 0x61626364-0x71727374).
    const SEGMENT: [u8; 52] = [
        0x9c, 0x40, 0, 22, 1, 2, 3, 4, 0x11, 0x12, 0x13, 0x14, 0xd0, 0x10, 0, 0xfa, 0, 0, 0, 0, 1,
        1, 8, 10, 0x21, 0x22, 0x23, 0x24, 0x31, 0x32, 0x33, 0x34, 1, 1, 5, 18, 0x41, 0x42, 0x43,
        0x44, 0x51, 0x52, 0x53, 0x54, 0x61, 0x62, 0x63, 0x64, 0x71, 0x72, 0x73, 0x74,
    ];

    fn with_checksum(segment: &[u8]) -> Vec<u8> {
        let mut segment = segment.to_vec();
        segment[CHECKSUM..CHECKSUM + 2].fill(0);
        let checksum = !sum(&segment);
        segment[CHECKSUM..CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
        segment
    }

    #[test]
    fn every_number_of_a_segment_is_translated_once() {
        let mut segment = with_checksum(&SEGMENT);
        ALL.apply(&mut segment, true);
        let mut expected = SEGMENT;
        expected[4] = 0x11;
        expected[8] = 0x0f;
        expected[14..16].copy_from_slice(&[0x03, 0xe8]);
        expected[25] = 0x52;
        expected[29] = 0x2e;
        for (at, edge) in [(36, 0x3f), (40, 0x4f), (44, 0x5f), (48, 0x6f)] {
            expected[at] = edge;
        }
        assert_eq!(segment, with_checksum(&expected));
    }

    #[test]
    fn a_checksum_that_is_left_to_hardware_is_not_touched() {
        let mut segment = SEGMENT;
        segment[CHECKSUM..CHECKSUM + 2].copy_from_slice(&[0xab, 0xcd]);
        ALL.apply(&mut segment, false);
        assert_eq!(segment[CHECKSUM..CHECKSUM + 2], [0xab, 0xcd]);
        assert_eq!((segment[4], segment[8], segment[25], segment[36]), (0x11, 0x0f, 0x52, 0x3f));
    }

    #[test]
    fn what_says_nothing_stays() {
        // No ACK: the number means nothing. A SYN: its window is not scaled.
        let mut syn = SEGMENT;
        syn[13] = flags::SYN;
        ALL.apply(&mut syn, false);
        assert_eq!((&syn[8..12], &syn[14..16]), (&SEGMENT[8..12], &SEGMENT[14..16]));
        // A RST with the flag and no number.
        let mut reset = SEGMENT;
        reset[13] = flags::RST | flags::ACK;
        reset[8..12].fill(0);
        ALL.apply(&mut reset, false);
        assert_eq!(reset[8..12], [0; 4]);
        // No echo.
        let mut silent = SEGMENT;
        silent[28..32].fill(0);
        ALL.apply(&mut silent, false);
        assert_eq!(silent[28..32], [0; 4]);
        // Behind a broken option nobody reads on.
        let mut broken = SEGMENT;
        broken[32..34].copy_from_slice(&[99, 0]);
        ALL.apply(&mut broken, false);
        assert_eq!((broken[25], broken[36]), (0x52, 0x41));
    }

    #[test]
    fn windows_fit_and_never_promise_more() {
        for (window, by, shifted_window) in [
            (0, 3, 0),
            (1, 3, 8),
            (0x1fff, 3, 0xfff8),
            (0x2000, 3, 0xffff),
            (0xffff, 14, 0xffff),
            (0xffff, -3, 0x1fff),
            (7, -3, 0),
            (0xffff, i8::MIN, 3),
            (9, 0, 9),
        ] {
            assert_eq!(shifted(window, by), shifted_window, "{window} by {by}");
        }
    }

    /// Options of any kind at any alignment, 40 bytes at most.
    fn options() -> impl Strategy<Value = Vec<u8>> {
        let option = prop_oneof![
            Just(vec![1]),
            any::<[u8; 8]>().prop_map(|data| [&[8, 10][..], &data].concat()),
            prop::collection::vec(any::<[u8; 8]>(), 1..=4).prop_map(|blocks| {
                [&[5, 2 + 8 * blocks.len() as u8][..], blocks.as_flattened()].concat()
            }),
            prop::collection::vec(any::<u8>(), 0..6)
                .prop_map(|data| { [&[254, 2 + data.len() as u8][..], &data].concat() }),
            prop::collection::vec(any::<u8>(), 1..6),
        ];
        prop::collection::vec(option, 0..6).prop_map(|options| {
            let mut bytes = options.concat();
            bytes.truncate(40);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        })
    }

    prop_compose! {
        fn translation()(seq: u32, ack: u32, clock: u32, echo: u32, window in -14_i8..=14)
            -> Translation {
            Translation { seq, ack, clock, echo, window }
        }
    }

    proptest! {
        #[test]
        fn the_checksum_of_any_segment_stays_right(
            fixed: [u8; HEADER],
            options in options(),
            payload: Vec<u8>,
            translation in translation(),
        ) {
            let mut segment = [&fixed[..], &options, &payload].concat();
            segment[12] = ((HEADER + options.len()) * 4) as u8;
            let mut segment = with_checksum(&segment);
            let header = HEADER + options.len();
            translation.apply(&mut segment[..header], true);
            // Of the two zeros of the sum, either is right.
            prop_assert!(matches!(sum(&segment), 0 | 0xffff));
        }

        #[test]
        fn what_comes_back_is_what_was_sent(
            options in options(),
            translation in translation(),
        ) {
            let mut segment = [&SEGMENT[..HEADER], &options].concat();
            let there = Translation { window: 0, ..translation };
            let back = Translation {
                seq: there.seq.wrapping_neg(),
                ack: there.ack.wrapping_neg(),
                clock: there.clock.wrapping_neg(),
                echo: there.echo.wrapping_neg(),
                window: 0,
            };
            let before = segment.clone();
            there.apply(&mut segment, false);
            prop_assert_eq!(segment.len(), before.len());
            // An echo that is 0 on one of the two ways is none.
            let echoes = |bytes: &[u8]| tcp::find_timestamps(bytes).any(|(_, _, echo)| echo == 0);
            if !echoes(&before) && !echoes(&segment) {
                back.apply(&mut segment, false);
                prop_assert_eq!(segment, before);
            }
        }
    }
}
