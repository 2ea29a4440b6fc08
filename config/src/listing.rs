//! Rules with the anchors they call, in the order in which pfctl lists them: line by line, so that a
//! caller can put counters between.

use std::fmt::{self, Display, Formatter};

use crate::rules::{Action, Anchor, AnchorCall, Rule, RuleSet};
use crate::tables::Table;

/// Which anchors' rules are listed behind the rules that call them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bodies {
    /// Those that stood there in braces, with their tables: `-nvf`.
    Inline,
    /// Those without a name, which cannot be listed otherwise: `-s rules`.
    Unnamed,
    /// All: `-s rules -a '*'`.
    All,
}

/// A line of a listing; `depth` is how many anchors it is in.
#[derive(Clone, Copy, Debug)]
pub enum Line<'r> {
    /// A table of an anchor in braces.
    Table {
        /// Anchors around it.
        depth: usize,
        /// The table.
        table: &'r Table,
    },
    /// A rule.
    Rule {
        /// Anchors around it.
        depth: usize,
        /// The path of the innermost of them, empty for the main rule set.
        anchor: &'r str,
        /// Its number there.
        number: u32,
        /// The rule.
        rule: &'r Rule,
        /// The rules of the anchor it calls follow, up to [`Line::End`].
        opens: bool,
    },
    /// An anchor that a wildcard stands for; its rules follow.
    Child {
        /// Anchors around it.
        depth: usize,
        /// Its name without the path.
        name: &'r str,
    },
    /// The end of what [`Line::Rule`] or [`Line::Child`] began.
    End {
        /// Anchors around both.
        depth: usize,
    },
}

/// Deeper than any calls that [`check_calls`](crate::check_calls) lets through.
const DEEPEST: usize = 2 * crate::MAX_ANCHOR_DEPTH + 2;

impl RuleSet {
    /// The rules of the main rule set, or of the anchor of that path; `None` if there is no such
    /// anchor.
    pub fn listing(&self, anchor: &str, bodies: Bodies) -> Option<Listing<'_>> {
        let (path, rules) = match self.anchors.get_key_value(anchor) {
            Some((path, anchor)) => (path.as_str(), &anchor.rules),
            None if anchor.is_empty() => ("", &self.rules),
            None => return None,
        };
        let first = Part::Rules { path, rules, next: 0 };
        Some(Listing { set: self, bodies, parts: vec![first] })
    }

    /// The rules of the main rule set, or of the anchor of that path, as `-nvf` prints them behind
    /// what it echoes, one a line, `@N` before each if `numbered`.
    pub const fn printed<'r>(&'r self, anchor: &'r str, numbered: bool) -> Printed<'r> {
        Printed { set: self, anchor, numbered }
    }
}

/// What [`RuleSet::printed`] prints.
#[derive(Clone, Copy, Debug)]
pub struct Printed<'r> {
    set: &'r RuleSet,
    anchor: &'r str,
    numbered: bool,
}

impl Display for Printed<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let ether = if self.anchor.is_empty() { &*self.set.ether } else { &[] };
        for (number, rule) in ether.iter().enumerate() {
            if self.numbered {
                write!(f, "@{number} ")?;
            }
            writeln!(f, "{rule}")?;
        }
        let listing = self.set.listing(self.anchor, Bodies::Inline);
        listing.into_iter().flatten().try_for_each(|line| line.print(self.numbered, f))
    }
}

/// The lines of a listing.
#[derive(Debug)]
pub struct Listing<'r> {
    set: &'r RuleSet,
    bodies: Bodies,
    /// What is being listed, outermost first.
    parts: Vec<Part<'r>>,
}

#[derive(Debug)]
enum Part<'r> {
    Tables(&'r [Table]),
    Rules {
        path: &'r str,
        rules: &'r [Rule],
        next: usize,
    },
    Children(std::vec::IntoIter<(&'r str, &'r Anchor)>),
    /// The line that closes a brace.
    End,
}

impl<'r> Listing<'r> {
    fn depth(&self) -> usize {
        self.parts.iter().filter(|part| matches!(part, Part::End)).count()
    }

