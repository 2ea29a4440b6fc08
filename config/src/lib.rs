//! weir's rule language (pf.conf(5)) and settings file: text to checked data and back.
//!
//! Pure: no I/O, no clock. Whoever calls reads the files and hands over their text.

#![forbid(unsafe_code)]

pub mod options;
pub mod rules;
