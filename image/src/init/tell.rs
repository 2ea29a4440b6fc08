//! What the first process says: a line on each console, and in the kernel's log. It never waits for a
//! terminal, which may be held (Ctrl-S, a line without a reader): what finds no room there is lost.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::OFlags;

/// Where the kernel says which terminals are its consoles.
const ACTIVE: &str = "/sys/class/tty/console/active";

/// Says things.
#[derive(Clone, Debug)]
pub(super) struct Teller {
    terminals: Arc<[PathBuf]>,
}

impl Teller {
    /// On these terminals.
    pub(super) fn new(terminals: &[PathBuf]) -> Self {
        Self { terminals: terminals.into() }
    }

    /// Says it to whoever sits there.
    pub(super) fn say(&self, text: &str) {
        note(text);
        let flags = OFlags::NOCTTY | OFlags::NONBLOCK;
        for path in &*self.terminals {
            let opened =
                OpenOptions::new().append(true).custom_flags(flags.bits().cast_signed()).open(path);
            if let Ok(mut terminal) = opened {
                let _ = terminal.write_all(format!("\r\nweir: {text}\r\n").as_bytes());
            }
        }
    }
}

/// Writes something down only, where dmesg(1) finds it.
pub(super) fn note(text: &str) {
    if let Ok(mut log) = OpenOptions::new().write(true).open("/dev/kmsg") {
        let _ = log.write_all(format!("<6>weir: {text}").as_bytes());
    }
}

/// The terminals that are consoles, the kernel's main one first.
pub(super) fn terminals() -> Vec<PathBuf> {
    let active = fs::read_to_string(ACTIVE).unwrap_or_default();
    named(&active).map(|name| PathBuf::from("/dev").join(name)).collect()
}

/// Their names. The current virtual terminal (tty0) is a face of others, of which the first is there.
fn named(active: &str) -> impl Iterator<Item = &str> {
    active.split_whitespace().rev().map(|name| if name == "tty0" { "tty1" } else { name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_screen_is_the_first_virtual_terminal() {
        assert_eq!(named("tty0 ttyS0\n").collect::<Vec<_>>(), ["ttyS0", "tty1"]);
        assert_eq!(named("ttyS1\n").collect::<Vec<_>>(), ["ttyS1"]);
        assert_eq!(named("\n").count(), 0);
    }

    #[test]
    fn nobody_waits_for_a_terminal_that_is_held() {
        // A pipe that nobody reads stands for it.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("held");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        let teller = Teller::new(&[path.clone(), folder.path().join("missing")]);
        let reader = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(&path)
            .unwrap();
        for _ in 0..20_000 {
            teller.say("the line is held");
        }
        drop(reader);
    }
}
