use super::states::{Role, TABLE, event};
use super::*;
use crate::reason::Reason;

fn segment(flags: u8, seq: u32, ack: u32, window: u16, payload: u32) -> Segment {
    Segment { header: Tcp { seq, ack, window, flags, header: 20 }, payload, scale: None }
}

fn syn(flags: u8, seq: u32, ack: u32, scale: Option<u8>) -> Segment {
    Segment { scale, ..segment(flags, seq, ack, 64_240, 0) }
}

const CLIENT: usize = 0;
const SERVER: usize = 1;
const ACK: u8 = flags::ACK;
const SYN: u8 = flags::SYN;
const FIN: u8 = flags::FIN;
const RST: u8 = flags::RST;

/// A connection after its handshake; the next bytes are 1001 and 5001.
fn established(scale: Option<u8>) -> [Peer; 2] {
    let mut peers = [Peer::default(); 2];
    assert_eq!(begin(&mut peers, &syn(SYN, 1000, 0, scale)), Timeout::TcpFirst);
    let answered = track(&mut peers, SERVER, &syn(SYN | ACK, 5000, 1001, scale));
    assert_eq!(answered, Ok(Timeout::TcpOpening));
    let done = track(&mut peers, CLIENT, &segment(ACK, 1001, 5001, 502, 0));
    assert_eq!(done, Ok(Timeout::TcpEstablished));
    assert!(is_proven(&peers));
    peers
}

fn states(peers: &[Peer; 2]) -> (PeerState, PeerState) {
    (PeerState::of(&peers[CLIENT]), PeerState::of(&peers[SERVER]))
}

#[test]
fn client_closes_first() {
    let mut peers = established(Some(7));
    let steps = [
        (CLIENT, FIN | ACK, 1001, 5001, (Closing, Established), Timeout::TcpClosing),
        (SERVER, ACK, 5001, 1002, (FinWait2, Established), Timeout::TcpClosing),
        (SERVER, FIN | ACK, 5001, 1002, (FinWait2, Closing), Timeout::TcpFinWait),
        (CLIENT, ACK, 1002, 5002, (FinWait2, FinWait2), Timeout::TcpClosed),
    ];
    for (from, flags, seq, ack, expected, timeout) in steps {
        assert_eq!(track(&mut peers, from, &segment(flags, seq, ack, 502, 0)), Ok(timeout));
        assert_eq!(states(&peers), expected);
    }
    assert!(is_over(&peers));
}

#[test]
fn an_old_ack_does_not_acknowledge_a_fin() {
    let mut peers = established(Some(7));
    track(&mut peers, CLIENT, &segment(FIN | ACK, 1001, 5001, 502, 100)).unwrap();
    track(&mut peers, SERVER, &segment(ACK, 5001, 1101, 502, 0)).unwrap();
    assert_eq!(states(&peers), (Closing, Established));
    track(&mut peers, SERVER, &segment(ACK, 5001, 1102, 502, 0)).unwrap();
    assert_eq!(states(&peers), (FinWait2, Established));
}

#[test]
fn simultaneous_open_establishes_both() {
    let mut peers = [Peer::default(); 2];
    begin(&mut peers, &syn(SYN, 1000, 0, Some(7)));
    track(&mut peers, SERVER, &syn(SYN, 5000, 0, Some(7))).unwrap();
    assert_eq!(states(&peers), (SynSent, SynSent));
    track(&mut peers, CLIENT, &syn(SYN | ACK, 1000, 5001, Some(7))).unwrap();
    track(&mut peers, SERVER, &syn(SYN | ACK, 5000, 1001, Some(7))).unwrap();
    assert_eq!(states(&peers), (Established, Established));
}

#[test]
fn a_window_is_scaled_only_if_both_offer_it() {
    let peers = established(Some(7));
    assert_eq!(window_scale(&peers[CLIENT]), Some(7));
    // 502 << 7 bytes beyond what was acknowledged.
    assert_eq!(peers[SERVER].seq_hi, 5001 + (502 << 7));

    let mut peers = [Peer::default(); 2];
    begin(&mut peers, &syn(SYN, 1000, 0, Some(7)));
    track(&mut peers, SERVER, &syn(SYN | ACK, 5000, 1001, None)).unwrap();
    track(&mut peers, CLIENT, &segment(ACK, 1001, 5001, 64_240, 0)).unwrap();
    assert_eq!(window_scale(&peers[CLIENT]), None);
    // As advertised, but for the rounding of the SYN's window to the scale.
    assert!((64_240..64_240 + 128).contains(&(peers[SERVER].seq_hi - 5001)));
}

