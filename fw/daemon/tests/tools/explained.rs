//! What `weir explain` prints.

use crate::weir::Folder;

const RULES: &str = "\
block log
pass in quick on wan proto tcp to 198.51.100.2 port { 80 443 } label \"web\"
pass in on lan from 10.0.0.0/8
block in on lan proto udp to port 53
pass in on lan inet proto icmp icmp-type echoreq no state
pass out
";

fn folder() -> Folder {
    Folder::with(&[("weir.conf", RULES)])
}

#[test]
fn the_rules_that_match_and_the_one_that_decides() {
    let said = folder().weir(
        "explain --rules weir.conf in on wan proto tcp from 192.0.2.1 to 198.51.100.2 port 443",
    );
    assert_eq!(
        said.out,
        "in on wan inet proto tcp from 192.0.2.1 port 40000 to 198.51.100.2 port 443 flags S\n\
         arriving, in on wan:\n\
         \x20 match @0 block drop log all\n\
         \x20 match @2 pass in quick on wan inet proto tcp from any to 198.51.100.2 port = 443 \
         flags S/SA label \"web\"\n\
         \x20 pass by @2, quick (weir.conf:2)\n\
         leaving, out on lan:\n\
         \x20 match @0 block drop log all\n\
         \x20 match @6 pass out all flags S/SA\n\
         \x20 pass by @6, the last that matches (weir.conf:6)\n\
         pass: @2 \"web\" passes it arriving, @6 leaving\n\
         keep state: wan tcp 198.51.100.2:443 <- 192.0.2.1:40000\n"
    );
    assert_eq!((said.errors.as_str(), said.status), ("", Some(0)));
}

#[test]
fn every_rule_and_what_it_lacks() {
    let said = folder().weir(
        "explain -v --rules weir.conf in on lan proto udp from 10.0.0.1 to 198.51.100.2 port 53",
    );
    let web = "pass in quick on wan inet proto tcp from any to 198.51.100.2 port";
    assert_eq!(
        said.out,
        format!(
            "in on lan inet proto udp from 10.0.0.1 port 40000 to 198.51.100.2 port 53\n\
             arriving, in on lan:\n\
             \x20 match @0 block drop log all\n\
             \x20 -     @1 {web} = 80 flags S/SA label \"web\": on lan is not wan\n\
             \x20 -     @2 {web} = 443 flags S/SA label \"web\": on lan is not wan\n\
             \x20 match @3 pass in on lan inet from 10.0.0.0/8 to any flags S/SA\n\
             \x20 match @4 block drop in on lan proto udp from any to any port = 53\n\
             \x20 -     @5 pass in on lan inet proto icmp all icmp-type echoreq no state: proto udp \
             is not icmp\n\
             \x20 -     @6 pass out all flags S/SA: in is not out\n\
             \x20 block by @4, the last that matches (weir.conf:4)\n\
             leaving, out on wan:\n\
             \x20 match @0 block drop log all\n\
             \x20 -     @1 {web} = 80 flags S/SA label \"web\": out is not in\n\
             \x20 -     @2 {web} = 443 flags S/SA label \"web\": out is not in\n\
             \x20 -     @3 pass in on lan inet from 10.0.0.0/8 to any flags S/SA: out is not in\n\
             \x20 -     @4 block drop in on lan proto udp from any to any port = 53: out is not in\n\
             \x20 -     @5 pass in on lan inet proto icmp all icmp-type echoreq no state: out is not \
             in\n\
             \x20 match @6 pass out all flags S/SA\n\
             \x20 pass by @6, the last that matches (weir.conf:6)\n\
             block: @4 blocks it arriving\n"
        )
    );
    assert_eq!(said.status, Some(1));
}

