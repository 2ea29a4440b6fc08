//! Layer 2 seen from outside: frames byte by byte in, verdicts and counters out; and random `ether`
//! rules against FreeBSD's pf.conf(5) read literally.

use std::sync::Arc;

use weir_config::ether::{EtherRule, MacMatch, VlanMatch};
use weir_config::rules::{Address, Direction, RuleSet, Tagged};
use weir_config::tables::{Table, TableEntry};
use weir_config::{Defines, SourceFile, parse_one};
use weir_engine::packet::{build, icmp};
use weir_engine::{PortIndex, Reason};

use crate::bridge::{Bridge, LAN, PASSES, WAN};
use crate::random::Random;

type Mac = [u8; 6];

const A: Mac = [2, 0, 0, 0, 0, 0xa];
const B: Mac = [2, 0, 0, 0, 0, 0xb];
const BROADCAST: Mac = [0xff; 6];

/// A link-local group address.
const fn group(last: u8) -> Mac {
    [0x01, 0x80, 0xc2, 0x00, 0x00, last]
}

fn frame(to: Mac, from: Mac, behind: &[u8]) -> Vec<u8> {
    let mut frame = [&to[..], &from, behind].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

fn bpdu() -> Vec<u8> {
    frame(group(0), A, &[0, 0x26, 0x42, 0x42, 3, 0, 0, 0, 0])
}

fn lldp() -> Vec<u8> {
    frame(group(0x0e), A, &[0x88, 0xcc, 2, 7, 4])
}

fn lacp() -> Vec<u8> {
    frame(group(2), A, &[0x88, 0x09, 1, 1])
}

fn eapol() -> Vec<u8> {
    frame(group(3), A, &[0x88, 0x8e, 2, 1, 0, 0])
}

fn pause() -> Vec<u8> {
    frame(group(1), A, &[0x88, 0x08, 0, 1, 0xff, 0xff])
}

/// Somebody's own ethertype.
fn strange() -> Vec<u8> {
    frame(B, A, &[0x88, 0xb5, 1, 2, 3])
}

/// IPX in SNAP.
fn llc() -> Vec<u8> {
    frame(B, A, &[0, 0x20, 0xaa, 0xaa, 3, 0, 0, 0, 0x81, 0x37])
}

/// What sets a PPPoE session up: discovery to everybody, then LCP.
fn padi() -> Vec<u8> {
    frame(BROADCAST, A, &[0x88, 0x63, 0x11, 9, 0, 0, 0, 4, 1, 1, 0, 0])
}

fn lcp() -> Vec<u8> {
    session(&[0xc0, 0x21, 1, 1, 0, 4])
}

/// A frame of a session with this in PPP.
fn session(ppp: &[u8]) -> Vec<u8> {
    let header = [0x88, 0x64, 0x11, 0, 0, 1, 0, ppp.len() as u8];
    frame(B, A, &[&header[..], ppp].concat())
}

/// Compressed data, whatever it was.
fn pppoe() -> Vec<u8> {
    session(&[0, 0xfd, 1, 2, 3])
}

fn tagged(vid: u16, mut frame: Vec<u8>) -> Vec<u8> {
    frame.splice(12..12, [0x81, 0x00, (vid >> 8) as u8, vid as u8]);
    frame
}

fn request(from: Mac, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    build::arp(1, (from, sender), ([0; 6], target))
}

fn wrapped() -> Vec<u8> {
    build::echo([192, 0, 2, 1], [192, 0, 2, 2], 1, 1).macs(A, B).pppoe(1).frame()
}

fn ping() -> Vec<u8> {
    build::echo([192, 0, 2, 1], [192, 0, 2, 2], 1, 1).macs(A, B).frame()
}

#[test]
fn control_frames_cross_and_what_nobody_knows_does_not() {
    let mut bridge = Bridge::new("pass\n");
    for port in [LAN, WAN] {
        for control in [bpdu(), lldp(), lacp(), eapol(), padi(), lcp(), tagged(7, padi())] {
            assert_eq!(bridge.send(port, &control), PASSES, "{control:02x?}");
        }
        for (dropped, reason) in [
            (strange(), Reason::EtherType),
            (tagged(7, strange()), Reason::EtherType),
            (llc(), Reason::Llc),
            (pppoe(), Reason::Pppoe),
            (session(&[0x80, 0xfd, 1, 1, 0, 4]), Reason::Pppoe),
            (frame(B, A, &[0x88, 0x63, 0x11, 0xd3, 0, 0, 0, 0]), Reason::Pppoe),
            (frame(B, A, &[0x88, 0x63, 0x12, 9, 0, 0, 0, 0]), Reason::PppoeHeader),
            (frame(BROADCAST, A, &[0x88, 0x63, 0x11, 9, 0, 0, 0, 99]), Reason::PppoeLength),
            (frame(group(0), A, &[0x88, 0x63, 0x11, 9, 0, 0, 0, 0]), Reason::LinkLocal),
            (pause(), Reason::MacControl),
            (frame(B, A, &[0x88, 0x08, 1, 1]), Reason::MacControl),
            (frame(group(0x0e), A, &[0x88, 0xf7, 0, 2]), Reason::LinkLocal),
            (tagged(7, lldp()), Reason::LinkLocal),
            (frame(group(0), [3, 0, 0, 0, 0, 1], &[0x88, 0xcc]), Reason::SourceAddress),
        ] {
            let before = bridge.counters().reasons[reason as usize];
            assert_eq!(bridge.send(port, &dropped), Some(reason), "{dropped:02x?}");
            assert_eq!(bridge.counters().reasons[reason as usize], before + 1);
        }
    }
    let others = bridge.counters().ports[0].traffic[2];
    assert_eq!((others[0][0].packets, others[0][1].packets, others[1][0].packets), (7, 14, 7));
}

#[test]
fn each_control_protocol_has_its_switch() {
    let frames = [
        ("bpdu", bpdu()),
        ("lldp", lldp()),
        ("lacp", lacp()),
        ("eapol", eapol()),
        ("pppoe", padi()),
    ];
    for (on, _) in &frames {
        let mut bridge = Bridge::new(&format!("set link-control {{ {on} }}\npass\n"));
        for (name, frame) in &frames {
            let expected = (name != on).then_some(Reason::LinkControl);
            assert_eq!(bridge.send(WAN, frame), expected, "{name}, {on} passing");
        }
    }
    let mut none = Bridge::new("set link-control none\nether pass in proto lldp\npass\n");
    assert_eq!(none.send(LAN, &bpdu()), Some(Reason::LinkControl));
    assert_eq!(none.send(LAN, &lldp()), PASSES, "an ether rule overrides the switch");
}

#[test]
fn an_ether_rule_overrides_the_default_either_way() {
    let arp = request(A, [192, 0, 2, 1], [192, 0, 2, 2]);
    let blocked = Some(Reason::EtherRule);
    for (rules, frame, expected) in [
        ("ether pass proto 0x88b5", strange(), PASSES),
        ("ether pass in on lan proto 0x88b5", strange(), PASSES),
        ("ether pass out on wan proto 0x88b5", strange(), PASSES),
        ("ether pass in on wan proto 0x88b5", strange(), Some(Reason::EtherType)),
        ("ether pass proto 0x88b5\nether block out on wan", strange(), blocked),
        ("ether pass quick proto 0x88b5\nether block", strange(), PASSES),
        ("ether pass", llc(), PASSES),
        ("ether pass proto llc", llc(), PASSES),
        ("ether pass proto llc", strange(), Some(Reason::EtherType)),
        ("ether pass proto pppoe-session", pppoe(), PASSES),
        ("ether block proto pppoe-session", lcp(), blocked),
        ("ether block proto pppoe-discovery", lcp(), PASSES),
        ("ether block proto pppoe-session", wrapped(), blocked),
        ("ether block proto ip", wrapped(), PASSES),
        ("ether block l3 from 192.0.2.1", wrapped(), PASSES),
        ("set link-control none", lcp(), Some(Reason::LinkControl)),
        ("set link-control none", wrapped(), PASSES),
        ("set link-control none\nether pass proto pppoe-session", lcp(), PASSES),
        ("ether pass", pause(), Some(Reason::MacControl)),
        ("ether block proto arp", arp.clone(), blocked),
        ("ether block in on wan proto arp", arp.clone(), PASSES),
        ("ether block out on wan proto arp", arp, blocked),
        ("ether block proto llc to 01:80:c2:00:00:00", bpdu(), blocked),
        ("ether block proto ip", ping(), blocked),
        ("ether block proto ip6", ping(), PASSES),
        ("ether block in on ! wan from 02:00:00:00:00:0a", ping(), blocked),
        ("ether block from ! 02:00:00:00:00:0a", ping(), PASSES),
        ("ether block to 02:00:00:00:00:00/40", ping(), blocked),
        ("ether block vlan any", tagged(7, ping()), blocked),
        ("ether block vlan none", tagged(7, ping()), PASSES),
        ("ether block vlan 8", tagged(7, ping()), PASSES),
        ("ether block vlan 2:7", tagged(7, ping()), blocked),
        ("ether block vlan none", ping(), blocked),
        ("set skip on lan\nether block in on lan", ping(), PASSES),
        ("set skip on lan\nether block out", ping(), blocked),
        ("set skip on { lan wan }\nether block", ping(), PASSES),
        ("set skip on { lan wan }\nether block", strange(), PASSES),
        ("set skip on { lan wan }", pause(), Some(Reason::MacControl)),
        ("ether pass", frame(A, B, &[0x08, 0x00, 0x45]), Some(Reason::IpHeaderLength)),
    ] {
        let mut bridge = Bridge::new(&format!("{rules}\npass\n"));
        assert_eq!(bridge.send(LAN, &frame), expected, "{rules}: {frame:02x?}");
    }
}

#[test]
fn ip_that_layer_2_lets_pass_is_still_ruled() {
    let mut bridge = Bridge::new("ether pass\nblock\n");
    assert_eq!(bridge.send(LAN, &ping()), Some(Reason::BlockRule));
    // A state does not take a frame past the ether rules.
    let mut bridge = Bridge::new("ether block in on wan from 02:00:00:00:00:0a\npass\n");
    assert_eq!(bridge.send(LAN, &ping()), PASSES);
    let reply = build::echo_reply([192, 0, 2, 2], [192, 0, 2, 1], 1, 1);
    assert_eq!(bridge.send(WAN, &reply.clone().macs(A, B).frame()), Some(Reason::EtherRule));
    assert_eq!(bridge.send(WAN, &reply.macs(B, A).frame()), PASSES);
}

#[test]
fn l3_binds_an_address_to_a_card() {
    let rules = "ether block in on lan proto { ip arp }\n\
                 ether pass in on lan from 02:00:00:00:00:0a l3 from 192.0.2.1\n\
                 ether pass in on lan proto arp from 02:00:00:00:00:0a l3 from 192.0.2.1\n\
                 pass\n";
    let mut bridge = Bridge::new(rules);
    let echo = |from: Mac, source: [u8; 4]| {
        build::echo(source, [192, 0, 2, 9], 1, 1).macs(from, B).frame()
    };
    assert_eq!(bridge.send(LAN, &echo(A, [192, 0, 2, 1])), PASSES);
    assert_eq!(bridge.send(LAN, &echo(A, [192, 0, 2, 2])), Some(Reason::EtherRule));
    assert_eq!(bridge.send(LAN, &echo(B, [192, 0, 2, 1])), Some(Reason::EtherRule));
    assert_eq!(bridge.send(LAN, &request(A, [192, 0, 2, 1], [192, 0, 2, 9])), PASSES);
    let lie = request(A, [192, 0, 2, 9], [192, 0, 2, 1]);
    assert_eq!(bridge.send(LAN, &lie), Some(Reason::EtherRule));
}

/// IPv4 and IPv6 by themselves; ARP only where it is named.
#[test]
fn l3_looks_into_tables() {
    let text = "ether pass quick proto arp from 02:00:00:00:00:0b\nether pass\npass\n";
    let parsed = parse_one(&SourceFile::new("table", text), &Defines::default());
    let mut set = parsed.rules.expect("no errors");
    let nets = ["192.0.2.0/24", "2001:db8::1/128"];
    let entries =
        nets.map(|net| TableEntry { not: false, net: net.parse().unwrap(), timeout: None });
    set.tables.push(Table {
        name: "known".to_owned(),
        entries: Some(entries.into()),
        ..Table::default()
    });
    let known = Some((true, Address::Table("known".to_owned())));
    set.ether[1] = EtherRule { pass: false, l3_from: known.clone(), ..set.ether[1].clone() };
    let mut bridge = Bridge::new("");
    bridge.load_set(&set);
    let from = |source: [u8; 4]| build::echo(source, [192, 0, 2, 9], 1, 1).macs(A, B).frame();
    assert_eq!(bridge.send(LAN, &from([192, 0, 2, 1])), PASSES);
    assert_eq!(bridge.send(LAN, &from([192, 0, 3, 1])), Some(Reason::EtherRule));
    let from6 = |last| build::echo(v6(last), v6(9), 1, 1).macs(A, B).frame();
    assert_eq!(bridge.send(LAN, &from6(1)), PASSES);
    assert_eq!(bridge.send(LAN, &from6(2)), Some(Reason::EtherRule));
    let arp = request(A, [192, 0, 3, 1], [192, 0, 2, 9]);
    assert_eq!(bridge.send(LAN, &arp), PASSES);
    set.ether[1].ethertype = Some(0x0806);
    bridge.load_set(&set);
    assert_eq!(bridge.send(LAN, &arp), Some(Reason::EtherRule));
    assert_eq!(bridge.send(LAN, &request(A, [192, 0, 2, 1], [192, 0, 2, 9])), PASSES);
    assert_eq!(bridge.send(LAN, &from([192, 0, 3, 1])), PASSES);
}

/// The tag of layer 2 is what IP rules ask for.
#[test]
fn ip_rules_see_the_tag() {
    let text = "ether pass in on lan from 02:00:00:00:00:0a tag OURS\nblock\npass inet\n";
    let parsed = parse_one(&SourceFile::new("tagged", text), &Defines::default());
    let mut set = parsed.rules.expect("no errors");
    set.rules[1].tagged = Some(Arc::new(Tagged { not: false, tag: "OURS".to_owned() }));
    let mut bridge = Bridge::new("");
    bridge.load_set(&set);
    assert_eq!(bridge.send(LAN, &ping()), PASSES);
    bridge.forget_states();
    let other = build::echo([192, 0, 2, 1], [192, 0, 2, 2], 1, 2).macs(B, A).frame();
    assert_eq!(bridge.send(LAN, &other), Some(Reason::BlockRule));
    // What layer 2 says is gone when its rules are.
    set.ether.clear();
    bridge.load_set(&set);
    assert_eq!(bridge.send(LAN, &ping()), Some(Reason::BlockRule));
}

#[test]
fn a_tag_of_the_arriving_side_is_seen_leaving() {
    let rules = "ether pass in on lan from 02:00:00:00:00:0a tag OURS\n\
                 ether block out on wan ! tagged OURS\n\
                 pass\n";
    let mut bridge = Bridge::new(rules);
    assert_eq!(bridge.send(LAN, &ping()), PASSES);
    let other = build::echo([192, 0, 2, 1], [192, 0, 2, 2], 1, 2).macs(B, A).frame();
    assert_eq!(bridge.send(LAN, &other), Some(Reason::EtherRule));
    // Tags are not remembered from frame to frame, nor over reloads.
    assert_eq!(bridge.send(LAN, &other), Some(Reason::EtherRule));
    bridge.load("ether block out on wan tagged OURS\npass\n");
    assert_eq!(bridge.send(LAN, &ping()), PASSES);
}

#[test]
fn rules_count_what_they_decide_and_keep_it_over_reloads() {
    let rules = "ether block\nether pass proto ip\nether pass in quick on lan from 02:00:00:00:00:0a\n\
                 ether pass out\npass\n";
    let mut bridge = Bridge::new(rules);
    assert_eq!(bridge.send(LAN, &ping()), PASSES);
    let bytes = ping().len() as u64;
    let seen = |bridge: &Bridge| -> Vec<_> {
        let counters = bridge.engines[0].ether_counters().iter();
        counters.map(|c| (c.evaluations, c.packets, c.bytes)).collect()
    };
    let wanted = [
        (2, [0, 0], [0, 0]),
        (2, [0, 0], [0, 0]),
        (1, [1, 0], [bytes, 0]),
        (1, [0, 1], [0, bytes]),
    ];
    assert_eq!(seen(&bridge), wanted);
    bridge.load("ether pass proto 0x88b5\nether pass out\nether pass out\nether block\npass\n");
    let moved = [(0, [0, 0], [0, 0]), wanted[3], (0, [0, 0], [0, 0]), wanted[0]];
    assert_eq!(seen(&bridge), moved);
    bridge.engines[0].clear_ether_counters();
    assert_eq!(seen(&bridge), [(0, [0, 0], [0, 0]); 4]);
}

/// No frame is judged by the `ether` rules of two workers.
#[test]
fn handed_over_frames_count_once() {
    let mut bridge = Bridge::with_workers("ether pass in\npass\n", 4);
    for id in 0..40 {
        let echo = build::echo([192, 0, 2, 1], [192, 0, 2, 2], id, 1).frame();
        assert_eq!(bridge.send(LAN, &echo), PASSES);
    }
    let counted = bridge.engines.iter().map(|engine| engine.ether_counters()[0].packets[0]);
    let counted: Vec<_> = counted.collect();
    assert_eq!(counted.iter().sum::<u64>(), 40);
    assert!(counted.iter().all(|&packets| packets < 40), "{counted:?}");
}

const GUARDED: &str = "set neighbour-guard on lan { 192.0.2.0/24 2001:db8::/64 }\n\
                       set neighbour-guard on wan { 192.0.2.254 2001:db8::fe fe80::1 }\npass\n";

#[test]
fn an_address_is_claimed_on_its_port_only() {
    let (host, router, other) = ([192, 0, 2, 7], [192, 0, 2, 254], [198, 51, 100, 1]);
    let mut bridge = Bridge::new(GUARDED);
    let spoof = Some(Reason::NeighbourGuard);
    for (sender, target, on_lan, on_wan) in [
        (host, router, PASSES, spoof),
        (router, host, spoof, PASSES),
        (other, host, PASSES, PASSES),
        // Gratuitous.
        (router, router, spoof, PASSES),
        // A probe, by one who is about to take the address.
        ([0; 4], router, spoof, PASSES),
        ([0; 4], host, PASSES, spoof),
    ] {
        for operation in [1, 2] {
            let arp = build::arp(operation, (A, sender), (B, target));
            for arp in [arp.clone(), tagged(7, arp)] {
                assert_eq!(bridge.send(LAN, &arp), on_lan, "{sender:?} {target:?}");
                assert_eq!(bridge.send(WAN, &arp), on_wan, "{sender:?} {target:?}");
            }
        }
    }
    let mut skipping = Bridge::new(&format!("set skip on wan\n{GUARDED}"));
    assert_eq!(skipping.send(WAN, &request(A, host, router)), PASSES);
    assert_eq!(skipping.send(LAN, &request(A, router, host)), spoof);
}

fn v6(last: u16) -> [u8; 16] {
    let [a, b] = last.to_be_bytes();
    [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b]
}

/// A neighbour message about a target, with a hardware address in an option.
fn neighbour(kind: u8, source: [u8; 16], target: [u8; 16], option: u8, mac: Mac) -> Vec<u8> {
    let all_nodes = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let body = [&target[..], &[option, 1], &mac].concat();
    build::icmp(source, all_nodes, kind, 0).ttl(255).payload(&body).macs(A, BROADCAST).frame()
}

#[test]
fn neighbour_discovery_is_guarded_like_arp() {
    use icmp::v6::{NEIGHBOUR_ADVERTISEMENT as NA, NEIGHBOUR_SOLICITATION as NS};
    let (host, router) = (v6(7), v6(0xfe));
    let link_local = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let mut bridge = Bridge::new(GUARDED);
    let spoof = Some(Reason::NeighbourGuard);
    for (kind, source, target, on_lan, on_wan) in [
        (NS, host, router, PASSES, spoof),
        (NS, router, host, spoof, PASSES),
        (NS, [0; 16], host, PASSES, spoof),
        (NS, [0; 16], router, spoof, PASSES),
        (NA, host, host, PASSES, spoof),
        (NA, host, router, spoof, spoof),
        (NA, link_local, router, spoof, PASSES),
        (NS, link_local, host, spoof, PASSES),
        (NS, [0x30; 16], host, PASSES, PASSES),
    ] {
        let option = if kind == NS { 1 } else { 2 };
        let message = neighbour(kind, source, target, option, A);
        assert_eq!(bridge.send(LAN, &message), on_lan, "{kind} {source:x?} {target:x?}");
        assert_eq!(bridge.send(WAN, &message), on_wan, "{kind} {source:x?} {target:x?}");
    }
    let short = build::icmp(host, router, NA, 0).ttl(255).payload(&[0; 8]).frame();
    assert_eq!(bridge.send(LAN, &short), Some(Reason::TruncatedIcmp));
}

#[test]
fn a_hardware_address_inside_must_be_the_one_outside() {
    use icmp::v6::{NEIGHBOUR_ADVERTISEMENT as NA, NEIGHBOUR_SOLICITATION as NS, REDIRECT};
    let mut plain = Bridge::new("pass\n");
    let mut strict = Bridge::new("set neighbour-mac-check yes\npass\n");
    let honest = request(A, [192, 0, 2, 1], [192, 0, 2, 2]);
    let mut lie = honest.clone();
    lie[6..12].copy_from_slice(&B);
    let (x, y) = (v6(1), v6(2));
    for (frame, fine) in [
        (honest, true),
        (lie, false),
        (neighbour(NS, x, y, 1, A), true),
        (neighbour(NS, x, y, 1, B), false),
        (neighbour(NA, x, x, 2, A), true),
        (neighbour(NA, x, x, 2, B), false),
        // Of the solicited host, not the sender's.
        (neighbour(NA, x, x, 1, B), true),
        (neighbour(REDIRECT, x, y, 2, B), true),
    ] {
        assert_eq!(plain.send(LAN, &frame), PASSES);
        let expected = (!fine).then_some(Reason::NeighbourMac);
        assert_eq!(strict.send(LAN, &frame), expected, "{frame:02x?}");
    }
}

fn advertisement(kind: u8) -> Vec<u8> {
    let router = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let all_nodes = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    build::icmp(router, all_nodes, kind, 0).ttl(255).payload(&[0; 32]).frame()
}

/// Both ways of the manual: as rules, and by the switch. States for the same addresses exist.
#[test]
fn router_advertisements_come_from_where_routers_are() {
    use icmp::v6::{REDIRECT, ROUTER_ADVERTISEMENT};
    let as_rules = "block in quick on lan inet6 proto icmp6 icmp6-type { routeradv redir }\n\
                    pass in on wan inet6 proto icmp6 icmp6-type { routeradv redir } no state\n";
    for (rules, reason) in [
        (format!("{as_rules}pass\n"), Reason::BlockRule),
        ("set router-guard on wan\npass\n".to_owned(), Reason::RouterGuard),
    ] {
        let mut bridge = Bridge::new(&rules);
        let router = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let all_nodes = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let echo = build::echo(router, all_nodes, 1, 1).frame();
        assert_eq!(bridge.send(LAN, &echo), PASSES);
        assert_eq!(bridge.states().len(), 1);
        for kind in [ROUTER_ADVERTISEMENT, REDIRECT] {
            assert_eq!(bridge.send(LAN, &advertisement(kind)), Some(reason), "{rules}");
            assert_eq!(bridge.send(WAN, &advertisement(kind)), PASSES, "{rules}");
        }
    }
    let mut guarded = Bridge::new("set router-guard on wan\npass\n");
    for kind in [icmp::v4::REDIRECT, icmp::v4::ROUTER_ADVERTISEMENT] {
        let message = build::icmp([192, 0, 2, 1], [192, 0, 2, 2], kind, 0).frame();
        assert_eq!(guarded.send(LAN, &message), Some(Reason::RouterGuard));
    }
}

/// As above for DHCP: neither the client's broadcast nor a lease from the right server opens the way
/// for a wrong one.
#[test]
fn leases_come_from_where_servers_are() {
    let as_rules = "pass\nblock in quick on lan proto udp from any port 67 to any port 68\n";
    let guard = "set dhcp-guard on wan\npass\n";
    for (rules, reason) in [(as_rules, Reason::BlockRule), (guard, Reason::DhcpGuard)] {
        for policy in ["", "set state-policy floating\n"] {
            let mut bridge = Bridge::new(&format!("{policy}{rules}"));
            let everyone = ([255, 255, 255, 255], 68);
            let discover = build::udp(([0, 0, 0, 0], 68), ([255, 255, 255, 255], 67)).frame();
            // A client on each side asks; an honest server behind the WAN answers.
            assert_eq!(bridge.send(LAN, &discover), PASSES);
            assert_eq!(bridge.send(WAN, &discover), PASSES);
            let server = ([192, 0, 2, 254], 67);
            let offer = build::udp(server, everyone).frame();
            assert_eq!(bridge.send(WAN, &offer), PASSES, "{policy}{rules}");
            let renewal = build::udp(([192, 0, 2, 7], 68), server).frame();
            assert_eq!(bridge.send(LAN, &renewal), PASSES);
            assert_eq!(bridge.send(WAN, &build::udp(server, ([192, 0, 2, 7], 68)).frame()), PASSES);
            for to in [everyone, ([192, 0, 2, 9], 68)] {
                for rogue in [([192, 0, 2, 66], 67), ([255, 255, 255, 254], 67)] {
                    let offer = build::udp(rogue, to).frame();
                    assert_eq!(bridge.send(LAN, &offer), Some(reason), "{policy}{rules}");
                }
            }
            // In the server's own name.
            let forged = build::udp(server, everyone).frame();
            let expected = if policy.is_empty() || reason == Reason::DhcpGuard {
                Some(reason)
            } else {
                // `floating` lets either side speak for a state; the switch does not.
                PASSES
            };
            assert_eq!(bridge.send(LAN, &forged), expected, "{policy}{rules}");
        }
    }
    let mut guarded = Bridge::new(guard);
    let advertise = build::udp((v6(1), 547), (v6(2), 546)).frame();
    assert_eq!(guarded.send(LAN, &advertise), Some(Reason::DhcpGuard));
    assert_eq!(guarded.send(WAN, &advertise), PASSES);
}

// Random rules against the manual.

const MACS: [&str; 6] = [
    "02:00:00:00:00:0a",
    "02:00:00:00:00:0b",
    "! 02:00:00:00:00:0a",
    "02:00:00:00:00:00/44",
    "! 02:00:00:00:00:0a&00:00:00:00:00:0f",
    "01:00:00:00:00:00&01:00:00:00:00:00",
];
const TYPES: [&str; 6] = ["arp", "ip", "ip6", "0x88b5", "llc", "pppoe-session"];

fn line(random: &mut Random) -> String {
    let mut rule = random.one_of(&["ether pass", "ether block"]).to_owned();
    rule += random.one_of(&["", " in", " out"]);
    rule += random.one_of(&["", "", " quick"]);
    rule += random.one_of(&["", "", " on lan", " on wan", " on ! lan", " on eth7"]);
    rule += random.one_of(&["", "", " vlan any", " vlan none", " vlan 7", " vlan 8:4094"]);
    let protocol = random.one_of(&TYPES);
    let has_protocol = random.below(2) == 0;
    if has_protocol {
        rule = format!("{rule} proto {protocol}");
    }
    for side in ["from", "to"] {
        if random.below(2) == 0 {
            rule = format!("{rule} {side} {}", random.one_of(&MACS));
        }
    }
    if random.below(3) == 0 {
        rule += match (has_protocol, protocol) {
            (false, _) => random.one_of(&[" l3 from ! 192.0.2.1", " l3 to 2001:db8::/64"]),
            (_, "ip" | "arp") => random.one_of(&[" l3 from 192.0.2.1", " l3 to ! 192.0.2.0/30"]),
            (_, "ip6") => " l3 from 2001:db8::1 to any",
            _ => " l3 all",
        };
    }
    rule += random.one_of(&["", "", " tag X", " tag Y"]);
    rule + random.one_of(&["", "", "", " tagged X", " ! tagged Y"])
}

/// What `ether` rules look at.
struct Seen {
    source: Mac,
    destination: Mac,
    vlan: u16,
    ethertype: u16,
    l3: Option<[std::net::IpAddr; 2]>,
}

fn random_frame(random: &mut Random) -> (Seen, Vec<u8>, Option<Reason>) {
    let source = random.one_of(&[A, B, [6, 0, 0, 0, 0, 1]]);
    let destination = random.one_of(&[A, B, BROADCAST]);
    let vlan = random.one_of(&[0, 0, 7, 9, 4094]);
    let v4 = [[192, 0, 2, 1], [192, 0, 2, 200]];
    let (from, to) = (random.one_of(&v4), random.one_of(&v4));
    let (from6, to6) = (v6(random.one_of(&[1, 2])), v6(random.one_of(&[1, 2])));
    let (ethertype, bytes, usual) = match random.below(7) {
        0 => {
            let mut arp = build::arp(1, (source, from), ([0; 6], to));
            arp[..6].copy_from_slice(&destination);
            (0x0806, arp, None)
        }
        1 => {
            let echo = build::echo(from, to, 1, 1);
            (0x0800, echo.macs(source, destination).frame(), None)
        }
        2 => {
            let echo = build::echo(from6, to6, 1, 1);
            (0x86dd, echo.macs(source, destination).frame(), None)
        }
        3 => (0x88b5, frame(destination, source, &[0x88, 0xb5]), Some(Reason::EtherType)),
        4 => (EtherRule::LLC, frame(destination, source, &[0, 9, 0xaa]), Some(Reason::Llc)),
        5 => {
            let compressed = [0x88, 0x64, 0x11, 0, 0, 1, 0, 2, 0, 0xfd];
            (0x8864, frame(destination, source, &compressed), Some(Reason::Pppoe))
        }
        _ => {
            let echo = build::echo(from, to, 1, 1).pppoe(1);
            (0x8864, echo.macs(source, destination).frame(), None)
        }
    };
    let l3: Option<[std::net::IpAddr; 2]> = match ethertype {
        0x0806 | 0x0800 => Some([from.into(), to.into()]),
        0x86dd => Some([from6.into(), to6.into()]),
        _ => None,
    };
    let bytes = if vlan == 0 { bytes } else { tagged(vlan, bytes) };
    (Seen { source, destination, vlan, ethertype, l3 }, bytes, usual)
}

fn mac_matches(wanted: Option<&MacMatch>, mac: Mac) -> bool {
    wanted.is_none_or(|wanted| {
        (0..6).all(|i| mac[i] & wanted.mask[i] == wanted.address[i]) != wanted.not
    })
}

fn address_matches(wanted: Option<&(bool, Address)>, address: Option<std::net::IpAddr>) -> bool {
    match (wanted, address) {
        (None, _) => true,
        (Some((not, Address::Prefix(net))), Some(address)) => net.contains(&address) != *not,
        (Some(_), None) => false,
        (Some(other), _) => panic!("{other:?} is not among the rules made here"),
    }
}

/// "The last matching rule decides"; `quick` is the last.
fn decides<'r>(
    rules: &'r RuleSet,
    seen: &Seen,
    direction: Direction,
    role: &str,
    tag: Option<&str>,
) -> Option<&'r EtherRule> {
    if rules.options.skip.iter().any(|name| name == role) {
        return None;
    }
    let mut last = None;
    for rule in &rules.ether {
        let matches = rule.direction.is_none_or(|its| its == direction)
            && rule.interface.as_ref().is_none_or(|on| (on.name == role) != on.not)
            && match rule.vlan {
                None => true,
                Some(VlanMatch::Untagged) => seen.vlan == 0,
                Some(VlanMatch::Tagged) => seen.vlan != 0,
                Some(VlanMatch::Ids(a, b)) => a <= seen.vlan && seen.vlan <= b,
            }
            && rule.ethertype.is_none_or(|ethertype| ethertype == seen.ethertype)
            && mac_matches(rule.from.as_ref(), seen.source)
            && mac_matches(rule.to.as_ref(), seen.destination)
            && address_matches(rule.l3_from.as_ref(), seen.l3.map(|l3| l3[0]))
            && address_matches(rule.l3_to.as_ref(), seen.l3.map(|l3| l3[1]))
            && rule.tagged.as_ref().is_none_or(|t| (Some(&*t.tag) == tag) != t.not);
        if matches {
            last = Some(rule);
            if rule.quick {
                break;
            }
        }
    }
    last
}

