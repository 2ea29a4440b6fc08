//! The watchdog of the machine, or the kernel's own where the machine has none: it resets what hangs.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use weir_hw::sys::watchdog::Watchdog;

use super::modules::Loader;
use super::supervisor::End;

/// The device.
const DEVICE: &str = "/dev/watchdog";

/// The kernel's own watchdog, a timer: it sees a first process that hangs, and no kernel that does.
const EMULATED: &str = "softdog";

/// Seconds without food after which the machine is reset.
const TIMEOUT: u32 = 30;

/// The same while the machine goes down: drivers may take long to let go.
const LAST_TIMEOUT: u32 = 60;

/// How often it is fed at most.
const MEALS: Duration = Duration::from_secs(1);

/// It, as soon as it is there.
#[derive(Debug)]
pub(super) struct Dog {
    open: Option<Watchdog>,
    fed: Option<Instant>,
}

impl Dog {
    /// Not open yet.
    pub(super) const fn new() -> Self {
        Self { open: None, fed: None }
    }

    /// Opens it, if it is there and not open yet: it counts from then on. What keeps it from counting.
    pub(super) fn open(&mut self) -> Option<io::Error> {
        if self.open.is_some() {
            return None;
        }
        match Watchdog::open(Path::new(DEVICE)) {
            Ok(dog) => {
                // One that cannot be set has a time of its own, which is seldom shorter.
                let _ = dog.set_timeout(TIMEOUT);
                self.open = Some(dog);
                None
            }
            Err(error) => Some(error),
        }
    }

    /// The same when all drivers are there; where the machine has none it is emulated.
    pub(super) fn open_or_emulate(&mut self, tell: impl Fn(&str)) {
        if self.open().is_none() {
            return;
        }
        if let Ok(mut loader) = Loader::new() {
            loader.load(EMULATED).iter().for_each(|fault| tell(fault));
        }
        match self.open() {
            None => {}
            Some(error) => tell(&format!("no watchdog guards this machine: {error}")),
        }
    }

    /// Feeds it.
    pub(super) fn feed(&mut self) {
        let now = Instant::now();
        if self.fed.is_some_and(|fed| now.duration_since(fed) < MEALS) {
            return;
        }
        self.fed = Some(now);
        if let Some(dog) = &mut self.open {
            // One that takes no food resets the machine: nothing else could be done about it.
            let _ = dog.feed();
        }
    }

    /// The machine goes down: a reboot that hangs is ended by it, one that is off must stay off.
    pub(super) fn leave(&mut self, end: End) {
        let Some(mut dog) = self.open.take() else { return };
        let _ = match end {
            End::Reboot => {
                let _ = dog.set_timeout(LAST_TIMEOUT);
                let fed = dog.feed();
                // Counts on although nobody has it open.
                self.open = Some(dog);
                fed
            }
            End::PowerOff => dog.disarm(),
        };
    }
}
