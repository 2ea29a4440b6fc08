//! What servers may answer when they are asked: other options, nothing, a refusal, what an old connection left.

use std::time::Duration;

use weir_engine::packet::build;
use weir_engine::packet::tcp::flags::{ACK, CWR, ECE, PSH, RST, SYN};
use weir_engine::{PortIndex, Reason};

use super::{ASKED, C, MSS_ONLY, RULES, S, Scene, Seen, full, scenes, stamps};
use crate::bridge::{LAN, WAN};

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
        // It may be the offer of ECN that something on the way refuses.
        let refusal = scene.down(RST | ACK, 0, ASKED + 1).frame();
        assert_eq!(scene.drop(scene.far(), &refusal), Some(Reason::SynproxyServer));
        scene.bridge.wait(Duration::from_millis(400));
        let [(_, again)] = &scene.crafted()[..] else { panic!("not asked again") };
        assert_eq!((again.flags, again.seq, again.ecn), (SYN, ASKED, 0));
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
fn a_server_behind_something_that_refuses_ecn_is_reached_without() {
    for mut scene in scenes(RULES) {
        scene.prove();
        let refusal = scene.down(RST | ACK, 0, ASKED + 1).frame();
        scene.drop(scene.far(), &refusal);
        scene.bridge.wait(Duration::from_millis(400));
        scene.crafted();
        let told = scene.down(SYN | ACK, S, ASKED + 1).tcp_options(&full(900, 71)).frame();
        assert_eq!(scene.answer(scene.far(), &told).flags, RST);
        let [(_, syn)] = &scene.crafted()[..] else { panic!("no SYN") };
        assert_eq!((syn.flags, syn.seq, syn.ecn), (SYN, C, 0));
    }
}

#[test]
fn a_server_whose_offer_of_ecn_is_swallowed_all_at_once_is_asked_anew() {
    let mut scene = Scene::new(RULES);
    scene.prove();
    let told = scene.down(SYN | ACK | ECE, S, ASKED + 1).tcp_options(&full(900, 71)).frame();
    scene.answer(LAN, &told);
    let syn_of = |scene: &mut Scene, port: u16| {
        scene.client.set_port(port);
        let syn = scene.up(SYN | ECE | CWR, C, 0).tcp_options(&full(70, 0)).frame();
        scene.answer(WAN, &syn)
    };
    let answer = syn_of(&mut scene, 40_001);
    assert_eq!(answer.ecn, ECE);
    let ack = scene.ack_of(&answer, 71).frame();
    assert_eq!(scene.pass(WAN, &ack).ecn, ECE | CWR);
    scene.bridge.wait(Duration::from_secs(60));
    assert_eq!(scene.bridge.states().len(), 0);
    assert_eq!(scene.bridge.counters().synproxy.silent, 2);
    assert_eq!(syn_of(&mut scene, 40_002).ecn, 0);
}

