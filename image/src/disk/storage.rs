//! What bytes are kept on: a disk, a partition, a plain file.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{Advice, fadvise};

/// The unit that a disk writes whole, in bytes. Disks with larger sectors are not supported: their
/// partition tables count in another unit.
pub const SECTOR: u64 = 512;

/// A disk, or what behaves like one.
pub trait Storage {
    /// In bytes.
    fn size(&self) -> u64;

    /// Fills `bytes` from an offset.
    ///
    /// # Errors
    /// When it cannot be read, or ends before.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at an offset. It may be forgotten until [`Storage::flush`] returns, in
    /// any order, but a sector is never torn.
    ///
    /// # Errors
    /// When it cannot be written.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Returns when everything written is there to stay, and is read from there.
    ///
    /// # Errors
    /// When any of it is not.
    fn flush(&mut self) -> io::Result<()>;
}

/// A block device or a plain file.
#[derive(Debug)]
pub struct Device {
    file: File,
    size: u64,
}

impl Device {
    /// To be read.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn read(path: &Path) -> io::Result<Self> {
        Self::new(File::open(path).map_err(|error| about(path, &error))?)
    }

    /// To be read and written.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn write(path: &Path) -> io::Result<Self> {
        let open = File::options().read(true).write(true).open(path);
        Self::new(open.map_err(|error| about(path, &error))?)
    }

    fn new(mut file: File) -> io::Result<Self> {
        let size = file.seek(SeekFrom::End(0))?;
        Ok(Self { file, size })
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl Storage for Device {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        // What is read next comes from the disk and not from memory.
        Ok(fadvise(&self.file, 0, None, Advice::DontNeed)?)
    }
}

/// A part of a storage.
#[derive(Debug)]
pub struct Window<'a, S> {
    whole: &'a mut S,
    start: u64,
    size: u64,
}

impl<'a, S: Storage> Window<'a, S> {
    /// From an offset, so many bytes.
    ///
    /// # Errors
    /// When it does not lie within.
    pub fn new(whole: &'a mut S, start: u64, size: u64) -> io::Result<Self> {
        if start.checked_add(size).is_none_or(|end| end > whole.size()) {
            return Err(io::Error::other("the partition does not lie within the disk"));
        }
        Ok(Self { whole, start, size })
    }

    fn within(&self, offset: u64, length: usize) -> io::Result<u64> {
        let fits = offset.checked_add(length as u64).is_some_and(|end| end <= self.size);
        if fits { Ok(self.start + offset) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

impl<S: Storage> Storage for Window<'_, S> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.whole.read_at(self.within(offset, bytes.len())?, bytes)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = self.within(offset, bytes.len())?;
        self.whole.write_at(offset, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.whole.flush()
    }
}

/// Adds the path to an error.
pub(crate) fn about(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// A disk whose power is cut.
#[cfg(test)]
pub(crate) mod cut {
    use std::io;

    use super::{SECTOR, Storage};

    /// A disk in memory: after a number of sectors nothing is written any more, and of what was not
    /// flushed by then each sector may be there or not.
    #[derive(Clone, Debug)]
    pub(crate) struct Fragile {
        /// As its owner sees it.
        pub(crate) seen: Vec<u8>,
        /// What is there for sure.
        kept: Vec<u8>,
        /// Sectors that were written since.
        loose: Vec<usize>,
        left: Option<usize>,
        /// Sectors that were written.
        pub(crate) written: usize,
    }

    impl Fragile {
        /// With these bytes on it.
        pub(crate) fn new(bytes: Vec<u8>) -> Self {
            Self { kept: bytes.clone(), seen: bytes, loose: Vec::new(), left: None, written: 0 }
        }

        /// The power fails after so many sectors.
        pub(crate) fn cut_after(mut self, sectors: usize) -> Self {
            self.left = Some(sectors);
            self
        }

        /// What is found afterwards; `seed` decides about each sector that was not flushed.
        pub(crate) fn after(&self, seed: u64) -> Self {
            let mut bytes = self.kept.clone();
            let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            for &sector in &self.loose {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                if random.is_multiple_of(2) {
                    let place = sector * SECTOR as usize..(sector + 1) * SECTOR as usize;
                    bytes[place.clone()].copy_from_slice(&self.seen[place]);
                }
            }
            Self::new(bytes)
        }
    }

    impl Storage for Fragile {
        fn size(&self) -> u64 {
            self.seen.len() as u64
        }

        fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
            let from = self.seen.get(offset as usize..).unwrap_or_default();
            let from = from.get(..bytes.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            bytes.copy_from_slice(from);
            Ok(())
        }

        fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
            let mut offset = offset as usize;
            for part in bytes.chunks(SECTOR as usize) {
                if let Some(left) = &mut self.left {
                    *left = left.checked_sub(1).ok_or_else(|| io::Error::other("no power"))?;
                }
                self.seen[offset..offset + part.len()].copy_from_slice(part);
                self.loose.push(offset / SECTOR as usize);
                self.written += 1;
                offset += part.len();
            }
            Ok(())
        }

        fn flush(&mut self) -> io::Result<()> {
            if self.left == Some(0) {
                return Err(io::Error::other("no power"));
            }
            for sector in self.loose.drain(..) {
                let place = sector * SECTOR as usize..(sector + 1) * SECTOR as usize;
                self.kept[place.clone()].copy_from_slice(&self.seen[place]);
            }
            Ok(())
        }
    }
}
