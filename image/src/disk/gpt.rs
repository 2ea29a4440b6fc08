//! The partition table (UEFI 2.10, section 5.3): read, grown, and made anew at installation.
//!
//! A table is changed so that a power cut leaves the old one or the new one. Firmware, loader and kernel
//! read the primary table, and believe it if its checksums are right; the header is one sector, which is
//! never torn, and says where the entries are. So new entries are first written elsewhere, in the gap
//! before the first partition, and the header switched to them; then to the usual place, and switched
//! back.

use std::fmt;
use std::io;

use super::storage::{SECTOR, Storage};

/// Bytes of an entry.
const ENTRY: usize = 128;
/// Entries in a table.
const ENTRIES: usize = 128;
/// Sectors that the entries take.
const ENTRIES_SECTORS: u64 = (ENTRY * ENTRIES) as u64 / SECTOR;
/// Bytes of a header.
const HEADER: usize = 92;
/// Where the entries of the primary table are.
const USUAL: u64 = 2;
/// Where they are while they change.
const ASIDE: u64 = USUAL + ENTRIES_SECTORS;

const SIGNATURE: &[u8; 8] = b"EFI PART";
const REVISION: u32 = 0x0001_0000;

/// A GUID as it is stored: the first three groups least significant byte first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// A random one (version 4, RFC 9562) from 16 random bytes.
    pub fn random(mut bytes: [u8; 16]) -> Self {
        bytes[7] = bytes[7] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }
}

/// As PARTUUID has it: lower case.
impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
        for (at, byte) in order.into_iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{:02x}", self.0[byte])?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where a partition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Offset of its first byte.
    pub start: u64,
    /// Its bytes.
    pub size: u64,
}

/// A partition table.
#[derive(Clone, PartialEq, Eq)]
pub struct Table {
    guid: Guid,
    /// First sector that partitions may use.
    first: u64,
    /// Last one.
    last: u64,
    /// Sector of the other header.
    alternate: u64,
    entries: Vec<u8>,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places: Vec<_> = (1..=8).map(|number| self.place(number)).collect();
        f.debug_struct("Table")
            .field("guid", &self.guid)
            .field("places", &places)
            .finish_non_exhaustive()
    }
}

impl Table {
    /// Reads the primary table, or the backup at the end if that is damaged.
    ///
    /// # Errors
    /// When neither is right.
    pub fn read(disk: &impl Storage) -> io::Result<Self> {
        let end = disk.size() / SECTOR;
        if end < 2 * (ENTRIES_SECTORS + 2) {
            return Err(io::Error::other("too small for a partition table"));
        }
        read_at(disk, 1).or_else(|error| read_at(disk, end - 1).map_err(|_| error))
    }

    /// The partition with that number, counted from 1, if there is one.
    pub fn place(&self, number: u32) -> Option<Place> {
        let entry = self.entry(number)?;
        let (first, last) = (u64_at(entry, 32), u64_at(entry, 40));
        let start = first.checked_mul(SECTOR)?;
        let size = last.checked_sub(first)?.checked_add(1)?.checked_mul(SECTOR)?;
        start.checked_add(size)?;
        Some(Place { start, size })
    }

    /// Its GUID.
    pub fn guid(&self, number: u32) -> Option<Guid> {
        self.entry(number)?[16..32].try_into().ok().map(Guid)
    }

    /// The number of the partition with a GUID in the words of PARTUUID.
    pub fn number(&self, uuid: &str) -> Option<u32> {
        let is = |number: &u32| {
            self.guid(*number).is_some_and(|guid| guid.to_string().eq_ignore_ascii_case(uuid))
        };
        (1..=ENTRIES as u32).find(is)
    }

    /// Its name.
    pub fn name(&self, number: u32) -> Option<String> {
        let units = self.entry(number)?[56..]
            .chunks_exact(2)
            .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
            .take_while(|&unit| unit != 0);
        Some(char::decode_utf16(units).map(|c| c.unwrap_or('?')).collect())
    }

