//! Which rules of a program were in the program before it. The control thread finds out when it
//! compiles, so that a worker that takes the program up has only runs of numbers to move.

use std::collections::HashMap;
use std::hash::Hash;

/// Rules with numbers that follow each other in both programs, or rules that are new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// How many rules.
    pub(crate) length: u32,
    /// The number of the first in the program before; `None` if they are new.
    pub(crate) old: Option<u32>,
}

/// The rules of a program, by those of the program before it.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    /// All rules of the program, in order.
    pub(crate) runs: Vec<Run>,
    /// Numbers of the rules before that are not in the program, ascending.
    pub(crate) gone: Vec<u32>,
}

impl Carried {
    /// Compares what tells rules apart; neither list has anything twice.
    pub(crate) fn new<I: Eq + Hash>(now: &[I], before: &[I]) -> Self {
        let mut known: HashMap<&I, u32> = before.iter().zip(0..).collect();
        let mut carried = Self::default();
        for identity in now {
            carried.add(known.remove(identity), 1);
        }
        carried.gone = known.into_values().collect();
        carried.gone.sort_unstable();
        carried
    }

    /// All rules are new, and none of so many before is left.
    pub(crate) fn nothing(now: u32, before: u32) -> Self {
        Self { runs: vec![Run { length: now, old: None }], gone: (0..before).collect() }
    }

    fn add(&mut self, old: Option<u32>, length: u32) {
        if let Some(run) = self.runs.last_mut()
            && run.old.map(|first| first + run.length) == old
        {
            run.length += length;
            return;
        }
        self.runs.push(Run { length, old });
    }
}

#[cfg(test)]
mod tests {
    use super::{Carried, Run};

    #[test]
    fn runs_are_as_long_as_they_can_be() {
        let carried =
            Carried::new(&["a", "b", "x", "y", "d", "e", "c"], &["a", "b", "c", "d", "e", "f"]);
        let run = |length, old| Run { length, old };
        assert_eq!(carried.runs, [run(2, Some(0)), run(2, None), run(2, Some(3)), run(1, Some(2))]);
        assert_eq!(carried.gone, [5]);
        let same = Carried::new(&[1, 2, 3], &[1, 2, 3]);
        assert_eq!((&*same.runs, &*same.gone), (&[run(3, Some(0))][..], &[][..]));
        assert_eq!(Carried::nothing(2, 3).gone, [0, 1, 2]);
    }
}
