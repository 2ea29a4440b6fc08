//! Each warning on rules as a person types them, and its absence where there is no trap.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use weir_config::lint::{Ports, Report, lint, lints};
use weir_config::{Defines, Environment, Files, SourceFile, parse, parse_one};

fn report(text: &str, ports: &Ports) -> Report {
    let parsed = parse_one(&SourceFile::new("weir.conf", text), &Defines::default());
    let Some(rules) = &parsed.rules else { panic!("{text}{}", parsed.diagnostics) };
    lint(rules, &parsed.notes, &parsed.sources, ports)
}

/// `LINE NAME` of each finding.
fn warnings(text: &str) -> Vec<String> {
    warnings_with(text, &Ports::default())
}

fn warnings_with(text: &str, ports: &Ports) -> Vec<String> {
    let found = report(text, ports).findings;
    found.iter().map(|finding| format!("{} {}", finding.place.line, finding.name)).collect()
}

/// A policy that gives no warning, with more rules behind it.
fn policy(rules: &str) -> String {
    format!("block in log\n{rules}")
}

/// The rules of [`policy`] are told from its second line on; most of them are for IPv4 to be short.
#[track_caller]
fn expect(rules: &str, expected: &[&str]) {
    let mut found = warnings(&policy(rules));
    found.retain(|found| !found.ends_with("ipv4-only"));
    assert_eq!(found, expected, "{rules}");
}

#[test]
fn a_plain_policy_is_clean() {
    expect("", &[]);
    expect("pass in on lan\npass in quick on wan proto tcp to any port { 22 443 }\n", &[]);
}

#[test]
fn every_explanation_has_an_example_that_warns() {
    const MACROS: &str = "web = \"192.0.2.80\"\nguests = \"198.51.100.0/24\"\n";
    let mut silent = String::new();
    for lint in lints() {
        let lines = lint.explanation.lines().skip_while(|line| !line.starts_with("    "));
        let mut example = String::new();
        for name in ["web", "guests"]
            .into_iter()
            .filter(|name| lint.explanation.contains(&format!("${name}")))
        {
            let line = MACROS.lines().find(|line| line.starts_with(name)).unwrap();
            writeln!(example, "{line}").unwrap();
        }
        for line in lines.take_while(|line| line.starts_with("    ")) {
            writeln!(example, "{}", &line[4..]).unwrap();
        }
        let found = warnings(&example);
        if !found.iter().any(|found| found.ends_with(&format!(" {}", lint.name))) {
            writeln!(silent, "{}: {found:?}\n{example}", lint.name).unwrap();
        }
    }
    assert_eq!(silent, "");
}

#[test]
fn a_negated_prefix_leaves_the_other_family_alone() {
    let name = "negated-one-family";
    let told = [format!("3 {name}")];
    let told: Vec<_> = told.iter().map(String::as_str).collect();
    for rules in [
        "pass in on lan\nblock in on lan from ! 192.0.2.0/24\n",
        "pass in on lan\nblock in quick on lan proto tcp from ! 2001:db8::/32 to any port 25\n",
        "pass in on lan\nblock in on lan to ! 192.0.2.1\n",
    ] {
        expect(rules, &told);
    }
    for rules in [
        // The other family is meant not to be.
        "pass in on lan\nblock in on lan inet from ! 192.0.2.0/24\n",
        // It has a rule of its own.
        "pass in on lan\nblock in on lan from ! 192.0.2.0/24\n\
         block in on lan from ! 2001:db8::/32\n",
        // Nothing passes it.
        "pass in on lan from 192.0.2.0/24\nblock in on lan from ! 192.0.2.0/25\n",
        "pass in on wan proto tcp\nblock in on lan proto tcp from ! 192.0.2.0/24\n",
        "pass in on lan proto udp\nblock in on lan proto tcp from ! 192.0.2.0/24\n",
        // The other address says of which family the packets are.
        "pass in on lan\nblock in on lan from ! 192.0.2.0/24 to 198.51.100.1\n",
        // A table has both, and an anchor may say anything.
        "table <t> persist\npass in on lan\nblock in on lan from ! <t>\n",
        "pass in on lan\nanchor x\nblock in on lan from ! 192.0.2.0/24\n",
        "pass in on lan from ! 192.0.2.7\n",
    ] {
        expect(rules, &[]);
    }
}

