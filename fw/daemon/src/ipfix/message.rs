//! Messages of IPFIX: header, templates and records (RFC 7011, 3), in datagrams that need no fragments.

use weir_engine::packet::Network;
use weir_engine::{FlowEnd, FlowRecord};

use crate::clock::Clock;

/// Longest message, in bytes: what crosses any path that carries IPv6 (RFC 7011, 10.3.3).
const LONGEST: usize = 1232;

/// Lengths of the headers of messages and of sets.
const HEADER: usize = 16;
const SET: usize = 4;

/// Set 2 holds templates; those of ours have these numbers.
const TEMPLATE_SET: u16 = 2;
const TEMPLATES: [u16; 2] = [256, 257];

/// The number that says that an element is about the other direction (RFC 5103, 6.1).
const REVERSE: u32 = 29305;

/// An element and its length; what the other direction has, too, stands twice.
struct Element {
    id: u16,
    length: u16,
    reverse: bool,
}

const fn element(id: u16, length: u16) -> Element {
    Element { id, length, reverse: false }
}

const fn reverse(id: u16, length: u16) -> Element {
    Element { id, length, reverse: true }
}

/// What a record consists of, behind source and destination address (IANA, IPFIX Information Elements).
const ELEMENTS: [Element; 13] = [
    element(7, 2),   // sourceTransportPort
    element(11, 2),  // destinationTransportPort
    element(4, 1),   // protocolIdentifier
    element(136, 1), // flowEndReason
    element(58, 2),  // vlanId
    element(10, 4),  // ingressInterface
    element(14, 4),  // egressInterface
    element(152, 8), // flowStartMilliseconds
    element(153, 8), // flowEndMilliseconds
    element(2, 8),   // packetDeltaCount
    element(1, 8),   // octetDeltaCount
    reverse(2, 8),   // its reverse
    reverse(1, 8),   // its reverse
];

/// Addresses of a family: sourceIPv4Address and destinationIPv4Address, or those of IPv6.
const ADDRESSES: [[Element; 2]; 2] =
    [[element(8, 4), element(12, 4)], [element(27, 16), element(28, 16)]];

/// Messages to one collector.
#[derive(Debug)]
pub(super) struct Messages {
    domain: u32,
    /// Records in all messages before, modulo 2^32 (RFC 7011, 3.1).
    sequence: u32,
    /// A message under way, without what its header has to say.
    bytes: Vec<u8>,
    records: u32,
    /// The set that is open: which template, and where it begins.
    open: Option<(u16, usize)>,
}

impl Messages {
    pub(super) const fn new(domain: u32) -> Self {
        Self { domain, sequence: 0, bytes: Vec::new(), records: 0, open: None }
    }

    /// A message with the templates, sent at `seconds` since 1970.
    pub(super) fn templates(&self, seconds: u32) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        let begin = bytes.len();
        bytes.extend([TEMPLATE_SET.to_be_bytes(), [0; 2]].concat());
        for (template, addresses) in TEMPLATES.into_iter().zip(&ADDRESSES) {
            let count = (addresses.len() + ELEMENTS.len()) as u16;
            bytes.extend([template.to_be_bytes(), count.to_be_bytes()].concat());
            for element in addresses.iter().chain(&ELEMENTS) {
                let enterprise = if element.reverse { 1 << 15 } else { 0 };
                bytes.extend((element.id | enterprise).to_be_bytes());
                bytes.extend(element.length.to_be_bytes());
                if element.reverse {
                    bytes.extend(REVERSE.to_be_bytes());
                }
            }
        }
        let length = (bytes.len() - begin) as u16;
        bytes[begin + 2..begin + 4].copy_from_slice(&length.to_be_bytes());
        self.head(&mut bytes, seconds);
        bytes
    }

    /// Adds a record; `false` if the message has no room for it.
    pub(super) fn add(&mut self, record: &FlowRecord, clock: &Clock) -> bool {
        let state = &record.state;
        let family = usize::from(state.network == Network::Ipv6);
        let (template, address) = (TEMPLATES[family], [4, 16][family]);
        let elements: u16 = ELEMENTS.iter().map(|element| element.length).sum();
        let size = 2 * address + usize::from(elements);
        if self.bytes.is_empty() {
            self.bytes.resize(HEADER, 0);
        }
        let opens = self.open.is_none_or(|(open, _)| open != template);
        if self.bytes.len() + size + if opens { SET } else { 0 } > LONGEST {
            return false;
        }
        if opens {
            self.close();
            self.open = Some((template, self.bytes.len()));
            self.bytes.extend([template.to_be_bytes(), [0; 2]].concat());
        }
        for end in [state.source, state.destination] {
            match end.to_ip(state.network) {
                std::net::IpAddr::V4(address) => self.bytes.extend(address.octets()),
                std::net::IpAddr::V6(address) => self.bytes.extend(address.octets()),
            }
        }
        self.bytes.extend(state.source_port.to_be_bytes());
        self.bytes.extend(state.destination_port.to_be_bytes());
        self.bytes.extend([state.protocol, reason(record.end)]);
        self.bytes.extend(state.tags.outer.to_be_bytes());
        // The ports of the bridge by number, from 1: the LAN is 1, the WAN 2.
        let ingress = u32::from(state.port.0) + 1;
        let egress = if ingress == 1 { 2_u32 } else { 1 };
        self.bytes.extend(ingress.to_be_bytes());
        self.bytes.extend(egress.to_be_bytes());
        for at in [record.begun, record.last] {
            self.bytes.extend((clock.since_epoch(at) / 1_000_000).to_be_bytes());
        }
        for way in 0..2 {
            self.bytes.extend(state.packets[way].to_be_bytes());
            self.bytes.extend(state.bytes[way].to_be_bytes());
        }
        self.records += 1;
        true
    }

    /// The message under way, sent at `seconds` since 1970, and how many records it has; `None` if it
    /// has none.
    pub(super) fn finish(&mut self, seconds: u32) -> Option<(Vec<u8>, u64)> {
        if self.records == 0 {
            return None;
        }
        self.close();
        let mut bytes = std::mem::take(&mut self.bytes);
        self.head(&mut bytes, seconds);
        let records = std::mem::take(&mut self.records);
        self.sequence = self.sequence.wrapping_add(records);
        Some((bytes, records.into()))
    }

    /// Closes the set that is open.
    fn close(&mut self) {
        if let Some((_, begin)) = self.open.take() {
            let length = (self.bytes.len() - begin) as u16;
            self.bytes[begin + 2..begin + 4].copy_from_slice(&length.to_be_bytes());
        }
    }

    /// Fills the header in (RFC 7011, 3.1): version 10, length, time, sequence number, domain.
    fn head(&self, bytes: &mut [u8], seconds: u32) {
        let length = bytes.len() as u16;
        bytes[..2].copy_from_slice(&10_u16.to_be_bytes());
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        bytes[4..8].copy_from_slice(&seconds.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.domain.to_be_bytes());
    }
}

/// `flowEndReason`.
const fn reason(end: FlowEnd) -> u8 {
    end as u8
}
