//! Counters for Prometheus: a page of text that is made anew for whoever asks (`control/measuring/`
//! fills it), and the small HTTP server that hands it out ([`server`]).

pub mod page;
pub mod server;

pub use page::Page;
