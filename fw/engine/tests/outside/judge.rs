//! What the engine does with frames, seen from outside: rules in their language, whole frames in,
//! verdicts, listings and counters out.

use std::time::Duration;

use weir_config::options::Limit;
use weir_engine::packet::tcp::flags::{ACK, FIN, RST, SYN};
use weir_engine::packet::{build, icmp};
use weir_engine::{LogAction, Reason, Verdict};

use crate::bridge::{Bridge, LAN, PASSES, WAN};

pub(crate) type Host = ([u8; 4], u16);

pub(crate) const CLIENT: Host = ([192, 0, 2, 1], 40_000);
pub(crate) const SERVER: Host = ([198, 51, 100, 2], 80);

/// A handshake started on the WAN; the client's next byte is 1001, the server's 5001.
pub(crate) fn handshake(bridge: &mut Bridge, client: Host, server: Host) -> Option<Reason> {
    bridge
        .send(WAN, &build::tcp(client, server, SYN).seq(1000).frame())
        .or_else(|| {
            let answer = build::tcp(server, client, SYN | ACK).seq(5000).ack(1001);
            bridge.send(LAN, &answer.frame())
        })
        .or_else(|| bridge.send(WAN, &build::tcp(client, server, ACK).seq(1001).ack(5001).frame()))
}

#[test]
fn a_connection_lives_from_syn_to_expiry() {
    let mut bridge = Bridge::new("block in\npass in on wan proto tcp to port 80\n");
    let (client, server) = (CLIENT, SERVER);
    assert_eq!(handshake(&mut bridge, client, server), PASSES);
    assert_eq!(
        bridge.listing(),
        ["wan tcp 198.51.100.2:80 <- 192.0.2.1:40000       ESTABLISHED:ESTABLISHED"]
    );
    let state = &bridge.states()[0];
    assert_eq!((state.packets, state.bytes), ([2, 1], [80, 40]));
    assert_eq!(state.rules, [Some(1), None]);
    assert_eq!(state.expires, 86_400);

    let fin = build::tcp(server, client, FIN | ACK).seq(5001).ack(1001).frame();
    assert_eq!(bridge.send(LAN, &fin), PASSES);
    assert!(bridge.listing()[0].ends_with("CLOSING:ESTABLISHED"));
    let fin = build::tcp(client, server, FIN | ACK).seq(1001).ack(5002).frame();
    assert_eq!(bridge.send(WAN, &fin), PASSES);
    let last = build::tcp(server, client, ACK).seq(5002).ack(1002).frame();
    assert_eq!(bridge.send(LAN, &last), PASSES);
    assert!(bridge.listing()[0].ends_with("FIN_WAIT_2:FIN_WAIT_2"));

    bridge.wait(Duration::from_secs(89));
    assert_eq!(bridge.states().len(), 1);
    bridge.wait(Duration::from_secs(2));
    assert_eq!(bridge.states(), []);
    assert_eq!(bridge.shared.states(), 0);
    let counters = bridge.counters();
    assert_eq!((counters.inserts, counters.removals), (1, 1));
}

#[test]
fn nothing_passes_without_rules() {
    let mut bridge = Bridge::without_rules(1);
    let syn = build::tcp(CLIENT, SERVER, SYN).frame();
    assert_eq!(bridge.send(WAN, &syn), Some(Reason::NoRuleset));
    let arp = build::arp(1, ([2, 0, 0, 0, 0, 1], [192, 0, 2, 1]), ([0; 6], [192, 0, 2, 2]));
    assert_eq!(bridge.send(WAN, &arp), Some(Reason::NoRuleset));
    bridge.load("");
    assert_eq!(bridge.send(WAN, &syn), Some(Reason::NoRule));
    assert_eq!(bridge.send(WAN, &arp), PASSES);
}

