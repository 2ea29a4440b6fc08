//! What hosts do when one of them has forgotten a connection, or when a handshake goes wrong: none
//! of it may be stalled, and none of it gives a stranger a hold on the state.

use weir_engine::Reason;
use weir_engine::packet::build;
use weir_engine::packet::tcp::flags::{ACK, FIN, RST, SYN};

use crate::bridge::{Bridge, LAN, PASSES, WAN};

const CLIENT: ([u8; 4], u16) = ([192, 0, 2, 1], 700);
const SERVER: ([u8; 4], u16) = ([198, 51, 100, 2], 2049);

fn client(bridge: &mut Bridge, flags: u8, seq: u32, ack: u32) -> Option<Reason> {
    bridge.send(WAN, &build::tcp(CLIENT, SERVER, flags).seq(seq).ack(ack).frame())
}

fn server(bridge: &mut Bridge, flags: u8, seq: u32, ack: u32) -> Option<Reason> {
    bridge.send(LAN, &build::tcp(SERVER, CLIENT, flags).seq(seq).ack(ack).frame())
}

/// The next bytes are 1001 and 5001.
fn connect(bridge: &mut Bridge) {
    assert_eq!(client(bridge, SYN, 1000, 0), PASSES);
    assert_eq!(server(bridge, SYN | ACK, 5000, 1001), PASSES);
    assert_eq!(client(bridge, ACK, 1001, 5001), PASSES);
}

#[test]
fn a_client_comes_back_after_a_reboot_with_the_same_port() {
    for half_closed in [false, true] {
        let mut bridge = Bridge::new("pass in on wan\n");
        connect(&mut bridge);
        if half_closed {
            assert_eq!(client(&mut bridge, FIN | ACK, 1001, 5001), PASSES);
            assert_eq!(server(&mut bridge, ACK, 5001, 1002), PASSES);
        }
        let known = if half_closed { 1002 } else { 1001 };
        let before = bridge.listing();
        assert_eq!(client(&mut bridge, SYN, 3_000_000_000, 0), PASSES);
        assert_eq!(bridge.listing(), before, "a SYN, which may be forged, changes nothing");
        // The server acknowledges what it knows, the client resets that and tries again.
        assert_eq!(server(&mut bridge, ACK, 5001, known), PASSES);
        assert_eq!(client(&mut bridge, RST, known, 0), PASSES);
        assert_eq!(client(&mut bridge, SYN, 3_000_000_000, 0), PASSES);
        assert_eq!(server(&mut bridge, SYN | ACK, 77, 3_000_000_001), PASSES);
        assert!(bridge.listing()[0].ends_with("SYN_SENT:ESTABLISHED"), "{:?}", bridge.listing());
    }
}

#[test]
fn both_have_forgotten_a_connection_that_the_state_remembers() {
    let mut bridge = Bridge::new("pass in on wan\n");
    connect(&mut bridge);
    assert_eq!(client(&mut bridge, SYN, 3_000_000_000, 0), PASSES);
    assert_eq!(
        server(&mut bridge, SYN | ACK, 2_000_000_000, 3_000_000_001),
        Some(Reason::TcpForgotten)
    );
    assert_eq!(bridge.listing(), [""; 0], "the rules are asked again");
    assert_eq!(client(&mut bridge, SYN, 3_000_000_000, 0), PASSES);
    assert_eq!(server(&mut bridge, SYN | ACK, 2_000_000_000, 3_000_000_001), PASSES);

    let mut refused = Bridge::new("pass in on wan\n");
    connect(&mut refused);
    assert_eq!(client(&mut refused, SYN, 3_000_000_000, 0), PASSES);
    assert_eq!(server(&mut refused, RST | ACK, 0, 3_000_000_001), PASSES);
    assert_eq!(refused.listing(), [""; 0]);
}

#[test]
fn late_duplicates_of_a_handshake_do_not_end_its_connection() {
    let mut bridge = Bridge::new("pass in on wan\n");
    connect(&mut bridge);
    for i in 0..100 {
        let data =
            build::tcp(SERVER, CLIENT, ACK).seq(5001 + i * 1400).ack(1001).payload(&[0; 1400]);
        assert_eq!(bridge.send(LAN, &data.frame()), PASSES);
        assert_eq!(client(&mut bridge, ACK, 1001, 5001 + (i + 1) * 1400), PASSES);
    }
    assert_eq!(client(&mut bridge, SYN, 1000, 0), PASSES);
    assert_eq!(server(&mut bridge, SYN | ACK, 5000, 1001), Some(Reason::TcpBadSynAck));
    assert!(bridge.listing()[0].ends_with("ESTABLISHED:ESTABLISHED"));
}

