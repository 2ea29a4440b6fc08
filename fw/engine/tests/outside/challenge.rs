//! Challenge ACKs: what weir answers to a RST or SYN that may be a stranger's guess, and what hosts make
//! of it.

use std::time::Duration;

use weir_engine::packet::build;
use weir_engine::packet::tcp::flags::{ACK, PSH, RST, SYN};
use weir_engine::{PortIndex, Reason, Verdict};

use crate::bridge::{Bridge, LAN, PASSES, WAN};
use crate::random::Random;

const CLIENT: ([u8; 4], u16) = ([192, 0, 2, 1], 700);
const SERVER: ([u8; 4], u16) = ([198, 51, 100, 2], 2049);
const SECOND: Duration = Duration::from_secs(1);

fn from_client(flags: u8, seq: u32, ack: u32) -> build::Build {
    build::tcp(CLIENT, SERVER, flags).seq(seq).ack(ack).window(1000)
}

fn from_server(flags: u8, seq: u32, ack: u32) -> build::Build {
    build::tcp(SERVER, CLIENT, flags)
        .macs(build::DESTINATION_MAC, build::SOURCE_MAC)
        .seq(seq)
        .ack(ack)
        .window(2000)
}

/// The next bytes are 1001 and 5001.
fn connected(rules: &str) -> Bridge {
    let mut bridge = Bridge::new(rules);
    for (port, segment) in [
        (WAN, from_client(SYN, 1000, 0)),
        (LAN, from_server(SYN | ACK, 5000, 1001)),
        (WAN, from_client(ACK, 1001, 5001)),
    ] {
        assert_eq!(bridge.send(port, &segment.frame()), PASSES);
    }
    bridge
}

fn end(bridge: &Bridge) -> String {
    let listing = bridge.listing();
    listing.last().and_then(|line| line.split_whitespace().last()).unwrap_or_default().to_owned()
}

/// Sends a segment that is answered; the answer.
fn answered(bridge: &mut Bridge, port: PortIndex, segment: &build::Build, why: Reason) -> Vec<u8> {
    assert_eq!(bridge.judge(port, &segment.frame()), Verdict::Reflect(why));
    bridge.frame.clone()
}

#[test]
fn a_reset_that_is_not_exact_is_answered_in_the_name_of_its_receiver() {
    let mut bridge = connected("pass in on wan\n");
    let before = bridge.states()[0].peers;
    for (port, guess, challenge) in [
        (WAN, from_client(RST, 1003, 0), from_server(ACK, 5001, 1001)),
        (LAN, from_server(RST, 5900, 0), from_client(ACK, 1001, 5001)),
        (WAN, from_client(RST | ACK, 3000, 5001), from_server(ACK, 5001, 1001)),
    ] {
        let answer = answered(&mut bridge, port, &guess, Reason::TcpBadReset);
        assert_eq!(answer, challenge.frame());
        // Once a second.
        assert_eq!(bridge.judge(port, &guess.frame()), Verdict::Drop(Reason::TcpBadReset));
        bridge.now = bridge.now.after(SECOND);
    }
    assert_eq!((bridge.states()[0].peers, bridge.counters().reflected), (before, 3));
    // Outside the window there is nothing to answer.
    for seq in [3_002, 900_000_000, 4_000_000_000] {
        let far = from_client(RST, seq, 0).frame();
        assert_eq!(bridge.judge(WAN, &far), Verdict::Drop(Reason::TcpFarReset), "{seq}");
    }
}

#[test]
fn a_host_that_has_forgotten_proves_it_by_its_answer() {
    let mut bridge = connected("pass in on wan\n");
    // It has sent what the server has not acknowledged.
    let data = from_client(PSH | ACK, 1001, 5001).payload(&[1; 100]).frame();
    assert_eq!(bridge.send(WAN, &data), PASSES);
    let guess = from_client(RST, 1050, 0);
    let challenge = answered(&mut bridge, WAN, &guess, Reason::TcpBadReset);
    assert_eq!(challenge, from_server(ACK, 5001, 1001).frame());
    assert_eq!(bridge.send(WAN, &from_client(RST, 1001, 0).frame()), PASSES);
    assert_eq!(bridge.frame, from_client(RST, 1101, 0).frame(), "the server believes it");
    assert_eq!(end(&bridge), "TIME_WAIT:TIME_WAIT");
    // Or it has not received the data, and challenges for itself.
    assert_eq!(bridge.send(LAN, &from_server(ACK, 5001, 1001).frame()), PASSES);
    let last = from_client(RST, 1001, 0).frame();
    assert_eq!(bridge.send(WAN, &last), PASSES);
    assert_eq!(bridge.frame, last);
}

