//! `synproxy state` and SYN cookies: what the client sees, what the server sees, and what a stranger
//! can do.

use std::net::SocketAddr;
use std::time::Duration;

use weir_engine::frame::Owned;
use weir_engine::packet::tcp::TcpOption;
use weir_engine::packet::tcp::flags::{ACK, FIN, PSH, RST, SYN};
use weir_engine::packet::{Packet, Transport, build, checksum, icmp};
use weir_engine::{Frames, PortIndex, Reason, Verdict};

use crate::bridge::{Bridge, LAN, PASSES, WAN};

const RULES: &str = "block log\npass out\npass in on wan proto tcp to any port 80 synproxy state\n";
/// The sequence number of a SYN that only asks.
const ASKED: u32 = C ^ 1 << 31;
const REFUSED: Option<Reason> = Some(Reason::SynproxyWait);

/// Sequence numbers of the SYN of the client and of the server.
const C: u32 = 1000;
const S: u32 = 5000;

/// Everything that hosts offer, with this timestamp: maximum segment size 1460, window scale 7.
fn full(stamp: u32, echo: u32) -> Vec<u8> {
    let mut options = vec![2, 4, 5, 0xb4, 4, 2, 8, 10];
    options.extend(stamp.to_be_bytes());
    options.extend(echo.to_be_bytes());
    options.extend([1, 3, 3, 7]);
    options
}

fn stamps(stamp: u32, echo: u32) -> Vec<u8> {
    let mut options = vec![1, 1, 8, 10];
    options.extend(stamp.to_be_bytes());
    options.extend(echo.to_be_bytes());
    options
}

const MSS_ONLY: [u8; 4] = [2, 4, 5, 0xb4];

/// A segment as its receiver sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    from: SocketAddr,
    flags: u8,
    seq: u32,
    ack: u32,
    window: u16,
    payload: u32,
    mss: Option<u16>,
    scale: Option<u8>,
    sack: bool,
    stamps: Option<(u32, u32)>,
}

fn seen(port: PortIndex, bytes: &[u8]) -> Seen {
    let mut frames = Owned::new();
    frames.push(port, bytes);
    let packet = Packet::parse(frames.head(0), &frames.meta(0)).expect("a packet");
    assert!(checksum::verify(&packet, &frames, 0), "{packet:?}");
    let Transport::Tcp(header) = packet.transport else { panic!("{packet:?}") };
    let mut seen = Seen {
        from: (packet.source.to_ip(packet.network), packet.source_port).into(),
        flags: header.flags,
        seq: header.seq,
        ack: header.ack,
        window: header.window,
        payload: packet.payload,
        mss: None,
        scale: None,
        sack: false,
        stamps: None,
    };
    for option in packet.tcp_options(frames.head(0)) {
        match option {
            TcpOption::MaximumSegmentSize(mss) => seen.mss = Some(mss),
            TcpOption::WindowScale(scale) => seen.scale = Some(scale),
            TcpOption::SackPermitted => seen.sack = true,
            TcpOption::Timestamps { value, echo } => seen.stamps = Some((value, echo)),
            _ => {}
        }
    }
    seen
}

/// A client and its server, and weir between them.
struct Scene {
    bridge: Bridge,
    client: SocketAddr,
    server: SocketAddr,
    /// The port that the client is on.
    near: PortIndex,
}

impl Scene {
    fn new(rules: &str) -> Self {
        Self::with_workers(rules, 1)
    }

    fn with_workers(rules: &str, workers: u16) -> Self {
        Self {
            bridge: Bridge::with_workers(rules, workers),
            client: ([192, 0, 2, 1], 40_000).into(),
            server: ([198, 51, 100, 2], 80).into(),
            near: WAN,
        }
    }

    const fn far(&self) -> PortIndex {
        PortIndex(1 - self.near.0)
    }

    /// A segment of the client.
    fn up(&self, flags: u8, seq: u32, ack: u32) -> build::Build {
        build::tcp(self.client, self.server, flags).seq(seq).ack(ack)
    }

    /// A segment of the server.
    fn down(&self, flags: u8, seq: u32, ack: u32) -> build::Build {
        build::tcp(self.server, self.client, flags)
            .macs(build::DESTINATION_MAC, build::SOURCE_MAC)
            .seq(seq)
            .ack(ack)
    }

    /// What becomes of a frame that weir lets go on or answers, as its receiver sees it.
    fn judge(&mut self, port: PortIndex, frame: &[u8]) -> (Verdict, Seen) {
        let verdict = self.bridge.judge(port, frame);
        let frame = &self.bridge.frame;
        (verdict, seen(port, frame))
    }

    /// A frame that weir answers: the answer.
    fn answer(&mut self, port: PortIndex, frame: &[u8]) -> Seen {
        let (verdict, seen) = self.judge(port, frame);
        assert_eq!(verdict, Verdict::Answer, "{seen:?}");
        assert!(self.bridge.frame.len() <= frame.len() + 20, "no amplifier");
        seen
    }

    /// A frame that goes on: what its receiver sees.
    fn pass(&mut self, port: PortIndex, frame: &[u8]) -> Seen {
        let (verdict, seen) = self.judge(port, frame);
        assert_eq!(verdict, Verdict::Forward(PortIndex(1 - port.0)), "{seen:?}");
        seen
    }

