//! The disk that was booted and its five partitions: `weir-bios`, `weir-esp`, slots A and B, `weir-data`.
//! The layout is frozen: upgrades find it on disks that were made long ago.

pub mod data;
pub mod gpt;
pub(crate) mod reset;
pub(crate) mod sticks;
pub mod storage;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::slots::{self, Slot};
use gpt::Table;
use storage::Device;

/// Where the appliance keeps what is true until the next start.
pub const RUN: &str = "/run/weir-box";

/// Number of the ESP.
pub(crate) const ESP: u32 = 2;
/// Number of the data partition.
pub(crate) const DATA: u32 = 5;

/// Number of a slot's partition.
pub(crate) fn partition(slot: Slot) -> u32 {
    match slot {
        Slot::A => 3,
        Slot::B => 4,
    }
}

/// What was booted, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Booted {
    /// The slot.
    pub slot: Slot,
    /// It is tried, and not known to work.
    pub trial: bool,
    /// A rescue prompt was asked for.
    pub rescue: bool,
    /// The settings are to be removed.
    pub factory_reset: bool,
    /// The whole disk, as in `/dev/sda`.
    pub disk: PathBuf,
    /// The ESP.
    pub esp: PathBuf,
    /// Slots A and B.
    pub slots: [PathBuf; 2],
    /// The data partition.
    pub data: PathBuf,
}

impl Booted {
    /// What this machine has booted.
    ///
    /// # Errors
    /// When the kernel's command line does not say so, or the disk is not there.
    pub fn find() -> io::Result<Self> {
        let line = fs::read_to_string("/proc/cmdline")?;
        Self::parse(&line, Path::new("/sys/block"), Path::new("/dev"), slots::is_stamped)
    }

    /// What a command line of the kernel says, with the disks that are listed in a folder like
    /// `/sys/block` and have their nodes in another. The disk is the one that has the partition
    /// `weir.disk`; where the loader has seen several with the same image on them, it has left a stamp
    /// on the ESP of the one that it started, `weir.stamp`, for which `is_stamped` looks.
    ///
    /// # Errors
    /// When it does not say so, or the disk is not there or not laid out as weir's are.
    pub fn parse(
        line: &str,
        disks: &Path,
        nodes: &Path,
        is_stamped: impl Fn(&Path, &str) -> bool,
    ) -> io::Result<Self> {
        let word = |name: &str| {
            let mut words = line.split_ascii_whitespace();
            words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        };
        let missing = |name| move || io::Error::other(format!("the loader has named no {name}"));
        let slot = word("weir.slot").and_then(Slot::named).ok_or_else(missing("slot"))?;
        let uuid = word("weir.disk").ok_or_else(missing("disk"))?;
        let flag = |name| word(name) == Some("1");
        for name in disk_names(disks)? {
            let Ok(table) = Device::read(&nodes.join(&name)).and_then(|disk| Table::read(&disk))
            else {
                continue;
            };
            if table.number(uuid) != Some(partition(slot)) {
                continue;
            }
            let node = |number| node(disks, nodes, &name, number);
            if let Some(stamp) = word("weir.stamp")
                && !is_stamped(&node(ESP)?, stamp)
            {
                continue;
            }
            return Ok(Self {
                slot,
                trial: flag("weir.trial"),
                rescue: flag("weir.rescue"),
                factory_reset: flag("weir.factory-reset"),
                disk: nodes.join(&name),
                esp: node(ESP)?,
                slots: [node(partition(Slot::A))?, node(partition(Slot::B))?],
                data: node(DATA)?,
            });
        }
        Err(io::Error::other(format!("no disk has the partition {uuid}")))
    }

    /// The device of a slot.
    pub fn device(&self, slot: Slot) -> &Path {
        match slot {
            Slot::A => &self.slots[0],
            Slot::B => &self.slots[1],
        }
    }

    /// The name of the disk in `/sys/block`.
    pub(crate) fn name(&self) -> &str {
        self.disk.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }
}

