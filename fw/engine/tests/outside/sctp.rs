//! SCTP associations: begun by INIT, known by their verification tags.

use std::time::Duration;

use weir_engine::packet::{build, icmp};
use weir_engine::{PortIndex, Reason};

use crate::bridge::{Bridge, LAN, PASSES, WAN};

type Host = ([u8; 4], u16);

const CLIENT: Host = ([192, 0, 2, 1], 5000);
const SERVER: Host = ([198, 51, 100, 2], 2905);
const RULES: &str = "block in\npass in on wan proto sctp\n";

const DATA: &[u8] = &[0, 3, 0, 20, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4];
const SACK: &[u8] = &[3, 0, 0, 16, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0];
const ABORT: &[u8] = &[6, 0, 0, 4];
const ABORT_REFLECTED: &[u8] = &[6, 1, 0, 4];
const SHUTDOWN: &[u8] = &[7, 0, 0, 8, 0, 0, 0, 1];
const SHUTDOWN_ACK: &[u8] = &[8, 0, 0, 4];
const COOKIE_ECHO: &[u8] = &[10, 0, 0, 8, 1, 2, 3, 4];
const COOKIE_ACK: &[u8] = &[11, 0, 0, 4];
const SHUTDOWN_COMPLETE: &[u8] = &[14, 0, 0, 4];

/// An INIT (1) or INIT ACK (2) that asks to be called `tag`.
fn init(kind: u8, tag: u32) -> Vec<u8> {
    let [a, b, c, d] = tag.to_be_bytes();
    vec![kind, 0, 0, 20, a, b, c, d, 0, 1, 0, 0, 0, 10, 0, 10, 0, 0, 0, 1]
}

fn client(bridge: &mut Bridge, tag: u32, chunks: &[u8]) -> Option<Reason> {
    bridge.send(WAN, &build::sctp(CLIENT, SERVER, tag, chunks).frame())
}

fn server(bridge: &mut Bridge, tag: u32, chunks: &[u8]) -> Option<Reason> {
    bridge.send(LAN, &build::sctp(SERVER, CLIENT, tag, chunks).frame())
}

/// The client goes by 0xc, the server by 0x5.
fn associate(bridge: &mut Bridge) {
    assert_eq!(client(bridge, 0, &init(1, 0xc)), PASSES);
    assert_eq!(server(bridge, 0xc, &init(2, 0x5)), PASSES);
    assert_eq!(client(bridge, 0x5, COOKIE_ECHO), PASSES);
    assert_eq!(server(bridge, 0xc, COOKIE_ACK), PASSES);
}

fn state(bridge: &Bridge) -> String {
    let listing = bridge.listing();
    assert_eq!(listing.len(), 1, "{listing:?}");
    listing[0].split_whitespace().last().expect("a word").to_owned()
}

#[test]
fn an_association_lives_from_init_to_shutdown() {
    let mut bridge = Bridge::new(RULES);
    assert_eq!(client(&mut bridge, 0, &init(1, 0xc)), PASSES);
    assert_eq!(
        bridge.listing(),
        ["wan sctp 198.51.100.2:2905 <- 192.0.2.1:5000       CLOSED:COOKIE_WAIT"]
    );
    associate(&mut bridge);
    assert_eq!(state(&bridge), "ESTABLISHED:ESTABLISHED");
    assert_eq!(bridge.states()[0].expires, 86_400);
    for _ in 0..3 {
        assert_eq!(client(&mut bridge, 0x5, DATA), PASSES);
        assert_eq!(server(&mut bridge, 0xc, SACK), PASSES);
    }
    assert_eq!(client(&mut bridge, 0x5, SHUTDOWN), PASSES);
    assert_eq!(state(&bridge), "ESTABLISHED:SHUTDOWN_PENDING");
    assert_eq!(bridge.states()[0].expires, 900);
    assert_eq!(server(&mut bridge, 0xc, SHUTDOWN_ACK), PASSES);
    assert_eq!(client(&mut bridge, 0x5, SHUTDOWN_COMPLETE), PASSES);
    assert_eq!(state(&bridge), "CLOSED:CLOSED");
    // The same ports again, at once.
    associate(&mut bridge);
    assert_eq!(state(&bridge), "ESTABLISHED:ESTABLISHED");
    assert_eq!(server(&mut bridge, 0xc, ABORT), PASSES);
    bridge.wait(Duration::from_secs(91));
    assert_eq!(bridge.listing(), [""; 0]);
}

