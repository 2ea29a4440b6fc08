//! `weir box upgrade`: another image for the slot that is not in use. It is checked before anything is
//! written, tried once at the next start, and kept when it has been healthy for a while.

pub mod container;
pub mod write;
pub mod xmodem;

use std::cmp::Ordering;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use minisign_verify::PublicKey;
use rustix::fs::{FlockOperation, flock};
use rustix::mount::MountFlags;

use crate::backup::archive::Archive;
use crate::disk::storage::{Device, about};
use crate::disk::{Booted, RUN, data, sticks};
use crate::terminal::{Bytes, Percent};
use crate::{release, reserve, slots};
use container::{Header, MAX_SIZE, Version};

/// Who may sign.
const KEY: &str = "/usr/lib/weir/upgrade.pub";

/// How files with upgrades end.
const ENDING: &str = ".upgrade";

/// The words behind `weir box upgrade`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// `usb`: the newest on a stick; the name of a file on a stick; a path; `serial`: sent with XMODEM
    from: String,
    /// Take an older version, or the one that runs, too
    #[arg(value_parser = ["downgrade"])]
    downgrade: Option<String>,
}

/// Does it.
///
/// # Errors
/// When it is refused or fails; what is booted next is what it was then.
pub(crate) fn main(arguments: &Arguments) -> io::Result<()> {
    let downgrade = arguments.downgrade.is_some();
    let booted = Booted::find()?;
    let _alone = alone(&booted)?;
    match &*arguments.from {
        "usb" => from_stick(&booted, None, downgrade),
        "serial" => from_line(&booted, downgrade),
        url if url.contains("://") => Err(io::Error::other(
            "weir fetches nothing by itself: copy the file to a stick, or send it with `upgrade serial`",
        )),
        path if path.starts_with('/') => {
            let path = Path::new(path);
            let mut file = File::open(path).map_err(|error| about(path, &error))?;
            install(&booted, &mut file, downgrade)
        }
        name => from_stick(&booted, Some(name), downgrade),
    }
}

/// Makes sure that the other slot may be written, and that nobody else writes it.
fn alone(booted: &Booted) -> io::Result<File> {
    let refused = |text: &str| Err(io::Error::other(text.to_owned()));
    if data::noted() != "disk" {
        return refused(
            "the data partition is not in use: settings would not survive an upgrade; refused",
        );
    }
    if slots::good(booted)? != booted.slot {
        return refused(if booted.trial {
            "this version is still being tried: wait a minute until it was found good"
        } else {
            "this is not the slot that the box usually starts: restart it first"
        });
    }
    let lock = File::create(Path::new(RUN).join("upgrade.lock"))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Err(_) => refused("an upgrade is being written already"),
        Ok(()) => Ok(lock),
    }
}

fn from_stick(booted: &Booted, name: Option<&str>, downgrade: bool) -> io::Result<()> {
    let found = sticks::find(booted, MountFlags::RDONLY, |folder| {
        let Some(path) = choose(folder, name)? else { return Ok(None) };
        println!("{}", path.file_name().unwrap_or_default().display());
        install(booted, &mut File::open(path)?, downgrade).map(Some)
    })?;
    found.ok_or_else(|| {
        let what = name.map_or_else(|| format!("a file *{ENDING}"), str::to_owned);
        io::Error::other(format!("no stick with {what} on it was found (FAT, exFAT or ext4)"))
    })
}

/// The file with that name in the folder of a stick, or the newest upgrade that is there.
fn choose(folder: &Path, name: Option<&str>) -> io::Result<Option<PathBuf>> {
    if let Some(name) = name {
        let parts = Path::new(name).components();
        if parts.into_iter().any(|part| !matches!(part, std::path::Component::Normal(_))) {
            return Err(io::Error::other("a file on a stick has a name without `..`"));
        }
        let path = folder.join(name);
        return Ok(path.is_file().then_some(path));
    }
    let mut newest: Option<(Version, PathBuf)> = None;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if !path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(ENDING)) {
            continue;
        }
        let Ok(header) = File::open(&path).and_then(|mut file| Header::read(&mut file)) else {
            continue;
        };
        let is_newer = |known: &Version| header.version.compare(known) == Ordering::Greater;
        if newest.as_ref().is_none_or(|(known, _)| is_newer(known)) {
            newest = Some((header.version, path));
        }
    }
    Ok(newest.map(|(_, path)| path))
}

