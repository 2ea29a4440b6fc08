//! What rules do beside letting pass and blocking: changes to packets, tags, dice, rates, `once`,
//! options in headers, and what is logged and counted on the way.

use std::net::Ipv4Addr;
use std::time::Duration;

use weir_config::rules::Direction;
use weir_engine::frame::Owned;
use weir_engine::packet::ipv4::Ipv4;
use weir_engine::packet::tcp::flags::{ACK, SYN};
use weir_engine::packet::{Packet, Transport, build, checksum, ethernet, tcp};
use weir_engine::{Checksum, LogAction, Meta, Reason};

use crate::bridge::{Bridge, LAN, PASSES, WAN};

type Host = ([u8; 4], u16);

const CLIENT: Host = ([192, 0, 2, 1], 40_000);
const SERVER: Host = ([198, 51, 100, 2], 80);
/// nop, mss 1460, sackOK, nop, mss 1460: the first MSS stands at an odd offset.
const ODD_MSS: [u8; 12] = [1, 2, 4, 5, 0xb4, 4, 2, 1, 2, 4, 5, 0xb4];

/// The frame that left, parsed, with all its checksums verified.
fn left(bridge: &Bridge) -> Packet {
    let frame = &bridge.frame;
    let length = frame.len() as u32;
    let meta = Meta { port: WAN, checksum: Checksum::Unknown, gso_size: 0, length };
    let packet = Packet::parse(frame, &meta).expect("the frame parses");
    let mut frames = Owned::new();
    frames.push(WAN, frame);
    if !matches!(packet.transport, Transport::Other) {
        assert!(checksum::verify(&packet, &frames, 0), "{frame:x?}");
    }
    packet
}

#[test]
fn what_is_set_holds_for_the_whole_connection() {
    let mut bridge = Bridge::new(
        "match in on wan proto tcp to port 80 set (tos 0x10, prio (5, 6)) scrub (min-ttl 64)\n\
         pass in on wan proto tcp to port 80 set tos 0x48\n",
    );
    let syn = build::tcp(CLIENT, SERVER, SYN).seq(1000).ttl(9).tos(0x03).vlan(7).frame();
    assert_eq!(bridge.send(WAN, &syn), PASSES);
    let packet = left(&bridge);
    // The later rule's tos wins; the bits of congestion control stay.
    assert_eq!((packet.tos, packet.ttl, packet.priority), (0x4b, 64, 5));
    let answer = build::tcp(SERVER, CLIENT, SYN | ACK).seq(5000).ack(1001).vlan(7).ttl(200).frame();
    assert_eq!(bridge.send(LAN, &answer), PASSES);
    let packet = left(&bridge);
    assert_eq!((packet.tos, packet.ttl, packet.priority), (0x48, 200, 5));
    // A bare acknowledgement has the second priority.
    let ack = build::tcp(CLIENT, SERVER, ACK).seq(1001).ack(5001).vlan(7).frame();
    assert_eq!(bridge.send(WAN, &ack), PASSES);
    assert_eq!(left(&bridge).priority, 6);
}

#[test]
fn scrub_clamps_the_mss_and_clears_df() {
    let mut bridge =
        Bridge::new("match scrub (max-mss 1400 no-df random-id)\npass proto tcp flags any\n");
    for offset in [0, 1] {
        let options = if offset == 1 { &ODD_MSS[..] } else { &[2, 4, 5, 0xb4][..] };
        let host = (CLIENT.0, CLIENT.1 + offset);
        let build = build::tcp(host, SERVER, SYN).seq(1).tcp_options(options);
        let frame = build.fragment(0x4000).identification(7).frame();
        assert_eq!(bridge.send(WAN, &frame), PASSES);
        left(&bridge);
        let header = Ipv4::new(&bridge.frame, 14, bridge.frame.len()).expect("a header");
        assert!(header.checksum_is_right());
        assert_eq!(header.fragment(), 0);
        assert_ne!(header.identification(), 7, "one in 65,536, and the key is fixed");
        let offers: Vec<u16> = tcp::find_mss(&bridge.frame[34..]).map(|(_, mss)| mss).collect();
        assert!(!offers.is_empty() && offers.iter().all(|&mss| mss == 1400), "{offers:?}");
    }
    // A smaller offer stays.
    let small = build::tcp((CLIENT.0, 50_000), SERVER, SYN).tcp_options(&[2, 4, 2, 0]).frame();
    assert_eq!(bridge.send(WAN, &small), PASSES);
    assert_eq!(tcp::find_mss(&bridge.frame[34..]).next().map(|(_, mss)| mss), Some(512));
    left(&bridge);
}

#[test]
fn an_unfinished_checksum_is_left_to_who_finishes_it() {
    let mut bridge = Bridge::new("pass proto tcp scrub (max-mss 1400)\n");
    let build = build::tcp(CLIENT, SERVER, SYN).tcp_options(&[2, 4, 5, 0xb4]).partial();
    let frame = build.frame();
    let mut frames = Owned::new();
    frames.push(WAN, &frame);
    frames.meta_mut(0).checksum = Checksum::Valid;
    let (mut verdicts, now) = (Vec::new(), bridge.now);
    bridge.engines[0].judge(now, &mut frames, &mut verdicts, &mut bridge.log);
    let bytes = frames.bytes(0);
    assert_eq!(tcp::find_mss(&bytes[34..]).next().map(|(_, mss)| mss), Some(1400));
    assert_eq!(bytes[50..52], frame[50..52], "hardware sums up what is there when it sends");
}

