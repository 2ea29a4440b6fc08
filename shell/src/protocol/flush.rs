//! What can be emptied.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What to empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flush {
    /// The rules of the main rule set: everything that no state lets pass is blocked. Tables,
    /// options and what was loaded into anchors stay.
    Rules,
    /// What is in an anchor (`""` is the main rule set): its rules and tables.
    ///
    /// `{"rules-in":{"anchor":"webfarm","recursive":true}}`
    RulesIn {
        /// Its path.
        anchor: String,
        /// And in all anchors below it.
        recursive: bool,
    },
    /// The state table.
    States,
    /// The sources: all are forgotten, their states live on.
    Sources,
    /// The counters that belong to no rule.
    Info,
    /// The counters of a port: `lan`, `wan`, or the name of its interface.
    ///
    /// `{"port":{"port":"wan"}}`
    Port {
        /// Which.
        port: String,
    },
    /// The counters of the rules of an anchor (`""` is the main rule set, with the rules of layer
    /// 2).
    ///
    /// `{"rule-counters":{"anchor":"","recursive":false}}`
    RuleCounters {
        /// Its path.
        anchor: String,
        /// And of those in all anchors below it.
        recursive: bool,
    },
    /// The `set` options: their defaults hold again.
    Options,
    /// The tables of an anchor (`""` is the main rule set): they are deleted, as by `kill`.
    ///
    /// `{"tables":{"anchor":"","recursive":false}}`
    Tables {
        /// Its path.
        anchor: String,
        /// And those of all anchors below it.
        recursive: bool,
    },
}

/// What is emptied, in words.
impl fmt::Display for Flush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, anchor, recursive) = match self {
            Self::Rules => return f.write_str("the rules"),
            Self::States => return f.write_str("the states"),
            Self::Sources => return f.write_str("the sources"),
            Self::Port { port } => return write!(f, "the counters of the port {port:?}"),
            Self::Info => return f.write_str("the counters that belong to no rule"),
            Self::Options => return f.write_str("the options"),
            Self::RulesIn { anchor, recursive } => ("the rules and tables", anchor, *recursive),
            Self::RuleCounters { anchor, recursive } => {
                ("the counters of the rules", anchor, *recursive)
            }
            Self::Tables { anchor, recursive } => ("the tables", anchor, *recursive),
        };
        f.write_str(what)?;
        match (anchor.is_empty(), recursive) {
            (true, true) => f.write_str(" with those of all anchors"),
            (true, false) => Ok(()),
            (false, true) => write!(f, " of the anchor {anchor:?} and all below it"),
            (false, false) => write!(f, " of the anchor {anchor:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Flush;

    #[test]
    fn what_is_flushed_is_said_in_words() {
        let within = |anchor: &str, recursive| {
            let anchor = anchor.to_owned();
            [
                Flush::RulesIn { anchor: anchor.clone(), recursive },
                Flush::RuleCounters { anchor: anchor.clone(), recursive },
                Flush::Tables { anchor, recursive },
            ]
            .map(|flush| flush.to_string())
        };
        assert_eq!(Flush::States.to_string(), "the states");
        let port = Flush::Port { port: "wan\n".into() };
        assert_eq!(port.to_string(), "the counters of the port \"wan\\n\"");
        assert_eq!(within("", false)[1], "the counters of the rules");
        assert_eq!(within("web", false)[2], "the tables of the anchor \"web\"");
        assert_eq!(
            within("a/b", true)[0],
            "the rules and tables of the anchor \"a/b\" and all below it"
        );
        assert_eq!(within("", true)[2], "the tables with those of all anchors");
    }
}
