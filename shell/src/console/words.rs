//! A line typed at the prompt, cut into words.

/// A word and where it begins in the line, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    /// Without quotation marks.
    pub(crate) text: String,
    /// Where it begins, its quotation mark included.
    pub(crate) start: usize,
}

/// A line that ends inside quotation marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unclosed;

/// A command as it was typed.
#[derive(Clone, Debug)]
pub(crate) struct Typed {
    line: String,
    starts: Vec<usize>,
    /// Without quotation marks.
    pub(crate) words: Vec<String>,
}

impl Typed {
    /// A line.
    pub(crate) fn read(line: &str) -> Result<Self, Unclosed> {
        let (starts, words) = split(line)?.into_iter().map(|word| (word.start, word.text)).unzip();
        Ok(Self { line: line.trim_end().to_owned(), starts, words })
    }

    /// Words that somebody else has cut.
    pub(crate) fn given(words: &[String]) -> Self {
        let mut typed = Self { line: String::new(), starts: Vec::new(), words: words.to_vec() };
        for word in words {
            typed.line += if typed.starts.is_empty() { "" } else { " " };
            typed.starts.push(typed.line.len());
            typed.line += word;
        }
        typed
    }

    /// What was typed from a word on, quotation marks and all; nothing if there are fewer.
    pub(crate) fn rest(&self, from: usize) -> &str {
        self.starts.get(from).map_or("", |&start| &self.line[start..])
    }
}

/// Cuts a line at its blanks; `'` and `"` keep what is between them together. A line that begins
/// with `#` is a comment.
pub(crate) fn split(line: &str) -> Result<Vec<Word>, Unclosed> {
    let mut words: Vec<Word> = Vec::new();
    let mut quote = None;
    let mut inside = false;
    if line.trim_start().starts_with('#') {
        return Ok(words);
    }
    for (at, letter) in line.char_indices() {
        if quote == Some(letter) {
            quote = None;
            continue;
        }
        if quote.is_none() && letter.is_whitespace() {
            inside = false;
            continue;
        }
        if !inside {
            inside = true;
            words.push(Word { text: String::new(), start: at });
        }
        if quote.is_none() && matches!(letter, '"' | '\'') {
            quote = Some(letter);
        } else if let Some(word) = words.last_mut() {
            word.text.push(letter);
        }
    }
    if quote.is_some() { Err(Unclosed) } else { Ok(words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &str) -> Vec<String> {
        split(line).unwrap().into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn quotation_marks_stay_in_what_others_read() {
        let typed = Typed::read(" set log.syslog  [\"a b\", 'c'] ").unwrap();
        assert_eq!(typed.words, ["set", "log.syslog", "[a b,", "c]"]);
        assert_eq!((typed.rest(2), typed.rest(9)), ("[\"a b\", 'c']", ""));
        let given = Typed::given(&["set".into(), "key".into(), "\"a  b\"".into()]);
        assert_eq!((given.rest(2), given.words.len()), ("\"a  b\"", 3));
    }

    #[test]
    fn blanks_part_and_quotation_marks_join() {
        assert_eq!(texts("  show\tstates "), ["show", "states"]);
        assert_eq!(texts("set log \"a b\"'c'"), ["set", "log", "a bc"]);
        assert_eq!(texts("label ''"), ["label", ""]);
        assert_eq!(texts("a \"it's\""), ["a", "it's"]);
        assert!(texts("").is_empty() && texts(" # show states").is_empty());
        assert_eq!(split("say \"a b"), Err(Unclosed));
        assert_eq!(split("a  'b'").unwrap()[1], Word { text: "b".into(), start: 3 });
    }
}
