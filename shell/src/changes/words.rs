//! The words of `weir history`, `weir commit`, `weir confirm` and `weir rollback`, which the
//! interactive shell has, too.

use crate::protocol::{MAX_COMMENT, MAX_CONFIRM_SECONDS, Terms};

/// How long a change waits to be confirmed if nobody says, in seconds.
pub const CONFIRM_SECONDS: u32 = 600;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `history`, `history list`.
    List,
    /// `history show N [FILE]`.
    Show {
        /// Which rule set.
        side: Side,
        /// The text of this file of it alone.
        file: Option<String>,
    },
    /// `history diff [A [B]]`.
    Diff {
        /// The old one.
        from: Side,
        /// The new one.
        to: Side,
    },
    /// `commit [confirmed [TIME]] [force] [FILE] [comment ...]`.
    Commit {
        /// The rule file; the one that the daemon starts from if none is named.
        file: Option<String>,
        /// How.
        terms: Terms,
    },
    /// `confirm [N]`.
    Confirm {
        /// Which; whichever waits if none is named.
        number: Option<u64>,
    },
    /// `rollback [N] [confirmed [TIME]] [force] [comment ...]`.
    Rollback {
        /// To which; to the one before if none is named.
        number: Option<u64>,
        /// How.
        terms: Terms,
    },
}

/// A rule set to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Side {
    /// `running`.
    Running,
    /// `file`: the rule file that the daemon starts from.
    RuleFile,
    /// A load of the history.
    Number(u64),
    /// A rule file by its path.
    Path(String),
}

impl Action {
    /// The words of `history`.
    ///
    /// # Errors
    /// In words.
    pub fn history(words: &[&str]) -> Result<Self, String> {
        match words {
            [] | ["list"] => Ok(Self::List),
            ["show"] => Ok(Self::Show { side: Side::Running, file: None }),
            ["show", side] => Ok(Self::Show { side: Side::read(side), file: None }),
            ["show", side, file] => {
                Ok(Self::Show { side: Side::read(side), file: Some((*file).to_owned()) })
            }
            ["diff"] => Ok(Self::Diff { from: Side::Running, to: Side::RuleFile }),
            ["diff", from] => Ok(Self::Diff { from: Side::read(from), to: Side::Running }),
            ["diff", from, to] => Ok(Self::Diff { from: Side::read(from), to: Side::read(to) }),
            [other, ..] => Err(format!(
                "`{other}`: expected list, show [N [FILE]] or diff [A [B]], where A and B are numbers, \
                 running, file or the path of a rule file"
            )),
        }
    }

    /// The words of `commit`.
    ///
    /// # Errors
    /// In words.
    pub fn commit(words: &[&str]) -> Result<Self, String> {
        let (plain, terms) = terms(words)?;
        match plain[..] {
            [] => Ok(Self::Commit { file: None, terms }),
            [file] => Ok(Self::Commit { file: Some(file.to_owned()), terms }),
            [_, other, ..] => Err(format!("`{other}`: one rule file is committed at a time")),
        }
    }

    /// The words of `rollback`.
    ///
    /// # Errors
    /// In words.
    pub fn rollback(words: &[&str]) -> Result<Self, String> {
        let (plain, terms) = terms(words)?;
        match plain[..] {
            [] => Ok(Self::Rollback { number: None, terms }),
            [word] => Ok(Self::Rollback { number: Some(number(word)?), terms }),
            [_, other, ..] => Err(format!("`{other}`: one load is gone back to")),
        }
    }

    /// The words of `confirm`.
    ///
    /// # Errors
    /// In words.
    pub fn confirm(words: &[&str]) -> Result<Self, String> {
        match words {
            [] => Ok(Self::Confirm { number: None }),
            [word] => Ok(Self::Confirm { number: Some(number(word)?) }),
            [_, other, ..] => Err(format!("`{other}`: there is only one change to confirm")),
        }
    }
}

fn number(word: &str) -> Result<u64, String> {
    let number = word.parse().ok().filter(|&number: &u64| number > 0);
    number.ok_or_else(|| format!("`{word}`: expected the number of a load (`weir history`)"))
}

impl Side {
    fn read(word: &str) -> Self {
        match word {
            "running" => Self::Running,
            "file" => Self::RuleFile,
            _ => word.parse().map_or_else(|_| Self::Path(word.to_owned()), Self::Number),
        }
    }
}

