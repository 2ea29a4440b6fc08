//! The rule and settings files that weir ships, read by the parsers alone.

use std::path::PathBuf;

use weir_config::settings::{self, Settings};
use weir_config::{Defines, SourceFile, parse_one};
use weir_tests::lab::shipped;

fn files() -> Vec<PathBuf> {
    let mut files = vec![shipped("weir.conf")];
    let examples = std::fs::read_dir(shipped("examples")).expect("is shipped");
    files.extend(examples.map(|entry| entry.expect("readable").path()));
    files
}

/// Without a word of complaint, warnings included.
#[test]
fn every_file_is_read() {
    let files = files();
    assert!(files.len() > 3, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).expect("readable");
        let parsed = parse_one(&SourceFile::new("file", text), &Defines::default());
        assert!(parsed.diagnostics.is_empty(), "{}:\n{}", file.display(), parsed.diagnostics);
        assert!(parsed.rules.is_some_and(|rules| !rules.rules.is_empty()), "{}", file.display());
    }
}

/// The rules in the README too.
#[test]
fn the_readme_s_rules_are_read() {
    let readme = include_str!("../../README.md");
    let begin = readme.find("block in log on wan").expect("the README has first rules");
    let rules = &readme[begin..];
    let rules = &rules[..rules.find("```").expect("a fenced block")];
    let parsed = parse_one(&SourceFile::new("README.md", rules), &Defines::default());
    assert!(parsed.diagnostics.is_empty(), "{}", parsed.diagnostics);
    assert!(parsed.rules.is_some_and(|rules| rules.rules.len() == 7));
}

/// The settings file says what holds without it, and what it has commented out can be said.
#[test]
fn the_settings_file_shows_the_defaults() {
    let text = std::fs::read_to_string(shipped("weir.toml")).expect("is shipped");
    let read = |text: String| {
        settings::parse(&SourceFile::new("weir.toml", text))
            .unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
    };
    assert_eq!(read(text.clone()), Settings::default());
    let all = text.replace("# lan", "lan").replace("# wan", "wan").replace("# workers", "workers");
    let all = read(all);
    assert_eq!(all.ports.lan.as_deref(), Some("enp1s0"));
    assert_eq!(all.ports.wan.as_deref(), Some("enp2s0"));
    assert_eq!(all.ports.workers, Some(1));
}
