//! ICMP (RFC 792) and ICMPv6 (RFC 4443): queries, errors with the packet they quote, others.

use super::bytes::{be16, be32, header};
use super::ipv4::Ipv4;
use super::ipv6::{self, Ipv6};
use super::{Address, Icmp, Network, Quote, Transport, ipv4, protocol};
use crate::reason::Reason;

/// Length of the header that all messages share, in bytes.
pub const HEADER: usize = 8;
/// Where the checksum stands in the header.
pub const CHECKSUM: usize = 2;

/// Types of ICMP (IANA).
pub mod v4 {
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 3;
    /// Source quench.
    pub const SOURCE_QUENCH: u8 = 4;
    /// Redirect.
    pub const REDIRECT: u8 = 5;
    /// Echo request.
    pub const ECHO: u8 = 8;
    /// Router advertisement (RFC 1256).
    pub const ROUTER_ADVERTISEMENT: u8 = 9;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 12;
    /// Timestamp request.
    pub const TIMESTAMP: u8 = 13;
    /// Timestamp reply.
    pub const TIMESTAMP_REPLY: u8 = 14;
    /// Information request.
    pub const INFORMATION: u8 = 15;
    /// Information reply.
    pub const INFORMATION_REPLY: u8 = 16;
    /// Address mask request.
    pub const MASK: u8 = 17;
    /// Address mask reply.
    pub const MASK_REPLY: u8 = 18;
}

/// Types of ICMPv6 (IANA).
pub mod v6 {
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 1;
    /// Packet too big.
    pub const TOO_BIG: u8 = 2;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 3;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// Echo request.
    pub const ECHO: u8 = 128;
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 129;
    /// Router solicitation.
    pub const ROUTER_SOLICITATION: u8 = 133;
    /// Router advertisement.
    pub const ROUTER_ADVERTISEMENT: u8 = 134;
    /// Neighbour solicitation.
    pub const NEIGHBOUR_SOLICITATION: u8 = 135;
    /// Neighbour advertisement.
    pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    /// Redirect.
    pub const REDIRECT: u8 = 137;
    /// Multicast listener query.
    pub const LISTENER_QUERY: u8 = 130;
    /// Multicast listener done (`MLDv1`).
    pub const LISTENER_DONE: u8 = 132;
    /// Multicast listener report (`MLDv2`).
    pub const LISTENER_REPORT_V2: u8 = 143;

    /// Whether the type is one of multicast listener discovery (RFC 2710, RFC 9777).
    pub const fn is_listener_discovery(kind: u8) -> bool {
        matches!(kind, LISTENER_QUERY..=LISTENER_DONE | LISTENER_REPORT_V2)
    }
}

/// What a type is, of whichever family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A query or a reply to one, with an id behind the checksum.
    Query,
    /// An error, which quotes a packet behind the header.
    Error,
    /// Any other.
    Other,
}

/// What the type `kind` is over `network`. Redirects are `Other`: no state is to believe them.
#[inline]
pub const fn class(network: Network, kind: u8) -> Class {
    match (network, kind) {
        (
            Network::Ipv4,
            v4::ECHO_REPLY
            | v4::ECHO
            | v4::TIMESTAMP..=v4::MASK_REPLY,
        )
        | (Network::Ipv6, v6::ECHO | v6::ECHO_REPLY) => Class::Query,
        (
            Network::Ipv4,
            v4::UNREACHABLE | v4::SOURCE_QUENCH | v4::TIME_EXCEEDED | v4::PARAMETER_PROBLEM,
        )
        // All below 128 are errors (RFC 4443, 2.1); the unassigned cannot be matched to a state.
        | (Network::Ipv6, v6::UNREACHABLE..=v6::PARAMETER_PROBLEM) => Class::Error,
        _ => Class::Other,
    }
}

/// An ICMP or ICMPv6 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a>(&'a [u8; HEADER]);

impl<'a> Message<'a> {
    /// Reads the header at `at`, in a packet that ends before `end`, of which `head` is the first
    /// segment. Fails with [`Reason::TruncatedIcmp`] or [`Reason::SplitHeader`].
    pub fn new(head: &'a [u8], at: usize, end: usize) -> Result<Self, Reason> {
        header(head, at, end, Reason::TruncatedIcmp).map(Self)
    }

    /// Type and code.
    pub fn icmp(&self) -> Icmp {
        Icmp { kind: self.0[0], code: self.0[1] }
    }

