//! The data partition: settings, what outlives a start, logs. Mounted once by the first process; where
//! that cannot be done the box goes on with what its slot's reserve holds, in memory, and says so.

use std::ffi::CStr;
use std::fmt;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags, mount as attach, mount_bind, unmount};
use weir_hw::sys::block;

use super::storage::{Device, Storage, about};
use super::{Booted, DATA, RUN, gpt, reset};
use crate::backup::archive::Archive;
use crate::backup::staged;
use crate::reserve;
use crate::slots::esp;

/// Where the partition is mounted.
pub const MOUNTED: &str = "/data";

/// Folders of it, where they are seen, and their permissions.
const FOLDERS: [(&str, &str, u32); 3] =
    [("etc", "/etc/weir", 0o755), ("lib", "/var/lib/weir", 0o700), ("log", "/var/log/weir", 0o750)];

/// What a fresh partition is filled with.
const FIRST: (&str, &str) = ("/usr/lib/weir/first/weir.toml", "weir.toml");

/// Asks the next start for a factory reset.
const RESET: &str = "factory-reset";

/// Bytes of a block of our ext4.
const BLOCK: u64 = 4096;

/// Neither programs nor devices are there.
const FLAGS: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC)
    .union(MountFlags::NOATIME);

/// Where the settings come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The data partition.
    Disk,
    /// The reserve, in memory: what is changed is lost at the next start. Why.
    Reserve(String),
    /// Nowhere: there are no rules, and everything is blocked. Why.
    Nothing(String),
}

/// The alarm for the consoles; nothing if all is well.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk => Ok(()),
            Self::Reserve(why) => write!(
                f,
                "ALARM: the data partition cannot be used: {why}\n\
                 The box filters with the last settings and rules of its reserve.\n\
                 What is changed now is lost at the next start; upgrades are refused."
            ),
            Self::Nothing(why) => write!(
                f,
                "ALARM: the data partition cannot be used: {why}\n\
                 There is no reserve: EVERYTHING IS BLOCKED until the box is set up again."
            ),
        }
    }
}

/// Where the settings of the running box come from, as it noted itself when it started: `disk`,
/// `reserve` or `nothing`.
pub fn noted() -> String {
    let text = fs::read_to_string(Path::new(RUN).join("data")).unwrap_or_default();
    text.trim().to_owned()
}

/// Mounts the partition of the disk that was booted, grown to the disk's end, on [`MOUNTED`], with its
/// folders where the programs look for them. A reset or a restoring that was asked for is done first.
/// `tell` is given what is worth a line on the console.
pub fn mount(booted: &Booted, tell: &mut dyn FnMut(&str)) -> Source {
    let source = match on_disk(booted, tell) {
        Ok(()) => Source::Disk,
        Err(error) => in_memory(booted, error.to_string(), tell),
    };
    let word = match source {
        Source::Disk => "disk",
        Source::Reserve(_) => "reserve",
        Source::Nothing(_) => "nothing",
    };
    let noted = fs::create_dir_all(RUN)
        .and_then(|()| fs::write(Path::new(RUN).join("data"), format!("{word}\n")));
    if let Err(error) = noted {
        tell(&format!("{RUN}: {error}"));
    }
    source
}

/// Asks the next start for a factory reset.
///
/// # Errors
/// When that cannot be noted.
pub(crate) fn ask_for_reset() -> io::Result<()> {
    weir_shell::whole::write(&Path::new(MOUNTED).join(RESET), b"", 0o600)
}

/// Has the first start from another disk take an archive for its settings.
///
/// # Errors
/// When its data partition cannot be mounted or written.
pub(crate) fn hand_over(device: &Path, archive: &Archive) -> io::Result<()> {
    let folder = Path::new(RUN).join("target");
    esp::mounted(device, &folder, ("ext4", c""), MountFlags::empty(), |folder| {
        staged::stage(folder, archive)
    })
}

