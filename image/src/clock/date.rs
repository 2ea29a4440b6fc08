//! Dates as people write them, in UTC, and seconds since 1970.

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March here, so that the leap day is the last.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The year, month and day so many days after 1970-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

/// `2026-11-23 12:00:59`
pub fn written(seconds: i64) -> String {
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let of_day = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// Reads `2026-11-23 12:00` or `2026-11-23 12:00:59`, UTC, of the years 2020 to 2099.
///
/// # Errors
/// What it is not, in words.
pub fn read(text: &str) -> Result<i64, String> {
    let seconds = parse(text).filter(|&seconds| {
        let (year, ..) = civil(seconds.div_euclid(86_400));
        (2020..2100).contains(&year)
    });
    seconds.ok_or_else(|| {
        format!("`{}` is no date and time, as in 2026-11-23 12:00", text.escape_debug())
    })
}

fn parse(text: &str) -> Option<i64> {
    let (date, time) = text.trim().split_once(' ')?;
    let [year, month, day] = numbers(date, '-')?[..] else { return None };
    let (hour, minute, second) = match numbers(time, ':')?[..] {
        [hour, minute] => (hour, minute, 0),
        [hour, minute, second] => (hour, minute, second),
        _ => return None,
    };
    let right = (1..=12).contains(&month) && hour < 24 && minute < 60 && second < 60;
    let date = days(year, month.clamp(1, 12), day);
    // A day that the month does not have is one of the next.
    let right = right && civil(date) == (year, month, day);
    right.then(|| date * 86_400 + hour * 3600 + minute * 60 + second)
}

fn numbers(text: &str, between: char) -> Option<Vec<i64>> {
    let number = |part: &str| {
        let digits =
            (1..=4).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| part.parse().ok()).flatten()
    };
    text.split(between).map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_and_written() {
        // `date -u -d ... +%s`
        for (text, seconds) in [
            ("2020-01-01 00:00:00", 1_577_836_800),
            ("2024-02-29 23:59:59", 1_709_251_199),
            ("2026-11-23 12:00:00", 1_795_435_200),
            ("2099-12-31 23:59:59", 4_102_444_799),
        ] {
            assert_eq!((read(text), &*written(seconds)), (Ok(seconds), text));
        }
        assert_eq!(read("2026-1-2 3:04"), read("2026-01-02 03:04:00"));
        assert_eq!(written(0), "1970-01-01 00:00:00");
        for wrong in [
            "",
            "2026-11-23",
            "2026-11-31 12:00",
            "2026-02-29 12:00",
            "2026-13-01 12:00",
            "2026-00-01 12:00",
            "2026-11-00 12:00",
            "2026-11-23 24:00",
            "2026-11-23 12:60",
            "2026-11-23 12:00:60",
            "2026-11-23 12",
            "1999-11-23 12:00",
            "2100-01-01 00:00",
            "20260-11-23 12:00",
            "+026-11-23 12:00",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let days: Vec<i64> = (-1000..60_000).collect();
        assert!(days.iter().all(|&day| {
            let (y, m, d) = civil(day);
            self::days(y, m, d) == day
        }));
    }
}
