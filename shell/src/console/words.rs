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
