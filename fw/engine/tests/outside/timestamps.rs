//! `scrub (reassemble tcp)`: time to live and timestamps of TCP, seen from both ends.

use std::time::Duration;

use weir_engine::frame::Owned;
use weir_engine::packet::build::{self, Build};
use weir_engine::packet::tcp::flags::{ACK, PSH, RST, SYN};
use weir_engine::packet::{Packet, checksum, tcp};
use weir_engine::{Checksum, Meta, PortIndex, Reason};

use crate::bridge::{Bridge, LAN, PASSES, WAN};
use crate::judge::{CLIENT, SERVER};
use crate::random::Random;

type Segment = fn(u8) -> Build;

const RULES: &str = "match in on wan proto tcp scrub (reassemble tcp)\npass in on wan\n";

/// The option, behind so many bytes that do nothing.
fn option(pad: usize, value: u32, echo: u32) -> Vec<u8> {
    let mut bytes = vec![1; pad];
    bytes.extend([8, 10]);
    bytes.extend(value.to_be_bytes());
    bytes.extend(echo.to_be_bytes());
    bytes
}

/// Timestamps of the frame that left; every checksum in it is right.
fn left(bridge: &Bridge) -> (u32, u32) {
    let length = bridge.frame.len() as u32;
    let meta = Meta { port: WAN, checksum: Checksum::Unknown, gso_size: 0, length };
    let packet = Packet::parse(&bridge.frame, &meta).expect("the frame parses");
    let mut frames = Owned::new();
    frames.push(WAN, &bridge.frame);
    assert!(checksum::verify(&packet, &frames, 0), "{:x?}", bridge.frame);
    let (_, value, echo) = tcp::find_timestamps(&bridge.frame[packet.transport_offset.into()..])
        .next()
        .expect("timestamps");
    (value, echo)
}

/// A connection whose ends have clocks of their own, and see each other's shifted.
struct Connection {
    bridge: Bridge,
    /// By how much the client's and the server's timestamps are shifted.
    shifts: [u32; 2],
    /// Bytes before the option.
    pad: usize,
}

const CLIENT_CLOCK: u32 = 1_000_000;
const SERVER_CLOCK: u32 = u32::MAX - 5;

impl Connection {
    fn new(rules: &str, pad: usize) -> Self {
        let mut it = Self { bridge: Bridge::new(rules), shifts: [0; 2], pad };
        let syn = build::tcp(CLIENT, SERVER, SYN).seq(1000);
        assert_eq!(it.send(WAN, &syn, CLIENT_CLOCK, 0), PASSES);
        let (seen, echo) = left(&it.bridge);
        it.shifts[0] = seen.wrapping_sub(CLIENT_CLOCK);
        assert_eq!(echo, 0);
        let answer = build::tcp(SERVER, CLIENT, SYN | ACK).seq(5000).ack(1001);
        assert_eq!(it.send(LAN, &answer, SERVER_CLOCK, seen), PASSES);
        let (seen, echo) = left(&it.bridge);
        it.shifts[1] = seen.wrapping_sub(SERVER_CLOCK);
        assert_eq!(echo, CLIENT_CLOCK, "the client gets its own clock back");
        assert_eq!(it.client(CLIENT_CLOCK, SERVER_CLOCK), PASSES);
        it
    }

    fn send(&mut self, port: PortIndex, build: &Build, value: u32, echo: u32) -> Option<Reason> {
        let options = option(self.pad, value, echo);
        self.bridge.send(port, &build.clone().tcp_options(&options).frame())
    }

    /// Data of the client at a time of its clock, echoing a time of the server's clock.
    fn client(&mut self, value: u32, echo: u32) -> Option<Reason> {
        let data = build::tcp(CLIENT, SERVER, ACK | PSH).seq(1001).ack(5001).payload(b"x");
        let seen = echo.wrapping_add(self.shifts[1]);
        let verdict = self.send(WAN, &data, value, seen);
        if verdict == PASSES {
            assert_eq!(left(&self.bridge), (value.wrapping_add(self.shifts[0]), echo));
        }
        verdict
    }

    fn server(&mut self, value: u32, echo: u32) -> Option<Reason> {
        let data = build::tcp(SERVER, CLIENT, ACK | PSH).seq(5001).ack(1001).payload(b"y");
        let seen = echo.wrapping_add(self.shifts[0]);
        let verdict = self.send(LAN, &data, value, seen);
        if verdict == PASSES {
            assert_eq!(left(&self.bridge), (value.wrapping_add(self.shifts[1]), echo));
        }
        verdict
    }
}

/// For the table of all reasons.
pub(crate) fn two_of_them() -> Option<Reason> {
    let mut connection = Connection::new(RULES, 2);
    let mut options = option(0, CLIENT_CLOCK, 1);
    options.extend(option(0, CLIENT_CLOCK, 1));
    let data = build::tcp(CLIENT, SERVER, ACK).seq(1001).ack(5001).tcp_options(&options);
    connection.bridge.send(WAN, &data.frame())
}

