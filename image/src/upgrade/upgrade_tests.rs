use std::io::{self, Cursor, Read, Seek, Write};

use super::container::Header;
use super::container::tests::{blob, key, saying, upgrade};
use super::write::{Progress, check, write};
use super::{choose, cut_padding, fits};
use crate::disk::storage::cut::Fragile;
use crate::reserve;

#[derive(Debug, Default)]
struct Told(Vec<(String, u64)>);

impl Progress for Told {
    fn step(&mut self, what: &str, done: u64, all: u64) {
        assert!(done <= all);
        self.0.push((what.to_owned(), done));
    }
}

/// A slot with something older in it that can be booted.
fn slot() -> Fragile {
    Fragile::new([b"hsqs", &vec![7; 16 << 10][4..], &vec![0; reserve::SIZE as usize]].concat())
}

/// What no loader takes for a file system.
fn cannot_be_booted(slot: &Fragile) -> bool {
    slot.seen[..512].iter().all(|&byte| byte == 0)
}

fn written(slot: &mut Fragile, file: &[u8]) -> Result<Told, String> {
    let mut from = Cursor::new(file);
    let header = Header::read(&mut from).unwrap();
    let mut told = Told::default();
    write(&header, &mut from, &key(), slot, &mut told).map_err(|error| error.to_string())?;
    Ok(told)
}

fn checked(file: &[u8]) -> Result<(), String> {
    let mut from = Cursor::new(file);
    let header = Header::read(&mut from).unwrap();
    check(&header, &mut from, &key(), &mut Told::default()).map_err(|error| error.to_string())
}

#[test]
fn an_upgrade_is_written_whole() {
    assert_eq!(checked(&upgrade()), Ok(()));
    let mut slot = slot();
    let told = written(&mut slot, &upgrade()).unwrap();
    assert_eq!(slot.seen[..10_000], blob());
    assert_eq!(slot.seen[10_000..16 << 10], vec![7; (16 << 10) - 10_000]);
    let steps: Vec<_> = told.0.iter().map(|(what, _)| &**what).collect();
    assert_eq!(steps, ["writing", "reading back"]);
}

#[test]
fn what_is_not_what_was_signed_cannot_be_booted() {
    let mut changed = upgrade();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    let short = &upgrade()[..last];
    let long = [&upgrade()[..], b"x"].concat();
    for (file, said) in [
        (&changed[..], "damaged or forged"),
        (short, "shorter than it says"),
        (&long, "longer than it says"),
    ] {
        let wrong = checked(file).unwrap_err();
        assert!(wrong.contains(said), "{wrong}");
        let mut slot = slot();
        let wrong = written(&mut slot, file).unwrap_err();
        assert!(wrong.contains(said), "{wrong}");
        assert!(cannot_be_booted(&slot));
    }
    let mut small = Fragile::new(vec![1; 8192 + reserve::SIZE as usize]);
    assert!(written(&mut small, &upgrade()).unwrap_err().contains("larger than the slot"));
    assert_eq!(small.written, 0);
}

#[test]
fn a_power_cut_leaves_the_old_one_nothing_or_the_new_one() {
    let mut whole = slot();
    written(&mut whole, &upgrade()).unwrap();
    let mut nothing = 0;
    for sectors in 0..whole.written {
        for seed in 0..8 {
            let mut cut = slot().cut_after(sectors);
            written(&mut cut, &upgrade()).unwrap_err();
            let found = cut.after(seed);
            let is_old = found.seen == slot().seen;
            let is_new = found.seen[..10_000] == blob();
            assert!(is_old || is_new || cannot_be_booted(&found), "after {sectors}");
            nothing += u32::from(cannot_be_booted(&found));
        }
    }
    assert!(nothing > 0);
}

/// A disk that keeps something else than what it is given.
struct Failing(Fragile);

impl crate::disk::storage::Storage for Failing {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, bytes)?;
        if offset > 0 {
            bytes[0] ^= 1;
        }
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[test]
fn what_reads_otherwise_is_not_booted() {
    let file = upgrade();
    let mut from = Cursor::new(&file);
    let header = Header::read(&mut from).unwrap();
    let mut slot = Failing(slot());
    let wrong = write(&header, &mut from, &key(), &mut slot, &mut Told::default()).unwrap_err();
    assert!(wrong.to_string().contains("the disk is failing"), "{wrong}");
    assert!(cannot_be_booted(&slot.0));
}

#[test]
fn only_newer_ones_for_this_layout_fit() {
    let header = |version: &str, layout: u32| {
        saying(&format!("weir {version} layout {layout} size 10000")).unwrap()
    };
    assert_eq!(fits(&header("0.2.0", 1), "0.1.0", false), Ok(()));
    assert_eq!(fits(&header("0.1.0", 1), "0.1.0-rc.1", false), Ok(()));
    for (version, layout, said) in [
        ("0.1.0", 1, "is what runs"),
        ("0.0.9", 1, "is older than 0.1.0"),
        ("0.1.0-rc.1", 1, "is older than 0.1.0"),
        ("0.2.0", 2, "is for disks of layout 2"),
    ] {
        let wrong = fits(&header(version, layout), "0.1.0", false).unwrap_err();
        assert!(wrong.contains(said), "{wrong}");
        assert_eq!(fits(&header(version, layout), "0.1.0", true).is_ok(), layout == 1);
    }
    assert!(fits(&header("0.2.0", 1), "unknown", false).is_err());
}

#[test]
fn padding_of_the_line_is_cut_and_nothing_else() {
    for (behind, is_cut) in [
        (vec![], true),
        (vec![0x1a; 1023], true),
        (vec![0x1a; 1024], false),
        (vec![0x1a, 0], false),
    ] {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[upgrade(), behind].concat()).unwrap();
        cut_padding(&mut file).unwrap();
        let mut found = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut found).unwrap();
        assert_eq!(found == upgrade(), is_cut);
        assert_eq!(checked(&found).is_ok(), is_cut);
    }
}

#[test]
fn of_the_files_on_a_stick_the_newest_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let text = |version: &str| {
        let text = String::from_utf8_lossy(&upgrade()[..400]).into_owned();
        text.replace("weir 0.2.0 ", &format!("weir {version} "))
    };
    for (name, version) in [("a.upgrade", "0.9.0"), ("b.upgrade", "0.10.0"), ("c.txt", "1.0.0")] {
        std::fs::write(folder.path().join(name), text(version)).unwrap();
    }
    std::fs::write(folder.path().join("d.upgrade"), "nothing").unwrap();
    let found = |name| choose(folder.path(), name).unwrap();
    assert_eq!(found(None), Some(folder.path().join("b.upgrade")));
    assert_eq!(found(Some("a.upgrade")), Some(folder.path().join("a.upgrade")));
    assert_eq!(found(Some("e.upgrade")), None);
    assert!(choose(folder.path(), Some("../etc/passwd")).is_err());
}
