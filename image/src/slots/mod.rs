//! The two slots, and which of them is booted. GRUB reads two words from `grub/grubenv` on the ESP:
//! `good`, the slot that is known to work, and `next`, one to be tried once, which GRUB takes out before
//! it does.

mod environment;
pub mod esp;

use std::fmt;
use std::io;
use std::path::Path;

use crate::disk::Booted;
use environment::Environment;

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Partition 3.
    A,
    /// Partition 4.
    B,
}

impl Slot {
    /// The one that is not this.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// By its letter.
    pub fn named(letter: &str) -> Option<Self> {
        match letter {
            "a" => Some(Self::A),
            "b" => Some(Self::B),
            _ => None,
        }
    }
}

/// Its letter.
impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "a",
            Self::B => "b",
        })
    }
}

/// The slot that is known to work; as in the loader that is A where nothing readable says otherwise.
///
/// # Errors
/// When the ESP cannot be mounted.
pub fn good(booted: &Booted) -> io::Result<Slot> {
    esp::with(booted, |folder| Ok(Environment::load(folder).good()))
}

/// Has the loader try a slot at the next start, once.
///
/// # Errors
/// When it cannot be written; nothing has changed then.
pub fn try_next(booted: &Booted, slot: Slot) -> io::Result<()> {
    change(booted, |environment| environment.set("next", &slot.to_string()))
}

/// Nothing is to be tried at the next start.
///
/// # Errors
/// When it cannot be written.
pub fn try_nothing(booted: &Booted) -> io::Result<()> {
    change(booted, |environment| environment.remove("next"))
}

/// The slot that was booted is good: it is what the loader starts from now on.
///
/// # Errors
/// When it cannot be written: the next start takes the other slot.
pub fn mark_good(booted: &Booted) -> io::Result<()> {
    change(booted, |environment| {
        environment.set("good", &booted.slot.to_string());
        if environment.get("next") == Some(&booted.slot.to_string()) {
            environment.remove("next");
        }
    })
}

/// Whether the loader has left that stamp on an ESP, to tell the disk that it has started from another
/// with the same image.
pub(crate) fn is_stamped(esp: &Path, stamp: &str) -> bool {
    esp::with_device(esp, |folder| Ok(Environment::load(folder).get("stamp") == Some(stamp)))
        .unwrap_or(false)
}

/// What a fresh disk has, into a mounted ESP: A is good, nothing is to be tried.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn begin(folder: &Path) -> io::Result<()> {
    let mut environment = Environment::default();
    environment.set("good", "a");
    environment.store(folder)
}

fn change(booted: &Booted, change: impl FnOnce(&mut Environment)) -> io::Result<()> {
    esp::with(booted, |folder| {
        let mut environment = Environment::load(folder);
        let before = environment.clone();
        change(&mut environment);
        if environment == before { Ok(()) } else { environment.store(folder) }
    })
}
