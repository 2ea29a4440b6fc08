//! What servers may answer when they are asked: other options, nothing, a refusal, what an old connection left.

use std::time::Duration;

use weir_engine::Reason;
use weir_engine::packet::build;
use weir_engine::packet::tcp::flags::{ACK, PSH, RST, SYN};

use super::{ASKED, C, RULES, S, Scene, full, scenes, stamps};
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
    scene.bridge.wait(Duration::from_millis(1_500));
    assert!(scene.bridge.states().iter().all(|state| state.id == 0), "clients that are awaited");
    let resets = scene.crafted().iter().filter(|(_, frame)| frame.flags == RST).count();
    assert_eq!(resets, 2 * usize::from(MANY));
    let counters = scene.bridge.counters();
    assert_eq!(counters.reasons[Reason::OutputFull as usize], 0);
    assert_eq!(counters.synproxy.resent, 1_000);
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
        assert_eq!(scene.bridge.crafted, [(scene.far(), first)]);
    }
    // Without such a rule it is of the kind that the client wants.
    let mut scene = Scene::new(RULES);
    let answer = scene.syn(&[]);
    let ack = scene.ack_of(&answer, 0).tos(0xba).frame();
    scene.pass(WAN, &ack);
    assert_eq!(scene.bridge.frame[14 + 1], 0xb8, "not capable of congestion notification");
}
