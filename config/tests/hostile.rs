//! Text that means harm: random bytes, valid files with bytes changed, and the shapes that make
//! parsers recurse, loop or eat memory. Nothing may panic, and each of these must come back.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use weir_config::{
    Defines, Diagnostics, Environment, Files, MAX_ANCHOR_DEPTH, MAX_DEPTH, MAX_FILES, MAX_RULES,
    MAX_TEXT, Parsed, SourceFile, parse, parse_one, settings,
};

fn read(text: impl Into<String>) -> Parsed {
    let parsed = parse_one(&SourceFile::new("f", text.into()), &Defines::default());
    assert_eq!(parsed.rules.is_none(), parsed.diagnostics.has_errors());
    parsed
}

fn first(parsed: &Parsed) -> String {
    let found = parsed.diagnostics.iter().next().expect("a finding");
    // Rendering must cope with whatever it is about.
    assert!(!found.render(false).is_empty());
    found.to_string()
}

/// Options of rules and of `set` with what belongs to them.
#[rustfmt::skip]
const PHRASES: &[&str] = &[
    "match",
    "(max 10, max-src-conn 5 overload <t> flush)",
    "(no-sync sloppy, source-track)",
    "synproxy",
    "modulate",
    "scrub (no-df min-ttl 5)",
    "set prio (1, 2)",
    "set tos ef",
    "(start 9%, end 5%)",
    "syncookies adaptive",
    "state-defaults no-sync",
    "probability 5%",
    "tag x$nr",
    "tagged",
    "received-on",
    "max-pkt-rate 5/1",
    "fragment",
    "allow-opts",
    "once",
    "os \"Linux\"",
    "<t>",
    "urpf-failed",
    "tos 0x10",
    "log (all, to pflog3)",
];

/// The words of the language and what surrounds them, thrown together.
fn word_salad() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "pass",
        "block",
        "set",
        "in",
        "out",
        "log",
        "quick",
        "on",
        "inet",
        "inet6",
        "proto",
        "tcp",
        "icmp",
        "all",
        "from",
        "to",
        "any",
        "port",
        "flags",
        "S/SA",
        "icmp-type",
        "code",
        "keep",
        "no",
        "state",
        "label",
        "return",
        "return-icmp",
        "(",
        ")",
        "{",
        "}",
        ",",
        "!",
        "<",
        ">",
        "=",
        "!=",
        "><",
        "<>",
        "/",
        "-",
        "\n",
        "\\\n",
        "\\ \n",
        "#",
        "\"",
        "'",
        "$",
        "$a",
        "a",
        "10.0.0.1",
        "10",
        "8",
        "::1",
        "22:25",
        "timeout",
        "limit",
        "states",
        "skip",
        "table",
        "anchor",
        "nat-to",
        "\u{e9}",
        "\0",
        "\r\n",
        "\u{feff}",
        "\\",
    ];
    let words: Vec<_> = WORDS.iter().chain(PHRASES).copied().collect();
    vec((0..words.len(), any::<bool>()), 0..60).prop_map(move |picks| {
        let mut text = String::new();
        for (pick, blank) in picks {
            text.push_str(words[pick]);
            if blank {
                text.push(' ');
            }
        }
        text
    })
}

fn valid_files() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus");
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the corpus is a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "in"))
        .collect();
    files.sort();
    files.iter().map(|path| fs::read_to_string(path).expect("UTF-8")).collect()
}

/// As many cases as `PROPTEST_CASES` says, else `usual`.
fn cases(usual: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|count| count.parse().ok());
    ProptestConfig::with_cases(asked.unwrap_or(usual))
}

