//! The reserve: a copy of the settings in the last 2 MiB of the booted slot's partition, for the day on
//! which the data partition cannot be mounted.
//!
//! It is two areas of 1 MiB, written in turn, so that one of them is intact at any moment; the newest
//! intact one counts. An area is a sector that says what it is, then the bytes of an [`Archive`]:
//!
//! | bytes | |
//! |---|---|
//! | 0..8 | `WEIRRSV1` |
//! | 8..16 | number of this writing, least significant byte first |
//! | 16..24 | length of the archive |
//! | 24..56 | SHA-256 of the bytes 8..24 and the archive |

mod keeper;

use std::io;

use ring::digest;

use crate::backup::archive::Archive;
use crate::disk::storage::{SECTOR, Storage};
pub use keeper::Keeper;

/// Bytes at the end of a slot's partition.
pub const SIZE: u64 = 2 << 20;
/// Bytes of an area.
const AREA: u64 = SIZE / 2;
/// The longest archive.
const ROOM: usize = (AREA - SECTOR) as usize;

const MAGIC: &[u8; 8] = b"WEIRRSV1";
/// Where the words behind it end.
const HEAD: usize = 56;

/// What one area holds.
struct Found {
    number: u64,
    bytes: Vec<u8>,
}

/// The newest intact archive on the partition of a slot.
///
/// # Errors
/// When the partition cannot be read. That there is none is no error.
pub fn read(slot: &impl Storage) -> io::Result<Option<Archive>> {
    let areas = [area(slot, 0)?, area(slot, 1)?];
    let mut found: Vec<_> = areas.into_iter().flatten().collect();
    found.sort_unstable_by_key(|found| std::cmp::Reverse(found.number));
    Ok(found.iter().find_map(|found| Archive::parse(&found.bytes).ok()))
}

/// Keeps an archive on the partition of a slot, unless it is there already. Where not all of it finds
/// room, settings and rules alone. Power may fail at any moment: then the last one is there.
///
/// # Errors
/// When it cannot be written, or is too large.
pub fn write(slot: &mut impl Storage, archive: &Archive) -> io::Result<()> {
    let mut bytes = archive.to_bytes();
    if bytes.len() > ROOM {
        let mut essential = archive.clone();
        essential.files.retain(|file| !file.name.starts_with("lib/history/"));
        bytes = essential.to_bytes();
    }
    if bytes.len() > ROOM {
        return Err(io::Error::other(format!(
            "the settings are {} KiB; the slot's reserve holds {} KiB",
            bytes.len() >> 10,
            ROOM >> 10
        )));
    }
    let areas = [area(slot, 0)?, area(slot, 1)?];
    let number = |at: usize| areas[at].as_ref().map(|found| found.number);
    let newest = usize::from(number(1) > number(0));
    if areas[newest].as_ref().is_some_and(|found| found.bytes == bytes) {
        return Ok(());
    }
    let next = number(newest).map_or(1, |number| number.saturating_add(1));
    // The older one, or the first where there is none.
    let target = if number(newest).is_some() { 1 - newest } else { 0 };
    let start = start(slot, target)?;
    let mut head = [0; SECTOR as usize];
    head[..8].copy_from_slice(MAGIC);
    head[8..16].copy_from_slice(&next.to_le_bytes());
    head[16..24].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
    let sum = sum(&head[8..24], &bytes);
    head[24..HEAD].copy_from_slice(&sum);
    bytes.resize(bytes.len().next_multiple_of(SECTOR as usize), 0);
    slot.write_at(start + SECTOR, &bytes)?;
    slot.flush()?;
    slot.write_at(start, &head)?;
    slot.flush()
}

/// Forgets what is kept.
///
/// # Errors
/// When it cannot be written.
pub fn clear(slot: &mut impl Storage) -> io::Result<()> {
    for at in 0..2 {
        let start = start(slot, at)?;
        // The bytes behind hold secrets, too.
        for offset in (0..AREA).step_by(4096) {
            slot.write_at(start + offset, &[0; 4096])?;
        }
    }
    slot.flush()
}

fn start(slot: &impl Storage, area: usize) -> io::Result<u64> {
    let all = slot.size().checked_sub(SIZE);
    let all = all.ok_or_else(|| io::Error::other("the slot is too small for a reserve"))?;
    Ok(all + area as u64 * AREA)
}

