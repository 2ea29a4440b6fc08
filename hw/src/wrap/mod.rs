//! Ports around ports, for developers: what a worker does not know of, and what is not there when
//! nobody has asked for it.
//!
//! [`Faulty`] damages what comes in, as a seed decides; [`Recorder`] writes down what comes and goes,
//! without loss, so that `weir replay` can play it back. Captures in daily use are another thing: they
//! never hold up a worker, and see verdicts.

pub mod faults;
pub mod record;

pub use faults::{Faults, Faulty};
pub use record::{Record, Recorder};
