//! `max-idle` and `min-rate`: what counts as progress, when a connection without it ends, and who hears
//! of that.

use std::net::SocketAddr;
use std::time::Duration;

use weir_engine::frame::Owned;
use weir_engine::packet::tcp::flags::{ACK, FIN, PSH, RST, SYN};
use weir_engine::packet::{Packet, Transport, build};
use weir_engine::{Frames, PortIndex, Reason};

use crate::bridge::{Bridge, LAN, PASSES, WAN, compile};

const IDLE: &str = "pass in on wan proto tcp keep state (max-idle 30)\n";
const RATE: &str = "pass in on wan proto tcp keep state (min-rate 500/20)\n";
/// A tick of the wheel.
const TICK: Duration = Duration::from_millis(125);

/// Both ends of a connection, as they would number what they send.
#[derive(Clone, Copy)]
struct Pair {
    client: SocketAddr,
    server: SocketAddr,
    /// What each sends next.
    next: [u32; 2],
    /// What each has acknowledged.
    taken: [u32; 2],
}

impl Pair {
    /// Connects.
    fn new(bridge: &mut Bridge, port: u16) -> Self {
        Self::between(
            bridge,
            SocketAddr::from(([192, 0, 2, 1], port)),
            SocketAddr::from(([198, 51, 100, 2], 80)),
        )
    }

    fn between(bridge: &mut Bridge, client: SocketAddr, server: SocketAddr) -> Self {
        let mut pair = Self { client, server, next: [1000, 5000], taken: [0, 0] };
        assert_eq!(pair.client(bridge, SYN, b""), PASSES);
        pair.taken[1] = 1001;
        assert_eq!(pair.server(bridge, SYN | ACK, b""), PASSES);
        pair.taken[0] = 5001;
        assert_eq!(pair.client(bridge, ACK, b""), PASSES);
        pair
    }

    fn segment(&self, from: usize, flags: u8) -> build::Build {
        let ends = [self.client, self.server];
        let ack = if flags & ACK == 0 { 0 } else { self.taken[from] };
        let segment = build::tcp(ends[from], ends[1 - from], flags);
        let macs = [build::SOURCE_MAC, build::DESTINATION_MAC];
        segment.macs(macs[from], macs[1 - from]).seq(self.next[from]).ack(ack)
    }

    fn send(&mut self, bridge: &mut Bridge, from: usize, flags: u8, data: &[u8]) -> Option<Reason> {
        let frame = self.segment(from, flags).payload(data).frame();
        let control = u32::from(flags & (SYN | FIN) != 0);
        self.next[from] = self.next[from].wrapping_add(data.len() as u32 + control);
        bridge.send([WAN, LAN][from], &frame)
    }

    fn client(&mut self, bridge: &mut Bridge, flags: u8, data: &[u8]) -> Option<Reason> {
        self.send(bridge, 0, flags, data)
    }

    fn server(&mut self, bridge: &mut Bridge, flags: u8, data: &[u8]) -> Option<Reason> {
        self.send(bridge, 1, flags, data)
    }

    /// An end acknowledges so many bytes more.
    fn acknowledge(&mut self, bridge: &mut Bridge, from: usize, bytes: u32) -> Option<Reason> {
        self.taken[from] = self.taken[from].wrapping_add(bytes);
        self.send(bridge, from, ACK, b"")
    }

    /// The client sends, and the server takes it.
    fn say(&mut self, bridge: &mut Bridge, bytes: usize) {
        assert_eq!(self.client(bridge, PSH | ACK, &vec![7; bytes]), PASSES);
        assert_eq!(self.acknowledge(bridge, 1, bytes as u32), PASSES);
    }

    /// The frames that reset it: to the server, to the client.
    fn resets(&self) -> Vec<(PortIndex, Vec<u8>)> {
        let bare = |from: usize| {
            let segment = self.segment(from, RST).seq(self.taken[1 - from]).window(0);
            segment.frame()
        };
        vec![(LAN, bare(0)), (WAN, bare(1))]
    }
}

fn ended(bridge: &Bridge, reason: Reason) -> u64 {
    bridge.counters().reasons[reason as usize]
}

