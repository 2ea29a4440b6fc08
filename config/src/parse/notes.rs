//! What the text says and the rule set does not: kept for lint, which warns of traps that expansion
//! hides. Nothing in here changes what a rule set means.

use super::lexer::{Kind, Token};
use crate::rules::{Address, Rule, Source};
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

/// Notes the rules that a statement made; `before` is how many its rule set had.
pub(super) fn rules(
    notes: &mut Notes,
    words: &[Token<'_>],
    anchor: &str,
    before: usize,
    made: &[Rule],
) {
    negated_lists(&mut notes.negated_lists, words);
    let Some(first) = made.first() else { return };
    let written = |word: &str| words.iter().any(|token| token.is_word(word));
    let end = words.iter().rev().nth(1).map_or(words[0].span, |token| token.span).end;
    let rule = WrittenRule {
        span: Span { end: end.max(words[0].span.end), ..words[0].span },
        source: first.source,
        anchor: anchor.to_owned(),
        first: before as u32,
        count: made.len() as u32,
        flags: written("flags"),
        state: written("state"),
    };
    Notes::push(&mut notes.rules, rule);
    let mut names: Vec<&str> = Vec::new();
    for rule in made {
        let overload = rule.state_options.overload.as_ref().map(|overload| &*overload.table);
        let used = [table_of(&rule.from.address), table_of(&rule.to.address), overload];
        for name in used.into_iter().flatten() {
            // A list repeats its last names: looking back is enough to keep this short.
            if !names.iter().rev().take(8).any(|known| *known == name) {
                names.push(name);
            }
        }
    }
    names.sort_unstable();
    names.dedup();
    for token in words {
        if !names.is_empty() && matches!(token.kind, Kind::Word | Kind::Quoted) {
            let Ok(at) = names.binary_search(&&*token.text) else { continue };
            let name = names.remove(at).to_owned();
            let mention = TableMention { name, anchor: anchor.to_owned(), span: token.span };
            Notes::push(&mut notes.table_uses, mention);
        }
    }
}

fn table_of(address: &Address) -> Option<&str> {
    if let Address::Table(name) = address { Some(name) } else { None }
}

/// Notes the lists with negated items: `!` before an item, which `!=` is not.
fn negated_lists(lists: &mut Vec<NegatedList>, words: &[Token<'_>]) {
    let mut depth = 0_u32;
    let mut list: Option<NegatedList> = None;
    for (at, token) in words.iter().enumerate() {
        if token.is_symbol("{") {
            depth += 1;
            list.get_or_insert(NegatedList { span: token.span, negated: 0, plain: 0 });
        } else if token.is_symbol("}") {
            depth = depth.saturating_sub(1);
            let Some(mut done) = list.take_if(|_| depth == 0) else { continue };
            done.span.end = token.span.end.max(done.span.end);
            if done.negated > 0 {
                Notes::push(lists, done);
            }
        } else if let Some(list) = &mut list {
            let before = &words[at - 1];
            if token.is_symbol("!") {
                list.negated += 1;
            } else if matches!(token.kind, Kind::Word | Kind::Quoted) || token.is_symbol("<") {
                let joined = ["!", "/", "-", "<"].iter().any(|symbol| before.is_symbol(symbol));
                list.plain += u32::from(!joined);
            }
        }
    }
}