    /// Why a frame is dropped, if it does not go on.
    fn drop(&mut self, port: PortIndex, frame: &[u8]) -> Option<Reason> {
        match self.bridge.judge(port, frame) {
            Verdict::Forward(_) => None,
            Verdict::Drop(reason) => Some(reason),
            other => panic!("{other:?}: {:?}", seen(port, &self.bridge.frame)),
        }
    }

    /// What weir has sent on its own, and where it leaves.
    fn crafted(&mut self) -> Vec<(PortIndex, Seen)> {
        let made = std::mem::take(&mut self.bridge.crafted);
        made.into_iter().map(|(port, bytes)| (port, seen(port, &bytes))).collect()
    }

    /// The client's SYN with these options: the answer.
    fn syn(&mut self, options: &[u8]) -> Seen {
        let syn = self.up(SYN, C, 0).tcp_options(options).frame();
        self.answer(self.near, &syn)
    }

    /// The ACK to a SYN-ACK, with a window of 512.
    fn ack_of(&self, answer: &Seen, stamp: u32) -> build::Build {
        let ack = self.up(ACK, C + 1, answer.seq.wrapping_add(1)).window(512);
        match answer.stamps {
            Some((value, _)) => ack.tcp_options(&stamps(stamp, value)),
            None => ack,
        }
    }

    /// Handshake of a client with everything that it knows; the server's SYN in the end.
    fn prove(&mut self) -> (Seen, Seen) {
        let answer = self.syn(&full(70, 0));
        let ack = self.ack_of(&answer, 71).frame();
        let asked = self.pass(self.near, &ack);
        (answer, asked)
    }

    /// Teaches weir what the server knows, by a connection that ends.
    fn teach(&mut self) {
        self.prove();
        let told = self.down(SYN | ACK, S, ASKED + 1).tcp_options(&full(900, 71)).frame();
        let reset = self.answer(self.far(), &told);
        assert_eq!((reset.flags, reset.seq), (RST, ASKED + 1));
        let rst = self.up(RST, C + 1, 0).frame();
        self.pass(self.near, &rst);
        assert!(self.bridge.states().is_empty());
        self.bridge.crafted.clear();
    }

    /// A connection over a known server: the SYN-ACK and the update that the client sees.
    fn connect(&mut self) -> (Seen, Seen) {
        let (answer, _) = self.prove();
        let told = self.down(SYN | ACK, S, C + 1).tcp_options(&full(900, 71)).frame();
        let update = self.pass(self.far(), &told);
        (answer, update)
    }
}

/// Both families and both sides of the bridge.
fn scenes(rules: &str) -> Vec<Scene> {
    let v6 = |last, port| SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, last], port));
    let both = rules.replace("in on wan ", "");
    [(WAN, false, 1), (LAN, false, 2), (WAN, true, 3), (LAN, true, 1)]
        .map(|(near, ipv6, workers)| {
            let mut scene = Scene::with_workers(&both, workers);
            scene.near = near;
            if ipv6 {
                (scene.client, scene.server) = (v6(1, 40_000), v6(2, 80));
            }
            scene
        })
        .into()
}

/// Why a segment with these flags that comes from this port is dropped while the server is asked.
pub(crate) fn dropped_while_asking(port: PortIndex, flags: u8) -> Option<Reason> {
    let mut scene = Scene::new(RULES);
    let (answer, _) = scene.prove();
    let segment = if port == WAN {
        scene.up(flags, C + 1, answer.seq.wrapping_add(1))
    } else {
        scene.down(flags, S, 0)
    };
    scene.drop(port, &segment.frame())
}

#[test]
fn a_server_that_is_not_known_is_asked_and_then_connected_to() {
    for mut scene in scenes(RULES) {
        let far = scene.far();
        let (client, server) = (scene.client, scene.server);
        let answer = scene.syn(&full(70, 0));
        let mss = if client.is_ipv4() { 1380 } else { 1360 };
        let expected = Seen {
            from: server,
            flags: SYN | ACK,
            seq: answer.seq,
            ack: C + 1,
            window: 0,
            payload: 0,
            mss: Some(mss),
            scale: None,
            sack: false,
            stamps: None,
        };
        assert_eq!(answer, expected);
        assert_eq!(scene.bridge.shared.states(), 0);
        let listing = scene.bridge.listing();
        assert!(listing.len() == 1 && listing[0].contains("PROXY:SRC"), "{listing:?}");
        let again = scene.syn(&full(70, 0));
        assert_eq!(again, answer, "a SYN that comes again is answered the same");

        // The server is offered everything, to tell what it knows.
        let ack = scene.ack_of(&answer, 71).ttl(61).frame();
        let asked = scene.pass(scene.near, &ack);
        assert_eq!((asked.from, asked.flags, asked.seq, asked.ack), (client, SYN, ASKED, 0));
        assert_eq!((asked.window, asked.scale, asked.sack), (512, Some(0), true));
        assert!(asked.stamps.is_some() && asked.mss == Some(1460));
        assert!(scene.bridge.listing()[0].ends_with("PROXY:DST"), "{:?}", scene.bridge.listing());
        assert_eq!(scene.drop(scene.near, &ack), REFUSED);

        // The answer comes twice: another RST does not hurt. It knows more than the client was told: once more, without.
        let told = scene.down(SYN | ACK, S, ASKED + 1).tcp_options(&full(900, 71)).frame();
        let reset = scene.answer(far, &told);
        assert_eq!((reset.from, reset.flags, reset.seq), (client, RST, ASKED + 1));
        let [(port, asked)] = &scene.crafted()[..] else { panic!() };
        assert_eq!((*port, asked.flags, asked.seq), (far, SYN, C));
        assert_eq!(
            (asked.mss, asked.scale, asked.sack, asked.stamps),
            (Some(1460), None, false, None)
        );
        let told = scene.down(SYN | ACK, S, C + 1).window(8000).tcp_options(&MSS_ONLY).frame();
        let update = scene.pass(far, &told);
        let expected = Seen {
            from: server,
            flags: ACK,
            seq: answer.seq.wrapping_add(1),
            ack: C + 1,
            window: 8000,
            payload: 0,
            mss: None,
            scale: None,
            sack: false,
            stamps: None,
        };
        assert_eq!(update, expected);
        let [(port, ack)] = &scene.crafted()[..] else { panic!() };
        assert_eq!((*port, ack.from, ack.flags), (far, client, ACK));
        assert_eq!((ack.seq, ack.ack, ack.window, ack.stamps), (C + 1, S + 1, 512, None));
        assert!(scene.bridge.listing()[0].ends_with("ESTABLISHED:ESTABLISHED"));

        // Data both ways.
        let get = scene.up(PSH | ACK, C + 1, answer.seq.wrapping_add(1)).payload(b"GET /").frame();
        let got = scene.pass(scene.near, &get);
        assert_eq!((got.seq, got.ack, got.payload), (C + 1, S + 1, 5));
        let page = scene.down(PSH | ACK, S + 1, C + 6).payload(b"hello").frame();
        let got = scene.pass(far, &page);
        assert_eq!((got.seq, got.ack, got.payload), (answer.seq.wrapping_add(1), C + 6, 5));
        assert!(scene.bridge.log.is_empty(), "{:?}", scene.bridge.log);
    }
}