#[test]
fn a_silent_server_is_asked_five_times_before_both_hear_of_it() {
    for mut scene in scenes(RULES) {
        let (answer, mut asked) = scene.prove();
        // Only the first offers what some do not answer at all.
        assert_eq!(std::mem::take(&mut asked.ecn), ECE | CWR);
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
    for (flags, ack) in [(ACK, 77_777), (SYN | ACK, 77_777), (PSH | ACK, 77_777), (ACK, C + 1)] {
        let mut scene = Scene::new(RULES);
        scene.teach();
        let (_, asked) = scene.prove();
        let old = scene.down(flags, 123_456, ack).frame();
        let reset = scene.answer(LAN, &old);
        assert_eq!((reset.from, reset.flags, reset.seq), (scene.client, RST, ack));
        scene.bridge.wait(Duration::from_millis(400));
        assert_eq!(scene.crafted(), [(LAN, asked)]);
        let told = scene.down(SYN | ACK, S, C + 1).tcp_options(&full(900, 71)).frame();
        assert_eq!(scene.pass(LAN, &told).flags, ACK);
    }
}

#[test]
fn many_servers_at_once_hear_every_syn_and_every_rst() {
    const MANY: u16 = 400;
    let mut scene = Scene::new(RULES);
    for number in 0..MANY {
        scene.client.set_port(10_000 + number);
        scene.prove();
    }
    // One more than a batch or a round can queue wait for the next.
    for pause in [1, 2, 4, 8] {
        scene.bridge.wait(Duration::from_secs(pause) + Duration::from_millis(300));
        let mut clients: Vec<_> = scene
            .crafted()
            .into_iter()
            .filter(|(port, syn)| *port == LAN && syn.flags == SYN)
            .map(|(_, syn)| syn.from)
            .collect();
        clients.sort();
        clients.dedup();
        assert_eq!(clients.len(), usize::from(MANY), "after {pause} s");
    }
    scene.bridge.forget_states();
    let resets = scene.crafted();
    for port in [WAN, LAN] {
        let told = resets.iter().filter(|(to, reset)| *to == port && reset.flags == RST).count();
        assert_eq!(told, usize::from(MANY));
    }
    assert_eq!(scene.bridge.counters().reasons[Reason::OutputFull as usize], 0);
}

#[test]
fn syn_acks_that_go_out_again_leave_room_for_those_that_are_given_up() {
    const MANY: u16 = 100;
    let mut scene = Scene::new(&format!("set timeout tcp.opening 5\n{RULES}"));
    for number in 0..MANY {
        scene.client.set_port(10_000 + number);
        scene.prove();
    }
    scene.bridge.wait(Duration::from_secs(4));
    scene.bridge.crafted.clear();
    for number in 0..1_000 {
        scene.client.set_port(20_000 + number);
        scene.syn(&[]);
    }
    let awaited = scene.bridge.states().len() - usize::from(MANY);
    assert!(awaited > 700, "{awaited}");
    scene.bridge.wait(Duration::from_millis(1_500));
    assert!(scene.bridge.states().iter().all(|state| state.id == 0), "clients that are awaited");
    let resets = scene.crafted().iter().filter(|(_, frame)| frame.flags == RST).count();
    assert_eq!(resets, 2 * usize::from(MANY));
    let counters = scene.bridge.counters();
    assert_eq!(counters.reasons[Reason::OutputFull as usize], 0);
    assert_eq!(counters.synproxy.resent, awaited as u64);
}

#[test]
fn a_syn_that_goes_out_again_is_what_the_rules_made_of_the_first() {
    for mut scene in scenes(&format!("match set (tos 0x28, prio 6) scrub (min-ttl 70)\n{RULES}")) {
        let tagged = |build: build::Build| build.ttl(60).tos(0xba).vlan(7).frame();
        let syn = tagged(scene.up(SYN, C, 0));
        let answer = scene.answer(scene.near, &syn);
        let ack = tagged(scene.ack_of(&answer, 0));
        scene.pass(scene.near, &ack);
        let first = scene.bridge.frame.clone();
        let (ttl, tos) = if scene.client.is_ipv4() {
            (first[18 + 8], first[18 + 1])
        } else {
            (first[18 + 7], first[18] << 4 | first[19] >> 4)
        };
        assert_eq!((ttl, tos, first[14] >> 5), (70, 0x28, 6));
        scene.bridge.wait(Duration::from_millis(1_200));
        let [(port, again)] = &scene.bridge.crafted[..] else { panic!("no SYN again") };
        let ip = if scene.client.is_ipv4() { 20 } else { 40 };
        assert_eq!((*port, &again[..18 + ip]), (scene.far(), &first[..18 + ip]));
    }
    // Without such a rule it is of the kind that the client wants.
    let mut scene = Scene::new(RULES);
    let answer = scene.syn(&[]);
    let ack = scene.ack_of(&answer, 0).tos(0xba).frame();
    scene.pass(WAN, &ack);
    assert_eq!(scene.bridge.frame[14 + 1], 0xb8, "not capable of congestion notification");
}

#[test]
fn a_cookie_counts_though_its_server_is_not_what_it_was() {
    // Another client has found out between the SYN-ACK and its ACK.
    let mut scene = Scene::new(RULES);
    scene.teach();
    let answer = scene.syn(&full(70, 0));
    assert_eq!(answer.scale, Some(7));
    let first = scene.client;
    scene.client.set_port(40_001);
    scene.prove();
    let lacks = scene.down(SYN | ACK, S, C + 1).tcp_options(&MSS_ONLY).frame();
    assert_eq!(scene.answer(LAN, &lacks).flags, RST);
    assert_eq!(scene.bridge.counters().synproxy.lacking, 1);
    scene.client = first;
    scene.bridge.wait(Duration::from_secs(9));
    let ack = scene.ack_of(&answer, 71).frame();
    let asked = scene.pass(WAN, &ack);
    assert_eq!((asked.flags, asked.seq), (SYN, ASKED), "but the server is asked");
    assert_eq!(scene.syn_of(40_002).scale, None, "and promised no more");

    // It was not heard of for an hour.
    let mut scene = Scene::new(RULES);
    scene.teach();
    scene.bridge.wait(Duration::from_secs(3_500));
    let mut answer = scene.syn_of(40_003);
    loop {
        scene.bridge.wait(Duration::from_secs(1));
        let next = scene.syn_of(40_003);
        if next.scale.is_none() {
            break;
        }
        answer = next;
    }
    assert_eq!(answer.scale, Some(7));
    let ack = scene.ack_of(&answer, 71).frame();
    assert_eq!(scene.pass(WAN, &ack).flags, SYN);
}

#[test]
fn congestion_notification_is_agreed_on_where_both_ends_know_it() {
    for mut scene in scenes(RULES) {
        // The server tells, when it is asked.
        let (answer, asked) = scene.prove();
        assert_eq!((answer.ecn, asked.ecn), (0, ECE | CWR));
        let told = scene.down(SYN | ACK | ECE, S, ASKED + 1).tcp_options(&full(900, 71)).frame();
        scene.answer(scene.far(), &told);
        let [(_, again)] = &scene.crafted()[..] else { panic!("no SYN") };
        assert_eq!(again.ecn, 0, "the client does not know it");
        let rst = scene.up(RST, C + 1, 0).frame();
        scene.pass(scene.near, &rst);

        // It is promised to a client that asks for it, with timestamps.
        for (offered, options, agreed) in [
            (0, full(70, 0), 0),
            (ECE, full(70, 0), 0),
            (ECE | CWR, full(70, 0), ECE),
            (ECE | CWR, MSS_ONLY.to_vec(), 0),
        ] {
            let port = scene.client.port();
            scene.client.set_port(port + 1);
            let syn = scene.up(SYN | offered, C, 0).tcp_options(&options).frame();
            let answer = scene.answer(scene.near, &syn);
            assert_eq!(answer.ecn, agreed);
            let ack = scene.ack_of(&answer, 71).frame();
            let asked = scene.pass(scene.near, &ack);
            assert_eq!(asked.ecn, if agreed == 0 { 0 } else { ECE | CWR });
        }
        scene.client.set_port(scene.client.port() - 1);

        // A SYN that goes out again keeps the promise, and a server that does not breaks it.
        scene.bridge.wait(Duration::from_millis(1_200));
        let client = scene.client;
        let again = |(_, syn): &(PortIndex, Seen)| syn.from == client && syn.ecn == ECE | CWR;
        assert_eq!(scene.crafted().iter().filter(|made| again(made)).count(), 1);
        let told = scene.down(SYN | ACK, S, C + 1).tcp_options(&full(900, 71)).frame();
        assert_eq!(scene.answer(scene.far(), &told).flags, RST);
        assert_eq!(scene.bridge.counters().synproxy.lacking, 1);
    }
}

#[test]
fn servers_are_known_by_what_they_answer_others() {
    let adaptive = "set syncookies adaptive\npass in on wan proto tcp keep state\n";
    let always = "set syncookies always\npass in on wan proto tcp keep state\n";
    let mut bare = full(0, 0);
    bare.truncate(4);
    for (options, floating, offered, known) in [
        (full(900, 70), "", ECE, (Some(7), true, ECE)),
        (full(900, 70), "", 0, (Some(7), true, 0)),
        // What is not there the client may not have asked for.
        (bare, "", 0, (None, false, 0)),
        // Either side might speak for the server.
        (full(900, 70), "set state-policy floating\n", ECE, (None, false, 0)),
    ] {
        let mut scene = Scene::new(&format!("{floating}{adaptive}"));
        let syn = scene.up(SYN | ECE | CWR, C, 0).tcp_options(&full(70, 0)).frame();
        let told = scene.down(SYN | ACK | offered, S, C + 1).tcp_options(&options).frame();
        let ack = scene.up(ACK, C + 1, S + 1).frame();
        for (port, frame) in [(WAN, syn), (LAN, told), (WAN, ack)] {
            scene.pass(port, &frame);
        }
        scene.bridge.load(&format!("{floating}{always}"));
        scene.client.set_port(40_001);
        let syn = scene.up(SYN | ECE | CWR, C, 0).tcp_options(&full(70, 0)).frame();
        let answer = scene.answer(WAN, &syn);
        assert_eq!((answer.scale, answer.sack, answer.ecn), known, "{floating}{offered}");
        assert_eq!(answer.stamps.is_some(), known.1);
    }
}

#[test]
fn a_known_server_keeps_what_a_client_did_not_ask_it_for() {
    let adaptive = "set syncookies adaptive\npass in on wan proto tcp keep state\n";
    let mut scene = Scene::new(adaptive);
    for (port, offer, answer) in [(1, full(70, 0), full(900, 70)), (2, vec![], MSS_ONLY.to_vec())] {
        scene.client.set_port(port);
        let syn = scene.up(SYN, C, 0).tcp_options(&offer).frame();
        let told = scene.down(SYN | ACK, S, C + 1).tcp_options(&answer).frame();
        scene.pass(WAN, &syn);
        scene.pass(LAN, &told);
    }
    scene.bridge.load(&adaptive.replace("adaptive", "always"));
    scene.client.set_port(3);
    let answer = scene.syn(&full(70, 0));
    assert_eq!((answer.scale, answer.sack, answer.stamps.is_some()), (Some(7), true, true));
}
