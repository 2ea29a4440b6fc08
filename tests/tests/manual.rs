//! weir.conf(5) against what it describes: every example is what its mark says, and no word, option,
//! warning, drop reason or limit is missing.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use ipnet::IpNet;
use tempfile::TempDir;
use weir_config::lint::{Ports, lint, lints};
use weir_config::settings::{self, Settings};
use weir_config::{
    Defines, Diagnostics, Environment, Parsed, PortPrefixes, SourceFile, Texts, not_built, parse,
};
use weir_engine::{PortName, PortNames, Program, Reason};
use weir_tests::lab::{Output, binary};

const MANUAL: &str = include_str!("../../config/man/weir.conf.5");

/// A display with the mark above it.
struct Example {
    mark: String,
    /// Where it begins in the manual.
    line: usize,
    text: String,
}

impl Example {
    /// What the mark says behind `kind`.
    fn of(&self, kind: &str) -> Option<&str> {
        let rest = self.mark.strip_prefix(kind)?;
        (rest.is_empty() || rest.starts_with(' ')).then(|| rest.trim_start())
    }

    /// The lines that say something.
    fn statements(&self) -> impl Iterator<Item = &str> {
        self.text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
    }
}

/// All displays; one without a mark is a mistake in the manual.
fn examples() -> Vec<Example> {
    let lines: Vec<_> = MANUAL.lines().collect();
    let begins = |(at, line): (usize, &&str)| line.starts_with(".Bd").then_some(at);
    let examples: Vec<_> = lines
        .iter()
        .enumerate()
        .filter_map(begins)
        .map(|at| {
            let mark = lines[at - 1].strip_prefix(".\\\" example: ");
            let mark = mark.unwrap_or_else(|| panic!("line {at}: a display without a mark"));
            let body = lines[at + 1..].iter().take_while(|line| **line != ".Ed");
            let mut text = body.copied().collect::<Vec<_>>().join("\n").replace("\\e", "\\");
            text.push('\n');
            Example { mark: mark.to_owned(), line: at + 1, text }
        })
        .collect();
    assert!(examples.len() > 30, "{}", examples.len());
    examples
}

/// The files that examples name.
fn files(examples: &[Example]) -> Texts {
    let file = |example: &Example| {
        let path = example.of("file")?;
        Some(SourceFile::new(path, example.text.clone()))
    };
    examples.iter().filter_map(file).collect()
}

/// What the settings file of the manual says of the ports.
fn prefixes(examples: &[Example]) -> Vec<PortPrefixes> {
    let example = examples.iter().find(|example| example.of("settings").is_some());
    settings(&example.expect("there is one").text).ports.prefixes()
}

fn settings(text: &str) -> Settings {
    settings::parse(&SourceFile::new("weir.toml", text)).unwrap_or_else(|found| panic!("{found}"))
}

fn read(text: &str, examples: &[Example]) -> Parsed {
    let file = SourceFile::new("weir.conf", text);
    let environment = Environment {
        files: &mut files(examples),
        defines: &Defines::default(),
        prefixes: &prefixes(examples),
        anchor: "",
    };
    parse(&file, environment)
}

fn port_names(prefixes: &[PortPrefixes]) -> PortNames {
    let port = |role: &str, interface: &str| {
        let known = prefixes.iter().find(|port| port.names.iter().any(|name| name == role));
        let nets: Vec<IpNet> = known.map(|port| port.nets.clone()).unwrap_or_default();
        PortName { role: role.into(), interface: interface.into(), prefixes: nets }
    };
    PortNames(vec![port("lan", "eth1"), port("wan", "eth2")])
}

#[test]
fn every_mark_is_known() {
    const KINDS: &[&str] =
        &["rules", "cases", "refused", "not built", "lint", "file", "settings", "shell", "grammar"];
    for example in examples() {
        assert!(KINDS.iter().any(|kind| example.of(kind).is_some()), "{}", example.mark);
    }
}

/// They could be put in force as they are.
#[test]
fn examples_of_rules_are_read_and_compile() {
    let examples = examples();
    let rules = examples.iter().filter(|example| example.of("rules").is_some());
    let mut count = 0;
    for Example { line, text, .. } in rules {
        let parsed = read(text, &examples);
        assert!(parsed.diagnostics.is_empty(), "line {line}:\n{}", parsed.diagnostics);
        let rules = parsed.rules.expect("there are no errors");
        assert_eq!(not_built(&rules), [], "line {line}");
        let ports = port_names(&prefixes(&examples));
        if let Err(error) = Program::compile(&rules, &ports, None) {
            panic!("line {line}: {error}");
        }
        count += 1;
    }
    assert!(count > 15, "{count}");
}