#[test]
fn priorities_are_matched_and_untagged_frames_have_three() {
    let mut bridge = Bridge::new("block\npass proto udp prio 3\npass proto udp prio 5 no state\n");
    let udp = |port| build::udp((CLIENT.0, port), SERVER);
    assert_eq!(bridge.send(WAN, &udp(1).frame()), PASSES);
    for (priority, reason) in [(5, PASSES), (4, Some(Reason::BlockRule))] {
        let mut frame = udp(2).vlan(7).frame();
        ethernet::set_priority(&mut frame, priority);
        assert_eq!(bridge.send(WAN, &frame), reason);
    }
}

#[test]
fn once_rules_match_once_and_stay_spent_over_a_reload() {
    let rules = "block\npass proto udp to port 53 once no state\n";
    let mut bridge = Bridge::with_workers(rules, 2);
    let query = |port| build::udp((CLIENT.0, port), (SERVER.0, 53)).frame();
    assert_eq!(bridge.send(WAN, &query(1)), PASSES);
    assert_eq!(bridge.send(WAN, &query(2)), Some(Reason::BlockRule));
    bridge.load(&format!("pass proto icmp\n{rules}"));
    assert_eq!(bridge.send(WAN, &query(3)), Some(Reason::BlockRule));
    bridge.load("block\npass proto udp to port { 53 54 } once no state\n");
    assert_eq!(bridge.send(WAN, &query(4)), Some(Reason::BlockRule), "the same rule, not the new");
    let other = build::udp(CLIENT, (SERVER.0, 54)).frame();
    assert_eq!(bridge.send(WAN, &other), PASSES);
}

#[test]
fn a_rate_stops_the_rule_and_its_states_until_it_falls() {
    let mut bridge = Bridge::new("block\npass proto icmp max-pkt-rate 5/10\n");
    let ping =
        |sequence| build::echo(Ipv4Addr::from(CLIENT.0), Ipv4Addr::from(SERVER.0), 7, sequence);
    let passed = (0..20).filter(|&i| bridge.send(WAN, &ping(i).frame()) == PASSES).count();
    assert_eq!(passed, 5);
    assert_eq!(bridge.send(WAN, &ping(20).frame()), Some(Reason::PacketRate));
    // Answers are not counted.
    let answer = build::echo_reply(Ipv4Addr::from(SERVER.0), Ipv4Addr::from(CLIENT.0), 7, 1);
    assert_eq!(bridge.send(LAN, &answer.frame()), PASSES);
    bridge.wait(Duration::from_secs(11));
    assert_eq!(bridge.send(WAN, &ping(21).frame()), PASSES);
}

#[test]
fn dice_fall_as_often_as_they_should() {
    let mut bridge = Bridge::new("pass no state\nblock proto udp probability 20%\n");
    let blocked = (0..10_000_u16)
        .filter(|&port| bridge.send(WAN, &build::udp((CLIENT.0, port), SERVER).frame()) != PASSES)
        .count();
    assert!((1_800..2_200).contains(&blocked), "{blocked}");
}

#[test]
fn ip_options_need_a_rule_that_allows_them() {
    // A record-route option, padded.
    const RECORD_ROUTE: [u8; 8] = [7, 7, 4, 0, 0, 0, 0, 0];
    let syn = |port| build::tcp((CLIENT.0, port), SERVER, SYN).ip_options(&RECORD_ROUTE).frame();
    let mut bridge = Bridge::new("pass proto tcp\n");
    assert_eq!(bridge.send(WAN, &syn(1)), Some(Reason::IpOptions));
    assert_eq!(bridge.states().len(), 0);
    bridge.load("pass in proto tcp allow-opts\npass out proto tcp\n");
    assert_eq!(bridge.send(WAN, &syn(2)), Some(Reason::IpOptions), "both rules have to");
    bridge.load("pass proto tcp allow-opts\n");
    assert_eq!(bridge.send(WAN, &syn(3)), PASSES);
    assert_eq!(bridge.send(WAN, &syn(3)), PASSES, "and the state knows");
}

#[test]
fn matches_are_logged_and_counted_with_who_decides() {
    let mut bridge = Bridge::new(
        "match in log proto udp tag seen label \"first\"\n\
         match in proto udp to port 53\n\
         pass in log proto udp tagged seen no state\n",
    );
    assert_eq!(bridge.send(WAN, &build::udp(CLIENT, (SERVER.0, 53)).frame()), PASSES);
    let logged: Vec<_> = bridge.log.iter().map(|r| (r.rule, r.action, r.direction)).collect();
    assert_eq!(logged, [(0, LogAction::Match, Direction::In), (2, LogAction::Pass, Direction::In)]);
    let packets: Vec<_> =
        bridge.engines[0].rule_counters().iter().map(|rule| rule.packets[0]).collect();
    assert_eq!(packets, [1, 1, 1]);
}

#[test]
fn log_matches_follows_the_packet_through_the_rules() {
    let mut bridge = Bridge::new(
        "match log (matches) proto udp to port 53\n\
         pass proto udp\n\
         match proto udp\n\
         block in proto udp to port 53\n\
         match proto tcp\n",
    );
    let reason = bridge.send(WAN, &build::udp(CLIENT, (SERVER.0, 53)).frame());
    assert_eq!(reason, Some(Reason::BlockRule));
    let arriving = bridge.log.iter().filter(|record| record.direction == Direction::In);
    assert_eq!(arriving.map(|record| record.rule).collect::<Vec<_>>(), [0, 1, 2, 3]);
    bridge.log.clear();
    assert_eq!(bridge.send(WAN, &build::udp(CLIENT, (SERVER.0, 54)).frame()), PASSES);
    assert!(bridge.log.is_empty());
}
