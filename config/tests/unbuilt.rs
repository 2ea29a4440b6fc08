//! What is read and printed, and refused when it would be put in force.

use weir_config::{Defines, SourceFile, not_built, parse_one};

fn lacking(text: &str) -> Vec<(u32, String)> {
    let parsed = parse_one(&SourceFile::new("f", text), &Defines::default());
    let rules = parsed.rules.unwrap_or_else(|| panic!("{}", parsed.diagnostics));
    not_built(&rules).into_iter().map(|(source, why)| (source.line, why)).collect()
}

#[test]
fn what_works_is_not_refused() {
    let text = "\
set limit { states 1000, src-nodes 5, frags 500, tables 5, table-entries 10, anchors 3 }
set timeout { tcp.first 5, frag 10, adaptive.start 10, adaptive.end 20 }
set loginterface lan
set optimization aggressive
set ruleset-optimization none
set block-policy return
set state-policy floating
set skip on lo
set reassemble yes no-df
set syncookies adaptive (start 20%, end 10%)
set src-conn-count all
set limit tails 1000
match in scrub (reassemble tcp no-df random-id min-ttl 5 max-mss 1400) set (prio 3, tos 4)
pass in log (all, matches, to pflog1) on lan proto tcp from <a> to any port 80 keep state (no-sync, sloppy) tag x
pass in fragment
pass in keep state (max 100, max-src-nodes 5, max-src-states 6, max-src-conn 7, max-src-conn-rate 8/9)
pass in keep state (max-src-conn 5, overload <a> flush global, src.track 9)
pass in keep state (max-idle 60, min-rate 500/20, overload <a>)
pass in keep state (source-track rule)
pass in proto tcp keep state (if-bound, tcp.established 60, adaptive.start 5, adaptive.end 9)
pass in proto udp keep state (floating, udp.first 5, pflow)
pass in proto tcp modulate state (max-src-conn 5)
pass in proto tcp synproxy state (max-src-conn 5)
pass out tagged x received-on lan probability 5% max-pkt-rate 5/1 prio 2 tos 8 allow-opts once
";
    assert_eq!(lacking(text), []);
}

#[test]
fn every_option_of_a_rule_is_named() {
    let found = lacking("pass proto tcp from any os Linux\n");
    assert_eq!(found, [(1, "`os` is not built yet".to_owned())]);
}

#[test]
fn options_are_named_with_their_lines() {
    let text = "\
set block-policy drop

set limit { states 5, src-nodes 5 }


set src-conn-count all
set debug info
set hostid 7
set fingerprints \"/etc/pf.os\"
pass

pass in proto tcp from any os Linux to port { 80 81 }
";
    let expected = [
        (8, "`set hostid` is not built yet: states are not shared between firewalls yet"),
        (9, "`set fingerprints` is not built yet: operating systems are not told apart yet"),
        // One line, though it expands to two rules.
        (12, "`os` is not built yet"),
    ];
    assert_eq!(lacking(text), expected.map(|(line, why)| (line, why.to_owned())));
}
