//! Lists of processors as the kernel writes them: `0-3,8,10-11` (cpu lists of cpuset(7)).

use std::collections::BTreeSet;

/// More processors than any kernel has (`NR_CPUS`, 8,192), so that a bad list allocates little.
const MOST: u32 = 1 << 16;

/// The numbers of a list. What is no number is left out.
pub(crate) fn parse(text: &str) -> BTreeSet<u32> {
    let mut set = BTreeSet::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.trim().parse::<u32>(), last.trim().parse::<u32>())
            && last < MOST
        {
            set.extend(first..=last);
        }
    }
    set
}

/// The list of some numbers, which rise.
pub(crate) fn write(numbers: impl IntoIterator<Item = u32>) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, last)) if number == *last + 1 => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let runs = runs.into_iter().map(|(first, last)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    });
    runs.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_written() {
        for text in ["0", "0-1", "0-3,8,10-11", "5,7,9"] {
            assert_eq!(write(parse(text)), text);
        }
        assert_eq!(write(parse("3,1,2\n")), "1-3");
        assert_eq!(parse("\n"), BTreeSet::new());
        assert_eq!(parse("(null),x-3,4294967295,0-99999999"), BTreeSet::new());
    }
}
