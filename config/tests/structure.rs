//! What surrounds rules: anchors, tables, files, seen from outside; and random rule sets of all of
//! them, printed and read again.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use weir_config::listing::{Bodies, Line};
use weir_config::notes::Notes;
use weir_config::rules::{Action, Anchor, AnchorCall, Rule, RuleSet, Source};
use weir_config::tables::{Table, TableEntry};
use weir_config::{
    Defines, Environment, Parsed, Places, SourceFile, Texts, check_calls, parse, parse_one,
};

fn read(text: &str) -> Parsed {
    parse_one(&SourceFile::new("f", text), &Defines::default())
}

fn read_into(anchor: &str, text: &str, files: &[(&str, &str)]) -> Parsed {
    let mut files: Texts = files.iter().map(|&(name, text)| SourceFile::new(name, text)).collect();
    let defines = Defines::default();
    let environment = Environment { files: &mut files, defines: &defines, prefixes: &[], anchor };
    parse(&SourceFile::new("f", text), environment)
}

fn list(set: &RuleSet, anchor: &str, bodies: Bodies, numbered: bool) -> String {
    let mut text = String::new();
    for line in set.listing(anchor, bodies).expect("an anchor") {
        line.print(numbered, &mut text).expect("a String");
    }
    text
}

const NESTED: &str = "\
block
anchor \"a\" in {
	pass
	anchor { block out }
	anchor \"sub/*\"
	load anchor \"sub/one\" from \"one\"
	load anchor \"sub/two\" from \"two\"
}
anchor \"elsewhere\"
";

const FILES: &[(&str, &str)] = &[
    ("one", "table <t> { 10.0.0.1 }\nmatch\n"),
    ("two", "pass in\nanchor \"/elsewhere\" quick\n"),
];

#[test]
fn anchors_hold_what_was_put_into_them() {
    let set = read_into("", NESTED, FILES).rules.expect("valid");
    let paths: Vec<_> = set.anchors.keys().map(String::as_str).collect();
    assert_eq!(paths, ["a", "a/_2", "a/sub/one", "a/sub/two"]);
    assert_eq!(set.anchors["a/sub/one"].tables[0].name, "t");
    let calls: Vec<_> = set.anchors["a"]
        .rules
        .iter()
        .filter_map(|rule| match &rule.action {
            Action::Anchor(call) => Some((&*call.path, call.wildcard, call.inline)),
            _ => None,
        })
        .collect();
    assert_eq!(calls, [("a/_2", false, true), ("a/sub", true, false)]);
    let below: Vec<_> = set.below("a").map(|(path, _)| path).collect();
    assert_eq!(below, ["a/_2"], "`a/sub` has no rules of its own");
}

#[test]
fn listings_show_as_much_as_is_asked_for() {
    let set = read_into("", NESTED, FILES).rules.expect("valid");
    let inline = "\
block drop all
anchor \"a\" in all {
  pass all flags S/SA
  anchor all {
    block drop out all
  }
  anchor \"sub/*\" all
}
anchor \"elsewhere\" all
";
    assert_eq!(set.printed("", false).to_string(), inline);
    assert_eq!(
        list(&set, "", Bodies::Unnamed, false),
        "block drop all\nanchor \"a\" in all\nanchor \"elsewhere\" all\n"
    );
    let all = "\
pass all flags S/SA
anchor all {
  block drop out all
}
anchor \"sub/*\" all {
  anchor \"one\" all {
    match all
  }
  anchor \"two\" all {
    pass in all flags S/SA
    anchor \"/elsewhere\" quick all {
    }
  }
}
";
    assert_eq!(list(&set, "a", Bodies::All, false), all);
    let numbered = "\
@0 pass all flags S/SA
@1 anchor all {
@0 block drop out all
}
@2 anchor \"sub/*\" all
";
    assert_eq!(list(&set, "a", Bodies::Inline, true), numbered);
    assert!(set.listing("nowhere", Bodies::All).is_none());
    let places: Vec<_> = set
        .listing("a", Bodies::All)
        .expect("it is there")
        .filter_map(|line| match line {
            Line::Rule { depth, anchor, number, .. } => Some((depth, anchor, number)),
            _ => None,
        })
        .collect();
    assert_eq!(places[2..4], [(1, "a/_2", 0), (0, "a", 2)]);
    assert_eq!(places[4..6], [(2, "a/sub/one", 0), (2, "a/sub/two", 0)]);
}

#[test]
fn a_file_can_fill_an_anchor_instead_of_the_main_rule_set() {
    let parsed = read_into("x/y", "anchor \"z\" { pass }\nload anchor \"w\" from \"one\"\n", FILES);
    let set = parsed.rules.expect("valid");
    assert!(set.rules.is_empty());
    let paths: Vec<_> = set.anchors.keys().map(String::as_str).collect();
    assert_eq!(paths, ["x/y", "x/y/w", "x/y/z"]);
    let parsed = read_into("x", "set skip on lan\n", &[]);
    assert_eq!(
        parsed.diagnostics.to_string(),
        "f:1:1: `set` holds for the whole rule set and cannot stand in an anchor\n"
    );
}