/// Names of the disks of the machine, in order; none of what is no hardware or has no partitions.
///
/// # Errors
/// When the folder cannot be read.
pub(crate) fn disk_names(disks: &Path) -> io::Result<Vec<String>> {
    const NONE: [&str; 8] = ["loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd"];
    let mut names = Vec::new();
    for entry in fs::read_dir(disks)? {
        if let Ok(name) = entry?.file_name().into_string()
            && !NONE.iter().any(|none| name.starts_with(none))
        {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The partitions of a disk by their numbers, in order.
pub(crate) fn partitions(disks: &Path, disk: &str) -> Vec<(u32, String)> {
    let mut found: Vec<_> = fs::read_dir(disks.join(disk))
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let number = fs::read_to_string(entry.path().join("partition")).ok()?;
            Some((number.trim().parse().ok()?, entry.file_name().into_string().ok()?))
        })
        .collect();
    found.sort_unstable();
    found
}

fn node(disks: &Path, nodes: &Path, disk: &str, number: u32) -> io::Result<PathBuf> {
    let known = partitions(disks, disk);
    let found = known.into_iter().find(|&(known, _)| known == number);
    let missing = || io::Error::other(format!("{disk} has no partition {number}"));
    Ok(nodes.join(found.ok_or_else(missing)?.1))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::gpt::{Guid, blank};
    use super::{Booted, Slot};
    use crate::disk::storage::Device;

    const SIZE: u64 = 8 << 20;

    /// A machine with two disks of the same layout, and the identifiers of their slots A.
    fn machine() -> (tempfile::TempDir, [String; 2]) {
        let folder = tempfile::tempdir().unwrap();
        let (sys, dev) = (folder.path().join("sys"), folder.path().join("dev"));
        std::fs::create_dir_all(&dev).unwrap();
        let uuids = [("sda", 10), ("vda", 20)].map(|(name, mut number)| {
            // The disk gets the first, its third partition the fourth.
            let third = Guid::random([number + 4; 16]).to_string();
            let random = || {
                number += 1;
                Ok([number; 16])
            };
            let table = blank(1 << 20).moved(SIZE, (5, 1 << 20), random).unwrap();
            std::fs::write(dev.join(name), vec![0; SIZE as usize]).unwrap();
            table.write(&mut Device::write(&dev.join(name)).unwrap()).unwrap();
            for number in 1..=5 {
                let partition = sys.join(name).join(format!("{name}{number}"));
                std::fs::create_dir_all(&partition).unwrap();
                std::fs::write(partition.join("partition"), format!("{number}\n")).unwrap();
            }
            third
        });
        std::fs::create_dir(sys.join("loop0")).unwrap();
        std::fs::create_dir(sys.join("sdb")).unwrap();
        (folder, uuids)
    }

    fn parse(folder: &Path, line: &str) -> Result<Booted, String> {
        let stamped = |esp: &Path, stamp: &str| stamp == "now" && esp.ends_with("vda2");
        Booted::parse(line, &folder.join("sys"), &folder.join("dev"), stamped)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn of_two_disks_the_one_that_was_booted_is_taken() {
        let (folder, uuids) = machine();
        for (uuid, name) in uuids.iter().zip(["sda", "vda"]) {
            let line = format!("quiet weir.slot=a weir.disk={uuid} weir.trial=1 panic=10");
            let booted = parse(folder.path(), &line).unwrap();
            let node = |end: &str| folder.path().join("dev").join(format!("{name}{end}"));
            assert_eq!(booted.slot, Slot::A);
            assert_eq!((booted.trial, booted.rescue, booted.factory_reset), (true, false, false));
            assert_eq!((booted.disk.clone(), booted.esp.clone()), (node(""), node("2")));
            assert_eq!((booted.device(Slot::B), &booted.data), (&*node("4"), &node("5")));
            assert_eq!(booted.name(), name);
            let wrong = parse(folder.path(), &line.replace("slot=a", "slot=b")).unwrap_err();
            assert!(wrong.contains("no disk has the partition"), "{wrong}");
        }
    }

    #[test]
    fn of_two_disks_that_are_the_same_the_one_with_the_stamp_is_taken() {
        let (folder, uuids) = machine();
        let dev = folder.path().join("dev");
        std::fs::copy(dev.join("sda"), dev.join("vda")).unwrap();
        let line = format!("weir.slot=a weir.disk={}", uuids[0]);
        assert_eq!(parse(folder.path(), &line).unwrap().name(), "sda");
        let stamped = parse(folder.path(), &format!("{line} weir.stamp=now")).unwrap();
        assert_eq!(stamped.name(), "vda");
        assert!(parse(folder.path(), &format!("{line} weir.stamp=then")).is_err());
    }

    #[test]
    fn what_the_loader_does_not_say_is_missed() {
        let (folder, _) = machine();
        for (line, missed) in [
            ("weir.disk=x", "named no slot"),
            ("weir.slot=c weir.disk=x", "named no slot"),
            ("weir.slot=a", "named no disk"),
            ("weir.slot=a weir.disk=x", "no disk has the partition x"),
        ] {
            let wrong = parse(folder.path(), line).unwrap_err();
            assert!(wrong.contains(missed), "{line}: {wrong}");
        }
    }
}