/// The first criterion that does not hold, for each of them.
#[test]
fn each_criterion_is_told_in_words() {
    for (rule, packet, why) in [
        ("pass on ! lan", "proto udp to 10.0.0.2 port 53", "on lan, which `! lan` excludes"),
        ("pass inet6", "proto udp to 10.0.0.2 port 53", "inet is not inet6"),
        ("pass proto tcp", "proto 99 to 10.0.0.2", "proto tcp is not 99"),
        ("pass from 10.0.0.9", "proto 99 to 10.0.0.2", "source 10.0.0.1 is not 10.0.0.9"),
        (
            "pass from ! 10.0.0.0/8",
            "proto 99 to 10.0.0.2",
            "source 10.0.0.1 is in 10.0.0.0/8, which `!` excludes",
        ),
        (
            "pass to 10.0.0.5 - 10.0.0.9",
            "proto 99 to 10.0.0.2",
            "destination 10.0.0.2 is not in 10.0.0.5 - 10.0.0.9",
        ),
        (
            "pass proto udp from port < 1024",
            "proto udp to 10.0.0.2 port 53",
            "source port 40000 is not < 1024",
        ),
        ("pass proto udp to port 22:53", "proto udp to 10.0.0.2 port 54", "port 54 is not 22:53"),
        ("pass proto tcp flags S/SA", "flags SA to 10.0.0.2 port 1", "flags SA are not S/SA"),
        (
            "pass inet proto icmp icmp-type echoreq",
            "icmp-type timex to 10.0.0.2",
            "icmp-type timex is not echoreq",
        ),
        (
            "pass inet proto icmp icmp-type unreach code needfrag",
            "icmp-type unreach code 3 to 10.0.0.2",
            "code port-unr is not needfrag",
        ),
        ("pass tos 0x10", "proto 99 to 10.0.0.2 tos 8", "tos 0x08 is not 0x10"),
        ("pass prio 7", "proto 99 to 10.0.0.2", "prio 3 is not 7"),
        ("pass prio 7", "proto 99 to 10.0.0.2 prio 0", "prio 0 is not 7"),
        ("pass tagged good", "proto 99 to 10.0.0.2", "not tagged, which is not good"),
        (
            "pass ! tagged good",
            "proto 99 to 10.0.0.2 tagged good",
            "tagged good, which `!` excludes",
        ),
    ] {
        let folder = Folder::with(&[("weir.conf", &format!("{rule}\n"))]);
        let packet = format!("in on lan from 10.0.0.1 {packet}");
        let said = folder.weir_with(&["explain", "-v", "--rules", "weir.conf", &packet], "");
        let line = said.out.lines().find(|line| line.contains(" @0 ")).unwrap_or_default();
        let why = why.replace("tcp is not 99", "99 is not tcp");
        assert!(line.ends_with(&format!(": {why}")), "{rule}: {why}\n{}{}", said.out, said.errors);
    }
}

