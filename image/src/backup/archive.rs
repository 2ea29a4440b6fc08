//! Everything that makes a box what it is, as one run of bytes: lines of text that say what follows.
//!
//! ```text
//! weir settings 1
//! version 0.1.0
//! file 644 1234 etc/weir.toml
//! ...1234 bytes, a newline...
//! end 64 hexadecimal digits: SHA-256 of everything before this line
//! ```
//!
//! The reserve of a slot holds this, and a backup does, written as text. Reading takes any bytes: names
//! lead nowhere but below the folders of [`ROOTS`], sizes are bounded, and what was damaged is refused.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use ring::digest;
use rustix::fs::OFlags;

/// Where things come from: settings and rules, what outlives a start, what the loader reads.
pub const ROOTS: [&str; 3] = ["etc", "lib", "boot"];

/// The most that is in one, in bytes.
pub const MAX_BYTES: usize = 16 << 20;
/// The most files.
const MAX_FILES: usize = 1000;
/// How deep folders may be.
const MAX_DEPTH: usize = 8;
/// The longest name, in bytes.
const MAX_NAME: usize = 240;

const FIRST: &str = "weir settings 1";

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Below one of the roots, as in `etc/weir.conf`.
    pub name: String,
    /// Its permissions.
    pub mode: u32,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Archive {
    /// The weir that has written it.
    pub version: String,
    /// In the order of their names.
    pub files: Vec<Entry>,
}

impl Archive {
    /// The settings and rules that are in a folder, and of what outlives a start the last good rules,
    /// the password and what else is small; no logs, and no older rules.
    ///
    /// # Errors
    /// When a file cannot be read, or it is more than is taken.
    pub fn gather(etc: &Path, lib: &Path) -> io::Result<Self> {
        let mut archive = Self { version: crate::release::version(), files: Vec::new() };
        archive.folder(etc, "etc", MAX_DEPTH, &|_| true)?;
        archive.folder(lib, "lib", 1, &|name| name != "lib/lock")?;
        let history = lib.join("history");
        if let Some(last) = last_kept(&history)? {
            archive.file(&history.join(&last), format!("lib/history/{last}"))?;
        }
        archive.files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(archive)
    }

    /// A file by its name.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.files.iter().find(|file| file.name == name)
    }

    /// Those below a root or folder, by what their names are there.
    pub fn below<'a>(&'a self, root: &'a str) -> impl Iterator<Item = (&'a str, &'a Entry)> {
        let named =
            move |file: &'a Entry| Some((file.name.strip_prefix(root)?.strip_prefix('/')?, file));
        self.files.iter().filter_map(named)
    }

    /// Writes what is below a root into a folder, which is made if it is not there. Everything is
    /// synced, the folder too.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn unpack(&self, root: &str, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        for (name, file) in self.below(root) {
            let path = folder.join(name);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            weir_shell::whole::write(&path, &file.bytes, file.mode)?;
        }
        File::open(folder)?.sync_all()
    }

    /// As it is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{FIRST}\nversion {}\n", self.version).into_bytes();
        for Entry { name, mode, bytes: inside } in &self.files {
            bytes.extend(format!("file {mode:o} {} {name}\n", inside.len()).bytes());
            bytes.extend(inside);
            bytes.push(b'\n');
        }
        let sum = hex(&bytes);
        bytes.extend(format!("end {sum}\n").bytes());
        bytes
    }

    /// Reads what [`Archive::to_bytes`] has written.
    ///
    /// # Errors
    /// In words, when it is no such thing, of another format, damaged or too large.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut rest = bytes;
        match line(&mut rest)? {
            FIRST => {}
            other if other.starts_with("weir settings ") => {
                return Err("it is of a newer format, which this weir does not read".into());
            }
            _ => return Err("these are no settings of weir".into()),
        }
        let version = line(&mut rest)?.strip_prefix("version ");
        let version = version.filter(|version| is_word(version)).ok_or_else(damaged)?.to_owned();
        let mut archive = Self { version, files: Vec::new() };
        let mut names = HashSet::new();
        loop {
            let before = bytes.len() - rest.len();
            let words = line(&mut rest)?;
            if let Some(sum) = words.strip_prefix("end ") {
                if sum != hex(&bytes[..before]) || !rest.is_empty() {
                    return Err("its checksum is wrong: it is damaged".into());
                }
                return Ok(archive);
            }
            let entry = entry(words, &mut rest).ok_or_else(damaged)?;
            if archive.files.len() >= MAX_FILES || bytes.len() > 2 * MAX_BYTES {
                return Err("it is larger than any that weir writes".into());
            }
            if !names.insert(entry.name.clone()) {
                return Err(format!("it has two files {}", entry.name));
            }
            archive.files.push(entry);
        }
    }

    /// Adds a file of the machine.
    pub(crate) fn file(&mut self, path: &Path, name: String) -> io::Result<()> {
        if !is_name(&name) {
            return Err(io::Error::other(format!("{}: its name cannot be kept", path.display())));
        }
        let total: usize = self.files.iter().map(|file| file.bytes.len()).sum();
        // Neither a link out of the folder nor a FIFO, which would hold it up.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = File::options().read(true).custom_flags(flags).open(path)?;
        let mode = file.metadata()?.mode() & 0o777;
        let mut bytes = Vec::new();
        file.take((MAX_BYTES - total) as u64 + 1).read_to_end(&mut bytes)?;
        if total + bytes.len() > MAX_BYTES || self.files.len() >= MAX_FILES {
            let most = MAX_BYTES >> 20;
            return Err(io::Error::other(format!(
                "more than {most} MiB or {MAX_FILES} files of settings"
            )));
        }
        self.files.push(Entry { name, mode, bytes });
        Ok(())
    }

    /// Adds the files in a folder, those of folders in it too down to a depth. Half-written files,
    /// links, sockets and whatever else is no file are left out.
    fn folder(
        &mut self,
        folder: &Path,
        name: &str,
        depth: usize,
        wanted: &dyn Fn(&str) -> bool,
    ) -> io::Result<()> {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            let below = format!("{name}/{}", entry.file_name().to_string_lossy());
            if Path::new(&below).extension().is_some_and(|end| end == "new") || !wanted(&below) {
                continue;
            }
            let added = if kind.is_file() {
                self.file(&entry.path(), below)
            } else if kind.is_dir() && depth > 1 {
                self.folder(&entry.path(), &below, depth - 1, wanted)
            } else {
                Ok(())
            };
            match added {
                // It was replaced meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                added => added?,
            }
        }
        Ok(())
    }
}