#[test]
fn a_known_server_is_promised_to_the_next_client() {
    for mut scene in scenes(RULES) {
        scene.teach();
        let (answer, asked) = scene.prove();
        assert_eq!((answer.mss, answer.scale, answer.sack), (Some(1460), Some(7), true));
        let (promised, echo) = answer.stamps.unwrap();
        assert_eq!(echo, 70);
        assert_eq!((asked.mss, asked.scale, asked.sack), (Some(1460), Some(7), true));
        assert_eq!((asked.stamps, asked.window), (Some((71, 0)), 65535));

        let told = scene.down(SYN | ACK, S, C + 1).window(64_000).tcp_options(&full(900, 71));
        let update = scene.pass(scene.far(), &told.frame());
        assert_eq!((update.flags, update.seq), (ACK, answer.seq.wrapping_add(1)));
        assert_eq!((update.window, update.stamps), (500, Some((promised, 71))));
        let [(_, ack)] = &scene.crafted()[..] else { panic!() };
        assert_eq!((ack.ack, ack.window, ack.stamps), (S + 1, 512, Some((71, 900))));

        // Clocks, too, are translated.
        let data = scene.down(PSH | ACK, S + 1, C + 1).tcp_options(&stamps(950, 71)).payload(b"x");
        let got = scene.pass(scene.far(), &data.frame());
        assert_eq!(got.stamps, Some((promised.wrapping_add(50), 71)));
        let ack = scene.up(ACK, C + 1, answer.seq.wrapping_add(2));
        let ack = ack.tcp_options(&stamps(80, promised.wrapping_add(50))).frame();
        let got = scene.pass(scene.near, &ack);
        assert_eq!((got.ack, got.stamps), (S + 2, Some((80, 950))));
    }
}

#[test]
fn a_client_is_promised_only_what_it_offers() {
    let mut scene = Scene::new(RULES);
    scene.teach();
    for (options, scale, sack, stamped) in [
        (&MSS_ONLY[..], None, false, false),
        (&[2, 4, 5, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2], Some(7), true, false),
        (&[1, 3, 3, 2], Some(7), false, false),
        (&[1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0], None, false, true),
    ] {
        let answer = scene.syn(options);
        assert_eq!((answer.scale, answer.sack, answer.stamps.is_some()), (scale, sack, stamped));
        let ack = scene.ack_of(&answer, 10).frame();
        let asked = scene.pass(WAN, &ack);
        let mss = if options.starts_with(&[2, 4]) { 1460 } else { 536 };
        assert_eq!(asked.mss, Some(mss));
        assert_eq!((asked.sack, asked.stamps.is_some()), (sack, stamped));
        let rst = scene.up(RST, C + 1, 0).frame();
        scene.pass(WAN, &rst);
    }
}

#[test]
fn windows_are_rescaled_for_a_client_that_was_promised_another_scale() {
    let mut scene = Scene::new(RULES);
    scene.teach();
    let (answer, _) = scene.prove();
    let mut options = full(900, 71);
    *options.last_mut().unwrap() = 9;
    let told = scene.down(SYN | ACK, S, C + 1).window(64_000).tcp_options(&options).frame();
    assert_eq!(scene.pass(LAN, &told).window, 500);
    for (window, shown) in [(100, 400), (20_000, 65_535)] {
        let data = scene.down(ACK, S + 1, C + 1).window(window).tcp_options(&stamps(901, 71));
        assert_eq!(scene.pass(LAN, &data.frame()).window, shown);
    }
    assert_eq!(answer.scale, Some(7));
    scene.client.set_port(40_001);
    assert_eq!(scene.syn(&full(70, 0)).scale, Some(9), "the next one is promised this");
}