#[test]
fn what_happens_before_and_after_the_rules() {
    for (rules, packet, end, status) in [
        (
            "pass\n",
            "flags F from 10.0.0.1 to 10.0.0.2 port 1",
            "block: dropped before any IP rule is asked (tcp-flags): a combination of TCP flags that \
             no stack sends\n",
            1,
        ),
        (
            "block\n",
            "icmp6-type neighbrsol from fe80::1 to ff02::1",
            "pass: ARP, neighbour discovery and control frames pass before any IP rule\n",
            0,
        ),
        (
            "block in on wan\n",
            "proto 99 from 10.0.0.1 to 10.0.0.2",
            "block: no rule decides, and what no rule passes is blocked\n",
            1,
        ),
        (
            "set skip on { lan wan }\nblock\n",
            "proto 99 from 10.0.0.1 to 10.0.0.2",
            "arriving, in on lan:\n  skipped: `set skip on` this port\nleaving, out on wan:\n  \
             skipped: `set skip on` this port\npass: `set skip` on both ports: no rule is asked\n\
             no state: no rule is asked\n",
            0,
        ),
        (
            "pass\n",
            "proto 99 from 10.0.0.1 to 10.0.0.2 options",
            "block: @0 passes it arriving and leaving, but (ip-options): IPv4 options or IPv6 \
             extension headers that need allow-opts\n",
            1,
        ),
        (
            "pass allow-opts\n",
            "proto 99 from 10.0.0.1 to 10.0.0.2 options",
            "keep state: lan 99 10.0.0.2 <- 10.0.0.1\n",
            0,
        ),
        (
            "pass\n",
            "icmp-type unreach from 10.0.0.1 to 10.0.0.2",
            "block: @0 passes it arriving and leaving, but (icmp-unmatched): an ICMP error about a \
             packet that no state knows\n",
            1,
        ),
        (
            "pass no state\n",
            "icmp-type unreach from 10.0.0.1 to 10.0.0.2",
            "pass: @0 passes it arriving and leaving\nno state: @0 says `no state`\n",
            0,
        ),
        (
            "pass in\npass out no state label x\n",
            "proto udp from 2001:db8::1 to 2001:db8::2 port 53 vlan 5",
            "pass: @0 passes it arriving, @1 \"x\" leaving\nno state: @1 \"x\" says `no state`\n",
            0,
        ),
        (
            "pass\n",
            "proto udp from 2001:db8::1 to 2001:db8::2 port 53 vlan 9.5",
            "keep state: lan vlan 9.5 udp 2001:db8::2[53] <- 2001:db8::1[40000]\n",
            0,
        ),
        (
            "pass probability 50%\n",
            "proto 99 from 10.0.0.1 to 10.0.0.2",
            "note: a rule with `probability` was asked: the dice were taken to fall for it\n",
            0,
        ),
    ] {
        let folder = Folder::with(&[("weir.conf", rules)]);
        let packet = format!("in on lan {packet}");
        let said = folder.weir_with(&["explain", "--rules", "weir.conf", &packet], "");
        assert!(said.out.ends_with(end), "{packet}: {end}\n{}{}", said.out, said.errors);
        assert_eq!(said.status, Some(status), "{packet}");
    }
}

#[test]
fn rules_tags_and_macros_from_standard_input() {
    let rules = "match in on eth0 tag $colour\npass tagged red\n";
    let arguments = ["explain", "--rules", "-", "-D", "colour=red", "--lan", "eth0"];
    let packet = ["in on eth0 proto 99", "from 10.0.0.1 to 10.0.0.2"];
    let said = Folder::with(&[]).weir_with(&[&arguments[..], &packet].concat(), rules);
    assert_eq!(
        said.out,
        "in on eth0 inet proto 99 from 10.0.0.1 to 10.0.0.2\n\
         arriving, in on lan:\n\
         \x20 match @0 match in on eth0 all tag red\n\
         \x20 match @1 pass all flags S/SA tagged red\n\
         \x20 pass by @1, the last that matches (stdin:2)\n\
         \x20 tagged red\n\
         leaving, out on wan:\n\
         \x20 match @1 pass all flags S/SA tagged red\n\
         \x20 pass by @1, the last that matches (stdin:2)\n\
         \x20 tagged red\n\
         pass: @1 passes it arriving and leaving\n\
         keep state: lan 99 10.0.0.2 <- 10.0.0.1\n"
    );
    assert_eq!((said.errors.as_str(), said.status), ("", Some(0)));
}

#[test]
fn the_settings_file_names_the_ports_and_what_is_behind_them() {
    let settings = "[ports]\nlan = \"em0\"\nlan_prefixes = [\"10.0.0.0/8\"]\nwan_prefixes = \
                    [\"0.0.0.0/0\"]\n";
    let rules = "pass\nblock in from urpf-failed\nantispoof for em0\n";
    let folder = Folder::with(&[("weir.toml", settings), ("weir.conf", rules)]);
    for (packet, decides, status) in [
        ("in on em0 proto 99 from 10.0.0.1 to 192.0.2.1", "@0 passes it arriving and leaving", 0),
        ("in on lan proto 99 from 192.0.2.9 to 192.0.2.1", "@1 blocks it arriving", 1),
        ("in on wan proto 99 from 10.0.0.1 to 192.0.2.1", "@2 blocks it arriving", 1),
    ] {
        let arguments = ["explain", "--rules", "weir.conf", "--config", "weir.toml", packet];
        let said = folder.weir_with(&arguments, "");
        assert!(
            said.out.contains(&format!(": {decides}\n")),
            "{packet}: {}{}",
            said.out,
            said.errors
        );
        assert_eq!(said.status, Some(status), "{packet}");
    }
}