/// What weir has made itself.
fn made(bridge: &mut Bridge) -> Vec<(PortIndex, Vec<u8>)> {
    std::mem::take(&mut bridge.crafted)
}

#[test]
fn an_idle_connection_is_reset_in_its_tick_and_not_before() {
    let mut bridge = Bridge::new(IDLE);
    let mut pair = Pair::new(&mut bridge, 40_000);
    assert_eq!(bridge.states()[0].expires, 30);
    bridge.wait(Duration::from_secs(30));
    assert!(bridge.listing()[0].ends_with("ESTABLISHED:ESTABLISHED"));
    assert!(bridge.crafted.is_empty());
    bridge.wait(TICK);
    assert_eq!(made(&mut bridge), pair.resets());
    assert!(bridge.listing()[0].ends_with("TIME_WAIT:TIME_WAIT"));
    assert_eq!(ended(&bridge, Reason::MaxIdle), 1);
    // One of the RSTs was lost.
    assert_eq!(pair.client(&mut bridge, PSH | ACK, b"late"), Some(Reason::AfterReset));
    let answer = pair.segment(1, RST).seq(5001).window(0).frame();
    assert_eq!(bridge.frame, answer);
    // It may try again, from the same port.
    let again = Pair::new(&mut bridge, 40_000);
    assert!(bridge.listing()[0].ends_with("ESTABLISHED:ESTABLISHED"));
    bridge.wait(Duration::from_secs(31));
    assert_eq!(made(&mut bridge), again.resets());
    assert_eq!(ended(&bridge, Reason::MaxIdle), 2);
    bridge.wait(Duration::from_secs(91));
    assert_eq!(bridge.shared.states(), 0);
}

#[test]
fn only_what_is_acknowledged_for_the_first_time_is_progress() {
    type Way = fn(&mut Pair, &mut Bridge);
    let without: [(&str, Way); 6] = [
        ("nothing", |_, _| {}),
        ("keep-alives", |pair, bridge| {
            let alive = pair.segment(0, ACK).seq(pair.next[0] - 1).frame();
            assert_eq!(bridge.send(WAN, &alive), PASSES);
            assert_eq!(pair.acknowledge(bridge, 1, 0), PASSES);
            let filled = pair.segment(1, ACK).seq(pair.next[1] - 1).payload(b"x").frame();
            assert_eq!(bridge.send(LAN, &filled), PASSES);
            assert_eq!(pair.acknowledge(bridge, 0, 0), PASSES);
        }),
        ("window updates", |pair, bridge| {
            for window in [0, 1000] {
                let update = pair.segment(0, ACK).window(window).frame();
                assert_eq!(bridge.send(WAN, &update), PASSES);
            }
        }),
        ("the same data again", |pair, bridge| {
            let data = pair.segment(1, PSH | ACK).payload(&[1; 600]).frame();
            assert_eq!(bridge.send(LAN, &data), PASSES);
        }),
        ("data that nobody takes", |pair, bridge| {
            assert_eq!(pair.server(bridge, PSH | ACK, &[1; 600]), PASSES);
            assert_eq!(pair.acknowledge(bridge, 0, 0), PASSES);
        }),
        ("acknowledgements of what was never sent", |pair, bridge| {
            let ahead = pair.segment(0, ACK).ack(pair.next[1] + 1000).frame();
            assert_eq!(bridge.send(WAN, &ahead), PASSES);
        }),
    ];
    for (name, way) in without {
        let mut bridge = Bridge::new(IDLE);
        let mut pair = Pair::new(&mut bridge, 40_000);
        for _ in 0..6 {
            bridge.wait(Duration::from_secs(5));
            way(&mut pair, &mut bridge);
        }
        assert_eq!(ended(&bridge, Reason::MaxIdle), 0, "{name}");
        bridge.wait(TICK);
        assert_eq!(ended(&bridge, Reason::MaxIdle), 1, "{name}");
    }
    let with: [(&str, Way); 3] = [
        ("data", |pair, bridge| pair.say(bridge, 1)),
        ("an acknowledgement of data of before", |pair, bridge| {
            assert_eq!(pair.acknowledge(bridge, 0, 1), PASSES);
        }),
        ("a FIN that is acknowledged", |pair, bridge| {
            if pair.next[0] == 1001 {
                assert_eq!(pair.client(bridge, FIN | ACK, b""), PASSES);
                assert_eq!(pair.acknowledge(bridge, 1, 1), PASSES);
            }
        }),
    ];
    for (name, way) in with {
        let mut bridge = Bridge::new(IDLE);
        let mut pair = Pair::new(&mut bridge, 40_000);
        assert_eq!(pair.server(&mut bridge, PSH | ACK, &[1; 600]), PASSES);
        bridge.wait(Duration::from_secs(30));
        way(&mut pair, &mut bridge);
        bridge.wait(Duration::from_secs(30));
        assert_eq!(ended(&bridge, Reason::MaxIdle), 0, "{name}");
        bridge.wait(TICK);
        assert_eq!(ended(&bridge, Reason::MaxIdle), 1, "{name}");
    }
}

