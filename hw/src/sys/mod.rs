//! Everything that cannot be proven by the compiler: shared memory and raw system calls. The rest of
//! the crate is safe code on top of it.

pub mod block;
pub(crate) mod bpf;
pub mod clock;
pub(crate) mod ethtool;
pub(crate) mod ledger;
pub mod memory;
pub mod namespace;
pub(crate) mod netmap;
pub(crate) mod packet;
pub mod peer;
pub mod region;
pub(crate) mod ring;
pub(crate) mod socket;
pub mod thread;
pub mod watchdog;
pub(crate) mod xdp;
