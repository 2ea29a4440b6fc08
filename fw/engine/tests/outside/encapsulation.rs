//! What is behind tags or in a PPPoE session is filtered like plain IP: the same traffic goes through
//! two bridges, plain through one and wrapped through the other, and the second does what the first
//! does: verdicts, changes, answers and frames of the engine's own, in order.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use weir_engine::packet::tcp::flags::{ACK, FIN, PSH, RST, SYN};
use weir_engine::packet::{build, icmp};
use weir_engine::{PortIndex, Reason, Verdict};

use crate::bridge::{Bridge, LAN, PASSES, WAN};
use crate::judge::{CLIENT, SERVER, handshake};
use crate::random::Random;

/// What stands between the hardware addresses and IP.
#[derive(Clone, Copy, Debug)]
struct Around {
    tags: &'static [u8],
    /// The PPPoE session, and bytes of PPP's protocol field.
    session: Option<([u8; 2], usize)>,
    /// How states are listed.
    listed: &'static str,
}

const fn around(
    tags: &'static [u8],
    session: Option<([u8; 2], usize)>,
    listed: &'static str,
) -> Around {
    Around { tags, session, listed }
}

const DOUBLE: &[u8] = &[0x88, 0xa8, 0x60, 9, 0x81, 0, 0, 5];
const AROUND: [Around; 6] = [
    around(&[], Some(([0, 1], 2)), ""),
    around(&[], Some(([0xff, 0xfe], 1)), ""),
    around(&[0x81, 0, 0, 7], Some(([0x12, 0x34], 2)), " vlan 7"),
    around(DOUBLE, None, " vlan 9.5"),
    around(&[0x81, 0, 0, 9, 0x81, 0, 0xe0, 5], None, " vlan 9.5"),
    around(DOUBLE, Some(([0, 1], 2)), " vlan 9.5"),
];

impl Around {
    /// A plain frame with this around its packet.
    fn wrap(&self, plain: &[u8]) -> Vec<u8> {
        let mut frame = [&plain[..12], self.tags].concat();
        match self.session {
            None => frame.extend(&plain[12..14]),
            Some(([high, low], protocol)) => {
                let length = ((plain.len() - 14 + protocol) as u16).to_be_bytes();
                frame.extend([0x88, 0x64, 0x11, 0, high, low, length[0], length[1]]);
                let number = if plain[12..14] == [8, 0] { 0x21 } else { 0x57 };
                frame.extend(&[0, number][2 - protocol..]);
            }
        }
        frame.extend(&plain[14..]);
        frame
    }

    /// The plain frame that a wrapped one holds; what the session's length says must be so, and only
    /// padding behind.
    fn unwrap(&self, frame: &[u8]) -> Vec<u8> {
        let (macs, behind) = frame.split_at(12);
        let behind = behind.strip_prefix(self.tags).expect("the tags");
        let Some((id, protocol)) = self.session else { return [macs, behind].concat() };
        let (header, packet) = behind.split_at(8);
        assert_eq!(header[..4], [0x88, 0x64, 0x11, 0]);
        assert_eq!(header[4..6], id);
        let length = usize::from(u16::from_be_bytes([header[6], header[7]]));
        let (ppp, padding) = packet.split_at(length);
        assert!(frame.len() == 60 || padding.is_empty(), "{frame:02x?}");
        let (number, packet) = ppp.split_at(protocol);
        let ethertype = match number {
            [0, 0x21] | [0x21] => [0x08, 0x00],
            [0, 0x57] | [0x57] => [0x86, 0xdd],
            other => panic!("{other:02x?}"),
        };
        [macs, &ethertype, packet].concat()
    }
}

type Sent = (PortIndex, Verdict, Vec<u8>);

/// What comes out of a bridge for a frame, and what it sends by itself.
fn step(bridge: &mut Bridge, port: PortIndex, frame: &[u8]) -> (Vec<Sent>, Vec<Vec<u8>>) {
    let judged = bridge.feed(port, &[frame.to_vec()]).into_iter();
    let sent = judged.map(|judged| (judged.port, judged.verdict, judged.bytes)).collect();
    (sent, bridge.crafted.drain(..).map(|(_, bytes)| bytes).collect())
}

