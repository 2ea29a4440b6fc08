//! `weir explain` and `weir test`: as a user calls them, and against the engine itself.

mod agreement;
mod explained;
mod tested;
mod weir;
