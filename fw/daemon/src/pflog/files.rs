//! A capture file that is put aside when it is long enough: `pflog` becomes `pflog.1`, that one
//! `pflog.2`, and so on.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// `DLT_PFLOG` (`LINKTYPE_PFLOG`).
const LINK_TYPE: u32 = 117;

/// Longest packet with what stands before it, in bytes.
const SNAP: u32 = 65_535;

/// Of the file, and before each packet (draft-ietf-opsawg-pcap).
const HEADER: usize = 24;
const RECORD: usize = 16;

/// A file and those that it was before.
#[derive(Debug)]
pub(super) struct Rotated {
    path: PathBuf,
    /// Bytes after which a new one is begun, and how many old ones are kept.
    size: u64,
    keep: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: BufWriter<File>,
    length: u64,
}

impl Rotated {
    /// Nothing is opened yet.
    pub(super) const fn new(path: PathBuf, size: u64, keep: u32) -> Self {
        Self { path, size, keep, open: None }
    }

    /// Makes the file, or puts the one aside that is there: what follows in a file that another weir
    /// was writing when it ended could not be read.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        self.open = None;
        if let Some(directory) = self.path.parent() {
            DirBuilder::new().recursive(true).mode(0o750).create(directory)?;
        }
        let filled = fs::metadata(&self.path).is_ok_and(|there| there.len() > HEADER as u64);
        if filled {
            self.put_aside()?;
        }
        // Not through a link that somebody has laid there.
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = File::options().write(true).create_new(true).mode(0o640).open(&self.path)?;
        let mut header = [0; HEADER];
        // Microseconds: what every reader knows.
        header[..4].copy_from_slice(&0xa1b2_c3d4_u32.to_le_bytes());
        header[4..6].copy_from_slice(&2_u16.to_le_bytes());
        header[6..8].copy_from_slice(&4_u16.to_le_bytes());
        header[16..20].copy_from_slice(&SNAP.to_le_bytes());
        header[20..].copy_from_slice(&LINK_TYPE.to_le_bytes());
        let mut file = BufWriter::new(file);
        file.write_all(&header)?;
        file.flush()?;
        self.open = Some(Open { file, length: HEADER as u64 });
        Ok(())
    }

    /// Every file becomes the next older one; the oldest goes.
    fn put_aside(&self) -> io::Result<()> {
        if self.keep == 0 {
            return Ok(());
        }
        for number in (1..self.keep).rev() {
            match fs::rename(aside(&self.path, number), aside(&self.path, number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, aside(&self.path, 1))
    }

    /// Writes a packet of `length` bytes of which these are there, at `time` (nanoseconds since 1970).
    pub(super) fn write(
        &mut self,
        time: u64,
        head: &[u8],
        bytes: &[u8],
        length: u32,
    ) -> io::Result<()> {
        let size = (RECORD + head.len() + bytes.len()) as u64;
        if self.open.as_ref().is_none_or(|open| open.length + size > self.size) {
            self.begin()?;
        }
        let Some(Open { file, length: written }) = &mut self.open else { return Ok(()) };
        let head_length = head.len() as u32;
        let mut record = Vec::with_capacity(RECORD);
        // Seconds end in 2106.
        for word in [
            (time / 1_000_000_000) as u32,
            (time % 1_000_000_000 / 1000) as u32,
            head_length + bytes.len() as u32,
            head_length.saturating_add(length),
        ] {
            record.extend_from_slice(&word.to_le_bytes());
        }
        *written += size;
        let put = file
            .write_all(&record)
            .and_then(|()| file.write_all(head))
            .and_then(|()| file.write_all(bytes));
        self.or_close(put)
    }

    /// Hands on what is buffered.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let flushed = open.file.flush();
        self.or_close(flushed)
    }

    /// A file that could not be written may end in the middle of a packet.
    fn or_close(&mut self, written: io::Result<()>) -> io::Result<()> {
        if written.is_err()
            && let Some(open) = self.open.take()
        {
            // What is left in the buffer is not tried again.
            drop(open.file.into_parts());
        }
        written
    }
}

fn aside(path: &Path, number: u32) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_are_put_aside_and_the_oldest_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/pflog");
        let mut files = Rotated::new(path.clone(), 200, 2);
        files.begin().unwrap();
        // 16 + 64 + 20 bytes each: one fits behind the header.
        for time in 0..5 {
            files.write(time * 1_000_000_000, &[7; 64], &[time as u8; 20], 1500).unwrap();
        }
        files.flush().unwrap();
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
        // Another weir begins anew, and keeps what was there.
        let mut files = Rotated::new(path.clone(), 200, 2);
        files.begin().unwrap();
        assert_eq!(fs::read(&path).unwrap().len(), HEADER);
        assert_eq!(fs::read(path.with_file_name("pflog.1")).unwrap().last(), Some(&4));
        // An empty one is not worth it.
        files.begin().unwrap();
        assert_eq!(fs::read(path.with_file_name("pflog.1")).unwrap().last(), Some(&4));
    }

    #[test]
    fn no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, victim) = (folder.path().join("pflog"), folder.path().join("victim"));
        fs::write(&victim, "x").unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        Rotated::new(path, 200, 0).begin().unwrap();
        assert_eq!(fs::read(victim).unwrap(), b"x");
    }
}