/// A host that lives must not believe that data has arrived which has not, nor that it may send more, or
/// less, than it was allowed.
#[test]
fn a_challenge_says_nothing_that_its_host_has_not_said() {
    const START: u32 = 1_000_000_000;
    let mut random = Random(7);
    for scale in [None, Some(0), Some(7), Some(14)] {
        let mut bridge = Bridge::new("pass in on wan\n");
        let options = scale.map(|shift| [1, 3, 3, shift]);
        let options = options.as_ref().map_or(&[][..], |options| options);
        let shift = scale.unwrap_or(0);
        let first = 60_000;
        for (port, segment) in [
            (WAN, from_client(SYN, START - 1, 0).tcp_options(options)),
            (LAN, from_server(SYN | ACK, 5000, START).tcp_options(options).window(first)),
            (WAN, from_client(ACK, START, 5001)),
        ] {
            assert_eq!(bridge.send(port, &segment.frame()), PASSES);
        }
        let (mut sent, mut taken, mut edge) = (START, START, START + u32::from(first));
        for _ in 0..500 {
            let room = edge - sent;
            let length = room.min(random.below(1400) as u32);
            let data = from_client(PSH | ACK, sent, 5001).payload(&vec![0; length as usize]);
            assert_eq!(bridge.send(WAN, &data.frame()), PASSES);
            sent += length;
            taken += random.below((sent - taken) as usize + 1) as u32;
            // The right edge stays or moves to the right.
            let least = (edge - taken).div_ceil(1 << shift);
            let window = u16::try_from(least + random.below(50) as u32).unwrap_or(u16::MAX);
            let allowed = taken + (u32::from(window) << shift);
            if allowed < edge {
                continue;
            }
            edge = allowed;
            let ack = from_server(ACK, 5001, taken).window(window).frame();
            assert_eq!(bridge.send(LAN, &ack), PASSES);
            bridge.now = bridge.now.after(SECOND);
            let inside = sent + 2 + random.below((edge - sent).max(1) as usize) as u32;
            if inside >= edge {
                continue;
            }
            let answer =
                answered(&mut bridge, WAN, &from_client(RST, inside, 0), Reason::TcpBadReset);
            let number = |at: usize| u32::from_be_bytes(answer[at..at + 4].try_into().unwrap());
            let (seq, ack) = (number(38), number(42));
            let window = u32::from(u16::from_be_bytes([answer[48], answer[49]])) << shift;
            assert_eq!(seq, 5001);
            assert!(ack <= taken && ack + window == edge, "{ack} {window}, {taken} {edge}");
        }
        assert_eq!(end(&bridge), "ESTABLISHED:ESTABLISHED");
        assert!(bridge.counters().reflected > 100);
    }
}

#[test]
fn what_strangers_begin_is_never_answered() {
    let mut bridge = Bridge::new("pass in on wan\n");
    for port in 1..1000 {
        let client = (CLIENT.0, port);
        let segment = |flags, seq| build::tcp(client, SERVER, flags).seq(seq).frame();
        assert_eq!(bridge.send(WAN, &segment(SYN, 1000)), PASSES);
        if port % 2 == 0 {
            let answer = build::tcp(SERVER, client, SYN | ACK).seq(5000).ack(1001);
            assert_eq!(bridge.send(LAN, &answer.frame()), PASSES);
        }
        for seq in [1001, 1500, 70_000] {
            assert!(!matches!(bridge.judge(WAN, &segment(RST, seq + 2)), Verdict::Reflect(_)));
        }
    }
    let mut group = connected("pass in on wan\n");
    let to_all = from_client(RST, 1003, 0).macs(build::SOURCE_MAC, [0xff; 6]).frame();
    assert_eq!(group.judge(WAN, &to_all), Verdict::Drop(Reason::TcpBadReset));
    assert_eq!((bridge.counters().reflected, group.counters().reflected), (0, 0));
    assert!(bridge.crafted.is_empty());
}

#[test]
fn a_syn_inside_the_window_is_not_passed_on() {
    for (port, inside, outside, challenge) in [
        (
            WAN,
            from_client(SYN, 1500, 0),
            from_client(SYN, 900_000, 0),
            from_server(ACK, 5001, 1001),
        ),
        (
            LAN,
            from_server(SYN, 5500, 0),
            from_server(SYN, 900_000, 0),
            from_client(ACK, 1001, 5001),
        ),
    ] {
        let mut bridge = connected("pass in on wan\n");
        let before = bridge.states()[0].peers;
        let answer = answered(&mut bridge, port, &inside, Reason::TcpBadSyn);
        assert_eq!(answer, challenge.frame());
        bridge.now = bridge.now.after(SECOND);
        if port == WAN {
            // Its receiver answers that itself.
            assert_eq!(bridge.send(WAN, &outside.frame()), PASSES);
        } else {
            let answer = answered(&mut bridge, port, &outside, Reason::TcpBadSyn);
            assert_eq!(answer, challenge.frame());
        }
        assert_eq!(bridge.states()[0].peers, before);
    }
}