    /// Checksum.
    pub fn checksum(&self) -> u16 {
        be16(self.0, CHECKSUM)
    }

    /// Id of a query.
    pub fn id(&self) -> u16 {
        be16(self.0, 4)
    }

    /// Sequence number of a query.
    pub fn sequence(&self) -> u16 {
        be16(self.0, 6)
    }
}

/// Reads the message at `at`; the id of a query is the second value.
pub(super) fn parse(
    head: &[u8],
    at: usize,
    end: usize,
    network: Network,
    ttl: u8,
) -> Result<(Transport, u16), Reason> {
    let message = Message::new(head, at, end)?;
    let icmp = message.icmp();
    match class(network, icmp.kind) {
        Class::Query => Ok((Transport::IcmpQuery(icmp), message.id())),
        Class::Error => {
            quote(head, at + HEADER, end, network).map(|q| (Transport::IcmpError(icmp, q), 0))
        }
        // RFC 4861, 6.1 and 7.1, 8.1: whatever came through a router is not neighbour discovery.
        Class::Other
            if network == Network::Ipv6
                && matches!(icmp.kind, v6::ROUTER_SOLICITATION..=v6::REDIRECT)
                && (ttl != 255 || icmp.code != 0) =>
        {
            Err(Reason::NdHopLimit)
        }
        Class::Other => Ok((Transport::IcmpOther(icmp), 0)),
    }
}

/// Reads the packet that an error quotes at `at`: of the same family, its first fragment, with at
/// least the 8 bytes of transport header that RFC 792 asks for. Its checksums and lengths are not
/// checked, since routers on its way have changed them.
fn quote(head: &[u8], at: usize, end: usize, network: Network) -> Result<Quote, Reason> {
    let unreadable = |reason| match reason {
        Reason::SplitHeader => reason,
        _ => Reason::IcmpQuote,
    };
    let (source, destination, protocol, transport) = if network == Network::Ipv4 {
        let quoted = Ipv4::new(head, at, end).map_err(unreadable)?;
        if quoted.fragment() & ipv4::FRAGMENT_OFFSET != 0 {
            return Err(Reason::IcmpQuote);
        }
        let source = Address::v4(quoted.source().to_be_bytes());
        let destination = Address::v4(quoted.destination().to_be_bytes());
        (source, destination, quoted.protocol(), at + quoted.header_length())
    } else {
        let quoted = Ipv6::new(head, at, end).map_err(unreadable)?;
        let chain =
            ipv6::walk(head, at + ipv6::HEADER, quoted.next_header(), end).map_err(unreadable)?;
        if chain.fragment.is_some_and(|fragment| fragment.offset != 0) {
            return Err(Reason::IcmpQuote);
        }
        (quoted.source(), quoted.destination(), chain.protocol, chain.transport)
    };
    let first: Result<&[u8; 8], Reason> = header(head, transport, end, Reason::IcmpQuote);
    let (source_port, destination_port, seq) = match protocol {
        protocol::TCP | protocol::SCTP => first.map(|f| (be16(f, 0), be16(f, 2), be32(f, 4)))?,
        protocol::UDP => first.map(|f| (be16(f, 0), be16(f, 2), 0))?,
        protocol::ICMP | protocol::ICMP6 => {
            let first = first?;
            match class(network, first[0]) {
                Class::Query => (be16(first, 4), be16(first, 4), 0),
                // RFC 1122, 3.2.2: there are no errors about errors.
                Class::Error => return Err(Reason::IcmpQuote),
                Class::Other => (0, 0, 0),
            }
        }
        _ => (0, 0, 0),
    };
    Ok(Quote {
        offset: at as u16,
        transport: transport as u16,
        protocol,
        source,
        destination,
        source_port,
        destination_port,
        seq,
    })
}

#[cfg(test)]
mod tests {
    use super::{Class, class, parse};
    use crate::packet::{Address, Icmp, Network, Quote, Transport};
    use crate::reason::Reason;

    /// Host unreachable about 198.51.100.2:40000 > 192.0.2.1:22, sequence number 0x01020304.
    const UNREACHABLE: [u8; 36] = [
        3, 1, 0, 0, 0, 0, 0, 0, 0x45, 0, 0, 60, 0, 0, 0x40, 0, 63, 6, 0, 0, 198, 51, 100, 2, 192,
        0, 2, 1, 0x9c, 0x40, 0, 22, 1, 2, 3, 4,
    ];

