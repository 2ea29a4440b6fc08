//! The text format of Prometheus, version 0.0.4: for each metric what it means, its type, and a sample
//! a line.

use std::fmt::Write as _;

/// What the page says that it is.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page under way. All samples of a metric follow its head.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
    name: &'static str,
}

impl Page {
    /// A metric that only grows follows; its name ends in `_total`.
    pub fn counter(&mut self, name: &'static str, help: &str) -> &mut Self {
        self.head(name, "counter", help)
    }

    /// A metric that goes up and down follows.
    pub fn gauge(&mut self, name: &'static str, help: &str) -> &mut Self {
        self.head(name, "gauge", help)
    }

    fn head(&mut self, name: &'static str, kind: &str, help: &str) -> &mut Self {
        self.name = name;
        // Neither has a line break or a backslash: they are ours.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        self
    }

    /// A sample of the metric.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: u64) -> &mut Self {
        self.labelled(labels);
        let _ = writeln!(self.text, " {value}");
        self
    }

    /// A sample of the metric in seconds.
    pub fn seconds(&mut self, labels: &[(&str, &str)], nanos: u64) -> &mut Self {
        self.labelled(labels);
        let _ = writeln!(self.text, " {}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
        self
    }

    fn labelled(&mut self, labels: &[(&str, &str)]) {
        self.text.push_str(self.name);
        for (i, (name, value)) in labels.iter().enumerate() {
            self.text.push(if i == 0 { '{' } else { ',' });
            let _ = write!(self.text, "{name}=\"");
            for character in value.chars() {
                match character {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    other => self.text.push(other),
                }
            }
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
    }

    /// The text.
    pub fn finish(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::Page;

    #[test]
    fn samples_stand_under_their_heads() {
        let mut page = Page::default();
        page.counter("a_total", "Things.").sample(&[], 7);
        page.gauge("b_seconds", "Time.").seconds(&[("x", "a\"\\\nb"), ("y", "")], 1_020_000_000);
        let text = "# HELP a_total Things.\n# TYPE a_total counter\na_total 7\n\
                    # HELP b_seconds Time.\n# TYPE b_seconds gauge\n\
                    b_seconds{x=\"a\\\"\\\\\\nb\",y=\"\"} 1.020000000\n";
        assert_eq!(page.finish(), text);
    }
}