#[test]
fn names_are_unique_and_summaries_are_lines() {
    let mut names: Vec<_> = lints().map(|lint| lint.name).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all);
    assert!(all >= 20, "{all}");
    assert!(lints().all(|lint| !lint.summary.contains('\n') && !lint.summary.ends_with('.')));
}

#[test]
fn lists_that_match_everything() {
    expect("block in from { !10.0.0.0/8, !192.168.0.0/16 }\n", &["2 negated-list"]);
    expect("block in from { 10.0.0.0/8, !10.1.2.3 }\n", &["2 negated-list"]);
    expect("pass in proto tcp to port { != 80, != 443 }\n", &["2 negated-list"]);
    expect("pass in on { ! lan, ! wan } proto tcp\n", &["2 negated-list"]);
    let tables = "table <a> { 192.0.2.1 }\ntable <b> { 192.0.2.2 }\n";
    expect(&format!("{tables}block in to {{ !<a>, !<b> }}\n"), &["4 negated-list"]);
    // One of each family, one alone, and a hole that is filled on purpose.
    expect("block in from { !10.0.0.1, !2001:db8::/32 }\n", &[]);
    expect("block in from ! 10.0.0.0/8 to { 192.0.2.1 192.0.2.2 }\n", &[]);
    expect("block in quick from { !10.0.0.0/8, 10.1.0.0/16 }\n", &[]);
}

#[test]
fn the_list_itself_is_underlined() {
    let text = policy("block in from \\\n  { !10.0.0.0/8, !192.168.0.0/16 }\n");
    let finding = report(&text, &Ports::default()).findings.remove(0);
    let place = finding.place;
    assert_eq!((place.line, place.column), (3, 3));
    assert_eq!(
        &place.excerpt[place.underline[0] as usize..place.underline[1] as usize],
        "{ !10.0.0.0/8, !192.168.0.0/16 }"
    );
}

#[test]
fn rules_behind_quick() {
    let rules = "block in quick on wan from 192.0.2.0/24\npass in on wan from 192.0.2.7 to any\n";
    expect(rules, &["3 shadowed-rule"]);
    // Of a list only a part is hidden: the usual way to write an exception.
    expect("block in quick proto tcp to port 25\npass in proto tcp to port { 25 80 }\n", &[]);
    // Not if the first one takes only some of them.
    expect("block in quick probability 50%\npass in on lan\n", &[]);
    expect("pass in quick on lan proto tcp tagged A\npass in on lan proto tcp tag A\n", &[]);
    // Said once, where it comes from.
    let all = "block quick all\npass in on lan\npass in on wan proto udp\nanchor \"x\"\n";
    assert_eq!(warnings(all), ["1 behind-quick-all"]);
}

#[test]
fn rules_that_a_later_one_overrides() {
    expect(
        "block in on wan proto tcp to port 23\npass in on wan proto tcp\n",
        &["2 overridden-rule"],
    );
    // A tag, and `match quick` in between, make a difference.
    expect("pass in on wan tag A\nblock in on wan\nblock out tagged A\n", &[]);
    assert!(
        !warnings("pass in on wan\nmatch quick\nblock in on wan\n")
            .iter()
            .any(|found| { found.contains("overridden") })
    );
    // The rules that come into an anchor while weir runs are unknown.
    expect("pass in on wan\nanchor \"x/*\"\nblock in on wan\n", &[]);
}

