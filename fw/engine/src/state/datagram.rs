//! Flows without a handshake: UDP, ICMP queries, and every other protocol by its address pair. As in
//! pf, an end is silent, has sent once, or takes part in an exchange.

use weir_config::options::Timeout;

use super::entry::Peer;
use crate::packet::protocol;

/// Peer states, by number; pfctl calls them so for UDP and other protocols.
pub(crate) const NAMES: [&str; 3] = ["NO_TRAFFIC", "SINGLE", "MULTIPLE"];
const SINGLE: u8 = 1;
const MULTIPLE: u8 = 2;

/// Starts with the first packet, sent by peer 0. Returns the time-out that runs.
pub(crate) const fn begin(peers: &mut [Peer; 2], protocol: u8) -> Timeout {
    match protocol {
        protocol::ICMP | protocol::ICMP6 => Timeout::IcmpFirst,
        _ => {
            peers[0].state = SINGLE;
            if protocol == protocol::UDP { Timeout::UdpFirst } else { Timeout::OtherFirst }
        }
    }
}

/// Counts a packet of peer `from` in. Returns the time-out that runs from now.
pub(crate) const fn track(peers: &mut [Peer; 2], from: usize, protocol: u8) -> Timeout {
    if matches!(protocol, protocol::ICMP | protocol::ICMP6) {
        if from == 1 {
            peers[1].state = SINGLE;
        }
        return if peers[1].state == 0 { Timeout::IcmpFirst } else { Timeout::IcmpError };
    }
    if peers[from].state < SINGLE {
        peers[from].state = SINGLE;
    }
    if peers[1 - from].state == SINGLE {
        peers[1 - from].state = MULTIPLE;
    }
    let both = peers[0].state == MULTIPLE && peers[1].state == MULTIPLE;
    match (protocol, both) {
        (protocol::UDP, false) => Timeout::UdpSingle,
        (protocol::UDP, true) => Timeout::UdpMultiple,
        (_, false) => Timeout::OtherSingle,
        (_, true) => Timeout::OtherMultiple,
    }
}

/// Whether both ends were heard.
pub(crate) const fn is_proven(peers: &[Peer; 2]) -> bool {
    peers[1].state != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn udp_lives_longer_once_both_have_answered_each_other() {
        let mut peers = [Peer::default(); 2];
        assert_eq!(begin(&mut peers, protocol::UDP), Timeout::UdpFirst);
        assert_eq!(track(&mut peers, 0, protocol::UDP), Timeout::UdpSingle);
        assert!(!is_proven(&peers));
        assert_eq!(track(&mut peers, 1, protocol::UDP), Timeout::UdpSingle);
        assert!(is_proven(&peers));
        assert_eq!(track(&mut peers, 0, protocol::UDP), Timeout::UdpMultiple);
    }

    #[test]
    fn an_icmp_reply_shortens_the_life_of_a_query() {
        let mut peers = [Peer::default(); 2];
        assert_eq!(begin(&mut peers, protocol::ICMP), Timeout::IcmpFirst);
        assert_eq!(track(&mut peers, 0, protocol::ICMP), Timeout::IcmpFirst);
        assert_eq!(track(&mut peers, 1, protocol::ICMP), Timeout::IcmpError);
        assert!(is_proven(&peers));
    }
}