/// Traffic of a few hosts in two families: handshakes, what follows, what does not fit, and every
/// other kind of packet; long ones in fragments.
fn traffic(random: &mut Random) -> Vec<(PortIndex, Vec<u8>)> {
    let is_v6 = random.below(2) == 0;
    let host = |side: usize, number: usize| -> IpAddr {
        if is_v6 {
            Ipv6Addr::new(0x2001, 0xdb8, 0, side as u16, 0, 0, 0, number as u16).into()
        } else {
            [10, side as u8, 0, number as u8].into()
        }
    };
    let port = PortIndex(random.below(2) as u8);
    let other = PortIndex(1 - port.0);
    let from = SocketAddr::new(host(port.0.into(), random.below(3)), 1000 + random.below(4) as u16);
    let to = SocketAddr::new(host(other.0.into(), random.below(3)), 80 + random.below(2) as u16);
    let options = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7];
    let stamps = [1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 9];
    let segment = |flags| build::tcp(from, to, flags).seq(1001).ack(5001).tcp_options(&stamps);
    let syn = build::tcp(from, to, SYN).seq(1000).tcp_options(&options);
    let fast = [2, 4, 5, 0xb4, 34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1];
    let answer = build::tcp(to, from, SYN | ACK).seq(5000).ack(1001).tcp_options(&options);
    let udp = build::udp(from, to).payload(&vec![7; random.below(3000)]).fragment(0);
    let error = |quoted: &build::Build| {
        let kind = if is_v6 { icmp::v6::UNREACHABLE } else { icmp::v4::UNREACHABLE };
        build::icmp(to.ip(), from.ip(), kind, 4).quote(&quoted.frame())
    };
    let frames: Vec<(PortIndex, build::Build)> = match random.below(12) {
        0..4 => vec![(port, syn), (other, answer), (port, segment(ACK))],
        4 => vec![(port, segment(PSH | ACK).payload(&vec![1; random.below(1400)]))],
        5 => vec![(port, segment(random.one_of(&[RST, FIN | ACK, RST | ACK, SYN | FIN])))],
        6 => vec![(port, udp.clone()), (other, error(&udp))],
        7 => vec![(
            port,
            build::echo(from.ip(), to.ip(), 5, 1).payload(&vec![3; random.below(2000)]).fragment(0),
        )],
        8 => vec![(other, error(&segment(ACK)))],
        9 => vec![(
            port,
            build::sctp(
                from,
                to,
                0,
                &[1, 0, 0, 20, 0, 0, 0, 7, 0, 1, 0, 0, 0, 10, 0, 10, 0, 0, 0, 1],
            ),
        )],
        10 => vec![(port, build::tcp(from, to, SYN).tcp_options(&fast).payload(b"GET /"))],
        _ if is_v6 => {
            let kind = random.one_of(&[134, 135, 136, 137]);
            vec![(port, build::icmp(from.ip(), to.ip(), kind, 0).ttl(255).payload(&[0x20; 32]))]
        }
        _ => vec![
            (port, build::udp((from.ip(), 67), (to.ip(), 68))),
            (port, build::other(from.ip(), to.ip(), 47).ip_options(&[148, 4, 0, 0])),
        ],
    };
    let id = random.next() as u32 & 0xffff;
    let mut sent = Vec::new();
    for (port, frame) in frames {
        let frame = frame.ttl(random.one_of(&[255, 255, 64])).frame();
        if frame.len() < 700 {
            sent.push((port, frame));
            continue;
        }
        let mut parts = build::fragments(&frame, id, 600);
        if random.below(4) == 0 {
            parts.swap_remove(random.below(parts.len()));
        }
        sent.extend(parts.into_iter().map(|part| (port, part)));
    }
    if random.below(8) == 0 {
        let at = random.below(sent.len());
        let (_, damaged) = &mut sent[at];
        let byte = 14 + random.below(damaged.len() - 14);
        damaged[byte] ^= 1 << random.below(8);
    }
    sent
}

const RULES: [&str; 8] = [
    "pass\n",
    "block return\npass in on lan\npass in on wan proto tcp to port 80\n",
    "set reassemble yes no-df\nmatch scrub (no-df random-id min-ttl 99 max-mss 1000) set tos 0x10\n\
     pass allow-opts\n",
    "pass scrub (reassemble tcp)\n",
    "block return-icmp (net-unr, 1) in on lan\n\
     pass keep state (max 30, max-src-states 9, max-src-conn 2, overload <bad> flush global)\n",
    "set reassemble no\nblock return in on wan proto udp\npass fragment\npass inet proto tcp\n",
    "set router-guard on wan\nset dhcp-guard on wan\n\
     set neighbour-guard on lan { 2001:db8:0:0::/64 }\npass max-pkt-rate 20/10\n",
    "set limit { states 8, frags 6, src-nodes 3 }\nset skip on wan\npass keep state (sloppy)\n",
];

