//! `weir explain`, `weir test` and `weir replay`: as a user calls them, and against the engine itself.

mod agreement;
mod explained;
mod replayed;
mod tested;
mod weir;
