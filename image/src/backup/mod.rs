//! Settings as one piece: `weir box backup` and `weir box restore`.

pub mod archive;
pub mod armour;
mod restore;
pub(crate) mod staged;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use rustix::mount::MountFlags;

use crate::disk::{Booted, sticks};
use crate::slots::esp;
use archive::Archive;
pub(crate) use restore::{Arguments as RestoreArguments, main as restore};

/// How files with backups end.
const ENDING: &str = ".backup";

/// The most backups on a stick.
const MOST: u32 = 9999;

/// The words behind `weir box backup`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// `usb`: a file on a stick; nothing: text on the terminal
    #[arg(value_parser = ["usb"])]
    to: Option<String>,
}

/// Does it.
///
/// # Errors
/// When something cannot be read, or there is nowhere to write it.
pub(crate) fn main(arguments: &Arguments) -> io::Result<()> {
    let booted = Booted::find()?;
    let archive = of_box(&booted)?;
    if let Err(wrong) = restore::check(&archive) {
        eprintln!(
            "weir: this backup will not be restored as it is, since there are errors:\n{wrong}"
        );
    }
    let text = armour::write(&archive.to_bytes());
    if arguments.to.is_none() {
        let mut out = io::stdout().lock();
        return out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
    let name = sticks::find(&booted, MountFlags::empty(), |folder| keep(folder, &text).map(Some))?;
    let name = name.ok_or_else(|| io::Error::other("no stick was found (FAT, exFAT or ext4)"))?;
    println!("{name} is on the stick. Whoever has it has the secrets of this box, too.");
    Ok(())
}

/// Everything that makes this box what it is.
pub(crate) fn of_box(booted: &Booted) -> io::Result<Archive> {
    let mut archive = Archive::gather(Path::new("/etc/weir"), Path::new("/var/lib/weir"))?;
    esp::with(booted, |folder| {
        for name in esp::SETTINGS {
            let path = folder.join(name);
            if path.is_file() {
                archive.file(&path, format!("boot/{name}"))?;
            }
        }
        Ok(())
    })?;
    Ok(archive)
}

/// Writes a backup into a folder, beside those that are there. Tells its name.
fn keep(folder: &Path, text: &str) -> io::Result<String> {
    let number = newest(folder)?.map_or(1, |number| number + 1);
    if number > MOST {
        return Err(io::Error::other("there are too many backups on the stick"));
    }
    let name = name(number);
    let mut file = File::options().write(true).create_new(true).open(folder.join(&name))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(name)
}

/// The largest number of a backup in a folder.
fn newest(folder: &Path) -> io::Result<Option<u32>> {
    let mut newest = None;
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let number = name.strip_prefix("weir-").and_then(|name| name.strip_suffix(ENDING));
        newest = newest.max(number.and_then(|number| number.parse().ok()));
    }
    Ok(newest)
}

fn name(number: u32) -> String {
    format!("weir-{number:03}{ENDING}")
}

#[cfg(test)]
mod tests {
    use super::{keep, name, newest};

    #[test]
    fn backups_on_a_stick_are_kept_beside_each_other() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(newest(folder.path()).unwrap(), None);
        assert_eq!(keep(folder.path(), "one").unwrap(), "weir-001.backup");
        assert_eq!(keep(folder.path(), "two").unwrap(), "weir-002.backup");
        std::fs::write(folder.path().join("weir-x.backup"), "").unwrap();
        std::fs::write(folder.path().join(name(9999)), "").unwrap();
        assert_eq!(newest(folder.path()).unwrap(), Some(9999));
        assert!(keep(folder.path(), "more").is_err());
        assert_eq!(std::fs::read(folder.path().join("weir-001.backup")).unwrap(), b"one");
    }
}