#[test]
fn a_packet_that_comes_too_late_ends_the_connection_itself() {
    let mut bridge = Bridge::new(IDLE);
    let mut pair = Pair::new(&mut bridge, 40_000);
    let resets = pair.resets();
    // The wheel has not come by.
    bridge.now = bridge.now.after(Duration::from_secs(30) + TICK);
    assert_eq!(pair.client(&mut bridge, PSH | ACK, b"GET /"), Some(Reason::MaxIdle));
    assert_eq!(made(&mut bridge), resets);
    assert_eq!(ended(&bridge, Reason::MaxIdle), 1);
}

#[test]
fn a_slow_header_ends_where_its_period_does() {
    for (bytes, reset) in [(499, true), (500, false)] {
        let mut bridge = Bridge::new(RATE);
        let mut pair = Pair::new(&mut bridge, 40_000);
        // As long as nobody has said anything nothing is demanded.
        bridge.wait(Duration::from_secs(1000));
        pair.say(&mut bridge, 1);
        for _ in 0..bytes - 1 {
            bridge.wait(Duration::from_millis(20));
            pair.say(&mut bridge, 1);
        }
        bridge.wait(Duration::from_millis(20_000 - 20 * (bytes - 1)));
        assert_eq!(ended(&bridge, Reason::MinRate), 0);
        assert_eq!(bridge.states()[0].expires, 0);
        bridge.wait(TICK);
        assert_eq!(ended(&bridge, Reason::MinRate), u64::from(reset));
        let expected = if reset { pair.resets() } else { Vec::new() };
        assert_eq!(made(&mut bridge), expected);
        // The next period follows at once, and has nothing of the one before.
        bridge.wait(Duration::from_secs(20));
        assert_eq!(ended(&bridge, Reason::MinRate), u64::from(reset));
        bridge.wait(TICK);
        assert_eq!(ended(&bridge, Reason::MinRate), 1);
    }
}

#[test]
fn a_connection_may_rest_between_two_exchanges_for_as_long_as_it_likes() {
    let mut bridge = Bridge::new(RATE);
    let mut pair = Pair::new(&mut bridge, 40_000);
    for _ in 0..50 {
        // A keystroke, an echo.
        bridge.wait(Duration::from_secs(97));
        pair.say(&mut bridge, 1);
        assert_eq!(pair.server(&mut bridge, PSH | ACK, b"x"), PASSES);
        assert_eq!(pair.acknowledge(&mut bridge, 0, 1), PASSES);
        // The server says something by itself.
        bridge.wait(Duration::from_secs(97));
        assert_eq!(pair.server(&mut bridge, PSH | ACK, b"news"), PASSES);
        assert_eq!(pair.acknowledge(&mut bridge, 0, 4), PASSES);
        // Both are alive.
        let alive = pair.segment(1, ACK).seq(pair.next[1] - 1).frame();
        assert_eq!(bridge.send(LAN, &alive), PASSES);
        assert_eq!(pair.acknowledge(&mut bridge, 0, 0), PASSES);
    }
    assert!(bridge.listing()[0].ends_with("ESTABLISHED:ESTABLISHED"));
}

