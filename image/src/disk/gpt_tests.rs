use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use proptest::prelude::*;

use super::super::storage::cut::Fragile;
use super::super::storage::{Device, SECTOR, Storage};
use super::{Guid, Place, Table};

const MIB: u64 = 1 << 20;

fn grow(disk: &mut Fragile, number: u32) -> std::io::Result<Option<Place>> {
    let Some(table) = Table::read(disk)?.grown(disk.size(), number)? else { return Ok(None) };
    table.write(disk)?;
    Ok(table.place(number))
}

/// The first and last sectors of what sfdisk makes of the appliance's layout, in small.
fn made() -> Option<Vec<u8>> {
    static MADE: OnceLock<Option<Vec<u8>>> = OnceLock::new();
    MADE.get_or_init(make).clone()
}

fn make() -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    std::fs::File::create(&path).unwrap().set_len(8 * MIB).unwrap();
    let script = "label: gpt\nlabel-id: 00112233-4455-6677-8899-AABBCCDDEEFF\n\
        start=2048,size=2048,name=weir-bios,type=21686148-6449-6E6F-744E-656564454649\n\
        size=2048,name=weir-esp,type=uefi\nsize=2048,name=weir-a,type=linux\n\
        size=2048,name=weir-b,type=linux\n\
        size=2048,name=weir-data,type=linux,uuid=01234567-89AB-CDEF-0123-456789ABCDEF\n";
    let mut child = Command::new("/sbin/sfdisk")
        .args(["--quiet", "--no-reread"])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .inspect_err(|error| eprintln!("skipped: sfdisk (package fdisk): {error}"))
        .ok()?;
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    Some(std::fs::read(&path).unwrap())
}

fn sfdisk(bytes: &[u8]) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    std::fs::write(&path, bytes).unwrap();
    let output = Command::new("/sbin/sfdisk").arg("--verify").arg(&path).output().unwrap();
    let dump = Command::new("/sbin/sfdisk").arg("--dump").arg(&path).output().unwrap();
    let text = [output.stdout, output.stderr, dump.stdout].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn what_sfdisk_has_made_is_read() {
    let Some(bytes) = made() else { return };
    let table = Table::read(&Fragile::new(bytes)).unwrap();
    assert_eq!(table.number("01234567-89ab-cdef-0123-456789abcdef"), Some(5));
    assert_eq!(table.number("01234567-89ab-cdef-0123-456789abcdee"), None);
    assert_eq!(table.name(3).as_deref(), Some("weir-a"));
    let place = table.place(5).unwrap();
    assert_eq!((place.start, place.size), (5 * MIB, MIB));
    assert_eq!((table.place(6), table.place(0), table.place(u32::MAX)), (None, None, None));
}

#[test]
fn a_table_grows_with_its_disk_as_sfdisk_would_have_it() {
    let Some(mut bytes) = made() else { return };
    bytes.resize(10 * MIB as usize, 0);
    let mut disk = Fragile::new(bytes);
    let place = grow(&mut disk, 5).unwrap().expect("the disk has grown");
    assert_eq!(place.start, 5 * MIB);
    assert!((9 * MIB..10 * MIB).contains(&(place.start + place.size)));
    let (verified, text) = sfdisk(&disk.seen);
    assert!(verified && text.contains("No errors detected"), "{text}");
    assert!(text.contains("uuid=01234567-89AB-CDEF-0123-456789ABCDEF"), "{text}");
    assert!(text.contains("label-id: 00112233-4455-6677-8899-AABBCCDDEEFF"), "{text}");
    assert_eq!(grow(&mut disk, 5).unwrap(), None, "once");
    // The backup is as good as the primary one.
    let table = Table::read(&disk).unwrap();
    disk.seen[512..1024].fill(0);
    assert_eq!(Table::read(&disk).unwrap(), table);
}