#[test]
fn a_server_that_lacks_what_was_promised_ends_the_connection_and_is_forgotten() {
    let without_sack: &[u8] = &[2, 4, 5, 0xb4, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 1, 1, 3, 3, 7];
    let without_stamps: &[u8] = &[2, 4, 5, 0xb4, 1, 1, 4, 2, 1, 3, 3, 7];
    let without_scale = &full(900, 71)[..16];
    for options in [without_sack, without_stamps, without_scale] {
        let mut scene = Scene::new(RULES);
        scene.teach();
        let (answer, _) = scene.prove();
        let told = scene.down(SYN | ACK, S, C + 1).tcp_options(options).frame();
        let reset = scene.answer(LAN, &told);
        assert_eq!((reset.flags, reset.seq), (RST, C + 1));
        let [(WAN, reset)] = &scene.crafted()[..] else { panic!() };
        assert_eq!((reset.flags, reset.seq), (RST, answer.seq.wrapping_add(1)));
        assert!(scene.bridge.states().is_empty());
        assert_eq!(scene.bridge.counters().synproxy.lacking, 1);
        assert_eq!(scene.syn(&full(70, 0)).scale, None);
    }
}

#[test]
fn a_refusal_is_passed_on_in_the_clients_numbers() {
    for mut scene in scenes(RULES) {
        let (answer, _) = scene.prove();
        for (seq, ack) in [(0, C), (C + 1, C + 2)] {
            let bad = scene.down(RST | ACK, seq, ack).frame();
            assert_eq!(scene.drop(scene.far(), &bad), Some(Reason::SynproxyServer));
        }
        let refusal = scene.down(RST | ACK, 0, ASKED + 1).frame();
        let reset = scene.pass(scene.far(), &refusal);
        let expected = (scene.server, RST, answer.seq.wrapping_add(1));
        assert_eq!((reset.from, reset.flags, reset.seq), expected);
        assert!(scene.bridge.states().is_empty());
        assert_eq!(scene.bridge.counters().synproxy.refused, 1);
        // The RST was lost: what the client sends again asks again.
        let ack = scene.ack_of(&answer, 72).frame();
        assert_eq!(scene.pass(scene.near, &ack).flags, SYN);
    }
}

#[test]
fn a_silent_server_is_asked_five_times_before_both_hear_of_it() {
    for mut scene in scenes(RULES) {
        let (answer, asked) = scene.prove();
        let start = scene.bridge.now;
        let mut times = Vec::new();
        while !scene.bridge.states().is_empty() {
            scene.bridge.wait(Duration::from_millis(100));
            let passed = scene.bridge.now.since(start).as_secs();
            assert!(passed < 60);
            for (port, frame) in scene.crafted() {
                if frame.flags == SYN {
                    assert_eq!((port, &frame), (scene.far(), &asked));
                    times.push(passed);
                } else {
                    let (seq, flags) = if port == scene.near {
                        (answer.seq.wrapping_add(1), RST)
                    } else {
                        (ASKED + 1, RST)
                    };
                    assert_eq!((frame.seq, frame.flags), (seq, flags));
                    times.push(100 + u64::from(port == scene.near));
                }
            }
        }
        assert_eq!(times[..4], [1, 3, 7, 15], "{times:?}");
        assert_eq!(times[4..], [101, 100]);
        assert_eq!(scene.bridge.counters().synproxy.silent, 1);
    }
}

#[test]
fn a_late_or_repeated_answer_of_the_server_is_as_good() {
    let mut scene = Scene::new(RULES);
    scene.teach();
    let (answer, _) = scene.prove();
    scene.bridge.wait(Duration::from_secs(20));
    let told = scene.down(SYN | ACK, S, C + 1).tcp_options(&full(900, 71)).frame();
    scene.pass(LAN, &told);
    // Its ACK was lost: the client answers the SYN-ACK that comes again.
    let again = scene.pass(LAN, &told);
    assert_eq!((again.flags, again.seq), (SYN | ACK, answer.seq));
    let (promised, _) = answer.stamps.unwrap();
    let ack = scene.up(ACK, C + 1, answer.seq.wrapping_add(1)).tcp_options(&stamps(75, promised));
    assert_eq!(scene.pass(WAN, &ack.frame()).ack, S + 1);
}

#[test]
fn a_server_with_an_old_connection_is_reset_and_asked_again() {
    for flags in [ACK, SYN | ACK, PSH | ACK] {
        let mut scene = Scene::new(RULES);
        scene.teach();
        let (_, asked) = scene.prove();
        let old = scene.down(flags, 123_456, 77_777).frame();
        let reset = scene.answer(LAN, &old);
        assert_eq!((reset.from, reset.flags, reset.seq), (scene.client, RST, 77_777));
        scene.bridge.wait(Duration::from_millis(400));
        assert_eq!(scene.crafted(), [(LAN, asked)]);
        let told = scene.down(SYN | ACK, S, C + 1).tcp_options(&full(900, 71)).frame();
        assert_eq!(scene.pass(LAN, &told).flags, ACK);
    }
}

