//! Lint, seen from outside.

mod model;
mod proven;
mod typed;
