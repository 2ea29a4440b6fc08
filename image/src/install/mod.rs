//! `weir box install`: booted from a stick, weir is copied to a disk of the box.
//!
//! The disk gets the layout of the stick with identifiers of its own, so that both can be plugged in. What
//! a firmware would start, the boot record and the partition table, is cleared first and written last.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use weir_hw::sys::block;

use crate::backup;
use crate::disk::gpt::{Place, Table};
use crate::disk::storage::{Device, SECTOR, Storage, Window};
use crate::disk::{Booted, DATA, ESP, data, disk_names, partition, partitions, reset};
use crate::reserve;
use crate::slots::{self, Slot, esp};
use crate::terminal::{Percent, agree, ask};
use crate::upgrade::write::{self, Progress};

/// Number of the partition of the boot loader of a BIOS.
const BIOS: u32 = 1;
/// Bytes that are copied at a time.
const CHUNK: usize = 1 << 20;
/// The program in the boot record; what stands behind it is the partition table.
const PROGRAM: usize = 440;
/// The least of a data partition, in bytes.
const LEAST: u64 = 64 << 20;

/// A disk that could be taken.
#[derive(Debug, PartialEq, Eq)]
struct Disk {
    name: String,
    /// In bytes.
    size: u64,
    model: String,
    /// Why not, if it could not.
    unfit: Option<&'static str>,
}

/// Does it.
///
/// # Errors
/// When there is no disk, nobody agrees, or it cannot be written: the disk cannot be booted then.
pub(crate) fn main() -> io::Result<()> {
    let booted = Booted::find()?;
    let table = Table::read(&Device::read(&booted.disk)?)?;
    let disks = list(&booted, Path::new("/sys/block"), needed(&table)?)?;
    let Some(disk) = choose(&disks)? else { return Ok(()) };
    let with_settings = match &*ask("Take the settings and rules of this box along? [yes]")? {
        "" | "yes" => true,
        "no" => false,
        _ => return Err(io::Error::other("nothing was done")),
    };
    let path = Path::new("/dev").join(&disk.name);
    let mut target = Device::write(&path)?;
    let new = table.moved(target.size(), (DATA, LEAST), random)?;
    let mut progress = Percent::default();
    copy(&booted, &mut target, &table, &new, &mut progress)?;
    block::read_partitions(target.file().as_fd())?;
    drop(target);
    let node = |number| appeared(&disk.name, number);
    esp::with_device(&node(ESP)?, |folder| {
        if !with_settings {
            data::forget(folder)?;
        }
        slots::begin(folder)
    })?;
    if with_settings {
        let archive = backup::of_box(&booted)?;
        data::hand_over(&node(DATA)?, &archive)?;
        reserve::write(&mut Device::write(&node(partition(Slot::A))?)?, &archive)?;
    }
    println!(
        "weir is on {}. Switch the box off (`shutdown`), take the stick out, switch it on.",
        disk.name
    );
    Ok(())
}

/// Bytes that a disk must have for a layout.
fn needed(table: &Table) -> io::Result<u64> {
    let data = table.place(DATA).ok_or_else(|| io::Error::other("there is no data partition"))?;
    Ok(data.start + LEAST + 64 * SECTOR)
}

/// The disks of the machine but for the one that was booted.
fn list(booted: &Booted, disks: &Path, needed: u64) -> io::Result<Vec<Disk>> {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mut found = Vec::new();
    for name in disk_names(disks)? {
        let read =
            |what: &str| fs::read_to_string(disks.join(&name).join(what)).unwrap_or_default();
        let size = read("size").trim().parse::<u64>().unwrap_or(0) * SECTOR;
        if name == booted.name() || size == 0 {
            continue;
        }
        let mut nodes: Vec<_> =
            partitions(disks, &name).into_iter().map(|(_, node)| node).collect();
        nodes.push(name.clone());
        let is_mounted = mounts.lines().any(|line| {
            let device = line.split(' ').next().and_then(|device| device.strip_prefix("/dev/"));
            device.is_some_and(|device| nodes.iter().any(|node| node == device))
        });
        let unfit = if read("ro").trim() == "1" {
            Some("cannot be written")
        } else if is_mounted {
            Some("in use")
        } else if size < needed {
            Some("too small")
        } else if !matches!(read("queue/logical_block_size").trim(), "512" | "") {
            Some("its sectors are not of 512 bytes")
        } else {
            None
        };
        let model = read("device/model").split_whitespace().collect::<Vec<_>>().join(" ");
        found.push(Disk { name, size, model, unfit });
    }
    Ok(found)
}