fn on_disk(booted: &Booted, tell: &mut dyn FnMut(&str)) -> io::Result<()> {
    if let Err(error) = grow_partition(booted) {
        tell(&format!("the data partition stays as large as it is: {error}"));
    }
    if booted.factory_reset || reset::is_pending(&Device::read(&booted.data)?)? {
        to_factory(booted, tell)?;
    }
    let folder = Path::new(MOUNTED);
    attach_data(&booted.data, folder)?;
    if folder.join(RESET).exists() {
        unmount(folder, UnmountFlags::empty())?;
        to_factory(booted, tell)?;
        attach_data(&booted.data, folder)?;
    }
    if let Err(error) = grow_files(&booted.data, folder) {
        tell(&format!("the file system stays as large as it is: {error}"));
    }
    // A full disk must not stop a start: nothing below is needed for one.
    let boot = |inside: &dyn Fn(&Path) -> io::Result<()>| esp::with(booted, inside);
    match staged::apply(folder, &boot) {
        Ok(true) => tell("the settings were restored"),
        Ok(false) => {}
        Err(error) => tell(&format!("the settings could not be restored: {error}")),
    }
    fill(folder, tell)
}

fn attach_data(device: &Path, folder: &Path) -> io::Result<()> {
    // What a power cut has left in the journal is made good by this. After an error nothing more is
    // written.
    let options: &CStr = c"errors=remount-ro";
    attach(device, folder, "ext4", FLAGS, options).map_err(|error| about(device, &error.into()))
}

/// Makes folders and binds them where they are looked for, and fills what is new.
fn fill(folder: &Path, tell: &mut dyn FnMut(&str)) -> io::Result<()> {
    for (name, target, mode) in FOLDERS {
        let path = folder.join(name);
        match DirBuilder::new().mode(mode).create(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(about(&path, &error));
            }
            _ => {}
        }
        mount_bind(&path, target).map_err(|error| about(Path::new(target), &error.into()))?;
        // A bind does not take the flags of what it shows.
        rustix::mount::mount_remount(target, MountFlags::BIND | FLAGS, "")?;
    }
    let settings = folder.join("etc").join(FIRST.1);
    if !settings.exists()
        && let Err(error) =
            fs::read(FIRST.0).and_then(|bytes| weir_shell::whole::write(&settings, &bytes, 0o644))
    {
        tell(&format!("{}: {error}", settings.display()));
    }
    Ok(())
}

/// What holds when the partition cannot be used.
fn in_memory(booted: &Booted, why: String, tell: &mut dyn FnMut(&str)) -> Source {
    for (_, target, _) in FOLDERS {
        // What was bound before it failed; nothing else is there yet.
        let _ = unmount(target, UnmountFlags::DETACH);
    }
    let _ = unmount(MOUNTED, UnmountFlags::DETACH);
    let kept = Device::read(booted.device(booted.slot)).and_then(|slot| reserve::read(&slot));
    let folder = Path::new(MOUNTED);
    let made = attach("tmpfs", folder, "tmpfs", FLAGS, c"size=32m,mode=755")
        .map_err(io::Error::from)
        .and_then(|()| match &kept {
            Ok(Some(archive)) => archive
                .unpack("etc", &folder.join("etc"))
                .and_then(|()| archive.unpack("lib", &folder.join("lib"))),
            _ => Ok(()),
        })
        .and_then(|()| fill(folder, tell));
    match (made, kept) {
        (Ok(()), Ok(Some(_))) => Source::Reserve(why),
        (Ok(()), Ok(None)) => Source::Nothing(why),
        (Err(error), _) | (_, Err(error)) => Source::Nothing(format!("{why}; reserve: {error}")),
    }
}

/// Settings, rules, logs, passwords and reserves are gone afterwards.
fn to_factory(booted: &Booted, tell: &mut dyn FnMut(&str)) -> io::Result<()> {
    tell("factory reset: all settings, rules and logs are removed");
    // Whatever is interrupted from here on is begun anew.
    let mut data = Device::write(&booted.data)?;
    reset::mark(&mut data)?;
    for slot in [booted.slot, booted.slot.other()] {
        reserve::clear(&mut Device::write(booted.device(slot))?)?;
    }
    if let Err(error) = esp::with(booted, forget) {
        tell(&format!("the settings of the boot loader could not be removed: {error}"));
    }
    reset::write(&mut data, &mut reset::Pristine::open()?)
}