#[test]
fn what_a_client_sends_too_early_waits_and_what_it_says_last_counts() {
    let mut scene = Scene::new(RULES);
    scene.teach();
    let (answer, _) = scene.prove();
    let (promised, _) = answer.stamps.unwrap();
    let next = answer.seq.wrapping_add(1);
    for segment in [
        scene.up(PSH | ACK, C + 1, next).payload(b"GET /"),
        scene.up(FIN | ACK, C + 6, next),
        scene.up(ACK, C, next).window(700).tcp_options(&stamps(99, promised)),
        scene.up(SYN, C, 0),
    ] {
        assert_eq!(scene.drop(WAN, &segment.frame()), REFUSED);
    }
    assert_eq!(scene.bridge.states().len(), 1);
    let told = scene.down(SYN | ACK, S, C + 1).tcp_options(&full(900, 71)).frame();
    let update = scene.pass(LAN, &told);
    assert_eq!((update.ack, update.stamps), (C + 1, Some((promised, 99))));
    let [(LAN, ack)] = &scene.crafted()[..] else { panic!() };
    assert_eq!((ack.window, ack.stamps), (700, Some((99, 900))));
}

#[test]
fn a_client_that_gives_up_takes_the_server_along() {
    let mut scene = Scene::new(RULES);
    let (answer, _) = scene.prove();
    let bad = scene.up(RST, C + 2, 0).frame();
    assert_eq!(scene.drop(WAN, &bad), Some(Reason::TcpBadReset));
    let rst = scene.up(RST | ACK, C + 1, answer.seq.wrapping_add(1)).frame();
    let reset = scene.pass(WAN, &rst);
    assert_eq!((reset.flags, reset.seq, reset.ack), (RST, ASKED + 1, 0));
    assert!(scene.bridge.states().is_empty() && scene.crafted().is_empty());
}

#[test]
fn a_port_may_be_used_again_at_once() {
    let mut scene = Scene::new(RULES);
    scene.teach();
    // While the server is asked.
    scene.prove();
    let syn = scene.up(SYN, 90_000_000, 0).frame();
    let answer = scene.answer(WAN, &syn);
    let [(LAN, reset)] = &scene.crafted()[..] else { panic!("the server is left half-open") };
    assert_eq!((reset.flags, reset.seq), (RST, C + 1));
    let ack = scene.up(ACK, 90_000_001, answer.seq.wrapping_add(1)).frame();
    assert_eq!(scene.pass(WAN, &ack).seq, 90_000_000);
    let rst = scene.up(RST, 90_000_001, 0).frame();
    scene.pass(WAN, &rst);

    // After both have closed, while there is the state, and when there is its tail.
    for forgotten in [false, true] {
        let (answer, _) = scene.connect();
        let next = answer.seq.wrapping_add(1);
        let segments = [
            (WAN, scene.up(FIN | ACK, C + 1, next)),
            (LAN, scene.down(FIN | ACK, S + 1, C + 2)),
            (WAN, scene.up(ACK, C + 2, next.wrapping_add(1))),
        ];
        for (port, segment) in segments {
            scene.pass(port, &segment.frame());
        }
        assert!(scene.bridge.listing()[0].ends_with("FIN_WAIT_2:FIN_WAIT_2"));
        if forgotten {
            scene.bridge.forget_states();
        }
    }
    let (_, update) = scene.connect();
    assert_eq!(update.flags, ACK);
    assert!(scene.bridge.log.is_empty());
}

#[test]
fn a_lost_ack_is_made_good_by_data_or_by_a_probe() {
    for (data, seq) in [(&b"GET /"[..], C + 1), (b"", C), (b"x", C + 1)] {
        let mut scene = Scene::new(RULES);
        let answer = scene.syn(&MSS_ONLY);
        let segment = scene.up(PSH | ACK, seq, answer.seq.wrapping_add(1)).payload(data).frame();
        let asked = scene.pass(WAN, &segment);
        assert_eq!((asked.flags, asked.seq, asked.payload), (SYN, ASKED, 0));
    }
}

#[test]
fn a_syn_ack_comes_again_while_few_wait() {
    let mut scene = Scene::new(RULES);
    let answer = scene.syn(&full(70, 0));
    let start = scene.bridge.now;
    let mut times = Vec::new();
    for _ in 0..100 {
        scene.bridge.wait(Duration::from_millis(100));
        for (port, again) in scene.crafted() {
            assert_eq!((port, &again), (WAN, &answer));
            times.push(scene.bridge.now.since(start).as_secs());
        }
    }
    assert_eq!(times, [1, 3]);

    // Not after an answer, be it that nobody has asked.
    for last in [scene.ack_of(&answer, 71), scene.up(RST, answer.ack, 0)] {
        let mut scene = Scene::new(RULES);
        scene.syn(&full(70, 0));
        let _ = scene.bridge.judge(WAN, &last.frame());
        scene.bridge.wait(Duration::from_millis(900));
        assert_eq!(scene.crafted(), []);
    }

    // And not in a flood.
    let mut scene = Scene::new(RULES);
    for port in 0..20_000 {
        scene.client.set_port(1024 + port);
        scene.syn(&[]);
    }
    scene.bridge.wait(Duration::from_secs(10));
    let again = scene.crafted().len();
    assert!((1_000..=2 * 1_024).contains(&again), "{again}");
    assert_eq!(scene.bridge.counters().synproxy.sent, 20_000);
}

