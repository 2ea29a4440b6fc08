//! Rule sets from text, with what is said about them on the way. The client checks before it sends,
//! the daemon checks what it was sent.

use weir_config::{Defines, Environment, Files, Parsed, SourceFile, Texts, parse};

use crate::protocol::Load;

/// Reads the rule set from what was sent: the rule file, which is the first of the sources, and the
/// files it names.
///
/// # Errors
/// When a `-D` is no definition.
pub fn check(load: &Load) -> Result<Parsed, String> {
    let mut files = load.sources.iter().map(|source| SourceFile::new(&*source.name, &*source.text));
    let main = files.next().unwrap_or_else(|| SourceFile::new("", ""));
    read(&main, &mut files.collect::<Texts>(), &load.macros)
}

/// Reads the rule set from a file and those that it names.
///
/// # Errors
/// When a `-D` is no definition.
pub fn read(main: &SourceFile, files: &mut dyn Files, macros: &[String]) -> Result<Parsed, String> {
    let mut defines = Defines::default();
    for definition in macros {
        defines.define(definition).map_err(|error| format!("-D {error}"))?;
    }
    Ok(parse(main, Environment { files, defines: &defines, prefixes: &[], anchor: "" }))
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::protocol::{Load, Source};

    fn load(text: &str, macros: &[&str]) -> Load {
        Load {
            sources: vec![Source { name: "stdin".into(), text: text.into() }],
            macros: macros.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn macros_of_the_command_line_win() {
        let parsed = check(&load("side = \"lan\"\npass on $side\n", &["side=wan"])).unwrap();
        let rules = parsed.rules.expect("no errors");
        assert_eq!(rules.rules[0].interface.as_ref().unwrap().name, "wan");
        assert!(check(&load("pass\n", &["side"])).unwrap_err().starts_with("-D "));
    }

    #[test]
    fn every_error_is_told_and_no_rules_come_out() {
        let parsed = check(&load("pas\npass\nblok\n", &[])).unwrap();
        assert!(parsed.rules.is_none());
        let lines = parsed.diagnostics.to_string();
        assert!(lines.contains("stdin:1:1: ") && lines.contains("stdin:3:1: "), "{lines}");
    }
}