#[test]
fn only_an_init_begins_one() {
    let mut bridge = Bridge::new(RULES);
    for chunks in [DATA, SACK, ABORT, COOKIE_ECHO, SHUTDOWN_ACK] {
        assert_eq!(client(&mut bridge, 0x5, chunks), Some(Reason::SctpNoState));
    }
    assert_eq!(server(&mut bridge, 0, &init(1, 5)), Some(Reason::BlockRule));
    assert_eq!(bridge.listing(), [""; 0]);
    let mut stateless = Bridge::new("block in\npass in on wan proto sctp no state\n");
    assert_eq!(client(&mut stateless, 0x5, DATA), PASSES);
}

#[test]
fn nobody_without_the_tag_disturbs_it() {
    let mut bridge = Bridge::new(RULES);
    associate(&mut bridge);
    let before = bridge.listing();
    for guess in [1, 0x6, 0xc, 0xdead_beef] {
        for chunks in [DATA, ABORT, SHUTDOWN, SHUTDOWN_COMPLETE, COOKIE_ECHO] {
            assert_eq!(client(&mut bridge, guess, chunks), Some(Reason::SctpTag));
        }
    }
    assert_eq!(client(&mut bridge, 0x5, ABORT_REFLECTED), PASSES, "a host's own bit is not ours");
    let mut bridge = Bridge::new(RULES);
    associate(&mut bridge);
    assert_eq!(client(&mut bridge, 0x6, ABORT_REFLECTED), Some(Reason::SctpTag));
    assert_eq!(server(&mut bridge, 0xd, &init(2, 9)), Some(Reason::SctpTag));
    // Ports and a forged INIT are not enough either.
    assert_eq!(client(&mut bridge, 0, &init(1, 0xbad)), PASSES);
    assert_eq!(client(&mut bridge, 0xbad, DATA), Some(Reason::SctpTag));
    assert_eq!(bridge.listing(), before);
    assert_eq!(client(&mut bridge, 0x5, DATA), PASSES);
    assert_eq!(server(&mut bridge, 0xc, DATA), PASSES);
}

#[test]
fn a_host_that_knows_nothing_of_it_may_say_so_with_the_tag_it_was_given() {
    let mut bridge = Bridge::new(RULES);
    associate(&mut bridge);
    assert_eq!(server(&mut bridge, 0x5, ABORT_REFLECTED), PASSES);
    assert_eq!(state(&bridge), "CLOSED:CLOSED");
}

/// RFC 9260, 6.8. Byte 42 of a frame is the first of the checksum.
#[test]
fn what_moves_an_association_must_have_the_right_checksum() {
    let damaged = |from: Host, to: Host, tag: u32, chunks: &[u8]| {
        let mut frame = build::sctp(from, to, tag, chunks).frame();
        frame[42] ^= 0x80;
        frame
    };
    let checksum = Some(Reason::SctpChecksum);
    let mut bridge = Bridge::new(RULES);
    assert_eq!(bridge.send(WAN, &damaged(CLIENT, SERVER, 0, &init(1, 0xc))), checksum);
    assert_eq!(bridge.listing(), [""; 0]);
    assert_eq!(client(&mut bridge, 0, &init(1, 0xc)), PASSES);
    assert_eq!(bridge.send(LAN, &damaged(SERVER, CLIENT, 0xc, &init(2, 0x5))), checksum);
    associate(&mut bridge);
    for chunks in [ABORT, ABORT_REFLECTED, SHUTDOWN, SHUTDOWN_ACK, SHUTDOWN_COMPLETE] {
        assert_eq!(bridge.send(WAN, &damaged(CLIENT, SERVER, 0x5, chunks)), checksum);
        assert_eq!(bridge.send(LAN, &damaged(SERVER, CLIENT, 0xc, chunks)), checksum);
    }
    assert_eq!(state(&bridge), "ESTABLISHED:ESTABLISHED");
    // The host finds that out by itself.
    assert_eq!(bridge.send(WAN, &damaged(CLIENT, SERVER, 0x5, DATA)), PASSES);
    // An ABORT byte by byte, its checksum worked out elsewhere.
    let abort = [0x13, 0x88, 0x0b, 0x59, 0, 0, 0, 5, 0xe3, 0xc7, 0xcf, 0x9d, 6, 0, 0, 4];
    let abort = build::other(CLIENT.0, SERVER.0, 132).payload(&abort).frame();
    assert_eq!(bridge.send(WAN, &abort), PASSES);
    assert_eq!(state(&bridge), "CLOSED:CLOSED");
}

