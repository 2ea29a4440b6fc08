//! Which command a line means: all patterns are walked at once, a word at a time.

use std::fmt;

use super::pattern::{Argument, Place};
use super::tree::{Entry, Tree};

/// What is typed, found in the tree.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    /// The command.
    pub(crate) entry: &'static Entry,
    /// Its arguments by the names that the pattern has for them.
    pub(crate) arguments: Vec<(&'static str, String)>,
}

impl Resolved {
    /// All values of an argument, in order.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.arguments.iter().filter(move |(its, _)| *its == name).map(|(_, value)| &**value)
    }
}

/// Why a line is no command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// Several words begin like that.
    Ambiguous {
        /// What was typed.
        word: String,
        /// What it may be.
        among: Vec<&'static str>,
    },
    /// Several commands fit, since words were cut too short.
    Several {
        /// Two of them.
        among: [&'static str; 2],
    },
    /// Nothing fits.
    Unknown {
        /// What was typed.
        word: String,
        /// What could stand there.
        expected: Vec<Place>,
    },
    /// Something is missing.
    Incomplete {
        /// What could follow.
        expected: Vec<Place>,
    },
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ambiguous { word, among } => {
                write!(f, "`{}` may be {}", word.escape_debug(), among.join(", "))
            }
            Self::Several { among: [one, other] } => {
                write!(f, "it may be `{one}` or `{other}`")
            }
            Self::Unknown { word, expected } if expected.is_empty() => {
                write!(f, "nothing is expected at `{}`", word.escape_debug())
            }
            Self::Unknown { word, expected } => {
                write!(f, "unknown word `{}`: expected {}", word.escape_debug(), Expected(expected))
            }
            Self::Incomplete { expected } => write!(f, "expected {}", Expected(expected)),
        }
    }
}

/// What could stand in a place, in words.
struct Expected<'a>(&'a [Place]);

impl fmt::Display for Expected<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, place) in self.0.iter().enumerate() {
            f.write_str(match i {
                0 => "",
                _ if i + 1 == self.0.len() => " or ",
                _ => ", ",
            })?;
            match place {
                Place::Word(word) => f.write_str(word)?,
                Place::Argument(it) => write!(f, "{} ({})", it.name, it.kind.description())?,
            }
        }
        Ok(())
    }
}

/// A pattern that fits so far.
#[derive(Clone, Debug)]
struct Alive {
    entry: &'static Entry,
    places: &'static [Place],
    /// The place that comes next.
    next: usize,
    /// The last argument was given, and may be again.
    repeats: bool,
    arguments: Vec<(&'static str, String)>,
}

/// Where a line has come to.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    alive: Vec<Alive>,
    /// The last word may be several.
    unclear: Option<Mistake>,
    /// The first word that may have been several when it was taken.
    vague: Option<Mistake>,
}

impl Walk {
    /// Before the first word.
    pub(crate) fn new(tree: &'static Tree) -> Self {
        let alive = tree.entries().map(|(entry, places)| Alive {
            entry,
            places,
            next: 0,
            repeats: false,
            arguments: Vec::new(),
        });
        Self { alive: alive.collect(), unclear: None, vague: None }
    }

    /// What could come next, each once, in the order of the tree.
    pub(crate) fn expected(&self) -> Vec<Place> {
        let mut found: Vec<Place> = Vec::new();
        for place in self.alive.iter().filter_map(Alive::place) {
            if !found.contains(&place) {
                found.push(place);
            }
        }
        found
    }

    /// What was given for an argument so far.
    pub(crate) fn given(&self, name: &str) -> Vec<&str> {
        let pattern = self.alive.iter().find(|pattern| {
            pattern
                .place()
                .is_some_and(|place| matches!(place, Place::Argument(it) if it.name == name))
        });
        let arguments = pattern.map_or(&[][..], |pattern| &pattern.arguments);
        arguments.iter().filter(|(its, _)| *its == name).map(|(_, value)| &**value).collect()
    }