#[test]
fn examples_of_errors_are_errors() {
    let examples = examples();
    let refused = examples.iter().filter(|example| example.of("refused").is_some());
    let statements: Vec<_> = refused.flat_map(Example::statements).collect();
    assert!(statements.len() > 5, "{statements:?}");
    for statement in statements {
        let Parsed { diagnostics, .. } = read(statement, &examples);
        assert!(diagnostics.has_errors(), "{statement}");
        assert!(!diagnostics.to_string().contains("syntax error"), "{diagnostics}");
    }
}

/// Read, and refused when they would be put in force.
#[test]
fn what_is_not_built_is_said_to_be() {
    let examples = examples();
    let lines = examples.iter().filter(|example| example.of("not built").is_some());
    let statements: Vec<_> = lines.flat_map(Example::statements).collect();
    assert!(!statements.is_empty());
    for statement in statements {
        let Parsed { rules, diagnostics, .. } = read(statement, &examples);
        let rules = rules.unwrap_or_else(|| panic!("{statement}: {diagnostics}"));
        assert_eq!(not_built(&rules).len(), 1, "{statement}");
    }
}

#[test]
fn examples_of_traps_are_warned_of() {
    let examples = examples();
    let mut count = 0;
    for example in &examples {
        let Some(name) = example.of("lint") else { continue };
        let Parsed { rules, notes, sources, .. } = read(&example.text, &examples);
        let rules = rules.expect("a trap is no error");
        let report = lint(&rules, &notes, &sources, &Ports::default());
        let names: Vec<_> = report.findings.iter().map(|finding| finding.name).collect();
        assert!(names.contains(&name), "line {}: {names:?}", example.line);
        count += 1;
    }
    assert!(count > 0);
}

/// `weir test` says that every packet fares as the manual says.
#[test]
fn examples_of_cases_hold() {
    let examples = examples();
    let rules: BTreeMap<_, _> =
        examples.iter().filter_map(|example| Some((example.of("rules")?, &example.text))).collect();
    let folder = TempDir::new().expect("a temporary folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("ours");
        path
    };
    let mut count = 0;
    for example in &examples {
        let Some(name) = example.of("cases") else { continue };
        let rules = rules.get(name).unwrap_or_else(|| panic!("no rules are named {name}"));
        let rules = write("weir.conf", rules);
        let cases = write("weir.test", &example.text);
        let said =
            Output::of(Command::new(binary()).arg("test").arg("--rules").arg(rules).arg(cases));
        assert!(said.success(), "line {}:\n{}{}", example.line, said.stdout, said.stderr);
        count += 1;
    }
    assert!(count > 2, "{count}");
}

/// Whether the manual has it as a word of its own.
fn is_there(word: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    MANUAL.match_indices(word).any(|(at, _)| {
        let (before, after) = (&MANUAL[..at], &MANUAL[at + word.len()..]);
        !before.ends_with(part) && !after.starts_with(part)
    })
}

#[test]
fn every_word_of_the_language_is_explained() {
    let words = weir_config::vocabulary();
    assert!(words.len() > 300, "{}", words.len());
    let missing: Vec<_> = words.into_iter().filter(|word| !is_there(word)).collect();
    assert_eq!(missing, Vec::<&str>::new());
}

/// Each with its sentence.
#[test]
fn every_drop_reason_is_explained() {
    for reason in Reason::ALL {
        let entry = format!("\n.It Cm {}\n{}\n", reason.name(), reason.description());
        assert!(MANUAL.contains(&entry), "{reason}");
    }
}

#[test]
fn every_warning_is_explained() {
    for lint in lints() {
        let entry = format!("\n.It Cm {}\n", lint.name);
        assert!(MANUAL.contains(&entry), "{}: {}", lint.name, lint.summary);
    }
}

#[test]
fn every_limit_is_named() {
    let limits = [
        weir_config::MAX_TEXT,
        weir_config::MAX_TABLE_TEXT,
        weir_config::MAX_FILES,
        weir_config::MAX_DEPTH,
        weir_config::MAX_WORDS,
        weir_config::MAX_VALUE,
        weir_config::MAX_EXPANSION,
        weir_config::MAX_RULES,
        weir_config::MAX_TABLE_ENTRIES,
        weir_config::MAX_ANCHORS,
        weir_config::MAX_ANCHOR_DEPTH,
        weir_config::MAX_EVALUATED as usize,
        weir_config::options::Timeouts::MAX_SECONDS as usize,
        Diagnostics::MAX,
    ];
    for limit in limits {
        assert!(is_there(&grouped(limit)), "{limit}");
    }
}

/// With a comma before every three digits.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