#[test]
fn a_packet_is_judged_arriving_and_leaving() {
    let syn = build::tcp(CLIENT, SERVER, SYN).frame();
    for (rules, expected) in [
        ("pass in on wan", PASSES),
        ("pass out on lan", PASSES),
        ("pass", PASSES),
        ("pass in on lan", Some(Reason::NoRule)),
        ("pass out on wan", Some(Reason::NoRule)),
        ("pass in on wan\nblock out on lan", Some(Reason::BlockRule)),
        ("block in on wan\npass out on lan", Some(Reason::BlockRule)),
        ("block in on eth1\npass out on eth0", Some(Reason::BlockRule)),
        ("pass on ! lan", PASSES),
        ("block\npass in on wan", Some(Reason::BlockRule)),
        ("block in\npass in on wan", PASSES),
        ("pass quick in on wan\nblock in", PASSES),
        ("pass in on wan no state\nblock out on lan", Some(Reason::BlockRule)),
        ("set skip on lan\nblock in on wan", Some(Reason::BlockRule)),
        ("set skip on lan\nblock out on lan\npass in on wan", PASSES),
        ("set skip on lan", Some(Reason::NoRule)),
        ("set skip on { lan wan }\nblock", PASSES),
    ] {
        let mut bridge =
            Bridge::new(&format!("{}\n", rules.replace("pass quick in", "pass in quick")));
        assert_eq!(bridge.send(WAN, &syn), expected, "{rules}");
    }
}

#[test]
fn one_state_covers_both_ports_and_counts_both_rules() {
    let mut bridge = Bridge::new("pass in on wan\npass out on lan\npass in on lan\n");
    assert_eq!(handshake(&mut bridge, CLIENT, SERVER), PASSES);
    assert_eq!(bridge.states()[0].rules, [Some(0), Some(1)]);
    let rules = bridge.engines[0].rule_counters();
    let seen: Vec<_> = rules.iter().map(|rule| (rule.packets, rule.states)).collect();
    // What arrives by the first rule's port leaves by the second's.
    assert_eq!(seen, [([2, 1], 1), ([1, 2], 1), ([0, 0], 0)]);
    assert_eq!(rules[0].evaluations, 2);

    let mut both = Bridge::new("pass\n");
    assert_eq!(handshake(&mut both, CLIENT, SERVER), PASSES);
    let rule = both.engines[0].rule_counters()[0];
    assert_eq!((rule.packets, rule.states, rule.states_total), ([3, 3], 1, 1));
}

#[test]
fn an_answer_from_the_wrong_side_is_another_flow() {
    let rules = "block in\npass in on wan proto tcp\n";
    let answer = build::tcp(SERVER, CLIENT, SYN | ACK).seq(5000).ack(1001).frame();
    let mut bridge = Bridge::new(rules);
    bridge.send(WAN, &build::tcp(CLIENT, SERVER, SYN).seq(1000).frame());
    assert_eq!(bridge.send(WAN, &answer), Some(Reason::BlockRule));
    let mut floating = Bridge::new(&format!("set state-policy floating\n{rules}"));
    floating.send(WAN, &build::tcp(CLIENT, SERVER, SYN).seq(1000).frame());
    assert_eq!(floating.send(WAN, &answer), PASSES);
}

#[test]
fn vlans_do_not_share_states() {
    let mut bridge = Bridge::new("block in on lan\npass in on wan\n");
    bridge.send(WAN, &build::tcp(CLIENT, SERVER, SYN).seq(1000).vlan(7).frame());
    let answer = build::tcp(SERVER, CLIENT, SYN | ACK).seq(5000).ack(1001);
    assert_eq!(bridge.send(LAN, &answer.clone().frame()), Some(Reason::BlockRule));
    assert_eq!(bridge.send(LAN, &answer.clone().vlan(8).frame()), Some(Reason::BlockRule));
    assert_eq!(bridge.send(LAN, &answer.vlan(7).frame()), PASSES);
    assert!(bridge.listing()[0].starts_with("wan vlan 7 tcp "));
}

#[test]
fn no_state_means_every_packet_is_judged() {
    let mut bridge = Bridge::new("block in\npass in on wan proto tcp no state\n");
    for flags in [SYN, ACK, FIN | ACK, RST] {
        assert_eq!(bridge.send(WAN, &build::tcp(CLIENT, SERVER, flags).frame()), PASSES);
    }
    assert_eq!(bridge.states(), []);
    let answer = build::tcp(SERVER, CLIENT, SYN | ACK).frame();
    assert_eq!(bridge.send(LAN, &answer), Some(Reason::BlockRule));

    let mut either = Bridge::new("pass in on wan\npass out on lan no state\n");
    assert_eq!(either.send(WAN, &build::tcp(CLIENT, SERVER, SYN).frame()), PASSES);
    assert_eq!(either.states(), []);
}

