//! Handshakes that weir makes: what the client is told, and what its server hears of it.

use std::net::SocketAddr;
use std::time::Duration;

use weir_engine::packet::tcp::flags::{ACK, FIN, PSH, RST, SYN};
use weir_engine::packet::{build, icmp};
use weir_engine::{Reason, Verdict};

use super::{ASKED, C, MSS_ONLY, REFUSED, RULES, S, Scene, Seen, full, scenes, seen, stamps};
use crate::bridge::{LAN, PASSES, WAN};

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
            ecn: 0,
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
        // It is no state: it has no id, and comes once however small the pieces are.
        let mut listed = Vec::new();
        for engine in &scene.bridge.engines {
            let mut cursor = Some(0);
            while let Some(at) = cursor {
                cursor = engine.states(scene.bridge.now, at, 1, &mut listed);
            }
        }
        assert_eq!(listed.iter().map(|state| state.id).collect::<Vec<_>>(), [0]);
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
            ecn: 0,
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

/// What a client answers that has given up, or never asked, is no business of the rules; a stranger's RST
/// is.
#[test]
fn a_client_that_has_given_up_is_not_logged() {
    let mut scene = Scene::new("block log\npass proto tcp synproxy state\n");
    let rst = scene.up(RST, C + 1, 0).frame();
    assert_eq!(scene.bridge.judge(WAN, &rst), Verdict::Drop(Reason::BlockRule));
    scene.syn(&full(70, 0));
    assert_eq!(scene.bridge.judge(WAN, &rst), Verdict::Drop(Reason::TcpLate));
    assert_eq!(scene.bridge.counters().late, 1);
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
fn an_error_about_the_syn_reaches_the_client() {
    let mut scene = Scene::new(RULES);
    scene.prove();
    let syn = scene.up(SYN, C, 0);
    let error = build::icmp([198, 51, 100, 1], [192, 0, 2, 1], icmp::v4::UNREACHABLE, 1)
        .quote(&syn.frame());
    assert_eq!(scene.bridge.send(LAN, &error.frame()), PASSES);
}

#[test]
fn frames_of_weirs_own_go_where_the_hosts_are_now() {
    const MOVED: [u8; 6] = [2, 0, 0, 0, 7, 7];
    const CLIENT: [u8; 6] = build::SOURCE_MAC;
    const SERVER: [u8; 6] = build::DESTINATION_MAC;
    let header = |to: [u8; 6], from: [u8; 6]| [to, from].concat();
    for session in [false, true] {
        let carried = |build: build::Build, id: u16| {
            if session { build.vlan(7).pppoe(id).frame() } else { build.frame() }
        };
        let mut scene = Scene::new(RULES);
        let syn = carried(scene.up(SYN, C, 0), 9);
        let answer = scene.answer(WAN, &syn);
        let ack = carried(scene.ack_of(&answer, 0), 9);
        scene.pass(WAN, &ack);
        // Somebody else's segment does not move it; its own do, over a line that was dialled anew.
        for (far, mac) in [(1 << 24, [2, 0, 0, 0, 6, 6]), (0, MOVED)] {
            let ack = scene.up(ACK, C + 1 + far, answer.seq.wrapping_add(1)).macs(mac, SERVER);
            assert_eq!(scene.drop(WAN, &carried(ack, 10)), REFUSED);
        }
        scene.bridge.wait(Duration::from_millis(1_200));
        let [(LAN, asked)] = &scene.bridge.crafted[..] else { panic!("no SYN again") };
        assert_eq!(asked[..12], header(SERVER, MOVED));
        assert!(!session || asked[20..22] == [0, 10]);
        scene.bridge.crafted.clear();

        let told = scene.down(SYN | ACK, S, ASKED + 1).macs(MOVED, CLIENT);
        scene.answer(LAN, &carried(told, 11));
        let [(LAN, asked)] = &scene.bridge.crafted[..] else { panic!("no SYN") };
        assert_eq!(asked[..12], header(MOVED, CLIENT));
        assert!(!session || asked[20..22] == [0, 11]);
        scene.bridge.crafted.clear();
        scene.bridge.wait(Duration::from_secs(60));
        let resets = scene.bridge.crafted.iter().filter(|(port, frame)| {
            let expected = if *port == LAN { (MOVED, CLIENT) } else { (CLIENT, MOVED) };
            seen(*port, frame).flags == RST && frame[..12] == header(expected.0, expected.1)
        });
        assert_eq!(resets.count(), 2);
    }
}
