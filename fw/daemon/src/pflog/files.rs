//! A capture file that is put aside when it is long enough: `pflog` becomes `pflog.1`, that one
//! `pflog.2`, and so on.
//!
//! A file always ends with a whole packet: what could not be written as a whole is cut off again, and
//! what another weir has left is gone on with behind its last whole packet. A file that cannot be written
//! is tried again after a while; packets until then are lost and counted, and no older file goes for it.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

/// `DLT_PFLOG` (`LINKTYPE_PFLOG`).
const LINK_TYPE: u32 = 117;

/// Longest packet with what stands before it, in bytes.
const SNAP: u32 = 65_535;

/// Of the file, and before each packet (draft-ietf-opsawg-pcap).
const HEADER: usize = 24;
const RECORD: usize = 16;

/// Bytes that are written at once.
const BUFFER: usize = 1 << 16;

/// Before a file that could not be written is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// A file and those that it was before.
#[derive(Debug)]
pub(super) struct Rotated {
    path: PathBuf,
    /// Bytes after which a new one is begun, and how many old ones are kept.
    size: u64,
    keep: u32,
    open: Option<Open>,
    /// It cannot be written, and is tried again then.
    broken: Option<Instant>,
    /// What nobody has taken yet: packets that were lost, and whether it can be written, if that has
    /// changed.
    lost: u64,
    news: Option<io::Result<()>>,
}

/// A file that ends with a whole packet.
#[derive(Debug)]
struct Open {
    file: File,
    /// Of the file, in bytes.
    length: u64,
    /// What follows there, and how many packets these are.
    buffer: Vec<u8>,
    packets: u64,
}

impl Open {
    /// Writes what is buffered; if that fails, nothing of it.
    fn flush(&mut self) -> io::Result<()> {
        let written = self.file.write_all(&self.buffer);
        if written.is_ok() {
            self.length += self.buffer.len() as u64;
        } else {
            // If that fails, too, the next to open it does it.
            let _ = self.file.set_len(self.length);
        }
        self.buffer.clear();
        written
    }
}

impl Rotated {
    /// Nothing is opened yet.
    pub(super) const fn new(path: PathBuf, size: u64, keep: u32) -> Self {
        Self { path, size, keep, open: None, broken: None, lost: 0, news: None }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Goes on with the file that is there, or begins one.
    pub(super) fn begin(&mut self) {
        let opened = self.open().map(drop);
        self.note(opened);
    }

    /// Writes a packet of `length` bytes of which these are there, at `time` (nanoseconds since 1970).
    pub(super) fn write(&mut self, time: u64, head: &[u8], bytes: &[u8], length: u32) {
        if self.broken.is_some_and(|until| Instant::now() < until) {
            self.lost += 1;
            return;
        }
        let size = RECORD + head.len() + bytes.len();
        let open = match self.room(size as u64) {
            Ok(open) => open,
            Err(error) => {
                self.lost += 1;
                return self.note(Err(error));
            }
        };
        let head_length = head.len() as u32;
        // Seconds end in 2106.
        for word in [
            (time / 1_000_000_000) as u32,
            (time % 1_000_000_000 / 1000) as u32,
            head_length + bytes.len() as u32,
            head_length.saturating_add(length),
        ] {
            open.buffer.extend_from_slice(&word.to_le_bytes());
        }
        open.buffer.extend_from_slice(head);
        open.buffer.extend_from_slice(bytes);
        open.packets += 1;
        if open.buffer.len() >= BUFFER {
            self.flush();
        }
    }

    /// Hands on what is buffered.
    pub(super) fn flush(&mut self) {
        if self.open.is_some() {
            let flushed = self.hand_on();
            self.note(flushed);
        }
    }

    /// Packets that were lost since the last call.
    pub(super) const fn take_lost(&mut self) -> u64 {
        std::mem::replace(&mut self.lost, 0)
    }

    /// Whether it can be written, if that has changed since the last call.
    pub(super) const fn take_news(&mut self) -> Option<io::Result<()>> {
        self.news.take()
    }

    fn hand_on(&mut self) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let (written, packets) = (open.flush(), std::mem::take(&mut open.packets));
        if written.is_err() {
            self.lost += packets;
        }
        written
    }

