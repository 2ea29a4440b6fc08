//! Who has which buffer of the region, as the kernel side of the strict double sees it.
//!
//! An exchange takes place in the application's memory and the kernel sees its halves one by one,
//! when each ring is synced, in any order. So a buffer may show up in a second ring before it is
//! seen to have left the first: then the first slot must hold another one already, marked so.

use netmap_sys::netmap::NS_BUF_CHANGED;

use crate::sys::netmap::Ring;

/// Who has a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The kernel: reserved, or a spare one nobody asked for.
    Kernel,
    /// The application: in a pool, a frame, or on its way.
    Application,
    /// A slot.
    Slot {
        /// The ring's number in the region.
        ring: u16,
        /// The slot.
        slot: u32,
    },
}

/// The owner of every buffer of the region.
#[derive(Debug)]
pub(super) struct Owners(Vec<Owner>);

impl Owners {
    /// All are the kernel's.
    pub(super) fn new(count: u32) -> Self {
        Self(vec![Owner::Kernel; count as usize])
    }

    pub(super) fn set(&mut self, index: u32, owner: Owner) {
        self.0[index as usize] = owner;
    }

    /// Records that slot `to` now holds `new` in the place of `old`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn exchange(
        &mut self,
        rings: &[Ring],
        to: Owner,
        old: u32,
        new: u32,
    ) -> Result<(), String> {
        match self.0[new as usize] {
            Owner::Application => {}
            Owner::Kernel => return Err(format!("buffer {new} was never given out")),
            Owner::Slot { ring, slot } => {
                let live = rings[usize::from(ring)].slot(slot);
                if live.index == new {
                    return Err(format!("buffer {new} is in ring {ring} slot {slot} as well"));
                }
                if live.flags & NS_BUF_CHANGED == 0 {
                    return Err(format!(
                        "buffer {new} was taken out of ring {ring} slot {slot} without \
                         NS_BUF_CHANGED there"
                    ));
                }
            }
        }
        self.set(new, to);
        if self.0[old as usize] == to {
            self.set(old, Owner::Application);
        }
        Ok(())
    }
}