    /// The same partitions on another disk of so many bytes, with other GUIDs, the last one, which has
    /// that number and takes at least so many bytes, up to its end. `random` gives 16 random bytes at a
    /// time.
    ///
    /// # Errors
    /// When the disk is too small for that.
    pub fn moved(
        &self,
        size: u64,
        (number, least): (u32, u64),
        mut random: impl FnMut() -> io::Result<[u8; 16]>,
    ) -> io::Result<Self> {
        let mut table = self.clone();
        table.guid = Guid::random(random()?);
        for entry in table.entries.chunks_exact_mut(ENTRY).filter(|entry| is_used(entry)) {
            entry[16..32].copy_from_slice(&Guid::random(random()?).0);
        }
        // This one may be on a larger disk.
        let start = table.place(number).map_or(0, |place| place.start);
        let at = (number as usize - 1) * ENTRY;
        let last = (start + least) / SECTOR - 1;
        table.entries[at + 40..at + 48].copy_from_slice(&last.to_le_bytes());
        table.alternate = 0;
        table.stretch(size, number)?;
        Ok(table)
    }

    /// The same with the partition of that number, which must be the last one, up to the end of the
    /// disk of so many bytes that it is on. `None` if that is so already.
    ///
    /// # Errors
    /// When the disk is smaller, or another partition is behind that one.
    pub fn grown(&self, size: u64, number: u32) -> io::Result<Option<Self>> {
        let mut table = self.clone();
        Ok(table.stretch(size, number)?.then_some(table))
    }

    /// Stretches the partition with that number, which is the last one on the disk, to the end of a
    /// disk of so many bytes. Tells whether anything is different then.
    fn stretch(&mut self, size: u64, number: u32) -> io::Result<bool> {
        let sectors = size / SECTOR;
        let before = (self.last, self.alternate, self.place(number));
        let place = self.place(number);
        let start = place.ok_or_else(|| io::Error::other("there is no data partition"))?.start;
        let all = (1..=ENTRIES as u32).filter_map(|other| self.place(other));
        if all.map(|other| other.start).max() != Some(start) {
            return Err(io::Error::other("the data partition is not the last one"));
        }
        let too_small = || io::Error::other("the disk is smaller than its partitions");
        let alternate = sectors.checked_sub(1).ok_or_else(too_small)?;
        let last = alternate.checked_sub(ENTRIES_SECTORS + 1).ok_or_else(too_small)?;
        // Whole blocks of ext4.
        let end = (last + 1) / 8 * 8;
        let known = place.map_or(0, |place| (place.start + place.size) / SECTOR);
        if self.alternate > alternate || end < known {
            return Err(too_small());
        }
        (self.last, self.alternate) = (last, alternate);
        let at = (number as usize - 1) * ENTRY;
        self.entries[at + 40..at + 48].copy_from_slice(&(end - 1).to_le_bytes());
        Ok(before != (self.last, self.alternate, self.place(number)))
    }

    /// Writes both tables; power may fail at any moment. The first partition must leave room for the
    /// entries twice.
    ///
    /// # Errors
    /// When it cannot be written; the old table or the new one is in force then.
    pub fn write(&self, disk: &mut impl Storage) -> io::Result<()> {
        if self.first < ASIDE + ENTRIES_SECTORS {
            return Err(io::Error::other("there is no room before the first partition"));
        }
        let backup = self.alternate - ENTRIES_SECTORS;
        disk.write_at(backup * SECTOR, &self.entries)?;
        disk.write_at(self.alternate * SECTOR, &self.header(self.alternate, 1, backup))?;
        disk.flush()?;
        for entries in [ASIDE, USUAL] {
            disk.write_at(entries * SECTOR, &self.entries)?;
            disk.flush()?;
            disk.write_at(SECTOR, &self.header(1, self.alternate, entries))?;
            disk.flush()?;
        }
        let mut record = [0; SECTOR as usize];
        disk.read_at(0, &mut record)?;
        protect(&mut record, self.alternate);
        disk.write_at(0, &record)?;
        disk.flush()
    }

