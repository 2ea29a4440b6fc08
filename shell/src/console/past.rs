//! The lines that were typed, kept over sessions.
//!
//! Only what was understood as a command is written to the file: a password that was typed at the
//! wrong moment is not. A line that begins with a blank is not kept either. The file belongs to
//! whoever started the shell, nobody else can read it, and it holds at most twice [`MOST`] lines: then,
//! and when a shell begins, the newest [`MOST`] are left.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::dial;

/// Lines that are kept, of those in the file.
pub(crate) const MOST: usize = 500;

/// Longest line that is kept, in bytes.
const LONGEST: usize = 1024;

/// Longest file that is read, in bytes.
const FILE: u64 = (MOST * (LONGEST + 1)) as u64;

/// The lines, and where they are kept.
#[derive(Debug, Default)]
pub(crate) struct Past {
    lines: Vec<String>,
    file: Option<File>,
    /// In the file.
    written: usize,
    /// The number by which a shell before us has left it.
    left: Option<i32>,
}

/// The environment variable that names the descriptor of a file that is open already.
pub(crate) const KEPT: &str = "WEIR_SHELL_LINES";

impl Past {
    /// The file that a shell has left us that has begun anew.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn inherited() -> io::Result<Option<Self>> {
        let Some(dial::Left { descriptor, number }) = dial::inherited(KEPT) else {
            return Ok(None);
        };
        let past = Self::read(descriptor.into())?;
        Ok(Some(Self { left: Some(number), ..past }))
    }

    /// The file for a shell that begins anew.
    ///
    /// # Errors
    /// When there are too many descriptors.
    pub(crate) fn legacy(&self) -> io::Result<Option<dial::Left>> {
        let Some(file) = &self.file else { return Ok(None) };
        let descriptor = OwnedFd::from(file.try_clone()?);
        if let Some(number) = self.left {
            return Ok(Some(dial::Left { descriptor, number }));
        }
        let number = descriptor.as_raw_fd();
        Ok(Some(dial::Left { descriptor, number }))
    }

    /// Opens the file, or makes it, and reads what is in it.
    ///
    /// # Errors
    /// When it is not an ordinary file of ours alone, or cannot be opened.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(flags.bits().cast_signed())
            .open(path)?;
        let found = file.metadata()?;
        if !found.is_file() || found.nlink() > 1 {
            return Err(io::Error::other("not an ordinary file"));
        }
        if found.uid() != rustix::process::geteuid().as_raw() {
            return Err(io::Error::other("it belongs to somebody else"));
        }
        if found.mode() & 0o077 != 0 {
            file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        }
        Self::read(file)
    }

    fn read(mut file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let mut bytes = Vec::new();
        // Of a file that is too long, what was written last.
        file.seek(SeekFrom::Start(length.saturating_sub(FILE)))?;
        (&file).take(FILE).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let clean = |line: &&str| !line.is_empty() && !line.chars().any(char::is_control);
        let lines: Vec<_> = text.lines().filter(clean).map(str::to_owned).collect();
        let mut past = Self { written: lines.len(), lines, file: Some(file), left: None };
        if past.lines.len() > MOST || length > FILE {
            past.rewrite()?;
        }
        Ok(past)
    }

    /// The lines, the oldest first.
    pub(crate) fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Keeps a line, if it is to be kept; tells whether it is.
    pub(crate) fn keep(&mut self, line: &str) -> bool {
        let plain = !line.is_empty() && !line.starts_with(' ') && line.len() <= LONGEST;
        if !plain || line.contains(char::is_control) {
            return false;
        }
        if self.lines.last().is_some_and(|last| last == line) {
            return false;
        }
        self.lines.push(line.to_owned());
        // A full disk is no reason to say anything at each line.
        let _ = self.append(line);
        true
    }

    fn append(&mut self, line: &str) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(format!("{line}\n").as_bytes())?;
        self.written += 1;
        if self.written > 2 * MOST { self.rewrite() } else { Ok(()) }
    }

    /// Leaves the newest lines.
    fn rewrite(&mut self) -> io::Result<()> {
        let surplus = self.lines.len().saturating_sub(MOST);
        self.lines.drain(..surplus);
        let Some(file) = &mut self.file else { return Ok(()) };
        let text = self.lines.iter().fold(String::new(), |text, line| text + line + "\n");
        file.set_len(0)?;
        file.write_all(text.as_bytes())?;
        self.written = self.lines.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn lines_outlive_the_session() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("past");
        let mut past = Past::open(&path).unwrap();
        assert!(past.keep("show states") && past.keep("enable"));
        assert!(!past.keep("enable"), "the same line again");
        assert!(!past.keep(" set key secret") && !past.keep("") && !past.keep("a\x1bb"));
        assert!(!past.keep(&"x".repeat(LONGEST + 1)));
        assert_eq!(fs::read_to_string(&path).unwrap(), "show states\nenable\n");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(Past::open(&path).unwrap().lines(), ["show states", "enable"]);
    }

    #[test]
    fn the_file_stays_small() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("past");
        let mut past = Past::open(&path).unwrap();
        for number in 0..5 * MOST {
            past.keep(&format!("show table t{number}"));
        }
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.lines().count() <= 2 * MOST + 1);
        assert!(text.ends_with(&format!("t{}\n", 5 * MOST - 1)));
        fs::write(&path, "x\n".repeat(FILE as usize)).unwrap();
        assert_eq!(Past::open(&path).unwrap().lines().len(), MOST);
        assert_eq!(fs::metadata(&path).unwrap().len(), 2 * MOST as u64);
    }

    #[test]
    fn no_other_file_is_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("other"), folder.path().join("past"));
        fs::write(&path, "precious\n").unwrap();
        symlink(&path, &link).unwrap();
        assert!(Past::open(&link).is_err(), "a symbolic link");
        fs::remove_file(&link).unwrap();
        fs::hard_link(&path, &link).unwrap();
        assert!(Past::open(&link).is_err(), "a second name");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious\n");
    }
}
