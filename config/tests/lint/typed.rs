//! Each warning on rules as a person types them.
