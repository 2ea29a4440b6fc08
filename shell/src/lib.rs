//! weir's command line. Speaks only the control protocol.

#![forbid(unsafe_code)]