#[test]
fn what_is_around_a_packet_changes_nothing() {
    let mut random = Random(0x2516);
    let (mut answers, mut own, mut changed, mut released) = (0, 0, 0, 0);
    for round in 0..96 {
        let (rules, around) = (RULES[round % RULES.len()], AROUND[round % AROUND.len()]);
        let [mut plain, mut inside] = [Bridge::new(rules), Bridge::new(rules)];
        for _ in 0..120 {
            for (port, frame) in traffic(&mut random) {
                let mut wrapped = around.wrap(&frame);
                if around.session.is_some() && wrapped.len() < 60 {
                    wrapped.resize(60, 0);
                }
                let (expected, expected_own) = step(&mut plain, port, &frame);
                let (seen, seen_own) = step(&mut inside, port, &wrapped);
                let unwrapped: Vec<_> = seen
                    .into_iter()
                    .map(|(port, verdict, bytes)| (port, verdict, around.unwrap(&bytes)))
                    .collect();
                assert_eq!(unwrapped, expected, "{round}: {around:?}\n{rules}{frame:02x?}");
                let unwrapped: Vec<_> = seen_own.iter().map(|bytes| around.unwrap(bytes)).collect();
                assert_eq!(unwrapped, expected_own, "{round}: {around:?}\n{rules}{frame:02x?}");
                answers += expected.iter().filter(|s| matches!(s.1, Verdict::Reflect(_))).count();
                own += expected_own.len();
                released += usize::from(expected.len() > 1);
                changed += expected.iter().filter(|sent| sent.2 != frame).count();
            }
            if random.below(4) == 0 {
                let pause = Duration::from_millis(100 * random.below(40) as u64);
                plain.wait(pause);
                inside.wait(pause);
                let given_up = |bridge: &mut Bridge| bridge.given_up.drain(..).count();
                assert_eq!(given_up(&mut inside), given_up(&mut plain));
            }
        }
        let listed = |bridge: &Bridge, around: &str| {
            let mut lines: Vec<_> =
                bridge.listing().iter().map(|line| line.replacen(around, "", 1)).collect();
            lines.sort();
            lines
        };
        assert_eq!(listed(&inside, around.listed), listed(&plain, ""), "{around:?}\n{rules}");
        let (counted, expected) = (inside.counters(), plain.counters());
        assert_eq!(counted.reasons, expected.reasons);
        assert_eq!(
            (counted.inserts, counted.removals, counted.searches, counted.crafted),
            (expected.inserts, expected.removals, expected.searches, expected.crafted)
        );
        for (counted, expected) in counted.ports.iter().zip(&expected.ports) {
            // Bytes are those of IP packets; of what could not be parsed, those of frames.
            assert_eq!(counted.traffic[..2], expected.traffic[..2]);
        }
    }
    let seen = (answers, own, changed, released);
    assert!(answers > 500 && own > 20 && changed > 1000 && released > 50, "{seen:?}");
}

/// A frame of a session, byte for byte, and the reset that answers it.
#[test]
fn a_blocked_syn_is_answered_by_its_session() {
    #[rustfmt::skip]
    let syn = [
        2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x81, 0x00, 0x00, 7, 0x88, 0x64,
        // Version, type and code; session; length; IPv4.
        0x11, 0x00, 0x12, 0x34, 0x00, 46, 0x00, 0x21,
        0x45, 0, 0, 44, 0, 1, 0x40, 0, 64, 6, 0x4e, 0x94, 192, 0, 2, 1, 198, 51, 100, 2,
        0x9c, 0x40, 0, 80, 0, 0, 3, 0xe8, 0, 0, 0, 0, 0x60, 2, 0xfa, 0xf0, 0x10, 0x8e, 0, 0,
        2, 4, 5, 0xac,
    ];
    #[rustfmt::skip]
    let reset = [
        2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0x00, 0x00, 7, 0x88, 0x64,
        0x11, 0x00, 0x12, 0x34, 0x00, 42, 0x00, 0x21,
        0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0x4e, 0x99, 198, 51, 100, 2, 192, 0, 2, 1,
        0, 80, 0x9c, 0x40, 0, 0, 0, 0, 0, 0, 3, 0xe9, 0x50, 0x14, 0, 0, 0x23, 0x20, 0, 0,
    ];
    let mut bridge = Bridge::new("block return\n");
    assert_eq!(bridge.send(LAN, &syn), Some(Reason::BlockRule));
    assert_eq!(bridge.frame, reset, "{:02x?}", bridge.frame);
}

