//! Every load that took effect, kept to be looked at, compared and put in force again, one file each
//! in `history` of the state directory: `00000012.kept`, `00000013.pending`, `00000014.undone`.
//!
//! What became of a load is in the name, since a name can be changed at once and on a full disk: a
//! commit that waits to be confirmed is written as `pending` before it is in force, renamed to `kept`
//! when it is confirmed and to `undone` when it is not. A start that finds a pending one renames it,
//! too, and takes the last good rule set, which is the newest kept one.
//!
//! A file is written under another name, synced and renamed, and the directory synced, so that a crash
//! leaves all of it or nothing. A file that cannot be read is named and left out. When there are too
//! many, or they take too much room, the oldest are removed, but never the last good one.

mod author;
mod claim;
mod entry;

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tracing::warn;
use weir_shell::protocol::{Entry, Fate, Load};

pub use author::Author;
pub use claim::claim;
pub use entry::Origin;
use entry::{Body, Header};

/// Where what was in force is kept.
#[derive(Clone, Debug)]
pub struct History {
    directory: PathBuf,
    bounds: Bounds,
}

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How many loads.
    pub entries: usize,
    /// How many bytes of them.
    pub bytes: u64,
}

/// What is there.
#[derive(Debug, Default)]
pub struct Listing {
    /// What can be read, the oldest first.
    pub entries: Vec<Entry>,
    /// What cannot, in words that name the file.
    pub damaged: Vec<String>,
}

/// A file by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    number: u64,
    fate: Fate,
}

/// What a file is called before it is whole.
const UNFINISHED: &str = "unfinished";

impl Name {
    fn read(text: &str) -> Option<Self> {
        let (number, fate) = text.split_once('.')?;
        let fate = FATES.iter().find(|(name, _)| *name == fate)?.1;
        let digits = number.len() >= 8 && number.bytes().all(|byte| byte.is_ascii_digit());
        Some(Self { number: number.parse().ok().filter(|_| digits)?, fate })
    }

    fn file(self) -> String {
        let name = FATES.iter().find(|(_, fate)| *fate == self.fate).map_or("", |(name, _)| name);
        format!("{:08}.{name}", self.number)
    }
}

/// How names end.
const FATES: [(&str, Fate); 3] =
    [("kept", Fate::Kept), ("pending", Fate::Pending), ("undone", Fate::Undone)];

impl History {
    /// In that state directory, in which it makes its own when it is needed.
    pub fn new(state_directory: &Path, bounds: Bounds) -> Self {
        Self { directory: state_directory.join("history"), bounds }
    }

    /// Keeps what makes a rule set, and forgets the oldest if there is too much. The same as the last
    /// good one is not kept again. Returns the number under which it is kept.
    ///
    /// # Errors
    /// When it cannot be written; what was kept before is intact then.
    pub fn keep(&self, origin: Origin, loads: &[Load]) -> io::Result<u64> {
        let body = Body::new(loads)?;
        if let Some((last, header)) = self.last_good()
            && header.is_of(&body)
            && self.newest()? == Some(last)
        {
            return Ok(last.number);
        }
        self.write(origin, &body, Fate::Kept)
    }

