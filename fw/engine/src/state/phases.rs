//! How many states there are of each protocol in each phase, counted as they begin, change and end: never
//! for a packet that changes nothing.
//!
//! A phase is what pf.conf(5) has a time-out for.

use weir_config::options::Timeout;

use crate::packet::protocol;

/// Protocols that are told apart, and the time-outs that their states have.
const KINDS: [(&str, &str); 6] = [
    ("tcp", "tcp"),
    ("sctp", "tcp"),
    ("udp", "udp"),
    ("icmp", "icmp"),
    ("icmp6", "icmp"),
    ("other", "other"),
];

/// Numbers of states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases([[u32; Timeout::ALL.len()]; KINDS.len()]);

impl Phases {
    /// A state begins, in the phase of that time-out.
    pub(crate) fn begin(&mut self, protocol: u8, timeout: u8) {
        *self.of(protocol, timeout) += 1;
    }

    /// A state ends, or leaves that phase.
    pub(crate) fn end(&mut self, protocol: u8, timeout: u8) {
        *self.of(protocol, timeout) -= 1;
    }

    fn of(&mut self, protocol: u8, timeout: u8) -> &mut u32 {
        &mut self.0[kind(protocol)][usize::from(timeout)]
    }

    /// Adds those of another worker.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.0.as_flattened_mut().iter_mut().zip(other.0.as_flattened()) {
            *sum += more;
        }
    }

    /// Protocol, phase and number, of every phase that a protocol has: `tcp`, `established`, 7.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &'static str, u32)> {
        KINDS.into_iter().zip(&self.0).flat_map(|((protocol, family), numbers)| {
            Timeout::ALL.into_iter().zip(numbers).filter_map(move |(timeout, &number)| {
                let (begin, phase) = timeout.name().split_once('.')?;
                let has = begin == family && timeout != Timeout::TcpTsDiff;
                has.then_some((protocol, phase, number))
            })
        })
    }
}

const fn kind(protocol: u8) -> usize {
    match protocol {
        protocol::TCP => 0,
        protocol::SCTP => 1,
        protocol::UDP => 2,
        protocol::ICMP => 3,
        protocol::ICMP6 => 4,
        _ => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_counted_where_they_are() {
        let mut phases = Phases::default();
        phases.begin(protocol::TCP, Timeout::TcpFirst as u8);
        phases.begin(protocol::ICMP6, Timeout::IcmpFirst as u8);
        phases.begin(89, Timeout::OtherSingle as u8);
        let mut sum = phases;
        phases.end(protocol::TCP, Timeout::TcpFirst as u8);
        sum.add(&phases);
        let some: Vec<_> = sum.iter().filter(|&(.., number)| number > 0).collect();
        assert_eq!(some, [("tcp", "first", 1), ("icmp6", "first", 2), ("other", "single", 2)]);
        // 6 of TCP and of SCTP, 3 of UDP, 2 of ICMP and of ICMPv6, 3 of all others.
        assert_eq!(sum.iter().count(), 22);
    }
}