/// The largest segment that fits a line of 1,492 bytes.
#[test]
fn the_mss_is_lowered_in_a_session() {
    let mut bridge = Bridge::new("match inet proto tcp scrub (max-mss 1452)\npass\n");
    let offer = |mss: u16| [[2, 4], mss.to_be_bytes()].concat();
    let syn = |mss| build::tcp(CLIENT, SERVER, SYN).tcp_options(&offer(mss)).vlan(7).pppoe(9);
    assert_eq!(bridge.send(LAN, &syn(1460).frame()), PASSES);
    assert_eq!(bridge.frame, syn(1452).frame());
    let answer = |mss| {
        build::tcp(SERVER, CLIENT, SYN | ACK).ack(1001).tcp_options(&offer(mss)).vlan(7).pppoe(9)
    };
    assert_eq!(bridge.send(WAN, &answer(1460).frame()), PASSES);
    assert_eq!(bridge.frame, answer(1452).frame());
}

/// A line that is dialled again has another session; its connections do not notice.
#[test]
fn a_state_outlives_its_session_and_not_its_tags() {
    let mut bridge = Bridge::new("pass in on wan\n");
    assert_eq!(handshake(&mut bridge, CLIENT, SERVER), PASSES);
    let data = |ack| build::tcp(SERVER, CLIENT, ACK).seq(5001).ack(ack).payload(b"x");
    assert_eq!(bridge.send(LAN, &data(1001).pppoe(1).frame()), PASSES);
    assert_eq!(bridge.send(LAN, &data(1001).pppoe(2).frame()), PASSES);
    assert_eq!(bridge.listing().len(), 1);
    assert_eq!(bridge.send(LAN, &data(1001).vlan(2).pppoe(2).frame()), Some(Reason::TcpNoState));
}

/// Nobody puts a datagram together from two sessions, so that weir does not either.
#[test]
fn fragments_of_two_sessions_are_of_two_datagrams() {
    let mut bridge = Bridge::new("pass\n");
    let datagram = build::udp(CLIENT, SERVER).fragment(0).payload(&[9; 100]);
    let part = |session, range: std::ops::Range<usize>| {
        let more = range.end < 108;
        build::fragment(&datagram.clone().pppoe(session).frame(), 77, range, more)
    };
    let first = [part(1, 0..64), part(2, 64..108)];
    assert!(bridge.feed(LAN, &first).is_empty(), "both wait");
    let passed = bridge.feed(LAN, &[part(1, 64..108), part(2, 0..64)]);
    assert_eq!(passed.len(), 4);
    let bytes: Vec<_> = passed.into_iter().map(|judged| judged.bytes).collect();
    let expected = [part(1, 0..64), part(1, 64..108), part(2, 64..108), part(2, 0..64)];
    assert_eq!(bytes, expected, "as they came");
}

/// MPLS, a third tag, IP in Ethernet in IP: what weir does not know is not taken for IP.
#[test]
fn unknown_encapsulations_follow_the_ether_rules() {
    let ip = build::echo(CLIENT.0, SERVER.0, 1, 1).frame();
    let with = |ethertype: [u8; 2], shim: &[u8]| [&ip[..12], &ethertype, shim, &ip[14..]].concat();
    let mpls = with([0x88, 0x47], &[0, 1, 1, 64]);
    let macsec = with([0x88, 0xe5], &[0; 8]);
    let vlan_mpls = {
        let mut frame = mpls.clone();
        frame.splice(12..12, [0x81, 0, 0, 5]);
        frame
    };
    let provider = with([0x88, 0xe7], &[0; 18]);
    for frame in [&mpls, &macsec, &vlan_mpls, &provider] {
        let mut bridge = Bridge::new("pass\n");
        assert_eq!(bridge.send(LAN, frame), Some(Reason::EtherType));
        bridge.load("ether pass\nblock\n");
        assert_eq!(bridge.send(LAN, frame), PASSES);
        assert_eq!(bridge.states(), []);
    }
    let deep = build::echo(CLIENT.0, SERVER.0, 1, 1).vlan(1).vlan(2).vlan(3).frame();
    let mut bridge = Bridge::new("ether pass\npass\n");
    assert_eq!(bridge.send(LAN, &deep), Some(Reason::TooManyTags));
    // Data of PPP that is not IP.
    let bridged = with([0x88, 0x64], &[0x11, 0, 0, 1, 0, 30, 0, 0x31]);
    let mut bridge = Bridge::new("pass\n");
    assert_eq!(bridge.send(LAN, &bridged), Some(Reason::Pppoe));
}
