//! The data partition as it was when the disk was new: an empty file system, which the image brings along
//! since nothing in it makes one.
//!
//! While it is written a mark stands in the partition's first sector, which ext4 leaves to boot loaders,
//! and there is no superblock: a start that finds the mark begins anew.

use std::io::{self, Read};
use std::process::{Child, Command, Stdio};

use super::storage::{SECTOR, Storage};

const MARK: &[u8; 8] = b"WEIRNEW1";
/// What holds the mark and the superblock.
const HEAD: usize = 4096;
/// Bytes that are written at a time.
const CHUNK: usize = 1 << 20;

/// The image's, compressed.
const PRISTINE: &str = "/usr/lib/weir/data.ext4.xz";

/// An empty file system as a stream.
pub(crate) struct Pristine {
    child: Child,
}

impl Pristine {
    /// That of the running image.
    ///
    /// # Errors
    /// When it cannot be unpacked.
    pub(crate) fn open() -> io::Result<Self> {
        let mut command = Command::new("/bin/busybox");
        command.args(["xzcat", PRISTINE]).stdin(Stdio::null()).stdout(Stdio::piped());
        Ok(Self { child: command.spawn()? })
    }
}

impl Read for Pristine {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let out = self.child.stdout.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        let length = out.read(bytes)?;
        if length == 0 && !bytes.is_empty() && !self.child.wait()?.success() {
            return Err(io::Error::other(format!("{PRISTINE} cannot be unpacked")));
        }
        Ok(length)
    }
}

impl Drop for Pristine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a reset was begun and has not ended.
///
/// # Errors
/// When the partition cannot be read.
pub(crate) fn is_pending(data: &impl Storage) -> io::Result<bool> {
    let mut sector = [0; SECTOR as usize];
    data.read_at(0, &mut sector)?;
    Ok(&sector[..8] == MARK)
}

/// Begins a reset: what is on the partition is not used any more.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn mark(data: &mut impl Storage) -> io::Result<()> {
    let mut sector = [0; SECTOR as usize];
    sector[..8].copy_from_slice(MARK);
    data.write_at(0, &sector)?;
    data.flush()
}

/// Writes an empty file system over the partition.
///
/// # Errors
/// When it cannot be written, or the file system is larger than the partition or none: the mark stands
/// then.
pub(crate) fn write(data: &mut impl Storage, pristine: &mut impl Read) -> io::Result<()> {
    mark(data)?;
    let mut head = [0; HEAD];
    data.write_at(SECTOR, &head[SECTOR as usize..])?;
    data.flush()?;
    pristine.read_exact(&mut head)?;
    // The magic number of ext4's superblock, which begins at 1024.
    if head[1024 + 56..1024 + 58] != [0x53, 0xef] {
        return Err(io::Error::other("what should be an empty file system is none"));
    }
    let mut offset = HEAD as u64;
    let mut chunk = Vec::with_capacity(CHUNK);
    loop {
        chunk.clear();
        pristine.by_ref().take(CHUNK as u64).read_to_end(&mut chunk)?;
        if chunk.is_empty() {
            break;
        }
        if data.size() - offset < chunk.len() as u64 {
            return Err(io::Error::other("the data partition is too small"));
        }
        data.write_at(offset, &chunk)?;
        offset += chunk.len() as u64;
    }
    data.flush()?;
    data.write_at(SECTOR, &head[SECTOR as usize..])?;
    data.flush()?;
    data.write_at(0, &head[..SECTOR as usize])?;
    data.flush()
}

#[cfg(test)]
mod tests {
    use super::super::storage::cut::Fragile;
    use super::{MARK, is_pending, write};

    fn pristine() -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..40_000_u32).map(|at| (at / 100) as u8).collect();
        bytes[..1024].fill(0);
        bytes[1024 + 56..1024 + 58].copy_from_slice(&[0x53, 0xef]);
        bytes
    }

    #[test]
    fn a_power_cut_leaves_the_old_file_system_or_a_mark() {
        let mut old = vec![7; 48 << 10];
        old[..8].fill(0);
        let mut whole = Fragile::new(old.clone());
        write(&mut whole, &mut &*pristine()).unwrap();
        assert_eq!(whole.seen[..40_000], pristine());
        assert!(!is_pending(&whole).unwrap());
        for sectors in 0..whole.written {
            for seed in 0..3 {
                let mut disk = Fragile::new(old.clone()).cut_after(sectors);
                write(&mut disk, &mut &*pristine()).unwrap_err();
                let found = disk.after(seed);
                let is_old = found.seen == old;
                let is_new = found.seen[..40_000] == pristine();
                assert!(is_old || is_new || is_pending(&found).unwrap(), "after {sectors}");
            }
        }
    }

    #[test]
    fn what_is_no_file_system_is_not_written() {
        let mut disk = Fragile::new(vec![0; 48 << 10]);
        assert!(write(&mut disk, &mut &[0; 8192][..]).is_err());
        assert!(write(&mut disk, &mut &[0; 100][..]).is_err());
        assert_eq!(disk.seen[..8], *MARK);
        let mut small = Fragile::new(vec![0; 8 << 10]);
        assert!(write(&mut small, &mut &*pristine()).is_err());
    }
}
