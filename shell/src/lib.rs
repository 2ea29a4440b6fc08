//! weir's command line. Speaks only the control protocol.

#![forbid(unsafe_code)]

pub mod appliance;
pub mod capture;
pub mod changes;
pub mod check;
pub mod client;
pub mod console;
pub mod ctl;
mod dial;
pub mod explanation;
pub mod log;
pub mod options;
mod print;
pub mod protocol;
pub mod query;
pub mod rulesets;
pub mod source;
mod table;
pub mod top;
pub mod whole;
