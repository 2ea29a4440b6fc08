//! What the text says and the rule set does not: kept for lint, which warns of traps that expansion
//! hides. Nothing in here changes what a rule set means.

use crate::rules::Source;
use crate::source::Span;

/// The most places of each kind that are kept; what lies beyond is not looked at by lint.
pub const MAX_NOTES: usize = 1_000_000;

/// The facts of one run, each list in the order of the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// The written rules, anchor calls among them.
    pub rules: Vec<WrittenRule>,
    /// Lists with a negated item in them.
    pub negated_lists: Vec<NegatedList>,
    /// Backslashes at the end of comments that make the next line a part of the comment.
    pub continued_comments: Vec<ContinuedComment>,
    /// Definitions of macros, those of -D excepted.
    pub macros: Vec<MacroDefinition>,
    /// Declarations of tables; a name that is declared twice is here twice.
    pub tables: Vec<TableMention>,
    /// Names of tables in rules.
    pub table_uses: Vec<TableMention>,
    /// Comments that begin with `lint:`.
    pub lint_comments: Vec<LintComment>,
}

/// A rule as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenRule {
    /// The whole statement.
    pub span: Span,
    /// What the rules hold that it expanded to.
    pub source: Source,
    /// The path of the anchor it stands in; empty for the main rule set.
    pub anchor: String,
    /// The number of the first rule that it expanded to.
    pub first: u32,
    /// How many rules it expanded to.
    pub count: u32,
    /// `flags` was written.
    pub flags: bool,
    /// `keep state`, `no state` or one of their kin was written.
    pub state: bool,
}

/// `{ !a, b }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NegatedList {
    /// From brace to brace; the macro's use if it came from one.
    pub span: Span,
    /// How many items have a `!`.
    pub negated: u32,
    /// How many items have none.
    pub plain: u32,
}

/// A comment that goes on in the next line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContinuedComment {
    /// The backslash.
    pub span: Span,
    /// The next line holds more than a comment or nothing.
    pub swallows: bool,
}

/// `name = value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MacroDefinition {
    /// Its name.
    pub name: String,
    /// The statement.
    pub span: Span,
    /// It stands in a rule, or in another macro.
    pub used: bool,
}

/// `<name>` in a declaration or in a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableMention {
    /// The name.
    pub name: String,
    /// The path of the anchor it stands in; empty for the main rule set.
    pub anchor: String,
    /// The name, in the text.
    pub span: Span,
}

/// `# lint: ...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LintComment {
    /// From the `#` to the end of the line.
    pub span: Span,
    /// What stands behind the colon, without blanks around it.
    pub text: String,
    /// Nothing else stands on its line.
    pub alone: bool,
}

impl Notes {
    /// Adds to one of the lists as long as there is room.
    pub(super) fn push<T>(list: &mut Vec<T>, note: T) {
        if list.len() < MAX_NOTES {
            list.push(note);
        }
    }
}