fn choose(disks: &[Disk]) -> io::Result<Option<&Disk>> {
    if disks.iter().all(|disk| disk.unfit.is_some()) {
        return Err(io::Error::other("there is no other disk to install on"));
    }
    println!("Disks:");
    for disk in disks {
        println!("  {}", line(disk));
    }
    let name = ask("Install on which one? (its name; nothing: none)")?;
    if name.is_empty() {
        return Ok(None);
    }
    let disk = disks.iter().find(|disk| disk.name == name);
    let disk = disk.ok_or_else(|| io::Error::other(format!("there is no disk {name:?}")))?;
    if let Some(why) = disk.unfit {
        return Err(io::Error::other(format!("{name} cannot be taken: {why}")));
    }
    println!("EVERYTHING ON THIS DISK WILL BE LOST:\n  {}", line(disk));
    if ask("Type its name again to agree:")? != name {
        return Err(io::Error::other("nothing was done"));
    }
    agree("Begin?").map(|()| Some(disk))
}

fn line(disk: &Disk) -> String {
    let Disk { name, size, model, unfit } = disk;
    let size = match size / 1_000_000_000 {
        0 => format!("{} MB", size / 1_000_000),
        size => format!("{size} GB"),
    };
    let why = unfit.map(|why| format!(" ({why})")).unwrap_or_default();
    let model: String = model.chars().filter(|letter| !letter.is_control()).take(40).collect();
    format!("{name:<10} {size:>9}  {model}{why}")
}

/// Copies what was booted to a disk that gets another table.
fn copy(
    booted: &Booted,
    target: &mut Device,
    old: &Table,
    new: &Table,
    progress: &mut impl Progress,
) -> io::Result<()> {
    let stick = Device::read(&booted.disk)?;
    let mut pristine = reset::Pristine::open()?;
    onto(&stick, booted.slot, target, (old, new), &mut pristine, progress)
}

/// The same between any two storages.
fn onto(
    stick: &impl Storage,
    slot: Slot,
    target: &mut impl Storage,
    (old, new): (&Table, &Table),
    pristine: &mut impl Read,
    progress: &mut impl Progress,
) -> io::Result<()> {
    let place = |table: &Table, number| {
        let missing = || io::Error::other(format!("the disk has no partition {number}"));
        table.place(number).ok_or_else(missing)
    };
    // Until the end nothing there can be booted or taken for something.
    let end = target.size() - target.size() % SECTOR;
    let zeros = vec![0; 34 * SECTOR as usize];
    for offset in [0, end - 34 * SECTOR] {
        target.write_at(offset, &zeros)?;
    }
    target.flush()?;
    let slot_size = place(old, partition(slot))?.size - reserve::SIZE;
    let parts = [
        ("boot loader", BIOS, BIOS, place(old, BIOS)?.size),
        ("boot files", ESP, ESP, place(old, ESP)?.size),
        ("weir", partition(slot), partition(Slot::A), slot_size),
    ];
    for (what, from, to, size) in parts {
        let (from, to) = (place(old, from)?, place(new, to)?);
        between(stick, from, target, to, size, |done| progress.step(what, done, size))?;
    }
    reserve::clear(&mut window(target, place(new, partition(Slot::A))?)?)?;
    let mut other = window(target, place(new, partition(Slot::B))?)?;
    write::clear(&mut other)?;
    reserve::clear(&mut other)?;
    progress.step("data", 0, 1);
    reset::write(&mut window(target, place(new, DATA)?)?, pristine)?;
    progress.step("data", 1, 1);
    let mut record = [0; SECTOR as usize];
    stick.read_at(0, &mut record)?;
    record[PROGRAM..].fill(0);
    target.write_at(0, &record)?;
    target.flush()?;
    new.write(target)
}

fn window<S: Storage>(disk: &mut S, place: Place) -> io::Result<Window<'_, S>> {
    Window::new(disk, place.start, place.size)
}

/// Copies so many bytes from one partition to another, and reads them back.
fn between(
    stick: &impl Storage,
    from: Place,
    target: &mut impl Storage,
    to: Place,
    size: u64,
    mut progress: impl FnMut(u64),
) -> io::Result<()> {
    if size > from.size || size > to.size {
        return Err(io::Error::other("the partitions are of other sizes"));
    }
    let (mut chunk, mut found) = (vec![0; CHUNK], vec![0; CHUNK]);
    for again in [false, true] {
        let mut done = 0;
        while done < size {
            let part = (size - done).min(CHUNK as u64);
            let (chunk, found) = (&mut chunk[..part as usize], &mut found[..part as usize]);
            stick.read_at(from.start + done, chunk)?;
            if again {
                target.read_at(to.start + done, found)?;
                if chunk != found {
                    return Err(io::Error::other(
                        "what was written reads otherwise: the disk is failing",
                    ));
                }
            } else {
                target.write_at(to.start + done, chunk)?;
            }
            done += part;
            progress(if again { size } else { done.min(size - 1) });
        }
        target.flush()?;
    }
    Ok(())
}

/// The node of a partition, which the kernel makes within moments.
fn appeared(disk: &str, number: u32) -> io::Result<PathBuf> {
    let found = partitions(Path::new("/sys/block"), disk);
    let name = found.into_iter().find(|&(known, _)| known == number).map(|(_, name)| name);
    let missing = || io::Error::other(format!("{disk} has no partition {number}"));
    Ok(Path::new("/dev").join(name.ok_or_else(missing)?))
}

fn random() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
#[path = "install_tests.rs"]
mod tests;