#[test]
fn a_loaded_file_has_its_own_macros_and_defaults() {
    let main = "m = \"lan\"\nset block-policy return\nload anchor \"a\" from \"a\"\nblock\n";
    let set = read_into("", main, &[("a", "m = \"wan\"\nblock on $m\n")]).rules.expect("valid");
    assert_eq!(set.rules[0].to_string(), "block return all");
    assert_eq!(set.anchors["a"].rules[0].to_string(), "block drop on wan all");
    let lost = read_into("", main, &[("a", "block on $m\n")]);
    assert_eq!(
        lost.diagnostics.to_string(),
        "a:1:10: macro `m` is not defined (included from f:3)\n"
    );
    assert_eq!(lost.echo, ["m = \"lan\"", "set block-policy return"]);
}

#[test]
fn a_table_declared_again_replaces_the_one_before() {
    let set = read("table <t> const { 10.0.0.1 }\ntable <t> persist\n").rules.expect("valid");
    let [table] = &set.tables[..] else { panic!("{} tables", set.tables.len()) };
    assert_eq!((table.persist, table.constant, &table.entries), (true, false, &None));
    assert_eq!(table.source.line, 2);
}

#[test]
fn calls_are_checked_over_merged_rule_sets() {
    let mut set = read("anchor \"a\"\n").rules.expect("valid");
    assert_eq!(check_calls(&set), Ok(()));
    let mut call = set.rules[0].clone();
    call.source.line = 7;
    set.anchors.insert("a".into(), Anchor { rules: vec![call], ..Anchor::default() });
    let fault = check_calls(&set).expect_err("a calls itself");
    assert_eq!(fault.message, "this call of an anchor never ends: `a` calls itself");
    assert_eq!(fault.source.line, 7);
}

fn spans(parsed: &Parsed, spans: impl IntoIterator<Item = weir_config::Span>) -> Vec<&str> {
    let text = |span: weir_config::Span| {
        &parsed.sources[span.file as usize].text[span.start as usize..span.end as usize]
    };
    spans.into_iter().map(text).collect()
}

#[test]
fn lint_is_told_what_expansion_loses() {
    let text = "\
# lint: allow-file bare-pass-out
m = \"x\"
used = \"{ !10.0.0.1, !10.0.0.2 }\"
table <bad> { 10.0.0.1 }
pass from { !10.0.0.1, 10.0.0.2 } to ! <bad> flags any # lint:allow a, b
pass from $used no state
pass proto tcp to port { != 22, 80 } keep state (max 5, max-src-conn 1, overload <flood>)
anchor \"a\" { block from <here> }
# one \\
# two \\
pass
block
";
    let parsed = read(text);
    let Notes {
        rules,
        negated_lists,
        continued_comments,
        macros,
        tables,
        table_uses,
        lint_comments,
    } = &parsed.notes;
    let written = spans(&parsed, rules.iter().map(|rule| rule.span));
    assert_eq!(written.len(), 6);
    assert_eq!(written[0], "pass from { !10.0.0.1, 10.0.0.2 } to ! <bad> flags any");
    assert_eq!(written[4], "block from <here>");
    let made: Vec<_> =
        rules.iter().map(|r| (&*r.anchor, r.first, r.count, r.flags, r.state)).collect();
    assert_eq!(made[0], ("", 0, 2, true, false));
    assert_eq!(made[1], ("", 2, 2, false, true));
    assert_eq!(made[4], ("a", 0, 1, false, false));
    let lists: Vec<_> = negated_lists.iter().map(|list| (list.negated, list.plain)).collect();
    assert_eq!(lists, [(1, 1), (2, 0)]);
    assert_eq!(
        spans(&parsed, negated_lists.iter().map(|list| list.span)),
        ["{ !10.0.0.1, 10.0.0.2 }", "$used"]
    );
    let swallows: Vec<_> = continued_comments.iter().map(|note| note.swallows).collect();
    assert_eq!(swallows, [false, true]);
    let macros: Vec<_> = macros.iter().map(|note| (&*note.name, note.used)).collect();
    assert_eq!(macros, [("m", false), ("used", true)]);
    assert_eq!(spans(&parsed, tables.iter().map(|table| table.span)), ["bad"]);
    let uses: Vec<_> = table_uses.iter().map(|note| (&*note.name, &*note.anchor)).collect();
    assert_eq!(uses, [("bad", ""), ("flood", ""), ("here", "a")]);
    assert_eq!(spans(&parsed, table_uses.iter().map(|note| note.span)), ["bad", "flood", "here"]);
    let comments: Vec<_> = lint_comments.iter().map(|note| (&*note.text, note.alone)).collect();
    assert_eq!(comments, [("allow-file bare-pass-out", true), ("allow a, b", false)]);
    let places = Places::new(&parsed.sources);
    let place = places.place(rules[4].span).expect("a place");
    assert_eq!((place.line, place.column), (8, 14));
}