#[test]
fn copies_of_the_handshake_and_a_refusal_pass() {
    let mut bridge = Bridge::new(RULES);
    for answer in [0x51, 0x52, 0x53] {
        assert_eq!(client(&mut bridge, 0, &init(1, 0xc)), PASSES);
        assert_eq!(server(&mut bridge, 0xc, &init(2, answer)), PASSES);
    }
    // All but the last was lost behind the bridge.
    assert_eq!(client(&mut bridge, 0x53, COOKIE_ECHO), PASSES);
    assert_eq!(client(&mut bridge, 0x53, COOKIE_ECHO), PASSES);
    assert_eq!(server(&mut bridge, 0xc, COOKIE_ACK), PASSES);
    assert_eq!(client(&mut bridge, 0x53, DATA), PASSES);
    assert_eq!(state(&bridge), "ESTABLISHED:ESTABLISHED");

    let mut refused = Bridge::new(RULES);
    assert_eq!(client(&mut refused, 0, &init(1, 0xc)), PASSES);
    assert_eq!(server(&mut refused, 0xc, ABORT), PASSES);
    assert_eq!(state(&refused), "CLOSED:CLOSED");
}

#[test]
fn a_host_that_has_lost_its_memory_starts_anew() {
    let mut bridge = Bridge::new(RULES);
    associate(&mut bridge);
    assert_eq!(client(&mut bridge, 0, &init(1, 0xcc)), PASSES);
    assert_eq!(server(&mut bridge, 0xcc, &init(2, 0x55)), PASSES);
    // Until the cookie has come back the old one lives.
    assert_eq!(server(&mut bridge, 0xc, DATA), PASSES);
    assert_eq!(client(&mut bridge, 0x55, COOKIE_ECHO), PASSES);
    assert_eq!(server(&mut bridge, 0xcc, COOKIE_ACK), PASSES);
    assert_eq!(state(&bridge), "ESTABLISHED:ESTABLISHED");
    assert_eq!(client(&mut bridge, 0x55, DATA), PASSES);
    assert_eq!(client(&mut bridge, 0x5, DATA), Some(Reason::SctpTag));
}

#[test]
fn both_may_begin_at_once() {
    let mut bridge = Bridge::new("pass\n");
    assert_eq!(client(&mut bridge, 0, &init(1, 0xc)), PASSES);
    assert_eq!(server(&mut bridge, 0, &init(1, 0x5)), PASSES);
    assert_eq!(server(&mut bridge, 0xc, &init(2, 0x5)), PASSES);
    assert_eq!(client(&mut bridge, 0x5, &init(2, 0xc)), PASSES);
    assert_eq!(client(&mut bridge, 0x5, COOKIE_ECHO), PASSES);
    assert_eq!(server(&mut bridge, 0xc, COOKIE_ECHO), PASSES);
    assert_eq!(server(&mut bridge, 0xc, COOKIE_ACK), PASSES);
    assert_eq!(client(&mut bridge, 0x5, COOKIE_ACK), PASSES);
    assert_eq!(state(&bridge), "ESTABLISHED:ESTABLISHED");
}

#[test]
fn errors_are_believed_with_the_tag_only() {
    let mut bridge = Bridge::new(RULES);
    associate(&mut bridge);
    let error = |tag: u32| {
        let quoted = build::sctp(CLIENT, SERVER, tag, DATA).frame();
        let router = [198, 51, 100, 1];
        build::icmp(router, CLIENT.0, icmp::v4::UNREACHABLE, 4).quote(&quoted).frame()
    };
    let send = |bridge: &mut Bridge, port: PortIndex, tag| bridge.send(port, &error(tag));
    assert_eq!(send(&mut bridge, LAN, 0x5), PASSES);
    assert_eq!(send(&mut bridge, LAN, 0x99), Some(Reason::IcmpWindow));
}
