//! Numbers and curves in few columns.

/// Bars of a curve from nothing to most, for terminals that know Unicode and for others.
const BARS: [&[char]; 2] = [
    &[' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'],
    &[' ', '.', ':', '-', '=', '+', '*', '#', '@'],
];

/// A number in at most five columns: `999`, `1.2k`, `34.5k`, `678k`, `9.1M`.
#[expect(clippy::cast_precision_loss, reason = "three digits of it are shown")]
pub(super) fn short(number: u64) -> String {
    if number < 1000 {
        return number.to_string();
    }
    let mut scaled = number as f64;
    for unit in ["k", "M", "G", "T", "P", "E"] {
        scaled /= 1000.0;
        if scaled < 99.95 {
            return format!("{scaled:.1}{unit}");
        }
        if scaled < 999.5 || unit == "E" {
            return format!("{scaled:.0}{unit}");
        }
    }
    number.to_string()
}

/// A time in at most eight columns: `59s`, `12m34s`, `23h59m`, `12d03h`.
pub(super) fn time(seconds: u64) -> String {
    match seconds {
        0..=59 => format!("{seconds}s"),
        60..=3599 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..=86_399 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// The last values as a curve of so many columns; its full height is the largest of them.
pub(super) fn curve<'a>(
    values: impl DoubleEndedIterator<Item = &'a u64> + Clone,
    columns: usize,
    unicode: bool,
) -> String {
    let bars = BARS[usize::from(!unicode)];
    let shown = values.rev().take(columns);
    let most = shown.clone().copied().max().unwrap_or(0).max(1);
    let steps = bars.len() as u64 - 1;
    let text: Vec<char> = shown
        .map(|&value| {
            // What is not nothing is seen.
            let height = (u128::from(value) * u128::from(steps)).div_ceil(u128::from(most));
            bars[height as usize]
        })
        .collect();
    text.into_iter().rev().collect()
}

/// Cut to so many columns, with a mark where something is missing.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let mut kept: String = text.chars().take(columns.saturating_sub(1)).collect();
    if columns > 0 {
        kept.push('>');
    }
    kept
}

/// Cut in the middle: of addresses in one network the ends tell them apart.
pub(super) fn squeezed(text: &str, columns: usize) -> String {
    let length = text.chars().count();
    if length <= columns || columns < 4 {
        return cut(text, columns);
    }
    let behind = (columns - 2) / 2;
    let before: String = text.chars().take(columns - 2 - behind).collect();
    let behind: String = text.chars().skip(length - behind).collect();
    format!("{before}..{behind}")
}

/// In rows of at most so many columns, broken at spaces where there are some.
pub(super) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut rows: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match rows.last_mut() {
            Some(row) if row.chars().count() + 1 + word.chars().count() <= columns => {
                row.push(' ');
                row.push_str(word);
            }
            _ => rows.push(word.to_owned()),
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::{curve, cut, short, squeezed, time, wrapped};

    #[test]
    fn both_ends_of_an_address_are_seen() {
        assert_eq!(squeezed("2001:db8::1234:5678", 10), "2001..5678");
        assert_eq!(squeezed("2001:db8::1234:5678", 11), "2001:..5678");
        assert_eq!((squeezed("abcd", 4), squeezed("abcdef", 3)), ("abcd".into(), "ab>".into()));
    }

    #[test]
    fn long_texts_are_broken_at_spaces() {
        assert_eq!(wrapped("ab cd efghi j", 5), ["ab cd", "efghi", "j"]);
        assert_eq!(wrapped("abcdef g", 3), ["abcdef", "g"], "to be cut");
    }

    #[test]
    fn numbers_take_few_columns() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1.0k"),
            (34_520, "34.5k"),
            (99_949, "99.9k"),
            (99_950, "100k"),
            (999_499, "999k"),
            (999_500, "1.0M"),
            (14_880_000, "14.9M"),
            (u64::MAX, "18.4E"),
        ] {
            assert_eq!(short(number), text);
            assert!(short(number).len() <= 5);
        }
        for (seconds, text) in
            [(59, "59s"), (754, "12m34s"), (86_399, "23h59m"), (1_047_600, "12d03h")]
        {
            assert_eq!(time(seconds), text);
        }
    }

    #[test]
    fn curves_show_the_latest_values() {
        let values = [9, 0, 1, 4, 8];
        assert_eq!(curve(values.iter(), 4, false), " .=@");
        assert_eq!(curve(values.iter(), 4, true), " ▁▄█");
        assert_eq!(curve([0, 0].iter(), 9, false), "  ");
        assert_eq!(curve([u64::MAX, 1].iter(), 2, false), "@.");
        assert_eq!((cut("abcdef", 4), cut("abc", 4)), ("abc>".into(), "abc".into()));
    }
}
