//! What the side-by-side benchmarks are told on the command line.

/// How often and how long to measure, and whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rounds {
    /// Rounds; at least one.
    pub rounds: u32,
    /// Seconds a figure; at least one.
    pub seconds: u32,
    /// What is in the name of every contender that takes part.
    pub only: String,
}

impl Rounds {
    /// Reads `[--rounds N] [--seconds N] [--only WORD]`; what is not said stays as it is here. `None`
    /// if it says anything else.
    #[must_use]
    pub fn read(mut self, mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        while let Some(argument) = arguments.next() {
            let value = arguments.next()?;
            match argument.as_str() {
                "--rounds" => self.rounds = value.parse().ok()?,
                "--seconds" => self.seconds = value.parse().ok()?,
                "--only" => self.only = value,
                _ => return None,
            }
        }
        (self.rounds > 0 && self.seconds > 0).then_some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::Rounds;

    fn read(words: &str) -> Option<Rounds> {
        let usual = Rounds { rounds: 3, seconds: 2, only: String::new() };
        usual.read(words.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn what_is_not_said_stays_and_what_is_not_known_is_refused() {
        let told = Rounds { rounds: 5, seconds: 2, only: "xdp".to_owned() };
        assert_eq!(read("--rounds 5 --only xdp"), Some(told));
        for wrong in ["--rounds 0", "--seconds", "--seconds x", "--what 1"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