proptest! {
    #![proptest_config(cases(4000))]

    #[test]
    fn random_bytes(bytes in vec(any::<u8>(), 0..300)) {
        let parsed = read(String::from_utf8_lossy(&bytes));
        parsed.diagnostics.render(false);
    }

    #[test]
    fn word_salads(text in word_salad()) {
        let parsed = read(text);
        parsed.diagnostics.render(false);
        if let Some(rules) = parsed.rules {
            // Whatever is accepted prints itself.
            let again = read(rules.to_string()).rules.expect("printed rules");
            prop_assert_eq!(again.to_string(), rules.to_string());
        }
    }

    #[test]
    fn settings_of_random_text(text in "[a-z\\[\\]=\" \\n.0-9#]{0,80}") {
        let _ = settings::parse(&SourceFile::new("weir.toml", text));
    }

    #[test]
    fn mutated_valid_files(
        pick in any::<prop::sample::Index>(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..6),
    ) {
        static FILES: std::sync::LazyLock<Vec<String>> = std::sync::LazyLock::new(valid_files);
        let mut bytes = pick.get(&FILES).clone().into_bytes();
        for (at, byte, kind) in changes {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        let parsed = read(String::from_utf8_lossy(&bytes));
        parsed.diagnostics.render(false);
        if let Some(rules) = parsed.rules {
            let again = read(rules.to_string()).rules.expect("printed rules");
            prop_assert_eq!(again.to_string(), rules.to_string());
        }
    }
}

#[test]
fn a_file_that_is_too_large_is_refused() {
    let parsed = read("#".repeat(MAX_TEXT + 1));
    assert_eq!(
        first(&parsed),
        format!(
            "f:1:1: the rule files have {} bytes, and {MAX_TEXT} is the most they may have",
            MAX_TEXT + 1
        )
    );
}

#[test]
fn braces_nest_as_deep_as_anyone_likes() {
    let deep = 200_000;
    let text = format!("pass from {} 10.0.0.1 {} to any\n", "{".repeat(deep), "}".repeat(deep));
    assert_eq!(read(text).rules.expect("valid").rules.len(), 1);
    let open = read(format!("pass from {}", "{".repeat(deep)));
    assert!(first(&open).ends_with("the `{` is never closed"), "{}", first(&open));
}

#[test]
fn macros_that_double_are_refused() {
    let mut text = "m0 = \"x x x x x x x x x x\"\n".to_owned();
    for level in 1..64 {
        let _ = writeln!(text, "m{level} = $m{} $m{}", level - 1, level - 1);
    }
    assert!(first(&read(text)).contains("longer than 1048576 bytes"));
}

#[test]
fn macros_used_often_are_refused() {
    let value = "10.0.0.1 ".repeat(50_000);
    let mut text = format!("m = \"{value}\"\n");
    for _ in 0..200 {
        text.push_str("copy = $m\n");
    }
    for _ in 0..200 {
        text.push_str("pass from { $m } to any\n");
    }
    let parsed = read(text);
    assert!(first(&parsed).contains("the macros expand to more than"), "{}", first(&parsed));
}

#[test]
fn too_many_rules_are_refused_before_they_are_made() {
    let list = |count: u32, family: &str| {
        let mut text = String::from("{");
        for i in 0..count {
            let _ = match family {
                "inet" => write!(text, " {}", std::net::Ipv4Addr::from(i)),
                _ => write!(text, " ::{:x}:{:x}", i >> 16, i & 0xffff),
            };
        }
        text + " }"
    };
    let text = format!("pass from {} to {}\n", list(2000, "inet"), list(2000, "inet"));
    assert_eq!(
        first(&read(text)),
        format!(
            "f:1:1: this rule expands to 4000000 rules, and a rule set may have {MAX_RULES} at most"
        )
    );
    // Pairs that never fit must not be walked one by one.
    let text = format!(
        "pass from {{ {} ::1 }} to {{ {} }}\n",
        list(300_000, "inet"),
        list(300_000, "inet6")
    );
    assert_eq!(read(text).rules.expect("valid").rules.len(), 300_000);
    // The bound is for the whole file.
    let text = format!("pass from {} to any\n", list(1000, "inet")).repeat(1001);
    assert!(first(&read(text)).starts_with("f:1001:1: this rule expands to 1000 rules"));
}

#[test]
fn garbage_stops_after_a_thousand_errors() {
    let parsed = read("pas in\n".repeat(1_000_000));
    assert_eq!(parsed.diagnostics.iter().count(), Diagnostics::MAX);
    assert!(
        parsed.diagnostics.to_string().ends_with("too many errors: reading stopped after 1000\n")
    );
    let one_line = read(format!("pass from {{ {} }} to any\n", "bogus ".repeat(1_000_000)));
    assert_eq!(one_line.diagnostics.iter().count(), Diagnostics::MAX);
    let comments = read("# \\\npass\n".repeat(100_000));
    assert!(comments.rules.is_some());
    assert_eq!(comments.diagnostics.iter().count(), Diagnostics::MAX);
}

#[test]
fn quotes_left_open_do_not_take_the_square_of_the_file() {
    for line in ["\\\"\n", "\\\" pass\n", "x = \"\npass\n", "'\\\"\n", "\"\\\n"] {
        let parsed = read(line.repeat(300_000));
        assert!(parsed.diagnostics.has_errors(), "{line:?}");
    }
}

#[test]
fn a_statement_that_is_too_long_is_refused() {
    let parsed = read(format!("pass from {{ {} }} to any\npass\n", "1 ".repeat(2_000_001)));
    assert!(first(&parsed).contains("the statement has more than 2000000 words"));
    assert_eq!(parsed.diagnostics.iter().count(), 1);
}

/// Files that anyone can name as often as they like.
struct Endless {
    text: fn(&str) -> String,
    read: usize,
}

impl Files for Endless {
    fn read(&mut self, path: &str, _: &str) -> Result<Vec<u8>, String> {
        self.read += 1;
        Ok((self.text)(path).into_bytes())
    }
}

/// What becomes of the text, and how many files were read.
fn read_with(text: impl Into<String>, files: fn(&str) -> String) -> (Parsed, usize) {
    let mut files = Endless { text: files, read: 0 };
    let environment =
        Environment { files: &mut files, defines: &Defines::default(), prefixes: &[], anchor: "" };
    let parsed = parse(&SourceFile::new("f", text.into()), environment);
    assert_eq!(parsed.rules.is_none(), parsed.diagnostics.has_errors());
    (parsed, files.read)
}

#[test]
fn files_that_name_each_other_for_ever_are_refused() {
    let (parsed, read) = read_with("include \"f\"\n", |_| unreachable!("it is not read"));
    assert_eq!(
        (first(&parsed).as_str(), read),
        ("f:1:9: `f` names itself, by way of this file", 0)
    );
    let deeper: fn(&str) -> String = |path| format!("include \"{path}x\"\n");
    let (parsed, read) = read_with("include \"x\"\n", deeper);
    assert_eq!(read, MAX_DEPTH);
    assert!(first(&parsed).contains("files may name each other 16 deep at most"));
    // Each file loads two more: 2^16 of them would be read.
    let wider: fn(&str) -> String =
        |path| format!("load anchor \"a\" from \"{path}a\"\nload anchor \"b\" from \"{path}b\"\n");
    let (parsed, read) = read_with("load anchor \"a\" from \"a\"\n", wider);
    assert!(read <= MAX_FILES, "{read} files");
    assert!(parsed.diagnostics.to_string().contains("one run may read 10000 files at most"));
}

#[test]
fn included_files_have_one_bound_together() {
    let (parsed, read) = read_with("include \"a\"\n".repeat(2000), |_| "#".repeat(1 << 20));
    assert!(first(&parsed).contains("with `a` the rule files have more than 33554432 bytes"));
    assert!(read < 1100, "{read} files");
    let (parsed, read) =
        read_with("table <a> file \"a\"\n".repeat(2000), |_| "10.0.0.1\n".repeat(1 << 20));
    assert!(first(&parsed).contains("the tables have more than 4194304 entries together"));
    assert!(read < 1100, "{read} files");
}

#[test]
fn a_table_file_may_hold_a_million_entries() {
    let million: fn(&str) -> String = |_| {
        let mut text = String::new();
        for i in 0..1_000_000_u32 {
            let _ = writeln!(text, "{}/32", std::net::Ipv4Addr::from(0x0a00_0000 + i));
        }
        text
    };
    let started = std::time::Instant::now();
    let (parsed, _) = read_with("table <t> persist file \"t\"\npass from <t>\n", million);
    println!("a million entries, made and read, in {:?}", started.elapsed());
    let set = parsed.rules.expect("valid");
    assert_eq!(set.tables[0].entries.as_ref().map(Vec::len), Some(1_000_000));
    assert_eq!(parsed.echo, ["table <t> persist file \"t\""]);
    let (parsed, _) = read_with("table <t> file \"t\"\n", |_| "bogus\n".repeat(1_000_000));
    assert_eq!(parsed.diagnostics.iter().count(), Diagnostics::MAX);
}

#[test]
fn anchors_nest_no_deeper_than_pf_s() {
    let nested = |depth: usize| "anchor {\n".repeat(depth) + "pass\n" + &"}\n".repeat(depth);
    assert!(read(nested(MAX_ANCHOR_DEPTH)).rules.is_some());
    let parsed = read(nested(MAX_ANCHOR_DEPTH + 1));
    assert_eq!(first(&parsed), "f:65:1: anchors may nest 64 deep at most");
    assert_eq!(parsed.diagnostics.iter().count(), 1);
    assert!(read("anchor{".repeat(4_000_000)).rules.is_none());
    assert!(read("}".repeat(4_000_000)).rules.is_none());
    assert!(read("anchor {\n".repeat(60)).rules.is_none());
}

#[test]
fn calls_of_anchors_that_multiply_are_refused() {
    let mut text = String::new();
    for level in 0..40 {
        let _ = writeln!(text, "anchor \"a{level}\" {{");
        let _ = writeln!(text, "anchor \"/a{}\"\nanchor \"/a{}\"\n}}", level + 1, level + 1);
    }
    assert!(first(&read(text)).contains("a packet would meet more than 1000000 rules"));
    let lists = "anchor on { lan wan } {\n".repeat(30) + "pass\n" + &"}\n".repeat(30);
    assert!(first(&read(lists)).contains("a packet would meet more than 1000000 rules"));
    let mut chain = String::new();
    for level in 0..100 {
        let _ = writeln!(chain, "anchor \"a{level}\" {{\nanchor \"/a{}\"\n}}", level + 1);
    }
    chain.push_str("anchor \"a100\" { pass }\n");
    assert!(first(&read(chain)).contains("anchors call each other more than 64 deep"));
}

#[test]
fn a_rule_set_has_one_bound_with_its_anchors() {
    let list = |count: u32| {
        let mut text = String::from("{");
        for i in 0..count {
            let _ = write!(text, " {}", std::net::Ipv4Addr::from(i << 8));
        }
        text + " }"
    };
    let rule = format!("pass from {} to {}\n", list(400), list(1000));
    let text = ["a", "b", "c"].map(|name| format!("anchor \"{name}\" {{\n{rule}}}\n")).concat();
    assert!(first(&read(text)).contains("the rule set has more than 1000000 rules"));
}

#[test]
fn files_that_fill_the_bound_are_read_quickly() {
    let started = std::time::Instant::now();
    let braces = read("{".repeat(MAX_TEXT));
    assert!(first(&braces).contains("the statement has more than 2000000 words"));
    println!("braces: {:?}", started.elapsed());
    let started = std::time::Instant::now();
    let redefined = read("a = \"x\"\n".repeat(4_000_000));
    assert!(first(&redefined).contains("the macros expand to more than"), "{}", first(&redefined));
    println!("redefinitions: {:?}", started.elapsed());
    let started = std::time::Instant::now();
    let line = read(format!("pass from {{ {} }} to any", "bogus ".repeat(1_900_000)));
    assert_eq!(line.diagnostics.iter().count(), Diagnostics::MAX);
    println!("a long line of errors: {:?}", started.elapsed());
    let started = std::time::Instant::now();
    let word = read(format!("pass from {} to any", "1".repeat(30_000_000)));
    assert!(first(&word).len() < 400, "{}", first(&word));
    let quoted = read(format!("pass label \"{}\"", "x".repeat(30_000_000)));
    assert!(first(&quoted).contains("label"), "{}", first(&quoted));
    let comments = read("#\\\n".repeat(8_000_000));
    assert!(comments.rules.is_some());
    println!("long words, comments: {:?}", started.elapsed());
}
