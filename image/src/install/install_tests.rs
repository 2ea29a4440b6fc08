use std::path::Path;

use super::{Disk, line, list, onto};
use crate::disk::gpt::{Table, blank};
use crate::disk::storage::cut::Fragile;
use crate::disk::storage::{Storage, Window};
use crate::disk::{Booted, DATA, partition};
use crate::reserve;
use crate::slots::Slot;
use crate::upgrade::write::Progress;

const MIB: u64 = 1 << 20;
/// Of a partition here.
const PART: u64 = 3 * MIB;
const SIZE: u64 = 24 * MIB;

struct Quiet;

impl Progress for Quiet {
    fn step(&mut self, _: &str, _: u64, _: u64) {}
}

/// A file system as [`crate::disk::reset`] knows one.
fn pristine() -> Vec<u8> {
    let mut bytes = vec![0; 64 << 10];
    bytes[1024 + 56..1024 + 58].copy_from_slice(&[0x53, 0xef]);
    bytes
}

fn random(seed: u8) -> impl FnMut() -> std::io::Result<[u8; 16]> {
    let mut number = seed;
    move || {
        number += 1;
        Ok([number; 16])
    }
}

/// A stick that runs from a slot, with a letter in each partition.
fn stick() -> (Fragile, Table) {
    let table = blank(PART).moved(SIZE, (DATA, PART), random(0)).unwrap();
    let mut stick = Fragile::new(vec![0; SIZE as usize]);
    stick.seen[..440].fill(b'P');
    table.write(&mut stick).unwrap();
    for (number, letter) in [(1, b'1'), (2, b'2'), (3, b'3'), (4, b'4'), (5, b'5')] {
        let place = table.place(number).unwrap();
        let bytes = place.start as usize..(place.start + place.size) as usize;
        stick.seen[bytes].fill(letter);
    }
    (stick, table)
}

fn letter(disk: &Fragile, table: &Table, number: u32) -> u8 {
    disk.seen[table.place(number).unwrap().start as usize]
}

#[test]
fn what_was_booted_is_copied_to_slot_a_of_another_disk() {
    let (mut stick, old) = stick();
    for (slot, expected) in [(Slot::A, b'3'), (Slot::B, b'4')] {
        let mut target = Fragile::new(vec![0xee; 20 * MIB as usize]);
        let new = old.moved(target.size(), (DATA, MIB), random(100)).unwrap();
        onto(&stick, slot, &mut target, (&old, &new), &mut &*pristine(), &mut Quiet).unwrap();
        let found = Table::read(&target).unwrap();
        assert_eq!(found, new);
        assert_eq!(
            [1, 2, 3, 4].map(|number| letter(&target, &found, number)),
            [b'1', b'2', expected, 0]
        );
        assert_eq!(target.seen[..440], stick.seen[..440]);
        let data = found.place(DATA).unwrap();
        let start = data.start as usize;
        assert_eq!(target.seen[start..start + pristine().len()], pristine());
        let a = found.place(partition(Slot::A)).unwrap();
        let slot = Window::new(&mut target, a.start, a.size).unwrap();
        assert!(reserve::read(&slot).unwrap().is_none());
    }
    // The stick is as it was.
    assert_eq!(Table::read(&stick).unwrap(), old);
    assert_eq!(letter(&stick, &old, DATA), b'5');
    stick.flush().unwrap();
}

#[test]
fn a_power_cut_leaves_no_disk_that_could_be_booted_half() {
    let (stick, old) = stick();
    let new = old.moved(20 * MIB, (DATA, MIB), random(100)).unwrap();
    let blank = Fragile::new(vec![0xee; 20 * MIB as usize]);
    let mut whole = blank.clone();
    onto(&stick, Slot::A, &mut whole, (&old, &new), &mut &*pristine(), &mut Quiet).unwrap();
    let all = whole.written;
    // Everything but the partition tables, then every sector of these.
    for sectors in (100..all - 110).step_by(3001).chain((all - 110..all).step_by(7)) {
        let mut cut = blank.clone().cut_after(sectors);
        onto(&stick, Slot::A, &mut cut, (&old, &new), &mut &*pristine(), &mut Quiet).unwrap_err();
        let mut found = cut.after(sectors as u64);
        let Ok(table) = Table::read(&found) else { continue };
        assert_eq!(table, new, "after {sectors} of {all}");
        assert_eq!(letter(&found, &table, 3), b'3');
        let data = table.place(DATA).unwrap();
        let data = Window::new(&mut found, data.start, data.size).unwrap();
        assert!(!crate::disk::reset::is_pending(&data).unwrap());
    }
}

#[test]
fn disks_are_listed_with_what_speaks_against_them() {
    let folder = tempfile::tempdir().unwrap();
    let disk = |name: &str, sectors: u64, model: &str, ro: &str, block: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.join("device")).unwrap();
        std::fs::create_dir_all(path.join("queue")).unwrap();
        for (file, text) in [
            ("size", &*sectors.to_string()),
            ("device/model", model),
            ("ro", ro),
            ("queue/logical_block_size", block),
        ] {
            std::fs::write(path.join(file), format!("{text}\n")).unwrap();
        }
    };
    disk("sda", 1_000_000, "STICK", "0", "512");
    disk("nvme0n1", 500_000_000, "Some  SSD 870   ", "0", "512");
    disk("nvme1n1", 500_000_000, "Native", "0", "4096");
    disk("sdb", 1000, "Small", "0", "512");
    disk("sdc", 500_000_000, "Locked", "1", "512");
    disk("sdd", 0, "No medium", "0", "512");
    disk("loop0", 500_000_000, "", "0", "512");
    let node = |name: &str| Path::new("/dev").join(name);
    let booted = Booted {
        slot: Slot::A,
        trial: false,
        rescue: false,
        factory_reset: false,
        disk: node("sda"),
        esp: node("sda2"),
        slots: [node("sda3"), node("sda4")],
        data: node("sda5"),
    };
    let found = list(&booted, folder.path(), 200 << 20).unwrap();
    let told: Vec<_> = found.iter().map(|disk| (&*disk.name, disk.unfit)).collect();
    assert_eq!(
        told,
        [
            ("nvme0n1", None),
            ("nvme1n1", Some("its sectors are not of 512 bytes")),
            ("sdb", Some("too small")),
            ("sdc", Some("cannot be written")),
        ]
    );
    assert_eq!(line(&found[0]), "nvme0n1       256 GB  Some SSD 870");
    let odd = Disk {
        name: "sdb".into(),
        size: 512_000_000,
        model: "a\u{1b}[2J".into(),
        unfit: Some("in use"),
    };
    assert_eq!(line(&odd), "sdb           512 MB  a[2J (in use)");
}
