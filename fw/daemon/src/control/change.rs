//! What there is to say about a change of the rules besides the rules: who makes it, on which terms,
//! and how it is put in force.

use std::time::{SystemTime, UNIX_EPOCH};

use weir_shell::protocol::{MAX_COMMENT, MAX_CONFIRM_SECONDS, Terms};

use super::Refused;
use super::tables::TableStore;
use crate::history::{Author, Origin};

/// How many characters of what was done are kept.
const MAX_WHAT: usize = 256;

/// A change of the rules: who makes it, and how.
#[derive(Clone, Debug)]
pub struct Change {
    /// Who.
    pub by: Author,
    /// What is done, in the words of the command line.
    pub what: String,
    /// On which terms.
    pub terms: Terms,
}

impl Change {
    /// One that is made whatever it cuts, and holds.
    pub fn plain(by: Author, what: impl Into<String>) -> Self {
        Self { by, what: what.into(), terms: Terms { force: true, ..Terms::default() } }
    }

    /// What the history says of it.
    pub(super) fn origin(&self, rules: usize) -> Origin {
        Origin { comment: self.terms.comment.clone(), ..self.origin_of(&self.what, rules) }
    }

    /// What the history says of something else that is kept on the way.
    pub(super) fn origin_of(&self, what: &str, rules: usize) -> Origin {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Origin {
            time,
            by: self.by.name(),
            uid: self.by.uid(),
            // Names of files are in it, which may be of any length.
            what: what.chars().take(MAX_WHAT).collect(),
            comment: String::new(),
            rules: rules as u64,
        }
    }
}

/// How new rules are put in force.
pub(super) struct Manner<'a> {
    /// Said behind their origin.
    pub(super) remark: &'a str,
    /// Whether they may cut more states than the settings allow; `None`: nobody asks.
    pub(super) may_cut: Option<bool>,
    /// Tables that come back with them, instead of what the rules make of those that are there.
    pub(super) tables: Option<TableStore>,
    /// Called with the number of rules when everything is right, before the first worker hears of
    /// them; not if they and what is in their tables are in force already.
    pub(super) before: &'a mut dyn FnMut(usize) -> Result<(), Refused>,
}

/// Bounds of what a client says about a change.
pub(super) fn check_terms(terms: &Terms) -> Result<(), Refused> {
    if terms.comment.len() > MAX_COMMENT || terms.comment.chars().any(char::is_control) {
        let text = format!("a comment is one line of at most {MAX_COMMENT} bytes");
        return Err(Refused::Error(text));
    }
    if terms.confirm.is_some_and(|seconds| !(1..=MAX_CONFIRM_SECONDS).contains(&seconds)) {
        let text = format!("a change waits 1 to {MAX_CONFIRM_SECONDS} seconds to be confirmed");
        return Err(Refused::Error(text));
    }
    Ok(())
}