#[test]
fn duplicates() {
    expect("pass in on lan\nblock in on wan proto udp\npass in on lan\n", &["4 duplicate-rule"]);
    expect("pass in on lan proto tcp to port { 22 ssh }\n", &["2 duplicate-rule"]);
}

#[test]
fn rules_without_a_packet() {
    expect("pass in on wan proto tcp to port 80 >< 81\n", &["2 matches-nothing"]);
    expect("pass in on lan proto tcp received-on wan\n", &["2 matches-nothing"]);
    expect("pass in on lan tagged A\n", &["2 matches-nothing"]);
    expect("block in proto tcp flags FS/FS\n", &["2 matches-nothing"]);
    expect("table <t> const\npass in on lan from <t>\n", &["3 matches-nothing"]);
    expect(
        "table <t> const { 192.0.2.1 }\npass in on lan inet6 from <t>\n",
        &["3 matches-nothing"],
    );
    expect("table <t> persist\npass in on lan from <t>\n", &[]);
    expect("pass in on lan proto tcp received-on lan\n", &[]);
    expect("pass in on lan proto tcp to port { 80 >< 81, 443 }\n", &[]);
}

#[test]
fn interfaces_that_are_none() {
    expect("pass in on Lan proto tcp\n", &["2 unknown-interface"]);
    expect("pass in on eth0 proto tcp\n", &[]);
    let ports = Ports { lan: Some("eth0".into()), wan: Some("eth1".into()), others: Vec::new() };
    let text = policy("pass in on eth0 proto tcp\npass in on eth2 proto tcp\n");
    assert_eq!(warnings_with(&text, &ports), ["3 unknown-interface"]);
}

#[test]
fn what_is_blocked_by_default() {
    assert_eq!(warnings("pass in on lan\n"), ["1 no-default-block"]);
    assert_eq!(warnings("pass\n"), ["1 no-default-block"]);
    assert_eq!(warnings("block in on wan\npass in on lan\n"), [""; 0]);
    assert_eq!(warnings("block in on { lan wan }\npass in on lan proto tcp\n"), [""; 0]);
    assert_eq!(warnings("anchor \"*\"\n"), [""; 0], "who knows?");
    assert_eq!(warnings(""), [""; 0]);
    assert_eq!(warnings("set skip on { lan wan }\nblock\n"), ["1 skips-everything"]);
    assert_eq!(warnings("pass\nblock in on wan inet\n"), ["1 ipv6-open"]);
}

#[test]
fn pass_out_in_both_directions() {
    assert_eq!(warnings("pass in on lan\npass out\n"), ["2 bare-pass-out"]);
    assert_eq!(warnings("block in\npass in on lan\npass out\n"), [""; 0]);
    assert_eq!(warnings("block in on wan\npass out\n"), [""; 0]);
}

#[test]
fn halves_that_are_never_passed() {
    let text = "block\npass in on lan proto tcp\n";
    assert_eq!(warnings(text), ["2 one-sided"]);
    assert_eq!(
        warnings(&format!("{text}pass out on wan proto udp\n")),
        ["2 one-sided", "3 one-sided"]
    );
    assert_eq!(warnings(&format!("{text}pass out on wan proto tcp to port 80\n")), [""; 0]);
    assert_eq!(warnings(&format!("{text}anchor \"x\" out\n")), [""; 0]);
    assert_eq!(warnings("block\npass proto tcp\n"), [""; 0]);
    let finding = report(text, &Ports::default()).findings.remove(0);
    assert!(finding.message.ends_with("where it leaves by wan"), "{finding}");
    assert!(finding.why.contains("`block drop all` (weir.conf:1)"), "{finding}");
}

#[test]
fn only_one_family() {
    let inet = policy("pass in on lan from 192.0.2.0/24\n");
    assert_eq!(warnings(&inet), ["2 ipv4-only"]);
    assert_eq!(warnings(&format!("{inet}block in log inet6\n")), [""; 0]);
    assert_eq!(warnings(&format!("{inet}pass in on lan proto udp\n")), [""; 0]);
}