    /// Goes into what a rule calls; false if that is not listed.
    fn follow(&mut self, call: &'r AnchorCall) -> bool {
        let listed = match self.bodies {
            Bodies::Inline => call.inline,
            Bodies::Unnamed => call.written.is_empty(),
            Bodies::All => true,
        };
        if !listed || self.depth() >= DEEPEST {
            return false;
        }
        let set = self.set;
        if call.wildcard {
            let children: Vec<_> = set.below(&call.path).collect();
            self.parts.extend([Part::End, Part::Children(children.into_iter())]);
            return true;
        }
        let Some((path, anchor)) = set.anchors.get_key_value(&call.path) else {
            self.parts.push(Part::End);
            return true;
        };
        self.enter(path, anchor);
        true
    }

    fn enter(&mut self, path: &'r str, anchor: &'r Anchor) {
        self.parts.extend([Part::End, Part::Rules { path, rules: &anchor.rules, next: 0 }]);
        if self.bodies == Bodies::Inline {
            self.parts.push(Part::Tables(&anchor.tables));
        }
    }
}

impl RuleSet {
    /// The anchors directly below a path, in alphabetical order, by full path: what `"path/*"` calls.
    pub fn below<'r>(&'r self, path: &str) -> impl Iterator<Item = (&'r str, &'r Anchor)> {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let all = self.anchors.range::<str, _>((
            std::ops::Bound::Included(prefix.as_str()),
            std::ops::Bound::Unbounded,
        ));
        let end = prefix.clone();
        all.map(|(path, anchor)| (path.as_str(), anchor))
            .take_while(move |(path, _)| path.starts_with(&end))
            .filter(move |(path, _)| !path[prefix.len()..].contains('/') && !path.is_empty())
    }
}

impl<'r> Iterator for Listing<'r> {
    type Item = Line<'r>;

    fn next(&mut self) -> Option<Line<'r>> {
        loop {
            let depth = self.depth();
            match self.parts.last_mut()? {
                Part::Tables([]) => drop(self.parts.pop()),
                Part::Tables([table, rest @ ..]) => {
                    *self.parts.last_mut()? = Part::Tables(rest);
                    return Some(Line::Table { depth, table });
                }
                Part::Rules { path, rules, next } => {
                    let (path, number) = (*path, *next);
                    let Some(rule) = rules.get(number) else {
                        self.parts.pop();
                        continue;
                    };
                    *next += 1;
                    let opens = match &rule.action {
                        Action::Anchor(call) => self.follow(call),
                        _ => false,
                    };
                    return Some(Line::Rule {
                        depth,
                        anchor: path,
                        number: number as u32,
                        rule,
                        opens,
                    });
                }
                Part::Children(children) => {
                    let Some((path, anchor)) = children.next() else {
                        self.parts.pop();
                        continue;
                    };
                    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
                    self.enter(path, anchor);
                    return Some(Line::Child { depth, name });
                }
                Part::End => {
                    self.parts.pop();
                    return Some(Line::End { depth: depth - 1 });
                }
            }
        }
    }
}

impl Line<'_> {
    /// Writes the line with its newline, as pfctl does: indented, or numbered.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn print(self, numbered: bool, f: &mut impl fmt::Write) -> fmt::Result {
        let depth = match self {
            Self::Table { depth, .. }
            | Self::Rule { depth, .. }
            | Self::Child { depth, .. }
            | Self::End { depth } => depth,
        };
        if !numbered {
            write!(f, "{:1$}", "", 2 * depth)?;
        }
        match self {
            Self::Table { table, .. } => writeln!(f, "{table}"),
            Self::Rule { number, rule, opens, .. } => {
                if numbered {
                    write!(f, "@{number} ")?;
                }
                writeln!(f, "{rule}{}", if opens { " {" } else { "" })
            }
            Self::Child { name, .. } => writeln!(f, "anchor \"{name}\" all {{"),
            Self::End { .. } => writeln!(f, "}}"),
        }
    }
}