#[test]
fn anchors_tables_and_layer_2_are_walked_through() {
    let rules = "table <t> { 192.0.2.0/24 !192.0.2.7 }\n\
                 ether pass in vlan 5 tag guest\n\
                 ether block in vlan 6\n\
                 block\n\
                 anchor \"a\" in on lan {\n\
                 pass proto udp from <t> tagged guest\n\
                 }\n\
                 pass out\n";
    let folder = Folder::with(&[("weir.conf", rules)]);
    let ask = |packet: &str| {
        let packet = format!("in on lan proto udp from {packet}");
        folder.weir_with(&["explain", "--rules", "weir.conf", "-v", &packet], "")
    };
    let said = ask("192.0.2.1 to 198.51.100.2 port 53 vlan 5");
    assert!(
        said.out.contains(
            "\n  match   @a/0 pass proto udp from <t> to any tagged guest\n            <t> holds \
             192.0.2.1: 192.0.2.0/24\n"
        ),
        "{}{}",
        said.out,
        said.errors
    );
    assert!(said.out.contains("\npass: @a/0 passes it arriving, @2 leaving\n"), "{}", said.out);
    let said = ask("192.0.2.7 to 198.51.100.2 port 53 vlan 5");
    let why = ": source: <t> does not hold 192.0.2.7: ! 192.0.2.7/32\n";
    assert!(said.out.contains(why), "{}", said.out);
    let said = ask("192.0.2.1 to 198.51.100.2 port 53");
    assert!(said.out.contains(": not tagged, which is not guest\n"), "{}", said.out);
    let note = "\nnote: the hardware addresses that are not said are 02:00:00:00:00:01";
    assert!(said.out.contains(note), "{}", said.out);
    let said = ask("192.0.2.1 to 198.51.100.2 port 53 tagged guest");
    assert_eq!(said.status, Some(0), "{}", said.out);
    let said = ask("192.0.2.1 to 198.51.100.2 port 53 vlan 6");
    let dropped = "block: dropped before any IP rule is asked (ether-rule): ";
    assert!(said.out.contains(dropped), "{}", said.out);
    let cases = "pass in on lan proto udp from 192.0.2.1 to 198.51.100.2 port 53 vlan 5 by @a/0\n";
    std::fs::write(folder.path().join("x.cases"), cases).unwrap();
    let said = folder.weir("test --rules weir.conf x.cases");
    assert_eq!((said.out.as_str(), said.errors.as_str()), ("1 case, 0 failed\n", ""));
}

#[test]
fn json_holds_the_same() {
    let said = folder().weir(
        "explain --json --rules weir.conf in on lan proto udp from 10.0.0.1 to 10.0.0.2 port 53",
    );
    let told: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(told["passes"], false);
    assert_eq!(told["reason"], "block-rule");
    assert_eq!(told["sides"][0]["decides"], "@4");
    assert_eq!(told["sides"][0]["rules"][2]["place"], "weir.conf:4");
    assert_eq!(said.out.lines().count(), 1);
}

