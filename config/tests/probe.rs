//! Packets in words and lists of cases, as people write and miswrite them.

use std::net::IpAddr;

use weir_config::SourceFile;
use weir_config::probe::{By, Case, Probe, Transport, cases, packet};

fn read(text: &str) -> Probe {
    packet("packet", text).unwrap_or_else(|found| panic!("{text}\n{found}"))
}

fn refused(text: &str) -> String {
    packet("packet", text).expect_err(text).to_string()
}

fn assert_refused(text: &str, messages: &[&str]) {
    let told = refused(text);
    assert_eq!(told.lines().collect::<Vec<_>>(), messages, "{text}");
}

fn list(text: &str) -> Vec<Case> {
    let cases = cases(&SourceFile::new("test.cases", text));
    assert!(cases.diagnostics.is_empty(), "{}", cases.diagnostics);
    cases.list
}

#[test]
fn the_packet_of_the_manual() {
    let text = "in on wan inet proto tcp from 192.0.2.1 port 40000 to 198.51.100.2 port 22 flags S";
    let probe = read(text);
    let expected = Probe {
        port: "wan".into(),
        source: IpAddr::from([192, 0, 2, 1]),
        destination: IpAddr::from([198, 51, 100, 2]),
        transport: Transport::Tcp { ports: [40_000, 22], flags: 2 },
        tos: 0,
        ttl: 64,
        length: None,
        vlans: [0, 0],
        session: None,
        prio: None,
        macs: [None; 2],
        options: false,
        fragment: false,
        tagged: None,
    };
    assert_eq!(probe, expected);
    assert_eq!(probe.to_string(), text);
    assert_eq!(read("to 198.51.100.2 port ssh from 192.0.2.1 proto tcp on wan"), expected);
    assert_eq!(read("on wan flags S from 192.0.2.1 to 198.51.100.2\nport = 0x16"), expected);
}

#[test]
fn what_is_left_out_is_what_is_usual() {
    for (short, whole) in [
        (
            "in on lan proto udp from 10.0.0.1 to 10.0.0.2 port domain",
            "in on lan inet proto udp from 10.0.0.1 port 40000 to 10.0.0.2 port 53",
        ),
        (
            "in on lan proto icmp from 10.0.0.1 to 10.0.0.2",
            "in on lan inet proto icmp from 10.0.0.1 to 10.0.0.2 icmp-type echoreq",
        ),
        (
            "in on lan icmp6-type unreach code 4 from 2001:db8::1 to 2001:db8::2 ttl 63",
            "in on lan inet6 proto ipv6-icmp from 2001:db8::1 to 2001:db8::2 icmp6-type unreach \
             code port-unr ttl 63",
        ),
        (
            "in on lan icmp6-type routeradv from fe80::1 to ff02::1",
            "in on lan inet6 proto ipv6-icmp from fe80::1 to ff02::1 icmp6-type routeradv",
        ),
        (
            "in on eth0.5 proto 47 from 10.0.0.1 to 10.0.0.2 vlan 9.5 prio 0 tos lowdelay",
            "in on eth0.5 inet proto gre from 10.0.0.1 to 10.0.0.2 tos 0x10 vlan 9.5 prio 0",
        ),
        (
            "in on lan pppoe 0x1f vlan 7 proto 47 from 10.0.0.1 to 10.0.0.2",
            "in on lan inet proto gre from 10.0.0.1 to 10.0.0.2 vlan 7 pppoe 31",
        ),
        (
            "in on lan ether from 2:0:0:0:0:a to 02:00:00:00:00:0B proto 47 from ::1 to ::2",
            "in on lan inet6 proto gre from ::1 to ::2 ether from 02:00:00:00:00:0a to \
             02:00:00:00:00:0b",
        ),
        (
            "in on lan ether to 02:00:00:00:00:0b to 10.0.0.2 proto 47 from 10.0.0.1",
            "in on lan inet proto gre from 10.0.0.1 to 10.0.0.2 ether to 02:00:00:00:00:0b",
        ),
        (
            "in on lan proto 47 ether from 02:00:00:00:00:0a to 10.0.0.2 from 10.0.0.1",
            "in on lan inet proto gre from 10.0.0.1 to 10.0.0.2 ether from 02:00:00:00:00:0a",
        ),
        (
            "in on lan flags none from 10.0.0.1 to 10.0.0.2 port 1 options fragment tagged X \
             length 44",
            "in on lan inet proto tcp from 10.0.0.1 port 40000 to 10.0.0.2 port 1 flags none \
             length 44 options fragment tagged \"X\"",
        ),
        (
            "in on lan proto icmp from 10.0.0.1 to 10.0.0.2 icmp-type 8 code 200 id 77",
            "in on lan inet proto icmp from 10.0.0.1 to 10.0.0.2 icmp-type echoreq code 200 id 77",
        ),
    ] {
        assert_eq!(read(short).to_string(), whole);
        assert_eq!(read(whole), read(short));
    }
    assert_eq!(read("in on lan icmp6-type routeradv from fe80::1 to ff02::1").ttl, 255);
}

