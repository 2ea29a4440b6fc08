//! Attackers who cannot see the traffic, and those who have more addresses than the table has room.

use std::time::Duration;

use weir_engine::frame::{Frames, Owned};
use weir_engine::packet::build;
use weir_engine::packet::tcp::flags::{ACK, FIN, PSH, RST, SYN, URG};
use weir_engine::{Engine, PortIndex, Reason, Verdict};

use crate::bridge::{Bridge, LAN, PASSES, WAN};
use crate::judge::{CLIENT, Host, SERVER, handshake};
use crate::random::Random;

const RULES: &str = "block in\npass in on wan proto tcp to port 80\n";

/// Judges a batch; calls `passed` with each frame that leaves.
fn attack(bridge: &mut Bridge, frames: &mut Owned, mut passed: impl FnMut(Vec<u8>)) {
    let mut verdicts = Vec::new();
    bridge.engines[0].judge(bridge.now, frames, &mut verdicts, &mut bridge.log);
    for (i, verdict) in verdicts.into_iter().enumerate() {
        if let Verdict::Forward(_) = verdict {
            passed(frames.bytes(i));
        }
    }
    frames.clear();
    bridge.log.clear();
}

/// A million segments with the addresses and ports of a connection, or nearly, and random sequence
/// numbers, from either side and from the wrong one: none passes, the connection does not notice. A
/// SYN may pass: the host answers what it does not expect with a challenge (RFC 5961, 4).
#[test]
fn nothing_can_be_injected_blindly() {
    const TRIES: usize = 1_000_000;
    let mut random = Random(1);
    let mut bridge = Bridge::new(RULES);
    assert_eq!(handshake(&mut bridge, CLIENT, SERVER), PASSES);
    let before = bridge.states();
    let mut frames = Owned::new();
    for i in 0..TRIES {
        let (port, from, to): (PortIndex, Host, Host) = random.one_of(&[
            (WAN, CLIENT, SERVER),
            (WAN, CLIENT, SERVER),
            (LAN, SERVER, CLIENT),
            (WAN, SERVER, CLIENT),
            (LAN, CLIENT, SERVER),
        ]);
        let kinds = [SYN, SYN | ACK, RST, RST | ACK, ACK, PSH | ACK, FIN | ACK, FIN | PSH | ACK];
        let flags = random.one_of(&kinds);
        let guessing = flags != SYN && random.below(4) == 0;
        let from = if guessing { (from.0, random.next() as u16) } else { from };
        // A segment without data, SYN, FIN or RST can do nothing.
        let data = flags & (SYN | RST) == 0;
        let segment = build::tcp(from, to, flags)
            .seq(random.next() as u32)
            .ack(if flags & ACK == 0 { 0 } else { random.next() as u32 })
            .window(random.next() as u16)
            .payload(if data { b"malice" } else { b"" });
        frames.push(port, &segment.frame());
        if frames.len() == Engine::BATCH || i + 1 == TRIES {
            attack(&mut bridge, &mut frames, |frame| {
                assert_eq!(frame[47], SYN, "{frame:02x?} passed");
            });
        }
    }
    assert!(bridge.counters().judged >= TRIES as u64);
    let after = bridge.states();
    assert_eq!(after.len(), 1);
    assert_eq!(after[0].peers, before[0].peers, "the connection has noticed");
    let more = build::tcp(CLIENT, SERVER, PSH | ACK).seq(1001).ack(5001).payload(b"hello").frame();
    assert_eq!(bridge.send(WAN, &more), PASSES);
    let answer = build::tcp(SERVER, CLIENT, FIN | ACK).seq(5001).ack(1006).frame();
    assert_eq!(bridge.send(LAN, &answer), PASSES);
    let last = build::tcp(CLIENT, SERVER, FIN | ACK).seq(1006).ack(5002).frame();
    assert_eq!(bridge.send(WAN, &last), PASSES);
}

