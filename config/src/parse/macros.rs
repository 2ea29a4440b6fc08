//! Macros: `name = value`, `$name`, and -D on the command line.
//!
//! As in pf a value is text that is cut into words anew wherever `$name` stands, and a macro used in
//! a value is replaced when the value is read. What a file can blow up that way is bounded.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::lexer::{self, Kind, Token};
use super::notes::{MacroDefinition, Notes};
use super::report::Report;
use super::words;
use crate::source::Span;

/// The longest value of a macro, in bytes.
pub const MAX_VALUE: usize = 1 << 20;

/// What all uses of macros may expand to in one run, in bytes of memory.
pub const MAX_EXPANSION: usize = 256 << 20;

/// How many names an unknown one is compared with at most.
const COMPARED: usize = 1000;

/// What a word costs besides its text.
const WORD: usize = size_of::<Token<'_>>();

/// Macros given before the files are read: -D. A definition in a file does not change them.
/// Travels as a list of pairs, checked again on arrival.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<(String, String)>", try_from = "Vec<(String, String)>")]
pub struct Defines(Vec<(String, String)>);

impl Defines {
    /// Takes `name=value` as `-D` does.
    ///
    /// # Errors
    /// In words, if there is no `=`, the name is none a macro can have, or the value is too long.
    pub fn define(&mut self, definition: &str) -> Result<(), String> {
        let Some((name, value)) = definition.split_once('=') else {
            return Err(format!("`{}`: expected NAME=VALUE", words::shorten(definition)));
        };
        self.add(name, value)
    }

    fn add(&mut self, name: &str, value: &str) -> Result<(), String> {
        if let Some(fault) = name_fault(name) {
            return Err(fault);
        }
        if value.len() > MAX_VALUE {
            return Err(format!("the value of `{name}` is longer than {MAX_VALUE} bytes"));
        }
        self.0.push((name.to_owned(), value.to_owned()));
        Ok(())
    }
}

impl From<Defines> for Vec<(String, String)> {
    fn from(defines: Defines) -> Self {
        defines.0
    }
}

impl TryFrom<Vec<(String, String)>> for Defines {
    type Error = String;

    fn try_from(pairs: Vec<(String, String)>) -> Result<Self, String> {
        let mut defines = Self::default();
        for (name, value) in pairs {
            defines.add(&name, &value)?;
        }
        Ok(defines)
    }
}

/// Why a macro cannot have that name.
fn name_fault(name: &str) -> Option<String> {
    let shown = words::shorten(name);
    if name.is_empty() {
        return Some("a macro needs a name".to_owned());
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Some(format!("`{shown}` cannot name a macro: use letters, digits and `_`"));
    }
    words::is_reserved(name)
        .then(|| format!("`{shown}` is a word of the language and cannot name a macro"))
}

/// One definition.
pub(super) struct Definition {
    pub(super) name: String,
    /// `None` for -D.
    pub(super) span: Option<Span>,
    value: String,
    words: Vec<(Kind, String)>,
    used: bool,
}

/// All definitions of a run.
pub(super) struct Macros {
    definitions: Vec<Definition>,
    /// The definition in force; `None` if it was broken, which has been reported already.
    names: HashMap<String, Option<u32>>,
    expanded: usize,
}

impl Macros {
    pub(super) fn new(defines: &Defines) -> Self {
        let mut macros = Self { definitions: Vec::new(), names: HashMap::new(), expanded: 0 };
        for (name, value) in &defines.0 {
            macros.insert(name.clone(), None, value.clone());
        }
        macros
    }

    pub(super) fn definition(&self, index: u32) -> Option<&Definition> {
        self.definitions.get(index as usize)
    }

