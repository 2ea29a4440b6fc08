//! Capture files, and the port that plays them back.
//!
//! [`any`] reads either format, [`file`] writes classic pcap and [`ng`] pcapng. [`fed`] is a port
//! whose other end is in this process: who replays a file puts its frames in there, sets the time of
//! the engine, lets the worker run and takes what has left.

pub mod any;
pub mod fed;
pub mod file;
pub mod ng;

pub use any::{AnyReader, Seen};
pub use fed::{FedPort, Wire};
pub use file::Record;