fn from_line(booted: &Booted, downgrade: bool) -> io::Result<()> {
    println!(
        "Send the file with XMODEM now (CRC; 1K blocks are faster): in minicom Ctrl-A S, in\n\
         screen or others `sx -k FILE`. 115200 bits a second take about half an hour for 20 MiB."
    );
    let path = Path::new(RUN).join("received");
    let mut file =
        File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
    // It is gone when it is closed.
    fs::remove_file(&path)?;
    let most = MAX_SIZE + 4096;
    let received = xmodem::receive(&mut Bytes::new()?, &mut file, most)?;
    cut_padding(&mut file)?;
    println!("{received} bytes were received.");
    install(booted, &mut file, downgrade)
}

/// Takes away what XMODEM has filled the last block up with.
fn cut_padding(file: &mut File) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    let header = Header::read(file)?;
    let end = file.stream_position()? + header.size;
    file.seek(SeekFrom::Start(end))?;
    let mut rest = Vec::new();
    file.take(1025).read_to_end(&mut rest)?;
    if rest.len() < 1024 && rest.iter().all(|&byte| byte == xmodem::PADDING) {
        file.set_len(end)?;
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(())
}

/// Checks a file and writes it to the slot that is not in use.
fn install(booted: &Booted, file: &mut File, downgrade: bool) -> io::Result<()> {
    let text = fs::read_to_string(KEY).map_err(|error| about(Path::new(KEY), &error))?;
    let key =
        PublicKey::decode(&text).map_err(|error| io::Error::other(format!("{KEY}: {error}")))?;
    let header = Header::read(file)?;
    let start = file.stream_position()?;
    fits(&header, &release::version(), downgrade).map_err(io::Error::other)?;
    let mut progress = Percent::default();
    write::check(&header, file, &key, &mut progress)?;
    file.seek(SeekFrom::Start(start))?;

    let slot = booted.slot.other();
    // One that was to be tried before is about to be gone.
    slots::try_nothing(booted)?;
    let mut device = Device::write(booted.device(slot))?;
    write::write(&header, file, &key, &mut device, &mut progress)?;
    carry_reserve(&mut device)?;
    slots::try_next(booted, slot)?;
    println!(
        "weir {} is in slot {slot}. `reboot` tries it; if it does not work for a minute, the box\n\
         goes back to {} by itself.",
        header.version,
        release::version()
    );
    Ok(())
}

fn carry_reserve(device: &mut Device) -> io::Result<()> {
    let archive = Archive::gather(Path::new("/etc/weir"), Path::new("/var/lib/weir"))?;
    reserve::write(device, &archive)
}

/// Whether an upgrade is one for this box.
///
/// # Errors
/// In words why not.
fn fits(header: &Header, running: &str, downgrade: bool) -> Result<(), String> {
    let Header { version, layout, .. } = header;
    if *layout != release::LAYOUT {
        let ours = release::LAYOUT;
        return Err(format!("weir {version} is for disks of layout {layout}, this one has {ours}"));
    }
    let ordering = Version::parse(running).map(|running| version.compare(&running));
    match ordering {
        Some(Ordering::Greater) => Ok(()),
        _ if downgrade => Ok(()),
        Some(Ordering::Equal) => Err(format!(
            "weir {version} is what runs: refused (`downgrade` behind it takes it nevertheless)"
        )),
        _ => Err(format!(
            "weir {version} is older than {running}: refused (`downgrade` behind it takes it)"
        )),
    }
}

#[cfg(test)]
#[path = "upgrade_tests.rs"]
mod tests;
