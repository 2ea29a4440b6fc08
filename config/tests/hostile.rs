//! Text that means harm: random bytes, valid files with bytes changed, and the shapes that make
//! parsers recurse, loop or eat memory. Nothing may panic, and each of these must come back.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use weir_config::{
    Defines, Diagnostics, MAX_RULES, MAX_TEXT, Parsed, SourceFile, parse_one, settings,
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
    vec((0..WORDS.len(), any::<bool>()), 0..60).prop_map(|picks| {
        let mut text = String::new();
        for (pick, blank) in picks {
            text.push_str(WORDS[pick]);
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