fn entry() -> impl Strategy<Value = TableEntry> {
    (any::<bool>(), any::<[u8; 4]>(), 0..=32_u8, any::<u128>(), 0..=128_u8, 0..4_u32).prop_map(
        |(not, v4, bits4, v6, bits6, timeout)| {
            let net = if bits6 % 2 == 0 {
                ipnet::Ipv4Net::new(v4.into(), bits4).expect("a prefix").trunc().into()
            } else {
                ipnet::Ipv6Net::new(v6.into(), bits6).expect("a prefix").trunc().into()
            };
            let timeout = (timeout > 0).then_some(timeout * 1000);
            // `!` before everything is refused.
            TableEntry { not: not && bits4 > 0 && bits6 > 0, net, timeout }
        },
    )
}

fn table() -> impl Strategy<Value = Table> {
    ("[a-z][a-z0-9_.-]{0,10}x", any::<[bool; 3]>(), proptest::option::of(vec(entry(), 0..4)))
        .prop_map(|(name, [persist, constant, counters], entries)| Table {
            name,
            persist,
            constant,
            counters,
            entries,
            source: Source::default(),
        })
}

/// A rule set as a tree: what stands in the braces of each call.
#[derive(Clone, Debug)]
enum Item {
    Block,
    Call(&'static str),
    Body { named: bool, items: Vec<Item>, tables: Vec<Table> },
}

fn item() -> impl Strategy<Value = Item> {
    let leaf = prop_oneof![
        Just(Item::Block),
        Just(Item::Call("x")),
        Just(Item::Call("x/*")),
        Just(Item::Call("*")),
        Just(Item::Call("/x/y"))
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        (any::<bool>(), vec(inner, 0..4), vec(table(), 0..2))
            .prop_map(|(named, items, tables)| Item::Body { named, items, tables })
    })
}

fn distinct(mut tables: Vec<Table>) -> Vec<Table> {
    let mut names = std::collections::HashSet::new();
    tables.retain(|table| names.insert(table.name.clone()));
    tables
}

/// Numbers bodies as the parser does, in the order of their braces.
fn build(
    items: &[Item],
    inside: &str,
    bodies: &mut u32,
    anchors: &mut BTreeMap<String, Anchor>,
) -> Vec<Rule> {
    let join = |name: &str| {
        if inside.is_empty() { name.to_owned() } else { format!("{inside}/{name}") }
    };
    let mut rules = Vec::new();
    for item in items {
        let action = match item {
            Item::Block => Action::Block(weir_config::rules::Return::Drop),
            Item::Call(written) => {
                let wildcard = written.ends_with('*');
                let parent = written.trim_end_matches('*').trim_end_matches('/');
                let path = match parent.strip_prefix('/') {
                    Some(path) => path.to_owned(),
                    None if parent.is_empty() => inside.to_owned(),
                    None => join(parent),
                };
                let written = (*written).to_owned();
                Action::Anchor(Box::new(AnchorCall { path, wildcard, inline: false, written }))
            }
            Item::Body { named, items, tables } => {
                *bodies += 1;
                let number = *bodies;
                let name = if *named { format!("n{number}") } else { format!("_{number}") };
                let path = join(&name);
                let body = build(items, &path, bodies, anchors);
                let empty = body.is_empty() && tables.is_empty();
                let written = if *named { name } else { String::new() };
                if empty && *named {
                    // Braces around nothing are not printed, and count no more when read again.
                    *bodies -= 1;
                    let inline = false;
                    Action::Anchor(Box::new(AnchorCall { path, wildcard: false, inline, written }))
                } else {
                    if !empty {
                        let tables = distinct(tables.clone());
                        anchors.insert(path.clone(), Anchor { tables, rules: body });
                    }
                    let inline = true;
                    Action::Anchor(Box::new(AnchorCall { path, wildcard: false, inline, written }))
                }
            }
        };
        rules.push(Rule { action, ..Rule::default() });
    }
    rules
}

/// As many cases as `PROPTEST_CASES` says, else `usual`.
fn cases(usual: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|count| count.parse().ok());
    ProptestConfig::with_cases(asked.unwrap_or(usual))
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn anchors_and_tables_parse_to_themselves(
        items in vec(item(), 0..6),
        tables in vec(table(), 0..3),
    ) {
        let mut anchors = BTreeMap::new();
        let rules = build(&items, "", &mut 0, &mut anchors);
        let set = RuleSet { tables: distinct(tables), rules, anchors, ..RuleSet::default() };
        prop_assume!(check_calls(&set).is_ok());
        let text = set.to_string();
        let parsed = read(&text);
        prop_assert!(!parsed.diagnostics.has_errors(), "{}\n{}", parsed.diagnostics, text);
        let mut again = parsed.rules.expect("no errors");
        let anchors = again.anchors.values_mut();
        for (tables, rules) in anchors
            .map(|anchor| (&mut anchor.tables, &mut anchor.rules))
            .chain([(&mut again.tables, &mut again.rules)])
        {
            for table in tables {
                table.source = Source::default();
            }
            for rule in rules {
                rule.source = Source::default();
            }
        }
        prop_assert_eq!(again, set, "{}", text);
    }
}