#[test]
fn rests_in_between_win_no_time() {
    let mut bridge = Bridge::new(RATE);
    let mut pair = Pair::new(&mut bridge, 40_000);
    for round in 0..4 {
        assert_eq!(ended(&bridge, Reason::MinRate), 0, "{round}");
        // 5 s of a period, then an answer and a rest.
        pair.say(&mut bridge, 10);
        bridge.wait(Duration::from_secs(5) + TICK);
        assert_eq!(ended(&bridge, Reason::MinRate), u64::from(round == 3));
        if round < 3 {
            assert_eq!(pair.server(&mut bridge, PSH | ACK, b"100 Continue"), PASSES);
            assert_eq!(pair.acknowledge(&mut bridge, 0, 12), PASSES);
            bridge.wait(Duration::from_secs(300));
        }
    }
}

#[test]
fn a_slow_reader_is_reset_before_and_after_its_fin() {
    for half_closed in [false, true] {
        // A shut window, one of a few bytes, and data that is not acknowledged at all.
        for (window, step) in [(0, 10), (100, 10), (0, 0), (65_535, 0)] {
            let mut bridge = Bridge::new(RATE);
            let mut pair = Pair::new(&mut bridge, 40_000);
            pair.say(&mut bridge, 10);
            if half_closed {
                assert_eq!(pair.client(&mut bridge, FIN | ACK, b""), PASSES);
                assert_eq!(pair.acknowledge(&mut bridge, 1, 1), PASSES);
            }
            assert_eq!(pair.server(&mut bridge, PSH | ACK, &[1; 40]), PASSES);
            for _ in 0..4 {
                assert_eq!(ended(&bridge, Reason::MinRate), 0);
                pair.taken[0] += step;
                let slow = pair.segment(0, ACK).window(window).frame();
                assert_eq!(bridge.send(WAN, &slow), PASSES);
                bridge.wait(Duration::from_secs(5));
            }
            assert_eq!(ended(&bridge, Reason::MinRate), 0);
            bridge.wait(TICK);
            assert_eq!(ended(&bridge, Reason::MinRate), 1, "{window} {step}");
            assert_eq!(made(&mut bridge), pair.resets());
        }
    }
}

#[test]
fn a_connection_that_both_have_closed_is_left_alone() {
    let mut bridge = Bridge::new("pass in proto tcp keep state (max-idle 5, min-rate 500/5)\n");
    let mut pair = Pair::new(&mut bridge, 40_000);
    pair.say(&mut bridge, 10);
    assert_eq!(pair.client(&mut bridge, FIN | ACK, b""), PASSES);
    pair.taken[1] += 1;
    assert_eq!(pair.server(&mut bridge, FIN | ACK, b""), PASSES);
    bridge.wait(Duration::from_secs(44));
    assert_eq!(pair.acknowledge(&mut bridge, 0, 1), PASSES);
    assert!(bridge.listing()[0].ends_with("FIN_WAIT_2:FIN_WAIT_2"));
    bridge.wait(Duration::from_secs(91));
    assert_eq!(bridge.listing(), [""; 0]);
    assert!(bridge.crafted.is_empty());
}

#[test]
fn the_frames_know_the_way_to_both_hosts() {
    type Wrap = fn(build::Build) -> build::Build;
    let wraps: [Wrap; 3] =
        [|frame| frame, |frame| frame.vlan(7).vlan(9), |frame| frame.vlan(7).pppoe(0x1234)];
    for wrap in wraps {
        let mut bridge = Bridge::new("pass in proto tcp keep state (max-idle 5)\n");
        let hosts = [1, 2].map(|n| SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, n], 80)));
        let macs = [build::SOURCE_MAC, build::DESTINATION_MAC];
        let segment = |from: usize, flags: u8| {
            build::tcp(hosts[from], hosts[1 - from], flags).macs(macs[from], macs[1 - from])
        };
        for (port, from, flags, seq, ack) in
            [(LAN, 0, SYN, 1000, 0), (WAN, 1, SYN | ACK, 5000, 1001), (LAN, 0, ACK, 1001, 5001)]
        {
            let frame = wrap(segment(from, flags).seq(seq).ack(ack)).frame();
            assert_eq!(bridge.send(port, &frame), PASSES);
        }
        bridge.wait(Duration::from_secs(6));
        let to_responder = wrap(segment(0, RST).seq(1001).window(0));
        let to_initiator = wrap(segment(1, RST).seq(5001).window(0));
        assert_eq!(made(&mut bridge), [(WAN, to_responder.frame()), (LAN, to_initiator.frame())],);
    }
}