#[test]
fn data_beyond_the_window_is_refused_and_changes_nothing() {
    let mut peers = established(Some(0));
    let before = peers;
    let beyond = segment(ACK, 1001 + 64_240, 5001, 502, 1);
    assert_eq!(track(&mut peers, CLIENT, &beyond), Err(Reason::TcpWindow));
    let old = segment(ACK, 1001_u32.wrapping_sub(70_000), 5001, 502, 1);
    assert_eq!(track(&mut peers, CLIENT, &old), Err(Reason::TcpOld));
    let ahead = segment(ACK, 1001, 5001 + 70_000, 502, 1);
    assert_eq!(track(&mut peers, CLIENT, &ahead), Err(Reason::TcpBadAck));
    assert_eq!(peers, before);
}

#[test]
fn a_refused_answer_leaves_nothing_behind() {
    let mut peers = [Peer::default(); 2];
    begin(&mut peers, &syn(SYN, 1000, 0, Some(7)));
    let before = peers;
    let forged = syn(SYN | ACK, 77, 1001 + 900_000, Some(3));
    assert_eq!(track(&mut peers, SERVER, &forged), Err(Reason::TcpBadSynAck));
    assert_eq!(peers, before);
    assert!(track(&mut peers, SERVER, &syn(SYN | ACK, 5000, 1001, Some(7))).is_ok());
}

#[test]
fn a_reset_must_be_exact() {
    for (offset, expected) in [(0_u32, true), (1, true), (2, false), (1000, false)] {
        let mut peers = established(Some(7));
        let reset = segment(RST, 5001 + offset, 0, 0, 0);
        let result = track(&mut peers, SERVER, &reset);
        assert_eq!(result.is_ok(), expected, "offset {offset}");
        assert_eq!(is_over(&peers), expected);
    }
}

#[test]
fn a_host_that_has_closed_may_reset_with_an_older_number() {
    let mut peers = established(Some(7));
    let late = segment(RST, 1001, 0, 0, 0).header;
    track(&mut peers, CLIENT, &segment(ACK, 1001, 5001, 502, 100)).unwrap();
    assert!(!resets_late(&peers, CLIENT, &late));
    track(&mut peers, CLIENT, &segment(FIN | ACK, 1101, 5001, 502, 0)).unwrap();
    assert!(resets_late(&peers, CLIENT, &late));
    let guessed = segment(RST, 1001 + 10_000_000, 0, 0, 0).header;
    assert!(!resets_late(&peers, CLIENT, &guessed));
}

#[test]
fn a_refused_connection_is_over() {
    let mut peers = [Peer::default(); 2];
    begin(&mut peers, &syn(SYN, 1000, 0, Some(7)));
    assert!(unanswered(&peers));
    let refused = track(&mut peers, SERVER, &segment(RST | ACK, 0, 1001, 0, 0));
    assert_eq!(refused, Ok(Timeout::TcpClosed));
    assert!(is_over(&peers));
}

#[test]
fn a_whole_window_in_flight_does_not_stall() {
    let mut peers = established(Some(7));
    let window: u32 = 502 << 7;
    let mut sent = 0;
    while sent < window {
        let train = (window - sent).min(65_000);
        let data = segment(ACK, 5001 + sent, 1001, 502, train);
        assert!(track(&mut peers, SERVER, &data).is_ok());
        sent += train;
    }
    let more = segment(ACK, 5001 + sent, 1001, 502, 1);
    assert_eq!(track(&mut peers, SERVER, &more), Err(Reason::TcpWindow));
    // The oldest segment again, and ACKs of every byte in between.
    assert!(track(&mut peers, SERVER, &segment(ACK, 5001, 1001, 502, 1448)).is_ok());
    for acked in (0..=window).step_by(1000) {
        let ack = segment(ACK, 1001, 5001 + acked, 502, 0);
        assert!(track(&mut peers, CLIENT, &ack).is_ok());
    }
}

