//! The hardware watchdog (the kernel's `watchdog-api`): whoever has opened it and does not feed it in
//! time is reset with the whole machine.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

/// `WDIOC_SETTIMEOUT`: `_IOWR('W', 6, int)`.
const SET_TIMEOUT: u32 = 0xc004_5706;

/// An open watchdog. It goes on counting when this is dropped, unless [`Watchdog::disarm`] was called.
#[derive(Debug)]
pub struct Watchdog {
    device: File,
}

impl Watchdog {
    /// Opens the device, `/dev/watchdog`: it counts from then on.
    ///
    /// # Errors
    /// `ENOENT` when there is none, `EBUSY` when somebody has it open.
    pub fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().write(true).open(path).map(|device| Self { device })
    }

    /// Has it wait this many seconds for food; tells how many it will, which hardware may round.
    ///
    /// # Errors
    /// `EINVAL` for a time that the hardware cannot count, `EOPNOTSUPP` when it has one of its own,
    /// `ENOTTY` when this is no watchdog.
    pub fn set_timeout(&self, seconds: u32) -> io::Result<u32> {
        let mut value = libc::c_int::try_from(seconds)
            .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
        // SAFETY: the kernel reads and writes one int, which outlives the call.
        let result =
            unsafe { libc::ioctl(self.device.as_raw_fd(), SET_TIMEOUT as _, &raw mut value) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(u32::try_from(value).unwrap_or_default())
    }

    /// Feeds it: its time begins anew.
    ///
    /// # Errors
    /// Those of the device.
    pub fn feed(&mut self) -> io::Result<()> {
        self.device.write_all(&[0])
    }

    /// Stops it for good, if it can be stopped (the magic character).
    ///
    /// # Errors
    /// Those of the device.
    pub fn disarm(mut self) -> io::Result<()> {
        self.device.write_all(b"V")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_watchdog_is_an_error() {
        assert_eq!(
            Watchdog::open(Path::new("/nonexistent/watchdog")).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        let mut file = Watchdog::open(Path::new("/dev/null")).unwrap();
        assert_eq!(file.set_timeout(30).unwrap_err().raw_os_error(), Some(libc::ENOTTY));
        assert_eq!(file.set_timeout(u32::MAX).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        file.feed().unwrap();
    }
}
