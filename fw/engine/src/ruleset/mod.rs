//! Rules at work. [`program`] is a rule set compiled, which all workers share: [`sequence`] writes
//! anchors out, [`criteria`] tests one rule, [`regions`] tells the
//! [`classifier`](crate::classifier) which rules can matter, [`evaluate`] walks through these as pf
//! does, [`verdict`] puts the two sides of a packet's way together. [`records`] is what each worker
//! remembers of its rules, [`carried`] what of that a new program takes over. [`filter`] picks packets
//! for captures by the same criteria.

pub(crate) mod carried;
pub(crate) mod criteria;
pub(crate) mod evaluate;
pub mod filter;
pub(crate) mod meters;
pub mod names;
pub mod program;
pub(crate) mod records;
mod regions;
mod reverse_path;
pub mod sequence;
pub(crate) mod tags;
pub mod verdict;

pub use criteria::Criterion;
pub use filter::{Filter, FilterError};
pub use names::{PortName, PortNames};
pub use program::{CompileError, Program, TableName};
pub use sequence::RulePlace;
pub use verdict::{Decision, Outcome, SideTrace, Trace, TraceStep};
