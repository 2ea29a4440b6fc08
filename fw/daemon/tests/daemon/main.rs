//! The daemon's parts together: workers on the memory port, the control socket, the binary.

mod access;
mod captured;
mod changes;
mod cli;
mod control;
mod house;
mod loading;
mod metrics;
mod process;
mod queries;
mod seat;
mod tables;
mod unconfirmed;
mod worker;
