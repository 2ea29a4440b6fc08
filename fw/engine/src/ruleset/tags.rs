//! The tags that rules give and ask for, as numbers.

use std::collections::HashMap;

/// Tag names in the order of their numbers, which begin with 1; 0 is no tag.
#[derive(Clone, Debug, Default)]
pub(crate) struct TagNames {
    names: Vec<String>,
    numbers: HashMap<String, u16>,
}

impl TagNames {
    /// The most tags that there can be.
    pub(crate) const MAX: usize = u16::MAX as usize - 1;

    /// The number of a tag, a new one at its first time; `None` past [`TagNames::MAX`].
    pub(crate) fn intern(&mut self, name: &str) -> Option<u16> {
        if let Some(&number) = self.numbers.get(name) {
            return Some(number);
        }
        if self.names.len() == Self::MAX {
            return None;
        }
        self.names.push(name.to_owned());
        let number = self.names.len() as u16;
        self.numbers.insert(name.to_owned(), number);
        Some(number)
    }

    /// The number of a tag that some rule names.
    pub(crate) fn number(&self, name: &str) -> Option<u16> {
        self.numbers.get(name).copied()
    }

    /// The name behind a number; `None` for 0.
    pub(crate) fn name(&self, number: u16) -> Option<&str> {
        self.names.get(usize::from(number.checked_sub(1)?)).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::TagNames;

    #[test]
    fn a_name_has_one_number_and_a_number_one_name() {
        let mut tags = TagNames::default();
        assert_eq!(["A", "B", "A"].map(|name| tags.intern(name)), [Some(1), Some(2), Some(1)]);
        assert_eq!([0, 1, 2, 3].map(|n| tags.name(n)), [None, Some("A"), Some("B"), None]);
        assert_eq!((tags.number("B"), tags.number("C")), (Some(2), None));
    }

    #[test]
    fn there_are_no_more_names_than_numbers() {
        let mut tags = TagNames::default();
        for i in 1..=TagNames::MAX {
            assert_eq!(tags.intern(&i.to_string()).map(usize::from), Some(i));
        }
        assert_eq!(tags.intern("one more"), None);
        assert_eq!(tags.intern("7"), Some(7));
    }
}
