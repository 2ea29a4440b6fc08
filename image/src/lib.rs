//! The appliance around the firewall: what the bootable image runs besides `weir run`.

#![forbid(unsafe_code)]

pub mod backup;
pub mod boot_password;
pub mod clock;
pub mod disk;
pub mod init;
mod install;
pub mod network;
mod release;
pub mod reserve;
pub mod setup;
pub mod slots;
mod terminal;
pub mod upgrade;
pub mod verbs;