#[test]
fn only_a_syn_opens_a_connection() {
    let mut bridge = Bridge::new("pass proto tcp\n");
    for flags in [ACK, FIN | ACK, RST, SYN | ACK] {
        let reason = bridge.send(WAN, &build::tcp(CLIENT, SERVER, flags).frame());
        assert_eq!(reason, Some(Reason::TcpNoState), "flags {flags:#x}");
    }
    let mut any = Bridge::new("pass proto tcp flags any\n");
    assert_eq!(any.send(WAN, &build::tcp(CLIENT, SERVER, ACK).frame()), PASSES);
    assert_eq!(any.states().len(), 1);
}

#[test]
fn segments_outside_the_window_are_dropped_by_name() {
    let mut bridge = Bridge::new("pass\n");
    handshake(&mut bridge, CLIENT, SERVER);
    for (segment, reason) in [
        (build::tcp(CLIENT, SERVER, ACK).seq(1_000_000).ack(5001).payload(b"x"), Reason::TcpWindow),
        (build::tcp(CLIENT, SERVER, ACK).seq(1001).ack(5_000_000), Reason::TcpBadAck),
        (build::tcp(CLIENT, SERVER, RST).seq(1003), Reason::TcpBadReset),
    ] {
        assert_eq!(bridge.send(WAN, &segment.frame()), Some(reason));
        assert_eq!(bridge.counters().reasons[reason as usize], 1);
    }
    let from_responder = build::tcp(SERVER, CLIENT, SYN).seq(900_000).frame();
    assert_eq!(bridge.send(LAN, &from_responder), Some(Reason::TcpBadSyn));
    assert!(bridge.listing()[0].ends_with("ESTABLISHED:ESTABLISHED"));
    assert_eq!(bridge.send(WAN, &build::tcp(CLIENT, SERVER, RST).seq(1001).frame()), PASSES);
    assert!(bridge.listing()[0].ends_with("TIME_WAIT:TIME_WAIT"));
}

#[test]
fn syn_fin_and_rst_count_only_with_a_right_checksum() {
    let mut bridge = Bridge::new("pass\n");
    let mut damaged = build::tcp(CLIENT, SERVER, SYN).seq(1000).frame();
    damaged[50] ^= 1;
    assert_eq!(bridge.send(WAN, &damaged), Some(Reason::TcpChecksum));
    assert_eq!(bridge.states(), []);
    handshake(&mut bridge, CLIENT, SERVER);
    for flags in [RST, FIN | ACK] {
        let mut damaged = build::tcp(CLIENT, SERVER, flags).seq(1001).ack(5001).frame();
        damaged[50] ^= 1;
        assert_eq!(bridge.send(WAN, &damaged), Some(Reason::TcpChecksum));
    }
    assert!(bridge.listing()[0].ends_with("ESTABLISHED:ESTABLISHED"));
}

#[test]
fn a_port_can_be_used_again_at_once() {
    let mut bridge = Bridge::new("pass in on wan\n");
    handshake(&mut bridge, CLIENT, SERVER);
    bridge.send(LAN, &build::tcp(SERVER, CLIENT, RST | ACK).seq(5001).ack(1001).frame());
    assert!(bridge.listing()[0].ends_with("TIME_WAIT:TIME_WAIT"));
    let again = build::tcp(CLIENT, SERVER, SYN).seq(77_000_000).frame();
    assert_eq!(bridge.send(WAN, &again), PASSES);
    assert_eq!(bridge.listing().len(), 1);
    assert!(bridge.listing()[0].ends_with("CLOSED:SYN_SENT"));
    // Another attempt before anybody answered.
    let another = build::tcp(CLIENT, SERVER, SYN).seq(2_000_000_000).frame();
    assert_eq!(bridge.send(WAN, &another), PASSES);
    let answer = build::tcp(SERVER, CLIENT, SYN | ACK).seq(1).ack(2_000_000_001).frame();
    assert_eq!(bridge.send(LAN, &answer), PASSES);
}

