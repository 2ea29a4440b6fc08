//! What a finding carries: its place, the macro involved, what was expected, as JSON and underlined.

use std::fmt::Write;

use weir_config::{
    Defines, Diagnostic, Diagnostics, Environment, Parsed, Severity, SourceFile, Texts, parse,
    parse_one,
};

fn read(text: &str) -> Parsed {
    parse_one(&SourceFile::new("weir.conf", text), &Defines::default())
}

fn only(text: &str) -> Diagnostic {
    let parsed = read(text);
    let mut found = parsed.diagnostics.iter();
    let first = found.next().expect("a finding").clone();
    assert_eq!(found.next(), None);
    first
}

#[test]
fn the_place_is_exact() {
    let found = only("# caf\u{e9}\npass in # ok\n  block \u{e9}\n");
    assert_eq!((found.place.line, found.place.column), (3, 9));
    assert_eq!(found.place.excerpt, "  block \u{e9}");
    assert_eq!(found.place.underline, [8, 10]);
    let after_wide = only("pass all label \"\u{e9}\u{e9}\" kep state\n");
    assert_eq!((after_wide.place.line, after_wide.place.column), (1, 21));
}

#[test]
fn the_long_form_underlines() {
    let found = only("pass in\npass in proto tcp kep state\n");
    let text = found.render(false);
    for line in [
        "error: unexpected `kep`, did you mean `keep`?",
        "--> weir.conf:2:19",
        "2 | pass in proto tcp kep state",
        "  |                   ^^^ expected one of all, from, to, flags,",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
}

#[test]
fn a_macro_is_shown_where_it_was_defined() {
    let found = only("web = \"80 htpps\"\npass proto tcp to port { $web }\n");
    assert_eq!(
        found.to_string(),
        "weir.conf:2:26: unknown service `htpps`, did you mean `https`? (from macro `web`, weir.conf:1)"
    );
    assert_eq!(found.notes.len(), 1);
    let place = found.notes[0].place.as_ref().expect("a place");
    assert_eq!((place.line, place.column), (1, 1));
    let text = found.render(false);
    assert!(text.contains("`web` is defined here"), "{text}");
    assert!(text.contains("1 | web = \"80 htpps\""), "{text}");
}

#[test]
fn findings_travel_as_json() {
    let parsed = read("x = \"bogus\"\npass from $x to any\n# \\\npass\nblock al\n");
    let json = serde_json::to_string(&parsed.diagnostics).expect("JSON");
    assert!(!json.contains('\n'));
    let back: Diagnostics = serde_json::from_str(&json).expect("the same");
    assert_eq!(back, parsed.diagnostics);
    assert_eq!(back.to_string(), parsed.diagnostics.to_string());
    let severities: Vec<_> = back.iter().map(|found| found.severity).collect();
    assert_eq!(severities, [Severity::Error, Severity::Warning, Severity::Error]);
    let one = serde_json::to_value(back.iter().next()).expect("a value");
    assert_eq!(one["severity"], "error");
    assert_eq!(
        (&one["file"], &one["line"], &one["column"]),
        (&"weir.conf".into(), &2.into(), &11.into())
    );
}

#[test]
fn a_forged_place_cannot_make_the_renderer_panic() {
    let mut found = only("block \u{e9}\u{e9}\n");
    for underline in [[7, 9], [9, 3], [500, 900], [0, u32::MAX]] {
        found.place.underline = underline;
        assert!(found.render(true).contains("error"));
    }
}

#[test]
fn a_long_line_is_cut_to_a_window() {
    let found = only(&format!(
        "pass from {{ {}bogus {}}} to any\n",
        "1.1.1.1 ".repeat(500),
        "2.2.2.2 ".repeat(500)
    ));
    assert_eq!(found.place.column, 4013);
    assert!(found.place.excerpt.len() <= 160);
    let [start, end] = found.place.underline;
    assert_eq!(&found.place.excerpt[start as usize..end as usize], "bogus");
}

/// The rule file is `weir.conf`; the others can be named by it.
fn with_files(text: &str, files: &[(&str, &str)]) -> Parsed {
    let mut files: Texts = files.iter().map(|&(name, text)| SourceFile::new(name, text)).collect();
    let environment =
        Environment { files: &mut files, defines: &Defines::default(), prefixes: &[], anchor: "" };
    parse(&SourceFile::new("weir.conf", text), environment)
}

#[test]
fn included_files_are_read_where_they_are_named() {
    let b = ("b", "block\npass from $net to any\npass form any\n");
    let parsed = with_files("net = \"10/8\"\nset block-policy return\ninclude \"b\"\npas\n", &[b]);
    assert_eq!(
        parsed.diagnostics.to_string(),
        "b:3:6: unexpected `form`, did you mean `from`? (included from weir.conf:3)\n\
         weir.conf:4:1: unknown statement `pas`, did you mean `pass`?\n"
    );
    let note = &parsed.diagnostics.iter().next().expect("one").notes[0];
    assert_eq!(note.message, "included from here");
    assert_eq!(note.place.as_ref().map(|place| (place.line, place.column)), Some((3, 9)));
    assert_eq!(parsed.echo, ["net = \"10/8\"", "set block-policy return"]);
    let b = ("b", "block\n\npass from $net to any");
    let parsed = with_files("net = \"10/8\"\nset block-policy return\ninclude \"b\"\npass\n", &[b]);
    let rules = parsed.rules.expect("valid").rules;
    assert_eq!(rules[0].to_string(), "block return all");
    assert_eq!((rules[1].source.file, rules[1].source.line), (1, 3));
    assert_eq!((rules[2].source.file, rules[2].source.line), (0, 4));
    let names: Vec<_> = parsed.sources.iter().map(|source| &*source.name).collect();
    assert_eq!(names, ["weir.conf", "b"]);
}

#[test]
fn definitions_on_the_command_line_are_checked() {
    let mut defines = Defines::default();
    assert_eq!(defines.define("a=b=c"), Ok(()));
    assert_eq!(defines.define("novalue"), Err("`novalue`: expected NAME=VALUE".into()));
    assert_eq!(
        defines.define("pass=1"),
        Err("`pass` is a word of the language and cannot name a macro".into())
    );
    let json = serde_json::to_string(&defines).expect("JSON");
    assert_eq!(json, r#"[["a","b=c"]]"#);
    assert_eq!(serde_json::from_str::<Defines>(&json).expect("the same"), defines);
    assert!(serde_json::from_str::<Defines>(r#"[["in","x"]]"#).is_err());
    assert_eq!(defines.define("=1"), Err("a macro needs a name".into()));
}

#[test]
fn the_adaptive_time_outs_follow_the_limit() {
    use weir_config::options::Timeout::{AdaptiveEnd, AdaptiveStart};
    let timeouts = |text| {
        let options = read(text).rules.expect("valid").options;
        (options.timeouts.get(AdaptiveStart), options.timeouts.get(AdaptiveEnd))
    };
    assert_eq!(timeouts(""), (60_000, 120_000));
    assert_eq!(timeouts("set limit states 1000\n"), (600, 1200));
    assert_eq!(timeouts("set timeout adaptive.start 5\nset limit states 1000\n"), (5, 1200));
}

#[test]
fn ten_thousand_rules_are_read() {
    let mut text = String::new();
    for i in 0..10_000_u32 {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 | i);
        let _ = writeln!(
            text,
            "pass in quick on lan proto tcp from {address} to 192.0.2.0/24 port {{ 80 443 }}"
        );
    }
    let started = std::time::Instant::now();
    let parsed = read(&text);
    println!("20,000 rules from 10,000 lines in {:?}", started.elapsed());
    assert_eq!(parsed.rules.expect("valid").rules.len(), 20_000);
}