/// The SYN that began a connection may come twice, and the second one late, whatever is left over when
/// the window of the SYN-ACK is counted in units of the scale.
#[test]
fn a_duplicate_of_the_first_syn_passes() {
    for (shift, window) in [(0, 65_535), (7, 65_160), (10, 64_240), (14, 1), (14, 65_535)] {
        let mut bridge = Bridge::new("pass in on wan\n");
        let options = [1, 3, 3, shift];
        let syn = from_client(SYN, 999, 0).tcp_options(&options);
        for (port, segment) in [
            (WAN, &syn),
            (LAN, &from_server(SYN | ACK, 5000, 1000).tcp_options(&options).window(window)),
            (WAN, &from_client(ACK, 1000, 5001)),
            (WAN, &syn),
            (LAN, &from_server(ACK, 5001, 1000).window(window >> shift)),
            (WAN, &syn),
        ] {
            assert_eq!(bridge.send(port, &segment.frame()), PASSES, "{shift} {window}");
        }
        let inside = from_client(SYN, 1000 + (1 << shift), 0);
        if u32::from(window) > 1 << shift {
            answered(&mut bridge, WAN, &inside, Reason::TcpBadSyn);
        }
    }
}

/// The server has lost its memory, and connects from the port that it had served.
#[test]
fn a_server_that_was_rebooted_may_connect_where_it_was_connected() {
    for (rules, passes) in [("pass\n", true), ("pass in on wan\nblock in on lan\n", false)] {
        let mut bridge = connected(rules);
        let syn = from_server(SYN, 3_000_000_000, 0);
        let challenge = answered(&mut bridge, LAN, &syn, Reason::TcpBadSyn);
        assert_eq!(challenge, from_client(ACK, 1001, 5001).frame());
        // RFC 9293, 3.10.7.3: in SYN-SENT, for an ACK that acknowledges something else.
        let reset = from_server(RST, 5001, 0).frame();
        assert_eq!(bridge.send(LAN, &reset), PASSES);
        assert_eq!(bridge.frame, reset);
        assert_eq!(end(&bridge), "TIME_WAIT:TIME_WAIT");
        let again = bridge.send(LAN, &syn.frame());
        assert_eq!(again, if passes { PASSES } else { Some(Reason::BlockRule) });
        if passes {
            let answer = from_client(SYN | ACK, 77, 3_000_000_001);
            assert_eq!(bridge.send(WAN, &answer.frame()), PASSES);
            let done = from_server(ACK, 3_000_000_001, 78);
            assert_eq!(bridge.send(LAN, &done.frame()), PASSES);
            assert_eq!(
                bridge.listing(),
                ["lan tcp 192.0.2.1:700 <- 198.51.100.2:2049       ESTABLISHED:ESTABLISHED"]
            );
        }
    }
}

/// The sequence number of a segment over IPv4 without options or tags.
fn seq_of(frame: &[u8]) -> u32 {
    u32::from_be_bytes(frame[38..42].try_into().unwrap())
}

/// With `modulate state` each host is challenged, and believes the other's RST, in the numbers that it
/// knows.
#[test]
fn each_host_is_answered_in_the_numbers_that_it_knows() {
    let mut bridge = Bridge::new("pass in on wan proto tcp modulate state\n");
    assert_eq!(bridge.send(WAN, &from_client(SYN, 1000, 0).frame()), PASSES);
    let client = seq_of(&bridge.frame).wrapping_sub(1000);
    let answer = from_server(SYN | ACK, 5000, client.wrapping_add(1001));
    assert_eq!(bridge.send(LAN, &answer.frame()), PASSES);
    let server = seq_of(&bridge.frame).wrapping_sub(5000);
    assert!(client != 0 && server != 0);
    let data = from_client(PSH | ACK, 1001, server.wrapping_add(5001)).payload(&[1; 100]);
    assert_eq!(bridge.send(WAN, &data.frame()), PASSES);
    let challenge = answered(&mut bridge, LAN, &from_server(RST, 5900, 0), Reason::TcpBadReset);
    assert_eq!(challenge, from_client(ACK, client.wrapping_add(1101), 5001).frame());
    bridge.now = bridge.now.after(SECOND);
    let challenge = answered(&mut bridge, WAN, &from_client(RST, 1050, 0), Reason::TcpBadReset);
    assert_eq!(challenge, from_server(ACK, server.wrapping_add(5001), 1001).frame());
    assert_eq!(bridge.send(WAN, &from_client(RST, 1001, 0).frame()), PASSES);
    assert_eq!(bridge.frame, from_client(RST, client.wrapping_add(1101), 0).frame());
    assert_eq!(end(&bridge), "TIME_WAIT:TIME_WAIT");
}
