//! The way of one packet through the rules: what `weir explain` prints, and what the daemon answers
//! to [`Command::Explain`](crate::protocol::Command::Explain).

use std::fmt::{self, Display, Formatter};
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::ctl::names::Names;
use crate::protocol::{Command, Explain, Reply, State};

/// The way of a packet through the rules, and what comes of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The packet, in words or as tcpdump prints it.
    pub packet: String,
    /// Whether it passes.
    pub passes: bool,
    /// The name of the reason for which it is dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why it fares so, in words.
    pub because: String,
    /// A state that exists, which decides without asking the rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Box<State>>,
    /// What the rules say, arriving and leaving; empty if they are not asked.
    pub sides: Vec<Side>,
    /// The state that would be made, or why there is none, of a packet that passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub makes: Option<String>,
    /// More to know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// One of the two evaluations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// `in`, arriving, or `out`, leaving.
    pub direction: String,
    /// The port, by role.
    pub port: String,
    /// `set skip` on this port: no rule is asked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
    /// The rules in the order of asking: those that matched, or all.
    pub rules: Vec<Step>,
    /// The deciding rule, as [`Step::id`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decides: Option<String>,
    /// What it does: `pass` or `block`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// It decides because it is `quick`, or stands in an anchor that is; else as the last that matches.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quick: bool,
    /// The tag of the packet afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

/// One rule's part in an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// `@14`, or `@anchor/3` for rule 3 of an anchor.
    pub id: String,
    /// How many anchors it stands in.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub depth: u8,
    /// The rule as `-s rules` prints it.
    pub text: String,
    /// `FILE:LINE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Its label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
    /// The first thing that did not fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What its tables have found: `<bad> holds 192.0.2.1: 192.0.2.0/24`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<String>,
}

/// How a rule fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It matched.
    Matched,
    /// It did not.
    Differed,
    /// It was not asked: it stands behind a `quick` rule that matched, or in an anchor that did not.
    NotAsked,
}

/// Asks the running firewall.
///
/// # Errors
/// When it cannot be reached, or refuses: everything that is wrong with the words, a line each.
pub fn ask(socket: &Path, explain: Explain) -> io::Result<Explanation> {
    let mut told = None;
    let end = Client::connect(socket)?.ask(Command::Explain(explain), |reply| {
        if let Reply::Explanation(explanation) = reply {
            told = Some(*explanation);
        }
        Ok(())
    })?;
    match end {
        Reply::Diagnostics(found) => Err(io::Error::other(found.to_string().trim_end().to_owned())),
        Reply::Error(text) => Err(io::Error::other(text)),
        _ => told.ok_or_else(|| io::Error::other("the daemon has not explained it")),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(value: &u8) -> bool {
    *value == 0
}

/// Several lines, each with its newline. Of an evaluation with all rules every one is printed.
impl Display for Explanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.packet)?;
        if let Some(state) = &self.state {
            writeln!(f, "a state decides:")?;
            let mut line = Vec::new();
            crate::print::state(&mut line, state, 2, &Names::default()).map_err(|_| fmt::Error)?;
            for line in String::from_utf8_lossy(&line).lines() {
                writeln!(f, "  {line}")?;
            }
            if !self.sides.is_empty() {
                writeln!(f, "without it:")?;
            }
        }
        self.sides.iter().try_for_each(|side| side.fmt(f))?;
        let verdict = if self.passes { "pass" } else { "block" };
        writeln!(f, "{verdict}: {}", self.because)?;
        if let Some(makes) = &self.makes {
            writeln!(f, "{makes}")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}

impl Display for Side {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let what = if self.direction == "in" { "arriving" } else { "leaving" };
        writeln!(f, "{what}, {} on {}:", self.direction, self.port)?;
        if self.skipped {
            return writeln!(f, "  skipped: `set skip on` this port");
        }
        self.rules.iter().try_for_each(|step| step.fmt(f))?;
        match (&self.decides, &self.verdict) {
            (Some(rule), Some(verdict)) => {
                let how = if self.quick { "quick" } else { "the last that matches" };
                write!(f, "  {verdict} by {rule}, {how}")?;
                match self.rules.iter().find(|step| step.id == *rule) {
                    Some(Step { place: Some(place), .. }) => writeln!(f, " ({place})")?,
                    _ => writeln!(f)?,
                }
            }
            _ => writeln!(f, "  no rule decides")?,
        }
        match &self.tag {
            Some(tag) => writeln!(f, "  tagged {tag}"),
            None => Ok(()),
        }
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mark = match self.outcome {
            Outcome::Matched => "match",
            Outcome::Differed => "-",
            Outcome::NotAsked => "skip",
        };
        let indent = 2 * usize::from(self.depth);
        write!(f, "  {mark:<5} {:indent$}{} {}", "", self.id, self.text)?;
        match &self.why {
            Some(why) => writeln!(f, ": {why}")?,
            None => writeln!(f)?,
        }
        self.tables.iter().try_for_each(|table| writeln!(f, "        {:indent$}  {table}", ""))
    }
}

#[cfg(test)]
mod tests {
    use super::{Explanation, Outcome, Side, Step};

    fn step(id: &str, depth: u8, text: &str, outcome: Outcome) -> Step {
        Step {
            id: id.into(),
            depth,
            text: text.into(),
            place: Some(format!("weir.conf:{}", id.len())),
            label: None,
            outcome,
            why: None,
            tables: Vec::new(),
        }
    }

    fn explanation() -> Explanation {
        let mut differs = step("@1", 0, "pass all", Outcome::Differed);
        differs.why = Some("port 22 is not = 80".into());
        let mut inner = step("@a/0", 1, "pass from <x> to any", Outcome::Matched);
        inner.tables.push("<x> holds 192.0.2.1: 192.0.2.0/24".into());
        let arriving = Side {
            direction: "in".into(),
            port: "wan".into(),
            skipped: false,
            rules: vec![differs, step("@2", 0, "anchor \"a\" all", Outcome::Matched), inner],
            decides: Some("@a/0".into()),
            verdict: Some("pass".into()),
            quick: false,
            tag: Some("good".into()),
        };
        let leaving = Side {
            direction: "out".into(),
            port: "lan".into(),
            skipped: true,
            rules: Vec::new(),
            decides: None,
            verdict: None,
            quick: false,
            tag: None,
        };
        Explanation {
            packet: "in on wan".into(),
            passes: true,
            reason: None,
            because: "@a/0 passes it arriving".into(),
            state: None,
            sides: vec![arriving, leaving],
            makes: Some("no state".into()),
            notes: vec!["by chance".into()],
        }
    }

    #[test]
    fn prints_as_documented() {
        assert_eq!(
            explanation().to_string(),
            "in on wan\n\
             arriving, in on wan:\n\
             \x20 -     @1 pass all: port 22 is not = 80\n\
             \x20 match @2 anchor \"a\" all\n\
             \x20 match   @a/0 pass from <x> to any\n\
             \x20           <x> holds 192.0.2.1: 192.0.2.0/24\n\
             \x20 pass by @a/0, the last that matches (weir.conf:4)\n\
             \x20 tagged good\n\
             leaving, out on lan:\n\
             \x20 skipped: `set skip on` this port\n\
             pass: @a/0 passes it arriving\n\
             no state\n\
             note: by chance\n"
        );
    }

    #[test]
    fn travels_as_json() {
        let sent = serde_json::to_string(&explanation()).unwrap();
        assert_eq!(serde_json::from_str::<Explanation>(&sent).unwrap(), explanation());
        assert!(sent.contains("\"outcome\":\"differed\"") && !sent.contains("null"), "{sent}");
    }
}
