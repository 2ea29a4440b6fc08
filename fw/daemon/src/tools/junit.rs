//! The results of `weir test` as JUnit XML, the form that CI servers read.
//!
//! There is no specification; this keeps to what Jenkins' schema and its readers agree on: suites,
//! one for each file, with their counts, cases with file and line, a `failure` with message and text.

use std::fmt::{self, Display, Formatter};

/// All suites.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// One for each file of cases.
    pub suites: Vec<Suite>,
}

/// The cases of one file.
#[derive(Clone, Debug, Default)]
pub struct Suite {
    /// The name of the file.
    pub name: String,
    /// Seconds that all cases took together.
    pub seconds: f64,
    /// The cases, in order.
    pub cases: Vec<Entry>,
}

/// One case.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The case in words.
    pub name: String,
    /// Its line.
    pub line: u32,
    /// What is wrong, in one line, and more about it.
    pub failure: Option<(String, String)>,
}

impl Suite {
    fn failures(&self) -> usize {
        self.cases.iter().filter(|case| case.failure.is_some()).count()
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let tests: usize = self.suites.iter().map(|suite| suite.cases.len()).sum();
        let failures: usize = self.suites.iter().map(Suite::failures).sum();
        let seconds: f64 = self.suites.iter().map(|suite| suite.seconds).sum();
        writeln!(f, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
        writeln!(
            f,
            "<testsuites name=\"weir test\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" \
             time=\"{seconds:.6}\">"
        )?;
        self.suites.iter().try_for_each(|suite| suite.fmt(f))?;
        writeln!(f, "</testsuites>")
    }
}

impl Display for Suite {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (name, tests, failures) = (Escaped(&self.name), self.cases.len(), self.failures());
        writeln!(
            f,
            "  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" \
             skipped=\"0\" time=\"{:.6}\">",
            self.seconds
        )?;
        for case in &self.cases {
            write!(
                f,
                "    <testcase classname=\"{name}\" name=\"line {line}: {}\" file=\"{name}\" \
                 line=\"{line}\" time=\"0\"",
                Escaped(&case.name),
                line = case.line
            )?;
            match &case.failure {
                None => writeln!(f, "/>")?,
                Some((message, text)) => writeln!(
                    f,
                    ">\n      <failure message=\"{}\" type=\"policy\">{}</failure>\n    </testcase>",
                    Escaped(message),
                    Escaped(text)
                )?,
            }
        }
        writeln!(f, "  </testsuite>")
    }
}

/// Text as it may stand in an attribute or an element (XML 1.0, 2.2 and 2.4). What XML cannot hold
/// at all becomes U+FFFD. Line ends and tabs are written as references, since a reader makes them
/// blanks in attributes (3.3.3).
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&apos;")?,
                '\t' | '\n' | '\r' => write!(f, "&#{};", u32::from(c))?,
                '\0'..'\u{20}' | '\u{fffe}' | '\u{ffff}' => f.write_str("\u{fffd}")?,
                c => write!(f, "{c}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, Report, Suite};

    #[test]
    fn what_is_special_in_xml_is_escaped() {
        let failed = Entry {
            name: "pass by \"a & b\"".into(),
            line: 3,
            failure: Some(("<1>\n'2'".into(), "\u{1b}[31m\u{ffff}ü".into())),
        };
        let passed = Entry { name: "block".into(), line: 4, failure: None };
        let suite = Suite { name: "a&b.cases".into(), seconds: 0.5, cases: vec![failed, passed] };
        assert_eq!(
            Report { suites: vec![suite] }.to_string(),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <testsuites name=\"weir test\" tests=\"2\" failures=\"1\" errors=\"0\" \
             time=\"0.500000\">\n\
             \x20 <testsuite name=\"a&amp;b.cases\" tests=\"2\" failures=\"1\" errors=\"0\" \
             skipped=\"0\" time=\"0.500000\">\n\
             \x20   <testcase classname=\"a&amp;b.cases\" name=\"line 3: pass by &quot;a &amp; \
             b&quot;\" file=\"a&amp;b.cases\" line=\"3\" time=\"0\">\n\
             \x20     <failure message=\"&lt;1&gt;&#10;&apos;2&apos;\" \
             type=\"policy\">\u{fffd}[31m\u{fffd}ü</failure>\n\
             \x20   </testcase>\n\
             \x20   <testcase classname=\"a&amp;b.cases\" name=\"line 4: block\" \
             file=\"a&amp;b.cases\" line=\"4\" time=\"0\"/>\n\
             \x20 </testsuite>\n\
             </testsuites>\n"
        );
    }
}
