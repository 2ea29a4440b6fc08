//! The appliance around the firewall: what the bootable image runs besides `weir run`.

#![forbid(unsafe_code)]

pub mod verbs;
