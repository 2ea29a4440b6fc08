//! The rule files that weir ships, and the demonstration.

use std::path::PathBuf;
use std::process::Command;

use weir_tests::lab::{Output, binary, shipped};

/// Every file reads without a word of complaint, and what is printed of it prints itself.
#[test]
fn every_shipped_rule_file_is_read() {
    let mut files = vec![shipped("weir.conf")];
    let examples = std::fs::read_dir(shipped("examples")).expect("is shipped");
    let examples = examples.map(|entry| entry.expect("readable").path());
    files.extend(examples.filter(|path| path.extension().is_some_and(|kind| kind == "conf")));
    assert!(files.len() > 3, "{files:?}");
    for file in files {
        let printed = print(&file);
        assert!(printed.lines().any(|line| line.starts_with("pass ")), "{printed}");
        let again = tempfile::NamedTempFile::new().expect("temporary file");
        std::fs::write(again.path(), &printed).expect("ours");
        assert_eq!(print(&again.path().to_owned()), printed, "{}", file.display());
    }
}

fn print(file: &PathBuf) -> String {
    let said = Output::of(Command::new(binary()).args(["ctl", "-nvf"]).arg(file));
    assert!(said.success(), "{}: {}", file.display(), said.stderr);
    assert_eq!(said.stderr, "", "{}", file.display());
    said.stdout
}

/// `make demo` without a terminal shows everything that it promises and ends by itself.
#[test]
fn the_demonstration_runs() {
    let said = Output::of(Command::new(env!("CARGO_BIN_EXE_weir-demo")).env("WEIR_BIN", binary()))
        .expect_success();
    for text in [
        "weir: forwarding",
        "Hello from behind the weir.",
        "weir answered in the server's name",
        "ESTABLISHED:ESTABLISHED",
        "rule ",
    ] {
        assert!(said.contains(text), "no {text:?} in:\n{said}");
    }
    assert!(!said.contains("NOT as promised"), "{said}");
    assert!(!said.contains('\x1b'), "colours without a terminal:\n{said}");
}