#[test]
fn udp_lives_by_its_time_outs() {
    let mut bridge =
        Bridge::new("pass in on wan\nset timeout { udp.single 20, udp.multiple 40 }\n");
    let (there, back) = (build::udp(CLIENT, SERVER).frame(), build::udp(SERVER, CLIENT).frame());
    assert_eq!(bridge.send(LAN, &back), Some(Reason::NoRule));
    assert_eq!(bridge.send(WAN, &there), PASSES);
    assert!(bridge.listing()[0].ends_with("NO_TRAFFIC:SINGLE"));
    assert_eq!(bridge.states()[0].expires, 60);
    assert_eq!(bridge.send(WAN, &there), PASSES);
    assert_eq!(bridge.states()[0].expires, 20);
    bridge.wait(Duration::from_secs(15));
    assert_eq!(bridge.send(LAN, &back), PASSES);
    assert_eq!(bridge.send(WAN, &there), PASSES);
    assert!(bridge.listing()[0].ends_with("MULTIPLE:MULTIPLE"));
    bridge.wait(Duration::from_secs(39));
    assert_eq!(bridge.send(LAN, &back), PASSES);
    bridge.wait(Duration::from_secs(41));
    assert_eq!(bridge.states(), []);
}

#[test]
fn a_time_out_of_zero_keeps_no_state() {
    let mut bridge = Bridge::new("set timeout udp.first 0\npass in on wan\n");
    assert_eq!(bridge.send(WAN, &build::udp(CLIENT, SERVER).frame()), PASSES);
    assert_eq!(bridge.states(), []);
    assert_eq!(bridge.send(LAN, &build::udp(SERVER, CLIENT).frame()), Some(Reason::NoRule));
}

#[test]
fn shorter_time_outs_reach_states_that_are_there() {
    let mut bridge = Bridge::new("pass\n");
    handshake(&mut bridge, CLIENT, SERVER);
    bridge.load("pass\nset timeout tcp.established 10\n");
    assert_eq!(bridge.states()[0].expires, 10);
    bridge.wait(Duration::from_secs(11));
    assert_eq!(bridge.states(), []);
}

#[test]
fn ping_and_errors_belong_to_their_flow() {
    let (client, server) = (CLIENT.0, SERVER.0);
    let mut bridge = Bridge::new("pass in on wan\n");
    assert_eq!(bridge.send(WAN, &build::echo(client, server, 7, 1).frame()), PASSES);
    assert_eq!(bridge.send(LAN, &build::echo_reply(server, client, 7, 1).frame()), PASSES);
    let other_id = build::echo_reply(server, client, 8, 1).frame();
    assert_eq!(bridge.send(LAN, &other_id), Some(Reason::NoRule));
    assert_eq!(bridge.listing(), ["wan icmp 198.51.100.2:7 <- 192.0.2.1:7       1:0"]);

    let datagram = build::udp(CLIENT, SERVER).payload(b"hello").frame();
    assert_eq!(bridge.send(WAN, &datagram), PASSES);
    let router = [198, 51, 100, 1];
    let error = |to: [u8; 4], quoted: &[u8]| {
        build::icmp(router, to, icmp::v4::UNREACHABLE, 3).quote(quoted).frame()
    };
    assert_eq!(bridge.send(LAN, &error(client, &datagram)), PASSES);
    // To somebody else than who sent the quoted packet, about a flow that is not, from the side
    // that the packet came from.
    let (elsewhere, unknown) = ([192, 0, 2, 99], build::udp(CLIENT, (SERVER.0, 81)).frame());
    for (port, frame) in [
        (LAN, error(elsewhere, &datagram)),
        (LAN, error(client, &unknown)),
        (WAN, error(client, &datagram)),
    ] {
        assert!(bridge.send(port, &frame).is_some());
    }

    handshake(&mut bridge, CLIENT, SERVER);
    let in_flight = build::tcp(CLIENT, SERVER, ACK).seq(1001).frame();
    let guessed = build::tcp(CLIENT, SERVER, ACK).seq(1_000_000_000).frame();
    assert_eq!(bridge.send(LAN, &error(client, &in_flight)), PASSES);
    assert_eq!(bridge.send(LAN, &error(client, &guessed)), Some(Reason::IcmpWindow));
}

#[test]
fn errors_without_a_flow_need_a_rule_without_state() {
    let stray = build::icmp([198, 51, 100, 1], CLIENT.0, icmp::v4::UNREACHABLE, 3)
        .quote(&build::udp(CLIENT, SERVER).frame())
        .frame();
    let mut bridge = Bridge::new("pass\n");
    assert_eq!(bridge.send(LAN, &stray), Some(Reason::IcmpUnmatched));
    let mut bridge = Bridge::new("pass inet proto icmp icmp-type unreach no state\n");
    assert_eq!(bridge.send(LAN, &stray), PASSES);
}

