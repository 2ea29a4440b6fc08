//! The engine seen from outside: rules in their language, whole frames in; verdicts, listings and
//! counters out.

mod attacks;
mod bridge;
mod challenge;
mod classifier;
mod effects;
mod encapsulation;
mod endpoint;
mod evaluation;
mod flows;
mod fragments;
mod hostile;
mod judge;
mod language;
mod late;
mod link;
mod progress;
mod proxied;
mod random;
mod reasons;
mod recovery;
mod refusals;
mod sctp;
mod simulation;
mod sources;
mod steering;
mod synproxy;
mod timeouts;
mod timestamps;
mod translation;