#[test]
fn every_mistake_of_a_packet_is_told_at_its_place() {
    for (text, messages) in [
        ("", &["packet:1:1: the packet is incomplete: `on`, `from`, `to`, `proto` is missing"][..]),
        (
            "out on lan proto tpc from any to 10.0.0.0/8 port htpt",
            &[
                "packet:1:1: a packet is said where it arrives: `in on` that port; what the rules \
                 say where it leaves is told as well",
                "packet:1:18: unknown protocol `tpc`, did you mean `tcp`?",
                "packet:1:27: `any`: a packet has one address on each side",
                "packet:1:34: `10.0.0.0/8` is a network, and a packet has one address on each side",
                "packet:1:50: unknown service `htpt`, did you mean `http`?",
            ],
        ),
        (
            "in on lan form 10.0.0.1 to 10.0.0.2 port 80",
            &["packet:1:11: unknown word `form`, did you mean `from`?"],
        ),
        (
            "in on lan from 10.0.0.1 to 10.0.0.2 port 80",
            &["packet:1:42: a port of which protocol? Add `proto tcp` or `proto udp`"],
        ),
        (
            "in on lan from 10.0.0.1 to 10.0.0.2 proto tcp",
            &["packet:1:36: a TCP packet needs a port behind `to`"],
        ),
        (
            "in on lan from 10.0.0.1 to 10.0.0.2 port 80 flags S/SA",
            &["packet:1:51: `S/SA`: a packet has flags and no mask: write `flags S`"],
        ),
        (
            "in on lan from 10.0.0.1 to ::1 port 80 proto tcp",
            &["packet:1:28: 10.0.0.1 and ::1 are of different families"],
        ),
        (
            "in on lan inet6 from 10.0.0.1 to 10.0.0.2 port 80 proto udp",
            &["packet:1:11: `inet6`, but the addresses are `inet`"],
        ),
        (
            "in on lan from 10.0.0.1 to 10.0.0.2 icmp6-type echoreq",
            &["packet:1:37: `icmp6` does not go with `inet` addresses"],
        ),
        (
            "in on lan from 10.0.0.1 to 10.0.0.2 proto icmp icmp6-type echoreq",
            &["packet:1:48: the packet is `inet`: write `icmp-type`"],
        ),
        (
            "in on lan from 10.0.0.1 port 1 to 10.0.0.2 proto gre flags S",
            &[
                "packet:1:60: only TCP has flags, and the packet is of another protocol",
                "packet:1:30: only TCP and UDP have ports, and the packet is of another protocol",
            ],
        ),
        (
            "in in on lan from 10.0.0.1 to 10.0.0.2 proto tcp port 80",
            &[
                "packet:1:4: `in` is there twice",
                "packet:1:50: `port` stands behind the address in `from` or `to`",
            ],
        ),
        (
            "in on lan proto tcp from 10.0.0.1 to 10.0.0.2 port 80 quick keep state by \"x\"",
            &[
                "packet:1:55: `quick` is a word of rules; a packet has none of it",
                "packet:1:72: `by` belongs to the cases of `weir test`",
            ],
        ),
        (
            "in on lan proto tcp from 10.0.0.1 to 10.0.0.2 port 80 length 39",
            &["packet:1:62: length 39 is too short: the headers of such a packet have 40 bytes"],
        ),
        (
            "in on lan proto tcp from 10.0.0.1 to 10.0.0.2 port 65536 vlan 4095 prio 8 ttl",
            &[
                "packet:1:52: `65536` is no port: expected 0 to 65535",
                "packet:1:63: `4095` is no VLAN id: expected 1 to 4094, or two of them with a point \
                 between",
                "packet:1:73: `8` is not a priority: expected 0 to 7",
                "packet:1:78: expected a time to live, found the end",
            ],
        ),
        (
            "in on lan proto { tcp udp } from { 10.0.0.1 } to 10.0.0.2 port 80:90",
            &[
                "packet:1:17: a packet has one value of each kind, no list",
                "packet:1:34: `{`: a packet has one address on each side",
                "packet:1:64: `80:90`: a packet has one port on each side",
            ],
        ),
        (
            "in on lan tagged \"open from 10.0.0.1",
            &["packet:1:18: the quoted string is never closed"],
        ),
    ] {
        assert_refused(text, messages);
    }
}