fn literally(
    rules: &RuleSet,
    seen: &Seen,
    from: PortIndex,
    usual: Option<Reason>,
) -> Option<Reason> {
    let roles = if from == LAN { ["lan", "wan"] } else { ["wan", "lan"] };
    let arriving = decides(rules, seen, Direction::In, roles[0], None);
    if arriving.is_some_and(|rule| !rule.pass) {
        return Some(Reason::EtherRule);
    }
    let tag = arriving.and_then(|rule| rule.tag.as_deref());
    let leaving = decides(rules, seen, Direction::Out, roles[1], tag);
    if leaving.is_some_and(|rule| !rule.pass) {
        return Some(Reason::EtherRule);
    }
    if arriving.is_some() || leaving.is_some() { None } else { usual }
}

#[test]
fn compiled_rules_agree_with_the_manual() {
    let mut random = Random(2024);
    let (mut passed, mut blocked, mut usually) = (0, 0, 0);
    for round in 0..600 {
        let skip = random.one_of(&["", "", "", "set skip on lan\n"]);
        let lines: String = (0..=random.below(10)).map(|_| line(&mut random) + "\n").collect();
        let text = format!("{skip}{lines}pass\n");
        let parsed = parse_one(&SourceFile::new("all", &*text), &Defines::default());
        let rules = parsed.rules.unwrap_or_else(|| panic!("{}", parsed.diagnostics.render(false)));
        let mut bridge = Bridge::new(&text);
        for _ in 0..40 {
            let from = random.one_of(&[LAN, WAN]);
            let (seen, bytes, usual) = random_frame(&mut random);
            let wanted = literally(&rules, &seen, from, usual);
            assert_eq!(bridge.send(from, &bytes), wanted, "{round}: {text}{bytes:02x?}");
            match wanted {
                None => passed += 1,
                Some(Reason::EtherRule) => blocked += 1,
                Some(_) => usually += 1,
            }
        }
        let again = parse_one(&SourceFile::new("again", rules.to_string()), &Defines::default());
        let again = again.rules.unwrap_or_else(|| panic!("{rules}"));
        assert_eq!(again.to_string(), rules.to_string());
    }
    assert!(passed > 2_000 && blocked > 2_000 && usually > 500, "{passed} {blocked} {usually}");
}