/// Takes the terms out of the words; what is left of them.
fn terms<'w>(words: &[&'w str]) -> Result<(Vec<&'w str>, Terms), String> {
    let mut terms = Terms::default();
    let mut plain = Vec::new();
    let mut rest = words;
    while let [word, after @ ..] = rest {
        rest = after;
        match *word {
            "force" => terms.force = true,
            "confirmed" => {
                terms.confirm = Some(CONFIRM_SECONDS);
                if let [time, after @ ..] = rest
                    && time.starts_with(|first: char| first.is_ascii_digit())
                {
                    terms.confirm = Some(seconds(time)?);
                    rest = after;
                }
            }
            "comment" => {
                terms.comment = rest.join(" ");
                if terms.comment.is_empty() || terms.comment.len() > MAX_COMMENT {
                    return Err(format!("a comment has 1 to {MAX_COMMENT} bytes"));
                }
                rest = &[];
            }
            word => plain.push(word),
        }
    }
    Ok((plain, terms))
}

/// `300`, `90s`, `5m`, `1h`.
fn seconds(text: &str) -> Result<u32, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b's') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 60),
        Some(b'h') => (&text[..text.len() - 1], 3600),
        _ => (text, 1),
    };
    let wrong = || {
        format!(
            "`{text}`: a change waits 1 to {MAX_CONFIRM_SECONDS} seconds to be confirmed, as in 90s, 5m \
             or 1h"
        )
    };
    let number: u32 = digits.parse().map_err(|_| wrong())?;
    number
        .checked_mul(unit)
        .filter(|seconds| (1..=MAX_CONFIRM_SECONDS).contains(seconds))
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::{Action, CONFIRM_SECONDS, Side};
    use crate::protocol::Terms;

    fn commit(line: &str) -> Result<Action, String> {
        Action::commit(&line.split_whitespace().collect::<Vec<_>>())
    }

    #[test]
    fn commits_are_read() {
        let terms =
            |comment: &str, confirm, force| Terms { comment: comment.into(), confirm, force };
        for (line, file, wanted) in [
            ("", None, terms("", None, false)),
            ("x.conf", Some("x.conf"), terms("", None, false)),
            ("confirmed", None, terms("", Some(CONFIRM_SECONDS), false)),
            ("confirmed 5m", None, terms("", Some(300), false)),
            ("confirmed 90 x.conf force", Some("x.conf"), terms("", Some(90), true)),
            ("confirmed x.conf", Some("x.conf"), terms("", Some(CONFIRM_SECONDS), false)),
            ("x comment force it in", Some("x"), terms("force it in", None, false)),
            ("force confirmed 1h comment a", None, terms("a", Some(3600), true)),
        ] {
            let file = file.map(str::to_owned);
            assert_eq!(commit(line), Ok(Action::Commit { file, terms: wanted }), "{line}");
        }
        for line in [
            "a b",
            "confirmed 0",
            "confirmed 25h",
            "confirmed 5x",
            "comment",
            "confirmed 9999999999h",
        ] {
            assert!(commit(line).is_err(), "{line}");
        }
    }

    #[test]
    fn the_history_is_asked_in_words() {
        let read = |line: &str| Action::history(&line.split_whitespace().collect::<Vec<_>>());
        assert_eq!(read(""), read("list"));
        assert_eq!(read("diff"), Ok(Action::Diff { from: Side::Running, to: Side::RuleFile }));
        assert_eq!(
            read("diff 3 ./4"),
            Ok(Action::Diff { from: Side::Number(3), to: Side::Path("./4".into()) })
        );
        assert_eq!(read("diff 3"), Ok(Action::Diff { from: Side::Number(3), to: Side::Running }));
        assert!(read("dif").is_err() && read("diff 1 2 3").is_err());
        let rollback = |line: &str| Action::rollback(&line.split_whitespace().collect::<Vec<_>>());
        assert!(matches!(
            rollback("12 confirmed 5m"),
            Ok(Action::Rollback { number: Some(12), .. })
        ));
        assert!(rollback("0").is_err() && rollback("x").is_err() && rollback("1 2").is_err());
        assert_eq!(Action::confirm(&["1"]), Ok(Action::Confirm { number: Some(1) }));
        assert_eq!(Action::confirm(&[]), Ok(Action::Confirm { number: None }));
        assert!(Action::confirm(&["now"]).is_err() && Action::confirm(&["1", "2"]).is_err());
    }
}
