//! Rule sets from text, with what is said about them on the way. The client checks before it sends,
//! the daemon checks what it was sent.

use std::collections::HashMap;

use weir_config::rules::Source;
use weir_config::{
    Defines, Diagnostic, Environment, Files, Parsed, Places, PortPrefixes, Severity, SourceFile,
    Span, Texts, beyond_limit, not_built, parse,
};

use crate::protocol::Load;

/// Reads the rule set from what was sent: the rule file, which is the first of the sources, and the
/// files it names. `prefixes` are what the settings file says of the ports.
///
/// # Errors
/// When a `-D` is no definition.
pub fn check(load: &Load, prefixes: &[PortPrefixes]) -> Result<Parsed, String> {
    let mut files = load.sources.iter().map(|source| SourceFile::new(&*source.name, &*source.text));
    let main = files.next().unwrap_or_else(|| SourceFile::new("", ""));
    read(&main, &mut files.collect::<Texts>(), load, prefixes)
}

/// Reads the rule set from a file and those that it names. Of `terms` the macros and the anchor
/// count.
///
/// # Errors
/// When a `-D` is no definition.
pub(crate) fn read(
    main: &SourceFile,
    files: &mut dyn Files,
    terms: &Load,
    prefixes: &[PortPrefixes],
) -> Result<Parsed, String> {
    let mut defines = Defines::default();
    for definition in &terms.macros {
        defines.define(definition).map_err(|error| format!("-D {error}"))?;
    }
    Ok(parse(main, Environment { files, defines: &defines, prefixes, anchor: &terms.anchor }))
}

/// What can be read and printed but not put in force becomes an error: at its line what is not built
/// yet, in the first line what goes beyond a limit that the rules set.
pub fn refuse_unbuilt(parsed: &mut Parsed) {
    let mut found = parsed.rules.as_ref().map(not_built).unwrap_or_default();
    if let Some(message) = parsed.rules.as_ref().and_then(beyond_limit) {
        found.push((Source { file: 0, line: 1 }, message));
    }
    let places = Places::new(&parsed.sources);
    let mut lines: HashMap<u32, Vec<u32>> = HashMap::new();
    for (source, message) in found {
        let Some(file) = parsed.sources.get(source.file as usize) else { continue };
        let starts = lines.entry(source.file).or_insert_with(|| starts(&file.text));
        let start = starts.get(source.line.saturating_sub(1) as usize).copied().unwrap_or(0);
        let rest = file.text.get(start as usize..).unwrap_or_default();
        let line = rest.lines().next().unwrap_or_default();
        let blank = line.len() - line.trim_start().len();
        let end = start + line.trim_end().len() as u32;
        let span = Span { file: source.file, start: start + blank as u32, end };
        if let Some(place) = places.place(span) {
            parsed.rules = None;
            parsed.diagnostics.push(Diagnostic {
                severity: Severity::Error,
                message,
                place,
                expected: Vec::new(),
                notes: Vec::new(),
            });
        }
    }
}

/// Where the lines of a text begin, in bytes.
fn starts(text: &str) -> Vec<u32> {
    let newlines = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n');
    std::iter::once(0).chain(newlines.map(|(at, _)| at as u32 + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::{check, refuse_unbuilt};
    use crate::protocol::{Load, Source};

    fn load(text: &str, macros: &[&str]) -> Load {
        Load {
            sources: vec![Source { name: "stdin".into(), text: text.into() }],
            macros: macros.iter().map(ToString::to_string).collect(),
            ..Load::default()
        }
    }

    #[test]
    fn macros_of_the_command_line_win() {
        let parsed = check(&load("side = \"lan\"\npass on $side\n", &["side=wan"]), &[]).unwrap();
        let rules = parsed.rules.expect("no errors");
        assert_eq!(rules.rules[0].interface.as_ref().unwrap().name, "wan");
        assert!(check(&load("pass\n", &["side"]), &[]).unwrap_err().starts_with("-D "));
    }

    #[test]
    fn every_error_is_told_and_no_rules_come_out() {
        let parsed = check(&load("pas\npass\nblok\n", &[]), &[]).unwrap();
        assert!(parsed.rules.is_none());
        let lines = parsed.diagnostics.to_string();
        assert!(lines.contains("stdin:1:1: ") && lines.contains("stdin:3:1: "), "{lines}");
    }

    #[test]
    fn what_is_not_built_is_an_error_at_its_line() {
        let text = "pass\n\n  pass in proto tcp from any os Linux\nset hostid 1\n";
        let mut parsed = check(&load(text, &[]), &[]).unwrap();
        assert!(parsed.rules.is_some(), "{}", parsed.diagnostics);
        refuse_unbuilt(&mut parsed);
        assert!(parsed.rules.is_none());
        let lines = parsed.diagnostics.to_string();
        assert!(lines.contains("stdin:3:3: ") && lines.contains("stdin:4:1: "), "{lines}");
        assert_eq!(lines.lines().count(), 2, "{lines}");
    }

    #[test]
    fn files_are_those_that_were_sent_and_no_others() {
        let mut sent = load("include \"/etc/hosts\"\n", &[]);
        let parsed = check(&sent, &[]).unwrap();
        assert!(parsed.rules.is_none(), "nothing is opened");
        sent.sources.push(Source { name: "/etc/hosts".into(), text: "pass\n".into() });
        let parsed = check(&sent, &[]).unwrap();
        assert_eq!(parsed.rules.expect("no errors").rules.len(), 1);
    }
}
