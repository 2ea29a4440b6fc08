//! Drivers: kernel modules for the devices that there are, loaded in the order in which they need each
//! other, by what depmod(8) has written down. Afterwards the kernel takes no module any more.

mod index;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use rustix::io::Errno;
use rustix::system::{finit_module, uname};

use self::index::Index;

/// `MODULE_INIT_COMPRESSED_FILE`: the kernel unpacks it.
const COMPRESSED: i32 = 4;

/// Modules that are loaded in any case, first of all: a name a line.
const ALWAYS: &str = "/usr/lib/weir/modules";

/// How often devices are looked for.
const ROUND: Duration = Duration::from_secs(1);

/// Writing 1 refuses all modules from then on.
const LOCK: &str = "/proc/sys/kernel/modules_disabled";

/// What loads modules.
#[derive(Debug)]
pub(super) struct Loader {
    index: Index,
    folder: PathBuf,
    /// Aliases that were looked up, and files that were loaded or cannot be.
    seen: BTreeSet<String>,
    done: BTreeSet<String>,
}

impl Loader {
    /// For the kernel that runs.
    pub(super) fn new() -> io::Result<Self> {
        let release = uname().release().to_string_lossy().into_owned();
        let folder = Path::new("/lib/modules").join(release);
        let index = Index::read(&folder)?;
        Ok(Self { index, folder, seen: BTreeSet::new(), done: BTreeSet::new() })
    }

    /// Loads a module by its name, and what it needs; those that it is called by as well.
    pub(super) fn load(&mut self, name: &str) -> Vec<String> {
        let files = self.index.files(name);
        self.insert(&files)
    }

    /// Loads those that are wanted in any case.
    pub(super) fn load_always(&mut self) -> Vec<String> {
        let listed = fs::read_to_string(ALWAYS).unwrap_or_default();
        listed.lines().filter(|name| !name.is_empty()).flat_map(|name| self.load(name)).collect()
    }

    /// Loads drivers of devices that were not there when it was last called; tells whether there were
    /// any, and what went wrong.
    pub(super) fn load_drivers(&mut self) -> (bool, Vec<String>) {
        let mut aliases = Vec::new();
        find_aliases(Path::new("/sys/devices"), 0, &mut aliases);
        aliases.retain(|alias| self.seen.insert(alias.clone()));
        let faults = aliases.iter().flat_map(|alias| self.load(alias)).collect();
        (!aliases.is_empty(), faults)
    }

    /// Loads files, the last first.
    fn insert(&mut self, files: &[String]) -> Vec<String> {
        let mut faults = Vec::new();
        for file in files.iter().rev() {
            if !self.done.insert(file.clone()) {
                continue;
            }
            if let Err(error) = insert(&self.folder.join(file)) {
                faults.push(format!("module {file}: {error}"));
            }
        }
        faults
    }
}

/// Loads one; one that is there already is well.
fn insert(path: &Path) -> io::Result<()> {
    let compressed = path.extension().is_none_or(|extension| extension != "ko");
    let flags = if compressed { COMPRESSED } else { 0 };
    match finit_module(File::open(path)?, c"", flags) {
        // No such device: a driver for what is not there after all.
        Ok(()) | Err(Errno::EXIST | Errno::NODEV) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The names by which devices ask for their drivers. sysfs is no deeper than the machine's buses.
fn find_aliases(folder: &Path, depth: u32, found: &mut Vec<String>) {
    const DEEPEST: u32 = 24;
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth < DEEPEST => {
                find_aliases(&entry.path(), depth + 1, found);
            }
            Ok(kind) if kind.is_file() && entry.file_name() == "modalias" => {
                let text = fs::read_to_string(entry.path()).unwrap_or_default();
                let alias = text.trim_end();
                if !alias.is_empty() {
                    found.push(alias.to_owned());
                }
            }
            _ => {}
        }
    }
}

/// Loads drivers on a thread of its own: now, and whenever a device comes, until they are locked.
#[derive(Debug)]
pub(super) struct Drivers {
    lock: Arc<AtomicBool>,
    first: Receiver<()>,
}

impl Drivers {
    /// Starts; what goes wrong is told to `tell`.
    pub(super) fn start(
        mut loader: Loader,
        tell: impl Fn(&str) + Send + 'static,
    ) -> io::Result<Self> {
        let lock = Arc::new(AtomicBool::new(false));
        let (ready, first) = sync_channel(1);
        let locked = Arc::clone(&lock);
        std::thread::Builder::new().name("weir-drivers".into()).spawn(move || {
            loop {
                // A driver may find devices of its own: USB behind PCI, a watchdog behind a bridge.
                for _ in 0..8 {
                    let (some, faults) = loader.load_drivers();
                    for fault in &faults {
                        tell(fault);
                    }
                    if !some {
                        break;
                    }
                }
                // Nobody waits for later rounds.
                let _ = ready.try_send(());
                if locked.load(Ordering::Acquire) {
                    if let Err(error) = fs::write(LOCK, "1") {
                        tell(&format!("kernel modules are not locked: {error}"));
                    }
                    return;
                }
                std::thread::sleep(ROUND);
            }
        })?;
        Ok(Self { lock, first })
    }

    /// Waits until the devices that were there at first have their drivers, but not longer; whether
    /// they have.
    pub(super) fn wait(&self, limit: Duration) -> bool {
        self.first.recv_timeout(limit).is_ok()
    }

    /// Has the kernel take no module any more, soon.
    pub(super) fn lock(&self) {
        self.lock.store(true, Ordering::Release);
    }
}
