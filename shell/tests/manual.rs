//! weirctl(8) against what it describes: command lines are understood or refused as it says, lines of the
//! protocol are what the code reads and writes, and no word is missing.

use std::process::Command;

use serde_json::Value;
use weir_shell::options::{Options, Refusal, USAGE};
use weir_shell::protocol::{
    MAX_CLIENTS, MAX_QUESTION, MAX_REQUEST, MAX_REQUESTS, Reply, Request, TableFeedback,
    TableOutcome, VERSION,
};
use weir_shell::query::{ORDER_WORDS, SOURCE_ORDERS, SOURCE_WORDS, STATE_ORDERS, STATE_WORDS};

const MANUAL: &str = include_str!("../../config/man/weirctl.8");

/// The displays with this mark, line by line.
fn examples(mark: &str) -> Vec<String> {
    let lines: Vec<&str> = MANUAL.lines().collect();
    let mut found = Vec::new();
    for (at, _) in lines.iter().enumerate().filter(|(_, line)| line.starts_with(".Bd")) {
        let told = lines[at - 1].strip_prefix(".\\\" example: ");
        let told = told.unwrap_or_else(|| panic!("line {at}: a display without a mark"));
        assert!(["commands", "refused", "session", "told"].contains(&told), "line {at}: {told}");
        if told == mark {
            let body = lines[at + 1..].iter().take_while(|line| **line != ".Ed");
            found.extend(body.map(|line| line.replace("\\e", "\\")));
        }
    }
    assert!(!found.is_empty());
    found
}

/// As a shell takes a line apart; its first word is the command.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quote) = (vec![String::new()], None);
    for c in line.chars() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => quote = Some(c),
            (' ', None) => words.push(String::new()),
            (c, _) => words.last_mut().expect("one").push(c),
        }
    }
    assert_eq!((quote, words.remove(0).as_str()), (None, "weirctl"), "{line}");
    words
}

fn parse(line: &str) -> Result<Options, Refusal> {
    Options::parse(words(line).into_iter().map(Into::into))
}

#[test]
fn commands_are_understood() {
    for line in examples("commands") {
        if let Err(refusal) = parse(&line) {
            panic!("{line}: {refusal}");
        }
    }
}

#[test]
fn what_is_not_there_is_refused_by_name() {
    for line in examples("refused") {
        let refusal = parse(&line).expect_err(&line);
        assert!(
            matches!(refusal, Refusal::NotHere(..) | Refusal::NotWeir(..)),
            "{line}: {refusal}"
        );
    }
}

/// Each line is what the code makes of it, no field more and no field less; and each answer ends.
#[test]
fn lines_of_the_protocol_are_those_of_the_code() {
    let mut messages: Vec<String> = Vec::new();
    for line in examples("session") {
        match line.strip_prefix("   ") {
            Some(more) => messages.last_mut().expect("a first line").push_str(more),
            None => messages.push(line),
        }
    }
    let mut requests = 0;
    for message in &messages {
        let (direction, text) = message.split_at(2);
        let value: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let again = if direction == "> " {
            requests += 1;
            assert!(Request::read(text.as_bytes()).is_ok(), "{text}");
            let request: Request = serde_json::from_value(value.clone()).expect("read before");
            serde_json::to_value(&request)
        } else {
            assert_eq!(direction, "< ", "{message}");
            let reply: Reply =
                serde_json::from_value(value.clone()).unwrap_or_else(|e| panic!("{text}: {e}"));
            serde_json::to_value(&reply)
        };
        assert_eq!(again.expect("JSON"), value, "{message}");
    }
    assert!(requests > 20, "{requests}");
    assert!(messages[0].contains(&format!("\"version\":{VERSION}")));
}

/// What `--json` tells of a table is the daemon's answer, and what became of the addresses.
#[test]
fn what_is_told_as_json_is_what_the_code_has() {
    let text: String = examples("told").concat();
    let told = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
    let [done, table] = &mut told.map(|value| value.expect(&text)).collect::<Vec<_>>()[..] else {
        panic!("two objects: {text}")
    };
    assert!(done["done"].is_string() && done["count"].is_u64() && done["note"].is_string());
    let fields = table.as_object_mut().expect("an object");
    assert_eq!(fields.remove("dry_run"), Some(Value::Bool(false)));
    let feedback = fields.remove("feedback").expect("with -v");
    let read: Vec<TableFeedback> = serde_json::from_value(feedback.clone()).expect("addresses");
    assert_eq!(serde_json::to_value(&read).expect("JSON"), feedback);
    let read: TableOutcome = serde_json::from_value(table.clone()).expect("an outcome");
    assert_eq!(serde_json::to_value(&read).expect("JSON"), *table);
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
fn no_word_is_missing() {
    for (word, ..) in STATE_WORDS.iter().chain(SOURCE_WORDS).chain(ORDER_WORDS) {
        assert!(is_there(word), "{word}");
    }
    let orders = STATE_ORDERS.iter().map(|(word, _)| word);
    for word in orders.chain(SOURCE_ORDERS.iter().map(|(word, _)| word)) {
        assert!(is_there(word), "{word}");
    }
    // Every flag of the summary has its place.
    for flag in USAGE.split_whitespace().filter_map(|word| word.strip_prefix('-')) {
        let flag = flag.trim_matches(|c: char| !c.is_ascii_alphabetic());
        if flag.chars().count() == 1 {
            assert!(MANUAL.contains(&format!("Fl {flag}")), "-{flag}");
        }
    }
    for bound in [MAX_REQUEST, MAX_REQUESTS, MAX_QUESTION, MAX_CLIENTS] {
        let digits = bound.to_string();
        let groups: Vec<_> =
            digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
        assert!(is_there(&groups.join(",")), "{bound}");
    }
}

/// Well-formed mdoc(7), as far as mandoc(1) is there to say so; `make deps` installs it.
#[test]
fn mandoc_finds_nothing_to_complain_about() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/man/weirctl.8");
    match Command::new("mandoc").args(["-T", "lint", "-W", "warning", path]).output() {
        Ok(said) => {
            assert_eq!(String::from_utf8_lossy(&said.stdout), "");
            assert!(said.status.success());
        }
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}"),
    }
}