#[test]
fn mistakes_of_layer_2_are_told_at_their_place() {
    for (text, messages) in [
        (
            "in on lan ether proto gre pppoe 65535 from 10.0.0.1 to 10.0.0.2 vlan 5",
            &[
                "packet:1:17: expected `from` or `to` and a hardware address behind `ether`",
                "packet:1:33: `65535` is not the id of a PPPoE session: expected 1 to 65534",
            ][..],
        ),
        (
            "in on lan ether from 10.0.0.1 to 02:00:00:00:00:0b proto gre to 10.0.0.2",
            &["packet:1:22: `10.0.0.1` is no hardware address: expected aa:bb:cc:dd:ee:ff"],
        ),
        (
            "in on lan from 10.0.0.1 to 10.0.0.2 proto gre ether from",
            &["packet:1:57: expected a hardware address, found the end"],
        ),
    ] {
        assert_refused(text, messages);
    }
}

#[test]
fn cases_with_comments_and_the_rule_that_decides() {
    let text = "\u{feff}# the web server\n\n\
        pass in on wan proto tcp from 192.0.2.1 to 198.51.100.2 port 80 by \"web $nr\" # why\r\n\
        block in on wan proto tcp from 192.0.2.1 to 198.51.100.2 port 22 by @14\n\
        block by @webfarm/customers/3 in on wan proto udp from ::1 to ::2 port 22";
    let cases = list(text);
    assert_eq!(cases.iter().map(|case| case.line).collect::<Vec<_>>(), [3, 4, 5]);
    assert_eq!(cases.iter().map(|case| case.passes).collect::<Vec<_>>(), [true, false, false]);
    let by = |anchor: &str, number| Some(By::Rule { anchor: anchor.into(), number });
    assert_eq!(cases[0].by, Some(By::Label("web $nr".into())));
    assert_eq!((&cases[1].by, &cases[2].by), (&by("", 14), &by("webfarm/customers", 3)));
    let by: Vec<_> =
        cases.iter().filter_map(|case| case.by.as_ref()).map(ToString::to_string).collect();
    assert_eq!(by, ["\"web $nr\"", "@14", "@webfarm/customers/3"]);
    assert!(list("").is_empty() && list("\n# nothing\n").is_empty());
}

#[test]
fn every_mistake_of_a_file_is_told_in_one_run() {
    let text = "pas in on lan proto udp from 10.0.0.1 to 10.0.0.2 port 53\n\
        pass in on lan proto udp from 10.0.0.1 to 10.0.0.2 port 53\n\
        in on lan proto udp from 10.0.0.1 to 10.0.0.2 prot 53\n\
        \x20 deny in on lan proto udp from 10.0.0.1 to 10.0.0.2 port 53 by 14\n\
        match in on lan \\\n\
        pass in on lan proto udp from 10.0.0.1 to 10.0.0.2 port 53 by @x\n";
    let cases = cases(&SourceFile::new("test.cases", text));
    assert_eq!(cases.list.len(), 1);
    assert_eq!(
        cases.diagnostics.to_string().lines().collect::<Vec<_>>(),
        [
            "test.cases:1:1: a case begins with `pass` or `block`, not with `pas`, did you mean \
             `pass`?",
            "test.cases:3:1: a case begins with `pass` or `block`, `in` comes behind it",
            "test.cases:3:47: unknown word `prot`, did you mean `port`?",
            "test.cases:4:3: a case begins with `pass` or `block`, not with `deny`, did you mean \
             `block`?",
            "test.cases:4:65: the number of a rule is written `@14`, a label \"14\"",
            "test.cases:5:1: `match` decides nothing: a case begins with `pass` or `block`",
            "test.cases:5:17: a packet stands on one line",
            "test.cases:6:63: `@x` is no rule: expected `@14`, or `@anchor/3` for rule 3 of an \
             anchor",
        ]
    );
}