#[test]
fn limits_are_asked_before_the_server_and_the_surplus_never_reaches_it() {
    for rule in ["max-src-conn 10", "max 10", "max-src-states 10", "max-src-conn-rate 10/60"] {
        for mut scene in
            scenes(&RULES.replace("synproxy state", &format!("synproxy state ({rule})")))
        {
            let mut passed = 0;
            for number in 0..100 {
                scene.client.set_port(40_000 + number);
                let answer = scene.syn(&full(70, 0));
                let ack = scene.ack_of(&answer, 71).frame();
                let (verdict, seen) = scene.judge(scene.near, &ack);
                if verdict == Verdict::Forward(scene.far()) {
                    assert_eq!(seen.flags, SYN);
                    passed += 1;
                    continue;
                }
                assert!(matches!(verdict, Verdict::Reflect(_)), "{verdict:?}");
                assert_eq!((seen.from, seen.flags), (scene.server, RST));
                assert_eq!(seen.seq, answer.seq.wrapping_add(1));
                assert_eq!(scene.crafted(), []);
            }
            assert_eq!(passed, 10, "{rule}");
            assert_eq!(scene.bridge.states().len(), 10, "{rule}");
            assert_eq!(scene.bridge.counters().synproxy.surplus, 90);
            scene.bridge.forget_states();
            assert_eq!(scene.bridge.shared.states(), 0);
        }
    }
}

#[test]
fn rules_are_asked_again_about_the_syn() {
    // It was told that it is connected: it hears that it is not even where the rules are silent.
    for rules in ["block return\n", "block\n"] {
        let mut scene = Scene::new(RULES);
        let answer = scene.syn(&full(70, 0));
        scene.bridge.load(rules);
        let ack = scene.ack_of(&answer, 71).frame();
        let (verdict, reset) = scene.judge(WAN, &ack);
        assert_eq!(verdict, Verdict::Reflect(Reason::BlockRule));
        assert_eq!((reset.flags, reset.seq), (RST, answer.seq.wrapping_add(1)));
        assert_eq!(scene.bridge.counters().synproxy.surplus, 0);
    }

    // What is kept plainly now is still asked for, since the client is there.
    let mut scene = Scene::new(RULES);
    let answer = scene.syn(&full(70, 0));
    scene.bridge.load("pass\n");
    let ack = scene.ack_of(&answer, 71).frame();
    assert_eq!(scene.pass(WAN, &ack).flags, SYN);
}

#[test]
fn a_forged_ack_opens_no_way_round_the_handshake() {
    let always = "set syncookies always\npass flags any keep state\n";
    for rules in ["pass flags any synproxy state\n", always] {
        let mut scene = Scene::new(rules);
        let ack = scene.up(ACK, C, 7).frame();
        assert_eq!(scene.drop(WAN, &ack), Some(Reason::TcpNoState));
        assert_eq!(scene.bridge.shared.states(), 0);
        assert_eq!(scene.syn(&[]).flags, SYN | ACK);
    }
    // Whoever does not ask for proof still picks connections up in their middle.
    let mut scene = Scene::new("pass flags any keep state\n");
    let ack = scene.up(ACK, C, 7).frame();
    assert_eq!(scene.pass(WAN, &ack).flags, ACK);
}

#[test]
fn a_client_cannot_speak_for_its_server() {
    let mut scene = Scene::new(&format!("set state-policy floating\n{RULES}"));
    scene.prove();
    let forged = scene.down(SYN | ACK, S, ASKED + 1).frame();
    assert_eq!(scene.drop(WAN, &forged), Some(Reason::SynproxyServer));
    scene.answer(LAN, &forged);
}

#[test]
fn a_client_that_stays_silent_is_watched_from_its_handshake_on() {
    let rules = RULES.replace("synproxy state", "synproxy state (max-idle 30)");
    let mut scene = Scene::new(&rules);
    scene.teach();
    let (answer, _) = scene.connect();
    scene.crafted();
    scene.bridge.wait(Duration::from_secs(29));
    assert_eq!((scene.bridge.states().len(), scene.crafted()), (1, vec![]));
    scene.bridge.wait(Duration::from_secs(3));
    let mut resets: Vec<_> =
        scene.crafted().iter().map(|(port, frame)| (*port, frame.flags, frame.seq)).collect();
    resets.sort_by_key(|(port, ..)| *port != WAN);
    assert_eq!(resets, [(WAN, RST, answer.seq.wrapping_add(1)), (LAN, RST, C + 1)]);
    assert!(scene.bridge.listing()[0].ends_with("TIME_WAIT:TIME_WAIT"));
}

#[test]
fn the_servers_segments_are_limited_whoever_asks_for_them() {
    let mut scene = Scene::new(&format!("match scrub (max-mss 1000)\n{RULES}"));
    let (_, asked) = scene.prove();
    let told = scene.down(SYN | ACK, S, ASKED + 1).tcp_options(&full(900, 71)).frame();
    scene.answer(LAN, &told);
    let [(LAN, again)] = &scene.crafted()[..] else { panic!("it is not asked again") };
    assert_eq!([(asked.flags, asked.mss), (again.flags, again.mss)], [(SYN, Some(1000)); 2]);
}

#[test]
fn what_rules_spend_is_spent_once_for_a_connection() {
    let once = "block\npass out\npass in on wan proto tcp to any port 80 once synproxy state\n";
    let mut scene = Scene::new(once);
    for port in 0..50 {
        scene.client.set_port(2000 + port);
        scene.syn(&[]);
    }
    let answer = scene.syn(&[]);
    let ack = scene.ack_of(&answer, 0).frame();
    assert_eq!(scene.pass(WAN, &ack).flags, SYN);
    scene.client.set_port(3000);
    let syn = scene.up(SYN, C, 0).frame();
    assert_eq!(scene.drop(WAN, &syn), Some(Reason::BlockRule));

    let dice =
        "block\npass out\npass in on wan proto tcp to any port 80 probability 50% synproxy state\n";
    let mut scene = Scene::new(dice);
    let mut answered = 0;
    for port in 0..1000 {
        scene.client.set_port(2000 + port);
        let syn = scene.up(SYN, C, 0).frame();
        if scene.bridge.judge(WAN, &syn) == Verdict::Answer {
            answered += 1;
            let answer = seen(WAN, &scene.bridge.frame);
            let ack = scene.ack_of(&answer, 0).frame();
            assert_eq!(scene.pass(WAN, &ack).flags, SYN);
        }
    }
    assert!((430..570).contains(&answered), "{answered}");
}

