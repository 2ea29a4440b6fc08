//! SCTP: chunks as the input says, between two hosts that know each other's tags or guess. Without a
//! state nothing passes but an INIT that is alone in its packet; with one nothing without a tag that
//! somebody has chosen.

use std::net::SocketAddr;
use std::time::Duration;

use weir_engine::PortIndex;
use weir_engine::packet::build;

use super::input::Input;
use super::stand::Stand;
use super::{Rules, Summary, with_timeouts};

static RULES: Rules<2> = Rules::new(|| {
    [
        with_timeouts("block\npass proto sctp\n"),
        with_timeouts("block\npass in on wan proto sctp keep state (max 1)\npass out\n"),
    ]
});

const INIT: u8 = 1;
const INIT_ACK: u8 = 2;

/// Reads an association, or something like it, from the input.
pub fn sctp(memory: &'static mut [u8], input: &[u8]) -> Summary {
    let mut input = Input::new(input);
    let how = input.byte();
    let mut stand = Stand::new(memory, u16::from(how >> 6) % 3 + 1, &RULES.choose(how & 0x3f));
    // What has been said in INITs and INIT ACKs that passed.
    let mut chosen: Vec<u32> = Vec::new();
    while !input.is_empty() {
        let what = input.byte();
        if what & 0xf0 == 0xf0 {
            stand.wait(Duration::from_secs(u64::from(what & 0xf) * 9));
            continue;
        }
        let side = what & 1;
        let hosts: [SocketAddr; 2] =
            [([10, 0, 0, 1], 9).into(), ([10, 1, 0, 1], 5000 + u16::from(what >> 1 & 1)).into()];
        let (from, to) = (hosts[usize::from(side)], hosts[usize::from(1 - side)]);
        let tag = match what >> 2 & 3 {
            0 => 0,
            1 => u32::from(input.byte()),
            2 => chosen.last().copied().unwrap_or(1),
            _ => chosen.first().copied().unwrap_or(1),
        };
        let chunks = chunks(&mut input, what >> 4 & 3);
        let without = stand.bridge.states(stand.now).is_empty();
        let frame = build::sctp(from, to, tag, &chunks).frame();
        if !stand.passes(PortIndex(side), &frame) {
            continue;
        }
        let (kind, length) = (chunks[0], usize::from(u16::from_be_bytes([chunks[2], chunks[3]])));
        let opens = kind == INIT && tag == 0;
        let alone = length.next_multiple_of(4) >= chunks.len();
        assert!(!without || opens && alone, "tag {tag}, {chunks:02x?}, without a state");
        assert!(opens || chosen.contains(&tag), "tag {tag}, {chunks:02x?}, guessed");
        if matches!(kind, INIT | INIT_ACK) {
            assert!(alone, "{chunks:02x?}: not alone");
            chosen.push(u32::from_be_bytes(chunks[4..8].try_into().expect("a tag")));
        }
    }
    stand.finish()
}

/// Some chunks: their lengths right, but for some.
fn chunks(input: &mut Input<'_>, more: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..=more {
        let [kind, flags, length] = [input.byte(), input.byte(), input.byte()];
        let body = input.take(usize::from(length & 0x1f));
        let length = if length & 0x80 == 0 { 4 + body.len() as u16 } else { input.u16() };
        bytes.extend([kind & 0x1f, flags]);
        bytes.extend(length.to_be_bytes());
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}