#[test]
fn arp_and_neighbour_discovery_pass_and_router_advertisements_do_not() {
    let mut bridge = Bridge::new("block\n");
    let arp = build::arp(1, ([2, 0, 0, 0, 0, 1], [192, 0, 2, 1]), ([0; 6], [192, 0, 2, 2]));
    assert_eq!(bridge.send(WAN, &arp), PASSES);
    let from = std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    let to = std::net::Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 2);
    let message = |kind, ttl| build::icmp(from, to, kind, 0).payload(&[0; 16]).ttl(ttl).frame();
    let solicitation = icmp::v6::NEIGHBOUR_SOLICITATION;
    assert_eq!(bridge.send(WAN, &message(solicitation, 255)), PASSES);
    assert_eq!(bridge.send(WAN, &message(solicitation, 64)), Some(Reason::NdHopLimit));
    let advertisement = message(icmp::v6::ROUTER_ADVERTISEMENT, 255);
    assert_eq!(bridge.send(WAN, &advertisement), Some(Reason::BlockRule));
    bridge.load("pass in on wan inet6 proto icmp6 icmp6-type routeradv\n");
    assert_eq!(bridge.send(WAN, &advertisement), PASSES);
    assert_eq!(bridge.send(LAN, &advertisement), Some(Reason::NoRule));
    // Each one is judged: a state would let other messages between the same hosts ride on it.
    assert_eq!(bridge.states(), []);
}

#[test]
fn block_return_answers_in_the_name_of_the_host() {
    let mut bridge = Bridge::new("block return\n");
    let syn = build::tcp(CLIENT, SERVER, SYN).seq(1000).frame();
    assert_eq!(bridge.judge(WAN, &syn), Verdict::Reflect(Reason::BlockRule));
    assert_eq!(bridge.frame[26..34], [198, 51, 100, 2, 192, 0, 2, 1]);
    assert_eq!(bridge.frame[47], RST | ACK);
    assert_eq!(bridge.frame[42..46], 1001_u32.to_be_bytes());
    let datagram = build::udp(CLIENT, SERVER).frame();
    assert_eq!(bridge.judge(WAN, &datagram), Verdict::Reflect(Reason::BlockRule));
    assert_eq!((bridge.frame[23], bridge.frame[34], bridge.frame[35]), (1, 3, 3));
    // Never an answer to a RST.
    let reset = build::tcp(CLIENT, SERVER, RST).frame();
    assert_eq!(bridge.judge(WAN, &reset), Verdict::Drop(Reason::ReflectUnfit));
    let mut silent = Bridge::new("block drop\n");
    assert_eq!(silent.judge(WAN, &syn), Verdict::Drop(Reason::BlockRule));
}

#[test]
fn a_full_table_evicts_half_open_states_and_never_an_established_one() {
    let mut bridge = Bridge::new("set limit states 100\npass in on wan\n");
    let client = |i: u32| ((0x0a00_0000 + i).to_be_bytes(), 40_000);
    for i in 0..40 {
        assert_eq!(handshake(&mut bridge, client(i), SERVER), PASSES);
    }
    for i in 100..10_100 {
        assert_eq!(bridge.send(WAN, &build::tcp(client(i), SERVER, SYN).frame()), PASSES);
        assert!(bridge.shared.states() <= 100);
    }
    assert_eq!((bridge.states().len(), bridge.shared.pool(Limit::States).high_water()), (100, 100));
    let established = bridge.listing();
    let established = established.iter().filter(|line| line.ends_with("ESTABLISHED:ESTABLISHED"));
    assert_eq!(established.count(), 40);
    assert_eq!(bridge.counters().evictions, 10_000 - 60);
    // The youngest are those that are left.
    assert!(bridge.listing().iter().any(|line| line.contains("10.0.39.115")));
    // With nothing to evict, new connections are refused, by name.
    for i in 100..10_100 {
        if bridge.states().iter().all(|state| state.peers[1].state == "ESTABLISHED") {
            break;
        }
        handshake(&mut bridge, client(i), SERVER);
    }
    let refused = build::tcp(client(20_000), SERVER, SYN).frame();
    assert_eq!(bridge.send(WAN, &refused), Some(Reason::StateLimit));
    let evicted = bridge.counters().evictions;
    assert_eq!(bridge.shared.crowded_out(), (evicted, 1));
    // And again possible once the table has room.
    bridge.wait(Duration::from_secs(86_401));
    assert_eq!(bridge.shared.states(), 0);
    assert_eq!(bridge.send(WAN, &refused), PASSES);
}

