//! Rule sets from text, with what is said about them on the way. The client checks before it sends,
//! the daemon checks what it was sent.

use weir_config::{Defines, Parsed, SourceFile, parse};

use crate::protocol::Load;

/// Reads the rule set.
///
/// # Errors
/// When a `-D` is no definition.
pub fn check(load: &Load) -> Result<Parsed, String> {
    let files: Vec<_> =
        load.sources.iter().map(|source| SourceFile::new(&*source.name, &*source.text)).collect();
    let mut defines = Defines::default();
    for definition in &load.macros {
        defines.define(definition).map_err(|error| format!("-D {error}"))?;
    }
    Ok(parse(&files, &defines))
}

#[cfg(test)]
mod tests {
    use super::check;
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
