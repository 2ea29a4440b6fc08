//! What a command looks like: `table TABLE add ADDRESS...`, read once into its places.
//!
//! Words in lower case are typed as they are, or cut short as long as no other word fits the place.
//! Words in capitals name an argument and say what it is ([`Kind`]); the last may be optional
//! (`[FILE]`), or stand for one or more (`ADDRESS...`), or both (`[FILTER...]`).

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

/// What an argument is, by its name in the pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `ADDRESS`, `FROM`, `TO`: an address or prefix, `!` before it where tables take that.
    Address,
    /// `TABLE`: the name of a table; `<bad>` is read as `bad`.
    Table,
    /// `LABEL`: the label of a rule.
    Label,
    /// `ANCHOR`: the path of an anchor.
    Anchor,
    /// `ID`: the id of a state, in hexadecimal.
    Id,
    /// `N`, `SECONDS`: a number.
    Number,
    /// `TIME`: a span of time, as in `5m` or `90`.
    Time,
    /// `DATE`: a day, as in `2026-11-23`.
    Date,
    /// `CLOCK`: a time of the day, as in `12:30`.
    Clock,
    /// `PORT`: `lan`, `wan` or the interface behind it.
    Port,
    /// `NIC`: an interface of this machine.
    Nic,
    /// `A`, `B`: a rule set: the number of a load, `running`, `file`, or the path of a rule file.
    RuleSet,
    /// `KEY`: a key of the settings file, as in `ports.wan`.
    Key,
    /// `FILE`: the path of a file.
    File,
    /// `WHICH`: criteria of states ([`crate::query`]).
    Which,
    /// `WHOSE`: criteria of sources.
    Whose,
    /// `VALUE`, `TEXT`, `PACKET`, `FILTER`, `COMMAND`: words that others read.
    Words,
}

impl Kind {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "ADDRESS" | "FROM" | "TO" => Self::Address,
            "TABLE" => Self::Table,
            "LABEL" => Self::Label,
            "ANCHOR" => Self::Anchor,
            "ID" => Self::Id,
            "N" | "SECONDS" => Self::Number,
            "TIME" => Self::Time,
            "DATE" => Self::Date,
            "CLOCK" => Self::Clock,
            "PORT" => Self::Port,
            "NIC" => Self::Nic,
            "A" | "B" => Self::RuleSet,
            "KEY" => Self::Key,
            "FILE" => Self::File,
            "WHICH" => Self::Which,
            "WHOSE" => Self::Whose,
            "VALUE" | "TEXT" | "PACKET" | "FILTER" | "COMMAND" => Self::Words,
            _ => return None,
        })
    }

    /// What is to be typed, for messages.
    pub(crate) const fn description(self) -> &'static str {
        match self {
            Self::Address => "an address or network",
            Self::Table => "the name of a table",
            Self::Label => "the label of a rule",
            Self::Anchor => "the path of an anchor",
            Self::Id => "the id of a state",
            Self::Number => "a number",
            Self::Time => "a time, as in 90 or 5m",
            Self::Date => "a day, as in 2026-11-23",
            Self::Clock => "a time of the day, as in 12:30 or 12:30:15",
            Self::Port => "lan, wan or an interface of the bridge",
            Self::Nic => "an interface",
            Self::RuleSet => "a load's number, running, file, or a path",
            Self::Key => "a key of the settings",
            Self::File => "a file",
            Self::Which => "criteria (`show states ?` lists them)",
            Self::Whose => "criteria (`show sources ?` lists them)",
            Self::Words => "words",
        }
    }

    /// Whether nothing but such an argument looks like it, so that a word that begins alike does not
    /// matter.
    pub(crate) const fn is_strict(self) -> bool {
        matches!(self, Self::Address | Self::Number | Self::Time | Self::Id)
    }

    /// Whether a word can be one.
    pub(crate) fn accepts(self, word: &str) -> bool {
        match self {
            Self::Address => {
                let plain = word.strip_prefix('!').unwrap_or(word);
                plain.parse::<IpAddr>().is_ok() || plain.parse::<IpNet>().is_ok()
            }
            Self::Number => word.parse::<u64>().is_ok(),
            Self::Time => seconds(word).is_some(),
            Self::Date => numbers(word, '-').is_some_and(|count| count == 3),
            Self::Clock => numbers(word, ':').is_some_and(|count| matches!(count, 2 | 3)),
            Self::Id => !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_hexdigit()),
            Self::Words | Self::Which | Self::Whose => true,
            // None of these begins like an option of the command that takes it.
            _ => !word.is_empty() && !word.starts_with('-'),
        }
    }
}

