//! What crosses weir's crates: the lab of network namespaces, the frames it sends, and around them
//! the scenario tests, the demonstration and the side-by-side benchmark.

#![forbid(unsafe_code)]

pub mod bridge;
pub mod faults;
pub mod frames;
pub mod fuzz;
pub mod lab;
pub mod pppoe;
pub mod random;
pub mod rounds;
pub mod syns;
pub mod vm;
