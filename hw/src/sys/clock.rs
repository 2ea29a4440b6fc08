//! Turning the clock slowly (`adjtimex(2)`).

use std::io;
use std::time::Duration;

/// Makes the clock catch up with so much time, or wait for it, at 500 parts in a million, without a
/// step. What was left of the last correction is forgotten.
///
/// # Errors
/// `EPERM` without `CAP_SYS_TIME`, `EINVAL` for half a second and more.
pub fn slew(by: Duration, ahead: bool) -> io::Result<()> {
    let microseconds = by.as_micros();
    if microseconds >= 500_000 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let offset = microseconds as libc::c_long;
    // SAFETY: plain integers; every value of them is valid.
    let mut change: libc::timex = unsafe { std::mem::zeroed() };
    change.modes = libc::ADJ_OFFSET_SINGLESHOT;
    change.offset = if ahead { -offset } else { offset };
    // SAFETY: the kernel reads and writes one timex, which lives.
    let result = unsafe { libc::adjtimex(&raw mut change) };
    if result >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_second_is_too_much() {
        let refused = slew(Duration::from_millis(500), true).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    }
}