#[test]
fn sequence_numbers_wrap() {
    let mut peers = [Peer::default(); 2];
    begin(&mut peers, &syn(SYN, u32::MAX - 1, 0, Some(7)));
    track(&mut peers, SERVER, &syn(SYN | ACK, u32::MAX, u32::MAX, Some(7))).unwrap();
    track(&mut peers, CLIENT, &segment(ACK, u32::MAX, 0, 502, 5000)).unwrap();
    track(&mut peers, SERVER, &segment(ACK, 0, 4999, 502, 5000)).unwrap();
    assert_eq!(states(&peers), (Established, Established));
    assert_eq!((peers[CLIENT].seq_lo, peers[SERVER].seq_lo), (4999, 5000));
}

#[test]
fn a_connection_from_the_middle_is_judged_loosely() {
    let mut peers = [Peer::default(); 2];
    begin(&mut peers, &segment(ACK, 1_000_000, 9_000_000, 229, 1448));
    for i in 0..50 {
        let data = segment(ACK, 9_000_000 + i * 60_000, 1_001_448, 229, 60_000);
        assert!(track(&mut peers, SERVER, &data).is_ok(), "segment {i}");
    }
    assert_eq!(window_scale(&peers[CLIENT]), None);
}

#[test]
fn errors_may_quote_what_is_in_flight_only() {
    let peers = established(Some(0));
    assert!(quotes(&peers, CLIENT, 1001));
    assert!(!quotes(&peers, CLIENT, 1001 + 70_000));
    assert!(!quotes(&peers, CLIENT, 1001_u32.wrapping_sub(200_000)));
}

#[test]
fn states_never_go_back() {
    for (state, rows) in PeerState::ALL.into_iter().zip(TABLE) {
        for role in [Role::Sender, Role::Receiver] {
            for after in rows[role as usize] {
                assert!(after >= state, "{state:?} {role:?} {after:?}");
            }
        }
    }
}

/// Walks at random through connections and says which cells of the table it came by.
fn walk() -> [[[bool; 8]; 2]; 6] {
    const PLAIN: u8 = flags::PSH;
    const KINDS: [u8; 8] = [PLAIN, SYN, SYN | ACK, ACK, FIN | ACK, RST, RST | ACK, ACK];
    let mut seen = [[[false; 8]; 2]; 6];
    let mut seed = 7_u64;
    let mut draw = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for _ in 0..20_000 {
        let mut peers = [Peer::default(); 2];
        let first = if draw(4) == 0 {
            segment(ACK, 1000, 9000, 502, 10)
        } else {
            syn(SYN, 1000, 0, Some(7))
        };
        begin(&mut peers, &first);
        for _ in 0..12 {
            let from = draw(2) as usize;
            let (source, other) = (peers[from], peers[1 - from]);
            let flags = KINDS[draw(8) as usize];
            let seq = source.seq_lo.wrapping_sub(draw(2) as u32);
            let ack = other.seq_lo.wrapping_sub(draw(2) as u32);
            let sent = Segment { scale: Some(7), ..segment(flags, seq, ack, 502, draw(2) as u32) };
            if track(&mut peers, from, &sent).is_ok() {
                let heard = flags & ACK != 0 && other.scale & HEARD != 0;
                let all = heard && !(ack == 0 && flags & RST != 0) && ack == other.seq_lo;
                let event = event(&sent, all) as usize;
                seen[source.state as usize][Role::Sender as usize][event] = true;
                seen[other.state as usize][Role::Receiver as usize][event] = true;
            }
        }
    }
    seen
}

#[test]
fn every_cell_of_the_table_is_reached_but_those_that_cannot_be() {
    let seen = walk();
    let missed = (0..6)
        .flat_map(|state| {
            (0..2).flat_map(move |role| (0..8).map(move |event| (state, role, event)))
        })
        .filter(|&(state, role, event)| !seen[state][role][event])
        .map(|(state, role, event)| {
            (PeerState::ALL[state], ["sender", "receiver"][role], EVENTS[event])
        })
        .collect::<Vec<_>>();
    // Who was not heard has sent nothing that could be acknowledged.
    assert_eq!(missed, [(Closed, "receiver", "AckAll"), (Closed, "receiver", "FinAckAll")]);
}

const EVENTS: [&str; 8] = ["Plain", "Syn", "SynAck", "Ack", "AckAll", "Fin", "FinAckAll", "Rst"];