#[test]
fn states_from_the_middle() {
    expect("pass in on lan proto tcp flags any\n", &["2 mid-connection-state"]);
    expect("pass in on lan flags A/A\n", &["2 mid-connection-state"]);
    expect("pass in on lan proto tcp flags S/SAFR\n", &[]);
    expect("pass in on lan proto tcp flags any no state\n", &[]);
    expect("pass in on lan proto tcp flags any keep state (sloppy)\n", &[]);
}

#[test]
fn limits_against_each_other() {
    let with = |options: &str| format!("pass in on wan proto tcp keep state ({options})\n");
    expect(&with("max 10, max-src-states 20"), &["2 limits-cannot-hold"]);
    expect(&with("max 20, max-src-states 10"), &[]);
    expect(&with("max 200000"), &["2 limits-cannot-hold"]);
    expect(&with("max-idle 60, min-rate 500/20"), &[]);
    for option in ["max-idle 60", "min-rate 500/20"] {
        let udp = format!("pass in on wan proto udp keep state ({option})\n");
        expect(&udp, &["2 limits-cannot-hold"]);
    }
    let flooders = "table <f> const { 192.0.2.1 }\nblock in quick from <f>\n";
    let overload = with("max-src-conn 9, overload <f>");
    expect(&format!("{flooders}{overload}"), &["4 limits-cannot-hold"]);
    assert_eq!(
        warnings(&format!("set timeout tcp.closing 0\n{}", policy(""))),
        ["1 limits-cannot-hold"]
    );
    let turned = "set timeout { adaptive.start 20000, adaptive.end 10000 }\n";
    assert_eq!(warnings(&(turned.to_owned() + &policy(""))), ["1 limits-cannot-hold"]);
}

#[test]
fn overload_needs_a_block() {
    let rule = "pass in on wan proto tcp keep state (max-src-conn 9, overload <f>)\n";
    expect(&format!("table <f> persist\n{rule}"), &["3 overload-not-blocked"]);
    expect(&format!("table <f> persist\n{rule}block in quick from <f>\n"), &[]);
    expect(&format!("block in quick from <f>\n{rule}"), &["2 undeclared-table"]);
}

#[test]
fn names_that_only_one_side_knows() {
    expect("table <bad> { 192.0.2.1 }\n", &["2 unused-table"]);
    let twice = "table <bad> { 192.0.2.1 }\ntable <bad> persist\n";
    expect(&format!("{twice}block in quick from <bad>\n"), &["3 table-twice"]);
    expect("block in quick from <bad>\n", &["2 undeclared-table"]);
    expect("a = \"lan\"\nb = \"wan\"\npass in on $a proto tcp\n", &["3 unused-macro"]);
    expect("a = \"lan\"\nb = $a\npass in on $b proto tcp\n", &[]);
    expect("match in on lan tag A\n", &["2 unused-tag"]);
    expect("match in on lan tag A\npass in on lan tagged A\n", &[]);
    // An anchor's own table hides the one around it.
    let anchor = "anchor \"a\" {\n  table <t> { 192.0.2.1 }\n  block in quick from <t>\n}\n";
    expect(&format!("table <t> {{ 192.0.2.2 }}\n{anchor}"), &["2 unused-table"]);
    expect(anchor, &[]);
}

#[test]
fn icmp6_and_routers() {
    expect("pass in on lan\nblock in quick proto icmp6\n", &["3 icmp6-blocked"]);
    let router = "pass in quick on wan inet6 proto icmp6 icmp6-type routeradv no state\n";
    expect(&format!("{router}pass in on lan\nblock in proto icmp6\n"), &[]);
}

