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
fn a_connection_that_was_killed_does_not_come_back_by_its_cookie() {
    for mut scene in scenes(RULES) {
        for asks in [true, false] {
            if !asks {
                scene.client.set_port(40_001);
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
