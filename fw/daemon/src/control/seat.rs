//! The password of the console: kept as an Argon2id hash in a file that only the daemon reads, and
//! tried here, so that leaving a shell and beginning anew forgets no failure.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use argon2::password_hash::SaltString;
use argon2::{Argon2, PasswordHash, PasswordHasher, PasswordVerifier};
use parking_lot::Mutex;
use tracing::{info, warn};
use weir_shell::protocol::{MAX_PASSWORD, MIN_PASSWORD, Seat, SeatRequest};
use weir_shell::whole;

use super::{Control, Refused};
use crate::log::events;

/// The longest time that a failure makes the next try wait.
const LONGEST: Duration = Duration::from_secs(300);

/// Longest hash that is read, in bytes.
const HASH: u64 = 1024;

/// Guards the console.
#[derive(Debug)]
pub struct Guard {
    /// Where the hash is; no password is asked for while it is not there.
    path: PathBuf,
    /// Held while a password is tried: one at a time takes the time and memory that it takes.
    failures: Mutex<Failures>,
}

/// Wrong passwords in a row.
#[derive(Debug, Default)]
struct Failures {
    count: u32,
    /// No password is looked at before.
    until: Option<Instant>,
}

impl Failures {
    /// The seconds that are left to wait, at least one; `None` if there are none.
    fn left(&self, now: Instant) -> Option<u64> {
        let left = self.until?.checked_duration_since(now).filter(|left| !left.is_zero())?;
        Some(left.as_secs() + 1)
    }

    /// Counts one, and tells how long nobody may try again: 1, 2, 4 seconds and so on.
    fn add(&mut self, now: Instant) -> Duration {
        let seconds = 1_u64.checked_shl(self.count).unwrap_or(u64::MAX);
        let wait = Duration::from_secs(seconds).min(LONGEST);
        self.count = (self.count + 1).min(63);
        self.until = Some(now + wait);
        wait
    }
}

impl Guard {
    /// With the hash in that folder.
    pub fn new(folder: &Path) -> Self {
        Self { path: folder.join("console-password"), failures: Mutex::default() }
    }

    /// The hash, if a password is asked for.
    ///
    /// # Errors
    /// When there is one that cannot be read: then nobody gets in.
    fn hash(&self) -> Result<Option<String>, String> {
        let mut text = String::new();
        match File::open(&self.path).and_then(|file| file.take(HASH).read_to_string(&mut text)) {
            Ok(_) => Ok(Some(text.trim_end().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{}: {error}", self.path.display())),
        }
    }

    /// Which file the hash is in, and since when: nothing of what is in it.
    fn version(&self) -> String {
        match fs::metadata(&self.path) {
            Ok(found) => format!("{}.{}.{}", found.mtime(), found.mtime_nsec(), found.ino()),
            Err(_) => String::new(),
        }
    }

    /// Tries a password at a moment.
    ///
    /// # Errors
    /// In words, when it is wrong, or too early after one that was.
    fn try_password(&self, password: &str, now: Instant) -> Result<(), String> {
        let mut failures = self.failures.lock();
        let Some(hash) = self.hash()? else { return Ok(()) };
        if let Some(seconds) = failures.left(now) {
            return Err(format!("locked for another {seconds} s"));
        }
        let hash = PasswordHash::new(&hash)
            .map_err(|error| format!("{} is damaged: {error}", self.path.display()))?;
        let fits = password.len() <= MAX_PASSWORD
            && Argon2::default().verify_password(password.as_bytes(), &hash).is_ok();
        if fits {
            *failures = Failures::default();
            return Ok(());
        }
        let wait = failures.add(now).as_secs();
        Err(format!("wrong password; locked for {wait} s"))
    }

    /// Sets another password; none if it is empty.
    fn change(&self, new: &str) -> Result<(), String> {
        let failed = |error: io::Error| format!("{}: {error}", self.path.display());
        if new.is_empty() {
            return match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
                _ => Ok(()),
            };
        }
        if new.chars().count() < MIN_PASSWORD || new.len() > MAX_PASSWORD {
            return Err(format!(
                "a password has {MIN_PASSWORD} letters or more, and at most {MAX_PASSWORD} bytes"
            ));
        }
        let mut bytes = [0; 16];
        File::open("/dev/urandom")
            .and_then(|mut file| file.read_exact(&mut bytes))
            .map_err(|error| format!("/dev/urandom: {error}"))?;
        let salt = SaltString::encode_b64(&bytes).map_err(|error| error.to_string())?;
        let hash = Argon2::default()
            .hash_password(new.as_bytes(), &salt)
            .map_err(|error| error.to_string())?;
        if let Some(folder) = self.path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        }
        whole::write(&self.path, format!("{hash}\n").as_bytes(), 0o600).map_err(failed)
    }
}

