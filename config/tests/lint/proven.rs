//! What lint says of rules is true for every packet.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use weir_config::SourceFile;
use weir_config::lint::{Ports, lint};
use weir_config::notes::Notes;
use weir_config::rules::{Action, Direction, RuleSet};

use crate::model::{Evaluation, Random, packet, rules};

/// Rules that are said to block no new connection.
const BEGINNINGS: &str = "beginnings";

/// The findings of each name, by the line of their rule.
fn findings(set: &RuleSet, ports: &Ports) -> BTreeMap<&'static str, Vec<u32>> {
    let text = "rule\n".repeat(100);
    let report = lint(set, &Notes::default(), &[SourceFile::new("rules", text)], ports);
    assert!(report.unchecked.is_empty() && report.omitted == 0, "{report}");
    let mut found: BTreeMap<_, Vec<u32>> = BTreeMap::new();
    for finding in report.findings {
        let of_beginnings = finding.message.starts_with("no new connection");
        let name = if of_beginnings { BEGINNINGS } else { finding.name };
        found.entry(name).or_default().push(finding.place.line);
    }
    found
}

#[test]
fn a_dead_rule_never_decides() {
    let mut random = Random(0x5eed);
    let ports = Ports::default();
    let bridge =
        Ports { lan: Some("eth0".to_owned()), wan: Some("eth1".to_owned()), others: Vec::new() };
    let mut told: BTreeMap<&str, u32> = BTreeMap::new();
    for round in 0..20_000 {
        let set = rules(&mut random);
        let known = if round % 2 == 0 { &ports } else { &bridge };
        let found = findings(&set, known);
        let lines = |name: &str| found.get(name).map_or(&[][..], |lines| &lines[..]);
        let context =
            |packet: &dyn std::fmt::Debug| format!("{}\n{found:?}\n{packet:?}", shown(&set));
        for (name, lines) in &found {
            *told.entry(name).or_default() += lines.len() as u32;
        }
        for _ in 0..60 {
            let packet = packet(&mut random, &set);
            let arriving =
                Evaluation::run(&set, &packet, Direction::In, packet.tag.clone(), &mut random);
            let leaving =
                Evaluation::run(&set, &packet, Direction::Out, arriving.tag.clone(), &mut random);
            let blocked = [&arriving, &leaving]
                .iter()
                .any(|half| half.winner.is_some_and(|rule| rule.action != Action::Pass));
            for half in [&arriving, &leaving] {
                let winner = half.winner.map_or(0, |rule| rule.source.line);
                assert!(!lines("overridden-rule").contains(&winner), "{}", context(&packet));
                if packet.may_begin() {
                    assert!(!lines(BEGINNINGS).contains(&winner), "{}", context(&packet));
                }
                for line in &half.matched {
                    assert!(!lines("shadowed-rule").contains(line), "{}", context(&packet));
                    assert!(!lines("matches-nothing").contains(line), "{}", context(&packet));
                }
                for quick in lines("behind-quick-all") {
                    let later = half.matched.iter().any(|line| {
                        line > quick && set.rules.iter().any(|rule| rule.source.line == *line)
                    });
                    assert!(!later, "{}", context(&packet));
                }
                if lines("one-sided").contains(&winner) {
                    assert!(blocked, "{}", context(&packet));
                }
            }
        }
    }
    for name in ["shadowed-rule", "overridden-rule", BEGINNINGS, "one-sided", "matches-nothing"] {
        assert!(told.get(name).is_some_and(|&count| count > 100), "{name}: {told:?}");
    }
}

/// The rules by their lines.
fn shown(set: &RuleSet) -> String {
    let main = set.rules.iter().map(|rule| ("", rule));
    let inner = set
        .anchors
        .iter()
        .flat_map(|(path, anchor)| anchor.rules.iter().map(move |rule| (&**path, rule)));
    main.chain(inner).fold(String::new(), |mut text, (path, rule)| {
        let (line, tag, tagged, on) =
            (rule.source.line, &rule.tag, &rule.tagged, &rule.received_on);
        writeln!(text, "{line}: {path} {rule} {tag:?} {tagged:?} {on:?}").unwrap();
        text
    })
}
