//! weir's rule language (pf.conf(5)) and settings file: text to checked data and back.
//!
//! Pure: no I/O, no clock. Whoever calls reads the files and hands over their text.
//!
//! ```
//! use weir_config::{Defines, SourceFile, parse};
//!
//! let file = SourceFile::new("weir.conf", "block\npass in on lan proto { tcp udp } to port domain\n");
//! let parsed = parse(&[file], &Defines::default());
//! let rules = parsed.rules.expect("no errors");
//! assert_eq!(rules.rules[1].to_string(), "pass in on lan proto tcp from any to any port = 53 flags S/SA");
//! ```

#![forbid(unsafe_code)]

pub mod diagnostic;
pub mod ether;
pub mod names;
pub mod options;
mod parse;
mod print;
pub mod probe;
pub mod rules;
pub mod settings;
mod source;
pub mod tables;
mod unbuilt;

pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use parse::{Defines, MAX_EXPANSION, MAX_RULES, MAX_TEXT, MAX_VALUE, MAX_WORDS, Parsed, parse};
pub use source::SourceFile;
pub use unbuilt::not_built;
