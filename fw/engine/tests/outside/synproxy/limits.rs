//! Rules and their limits about connections whose handshake weir makes.

use std::sync::Arc;
use std::time::Duration;

use weir_engine::packet::tcp::flags::{ACK, PSH, RST, SYN};
use weir_engine::{Reason, Verdict};

use super::{ASKED, C, RULES, S, Scene, full, scenes, seen, stamps};
use crate::bridge::{LAN, PASSES, WAN};

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
fn nobody_is_told_to_overload_before_it_has_heard_its_server() {
    let rules = "table <bad> persist\nblock log\npass out\npass in on wan proto tcp to any port 80 \
                 synproxy state (max-src-conn 1, overload <bad> flush)\n";
    let mut scene = Scene::new(rules);
    scene.teach();
    let (answer, _) = scene.connect();
    let sources = Arc::clone(&scene.bridge.shared);
    let surplus = |scene: &mut Scene, port: u16| {
        let first = scene.client.port();
        let answer = scene.syn_of(port);
        let ack = scene.ack_of(&answer, 71).frame();
        assert_eq!(scene.bridge.judge(WAN, &ack), Verdict::Reflect(Reason::MaxSrcConn));
        scene.client.set_port(first);
    };
    surplus(&mut scene, 40_001);
    // Its SYN-ACK was weir's: whoever has guessed or seen that needs not be the source.
    assert!(sources.sources().overload().is_none());
    let (promised, _) = answer.stamps.unwrap();
    let next = answer.seq.wrapping_add(1);
    let page = scene.down(PSH | ACK, S + 1, C + 1).tcp_options(&stamps(950, 71)).payload(b"hello");
    scene.pass(LAN, &page.frame());
    for (ack, hears) in [(next, false), (next.wrapping_add(5), true)] {
        assert!(sources.sources().overload().is_none());
        let ack = scene.up(ACK, C + 1, ack).tcp_options(&stamps(80, promised)).frame();
        scene.pass(WAN, &ack);
        let report = sources.sources().overload();
        let told = report.map(|report| (report.address, report.reason));
        assert_eq!(told, hears.then_some((scene.client.ip(), Reason::MaxSrcConn)));
    }
}

#[test]
fn adaptive_cookies_begin_and_end_with_the_count_of_half_open_connections() {
    let rules = "set limit states 1000\nset syncookies adaptive (start 20%, end 5%)\n\
                 pass in on wan proto tcp\n";
    for workers in [1, 3] {
        let mut scene = Scene::with_workers(rules, workers);
        let active = |scene: &mut Scene| {
            scene.bridge.wait(Duration::from_millis(200));
            scene.bridge.shared.uses_syncookies()
        };
        let syn = |scene: &mut Scene, port| {
            scene.client.set_port(port);
            let syn = scene.up(SYN, C, 0).frame();
            scene.bridge.judge(WAN, &syn)
        };
        let complete = |scene: &mut Scene, ports: std::ops::Range<u16>| {
            for port in ports {
                scene.client.set_port(port);
                for (port, frame) in [
                    (LAN, scene.down(SYN | ACK, S, C + 1).frame()),
                    (WAN, scene.up(ACK, C + 1, S + 1).frame()),
                ] {
                    scene.pass(port, &frame);
                }
            }
        };
        // From a fifth of the states on: 200. What has come to its end does not count.
        for port in 1..=249 {
            assert_eq!(syn(&mut scene, port), Verdict::Forward(LAN));
            if port % 5 == 0 {
                complete(&mut scene, port..port + 1);
            }
        }
        assert!(active(&mut scene), "{}", scene.bridge.shared.half_open());
        assert_eq!(scene.bridge.shared.half_open(), 200);

        // Until there are fewer than a twentieth, those counted that were answered and have not come
        // back.
        let mut answers = Vec::new();
        for port in 1001..=1030 {
            assert_eq!(syn(&mut scene, port), Verdict::Answer);
            answers.push((port, seen(WAN, &scene.bridge.frame)));
        }
        for port in (1..=180).filter(|port| port % 5 != 0) {
            complete(&mut scene, port..port + 1);
        }
        // 56 half-open, 30 cookies.
        assert!(active(&mut scene));
        for port in (181..=225).filter(|port| port % 5 != 0) {
            complete(&mut scene, port..port + 1);
        }
        // 20 half-open, 30 cookies: just as many as it takes.
        assert_eq!(scene.bridge.shared.half_open(), 20);
        assert!(active(&mut scene));
        let (port, answer) = answers.pop().unwrap();
        scene.client.set_port(port);
        let ack = scene.ack_of(&answer, 0).frame();
        scene.pass(WAN, &ack);
        let told = scene.down(SYN | ACK, S, ASKED + 1).frame();
        scene.answer(LAN, &told);
        let told = scene.down(SYN | ACK, S, C + 1).frame();
        scene.pass(LAN, &told);
        assert!(!active(&mut scene));
        assert_eq!(syn(&mut scene, 2000), Verdict::Forward(LAN));
    }
}

#[test]
fn a_client_that_the_rules_have_come_to_refuse_hears_a_rst_whatever_they_answer_others() {
    for policy in ["block drop", "block return", "block return-icmp"] {
        let mut scene = Scene::new(RULES);
        let answer = scene.syn(&[]);
        scene.bridge.load(&format!("set syncookies always\n{policy} proto tcp\n"));
        let ack = scene.ack_of(&answer, 0).frame();
        assert_eq!(scene.bridge.judge(WAN, &ack), Verdict::Reflect(Reason::BlockRule), "{policy}");
        let reset = seen(WAN, &scene.bridge.frame);
        assert_eq!((reset.flags, reset.seq), (RST, answer.seq.wrapping_add(1)));
        assert_eq!(scene.bridge.counters().synproxy.surplus, 0);
    }
}