    #[test]
    fn reads_an_error_with_its_quote() {
        let expected = Quote {
            offset: 8,
            transport: 28,
            protocol: 6,
            source: Address::v4([198, 51, 100, 2]),
            destination: Address::v4([192, 0, 2, 1]),
            source_port: 40000,
            destination_port: 22,
            seq: 0x0102_0304,
        };
        assert_eq!(
            parse(&UNREACHABLE, 0, 36, Network::Ipv4, 64),
            Ok((Transport::IcmpError(Icmp { kind: 3, code: 1 }, expected), 0))
        );
    }

    #[test]
    fn refuses_quotes_it_cannot_read() {
        let refused = |bytes: &[u8]| parse(bytes, 0, bytes.len(), Network::Ipv4, 64).err();
        assert_eq!(refused(&UNREACHABLE[..35]), Some(Reason::IcmpQuote));
        assert_eq!(refused(&UNREACHABLE[..20]), Some(Reason::IcmpQuote));
        assert_eq!(refused(&UNREACHABLE[..7]), Some(Reason::TruncatedIcmp));
        let split = parse(&UNREACHABLE[..30], 0, 36, Network::Ipv4, 64);
        assert_eq!(split.err(), Some(Reason::SplitHeader));
        for (at, value) in [(8, 0x65), (8, 0x44), (15, 1)] {
            let mut bytes = UNREACHABLE;
            bytes[at] = value;
            assert_eq!(refused(&bytes), Some(Reason::IcmpQuote), "{at} = {value}");
        }
        // An error about an error.
        let mut bytes = UNREACHABLE;
        bytes[17] = 1;
        bytes[28] = 3;
        assert_eq!(refused(&bytes), Some(Reason::IcmpQuote));
    }

    #[test]
    fn reads_the_id_of_a_quoted_query() {
        let mut bytes = UNREACHABLE;
        bytes[17] = 1;
        bytes[28..36].copy_from_slice(&[8, 0, 0, 0, 0xab, 0xcd, 0, 1]);
        let Ok((Transport::IcmpError(_, quote), _)) = parse(&bytes, 0, 36, Network::Ipv4, 64)
        else {
            panic!("not an error");
        };
        assert_eq!((quote.source_port, quote.destination_port), (0xabcd, 0xabcd));
    }

    #[test]
    fn quoted_extension_headers_are_walked() {
        let mut bytes = vec![1, 4, 0, 0, 0, 0, 0, 0, 0x60, 0, 0, 0, 0, 24, 60, 64];
        bytes.extend([0x20; 16]);
        bytes.extend([0x30; 16]);
        bytes.extend([17, 0, 1, 4, 0, 0, 0, 0]);
        bytes.extend([0, 1, 0, 2, 0, 8, 0, 0]);
        let Ok((Transport::IcmpError(_, quote), _)) =
            parse(&bytes, 0, bytes.len(), Network::Ipv6, 64)
        else {
            panic!("not an error");
        };
        assert_eq!((quote.protocol, quote.source_port, quote.destination_port), (17, 1, 2));
        assert_eq!(quote.destination, Address::v6([0x30; 16]));
    }

    #[test]
    fn sorts_types() {
        assert_eq!(class(Network::Ipv4, 8), Class::Query);
        assert_eq!(class(Network::Ipv4, 5), Class::Other);
        assert_eq!(class(Network::Ipv4, 128), Class::Other);
        assert_eq!(class(Network::Ipv6, 8), Class::Other);
        assert_eq!(class(Network::Ipv6, 2), Class::Error);
        let echo = [8, 0, 0, 0, 0x12, 0x34, 0, 1];
        let query = Transport::IcmpQuery(Icmp { kind: 8, code: 0 });
        assert_eq!(parse(&echo, 0, 8, Network::Ipv4, 64), Ok((query, 0x1234)));
    }

    #[test]
    fn neighbour_discovery_stays_on_the_link() {
        for kind in 133..=137 {
            let bytes = [kind, 0, 0, 0, 0, 0, 0, 0];
            let other = Transport::IcmpOther(Icmp { kind, code: 0 });
            assert_eq!(parse(&bytes, 0, 8, Network::Ipv6, 255), Ok((other, 0)));
            assert_eq!(parse(&bytes, 0, 8, Network::Ipv6, 254), Err(Reason::NdHopLimit));
        }
    }
}