#[test]
fn a_stranger_cannot_answer_for_the_responder() {
    let mut bridge = Bridge::new("pass in on wan\n");
    connect(&mut bridge);
    assert_eq!(client(&mut bridge, SYN, 3_000_000_000, 0), PASSES);
    for (flags, ack) in
        [(SYN | ACK, 3_000_000_002), (RST | ACK, 3_000_000_000), (RST, 3_000_000_001)]
    {
        assert!(server(&mut bridge, flags, 0, ack).is_some());
    }
    assert!(bridge.listing()[0].ends_with("ESTABLISHED:ESTABLISHED"));
}

#[test]
fn the_server_remembers_a_connection_that_nobody_else_does() {
    let mut bridge = Bridge::new("pass in on wan\n");
    assert_eq!(client(&mut bridge, SYN, 1000, 0), PASSES);
    let before = bridge.listing();
    assert_eq!(server(&mut bridge, ACK, 5_000_000, 4_000_000_000), PASSES);
    assert_eq!(client(&mut bridge, RST, 4_000_000_000, 0), PASSES);
    assert_eq!(bridge.listing(), before);
    // But nothing with data, and no RST of the wrong side.
    let data = build::tcp(SERVER, CLIENT, ACK).seq(5_000_000).ack(4_000_000_000).payload(b"x");
    assert_eq!(bridge.send(LAN, &data.frame()), Some(Reason::TcpBadAck));
    assert_eq!(server(&mut bridge, RST, 7, 0), Some(Reason::TcpBadReset));
    assert_eq!(server(&mut bridge, RST | ACK, 0, 1002), Some(Reason::TcpBadReset));
    assert_eq!(bridge.listing(), before);
    assert_eq!(server(&mut bridge, RST | ACK, 0, 1001), PASSES);
    assert!(bridge.listing()[0].ends_with("TIME_WAIT:TIME_WAIT"));
}

#[test]
fn a_repeated_syn_may_be_refused_without_a_sequence_number() {
    let mut bridge = Bridge::new("pass in on wan\n");
    assert_eq!(client(&mut bridge, SYN, 1000, 0), PASSES);
    assert_eq!(server(&mut bridge, SYN | ACK, 5000, 1001), PASSES);
    assert_eq!(client(&mut bridge, SYN, 1000, 0), PASSES);
    assert_eq!(server(&mut bridge, RST | ACK, 0, 900_000), Some(Reason::TcpFarReset));
    assert_eq!(server(&mut bridge, RST | ACK, 0, 1001), PASSES);
    assert!(bridge.listing()[0].ends_with("TIME_WAIT:TIME_WAIT"));
}

#[test]
fn fast_open_survives_a_lost_handshake() {
    // RFC 7413: data in the SYN, and more of the server's before the handshake is over.
    let scale = [1, 3, 3, 14, 1, 1, 1, 1];
    let mut bridge = Bridge::new("pass in on wan\n");
    let syn = build::tcp(CLIENT, SERVER, SYN).seq(1000).tcp_options(&scale).payload(&[1; 1000]);
    let answer = build::tcp(SERVER, CLIENT, SYN | ACK).seq(5000).ack(2001).tcp_options(&scale);
    assert_eq!(bridge.send(WAN, &syn.clone().frame()), PASSES);
    assert_eq!(bridge.send(LAN, &answer.clone().frame()), PASSES);
    for i in 0..10 {
        let data = build::tcp(SERVER, CLIENT, ACK).seq(5001 + i * 1400).ack(2001);
        assert_eq!(bridge.send(LAN, &data.payload(&[2; 1400]).frame()), PASSES);
    }
    // The SYN-ACK was lost behind the bridge.
    assert_eq!(bridge.send(WAN, &syn.frame()), PASSES);
    assert_eq!(bridge.send(LAN, &answer.frame()), PASSES);
}

#[test]
fn each_segment_to_a_closed_port_may_be_reset() {
    let mut bridge = Bridge::new("pass in on wan\n");
    connect(&mut bridge);
    let data = build::tcp(CLIENT, SERVER, ACK).seq(1001).ack(5001).payload(&[0; 3000]);
    assert_eq!(bridge.send(WAN, &data.frame()), PASSES);
    assert_eq!(client(&mut bridge, RST, 4001, 0), PASSES);
    // Data of the server that was on its way acknowledged less.
    assert_eq!(server(&mut bridge, ACK, 5001, 1001), PASSES);
    assert_eq!(client(&mut bridge, RST, 1001, 0), PASSES);
}