    /// Keeps what is in force, unless it is the last good one already.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn ensure_good(&self, origin: Origin, loads: &[Load]) -> io::Result<()> {
        let body = Body::new(loads)?;
        let is_last = self.last_good().is_some_and(|(_, header)| header.is_of(&body));
        if is_last { Ok(()) } else { self.write(origin, &body, Fate::Kept).map(drop) }
    }

    /// Keeps what is about to be put in force until it is confirmed. Returns its number.
    ///
    /// # Errors
    /// When it cannot be written: then it could not be undone after a crash.
    pub fn begin(&self, origin: Origin, loads: &[Load]) -> io::Result<u64> {
        self.write(origin, &Body::new(loads)?, Fate::Pending)
    }

    /// The pending load has held: it is the last good one from now on.
    ///
    /// # Errors
    /// When that cannot be noted: the next start will not know.
    pub fn confirm(&self, number: u64) -> io::Result<()> {
        self.end(number, Fate::Kept)
    }

    /// The pending load was taken back.
    ///
    /// # Errors
    /// When that cannot be noted: it stays pending, and the next start takes it back again.
    pub fn undo(&self, number: u64) -> io::Result<()> {
        self.end(number, Fate::Undone)
    }

    /// The numbers of the loads that wait to be confirmed: one that another run has left over, and
    /// those of which it could not be noted that they were undone.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn pending(&self) -> io::Result<Vec<u64>> {
        let names = self.names()?.into_iter();
        Ok(names.filter(|name| name.fate == Fate::Pending).map(|name| name.number).collect())
    }

    /// The number of the newest of those loads of which `wanted` holds, if it was undone. What cannot
    /// be read is left out.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn undone_last(&self, wanted: impl Fn(&[Load]) -> bool) -> io::Result<Option<u64>> {
        let mut names = self.names()?;
        while let Some(name) = names.pop() {
            let undone = name.fate == Fate::Undone;
            if !undone && !names.iter().any(|older| older.fate == Fate::Undone) {
                break;
            }
            let read = entry::read(&self.path(name), name.number);
            if read.is_ok_and(|(_, loads)| wanted(&loads)) {
                return Ok(undone.then_some(name.number));
            }
        }
        Ok(None)
    }

    /// The number of the newest load, if it was undone.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn newest_undone(&self) -> io::Result<Option<u64>> {
        let undone = self.newest()?.filter(|name| name.fate == Fate::Undone);
        Ok(undone.map(|name| name.number))
    }

    /// What there is.
    ///
    /// # Errors
    /// When the directory cannot be read; that it is not there is no error.
    pub fn list(&self) -> io::Result<Listing> {
        let mut listing = Listing::default();
        for name in self.names()? {
            match entry::read_header(&self.path(name), name.number) {
                Ok(header) => listing.entries.push(header.entry(name.fate)),
                Err(error) => listing.damaged.push(self.about(name, &error)),
            }
        }
        Ok(listing)
    }

    /// One load.
    ///
    /// # Errors
    /// When there is none of that number, or it is damaged.
    pub fn read(&self, number: u64) -> io::Result<(Entry, Vec<Load>)> {
        let name = self.names()?.into_iter().find(|name| name.number == number);
        let missing = || io::Error::other(format!("there is no load {number} in the history"));
        let name = name.ok_or_else(missing)?;
        entry::read(&self.path(name), number)
            .map(|(header, loads)| (header.entry(name.fate), loads))
            .map_err(|error| io::Error::other(self.about(name, &error)))
    }

    /// The last good loads, the newest first: each as it is read, or in words why not.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn good(
        &self,
    ) -> io::Result<impl Iterator<Item = Result<(Entry, Vec<Load>), String>> + '_> {
        let names = self.names()?.into_iter().rev();
        Ok(names.filter(|name| name.fate == Fate::Kept).map(|name| {
            entry::read(&self.path(name), name.number)
                .map(|(header, loads)| (header.entry(name.fate), loads))
                .map_err(|error| self.about(name, &error))
        }))
    }

    fn about(&self, name: Name, error: &io::Error) -> String {
        format!("{}: {error}", self.path(name).display())
    }

    fn path(&self, name: Name) -> PathBuf {
        self.directory.join(name.file())
    }

    /// All files, by number. What is not called as ours are is none of our business.
    fn names(&self) -> io::Result<Vec<Name>> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                let text = format!("{}: {error}", self.directory.display());
                return Err(io::Error::new(error.kind(), text));
            }
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry?.file_name().to_str().and_then(Name::read));
        }
        names.sort_unstable();
        Ok(names)
    }

    fn newest(&self) -> io::Result<Option<Name>> {
        Ok(self.names()?.pop())
    }

    /// The newest one that holds and can be listed.
    fn last_good(&self) -> Option<(Name, Header)> {
        let names = self.names().ok()?;
        let mut kept = names.into_iter().rev().filter(|name| name.fate == Fate::Kept);
        kept.find_map(|name| Some((name, entry::read_header(&self.path(name), name.number).ok()?)))
    }

    fn end(&self, number: u64, fate: Fate) -> io::Result<()> {
        let pending = Name { number, fate: Fate::Pending };
        let ended = self.path(Name { number, fate });
        match fs::rename(self.path(pending), &ended) {
            // It was renamed before, and only the directory could not be synced.
            Err(error) if error.kind() == io::ErrorKind::NotFound && ended.is_file() => {}
            renamed => renamed?,
        }
        self.sync()
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }

    fn write(&self, origin: Origin, body: &Body, fate: Fate) -> io::Result<u64> {
        let number = self.newest()?.map_or(1, |name| name.number.saturating_add(1));
        let header = Header::new(number, origin, body);
        if !self.directory.is_dir() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
            if let Some(parent) = self.directory.parent() {
                File::open(parent)?.sync_all()?;
            }
        }
        let unfinished = self.directory.join(UNFINISHED);
        let path = self.path(Name { number, fate });
        let written = entry::text(&header, body)
            .and_then(|text| write_and_sync(&unfinished, &text))
            .and_then(|()| fs::rename(&unfinished, &path));
        if let Err(error) = written {
            // A part of it on a full disk is in the way of everybody.
            let _ = fs::remove_file(&unfinished);
            return Err(error);
        }
        if let Err(error) = self.sync() {
            // Whoever is told that it is not kept must not find it.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        if let Err(error) = self.prune() {
            warn!("the oldest of the history cannot be removed: {error}");
        }
        Ok(number)
    }

    /// Removes the oldest while there is too much.
    fn prune(&self) -> io::Result<()> {
        let names = self.names()?;
        let mut count = names.len();
        let sizes: Vec<u64> = names
            .iter()
            .map(|&name| fs::metadata(self.path(name)).map_or(0, |found| found.len()))
            .collect();
        let mut bytes: u64 = sizes.iter().sum();
        let last_good = self.last_good().map(|(name, _)| name);
        let newest = names.last().copied();
        for (name, size) in names.into_iter().zip(sizes) {
            if count <= self.bounds.entries && bytes <= self.bounds.bytes {
                break;
            }
            // What is pending is the newest: nothing else is put in force meanwhile.
            if Some(name) == last_good || Some(name) == newest {
                continue;
            }
            fs::remove_file(self.path(name))?;
            count -= 1;
            bytes -= size;
        }
        Ok(())
    }
}

fn write_and_sync(path: &Path, text: &[u8]) -> io::Result<()> {
    // What a crash has left is not written into: it need not be a file of ours.
    let _ = fs::remove_file(path);
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
