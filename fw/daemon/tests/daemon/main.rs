//! The daemon's parts together: workers on the memory port, the control socket, the binary.

mod cli;
mod control;
mod house;
mod process;
mod tables;
mod worker;
