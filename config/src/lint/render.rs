//! Findings as text.

use std::fmt;

use super::{Finding, Lint, Report};

/// Several lines: `FILE:LINE:COL: warning[NAME]: message`, the source line underlined, `why:` and
/// `help:`. No newline at the end.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = &self.place;
        let (file, line, column) = (&place.file, place.line, place.column);
        writeln!(f, "{file}:{line}:{column}: warning[{}]: {}", self.name, self.message)?;
        if !place.excerpt.is_empty() {
            let marked = place.marked();
            // A tab stays one, so that the marks stand below their characters.
            let blank = |c: char| if c == '\t' { '\t' } else { ' ' };
            let before: String = place.excerpt[..marked.start].chars().map(blank).collect();
            let marks = "^".repeat(place.excerpt[marked].chars().count().max(1));
            let margin = " ".repeat(line.to_string().len());
            writeln!(f, "  {line} | {}", place.excerpt)?;
            writeln!(f, "  {margin} | {before}{marks}")?;
        }
        write!(f, "  why: {}", self.why)?;
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

/// All findings with an empty line between them, and what is to be said besides.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}\n")?;
        }
        if self.omitted > 0 {
            writeln!(f, "{} more warnings are not shown", self.omitted)?;
        }
        for what in &self.unchecked {
            writeln!(f, "not checked: {what}")?;
        }
        Ok(())
    }
}

/// For `--explain`.
impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}\n\n{}\n\nSilence it with `# lint: allow {0}` on the line or above it.",
            self.name, self.summary, self.explanation
        )
    }
}
