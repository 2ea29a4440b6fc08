//! weir: a transparent bridge firewall.

#![forbid(unsafe_code)]

fn main() {}