#[test]
fn both_ends_see_the_others_clock_shifted_and_their_own_as_it_is() {
    for pad in 0..4 {
        let mut connection = Connection::new(RULES, pad);
        let [client, server] = connection.shifts;
        assert!(client != 0 && server != 0 && client != server, "one in 2^32");
        assert_eq!(connection.server(SERVER_CLOCK.wrapping_add(9), CLIENT_CLOCK), PASSES);
        assert_eq!(connection.client(CLIENT_CLOCK + 9, SERVER_CLOCK.wrapping_add(9)), PASSES);
    }
    // Another connection is shifted otherwise; without the option none is.
    let other = Connection::new("pass\n", 2);
    assert_eq!(other.shifts, [0, 0]);
}

#[test]
fn timestamps_that_cannot_be_of_the_connection_are_refused() {
    let mut connection = Connection::new(RULES, 2);
    assert_eq!(connection.server(SERVER_CLOCK.wrapping_add(100), CLIENT_CLOCK), PASSES);
    assert_eq!(connection.client(CLIENT_CLOCK + 100, SERVER_CLOCK.wrapping_add(100)), PASSES);
    assert_eq!(connection.server(SERVER_CLOCK.wrapping_add(150), CLIENT_CLOCK + 100), PASSES);
    let refused = Some(Reason::TcpTimestamp);
    let echo = SERVER_CLOCK.wrapping_add(150);
    // Older than what the server has echoed: it would not take it (RFC 7323, 5.3).
    assert_eq!(connection.client(CLIENT_CLOCK + 99, echo), refused);
    // Not older than that, but out of order.
    assert_eq!(connection.client(CLIENT_CLOCK + 100, echo), PASSES);
    // Further on than 1,100 Hz can be in 30 s, `tcp.tsdiff`.
    assert_eq!(connection.client(CLIENT_CLOCK + 100 + 33_001, echo), refused);
    // Echoes of what was never sent, before and after.
    assert_eq!(connection.client(CLIENT_CLOCK + 200, echo.wrapping_add(1)), refused);
    assert_eq!(connection.client(CLIENT_CLOCK + 200, SERVER_CLOCK.wrapping_sub(1)), refused);
    // Data without them, where data had them; bare acknowledgements and resets need none.
    let bare = |flags| build::tcp(CLIENT, SERVER, flags).seq(1002).ack(5002);
    assert_eq!(connection.bridge.send(WAN, &bare(ACK).payload(b"z").frame()), refused);
    assert_eq!(connection.bridge.send(WAN, &bare(ACK).frame()), PASSES);
    // Nothing of that has moved what is known: the true one passes, as far on as can be.
    assert_eq!(connection.client(CLIENT_CLOCK + 100 + 33_000, echo), PASSES);
    assert_eq!(connection.bridge.send(WAN, &bare(RST).frame()), PASSES);
}

#[test]
fn the_clocks_may_differ_by_what_is_set() {
    let rules = format!("set timeout tcp.tsdiff 1\n{RULES}");
    let mut connection = Connection::new(&rules, 2);
    assert_eq!(connection.client(CLIENT_CLOCK + 1_101, SERVER_CLOCK), Some(Reason::TcpTimestamp));
    assert_eq!(connection.client(CLIENT_CLOCK + 1_100, SERVER_CLOCK), PASSES);
    connection.bridge.wait(Duration::from_secs(10));
    assert_eq!(connection.client(CLIENT_CLOCK + 13_200, SERVER_CLOCK), PASSES);
    let of_rule = "pass in on wan proto tcp scrub (reassemble tcp) keep state (tcp.tsdiff 2)\n";
    let mut connection = Connection::new(of_rule, 2);
    assert_eq!(connection.client(CLIENT_CLOCK + 2_201, SERVER_CLOCK), Some(Reason::TcpTimestamp));
    assert_eq!(connection.client(CLIENT_CLOCK + 2_200, SERVER_CLOCK), PASSES);
}

#[test]
fn after_a_long_silence_clocks_are_not_compared() {
    let mut connection =
        Connection::new(&format!("set timeout tcp.established 2592000\n{RULES}"), 2);
    let days = |days: u64| Duration::from_secs(days * 24 * 3600);
    connection.bridge.now = connection.bridge.now.after(days(25));
    assert_eq!(connection.client(7, SERVER_CLOCK), PASSES);
}