/// What an area holds, if it is intact.
fn area(slot: &impl Storage, area: usize) -> io::Result<Option<Found>> {
    let start = start(slot, area)?;
    let mut head = [0; SECTOR as usize];
    slot.read_at(start, &mut head)?;
    let word = |at: usize| {
        head[at..at + 8].iter().rev().fold(0, |word: u64, &byte| word << 8 | u64::from(byte))
    };
    let (number, length) = (word(8), word(16));
    if &head[..8] != MAGIC || length > ROOM as u64 {
        return Ok(None);
    }
    let mut bytes = vec![0; length as usize];
    slot.read_at(start + SECTOR, &mut bytes)?;
    let is_intact = sum(&head[8..24], &bytes) == head[24..HEAD];
    Ok(is_intact.then_some(Found { number, bytes }))
}

fn sum(head: &[u8], bytes: &[u8]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(head);
    context.update(bytes);
    let mut sum = [0; 32];
    sum.copy_from_slice(context.finish().as_ref());
    sum
}

#[cfg(test)]
mod tests {
    use super::{AREA, ROOM, SIZE, clear, read, start, write};
    use crate::backup::archive::Archive;
    use crate::backup::archive::tests::example;
    use crate::disk::storage::cut::Fragile;

    fn slot() -> Fragile {
        Fragile::new(vec![0xff; SIZE as usize + 4096])
    }

    fn numbered(number: u8) -> Archive {
        let mut archive = example();
        archive.files[1].bytes = vec![number; 3000];
        archive
    }

    #[test]
    fn the_newest_is_read() {
        let mut slot = slot();
        assert_eq!(read(&slot).unwrap(), None);
        for number in 0..5 {
            write(&mut slot, &numbered(number)).unwrap();
            assert_eq!(read(&slot).unwrap(), Some(numbered(number)));
        }
        let before = slot.written;
        write(&mut slot, &numbered(4)).unwrap();
        assert_eq!(slot.written, before, "it is there already");
        assert_eq!(slot.seen[..4096], [0xff; 4096], "the slot itself is left alone");
        clear(&mut slot).unwrap();
        assert_eq!(read(&slot).unwrap(), None);
    }

    #[test]
    fn of_damaged_ones_the_older_is_read() {
        let mut slot = slot();
        write(&mut slot, &numbered(1)).unwrap();
        write(&mut slot, &numbered(2)).unwrap();
        let second = start(&slot, 1).unwrap() as usize;
        slot.seen[second + 600] ^= 1;
        assert_eq!(read(&slot).unwrap(), Some(numbered(1)));
        slot.seen[second - AREA as usize + 9] ^= 1;
        assert_eq!(read(&slot).unwrap(), None);
    }

    #[test]
    fn a_power_cut_leaves_the_old_one_or_the_new_one() {
        let mut slot = slot();
        write(&mut slot, &numbered(1)).unwrap();
        write(&mut slot, &numbered(2)).unwrap();
        slot.written = 0;
        let mut whole = slot.clone();
        write(&mut whole, &numbered(3)).unwrap();
        assert!(whole.written > 3);
        let mut were_old = 0;
        for sectors in 0..whole.written {
            for seed in 0..4 {
                let mut cut = slot.clone().cut_after(sectors);
                write(&mut cut, &numbered(3)).unwrap_err();
                let mut found = cut.after(seed);
                let archive = read(&found).unwrap().expect("one of them");
                were_old += u32::from(archive == numbered(2));
                assert!(archive == numbered(2) || archive == numbered(3), "after {sectors}");
                write(&mut found, &numbered(4)).unwrap();
                assert_eq!(read(&found).unwrap(), Some(numbered(4)));
            }
        }
        assert!(were_old > 0);
    }

    #[test]
    fn what_finds_no_room_is_left_out_or_refused() {
        let mut slot = slot();
        let mut archive = numbered(1);
        archive.files[3].name = "lib/history/00000001.kept".into();
        archive.files[3].bytes = vec![b'x'; ROOM];
        write(&mut slot, &archive).unwrap();
        let kept = read(&slot).unwrap().unwrap();
        assert_eq!(kept.files, archive.files[..3]);
        archive.files[2].bytes = vec![b'x'; ROOM];
        let wrong = write(&mut slot, &archive).unwrap_err().to_string();
        assert!(
            wrong.starts_with("the settings are 1026 KiB; the slot's reserve holds 1023 KiB"),
            "{wrong}"
        );
        assert_eq!(read(&slot).unwrap().unwrap(), kept);
    }
}
