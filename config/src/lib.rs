//! weir's rule language (pf.conf(5)) and settings file: text to checked data and back.
//!
//! Pure: no I/O, no clock. Whoever calls reads the files and hands over their text.
//!
//! ```
//! use weir_config::{Defines, SourceFile, parse_one};
//!
//! let file = SourceFile::new("weir.conf", "block\npass in on lan proto { tcp udp } to port domain\n");
//! let parsed = parse_one(&file, &Defines::default());
//! let rules = parsed.rules.expect("no errors");
//! assert_eq!(rules.rules[1].to_string(), "pass in on lan proto tcp from any to any port = 53 flags S/SA");
//! ```

#![forbid(unsafe_code)]

mod bounds;
pub mod diagnostic;
mod environment;
pub mod ether;
pub mod lint;
pub mod listing;
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

pub use bounds::beyond_limit;
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use environment::{Environment, Files, PortPrefixes, Texts};
pub use parse::{
    CallFault, Defines, Loaded, MAX_ANCHOR_DEPTH, MAX_ANCHORS, MAX_DEPTH, MAX_EVALUATED,
    MAX_EXPANSION, MAX_FILES, MAX_RULES, MAX_TABLE_ENTRIES, MAX_TABLE_TEXT, MAX_TEXT, MAX_VALUE,
    MAX_WORDS, Parsed, anchor_path, check_calls, notes, parse, parse_one, vocabulary,
};
pub use source::{Places, SourceFile, Span};
pub use unbuilt::not_built;
