//! Care of a NIC: what makes it fast and steady as a port, step by step. Each [`Step`] is a file: what
//! it changes, what follows if it cannot, and what takes it back.
//!
//! Steps work on a [`Device`]: the real one asks the kernel, that of tests answers from a list. A
//! driver that lacks what a step is about (`EOPNOTSUPP`) is no failure; those lacks are told together.
//! One that shows a table of settings and then refuses to change it has failed.

mod channels;
mod coalesce;
mod device;
mod hash;
mod interrupts;
mod pause;
mod rings;
#[cfg(test)]
mod tests;

use std::io;

pub(crate) use device::{Device, Real};
pub use hash::Dealing;
pub(crate) use hash::dealing;

use crate::sys::ethtool::Table;

/// What an owner may choose about the care of NICs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// Whether anything is changed at all.
    pub tune: bool,
    /// Entries in each ring; `None` is the largest power of two that the NIC has room for.
    pub ring: Option<u32>,
    /// Microseconds that a NIC may gather frames for before it interrupts.
    pub interrupt_usecs: u32,
    /// Whether a NIC may stop its neighbour with pause frames, and be stopped.
    pub flow_control: bool,
    /// What the key of the hash repeats by which NICs deal out what they receive; the same for both
    /// ports.
    pub hash_word: u16,
}

impl Default for Wishes {
    fn default() -> Self {
        Self { tune: true, ring: None, interrupt_usecs: 10, flow_control: false, hash_word: 0x6d5a }
    }
}

/// What takes a step back.
pub(crate) type Undo = Box<dyn FnOnce(&dyn Device) -> io::Result<()> + Send>;

/// What a step has come to.
pub(crate) enum Outcome {
    /// It was as it should be.
    AsItWas,
    /// It was changed.
    Changed(Undo),
    /// It was changed, but not all that was wanted could be had: in words, with the consequence.
    Partly(Option<Undo>, String),
}

/// One thing to set.
pub(crate) trait Step {
    /// What it is about: "ring sizes".
    fn name(&self) -> &'static str;

    /// What follows where it cannot be done.
    fn consequence(&self) -> &'static str;

    /// Whether it is about which frame goes to which queue.
    fn shares_out(&self) -> bool {
        false
    }

    /// Does it.
    ///
    /// # Errors
    /// What the driver said; `EOPNOTSUPP` if it has no such thing.
    fn take(&self, device: &dyn Device) -> io::Result<Outcome>;
}

/// What all steps together have come to.
#[derive(Default)]
pub(crate) struct Report {
    /// What takes them back, with their names, in the order in which they were taken.
    pub(crate) undo: Vec<(&'static str, Undo)>,
    /// What went wrong, with its consequence.
    pub(crate) warnings: Vec<String>,
    /// Names of what the driver lacks.
    pub(crate) lacks: Vec<&'static str>,
}

/// Takes the steps for a NIC that so many workers share, before it is opened as a port.
pub(crate) fn care(device: &dyn Device, wishes: &Wishes, workers: usize) -> Report {
    // The number of queues comes first: drivers make rings and hash anew with it.
    let steps: [&dyn Step; 7] = [
        &channels::Channels { workers: workers as u32 },
        &rings::Rings { entries: wishes.ring },
        &pause::Pause { on: wishes.flow_control },
        &hash::Fields,
        &hash::Key { word: wishes.hash_word },
        &hash::Table { queues: workers as u32 },
        &coalesce::Coalesce { usecs: wishes.interrupt_usecs },
    ];
    // One worker has all queues: how they share is all the same.
    let matters = |step: &&dyn Step| wishes.tune && (workers > 1 || !step.shares_out());
    take(device, steps.into_iter().filter(matters))
}

/// Points the interrupts of a NIC's queue `q` to CPU `cpus[q % cpus.len()]`, when it is open: ixgbe and
/// its like give up all interrupts and take new ones for the first XDP program.
pub(crate) fn point(device: &dyn Device, wishes: &Wishes, cpus: &[u32]) -> Report {
    let step: &dyn Step = &interrupts::Affinity { cpus };
    take(device, wishes.tune.then_some(step).into_iter())
}

fn take<'a>(device: &dyn Device, steps: impl Iterator<Item = &'a dyn Step>) -> Report {
    let mut report = Report::default();
    for step in steps {
        match step.take(device) {
            Ok(Outcome::AsItWas) => {}
            Ok(Outcome::Changed(undo)) => report.undo.push((step.name(), undo)),
            Ok(Outcome::Partly(undo, text)) => {
                report.undo.extend(undo.map(|undo| (step.name(), undo)));
                report.warnings.push(text);
            }
            Err(error) if is_lack(&error) => report.lacks.push(step.name()),
            Err(error) => report.warnings.push(format!(
                "cannot set {} ({error}): {}",
                step.name(),
                step.consequence()
            )),
        }
    }
    report
}

/// Writes a table that was read before: whoever shows it and then says that there is no such thing
/// refuses.
fn change(device: &dyn Device, table: Table, words: &[u32]) -> io::Result<()> {
    device.write(table, words).map_err(|error| {
        if is_lack(&error) { io::Error::other(format!("refused: {error}")) } else { error }
    })
}

/// Does everything there is to do, whatever fails, and tells the first failure.
fn all(outcomes: impl Iterator<Item = io::Result<()>>) -> io::Result<()> {
    outcomes.fold(Ok(()), io::Result::and)
}

/// The driver has no such thing.
fn lack<T>() -> io::Result<T> {
    Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP))
}

/// Whether a driver says that it has no such thing.
fn is_lack(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS))
}