/// Words in an order that a seed decides: xorshift (Marsaglia 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

#[test]
fn no_words_make_it_panic_and_what_is_printed_reads_as_itself() {
    const WORDS: &[&str] = &[
        "in",
        "on",
        "on lan",
        "on eth0",
        "inet",
        "inet6",
        "proto tcp",
        "proto udp",
        "proto icmp",
        "proto icmp6",
        "proto 47",
        "proto 255",
        "from 10.0.0.1",
        "from 10.0.0.1 port 7",
        "from ::1",
        "to 10.0.0.2",
        "to 10.0.0.2 port 80",
        "to ::2 port 80",
        "to ::2",
        "port",
        "flags",
        "flags SA",
        "flags none",
        "icmp-type 3 code 4",
        "icmp6-type 255",
        "id 9",
        "tos 255",
        "tos",
        "ttl 0",
        "length 1500",
        "vlan 7",
        "vlan 7.8",
        "pppoe 1",
        "pppoe 65535",
        "prio 7",
        "ether",
        "ether from 02:00:00:00:00:0a",
        "to 02:00:00:00:00:0b",
        "ether to 02:00:00:00:00:0b",
        "options",
        "fragment",
        "tagged a",
        "by @1",
        "by \"l\"",
        "{",
        "}",
        "\"",
        "'",
        "#",
        "\\",
        "é",
        "=",
        "@",
        "0x",
        "99999999999999999999",
    ];
    let mut random = Random(0x5eed);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..200_000 {
        let mut text = String::new();
        // Mostly a packet with something added, sometimes only noise.
        if random.below(4) > 0 {
            text +=
                ["on lan proto tcp from ::1 to ::2 port 80 ", "on wan from 10.0.0.1 to 10.0.0.2 "]
                    [random.below(2)];
        }
        for _ in 0..random.below(5) {
            text += WORDS[random.below(WORDS.len())];
            text += ["", " ", " ", " ", "\t"][random.below(5)];
        }
        match packet("random", &text) {
            Ok(probe) => {
                let printed = probe.to_string();
                assert_eq!(packet("printed", &printed).as_ref(), Ok(&probe), "{text}\n{printed}");
                read += 1;
            }
            Err(found) => {
                assert!(found.has_errors(), "{text}");
                refused += 1;
            }
        }
        let line = format!("pass {text}\n");
        let cases = cases(&SourceFile::new("random", &*line));
        assert!(cases.list.len() == 1 || cases.diagnostics.has_errors(), "{text}");
    }
    assert!(read > 10_000 && refused > 10_000, "{read} read, {refused} refused");
}

#[test]
fn hostile_files_end_soon() {
    for (text, errors) in [
        ("x\n".repeat(1 << 20), 1000),
        ("{".repeat(1 << 20), 2),
        ("\"".repeat((1 << 20) + 1), 2),
        (format!("pass {}", "in ".repeat(1 << 20)), 1000),
        ("\0\u{1b}[2J\n".repeat(10), 20),
    ] {
        let cases = cases(&SourceFile::new("hostile", text));
        assert!(cases.list.is_empty());
        assert_eq!(cases.diagnostics.iter().count(), errors);
        let shown = cases.diagnostics.to_string();
        assert!(!shown.contains('\u{1b}') && !shown.contains('\0'), "no control characters");
    }
}

/// With the fields that RFC 4861, 4.1 to 4.5, demands behind the ICMPv6 header.
#[test]
fn messages_of_neighbour_discovery_are_whole() {
    let shortest = |kind: &str| {
        read(&format!("in on lan from fe80::1 to fe80::2 icmp6-type {kind}")).shortest()
    };
    let kinds = ["routersol", "routeradv", "neighbrsol", "neighbradv", "redir"];
    assert_eq!(kinds.map(shortest), [48, 56, 64, 64, 80]);
}