impl Control {
    /// Tells how the console is guarded, tries a password, or changes it.
    ///
    /// # Errors
    /// When the password is wrong, or it is too early to try.
    pub fn seat(&self, request: &SeatRequest, uid: u32) -> Result<Option<Seat>, Refused> {
        let Some((files, guard)) = &self.own else {
            return Err(Refused::Error("there is no console here".into()));
        };
        let now = Instant::now();
        match request {
            SeatRequest::Ask => {
                // One that cannot be read is asked for, too: nobody knows it then.
                let password = !matches!(guard.hash(), Ok(None));
                let version = guard.version();
                let idle = files.settings().shell.idle_lock;
                return Ok(Some(Seat { password, version, idle }));
            }
            SeatRequest::Login { password } => match guard.try_password(password, now) {
                Ok(()) => info!(target: events::LOGIN, "login at the console (user {uid})"),
                Err(text) => {
                    warn!(target: events::LOGIN_REFUSED, "login at the console refused (user {uid}): {text}");
                    return Err(Refused::Error(text));
                }
            },
            SeatRequest::Change { old, new } => {
                guard.try_password(old, now).and_then(|()| guard.change(new)).map_err(|text| {
                    warn!(
                        target: events::LOGIN_REFUSED,
                        "the password of the console was not changed (user {uid}): {text}"
                    );
                    Refused::Error(text)
                })?;
                let what = if new.is_empty() { "taken away" } else { "changed" };
                warn!(target: events::PASSWORD, "the password of the console was {what} (user {uid})");
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_asked_for_once_it_is_set() {
        let folder = tempfile::tempdir().unwrap();
        let guard = Guard::new(&folder.path().join("state"));
        let now = Instant::now();
        assert_eq!(guard.try_password("anything", now), Ok(()));
        assert!(guard.change("short").is_err() && guard.change(&"x".repeat(257)).is_err());
        guard.change("correct horse").unwrap();
        assert_eq!(fs::metadata(&guard.path).unwrap().mode() & 0o777, 0o600);
        let kept = fs::read_to_string(&guard.path).unwrap();
        assert!(kept.starts_with("$argon2id$") && !kept.contains("horse"), "{kept}");
        assert_eq!(guard.try_password("correct horse", now), Ok(()));
        assert!(guard.try_password("correct hors", now).is_err());
        let version = guard.version();
        guard.change("battery staple").unwrap();
        assert_ne!(guard.version(), version);
        guard.change("").unwrap();
        assert_eq!((guard.hash(), guard.version()), (Ok(None), String::new()));
    }

    #[test]
    fn failures_make_the_next_try_wait_longer_and_longer() {
        let folder = tempfile::tempdir().unwrap();
        let guard = Guard::new(folder.path());
        guard.change("correct horse").unwrap();
        let mut now = Instant::now();
        for wait in [1, 2, 4] {
            let wrong = guard.try_password("wrong", now).unwrap_err();
            assert_eq!(wrong, format!("wrong password; locked for {wait} s"));
            let early = guard.try_password("correct horse", now).unwrap_err();
            assert!(early.starts_with("locked for another "), "{early}");
            now += Duration::from_secs(wait);
        }
        assert_eq!(guard.try_password("correct horse", now), Ok(()));
        assert!(guard.try_password("wrong", now).unwrap_err().ends_with(" 1 s"), "forgotten");
    }

    #[test]
    fn failures_never_wait_for_ever() {
        let mut failures = Failures::default();
        let now = Instant::now();
        let longest = (0..200).map(|_| failures.add(now)).max().unwrap();
        assert_eq!(longest, LONGEST);
    }

    #[test]
    fn a_hash_that_is_damaged_lets_nobody_in() {
        let folder = tempfile::tempdir().unwrap();
        let guard = Guard::new(folder.path());
        fs::write(&guard.path, "nonsense\n").unwrap();
        assert!(guard.try_password("nonsense", Instant::now()).unwrap_err().contains("damaged"));
        assert!(guard.try_password("", Instant::now()).is_err());
    }
}
