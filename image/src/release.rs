//! What this image is: `/usr/lib/weir/release`, lines `NAME=value` that the builder has written.

use std::fs;

const FILE: &str = "/usr/lib/weir/release";

/// The layout of disks that this weir can be on.
pub(crate) const LAYOUT: u32 = 1;

/// The version of this image; of the program, where there is none.
pub(crate) fn version() -> String {
    let text = fs::read_to_string(FILE).unwrap_or_default();
    let found = text.lines().find_map(|line| line.strip_prefix("VERSION="));
    found.unwrap_or(env!("CARGO_PKG_VERSION")).to_owned()
}