#[test]
fn a_flood_of_syns_takes_no_memory() {
    let mut scene = Scene::new(RULES);
    for number in 0..200_000_u32 {
        scene.client = (number.to_be_bytes().map(|byte| byte | 1), number as u16 | 1024).into();
        if scene.client.ip().is_loopback() || scene.client.ip().is_multicast() {
            continue;
        }
        let syn = scene.up(SYN, number, 0).frame();
        let _ = scene.bridge.judge(WAN, &syn);
    }
    let counters = scene.bridge.counters();
    assert!(counters.synproxy.sent > 100_000);
    assert_eq!((counters.inserts, scene.bridge.shared.states()), (0, 0));
    assert_eq!(scene.bridge.shared.sources().used(), 0);
    assert!(scene.bridge.log.is_empty());
}

#[test]
fn cookies_that_are_old_forged_or_shifted_do_not_pass() {
    let mut scene = Scene::new(RULES);
    let answer = scene.syn(&full(70, 0));
    let refused = |scene: &mut Scene, ack: &build::Build| {
        let verdict = scene.bridge.judge(WAN, &ack.clone().frame());
        assert!(matches!(verdict, Verdict::Drop(_)), "{verdict:?}");
    };
    let good = |scene: &Scene| scene.ack_of(&answer, 71);
    let next = answer.seq.wrapping_add(1);
    for bit in 0..32 {
        let flipped = scene.up(ACK, C + 1, next ^ 1 << bit);
        refused(&mut scene, &flipped);
    }
    for shift in [2, 3, 100, 1 << 20, u32::MAX - 5] {
        let shifted = scene.up(ACK, (C + 1).wrapping_add(shift), next);
        refused(&mut scene, &shifted);
    }
    // Of another client, for another server, by the other side.
    for (client, server) in [
        ("192.0.2.1:40001", "198.51.100.2:80"),
        ("192.0.2.2:40000", "198.51.100.2:80"),
        ("192.0.2.1:40000", "198.51.100.3:80"),
    ] {
        let other = |end: &str| end.parse::<SocketAddr>().unwrap();
        // A cookie of its own was sent there.
        let syn = build::tcp(other(client), other(server), SYN).seq(9).frame();
        assert_eq!(scene.bridge.judge(WAN, &syn), Verdict::Answer);
        let ack = build::tcp(other(client), other(server), ACK).seq(C + 1).ack(next);
        refused(&mut scene, &ack);
    }
    let bad = {
        let mut frame = good(&scene).payload(b"data").frame();
        *frame.last_mut().unwrap() ^= 1;
        frame
    };
    assert!(matches!(scene.bridge.judge(WAN, &bad), Verdict::Drop(_)), "a wrong checksum");
    scene.bridge.wait(Duration::from_secs(21));
    let late = good(&scene);
    refused(&mut scene, &late);
    let counters = scene.bridge.counters().synproxy;
    assert_eq!((counters.valid, scene.bridge.shared.states()), (0, 0));
    assert!(counters.invalid > 30, "{counters:?}");
}

#[test]
fn a_cookie_of_the_last_period_counts_and_an_older_one_is_told_apart() {
    for (wait, valid) in [(9, true), (10, true), (21, false)] {
        let mut scene = Scene::new(RULES);
        let answer = scene.syn(&MSS_ONLY);
        scene.bridge.wait(Duration::from_secs(wait));
        let ack = scene.ack_of(&answer, 71).frame();
        let verdict = scene.bridge.judge(WAN, &ack);
        assert_eq!(verdict == Verdict::Forward(LAN), valid, "{wait}: {verdict:?}");
    }
}

#[test]
fn a_million_blind_acks_open_nothing() {
    let mut scene = Scene::new(RULES);
    // None of these clients has sent a SYN: not one is looked at.
    let mut state = 1_u64;
    let mut batch = Vec::new();
    for number in 0..1_000_000_u32 {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        if number % 50_000 == 0 {
            // Those of one client that has, are.
            scene.client = ([192, 0, 2, 1], (number / 50_000) as u16 + 1024).into();
            scene.syn(&[]);
        }
        let ack = scene.up(ACK, (state >> 32) as u32, state as u32);
        batch.push(ack.frame());
        if batch.len() == 64 {
            for judged in scene.bridge.feed(WAN, &batch) {
                assert!(matches!(judged.verdict, Verdict::Drop(_)));
            }
            batch.clear();
        }
    }
    let counters = scene.bridge.counters().synproxy;
    assert_eq!((counters.valid, scene.bridge.shared.states()), (0, 0));
    assert!(counters.invalid > 100_000, "{counters:?}");
    assert!(scene.bridge.crafted.iter().all(|(port, _)| *port == WAN), "the server hears nothing");
}

