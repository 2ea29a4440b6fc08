//! Fragments as the input says, which may overlap with other contents, come twice, or never: whatever
//! leaves the bridge is a whole datagram that every host puts together in the same way, that the rules
//! let pass, and whose fragments are those that came.

use std::collections::BTreeMap;
use std::time::Duration;

use weir_engine::frame::Judged;
use weir_engine::packet::{build, checksum, ipv6};
use weir_engine::{PortIndex, Verdict};

use super::input::Input;
use super::stand::Stand;
use super::{Rules, Summary, with_timeouts};
use crate::bridge::Moving;

/// What the rules let pass; all others ports are blocked.
const PORT: u16 = 53;
/// Bytes of each datagram behind its IP header.
const LENGTH: usize = 640;

static RULES: Rules<3> = Rules::new(|| {
    [
        with_timeouts("block\npass proto udp to port 53\n"),
        with_timeouts(
            "set reassemble yes no-df\nblock return\npass proto udp to port 53 no state\n",
        ),
        with_timeouts("set limit frags 9\nblock\npass proto udp to port 53\n"),
    ]
});

/// What tells fragments of one datagram from those of others: the addresses, and the identification.
type Datagram = (Vec<u8>, u32);

/// Reads fragments of a few datagrams from the input.
pub fn fragments(memory: &'static mut [u8], input: &[u8]) -> Summary {
    let mut input = Input::new(input);
    let how = input.byte();
    let mut stand = Stand::new(memory, u16::from(how >> 6) % 3 + 1, &RULES.choose(how & 0x3f));
    let datagrams = [0, 1, 2, 3].map(|which: u8| {
        // Two contents of each family; the ports of the second are other ones, which are blocked.
        let to = if which & 2 == 0 { PORT } else { 54 };
        let payload: Vec<u8> = (0..LENGTH - 8).map(|at| at as u8 ^ which).collect();
        if which & 1 == 0 {
            build::udp(([192, 0, 2, 1], 1000), ([192, 0, 2, 2], to)).payload(&payload).frame()
        } else {
            let host = |host| [0x2001, 0xdb8, 0, 0, 0, 0, 0, host];
            build::udp((host(1), 1000), (host(2), to)).payload(&payload).frame()
        }
    });
    let mut came = Vec::new();
    while !input.is_empty() {
        let what = input.byte();
        if what & 0x80 != 0 {
            stand.wait(Duration::from_millis(u64::from(what & 0x7f) * 700));
            continue;
        }
        let begin = usize::from(input.byte()) % (LENGTH / 8) * 8;
        let length = usize::from(input.byte());
        // Mostly whole units, as of an honest sender.
        let end = if length & 1 == 0 { begin + length / 2 * 8 } else { begin + length };
        let end = end.min(LENGTH);
        let more = if what & 0x40 == 0 { end < LENGTH } else { what & 0x20 != 0 };
        let id = u32::from(what >> 2 & 7);
        let mut frame = build::fragment(&datagrams[usize::from(what & 3)], id, begin..end, more);
        if what & 0x60 == 0x60 && what & 1 == 0 {
            set_dont_fragment(&mut frame);
        }
        came.push(frame.clone());
        let moving: Moving = (PortIndex::LAN, frame);
        let judged = stand.send(vec![moving]);
        assert_whole(&judged, &came);
    }
    stand.finish()
}

fn set_dont_fragment(frame: &mut [u8]) {
    let old = u16::from_be_bytes([frame[20], frame[21]]);
    let sum = u16::from_be_bytes([frame[24], frame[25]]);
    frame[20] |= 0x40;
    frame[24..26].copy_from_slice(&checksum::update(sum, old, old | 0x4000).to_be_bytes());
}

/// Whatever was released to leave is made of whole datagrams.
fn assert_whole(judged: &[Judged], came: &[Vec<u8>]) {
    let mut leaving: BTreeMap<Datagram, Vec<&[u8]>> = BTreeMap::new();
    for one in judged.iter().filter(|one| matches!(one.verdict, Verdict::Forward(_))) {
        let same = |other: &&Vec<u8>| same_but_flags(other, &one.bytes);
        assert!(came.iter().find(same).is_some(), "made up: {:02x?}", one.bytes);
        leaving.entry(identity(&one.bytes)).or_default().push(&one.bytes);
    }
    for fragments in leaving.values() {
        let first = put_together(fragments.iter());
        assert_eq!(first, put_together(fragments.iter().rev()), "two ways to put it together");
        assert_eq!(first.len(), LENGTH);
        assert!(first.iter().all(Option::is_some), "a hole");
        let port = [first[2], first[3]].map(Option::unwrap_or_default);
        assert_eq!(u16::from_be_bytes(port), PORT, "the rules block it");
    }
}

/// Whether two frames are the same but for the "don't fragment" of IPv4 and its checksum.
fn same_but_flags(one: &[u8], other: &[u8]) -> bool {
    let blank = |frame: &[u8]| {
        let mut frame = frame.to_vec();
        if frame[12..14] == [0x08, 0x00] {
            frame[20] &= !0x40;
            frame[24..26].fill(0);
        }
        frame
    };
    blank(one) == blank(other)
}

fn is_inet6(frame: &[u8]) -> bool {
    frame[12..14] == [0x86, 0xdd]
}

fn identity(frame: &[u8]) -> Datagram {
    if is_inet6(frame) {
        assert_eq!(frame[20], ipv6::FRAGMENT);
        let id = u32::from_be_bytes(frame[58..62].try_into().expect("four bytes"));
        (frame[22..54].to_vec(), id)
    } else {
        (frame[26..34].to_vec(), u16::from_be_bytes([frame[18], frame[19]]).into())
    }
}

/// The datagram that a host makes of fragments in which the first to bring a byte wins.
fn put_together<'a>(fragments: impl Iterator<Item = &'a &'a [u8]>) -> Vec<Option<u8>> {
    let mut datagram = Vec::new();
    for frame in fragments {
        let (field, data) = if is_inet6(frame) {
            (u16::from_be_bytes([frame[56], frame[57]]) & 0xfff8, &frame[62..])
        } else {
            (u16::from_be_bytes([frame[20], frame[21]]) << 3, &frame[34..])
        };
        let begin = usize::from(field);
        datagram.resize(datagram.len().max(begin + data.len()), None);
        for (place, &byte) in datagram[begin..].iter_mut().zip(data) {
            place.get_or_insert(byte);
        }
    }
    datagram
}