    /// The commands that still fit.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &'static Entry> {
        self.alive.iter().map(|pattern| pattern.entry)
    }

    /// Takes a word. Where it may be several, all are followed: what comes next may tell.
    pub(crate) fn take(&mut self, word: &str) -> Result<(), Mistake> {
        let chosen = self.choose(word)?;
        self.unclear = match &chosen {
            Choice::Words(among) if among.len() > 1 => {
                Some(Mistake::Ambiguous { word: word.into(), among: among.clone() })
            }
            _ => None,
        };
        self.vague = self.vague.take().or_else(|| self.unclear.clone());
        let alive = std::mem::take(&mut self.alive).into_iter();
        self.alive = alive.filter_map(|pattern| pattern.taking(word, &chosen)).collect();
        Ok(())
    }

    /// Takes a word of a pattern as help writes it: the name of an argument stands for one.
    pub(crate) fn take_as_written(&mut self, word: &str) -> Result<(), Mistake> {
        let named = |pattern: &Alive| matches!(pattern.place(), Some(Place::Argument(it)) if it.name == word);
        if !self.alive.iter().any(named) {
            return self.take(word);
        }
        self.alive.retain(named);
        for pattern in &mut self.alive {
            pattern.next += 1;
        }
        self.unclear = None;
        Ok(())
    }

    fn choose(&self, word: &str) -> Result<Choice, Mistake> {
        let expected = self.expected();
        let words = expected.iter().filter_map(|place| match place {
            Place::Word(word) => Some(*word),
            Place::Argument(_) => None,
        });
        let accepting = |strict: bool| {
            expected.iter().any(|place| {
                matches!(place, Place::Argument(it)
                    if it.kind.is_strict() == strict && it.kind.accepts(word))
            })
        };
        let begun: Vec<_> =
            words.filter(|known| !word.is_empty() && known.starts_with(word)).collect();
        if let Some(exact) = begun.iter().find(|known| **known == word) {
            return Ok(Choice::Words(vec![exact]));
        }
        if accepting(true) {
            return Ok(Choice::Argument { strict: true });
        }
        if !begun.is_empty() {
            return Ok(Choice::Words(begun));
        }
        if accepting(false) {
            return Ok(Choice::Argument { strict: false });
        }
        Err(Mistake::Unknown { word: word.into(), expected })
    }

    /// The command, if the line ends here.
    pub(crate) fn finish(mut self) -> Result<Resolved, Mistake> {
        // The last word must be clear by itself: that it could be a whole command is not enough.
        if let Some(mistake) = self.unclear {
            return Err(mistake);
        }
        let expected = self.expected();
        self.alive.retain(Alive::is_complete);
        let mut complete = self.alive.into_iter();
        match (complete.next(), complete.next()) {
            (Some(Alive { entry, arguments, .. }), None) => match self.vague {
                // What changes something is never guessed.
                Some(mistake) if !entry.is_listing() => Err(mistake),
                _ => Ok(Resolved { entry, arguments }),
            },
            (None, _) => Err(Mistake::Incomplete { expected }),
            (Some(one), Some(other)) => {
                Err(Mistake::Several { among: [one.entry.pattern, other.entry.pattern] })
            }
        }
    }
}

/// What a word is.
enum Choice {
    /// One of these.
    Words(Vec<&'static str>),
    Argument {
        strict: bool,
    },
}

impl Alive {
    /// What comes next.
    fn place(&self) -> Option<Place> {
        self.places.get(self.next).copied()
    }

    fn is_complete(&self) -> bool {
        match self.place() {
            None => true,
            Some(Place::Argument(Argument { optional, .. })) => optional || self.repeats,
            Some(Place::Word(_)) => false,
        }
    }

    fn taking(mut self, word: &str, chosen: &Choice) -> Option<Self> {
        match (self.place()?, chosen) {
            (Place::Word(known), Choice::Words(chosen)) if chosen.contains(&known) => {
                self.next += 1;
            }
            (Place::Argument(it), Choice::Argument { strict })
                if it.kind.is_strict() == *strict && it.kind.accepts(word) =>
            {
                self.arguments.push((it.name, it.kind.cleaned(word).to_owned()));
                self.repeats = it.many;
                self.next += usize::from(!it.many);
            }
            _ => return None,
        }
        Some(self)
    }
}

/// Finds the command of a whole line.
pub(crate) fn resolve<'a>(
    tree: &'static Tree,
    words: impl IntoIterator<Item = &'a str>,
) -> Result<Resolved, Mistake> {
    let mut walk = Walk::new(tree);
    for word in words {
        walk.take(word)?;
    }
    walk.finish()
}