/// Takes the settings of the loader out of a mounted ESP.
pub(crate) fn forget(folder: &Path) -> io::Result<()> {
    for name in esp::SETTINGS {
        match fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Takes the partition to the end of its disk, which may be larger than the image was.
fn grow_partition(booted: &Booted) -> io::Result<()> {
    // Firmware and other systems write here, too: nothing is opened for writing that needs none.
    let before = gpt::Table::read(&Device::read(&booted.disk)?)?;
    let Some(grown) = before.grown(Device::read(&booted.disk)?.size(), DATA)? else {
        return Ok(());
    };
    let mut disk = Device::write(&booted.disk)?;
    grown.write(&mut disk)?;
    let place = grown.place(DATA).ok_or(io::ErrorKind::NotFound)?;
    block::resize_partition(disk.file().as_fd(), DATA, place.start, place.size)
}

/// Takes the file system to the end of its partition.
fn grow_files(device: &Path, mounted: &Path) -> io::Result<()> {
    let blocks = Device::read(device)?.size() / BLOCK;
    let mut superblock = [0; 1024];
    Device::read(device)?.read_at(1024, &mut superblock)?;
    let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| superblock[at + byte]));
    // s_blocks_count, of which the upper half is elsewhere, and s_log_block_size.
    let known = u64::from(word(4)) | u64::from(word(0x150)) << 32;
    if 1024_u64 << word(24).min(6) != BLOCK {
        return Err(io::Error::other("its blocks are of another size"));
    }
    // Whole groups of blocks can be had only.
    if blocks < known + 8 * BLOCK {
        return Ok(());
    }
    block::resize_ext4(fs::File::open(mounted)?.as_fd(), blocks)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::{Source, attach_data, grow_files};

    fn run(program: &str, words: &[&str]) -> Result<String, String> {
        let output = Command::new(program).args(words).output().map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        if output.status.success() { Ok(text.trim().to_owned()) } else { Err(text) }
    }

    /// A loop device, as long as it is wanted.
    struct Loop(String);

    impl Drop for Loop {
        fn drop(&mut self) {
            let _ = run("losetup", &["-d", &self.0]);
        }
    }

    #[test]
    fn a_file_system_grows_while_it_is_mounted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let file = path.to_str().unwrap();
        std::fs::File::create(&path).unwrap().set_len(64 << 20).unwrap();
        let made = run("mke2fs", &["-q", "-F", "-t", "ext4", "-b", "4096", "-O", "64bit", file])
            .and_then(|_| run("truncate", &["-s", "1G", file]))
            .and_then(|_| run("losetup", &["-f", "--show", file]));
        let device = match made {
            Ok(name) => Loop(name),
            Err(why) => return eprintln!("skipped: no loop device with an ext4: {why}"),
        };
        let mounted = folder.path().join("mounted");
        std::fs::create_dir(&mounted).unwrap();
        if let Err(why) = attach_data(Path::new(&device.0), &mounted) {
            return eprintln!("skipped: no ext4 can be mounted here: {why}");
        }
        let size = || rustix::fs::statvfs(&mounted).map(|found| found.f_blocks * found.f_frsize);
        let (before, grown) = (size(), grow_files(Path::new(&device.0), &mounted));
        let after = size();
        let again = grow_files(Path::new(&device.0), &mounted);
        rustix::mount::unmount(&mounted, rustix::mount::UnmountFlags::empty()).unwrap();
        if let Err(error) = &grown
            && error.kind() == std::io::ErrorKind::PermissionDenied
        {
            return eprintln!("skipped: no CAP_SYS_RESOURCE: {error}");
        }
        grown.unwrap();
        again.unwrap();
        assert!(before.unwrap() < 64 << 20 && after.unwrap() > 900 << 20);
        drop(device);
        run("e2fsck", &["-f", "-n", file]).unwrap();
    }

    #[test]
    fn the_alarm_says_what_holds() {
        assert_eq!(Source::Disk.to_string(), "");
        let reserve = Source::Reserve("no ext4".into()).to_string();
        assert!(reserve.contains("cannot be used: no ext4") && reserve.contains("reserve"));
        assert!(Source::Nothing("x".into()).to_string().contains("EVERYTHING IS BLOCKED"));
        for line in reserve.lines() {
            assert!(line.len() < 80, "{line}");
        }
    }
}
