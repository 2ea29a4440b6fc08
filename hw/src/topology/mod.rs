//! Where threads may run: the processors of this machine ([`Topology`], read from sysfs), and which of
//! them each worker gets ([`plan`], a pure function).

mod cpulist;
mod plan;
mod read;

pub use plan::{Demand, Plan, Seat, Unplannable, plan};

use std::collections::BTreeSet;

/// A processor, as the kernel numbers them: what a thread is pinned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Its number.
    pub id: u32,
    /// The lowest number among the processors of its core: two with the same share one core (SMT).
    pub core: u32,
    /// NUMA node; 0 where there is only one.
    pub node: u32,
    /// Kept free of other threads by the boot parameter `isolcpus`.
    pub isolated: bool,
    /// Whether this process may run on it (affinity, control group).
    pub allowed: bool,
}

/// The processors that are online.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// By number, rising.
    pub cpus: Vec<Cpu>,
}

impl Topology {
    /// Those that this process may run on.
    pub fn allowed(&self) -> impl Iterator<Item = &Cpu> {
        self.cpus.iter().filter(|cpu| cpu.allowed)
    }

    /// How many cores this process may use.
    pub fn cores(&self) -> usize {
        self.allowed().map(|cpu| cpu.core).collect::<BTreeSet<_>>().len()
    }

    /// How many NUMA nodes there are, at least 1.
    pub fn nodes(&self) -> usize {
        self.cpus.iter().map(|cpu| cpu.node).collect::<BTreeSet<_>>().len().max(1)
    }
}