#[test]
fn a_power_cut_leaves_the_old_table_or_the_new_one_in_the_first_header() {
    let Some(mut bytes) = made() else { return };
    bytes.resize(10 * MIB as usize, 0);
    let old = Table::read(&Fragile::new(bytes.clone())).unwrap();
    let mut whole = Fragile::new(bytes.clone());
    grow(&mut whole, 5).unwrap();
    let new = Table::read(&whole).unwrap();
    let (mut were_old, mut were_new) = (0, 0);
    for sectors in 0..whole.written {
        for seed in 0..3 {
            let mut disk = Fragile::new(bytes.clone()).cut_after(sectors);
            grow(&mut disk, 5).unwrap_err();
            let mut disk = disk.after(seed);
            // The kernel asks for a primary table that is right.
            let found = super::read_at(&disk, 1).expect("a table");
            were_old += u32::from(found == old);
            were_new += u32::from(found == new);
            assert!(found == old || found == new, "after {sectors} sectors");
            grow(&mut disk, 5).unwrap();
            assert_eq!(super::read_at(&disk, 1).unwrap(), new, "the next start completes it");
        }
    }
    assert!(were_old > 0 && were_new > 0);
}

#[test]
fn an_installed_disk_has_other_identifiers_and_may_be_smaller() {
    let Some(mut bytes) = made() else { return };
    bytes.resize(10 * MIB as usize, 0);
    let mut stick = Fragile::new(bytes);
    grow(&mut stick, 5).unwrap();
    let table = Table::read(&stick).unwrap();
    let mut number = 0;
    let mut random = || {
        number += 1;
        Ok([number; 16])
    };
    let moved = table.moved(9 * MIB, (5, MIB), &mut random).unwrap();
    let mut disk = Fragile::new(vec![0; 9 * MIB as usize]);
    moved.write(&mut disk).unwrap();
    let (verified, text) = sfdisk(&disk.seen);
    assert!(verified && text.contains("No errors detected"), "{text}");
    assert!(text.contains("label-id: 01010101-0101-4101-8101-010101010101"), "{text}");
    for number in 1..=5 {
        assert_ne!(moved.guid(number), table.guid(number));
        assert_eq!(moved.place(number).unwrap().start, table.place(number).unwrap().start);
    }
    assert!(table.moved(5 * MIB, (5, MIB), random).is_err(), "too small");
}

#[test]
fn guids_are_written_as_partuuid_has_them() {
    let guid = Guid([3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15]);
    assert_eq!(guid.to_string(), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    assert_eq!(Guid::random([0xff; 16]).to_string(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
}

#[test]
fn checksums_are_those_of_the_standard() {
    assert_eq!(super::crc32(b"123456789"), 0xcbf4_3926);
}

#[test]
fn a_file_is_a_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    std::fs::write(&path, vec![1; 4096]).unwrap();
    let mut disk = Device::write(&path).unwrap();
    disk.write_at(SECTOR, &[2; 512]).unwrap();
    disk.flush().unwrap();
    let mut found = [0; 513];
    Device::read(&path).unwrap().read_at(511, &mut found).unwrap();
    assert_eq!((found[0], found[1], found[512], disk.size()), (1, 2, 2, 4096));
    assert!(disk.read_at(4096, &mut found).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is on a disk, reading it neither panics nor takes a damaged table for one.
    #[test]
    fn damage_is_noticed(at in 512_usize..34 * 512, bit in 0_u32..8, cut in 0_usize..40_000) {
        let Some(mut bytes) = made() else { return Ok(()) };
        let table = Table::read(&Fragile::new(bytes.clone())).unwrap();
        bytes[at] ^= 1 << bit;
        let in_header = (512 + 92..1024).contains(&at);
        prop_assert_eq!(super::read_at(&Fragile::new(bytes.clone()), 1).is_ok(), in_header);
        prop_assert_eq!(Table::read(&Fragile::new(bytes.clone())).unwrap(), table);
        bytes.truncate(cut);
        let _ = Table::read(&Fragile::new(bytes));
    }
}
