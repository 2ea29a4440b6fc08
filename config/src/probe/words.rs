//! One line of a packet's words, cut at blanks. Much less than the language of rules needs: a line
//! ends where it ends, and there are no macros.

use crate::source::Span;

/// A word with its place in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word<'t> {
    /// Without the quotes.
    pub(super) text: &'t str,
    pub(super) quoted: Quoted,
    pub(super) span: Span,
}

/// Whether a word stood in quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quoted {
    No,
    Yes,
    /// The closing quote is missing.
    Open,
}

impl Word<'_> {
    pub(super) fn is(&self, word: &str) -> bool {
        self.quoted == Quoted::No && self.text == word
    }
}

/// Characters that are words by themselves: of the language of rules, none of a packet but `=`.
fn is_symbol(c: char) -> bool {
    matches!(c, '{' | '}' | '(' | ')' | '<' | '>' | '!' | '=' | ',' | '\\' | '$')
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r')
}

/// Cuts a line, which begins at `start` in its text, into `words`. A `#` outside of quotes ends it.
pub(super) fn cut<'t>(line: &'t str, file: u32, start: u32, words: &mut Vec<Word<'t>>) {
    words.clear();
    let mut rest = line;
    loop {
        rest = rest.trim_start_matches(is_blank);
        let Some(first) = rest.chars().next() else { return };
        let at = line.len() - rest.len();
        let (text, quoted, length) = match first {
            '#' => return,
            '"' | '\'' => match rest[1..].find(first) {
                Some(length) => (&rest[1..=length], Quoted::Yes, length + 2),
                None => (&rest[1..], Quoted::Open, rest.len()),
            },
            symbol if is_symbol(symbol) => (&rest[..1], Quoted::No, 1),
            _ => {
                let ends = |c: char| is_blank(c) || is_symbol(c) || matches!(c, '#' | '"' | '\'');
                let length = rest.find(ends).unwrap_or(rest.len());
                (&rest[..length], Quoted::No, length)
            }
        };
        let span = Span { file, start: start + at as u32, end: start + (at + length) as u32 };
        words.push(Word { text, quoted, span });
        rest = &rest[length..];
    }
}

#[cfg(test)]
mod tests {
    use super::{Quoted, Word, cut};

    fn texts(line: &str) -> Vec<(String, Quoted, u32, u32)> {
        let mut words: Vec<Word<'_>> = Vec::new();
        cut(line, 0, 100, &mut words);
        words
            .iter()
            .map(|word| (word.text.to_owned(), word.quoted, word.span.start, word.span.end))
            .collect()
    }

    #[test]
    fn words_quotes_symbols_and_comments() {
        assert_eq!(
            texts("  on wan\tport=22 by \"a # b\" # rest"),
            [
                ("on".to_owned(), Quoted::No, 102, 104),
                ("wan".to_owned(), Quoted::No, 105, 108),
                ("port".to_owned(), Quoted::No, 109, 113),
                ("=".to_owned(), Quoted::No, 113, 114),
                ("22".to_owned(), Quoted::No, 114, 116),
                ("by".to_owned(), Quoted::No, 117, 119),
                ("a # b".to_owned(), Quoted::Yes, 120, 127),
            ]
        );
        assert_eq!(texts("'open"), [("open".to_owned(), Quoted::Open, 100, 105)]);
        assert_eq!(texts("\"\""), [(String::new(), Quoted::Yes, 100, 102)]);
        assert_eq!(texts("# all of it"), []);
        assert_eq!(
            texts("ä\"ö"),
            [("ä".to_owned(), Quoted::No, 100, 102), ("ö".to_owned(), Quoted::Open, 102, 105),]
        );
    }
}