#[test]
fn nothing_is_answered_that_is_no_handshake_between_two_hosts() {
    let rules = "pass proto tcp allow-opts synproxy state\n";
    let mut scene = Scene::new(rules);
    let multicast: SocketAddr = ([224, 0, 0, 1], 80).into();
    let broadcast_frame = scene.up(SYN, C, 0).macs(build::SOURCE_MAC, [0xff; 6]);
    let options = scene.up(SYN, C, 0).ip_options(&[7, 7, 4, 0, 0, 0, 0]);
    let extended = build::tcp(
        "[2001:db8::1]:1".parse::<SocketAddr>().unwrap(),
        "[2001:db8::2]:80".parse::<SocketAddr>().unwrap(),
        SYN,
    )
    .extension(60, &[0, 0, 1, 4, 0, 0, 0, 0]);
    for frame in [
        build::tcp(scene.client, multicast, SYN).frame(),
        broadcast_frame.frame(),
        options.frame(),
        extended.frame(),
    ] {
        assert_eq!(scene.drop(WAN, &frame), Some(Reason::SynproxyUnfit));
    }
    let mut damaged = scene.up(SYN, C, 0).payload(b"x").frame();
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(scene.drop(WAN, &damaged), Some(Reason::TcpChecksum));
    let whole = scene.up(SYN, C, 0).payload(&[0; 64]).frame();
    let parts: Vec<_> = build::fragments(&whole, 1, 48);
    let judged = scene.bridge.feed(WAN, &parts);
    assert!(judged.iter().all(|judged| judged.verdict == Verdict::Drop(Reason::SynproxyUnfit)));
    // Data of Fast Open is not taken.
    let fast = scene.up(SYN, C, 0).tcp_options(&[34, 2, 1, 1]).payload(b"GET /").frame();
    assert_eq!(scene.answer(WAN, &fast).ack, C + 1);
}

#[test]
fn tags_stay_on_everything() {
    let mut scene = Scene::new(RULES);
    let tagged = |build: build::Build| build.tag(0x88a8, 100).vlan(7).frame();
    let syn = tagged(scene.up(SYN, C, 0));
    let tags = syn[12..20].to_vec();
    let answer = scene.answer(WAN, &syn);
    assert_eq!(scene.bridge.frame[12..20], tags);
    let ack = tagged(scene.ack_of(&answer, 0));
    scene.pass(WAN, &ack);
    assert_eq!(scene.bridge.frame[12..20], tags);
    scene.bridge.wait(Duration::from_secs(40));
    let frames = std::mem::take(&mut scene.bridge.crafted);
    assert_eq!(frames.len(), 6);
    for (port, frame) in &frames {
        assert_eq!(frame[12..20], tags);
        let macs = [build::DESTINATION_MAC, build::SOURCE_MAC].concat();
        let back = [build::SOURCE_MAC, build::DESTINATION_MAC].concat();
        assert_eq!(frame[..12], if *port == LAN { macs } else { back });
    }
    // So does a PPPoE session.
    let mut other = Scene::new(RULES);
    let carried = |build: build::Build| build.vlan(7).pppoe(9).frame();
    let syn = carried(other.up(SYN, C, 0));
    let answer_of_session = other.answer(WAN, &syn);
    let ack = carried(other.ack_of(&answer_of_session, 0));
    other.pass(WAN, &ack);
    other.bridge.wait(Duration::from_secs(40));
    assert_eq!(other.bridge.crafted.len(), 6);
    for (_, frame) in &other.bridge.crafted {
        let (tagged, length) =
            (&frame[14..22], usize::from(frame[22]) << 8 | usize::from(frame[23]));
        assert_eq!((tagged, length), (&syn[14..22], frame.len() - 24));
    }
    // Another network is another server and another client.
    let untagged = scene.ack_of(&answer, 0).frame();
    assert!(scene.drop(WAN, &untagged).is_some());
}

#[test]
fn syncookies_protect_every_server_while_they_are_active() {
    let always = "set syncookies always\npass in on wan proto tcp keep state\n";
    for mut scene in scenes(always) {
        scene.bridge.wait(Duration::from_millis(100));
        assert!(scene.bridge.shared.uses_syncookies());
        let (_, asked) = scene.prove();
        assert_eq!(asked.flags, SYN);
    }

    // From a quarter of the states on, until an eighth.
    let adaptive = "set limit states 1000\nset syncookies adaptive\npass in on wan proto tcp\n";
    let mut scene = Scene::with_workers(adaptive, 2);
    let mut sent = 0;
    loop {
        scene.client.set_port(1024 + sent);
        let syn = scene.up(SYN, C, 0).frame();
        match scene.bridge.judge(WAN, &syn) {
            Verdict::Forward(_) => sent += 1,
            Verdict::Answer => break,
            other => panic!("{other:?}"),
        }
    }
    assert!((250..=255).contains(&sent), "{sent}");
    assert!(scene.bridge.shared.uses_syncookies());
    // Connections that get through do not count.
    scene.bridge.wait(Duration::from_secs(130));
    assert!(!scene.bridge.shared.uses_syncookies(), "{}", scene.bridge.shared.half_open());
    let syn = scene.up(SYN, C, 0).frame();
    assert_eq!(scene.bridge.send(WAN, &syn), PASSES);
}

#[test]
fn an_error_about_the_syn_reaches_the_client() {
    let mut scene = Scene::new(RULES);
    scene.prove();
    let syn = scene.up(SYN, C, 0);
    let error = build::icmp([198, 51, 100, 1], [192, 0, 2, 1], icmp::v4::UNREACHABLE, 1)
        .quote(&syn.frame());
    assert_eq!(scene.bridge.send(LAN, &error.frame()), PASSES);
}