#[test]
fn a_reload_keeps_states_and_the_counters_of_unchanged_rules() {
    let mut bridge = Bridge::new("block in\npass in on wan proto tcp\npass in on lan\n");
    handshake(&mut bridge, CLIENT, SERVER);
    let before = bridge.engines[0].rule_counters();
    bridge.load("block in\npass in on wan proto tcp\npass in on lan\n");
    assert_eq!(bridge.engines[0].rule_counters(), before);

    bridge.load("pass in on lan\nblock in\nblock in proto udp\n");
    assert_eq!(bridge.states()[0].rules, [None, None]);
    let after = bridge.engines[0].rule_counters();
    assert_eq!((after[0], after[1]), (before[2], before[0]));
    assert_eq!(after[2].evaluations, 0);
    // The connection lives on although no rule would let it begin.
    let data = build::tcp(CLIENT, SERVER, ACK).seq(1001).ack(5001).payload(b"more").frame();
    assert_eq!(bridge.send(WAN, &data), PASSES);

    bridge.load("block in\npass in on wan proto tcp\n");
    assert_eq!(bridge.states()[0].rules, [None, None], "a removed rule does not come back");
}

#[test]
fn equal_rules_are_told_apart() {
    let mut bridge = Bridge::new("pass in on wan\npass in on wan\n");
    bridge.send(WAN, &build::udp(CLIENT, SERVER).frame());
    bridge.load("pass in on wan\npass in on wan\nblock in proto tcp\n");
    let packets: Vec<_> =
        bridge.engines[0].rule_counters().iter().map(|rule| rule.packets[0]).collect();
    assert_eq!(packets, [0, 1, 0]);
}

#[test]
fn states_can_be_killed() {
    let mut bridge = Bridge::new("pass in on wan\n");
    for port in 1..=200 {
        bridge.send(WAN, &build::udp((CLIENT.0, port), SERVER).frame());
    }
    let (now, mut cursor, mut killed) = (bridge.now, Some(0), 0);
    while let Some(at) = cursor {
        let some;
        (some, cursor) = bridge.engines[0].kill(now, at, 64, &|state| state.source_port % 2 == 0);
        killed += some;
    }
    assert_eq!(killed, 100);
    assert!(bridge.states().iter().all(|state| state.source_port % 2 == 1));
    let id = bridge.states()[0].id;
    assert_eq!(bridge.engines[0].kill(now, 0, 1000, &|state| state.id == id).0, 1);
    assert_eq!(bridge.states().len(), 99);
}

#[test]
fn a_disabled_filter_passes_until_its_deadline() {
    let mut bridge = Bridge::new("block\n");
    let frame = build::udp(CLIENT, SERVER).frame();
    let until = bridge.now.after(Duration::from_secs(60));
    bridge.engines[0].open_until(Some(until));
    assert_eq!(bridge.send(WAN, &frame), PASSES);
    bridge.now = until;
    assert_eq!(bridge.send(WAN, &frame), Some(Reason::BlockRule));
    assert_eq!(bridge.counters().unfiltered, 1);
}

#[test]
fn rules_that_log_say_where_and_why() {
    let mut bridge =
        Bridge::new("block in\npass in log on wan proto tcp\nblock out log on lan proto udp\n");
    handshake(&mut bridge, CLIENT, SERVER);
    assert_eq!(bridge.log.len(), 1, "`log` is for the packet that makes the state");
    let record = &bridge.log[0];
    assert_eq!((record.action, record.rule, record.reason), (LogAction::Pass, 1, None));
    assert_eq!((record.port, record.at, record.captured), (WAN, WAN, 54));
    bridge.load("pass in on wan\nblock out log on lan proto udp\n");
    bridge.send(WAN, &build::udp(CLIENT, SERVER).frame());
    let record = bridge.log.last().unwrap();
    assert_eq!((record.action, record.rule), (LogAction::Block, 1));
    assert_eq!((record.port, record.at, record.reason), (WAN, LAN, Some(Reason::BlockRule)));

    let mut all = Bridge::new("pass in log (all) on wan\n");
    handshake(&mut all, CLIENT, SERVER);
    assert_eq!(all.log.len(), 3);
}

