//! Settings that the next start takes in place of those that there are. They are written whole beside
//! them and take their place before anything reads them: by renaming folders, so that a power cut at any
//! moment leaves all of the old ones or, at the latest after the next start, all of the new ones.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::archive::Archive;
use crate::slots::esp;

/// What waits for the next start, on the data partition.
const WAITING: &str = "restored";
/// The same before it is whole, and when it is not needed any more.
const PARTIAL: &str = "restored.new";

/// The folders that are replaced, and their permissions.
const FOLDERS: [(&str, u32); 2] = [("etc", 0o755), ("lib", 0o700)];

/// Does something in the mounted ESP.
pub(crate) type OnEsp<'a> = &'a dyn Fn(&dyn Fn(&Path) -> io::Result<()>) -> io::Result<()>;

/// Has the next start take an archive for the settings on a data partition that is mounted there.
///
/// # Errors
/// When it cannot be written: nothing has changed then, but what waited before may be forgotten.
pub(crate) fn stage(data: &Path, archive: &Archive) -> io::Result<()> {
    let (partial, waiting) = (data.join(PARTIAL), data.join(WAITING));
    discard(data)?;
    let written = (|| {
        fs::create_dir(&partial)?;
        for (root, mode) in FOLDERS {
            archive.unpack(root, &partial.join(root))?;
            fs::set_permissions(partial.join(root), Permissions::from_mode(mode))?;
        }
        archive.unpack("boot", &partial.join("boot"))?;
        rustix::fs::sync();
        fs::rename(&partial, &waiting)?;
        File::open(data)?.sync_all()
    })();
    if written.is_err() {
        let _ = remove(&partial);
    }
    written
}

/// Takes what waits, if anything does; tells whether it did. What was begun before is completed.
///
/// # Errors
/// When it cannot be done: the next start tries again.
pub(crate) fn apply(data: &Path, on_esp: OnEsp<'_>) -> io::Result<bool> {
    let waiting = data.join(WAITING);
    if !waiting.exists() {
        // What never became whole is in nobody's way but takes room.
        return discard(data).map(|()| false);
    }
    for (root, _) in FOLDERS {
        let (new, current) = (waiting.join(root), data.join(root));
        if !new.exists() {
            continue;
        }
        let old = data.join(format!("{root}.old"));
        remove(&old)?;
        match fs::rename(&current, &old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::rename(&new, &current)?,
        }
    }
    File::open(data)?.sync_all()?;
    on_esp(&|folder| {
        for name in esp::SETTINGS {
            match fs::read(waiting.join("boot").join(name)) {
                Ok(bytes) => weir_shell::whole::write(&folder.join(name), &bytes, 0o600)?,
                Err(_) => remove_file(&folder.join(name))?,
            }
        }
        Ok(())
    })?;
    discard(data)?;
    for (root, _) in FOLDERS {
        remove(&data.join(format!("{root}.old")))?;
    }
    Ok(true)
}

/// Nothing waits any more. It is renamed first: a half of it must not be taken.
fn discard(data: &Path) -> io::Result<()> {
    let partial = data.join(PARTIAL);
    remove(&partial)?;
    match fs::rename(data.join(WAITING), &partial) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        renamed => {
            renamed?;
            File::open(data)?.sync_all()?;
            remove(&partial)
        }
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    ignore_missing(fs::remove_dir_all(folder))
}

fn remove_file(path: &Path) -> io::Result<()> {
    ignore_missing(fs::remove_file(path))
}

fn ignore_missing(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io;
    use std::path::Path;

    use super::super::archive::tests::example;
    use super::{apply, stage};

    fn data() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["etc/tables", "lib", "log", "esp/grub"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        for name in ["etc/weir.toml", "etc/tables/bad", "lib/history", "log/pflog"] {
            fs::write(folder.path().join(name), "old").unwrap();
        }
        fs::write(folder.path().join("esp/grub/console.cfg"), "old").unwrap();
        folder
    }

    fn is_restored(data: &Path) -> bool {
        let read = |name: &str| fs::read(data.join(name)).unwrap_or_default();
        for file in &example().files {
            let name = file.name.replace("boot/", "esp/");
            if read(&name) != file.bytes {
                return false;
            }
        }
        !data.join("etc/tables").exists()
            && !data.join("lib/history").exists()
            && !data.join("esp/grub/console.cfg").exists()
            && read("log/pflog") == b"old"
    }

    fn restore(data: &Path) -> io::Result<bool> {
        apply(data, &|inside| inside(&data.join("esp")))
    }

    #[test]
    fn what_waits_takes_the_place_of_what_was() {
        let folder = data();
        assert!(!restore(folder.path()).unwrap());
        stage(folder.path(), &example()).unwrap();
        stage(folder.path(), &example()).unwrap();
        assert!(!is_restored(folder.path()));
        assert!(restore(folder.path()).unwrap());
        assert!(is_restored(folder.path()));
        assert!(!restore(folder.path()).unwrap());
        let mut left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort_unstable();
        assert_eq!(left, ["esp", "etc", "lib", "log"]);
    }

    #[test]
    fn what_never_became_whole_is_not_taken() {
        let folder = data();
        stage(folder.path(), &example()).unwrap();
        fs::rename(folder.path().join("restored"), folder.path().join("restored.new")).unwrap();
        assert!(!restore(folder.path()).unwrap());
        assert_eq!(fs::read(folder.path().join("etc/weir.toml")).unwrap(), b"old");
        assert!(!folder.path().join("restored.new").exists());
    }

    /// Each state in which a power cut can leave the folders, between two of the steps.
    #[test]
    fn what_was_interrupted_is_completed() {
        let steps: [&[(&str, &str)]; 5] = [
            &[("etc", "etc.old")],
            &[("etc", "etc.old"), ("restored/etc", "etc")],
            &[("etc", "etc.old"), ("restored/etc", "etc"), ("lib", "lib.old")],
            &[
                ("etc", "etc.old"),
                ("restored/etc", "etc"),
                ("lib", "lib.old"),
                ("restored/lib", "lib"),
            ],
            &[],
        ];
        for renamed in steps {
            let folder = data();
            stage(folder.path(), &example()).unwrap();
            for (from, to) in renamed {
                fs::rename(folder.path().join(from), folder.path().join(to)).unwrap();
            }
            assert!(restore(folder.path()).unwrap());
            assert!(is_restored(folder.path()), "{renamed:?}");
        }
        // The ESP fails once.
        let folder = data();
        stage(folder.path(), &example()).unwrap();
        apply(folder.path(), &|_| Err(io::Error::other("no ESP"))).unwrap_err();
        assert!(restore(folder.path()).unwrap());
        assert!(is_restored(folder.path()));
    }
}