#[test]
fn warnings_are_silenced_where_they_are_given() {
    let pass = "pass in on lan proto tcp flags any";
    expect(&format!("{pass}  # lint: allow mid-connection-state\n"), &[]);
    expect(&format!("# lint: allow mid-connection-state\n# since 2019\n{pass}\n"), &[]);
    expect(
        &format!("# lint: allow mid-connection-state\n\n{pass}\n"),
        &["2 unused-allow", "4 mid-connection-state"],
    );
    expect(
        &format!("# lint: allow unused-tag, mid-connection-state\n{pass}\n"),
        &["2 unused-allow"],
    );
    expect("pass in on lan proto tcp \\\n  flags any # lint: allow mid-connection-state\n", &[]);
    let file = format!("# lint: allow-file mid-connection-state\n{}", policy(pass));
    assert_eq!(warnings(&(file + "\npass in on wan proto tcp flags any\n")), [""; 0]);
    expect(
        &format!("# lint: allow-file mid-connection-state\n{pass}\n"),
        &["2 unknown-allow", "3 mid-connection-state"],
    );
    expect("# lint: allow mid-conection-state\n", &["2 unknown-allow"]);
    expect("# lint: silence everything\n", &["2 unknown-allow"]);
}

#[test]
fn findings_read_as_sentences() {
    let text = policy("block in quick on wan\n\tpass in on wan proto tcp to port ssh # never\n");
    assert_eq!(
        report(&text, &Ports::default()).to_string(),
        "weir.conf:3:2: warning[shadowed-rule]: this rule is never reached: a `quick` rule before it \
         takes all its packets\n  \
         3 | \tpass in on wan proto tcp to port ssh # never\n    \
         | \t^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n  \
         why: `block drop in quick on wan all` (weir.conf:2) matches everything that this one could \
         match, and is `quick`\n  \
         help: put the more special rule first, or remove `quick` from the other\n\n"
    );
}

/// The shipped examples are what owners begin with: a warning there teaches to overlook warnings.
#[test]
fn shipped_rule_files_are_clean() {
    struct Disk;
    impl Files for Disk {
        fn read(&mut self, path: &str, _: &str) -> Result<Vec<u8>, String> {
            fs::read(path).map_err(|error| error.to_string())
        }
    }
    let etc = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc");
    let examples = fs::read_dir(etc.join("examples")).unwrap().map(|entry| entry.unwrap().path());
    let files = examples.filter(|path| path.extension().is_some_and(|end| end == "conf"));
    let mut checked = 0;
    for path in files.chain([etc.join("weir.conf")]) {
        let main = SourceFile::new(path.to_str().unwrap(), fs::read_to_string(&path).unwrap());
        let defines = Defines::default();
        let environment =
            Environment { files: &mut Disk, defines: &defines, prefixes: &[], anchor: "" };
        let parsed = parse(&main, environment);
        let rules = parsed.rules.expect("no errors");
        let report = lint(&rules, &parsed.notes, &parsed.sources, &Ports::default());
        assert_eq!(report.to_string(), "");
        checked += 1;
    }
    assert!(checked >= 5, "{checked}");
}

/// Whatever can be typed can be looked at; what is said points into the text.
#[test]
fn the_whole_corpus_can_be_looked_at() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus");
    let (mut files, mut findings) = (0, 0);
    for path in fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()) {
        let is_typed = path.extension().is_some_and(|end| end == "in");
        let Some(text) = fs::read_to_string(&path).ok().filter(|_| is_typed) else { continue };
        let parsed = parse_one(&SourceFile::new("corpus", text), &Defines::default());
        let Some(rules) = &parsed.rules else { continue };
        let report = lint(rules, &parsed.notes, &parsed.sources, &Ports::default());
        let text = &parsed.sources[0].text;
        for finding in &report.findings {
            let place = &finding.place;
            let line = text.lines().nth(place.line as usize - 1).unwrap_or_default();
            assert!(line.contains(place.excerpt.trim_end()), "{}: {finding}", path.display());
            findings += 1;
        }
        files += 1;
    }
    assert!(files > 60 && findings > 60, "{files} {findings}");
}