#[test]
fn every_flow_has_one_owner() {
    let mut bridge = Bridge::with_workers("pass in on wan\n", 4);
    for port in 1..=400 {
        assert_eq!(handshake(&mut bridge, (CLIENT.0, port), SERVER), PASSES);
    }
    let owned: Vec<_> = bridge.engines.iter().map(weir_engine::Engine::state_count).collect();
    assert_eq!(owned.iter().sum::<u32>(), 400);
    assert!(owned.iter().all(|&states| states > 50), "{owned:?}");
    assert!(bridge.states().iter().all(|state| state.packets == [2, 1]));
    // Errors find the owner of the flow they speak of.
    for port in 1..=400 {
        let quoted = build::tcp((CLIENT.0, port), SERVER, ACK).seq(1001).frame();
        let error = build::icmp([198, 51, 100, 1], CLIENT.0, icmp::v4::UNREACHABLE, 1)
            .quote(&quoted)
            .frame();
        assert_eq!(bridge.send(LAN, &error), PASSES);
    }
    let ids: std::collections::HashSet<_> = bridge.states().iter().map(|state| state.id).collect();
    assert_eq!(ids.len(), 400);
}

#[test]
fn checksums_left_to_hardware_are_finished() {
    use weir_engine::frame::{Checksum, Owned};
    let mut bridge = Bridge::new("pass in on wan\n");
    let expected = build::tcp(CLIENT, SERVER, SYN).frame();
    let mut frames = Owned::new();
    frames.push(WAN, &build::tcp(CLIENT, SERVER, SYN).partial().frame());
    frames.meta_mut(0).checksum = Checksum::MaybePartial;
    let mut verdicts = Vec::new();
    bridge.engines[0].judge(bridge.now, &mut frames, &mut verdicts, &mut bridge.log);
    assert_eq!(verdicts, [Verdict::Forward(LAN)]);
    assert_eq!(frames.bytes(0), expected);
    assert_eq!(bridge.counters().finished_checksums, 1);

    bridge.engines[0].open_until(Some(bridge.now.after(Duration::from_secs(1))));
    let mut frames = Owned::new();
    frames.push(WAN, &build::tcp(CLIENT, SERVER, SYN).partial().frame());
    frames.meta_mut(0).checksum = Checksum::MaybePartial;
    bridge.engines[0].judge(bridge.now, &mut frames, &mut verdicts, &mut bridge.log);
    assert_eq!(frames.bytes(0), expected, "also while the filter is disabled");
}

#[test]
fn ip_options_do_not_pass() {
    let mut bridge = Bridge::new("pass\n");
    let record_route = [7, 3, 4, 0];
    let frame = build::udp(CLIENT, SERVER).ip_options(&record_route).frame();
    assert_eq!(bridge.send(WAN, &frame), Some(Reason::IpOptions));
    // IGMP and MLD carry the router alert by design (RFC 2236, RFC 2710).
    let report = build::other(CLIENT.0, [224, 0, 0, 251], 2).payload(&[0x16, 0, 0, 0]);
    assert_eq!(bridge.send(WAN, &report.clone().ip_options(&[0x94, 4, 0, 0]).frame()), PASSES);
    let routed = report.ip_options(&[0x83, 7, 4, 10, 0, 0, 1]).frame();
    assert_eq!(bridge.send(WAN, &routed), Some(Reason::IpOptions));
    let (host, all) = ([0xfe80, 0, 0, 0, 0, 0, 0, 1_u16], [0xff02, 0, 0, 0, 0, 0, 0, 0x16_u16]);
    let report = build::icmp(host, all, icmp::v6::LISTENER_REPORT_V2, 0).ttl(1);
    let alert = report.clone().extension(0, &[0, 0, 5, 2, 0, 0, 1, 0]);
    assert_eq!(bridge.send(WAN, &alert.frame()), PASSES);
    let destination = report.extension(60, &[0, 0, 1, 4, 0, 0, 0, 0]);
    assert_eq!(bridge.send(WAN, &destination.frame()), Some(Reason::IpOptions));
    // What is no flow has no more right to options, and nor have neighbours.
    let redirect = build::icmp(CLIENT.0, SERVER.0, icmp::v4::REDIRECT, 0).ip_options(&[7, 3, 4]);
    assert_eq!(bridge.send(WAN, &redirect.frame()), Some(Reason::IpOptions));
    let neighbour = build::icmp(host, all, icmp::v6::NEIGHBOUR_SOLICITATION, 0).ttl(255);
    let neighbour = neighbour.extension(60, &[0, 0, 1, 4, 0, 0, 0, 0]).frame();
    assert_eq!(bridge.send(WAN, &neighbour), Some(Reason::IpOptions));
}

