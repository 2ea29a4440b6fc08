//! The input is a rule file. What is accepted must print as rules that parse to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_config::{Defines, SourceFile, parse_one};

fuzz_target!(|text: &str| {
    let parsed = parse_one(&SourceFile::new("fuzz.conf", text), &Defines::default());
    let _ = parsed.diagnostics.render(false);
    let Some(rules) = parsed.rules else { return };
    let print = |rules: &weir_config::rules::RuleSet| {
        rules.rules.iter().map(|rule| format!("{rule}\n")).collect::<String>()
    };
    let printed = print(&rules);
    let again = parse_one(&SourceFile::new("printed.conf", &*printed), &Defines::default());
    let again = again.rules.expect("what is printed parses");
    assert_eq!(print(&again), printed);
});
