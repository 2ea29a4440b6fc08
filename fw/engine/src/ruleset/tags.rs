//! The names of tags (`tag`, `tagged`) as small numbers, so that packets carry and rules compare two
//! bytes. `ether` rules and IP rules share them.

use std::collections::HashMap;

/// Every name that a rule set mentions.
#[derive(Debug, Default)]
pub(crate) struct TagNames {
    names: Vec<String>,
    numbers: HashMap<String, u16>,
    overflowed: bool,
}

impl TagNames {
    /// The most names a rule set can have.
    pub(crate) const MAX: usize = u16::MAX as usize;

    /// The number of a name, from 1; the same for the same name. Past [`TagNames::MAX`] names it is
    /// 0 and [`TagNames::overflowed`] is true: the rule set cannot run.
    pub(crate) fn intern(&mut self, name: &str) -> u16 {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let Ok(number) = u16::try_from(self.names.len() + 1) else {
            self.overflowed = true;
            return 0;
        };
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }

    /// Whether there were more names than numbers.
    pub(crate) const fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// The name of a number that [`TagNames::intern`] gave; empty for 0.
    pub(crate) fn name(&self, number: u16) -> &str {
        usize::from(number)
            .checked_sub(1)
            .and_then(|at| self.names.get(at))
            .map_or("", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::TagNames;

    #[test]
    fn a_name_has_one_number_and_a_number_one_name() {
        let mut tags = TagNames::default();
        assert_eq!([tags.intern("A"), tags.intern("B"), tags.intern("A")], [1, 2, 1]);
        assert_eq!([tags.name(0), tags.name(1), tags.name(2), tags.name(3)], ["", "A", "B", ""]);
    }

    #[test]
    fn too_many_names_are_noticed() {
        let mut tags = TagNames::default();
        for i in 1..=TagNames::MAX {
            assert_eq!(usize::from(tags.intern(&i.to_string())), i);
        }
        assert!(!tags.overflowed());
        assert_eq!(tags.intern("7"), 7);
        assert_eq!(tags.intern("one more"), 0);
        assert!(tags.overflowed());
    }
}
