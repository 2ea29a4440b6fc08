//! Writing an upgrade to the slot that is not in use. What is half there must not look like something
//! that can be booted: its first sector, without which no loader reads it, is cleared first and written
//! last, after everything else was read back.

use std::io::{self, Read};

use minisign_verify::PublicKey;
use ring::digest::{self, Context, Digest};

use super::container::{self, Header};
use crate::disk::storage::{SECTOR, Storage};
use crate::reserve;

/// The first sector, which no power cut tears; squashfs has its superblock there.
const HEAD: usize = SECTOR as usize;
/// Bytes that are moved at a time.
const CHUNK: usize = 256 << 10;

/// Told how far a step is: what it is, bytes done, bytes in all.
pub trait Progress {
    /// So far.
    fn step(&mut self, what: &str, done: u64, all: u64);
}

/// Reads an upgrade to its end without writing anything.
///
/// # Errors
/// When the signature is not right, or the file is shorter or longer than it says.
pub fn check(
    header: &Header,
    from: &mut impl Read,
    key: &PublicKey,
    progress: &mut impl Progress,
) -> io::Result<()> {
    let mut verifier = header.verify(key)?;
    each_chunk(header, from, |chunk, done| {
        verifier.update(chunk);
        progress.step("checking", done, header.size);
        Ok(())
    })?;
    verifier.finalize().map_err(container::refused)
}

/// Writes an upgrade that was checked before to a slot. It is checked again on the way: what is read a
/// second time need not be the same.
///
/// # Errors
/// When it cannot be written, or is not what was signed: then the slot cannot be booted.
pub fn write(
    header: &Header,
    from: &mut impl Read,
    key: &PublicKey,
    slot: &mut impl Storage,
    progress: &mut impl Progress,
) -> io::Result<()> {
    if slot.size().checked_sub(reserve::SIZE).is_none_or(|room| room < header.size) {
        return Err(io::Error::other("it is larger than the slot"));
    }
    let mut verifier = header.verify(key)?;
    clear(slot)?;
    let mut head = Vec::with_capacity(HEAD);
    let mut written = Context::new(&digest::SHA256);
    let mut offset = 0;
    each_chunk(header, from, |chunk, done| {
        verifier.update(chunk);
        written.update(chunk);
        let rest = if offset == 0 {
            let (first, rest) = chunk.split_at(chunk.len().min(HEAD));
            head.extend_from_slice(first);
            rest
        } else {
            chunk
        };
        slot.write_at(done - rest.len() as u64, rest)?;
        offset = done;
        progress.step("writing", done, header.size);
        Ok(())
    })?;
    verifier.finalize().map_err(container::refused)?;
    slot.flush()?;
    if read_back(slot, header.size, &head, progress)?.as_ref() != written.finish().as_ref() {
        return Err(io::Error::other("what was written reads otherwise: the disk is failing"));
    }
    slot.write_at(0, &head)?;
    slot.flush()?;
    let mut found = vec![0; head.len()];
    slot.read_at(0, &mut found)?;
    if found != head {
        return Err(io::Error::other("what was written reads otherwise: the disk is failing"));
    }
    Ok(())
}

/// Takes from a slot what makes it one that can be booted.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn clear(slot: &mut impl Storage) -> io::Result<()> {
    slot.write_at(0, &[0; HEAD])?;
    slot.flush()
}

/// Has `each` take what follows the header, a chunk at a time, with where it ends.
fn each_chunk(
    header: &Header,
    from: &mut impl Read,
    mut each: impl FnMut(&[u8], u64) -> io::Result<()>,
) -> io::Result<()> {
    let mut chunk = Vec::with_capacity(CHUNK);
    let mut done = 0;
    while done < header.size {
        chunk.clear();
        let most = (header.size - done).min(CHUNK as u64);
        from.by_ref().take(most).read_to_end(&mut chunk)?;
        if (chunk.len() as u64) < most {
            return Err(io::Error::other("it is shorter than it says: it was not copied whole"));
        }
        done += most;
        each(&chunk, done)?;
    }
    if from.read(&mut [0])? != 0 {
        return Err(io::Error::other("it is longer than it says: it is damaged"));
    }
    Ok(())
}

/// The digest of what a slot holds, with `head` for its first block.
fn read_back(
    slot: &impl Storage,
    size: u64,
    head: &[u8],
    progress: &mut impl Progress,
) -> io::Result<Digest> {
    let mut found = Context::new(&digest::SHA256);
    found.update(head);
    let mut chunk = vec![0; CHUNK];
    let mut done = head.len() as u64;
    while done < size {
        let part = &mut chunk[..(size - done).min(CHUNK as u64) as usize];
        slot.read_at(done, part)?;
        found.update(part);
        done += part.len() as u64;
        progress.step("reading back", done, size);
    }
    Ok(found.finish())
}