#[test]
fn with_both_ports_skipped_states_and_options_do_not_matter() {
    let mut bridge = Bridge::new("pass\n");
    handshake(&mut bridge, CLIENT, SERVER);
    bridge.load("set skip on { lan wan }\n");
    let beyond = build::tcp(CLIENT, SERVER, ACK).seq(900_000).ack(5001).payload(b"?").frame();
    assert_eq!(bridge.send(WAN, &beyond), PASSES);
    let routed = build::udp(CLIENT, SERVER).ip_options(&[7, 3, 4, 0]).frame();
    assert_eq!(bridge.send(WAN, &routed), PASSES);
}

#[test]
fn resets_and_refusals_do_not_protect_a_state_from_eviction() {
    let mut bridge = Bridge::new("set limit states 10\npass in on wan\n");
    for port in 1..=20 {
        let host = (CLIENT.0, port);
        assert_eq!(bridge.send(WAN, &build::tcp(host, SERVER, SYN).seq(1000).frame()), PASSES);
        let reset = if port % 2 == 0 {
            bridge.send(WAN, &build::tcp(host, SERVER, RST).seq(1001).frame())
        } else {
            let refusal = build::tcp(SERVER, host, RST | ACK).seq(0).ack(1001);
            bridge.send(LAN, &refusal.frame())
        };
        assert_eq!(reset, PASSES);
    }
    assert_eq!(handshake(&mut bridge, CLIENT, SERVER), PASSES);
}

#[test]
fn an_answered_datagram_is_not_evicted() {
    let mut bridge = Bridge::new("set limit states 10\npass in on wan\n");
    let (query, reply) = (build::udp(CLIENT, SERVER).frame(), build::udp(SERVER, CLIENT).frame());
    bridge.send(WAN, &query);
    bridge.send(WAN, &query);
    assert_eq!(bridge.send(LAN, &reply), PASSES);
    for port in 1..=20 {
        bridge.send(WAN, &build::udp((CLIENT.0, port), SERVER).frame());
    }
    assert_eq!(bridge.send(LAN, &reply), PASSES);
}

#[test]
fn an_idle_worker_keeps_up_with_the_end_of_many_states() {
    let mut bridge = Bridge::new("pass in on wan\nset timeout udp.first 5\n");
    for port in 1..=5_000 {
        bridge.send(WAN, &build::udp((CLIENT.0, port), SERVER).frame());
    }
    bridge.wait(Duration::from_secs(7));
    assert_eq!(bridge.shared.states(), 0);
}

#[test]
fn a_limit_that_is_lowered_makes_half_open_states_go_and_no_others() {
    // Full tables shorten time-outs unless they are told not to.
    let rules = |limit: u32| {
        format!(
            "set limit states {limit}\nset timeout {{ adaptive.start 0, adaptive.end 0 }}\npass\n"
        )
    };
    let mut bridge = Bridge::with_workers(&rules(1000), 2);
    for port in 1..=100 {
        assert_eq!(handshake(&mut bridge, (CLIENT.0, port), SERVER), PASSES);
    }
    let syn = |port: u16| build::tcp((CLIENT.0, port), SERVER, SYN).frame();
    for port in 1001..=1400 {
        assert_eq!(bridge.send(WAN, &syn(port)), PASSES);
    }
    let proven = |bridge: &Bridge| {
        bridge.states().iter().filter(|state| state.peers[1].state == "ESTABLISHED").count()
    };
    bridge.load(&rules(300));
    bridge.wait(Duration::from_millis(100));
    assert_eq!((bridge.shared.states(), proven(&bridge)), (300, 100));
    // Full: one more makes one go.
    assert_eq!(bridge.send(WAN, &syn(2000)), PASSES);
    assert_eq!((bridge.shared.states(), bridge.counters().evictions), (300, 201));
    bridge.load(&rules(50));
    bridge.wait(Duration::from_millis(100));
    assert_eq!((bridge.shared.states(), proven(&bridge)), (100, 100));
    for port in 3001..=3010 {
        assert_eq!(bridge.send(WAN, &syn(port)), Some(Reason::StateLimit));
    }
    assert_eq!((bridge.shared.states(), bridge.counters().evictions), (100, 401));
}