impl Kind {
    /// The argument as it is meant: a table without the brackets that rules write around it.
    pub(crate) fn cleaned(self, word: &str) -> &str {
        let bare = word.strip_prefix('<').and_then(|word| word.strip_suffix('>'));
        bare.filter(|_| self == Self::Table).unwrap_or(word)
    }
}

/// How many numbers a word has, with this between each two.
fn numbers(word: &str, between: char) -> Option<usize> {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    word.split(between).all(is_number).then(|| word.split(between).count())
}

/// A time in seconds: `90`, `90s`, `5m`, `2h`, `1d`.
pub(crate) fn seconds(text: &str) -> Option<u32> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    digits.parse::<u32>().ok()?.checked_mul(unit)
}

/// One place of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A word.
    Word(&'static str),
    /// An argument.
    Argument(Argument),
}

/// A place for an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Argument {
    /// As the pattern names it.
    pub(crate) name: &'static str,
    /// What it is.
    pub(crate) kind: Kind,
    /// It may be left out.
    pub(crate) optional: bool,
    /// Any number of them.
    pub(crate) many: bool,
}

/// As the pattern writes it.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Argument { name, optional, many, .. } = match self {
            Self::Word(word) => return f.write_str(word),
            Self::Argument(argument) => argument,
        };
        let dots = if *many { "..." } else { "" };
        if *optional { write!(f, "[{name}{dots}]") } else { write!(f, "{name}{dots}") }
    }
}

/// The places of a pattern; `None` if it is none.
pub(crate) fn read(pattern: &'static str) -> Option<Vec<Place>> {
    let mut places = Vec::new();
    for word in pattern.split(' ') {
        if word.starts_with(|first: char| first.is_ascii_lowercase()) {
            places.push(Place::Word(word));
            continue;
        }
        let (inner, optional) = match word.strip_prefix('[') {
            Some(rest) => (rest.strip_suffix(']')?, true),
            None => (word, false),
        };
        let (name, many) = match inner.strip_suffix("...") {
            Some(name) => (name, true),
            None => (inner, false),
        };
        let kind = Kind::named(name)?;
        places.push(Place::Argument(Argument { name, kind, optional, many }));
    }
    let open = |place: &Place| matches!(place, Place::Argument(it) if it.optional || it.many);
    // What may be left out or repeated is the last.
    let (_, before) = places.split_last()?;
    if before.iter().any(open) { None } else { Some(places) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_read_and_written() {
        for pattern in ["show states [FILTER...]", "table TABLE add ADDRESS...", "load [FILE]"] {
            let places = read(pattern).expect(pattern);
            let written: Vec<_> = places.iter().map(ToString::to_string).collect();
            assert_eq!(written.join(" "), pattern);
        }
        for wrong in ["", "show THING", "load [FILE", "kill [FROM] TO", "add ADDRESS... now"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn times_are_said_in_units() {
        for (text, expected) in
            [("90", 90), ("90s", 90), ("5m", 300), ("2h", 7200), ("1d", 86_400), ("0", 0)]
        {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        for wrong in ["", "m", "5w", "5 m", "-1", "1.5h", "4294967295m"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn arguments_are_told_apart() {
        assert!(Kind::Address.accepts("192.0.2.0/24") && Kind::Address.accepts("!2001:db8::1"));
        assert!(!Kind::Address.accepts("label") && !Kind::Address.accepts("192.0.2"));
        assert!(Kind::Id.accepts("00a1") && !Kind::Id.accepts("xyz"));
        assert!(!Kind::Table.accepts("-f"), "no argument is taken for an option");
    }
}
