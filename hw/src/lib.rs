//! Ports: how frames get into weir and out of it.
//!
//! A worker owns one [`Pool`] of buffers and, of every port, one [`Port`] (its queue). Frames are
//! lent by moving: [`Port::receive`] takes a [`Frame`] out of a receive ring and puts a spare buffer
//! of the pool in its place, whoever holds the `Frame` owns its bytes, [`Port::transmit`] gives it
//! away for good. Nothing is copied between ports that share a [`Memory`], nothing is allocated a
//! frame, and whether the ring behind it is netmap's, `AF_XDP`'s or a socket does not show.
//!
//! `unsafe` lives in [`sys`] alone.

#![deny(unsafe_code)]

pub mod care;
pub mod frame;
pub mod inventory;
pub mod netmap;
pub mod nic;
pub mod open;
pub mod packet;
pub mod pcap;
pub mod port;
#[allow(unsafe_code)]
pub mod sys;
pub mod topology;
pub mod wrap;
pub mod xdp;

pub use care::{Dealing, Wishes};
pub use frame::{Checksum, Frame, Gso, GsoKind, Meta};
pub use inventory::{Nic, nics};
pub use nic::{Interface, LinkState, LinkWatch, Notice, Prepared, Refusal, prepare};
pub use open::{Io, OpenError, Opened, Wanted, WorkerPorts, open};
pub use port::{Kind, Port, PortError, Stats};
pub use sys::memory::{Buffer, Memory, Pool};