/// The name of the newest load that holds, see the daemon's history.
fn last_kept(history: &Path) -> io::Result<Option<String>> {
    let entries = match fs::read_dir(history) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    let mut newest: Option<(u64, String)> = None;
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let number = name.strip_suffix(".kept").and_then(|number| number.parse().ok());
        if let Some(number) = number
            && newest.as_ref().is_none_or(|&(known, _)| known < number)
        {
            newest = Some((number, name));
        }
    }
    Ok(newest.map(|(_, name)| name))
}

/// Takes a line of text off.
fn line<'a>(rest: &mut &'a [u8]) -> Result<&'a str, String> {
    let bytes = *rest;
    let longest = bytes.len().min(MAX_NAME + 64);
    let end = bytes[..longest].iter().position(|&byte| byte == b'\n').ok_or_else(damaged)?;
    *rest = &bytes[end + 1..];
    str::from_utf8(&bytes[..end]).map_err(|_| damaged())
}

/// Takes a file off, whose line was read.
fn entry(words: &str, rest: &mut &[u8]) -> Option<Entry> {
    let mut words = words.strip_prefix("file ")?.splitn(3, ' ');
    let mode = u32::from_str_radix(words.next()?, 8).ok().filter(|&mode| mode <= 0o777)?;
    let length: usize = words.next()?.parse().ok()?;
    let name = words.next().filter(|name| is_name(name))?.to_owned();
    let (bytes, behind) = rest.split_at_checked(length)?;
    *rest = behind.strip_prefix(b"\n")?;
    Some(Entry { name, mode, bytes: bytes.to_vec() })
}

/// Whether it leads to a file below one of the roots.
fn is_name(name: &str) -> bool {
    let mut parts = name.split('/');
    let root = parts.next().unwrap_or_default();
    let rest: Vec<_> = parts.collect();
    let is_part = |part: &&str| !matches!(*part, "" | "." | "..");
    ROOTS.contains(&root)
        && !rest.is_empty()
        && rest.len() <= MAX_DEPTH
        && rest.iter().all(is_part)
        && name.len() <= MAX_NAME
        && !name.chars().any(char::is_control)
}

fn is_word(word: &str) -> bool {
    !word.is_empty() && word.len() <= 64 && word.bytes().all(|byte| byte.is_ascii_graphic())
}

fn damaged() -> String {
    "it is damaged".into()
}

fn hex(bytes: &[u8]) -> String {
    let sum = digest::digest(&digest::SHA256, bytes);
    let digits = sum.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

#[cfg(test)]
#[path = "archive_tests.rs"]
pub(crate) mod tests;
