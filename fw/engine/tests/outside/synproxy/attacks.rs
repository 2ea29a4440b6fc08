//! What a stranger can do to handshakes that weir makes.

use std::net::SocketAddr;
use std::time::Duration;

use weir_engine::packet::build;
use weir_engine::packet::tcp::flags::{ACK, PSH, SYN};
use weir_engine::{Reason, Verdict};

use super::{ASKED, C, MSS_ONLY, RULES, S, Scene, full, scenes, stamps};
use crate::bridge::{LAN, WAN};

#[test]
fn a_client_cannot_speak_for_its_server() {
    let mut scene = Scene::new(&format!("set state-policy floating\n{RULES}"));
    scene.prove();
    let forged = scene.down(SYN | ACK, S, ASKED + 1).frame();
    assert_eq!(scene.drop(WAN, &forged), Some(Reason::SynproxyServer));
    scene.answer(LAN, &forged);
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

/// Sends this many ACKs to the server with numbers by chance, in the name of a client whose SYN was
/// answered, so that all of them are looked at.
fn guess(scene: &mut Scene, many: u32, state: &mut u64) {
    let honest = std::mem::replace(&mut scene.client, ([203, 0, 113, 7], 7777).into());
    scene.syn(&[]);
    let mut batch = Vec::new();
    for number in 1..=many {
        *state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        batch.push(scene.up(ACK, (*state >> 32) as u32, (*state >> 16) as u32).frame());
        if batch.len() == 64 || number == many {
            for judged in scene.bridge.feed(WAN, &batch) {
                assert!(matches!(judged.verdict, Verdict::Drop(_)));
            }
            batch.clear();
        }
    }
    scene.client = honest;
}

#[test]
fn a_million_blind_acks_open_nothing_and_shut_out_nobody() {
    const WITHOUT_STAMPS: [u8; 12] = [2, 4, 5, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2];
    let mut scene = Scene::new(RULES);
    scene.teach();
    scene.bridge.wait(Duration::from_secs(7));
    let mut state = 1_u64;
    // None of these clients has sent a SYN: not one is looked at.
    for _ in 0..10_000 {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        scene.client = ([10, 0, (state >> 32) as u8, (state >> 40) as u8], 1024).into();
        let ack = scene.up(ACK, (state >> 32) as u32, state as u32).frame();
        assert!(matches!(scene.bridge.judge(WAN, &ack), Verdict::Drop(_)));
    }
    assert_eq!(scene.bridge.counters().synproxy.invalid, 0);
    let valid = scene.bridge.counters().synproxy.valid;

    // Whoever guesses gets those without timestamps promised less; a cookie of before still counts.
    scene.client = ([192, 0, 2, 1], 40_000).into();
    let before = scene.syn(&WITHOUT_STAMPS);
    assert_eq!((before.scale, before.sack), (Some(7), true));
    guess(&mut scene, 300_000, &mut state);
    let ack = scene.ack_of(&before, 0).frame();
    assert_eq!(scene.pass(WAN, &ack).flags, SYN);
    scene.client.set_port(40_001);
    let plain = scene.syn(&WITHOUT_STAMPS);
    assert_eq!((plain.scale, plain.sack), (None, false));
    guess(&mut scene, 800_000, &mut state);
    let ack = scene.ack_of(&plain, 0).frame();
    let asked = scene.pass(WAN, &ack);
    assert_eq!((asked.flags, asked.scale, asked.sack), (SYN, None, false));
    scene.client.set_port(40_002);
    let stamped = scene.syn(&full(70, 0));
    assert_eq!((stamped.scale, stamped.sack), (Some(7), true));
    let ack = scene.ack_of(&stamped, 71).frame();
    assert_eq!(scene.pass(WAN, &ack).flags, SYN);

    let counters = scene.bridge.counters().synproxy;
    assert_eq!((counters.invalid, counters.valid), (1_100_000, valid + 3));
    assert_eq!(scene.bridge.shared.states(), 3);
    // When it is over everything is as before.
    scene.bridge.wait(Duration::from_secs(20));
    scene.client.set_port(40_003);
    assert_eq!(scene.syn(&WITHOUT_STAMPS).scale, Some(7));
}

#[test]
fn a_connection_that_was_killed_does_not_come_back_by_its_cookie() {
    for asks in [true, false] {
        for mut scene in scenes(RULES) {
            if !asks {
                scene.teach();
            }
            let answer = if asks { scene.prove().0 } else { scene.connect().0 };
            scene.bridge.forget_states();
            scene.bridge.crafted.clear();
            let (ack, stamp) = (answer.seq.wrapping_add(1), answer.stamps.map_or(0, |s| s.0));
            let options = if answer.stamps.is_some() { stamps(75, stamp) } else { vec![] };
            // A duplicate ACK, a keep-alive, and data.
            for segment in [
                scene.up(ACK, C + 1, ack),
                scene.up(ACK, C, ack),
                scene.up(PSH | ACK, C + 1, ack).payload(b"GET /"),
            ] {
                let segment = segment.tcp_options(&options).frame();
                assert_eq!(scene.drop(scene.near, &segment), Some(Reason::TcpLate));
            }
            assert_eq!(scene.bridge.shared.states(), 0);
            assert!(scene.bridge.log.is_empty() && scene.crafted().is_empty());
            // Who asks anew is served anew.
            let syn = scene.up(SYN, C + 10_000, 0).frame();
            let answer = scene.answer(scene.near, &syn);
            let late = scene.up(ACK, C + 1, ack).tcp_options(&options).frame();
            assert_eq!(scene.drop(scene.near, &late), Some(Reason::TcpLate), "still not the old");
            let ack = scene.up(ACK, C + 10_001, answer.seq.wrapping_add(1)).frame();
            assert_eq!(scene.pass(scene.near, &ack).flags, SYN);
        }
    }
}

#[test]
fn a_port_is_used_again_though_somebody_sends_a_syn_in_its_clients_name() {
    for mut scene in scenes(RULES) {
        scene.teach();
        scene.connect();
        scene.bridge.forget_states();
        scene.bridge.crafted.clear();
        let syn = scene.up(SYN, C + 10_000, 0).frame();
        let answer = scene.answer(scene.near, &syn);
        let forged = scene.up(SYN, C + 77_777, 0).frame();
        scene.answer(scene.near, &forged);
        let ack = scene.up(ACK, C + 10_001, answer.seq.wrapping_add(1)).frame();
        assert_eq!(scene.pass(scene.near, &ack).flags, SYN);
    }
}