    fn note(&mut self, done: io::Result<()>) {
        match done {
            Ok(()) => {
                if self.broken.take().is_some() {
                    self.news = Some(Ok(()));
                }
            }
            Err(error) => {
                self.open = None;
                if self.broken.replace(Instant::now() + PAUSE).is_none() {
                    self.news = Some(Err(error));
                }
            }
        }
    }

    /// The file, with room for so many bytes more.
    fn room(&mut self, size: u64) -> io::Result<&mut Open> {
        let open = self.open()?;
        let length = open.length + open.buffer.len() as u64;
        if length > HEADER as u64 && length + size > self.size {
            self.hand_on()?;
            self.open = None;
            self.put_aside()?;
        }
        self.open()
    }

    /// The file that is open; opens one if none is.
    fn open(&mut self) -> io::Result<&mut Open> {
        let open = match self.open.take() {
            Some(open) => open,
            None => self.go_on()?,
        };
        Ok(self.open.insert(open))
    }

    /// Opens the file that is there if it is one of ours, or makes one.
    fn go_on(&self) -> io::Result<Open> {
        if let Some(directory) = self.path.parent() {
            DirBuilder::new().recursive(true).mode(0o750).create(directory)?;
        }
        match fs::symlink_metadata(&self.path) {
            Ok(there) if there.is_file() => {
                let mut file = File::options()
                    .read(true)
                    .append(true)
                    .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
                    .open(&self.path)?;
                if let Some(length) = whole(&mut file)? {
                    file.set_len(length)?;
                    return Ok(Open { file, length, buffer: Vec::new(), packets: 0 });
                }
                self.put_aside()?;
            }
            // Not through a link that somebody has laid there.
            Ok(_) => fs::remove_file(&self.path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut file =
            File::options().append(true).create_new(true).mode(0o640).open(&self.path)?;
        file.write_all(&header())?;
        Ok(Open { file, length: HEADER as u64, buffer: Vec::new(), packets: 0 })
    }

    /// Every file becomes the next older one; the oldest goes.
    fn put_aside(&self) -> io::Result<()> {
        if self.keep == 0 {
            return fs::remove_file(&self.path);
        }
        for number in (1..self.keep).rev() {
            match fs::rename(aside(&self.path, number), aside(&self.path, number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, aside(&self.path, 1))
    }
}

/// What a file begins with.
fn header() -> [u8; HEADER] {
    let mut header = [0; HEADER];
    // Microseconds: what every reader knows.
    header[..4].copy_from_slice(&0xa1b2_c3d4_u32.to_le_bytes());
    header[4..6].copy_from_slice(&2_u16.to_le_bytes());
    header[6..8].copy_from_slice(&4_u16.to_le_bytes());
    header[16..20].copy_from_slice(&SNAP.to_le_bytes());
    header[20..].copy_from_slice(&LINK_TYPE.to_le_bytes());
    header
}

/// Where the last whole packet of a file ends; `None` if it is no file of ours.
fn whole(file: &mut File) -> io::Result<Option<u64>> {
    let length = file.metadata()?.len();
    if length < HEADER as u64 {
        return Ok(None);
    }
    let mut reader = BufReader::with_capacity(BUFFER, file);
    let mut begin = [0; HEADER];
    reader.read_exact(&mut begin)?;
    if begin != header() {
        return Ok(None);
    }
    let mut end = HEADER as u64;
    let mut record = [0; RECORD];
    while end + RECORD as u64 <= length {
        reader.read_exact(&mut record)?;
        let captured = u32::from_le_bytes([record[8], record[9], record[10], record[11]]);
        let next = end + RECORD as u64 + u64::from(captured);
        if captured > SNAP || next > length {
            break;
        }
        reader.seek_relative(captured.into())?;
        end = next;
    }
    Ok(Some(end))
}

fn aside(path: &Path, number: u32) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 16 + 64 + 20 bytes.
    fn write(files: &mut Rotated, second: u64) {
        files.write(second * 1_000_000_000, &[7; 64], &[second as u8; 20], 1500);
    }

    #[test]
    fn long_files_are_put_aside_and_the_oldest_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/pflog");
        let mut files = Rotated::new(path.clone(), 200, 2);
        files.begin();
        // One fits behind the header.
        (0..5).for_each(|second| write(&mut files, second));
        files.flush();
        assert_eq!(files.take_lost(), 0);
        let mut names: Vec<_> = fs::read_dir(path.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["pflog", "pflog.1", "pflog.2"]);
        for (name, last) in [("pflog", 4), ("pflog.1", 3), ("pflog.2", 2)] {
            let bytes = fs::read(path.with_file_name(name)).unwrap();
            assert_eq!((bytes.len(), bytes.last()), (24 + 100, Some(&last)), "{name}");
            assert_eq!(bytes[32..40], [84, 0, 0, 0, 0x1c, 6, 0, 0], "64 + 20 of 64 + 1500");
        }
    }

    #[test]
    fn what_is_there_is_gone_on_with_behind_its_last_whole_packet() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pflog");
        let begun = || {
            let mut files = Rotated::new(path.clone(), 1000, 2);
            files.begin();
            files
        };
        let mut files = begun();
        write(&mut files, 1);
        write(&mut files, 2);
        files.flush();
        // The other weir has ended in the middle of its second packet.
        File::options().write(true).open(&path).unwrap().set_len(24 + 100 + 99).unwrap();
        let mut files = begun();
        write(&mut files, 3);
        files.flush();
        let bytes = fs::read(&path).unwrap();
        assert_eq!((bytes.len(), bytes[24 + 99], bytes.last()), (24 + 200, 1, Some(&3)));
        // What another program has written is put aside.
        fs::write(&path, "a diary of more than twenty-four bytes").unwrap();
        begun();
        assert_eq!(fs::read(&path).unwrap(), header());
        assert!(fs::read(path.with_file_name("pflog.1")).unwrap().starts_with(b"a diary"));
    }

    #[test]
    fn a_file_that_cannot_be_written_costs_packets_and_no_older_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in/pflog");
        let mut files = Rotated::new(path.clone(), 200, 2);
        (0..3).for_each(|second| write(&mut files, second));
        files.flush();
        assert!(files.take_news().is_none());
        files.size = 1000;
        // A handle that nothing can be written by, as on a file system that is full.
        files.open.as_mut().unwrap().file = File::open(&path).unwrap();
        (3..9).for_each(|second| write(&mut files, second));
        files.flush();
        assert!(files.take_news().is_some_and(|news| news.is_err()), "said once");
        assert_eq!(files.take_lost(), 6);
        assert!(files.take_news().is_none());
        for (name, last) in [("pflog", 2), ("pflog.1", 1), ("pflog.2", 0)] {
            assert_eq!(fs::read(path.with_file_name(name)).unwrap().last(), Some(&last), "{name}");
        }
        // Its time has come.
        files.broken = Some(Instant::now());
        write(&mut files, 9);
        files.flush();
        assert!(files.take_news().is_some_and(|news| news.is_ok()));
        assert_eq!((files.take_lost(), fs::read(&path).unwrap().last()), (0, Some(&9)));
    }

    #[test]
    fn no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, victim) = (folder.path().join("pflog"), folder.path().join("victim"));
        fs::write(&victim, "x").unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        let mut files = Rotated::new(path, 200, 0);
        files.begin();
        assert!(files.take_news().is_none());
        assert_eq!(fs::read(victim).unwrap(), b"x");
    }
}