#[test]
fn the_time_to_live_of_an_end_never_falls() {
    let mut bridge = Bridge::new(RULES);
    let ttl = |bridge: &Bridge| bridge.frame[22];
    let syn = build::tcp(CLIENT, SERVER, SYN).seq(1000);
    assert_eq!(bridge.send(WAN, &syn.clone().ttl(60).frame()), PASSES);
    let answer = build::tcp(SERVER, CLIENT, SYN | ACK).seq(5000).ack(1001);
    assert_eq!(bridge.send(LAN, &answer.ttl(9).frame()), PASSES);
    assert_eq!(ttl(&bridge), 9, "each end has its own");
    for (came, leaves) in [(3, 60), (61, 61), (60, 61)] {
        let ack = build::tcp(CLIENT, SERVER, ACK).seq(1001).ack(5001).ttl(came);
        assert_eq!(bridge.send(WAN, &ack.frame()), PASSES);
        assert_eq!(ttl(&bridge), leaves);
    }
    // What does not fit does not count.
    let stray = build::tcp(CLIENT, SERVER, ACK).seq(9_000_000).ack(5001).ttl(255);
    assert_eq!(bridge.send(WAN, &stray.payload(b"x").frame()), Some(Reason::TcpWindow));
    let ack = build::tcp(CLIENT, SERVER, ACK).seq(1001).ack(5001).ttl(1);
    assert_eq!(bridge.send(WAN, &ack.frame()), PASSES);
    assert_eq!(ttl(&bridge), 61);
}

#[test]
fn a_server_without_timestamps_is_left_alone() {
    let mut bridge = Bridge::new(RULES);
    let syn = build::tcp(CLIENT, SERVER, SYN).seq(1000).tcp_options(&option(2, 5, 0));
    assert_eq!(bridge.send(WAN, &syn.frame()), PASSES);
    let answer = build::tcp(SERVER, CLIENT, SYN | ACK).seq(5000).ack(1001).frame();
    assert_eq!(bridge.send(LAN, &answer), PASSES);
    assert_eq!(bridge.frame, answer);
    let data = build::tcp(CLIENT, SERVER, ACK).seq(1001).ack(5001).payload(b"x").frame();
    assert_eq!(bridge.send(WAN, &data), PASSES);
    assert_eq!(bridge.frame, data);
}

#[test]
fn incremental_checksums_are_the_full_ones() {
    let mut random = Random(7);
    for n in 0..2_000u16 {
        let mut bridge = Bridge::new(RULES);
        let pad = random.below(5);
        let value = random.below(1 << 32) as u32;
        let client = ([192, 0, 2, random.below(256) as u8], 1024 + n);
        let payload = vec![random.below(256) as u8; random.below(9)];
        let mut options = option(pad, value, 0);
        // What stands behind, at any alignment.
        options.extend([2, 4, 5, random.below(256) as u8]);
        let build = build::tcp(client, SERVER, SYN).seq(value).tcp_options(&options);
        let frame = build.payload(&payload).frame();
        if bridge.send(WAN, &frame) == PASSES {
            left(&bridge);
        }
    }
}

#[test]
fn a_checksum_that_is_left_to_hardware_stays_so() {
    let mut bridge = Bridge::new(RULES);
    let syn = build::tcp(CLIENT, SERVER, SYN).seq(1000).tcp_options(&option(2, 5, 0));
    let frame = syn.partial().frame();
    let mut frames = Owned::new();
    frames.push(WAN, &frame);
    frames.meta_mut(0).checksum = Checksum::Valid;
    let mut verdicts = Vec::new();
    bridge.engines[0].judge(bridge.now, &mut frames, &mut verdicts, &mut bridge.log);
    let bytes = frames.bytes(0);
    let stamps = |frame: &[u8]| tcp::find_timestamps(&frame[34..]).next().expect("timestamps");
    assert_ne!(stamps(&bytes).1, stamps(&frame).1);
    assert_eq!(bytes[50..52], frame[50..52], "hardware sums up what is there when it sends");
}

#[test]
fn no_fragment_of_a_segment_lives_shorter_than_its_sender_did_before() {
    type Host6 = ([u16; 8], u16);
    const CLIENT6: Host6 = ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 40_000);
    const SERVER6: Host6 = ([0x2001, 0xdb8, 0, 1, 0, 0, 0, 2], 80);
    // Client to server, server to client, and where the time to live stands.
    let families: [(Segment, Segment, usize); 2] = [
        (|flags| build::tcp(CLIENT, SERVER, flags), |flags| build::tcp(SERVER, CLIENT, flags), 22),
        (
            |flags| build::tcp(CLIENT6, SERVER6, flags),
            |flags| build::tcp(SERVER6, CLIENT6, flags),
            21,
        ),
    ];
    for (client, server, ttl) in families {
        let mut bridge = Bridge::new(RULES);
        assert_eq!(bridge.send(WAN, &client(SYN).seq(1000).ttl(60).frame()), PASSES);
        let answer = server(SYN | ACK).seq(5000).ack(1001).frame();
        assert_eq!(bridge.send(LAN, &answer), PASSES);
        let data = client(ACK).seq(1001).ack(5001).payload(&[7; 3000]);
        let fragments = build::fragments(&data.clone().ttl(3).frame(), 9, 1480);
        let out = bridge.feed(WAN, &fragments);
        let wanted = build::fragments(&data.ttl(60).frame(), 9, 1480);
        assert_eq!(out.len(), 3);
        for (judged, wanted) in out.iter().zip(wanted) {
            assert_eq!(judged.bytes[ttl], 60);
            assert_eq!(judged.bytes, wanted);
        }
    }
}
