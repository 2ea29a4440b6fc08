//! weir's firewall, sans-IO: frames, time and rule sets in; verdicts, crafted frames and log
//! records out. No sockets, threads, clock or randomness of its own.

#![deny(unsafe_code)]

pub mod frame;
pub mod packet;
pub mod reason;
pub mod reflect;
pub mod time;
