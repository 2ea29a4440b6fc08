//! Rules at work: the compiled [`Program`] that all workers share, and each worker's [`records`] of
//! what its rules have seen.

pub mod program;
pub(crate) mod records;
pub(crate) mod tags;

pub use program::{CompileError, PortName, PortNames, Program};
