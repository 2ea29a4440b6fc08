//! Segments that do not fit their connection, and connections without windows.

use weir_engine::Reason;
use weir_engine::packet::build;
use weir_engine::packet::tcp::flags::{ACK, FIN, RST, SYN};

use crate::bridge::{Bridge, LAN, PASSES, WAN};

type Host = ([u8; 4], u16);

const CLIENT: Host = ([192, 0, 2, 1], 40_000);
const SERVER: Host = ([198, 51, 100, 2], 80);

fn client(bridge: &mut Bridge, flags: u8, seq: u32, ack: u32, data: usize) -> Option<Reason> {
    let segment = build::tcp(CLIENT, SERVER, flags).seq(seq).ack(ack).payload(&vec![1; data]);
    bridge.send(WAN, &segment.frame())
}

fn server(bridge: &mut Bridge, flags: u8, seq: u32, ack: u32, data: usize) -> Option<Reason> {
    let segment = build::tcp(SERVER, CLIENT, flags).seq(seq).ack(ack).payload(&vec![2; data]);
    bridge.send(LAN, &segment.frame())
}

/// The client's next byte is 1001, the server's, which has sent 200 kB since, 205001.
fn transfer(bridge: &mut Bridge) {
    assert_eq!(client(bridge, SYN, 1000, 0, 0), PASSES);
    assert_eq!(server(bridge, SYN | ACK, 5000, 1001, 0), PASSES);
    for sent in (5001..205_001).step_by(50_000) {
        assert_eq!(client(bridge, ACK, 1001, sent, 0), PASSES);
        assert_eq!(server(bridge, ACK, sent, 1001, 50_000), PASSES);
    }
}

#[test]
fn what_is_refused_changes_nothing() {
    let mut bridge = Bridge::new("pass in on wan\n");
    transfer(&mut bridge);
    let before = bridge.states()[0].peers;
    for (reason, said) in [
        (Reason::TcpWindow, client(&mut bridge, ACK, 1001 + 64_240, 205_001, 1)),
        (Reason::TcpOld, client(&mut bridge, ACK, 1001_u32.wrapping_sub(70_000), 205_001, 1)),
        (Reason::TcpBadAck, client(&mut bridge, ACK, 1001, 205_001 + 70_000, 0)),
        (Reason::TcpOldAck, client(&mut bridge, ACK, 1001, 5001, 0)),
        (Reason::TcpBadReset, client(&mut bridge, RST, 1003, 0, 0)),
        (Reason::TcpFarReset, client(&mut bridge, RST, 900_000_000, 0, 0)),
        (Reason::TcpBadSyn, server(&mut bridge, SYN, 900_000_000, 0, 0)),
        (Reason::TcpBadSynAck, server(&mut bridge, SYN | ACK, 900_000_000, 1001, 0)),
    ] {
        assert_eq!(said, Some(reason));
    }
    assert_eq!(bridge.states()[0].peers, before);
}

const SLOPPY: &str = "block in\npass in on wan proto tcp flags any keep state (sloppy)\n";

#[test]
fn a_sloppy_state_looks_at_flags_alone() {
    let mut bridge = Bridge::new(SLOPPY);
    assert_eq!(client(&mut bridge, SYN, 1000, 0, 0), PASSES);
    assert_eq!(server(&mut bridge, SYN | ACK, 5000, 1001, 0), PASSES);
    assert_eq!(client(&mut bridge, ACK, 1001, 5001, 0), PASSES);
    assert!(bridge.listing()[0].ends_with("ESTABLISHED:ESTABLISHED"));
    assert_eq!(client(&mut bridge, ACK, 3_000_000_000, 77, 10), PASSES);
    assert_eq!(server(&mut bridge, FIN | ACK, 9, 9, 0), PASSES);
    assert!(bridge.listing()[0].ends_with("CLOSING:ESTABLISHED"));
    assert_eq!(client(&mut bridge, FIN | ACK, 9, 9, 0), PASSES);
    assert_eq!(server(&mut bridge, ACK, 9, 9, 0), PASSES);
    assert!(bridge.listing()[0].ends_with("FIN_WAIT_2:FIN_WAIT_2"));
    // A new connection over it, at once.
    assert_eq!(client(&mut bridge, SYN, 1, 0, 0), PASSES);
    assert!(bridge.listing()[0].ends_with("CLOSED:SYN_SENT"));
}

#[test]
fn a_sloppy_state_needs_one_direction_only() {
    let mut bridge = Bridge::new(SLOPPY);
    assert_eq!(client(&mut bridge, SYN, 1000, 0, 0), PASSES);
    assert_eq!(client(&mut bridge, ACK, 1001, 5001, 0), PASSES);
    assert!(bridge.listing()[0].ends_with("ESTABLISHED:ESTABLISHED"));
    for sent in 0..1000 {
        assert_eq!(client(&mut bridge, ACK, 1001 + sent * 1400, 5001, 1400), PASSES);
    }
    assert_eq!(client(&mut bridge, FIN | ACK, 1_401_001, 5001, 0), PASSES);
    assert_eq!(client(&mut bridge, ACK, 1_401_002, 5002, 0), PASSES);
    assert!(bridge.listing()[0].ends_with("FIN_WAIT_2:CLOSING"));
    // Without `sloppy` the same connection stalls for want of ACKs.
    let mut strict = Bridge::new("block in\npass in on wan proto tcp flags any\n");
    assert_eq!(client(&mut strict, SYN, 1000, 0, 0), PASSES);
    assert!((0..1000).any(|i| client(&mut strict, ACK, 1001 + i * 1400, 5001, 1400).is_some()));
}

#[test]
fn a_refusal_is_told_with_the_state_as_it_was() {
    for (level, told) in [("err", false), ("notice", false), ("info", true), ("debug", true)] {
        let mut bridge = Bridge::new(&format!("set debug {level}\npass in on wan\n"));
        transfer(&mut bridge);
        let before = bridge.states()[0].peers;
        assert_eq!(client(&mut bridge, RST, 1003, 0, 0), Some(Reason::TcpBadReset));
        assert_eq!(bridge.log.len(), usize::from(told), "{level}");
        if let [record] = &bridge.log[..] {
            assert!(record.is_debug);
            assert_eq!(record.reason, Some(Reason::TcpBadReset));
            assert_eq!(record.state.map(|state| state.peers), Some(before));
        }
        // A flood of them is told in part, and not at the cost of the packet log.
        for _ in 0..10_000 {
            assert_eq!(client(&mut bridge, RST, 1003, 0, 0), Some(Reason::TcpBadReset));
        }
        assert_eq!(bridge.log.len(), if told { 100 } else { 0 });
    }
}

#[test]
fn log_all_says_the_state_as_it_was_before_each_packet() {
    let mut bridge = Bridge::new("pass in log (all) on wan\n");
    assert_eq!(client(&mut bridge, SYN, 1000, 0, 0), PASSES);
    let mut expected = None;
    for (from_client, flags, seq, ack) in [
        (false, SYN | ACK, 5000, 1001),
        (true, ACK, 1001, 5001),
        (true, FIN | ACK, 1001, 5001),
        (true, RST, 900_000_000, 0),
    ] {
        assert_eq!(bridge.log.last().expect("logged").state.map(|state| state.peers), expected);
        expected = Some(bridge.states()[0].peers);
        let send = if from_client { client } else { server };
        send(&mut bridge, flags, seq, ack, 0);
    }
    assert_eq!(bridge.log.last().expect("logged").state.map(|state| state.peers), expected);
    assert!(bridge.log.iter().all(|record| !record.is_debug));
}