#[test]
fn the_frames_find_hosts_that_have_moved() {
    const MOVED: [u8; 6] = [2, 0, 0, 0, 7, 7];
    let hosts = [1, 2].map(|n| SocketAddr::from(([192, 0, 2, n], 80)));
    let macs = [build::SOURCE_MAC, build::DESTINATION_MAC];
    let segment = |from: usize, macs: [[u8; 6]; 2]| {
        build::tcp(hosts[from], hosts[1 - from], ACK)
            .macs(macs[from], macs[1 - from])
            .seq([1001, 5001][from])
            .ack([5001, 1001][from])
    };
    for moved in [0, 1] {
        let mut now = macs;
        now[moved] = MOVED;
        let mut bridge = Bridge::new("pass in proto tcp keep state (max-idle 5)\n");
        let syn = build::tcp(hosts[0], hosts[1], SYN).seq(1000).vlan(7).pppoe(9);
        let answer = build::tcp(hosts[1], hosts[0], SYN | ACK).macs(macs[1], macs[0]);
        let answer = answer.seq(5000).ack(1001).vlan(7).pppoe(9);
        let ack = segment(0, macs).vlan(7).pppoe(9);
        // The line was dialled anew, or another gateway stands in for one.
        let port = [LAN, WAN][moved];
        let from_new = segment(moved, now).vlan(7).pppoe(10);
        for (port, frame) in [(LAN, syn), (WAN, answer), (LAN, ack), (port, from_new)] {
            assert_eq!(bridge.send(port, &frame.frame()), PASSES);
        }
        // What is not inside the window says nothing, though it passes for a probe.
        let forged = segment(0, [[2, 0, 0, 0, 6, 6]; 2]).seq(1 << 30).vlan(7).pppoe(11).frame();
        assert_eq!(bridge.send(LAN, &forged), PASSES);
        bridge.wait(Duration::from_secs(6));
        let reset = |from: usize, seq| {
            build::tcp(hosts[from], hosts[1 - from], RST)
                .macs(now[from], now[1 - from])
                .seq(seq)
                .window(0)
                .vlan(7)
                .pppoe(10)
                .frame()
        };
        assert_eq!(made(&mut bridge), [(WAN, reset(0, 1001)), (LAN, reset(1, 5001))]);
    }
}

#[test]
fn translated_numbers_are_those_that_each_host_knows() {
    let mut bridge = Bridge::new("pass in proto tcp modulate state (max-idle 5)\n");
    let seq_of = |frame: &[u8]| u32::from_be_bytes(frame[38..42].try_into().unwrap());
    let mut pair = Pair {
        client: SocketAddr::from(([192, 0, 2, 1], 700)),
        server: SocketAddr::from(([198, 51, 100, 2], 80)),
        next: [1000, 5000],
        taken: [0, 0],
    };
    assert_eq!(pair.client(&mut bridge, SYN, b""), PASSES);
    pair.taken[1] = seq_of(&bridge.frame).wrapping_add(1);
    assert_eq!(pair.server(&mut bridge, SYN | ACK, b""), PASSES);
    pair.taken[0] = seq_of(&bridge.frame).wrapping_add(1);
    assert_eq!(pair.client(&mut bridge, ACK, b""), PASSES);
    pair.say(&mut bridge, 100);
    assert!(pair.taken[0] != pair.next[1] && pair.taken[1] != pair.next[0]);
    bridge.wait(Duration::from_secs(6));
    assert_eq!(made(&mut bridge), pair.resets());
}