/// What scanners send in place of a SYN passes nowhere, and makes no state.
#[test]
fn scans_learn_nothing() {
    let mut bridge = Bridge::new("pass\n");
    for flags in [ACK, FIN, 0, FIN | PSH | URG, FIN | ACK, RST, SYN | ACK, SYN | FIN, URG] {
        for port in 0..1024 {
            let probe = build::tcp(CLIENT, (SERVER.0, port), flags).frame();
            let reason = bridge.send(WAN, &probe);
            let expected = [Reason::TcpNoState, Reason::TcpFlags];
            assert!(
                reason.is_some_and(|reason| expected.contains(&reason)),
                "{flags:#x}: {reason:?}"
            );
        }
    }
    assert_eq!(bridge.states(), []);
}

/// A client that keeps working; its bytes are the same in every round but for the ports.
struct Worker {
    port: u16,
    requests: u32,
}

impl Worker {
    /// A whole TCP connection and a question by UDP, each frame of it behind a burst of the flood.
    fn round(&mut self, bridge: &mut Bridge, mut flood: impl FnMut(&mut Bridge)) {
        self.port = self.port.wrapping_add(1).max(1024);
        self.requests += 1;
        let (client, server): (Host, Host) = ((CLIENT.0, self.port), SERVER);
        let there = |flags, seq, ack| build::tcp(client, server, flags).seq(seq).ack(ack);
        let back = |flags, seq, ack| build::tcp(server, client, flags).seq(seq).ack(ack);
        for (port, frame) in [
            (WAN, there(SYN, 1000, 0)),
            (LAN, back(SYN | ACK, 5000, 1001)),
            (WAN, there(ACK, 1001, 5001)),
            (WAN, there(PSH | ACK, 1001, 5001).payload(b"GET /\r\n")),
            (LAN, back(PSH | ACK, 5001, 1008).payload(b"page")),
            (LAN, back(FIN | ACK, 5005, 1008)),
            (WAN, there(FIN | ACK, 1008, 5006)),
            (LAN, back(ACK, 5006, 1009)),
            (WAN, build::udp(client, (SERVER.0, 53)).payload(b"?")),
            (LAN, build::udp((SERVER.0, 53), client).payload(b"!")),
        ] {
            flood(bridge);
            let seen = bridge.send(port, &frame.frame());
            assert_eq!(seen, PASSES, "request {}, {frame:?}", self.requests);
        }
    }
}

/// Every address of a /16 sends SYNs, datagrams and pings that nobody answers, thirty between any two
/// frames of a client; the table has room for a thousand. The client's requests all succeed, an old
/// connection lives on, and afterwards nothing is left.
#[test]
fn a_flood_from_a_whole_network_disturbs_nobody() {
    let rules = "set limit states 1000\nset timeout tcp.closed 1\nblock in\n\
                 pass in on wan proto { tcp udp icmp }\n";
    let mut bridge = Bridge::new(rules);
    let mut random = Random(2);
    let old = ([192, 0, 2, 77], 7777);
    assert_eq!(handshake(&mut bridge, old, SERVER), PASSES);
    let mut worker = Worker { port: 20_000, requests: 0 };
    for _ in 0..300 {
        worker.round(&mut bridge, |bridge| {
            for _ in 0..30 {
                let [high, low] = (random.next() as u16).to_be_bytes();
                let source = ([10, 7, high, low], random.next() as u16);
                let target = (SERVER.0, random.next() as u16 | 1);
                let frame = match random.below(4) {
                    0 => build::udp(source, target).payload(b"x"),
                    1 => build::echo(source.0, target.0, random.next() as u16, 1),
                    _ => build::tcp(source, target, SYN).seq(random.next() as u32),
                };
                bridge.judge(WAN, &frame.frame());
                bridge.log.clear();
            }
            assert!(bridge.shared.states() <= 1000);
        });
        bridge.wait(Duration::from_millis(100));
    }
    assert!(bridge.counters().evictions > 50_000, "{}", bridge.counters().evictions);
    let alive = build::tcp(old, SERVER, ACK).seq(1001).ack(5001).payload(b"still here").frame();
    assert_eq!(bridge.send(WAN, &alive), PASSES);
    bridge.wait(Duration::from_secs(90_000));
    assert_eq!(bridge.shared.states(), 0);
    let counters = bridge.counters();
    assert_eq!(counters.inserts, counters.removals);
}
