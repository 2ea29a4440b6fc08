//! What weir tells: packets that rules log, and its own messages.
//!
//! Records of packets come from the workers over lock-free rings ([`ring`]); one thread takes them
//! ([`Writer`]), holds each rule to its rate ([`pace`]), and hands them to whoever wants them
//! ([`Sinks`]): the packet log, log servers (`syslog/`), the file in pf's format (`pflog/`), and those
//! who follow over the control socket ([`hub`]). weir's own messages come from `tracing` by
//! [`events::Layer`]. Everybody has a queue of their own ([`Outlet`]) with a thread behind it: who is
//! slow or stuck loses messages, which is counted and told, and holds nobody up, a worker least of all.
//!
//! Bytes from the wire reach a log only as what tcpdump would say about them, and whatever is not
//! printable is escaped.

pub mod events;
pub mod fields;
pub mod hub;
pub mod message;
pub mod outlet;
mod pace;
mod ring;
mod sinks;
mod teller;
mod writer;

pub use message::{Kind, Message, Severity};
pub use outlet::Outlet;
pub use ring::{RecordReceiver, RecordSender, ring};
pub use sinks::{Sinks, open};
pub use teller::{Teller, action_name, escape, grouped};
pub use writer::{Writer, Writing};
