//! The appliance around the firewall: what the bootable image runs besides `weir run`.

#![forbid(unsafe_code)]

pub mod backup;
pub mod disk;
mod install;
mod release;
pub mod reserve;
pub mod slots;
mod terminal;
pub mod upgrade;
pub mod verbs;