#[test]
fn thousands_that_fail_in_one_tick_are_all_reset() {
    for workers in [1, 3] {
        let mut bridge = Bridge::with_workers(IDLE, workers);
        for port in 0..3000 {
            Pair::new(&mut bridge, 10_000 + port);
        }
        bridge.wait(Duration::from_secs(31));
        assert_eq!(ended(&bridge, Reason::MaxIdle), 3000);
        assert_eq!(ended(&bridge, Reason::OutputFull), 0);
        let resets = made(&mut bridge);
        assert_eq!(resets.len(), 6000);
        for (port, bytes) in resets {
            let mut frames = Owned::new();
            frames.push(port, &bytes);
            let packet = Packet::parse(frames.head(0), &frames.meta(0)).unwrap();
            let Transport::Tcp(header) = packet.transport else { panic!("{packet:?}") };
            let seq = if port == LAN { 1001 } else { 5001 };
            assert_eq!((header.flags, header.seq), (RST, seq));
        }
    }
}

#[test]
fn failures_count_for_the_rule_and_slow_ones_for_overload() {
    let rules = "pass in on wan proto tcp \
                 keep state (max-idle 30, min-rate 500/20, overload <slow> flush)\n";
    let program = compile(rules);
    let mut bridge = Bridge::without_rules(1);
    drop(bridge.engines[0].install(bridge.now, program.clone(), std::sync::Arc::default()));
    Pair::new(&mut bridge, 1);
    bridge.wait(Duration::from_secs(31));
    assert!(bridge.shared.sources().overload().is_none(), "it may have left");
    assert!(!bridge.engines[0].take_reported());
    let mut pair = Pair::new(&mut bridge, 2);
    pair.say(&mut bridge, 10);
    bridge.wait(Duration::from_secs(21));
    assert!(bridge.engines[0].take_reported());
    let report = bridge.shared.sources().overload().expect("a report");
    assert_eq!((report.address, report.reason), (pair.client.ip(), Reason::MinRate));
    let limits = program.limits(0).expect("the rule has some");
    let refused: Vec<_> = limits.refused().filter(|(_, count)| *count > 0).collect();
    assert_eq!(refused, [(Reason::MaxIdle, 1), (Reason::MinRate, 1)]);
    bridge.shared.sources().admit_again(&report);
    bridge.forget_states();
    assert_eq!(bridge.shared.sources().used(), 0);
}

#[test]
fn both_rules_may_demand_something() {
    let rules = "pass in on wan proto tcp keep state (max-idle 30)\n\
                 pass out on lan proto tcp keep state (max-idle 5, min-rate 500/20)\n";
    let mut bridge = Bridge::new(rules);
    let mut pair = Pair::new(&mut bridge, 1);
    bridge.wait(Duration::from_secs(20));
    pair.say(&mut bridge, 10);
    assert_eq!(ended(&bridge, Reason::MaxIdle), 0, "the arriving rule says 30");
    bridge.wait(Duration::from_secs(21));
    assert_eq!(ended(&bridge, Reason::MinRate), 1, "and leaves the rate open");
}

#[test]
fn states_keep_what_their_rule_demanded() {
    let mut bridge = Bridge::new(IDLE);
    Pair::new(&mut bridge, 1);
    bridge.load("pass in on wan proto tcp\n");
    Pair::new(&mut bridge, 2);
    bridge.wait(Duration::from_secs(31));
    assert_eq!(ended(&bridge, Reason::MaxIdle), 1);
    let mut states: Vec<_> = bridge.states().iter().map(|state| state.peers[0].state).collect();
    states.sort_unstable();
    assert_eq!(states, ["ESTABLISHED", "TIME_WAIT"]);
}

#[test]
fn sloppy_counts_data_as_it_comes() {
    let mut bridge = Bridge::new("pass in proto tcp keep state (sloppy, max-idle 30)\n");
    let mut pair = Pair::new(&mut bridge, 1);
    bridge.wait(Duration::from_secs(20));
    assert_eq!(pair.client(&mut bridge, PSH | ACK, b"x"), PASSES);
    bridge.wait(Duration::from_secs(30));
    assert_eq!(ended(&bridge, Reason::MaxIdle), 0);
    assert_eq!(pair.client(&mut bridge, ACK, b""), PASSES);
    bridge.wait(TICK);
    assert_eq!(ended(&bridge, Reason::MaxIdle), 1);
}
