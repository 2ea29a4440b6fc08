//! What crosses weir's crates.

#![forbid(unsafe_code)]