    /// A header that is at a sector, with the other one and the entries at others.
    fn header(&self, at: u64, other: u64, entries: u64) -> [u8; SECTOR as usize] {
        let mut sector = [0; SECTOR as usize];
        sector[..8].copy_from_slice(SIGNATURE);
        let words = [(8, REVISION), (12, HEADER as u32), (80, ENTRIES as u32), (84, ENTRY as u32)];
        for (place, word) in words {
            sector[place..place + 4].copy_from_slice(&word.to_le_bytes());
        }
        let sum = crc32(&self.entries);
        sector[88..92].copy_from_slice(&sum.to_le_bytes());
        for (place, number) in
            [(24, at), (32, other), (40, self.first), (48, self.last), (72, entries)]
        {
            sector[place..place + 8].copy_from_slice(&number.to_le_bytes());
        }
        sector[56..72].copy_from_slice(&self.guid.0);
        let sum = crc32(&sector[..HEADER]);
        sector[16..20].copy_from_slice(&sum.to_le_bytes());
        sector
    }

    fn entry(&self, number: u32) -> Option<&[u8]> {
        let at = (number as usize).checked_sub(1)?.checked_mul(ENTRY)?;
        self.entries.get(at..at + ENTRY).filter(|entry| is_used(entry))
    }
}

fn is_used(entry: &[u8]) -> bool {
    entry[..16].iter().any(|&byte| byte != 0)
}

fn read_at(disk: &impl Storage, at: u64) -> io::Result<Table> {
    let wrong = |what| io::Error::other(format!("no partition table: {what}"));
    let mut header = [0; SECTOR as usize];
    disk.read_at(at * SECTOR, &mut header)?;
    if &header[..8] != SIGNATURE || u32_at(&header, 8) != REVISION {
        return Err(wrong("it is not GPT"));
    }
    let sum = u32_at(&header, 16);
    header[16..20].fill(0);
    if u32_at(&header, 12) as usize != HEADER || crc32(&header[..HEADER]) != sum {
        return Err(wrong("its checksum is wrong"));
    }
    let (count, size) = (u32_at(&header, 80) as usize, u32_at(&header, 84) as usize);
    if (count, size, u64_at(&header, 24)) != (ENTRIES, ENTRY, at) {
        return Err(wrong("it is of another size or place"));
    }
    let mut entries = vec![0; ENTRIES * ENTRY];
    let place = u64_at(&header, 72).checked_mul(SECTOR).ok_or_else(|| wrong("too large"))?;
    disk.read_at(place, &mut entries)?;
    if crc32(&entries) != u32_at(&header, 88) {
        return Err(wrong("the checksum of its entries is wrong"));
    }
    let mut guid = [0; 16];
    guid.copy_from_slice(&header[56..72]);
    Ok(Table {
        guid: Guid(guid),
        first: u64_at(&header, 40),
        last: u64_at(&header, 48),
        // A backup names the primary one.
        alternate: if at == 1 { u64_at(&header, 32) } else { at },
        entries,
    })
}

/// Writes the protective record of a disk with that last sector into a boot record, whose program stays.
fn protect(record: &mut [u8; SECTOR as usize], last: u64) {
    record[446..510].fill(0);
    // From head 0, sector 2 of cylinder 0, to the last one that can be named; type EE.
    record[446..454].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff]);
    record[454..458].copy_from_slice(&1_u32.to_le_bytes());
    let sectors = u32::try_from(last).unwrap_or(u32::MAX);
    record[458..462].copy_from_slice(&sectors.to_le_bytes());
    record[510..].copy_from_slice(&[0x55, 0xaa]);
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// CRC-32 of ISO 3309, as Ethernet and GPT use it.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc)))
}

/// The appliance's layout with partitions of that size, on no disk yet.
#[cfg(test)]
pub(crate) fn blank(size: u64) -> Table {
    let mut entries = vec![0; ENTRIES * ENTRY];
    let sectors = size / SECTOR;
    for (number, entry) in (0_u64..5).zip(entries.chunks_exact_mut(ENTRY)) {
        entry[..32].fill(number as u8 + 1);
        let first = 2048 + number * sectors;
        entry[32..40].copy_from_slice(&first.to_le_bytes());
        entry[40..48].copy_from_slice(&(first + sectors - 1).to_le_bytes());
    }
    let alternate = 2048 + 5 * sectors + ENTRIES_SECTORS + 8;
    Table { guid: Guid([0; 16]), first: 2048, last: 0, alternate, entries }
}

#[cfg(test)]
#[path = "gpt_tests.rs"]
mod tests;