    /// Remembers that the macro which a spoilt statement defines is none that can be missed.
    pub(super) fn spoil(&mut self, tokens: &[Token<'_>]) {
        if let [name, equals, ..] = tokens
            && equals.is_symbol("=")
        {
            self.names.entry(name.text.to_string()).or_insert(None);
        }
    }

    fn insert(&mut self, name: String, span: Option<Span>, value: String) {
        let words = lexer::value(&value);
        self.charge(value.len() + name.len() + size_of::<Definition>(), words.len());
        let index = self.definitions.len() as u32;
        self.names.insert(name.clone(), Some(index));
        self.definitions.push(Definition { name, span, value, words, used: false });
    }

    /// Counts what a value, stored or used, costs.
    const fn charge(&mut self, bytes: usize, words: usize) {
        self.expanded = self.expanded.saturating_add(bytes + words * WORD);
    }

    fn check_expansion(&self, token: &Token<'_>, report: &mut Report<'_>) -> Result<(), ()> {
        if self.expanded <= MAX_EXPANSION {
            return Ok(());
        }
        let message = format!("the macros expand to more than {MAX_EXPANSION} bytes");
        report.error(token.span, message);
        Err(())
    }

    /// Whether -D gave it.
    fn is_fixed(&self, name: &str) -> bool {
        let index = self.names.get(name).copied().flatten();
        index.and_then(|index| self.definition(index)).is_some_and(|found| found.span.is_none())
    }

    /// The definition that `$name` stands for. `Err` after having said what is wrong, if that was
    /// not said before.
    fn find(&mut self, token: &Token<'_>, report: &mut Report<'_>) -> Result<u32, ()> {
        match self.names.get(&*token.text) {
            Some(Some(index)) => {
                if let Some(definition) = self.definitions.get_mut(*index as usize) {
                    definition.used = true;
                }
                Ok(*index)
            }
            Some(None) => Err(()),
            None => {
                let message = format!("macro `{}` is not defined", words::shorten(&token.text));
                let known = self.names.keys().map(String::as_str).take(COMPARED);
                let near = words::nearest(&token.text, known);
                report.error(token.span, words::with_hint(message, "$", near));
                Err(())
            }
        }
    }

    /// The definitions in files, for lint.
    pub(super) fn into_notes(self, notes: &mut Vec<MacroDefinition>) {
        for Definition { name, span, used, .. } in self.definitions {
            if let Some(span) = span {
                Notes::push(notes, MacroDefinition { name, span, used });
            }
        }
    }

    /// Reads `name = value ...`; returns the line that -v echoes.
    pub(super) fn define(
        &mut self,
        tokens: &[Token<'_>],
        report: &mut Report<'_>,
    ) -> Option<String> {
        let name = &tokens[0];
        if let Some(fault) = name_fault(&name.text) {
            report.error(name.span, fault);
            return None;
        }
        let fixed = self.is_fixed(&name.text);
        let Ok(value) = self.read_value(&tokens[2..], report) else {
            if !fixed {
                self.names.insert(name.text.to_string(), None);
            }
            return None;
        };
        let echo = format!("{} = \"{value}\"", name.text);
        if !fixed {
            let end = tokens[tokens.len() - 2].span.end;
            self.insert(name.text.to_string(), Some(Span { end, ..name.span }), value);
        }
        Some(echo)
    }

    /// The pieces of a value with single blanks between them.
    fn read_value(&mut self, tokens: &[Token<'_>], report: &mut Report<'_>) -> Result<String, ()> {
        let mut value = String::new();
        let mut result = Ok(());
        for (at, token) in tokens.iter().enumerate() {
            let piece: Cow<'_, str> = match token.kind {
                Kind::Word | Kind::Quoted => Cow::Borrowed(&*token.text),
                Kind::Macro => {
                    let Ok(index) = self.find(token, report) else {
                        result = Err(());
                        continue;
                    };
                    Cow::Owned(self.definitions[index as usize].value.clone())
                }
                Kind::End if at > 0 => break,
                Kind::End => {
                    report.error(token.span, "the macro has no value: `\"\"` is the empty one");
                    return Err(());
                }
                Kind::Symbol | Kind::Stray => {
                    let message = format!(
                        "a macro value with `{}` in it must be put into quotes",
                        token.text.escape_debug()
                    );
                    report.error(token.span, message);
                    return Err(());
                }
            };
            if at > 0 {
                value.push(' ');
            }
            value.push_str(&piece);
            if value.len() > MAX_VALUE {
                let message = format!("the value of the macro is longer than {MAX_VALUE} bytes");
                report.error(token.span, message);
                return Err(());
            }
        }
        self.charge(value.len(), 0);
        self.check_expansion(&tokens[0], report)?;
        result.map(|()| value)
    }

    /// Replaces every `$name` by its words. `Err` if one could not be, after having said so.
    pub(super) fn expand<'s>(
        &mut self,
        tokens: &[Token<'s>],
        into: &mut Vec<Token<'s>>,
        report: &mut Report<'_>,
    ) -> Result<(), ()> {
        into.clear();
        let mut result = Ok(());
        for token in tokens {
            if token.kind != Kind::Macro {
                into.push(token.clone());
                continue;
            }
            let Ok(index) = self.find(token, report) else {
                result = Err(());
                continue;
            };
            let definition = &self.definitions[index as usize];
            let (bytes, words) = (definition.value.len(), definition.words.len());
            self.charge(bytes, words);
            self.check_expansion(token, report)?;
            let definition = &self.definitions[index as usize];
            into.extend(definition.words.iter().map(|(kind, text)| Token {
                kind: *kind,
                text: Cow::Owned(text.clone()),
                span: token.span,
                via: Some(index),
            }));
        }
        result
    }
}