#[test]
fn errors_end_with_2() {
    let folder = folder();
    for (arguments, message) in [
        (
            "--rules weir.conf in on lna proto tpc from 10.0.0.1 to 10.0.0.2",
            "packet:1:17: unknown protocol `tpc`, did you mean `tcp`?\n",
        ),
        (
            "--rules weir.conf in on eth7 proto 99 from 10.0.0.1 to 10.0.0.2",
            "no port is called `eth7`: there are `lan` and `wan`\n",
        ),
        (
            "--rules weir.conf --lan em0 in on em1 proto 99 from 10.0.0.1 to 10.0.0.2",
            "no port is called `em1`: there are `lan` (`em0`) and `wan`\n",
        ),
        ("--rules none.conf in on lan", "none.conf: No such file or directory (os error 2)\n"),
        ("--rules weir.conf -D colour in on lan", "-D "),
        (
            "--live --socket /nonexistent/sock in on lan",
            "weir explain: cannot reach `weir run` at /nonexistent/sock",
        ),
        ("in on lan", "error: the following required arguments were not provided"),
        ("--rules weir.conf -r x.pcap", "error: the following required arguments"),
        ("--rules weir.conf -r none.pcap --on lan", "none.pcap: No such file or directory"),
        ("--rules weir.conf -r weir.conf --on lan", "weir.conf: offset 0: 0x636f6c62 is not the"),
        ("--rules weir.conf -r weir.conf --on up", "--on: no port is called `up`"),
    ] {
        let said = folder.weir(&format!("explain {arguments}"));
        assert!(said.errors.starts_with(message), "{arguments}: {}", said.errors);
        assert_eq!((said.out.as_str(), said.status), ("", Some(2)), "{arguments}");
    }
    let wrong = Folder::with(&[("weir.conf", "pas\npass on em7\n")]);
    let said = wrong.weir("explain --rules weir.conf in on lan proto 99 from ::1 to ::2");
    assert!(said.errors.starts_with("weir.conf:1:1: "), "{}", said.errors);
    let named = Folder::with(&[("weir.conf", "pass on em7\n")]);
    let said = named.weir("explain --rules weir.conf in on lan proto 99 from ::1 to ::2");
    assert_eq!(
        said.errors,
        "warning: the rules name `em7`, which is no port here: say which with --lan and --wan\n"
    );
}

#[test]
fn a_capture_is_explained_packet_by_packet() {
    use weir_engine::packet::build::{tcp, udp};
    use weir_engine::packet::tcp::flags::{ACK, SYN};
    let (client, server) = (([10, 0, 0, 1], 40_000), ([198, 51, 100, 2], 80));
    let frames = [
        tcp(client, server, SYN).seq(1).frame(),
        tcp(server, client, SYN | ACK).frame(),
        udp(client, ([192, 0, 2, 53], 53)).frame(),
    ];
    let folder = folder();
    let mut file = Vec::new();
    {
        let mut writer = weir_hw::pcap::file::Writer::new(&mut file).unwrap();
        for frame in &frames {
            writer.write(1_000_000_000, std::iter::once(&frame[..])).unwrap();
        }
        writer.flush().unwrap();
    }
    std::fs::write(folder.path().join("some.pcap"), &file).unwrap();
    let said = folder.weir("explain --rules weir.conf -r some.pcap --on lan");
    let parts: Vec<_> = said.out.split("\n\n").collect();
    assert_eq!(parts.len(), 3, "{}", said.out);
    assert!(
        parts[0].starts_with("#1 IP 10.0.0.1.40000 > 198.51.100.2.80: Flags [S]"),
        "{}",
        said.out
    );
    assert!(parts[0].ends_with("keep state: lan tcp 198.51.100.2:80 <- 10.0.0.1:40000"));
    assert!(
        parts[1].ends_with("pass: it belongs to the state that packet #1 makes"),
        "{}",
        said.out
    );
    assert!(parts[2].ends_with("block: @4 blocks it arriving\n"), "{}", said.out);
    assert_eq!((said.errors.as_str(), said.status), ("", Some(1)));
    let first = folder.weir("explain --rules weir.conf -r some.pcap --on lan --count 2 --json");
    assert_eq!((first.out.lines().count(), first.status), (2, Some(0)));
    std::fs::write(folder.path().join("cut.pcap"), &file[..file.len() - 1]).unwrap();
    let cut = folder.weir("explain --rules weir.conf -r cut.pcap --on lan");
    assert_eq!((cut.out.split("\n\n").count(), cut.status), (2, Some(2)), "{}", cut.errors);
    assert!(cut.errors.starts_with("cut.pcap: offset "), "{}", cut.errors);
}
