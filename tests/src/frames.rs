//! Frames built by hand, for what no host's stack would send.

use std::net::{IpAddr, SocketAddr};

use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};

use crate::lab::{Family, Host};

/// TPID of a customer tag (IEEE 802.1Q).
pub const TPID_8021Q: u16 = 0x8100;
/// TPID of a service tag (IEEE 802.1ad).
pub const TPID_8021AD: u16 = 0x88a8;

/// A UDP frame from one host's hardware address to another's.
///
/// # Panics
/// If the addresses are not of one family.
pub fn udp(
    from: &Host,
    to: &Host,
    source: SocketAddr,
    target: SocketAddr,
    payload: &[u8],
) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2(from.mac, to.mac);
    let ip = match (source.ip(), target.ip()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => ethernet.ipv4(a.octets(), b.octets(), 64),
        (IpAddr::V6(a), IpAddr::V6(b)) => ethernet.ipv6(a.octets(), b.octets(), 64),
        _ => panic!("{source} and {target} are of different families"),
    };
    let builder = ip.udp(source.port(), target.port());
    let mut frame = Vec::with_capacity(builder.size(payload.len()));
    builder.write(&mut frame, payload).expect("a vector takes everything, the payload fits");
    frame
}

/// A UDP frame from `from`'s own address to `to`'s.
pub fn udp_between(
    from: &Host,
    to: &Host,
    family: Family,
    ports: (u16, u16),
    payload: &[u8],
) -> Vec<u8> {
    let source = SocketAddr::new(from.address(family), ports.0);
    let target = SocketAddr::new(to.address(family), ports.1);
    udp(from, to, source, target, payload)
}

/// A SYN from one host's hardware address to another's.
///
/// # Panics
/// If the addresses are not of one family.
pub fn syn(
    from: &Host,
    to: &Host,
    source: SocketAddr,
    target: SocketAddr,
    sequence: u32,
) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2(from.mac, to.mac);
    let ip = match (source.ip(), target.ip()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => ethernet.ipv4(a.octets(), b.octets(), 64),
        (IpAddr::V6(a), IpAddr::V6(b)) => ethernet.ipv6(a.octets(), b.octets(), 64),
        _ => panic!("{source} and {target} are of different families"),
    };
    let builder = ip.tcp(source.port(), target.port(), sequence, 64_240).syn();
    let mut frame = Vec::with_capacity(builder.size(0));
    builder.write(&mut frame, &[]).expect("a vector takes everything");
    frame
}

/// The frame with a tag in front of those it has: TPID, then priority and VLAN identifier.
pub fn tagged(mut frame: Vec<u8>, tpid: u16, tci: u16) -> Vec<u8> {
    let tag = [tpid.to_be_bytes(), tci.to_be_bytes()].concat();
    frame.splice(12..12, tag);
    frame
}

/// Destination port of a TCP or UDP frame, tagged or not.
pub fn destination_port(frame: &[u8]) -> Option<u16> {
    match SlicedPacket::from_ethernet(frame).ok()?.transport? {
        TransportSlice::Udp(udp) => Some(udp.destination_port()),
        TransportSlice::Tcp(tcp) => Some(tcp.destination_port()),
        _ => None,
    }
}

/// Whether the frame carries `payload` behind its UDP header.
pub fn has_udp_payload(frame: &[u8], payload: &[u8]) -> bool {
    SlicedPacket::from_ethernet(frame).is_ok_and(|packet| {
        matches!(packet.transport, Some(TransportSlice::Udp(udp)) if udp.payload() == payload)
    })
}
