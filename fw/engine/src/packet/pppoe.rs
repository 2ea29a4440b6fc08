//! PPPoE (RFC 2516) and the PPP header in its sessions (RFC 1661, 2).
//!
//! A session carries IP like a tag stack does: what is inside is parsed, judged and answered like a
//! plain packet. Its id is not part of a flow: a line that is dialled anew gets another, and with
//! addresses that stay, its connections live on.
//!
//! PPP's protocol field may be one byte long (RFC 1661, 6.5): RFC 2516, 7, recommends against it and
//! does not forbid it, and Linux takes it unasked, so it is read. Address and control field, which RFC
//! 2516 forbids, are not: they are no protocol that is known.

use std::num::NonZeroU16;

use super::bytes::{be16, header};
use super::ethernet::{Ethernet, ethertype};
use super::{Network, Packet};
use crate::frame::Meta;
use crate::reason::Reason;

/// Length of the header, without PPP's, in bytes.
pub const HEADER: usize = 6;
/// Length of PPP's protocol field unless it is compressed, in bytes.
pub const PROTOCOL: usize = 2;

/// Version 1 and type 1 (RFC 2516, 4).
const VERSION_TYPE: u8 = 0x11;
/// Where the length stands in the header.
const LENGTH: usize = 4;

/// Values of the code (RFC 2516, 5 and 6).
pub mod code {
    /// A packet of a session.
    pub const SESSION: u8 = 0x00;
    /// Active discovery offer.
    pub const PADO: u8 = 0x07;
    /// Active discovery initiation.
    pub const PADI: u8 = 0x09;
    /// Active discovery request.
    pub const PADR: u8 = 0x19;
    /// Active discovery session-confirmation.
    pub const PADS: u8 = 0x65;
    /// Active discovery terminate.
    pub const PADT: u8 = 0xa7;
}

/// Protocols of PPP (IANA).
pub mod ppp {
    /// IPv4 (RFC 1332).
    pub const IPV4: u16 = 0x0021;
    /// IPv6 (RFC 5072).
    pub const IPV6: u16 = 0x0057;
    /// Control protocol of IPv4 (RFC 1332).
    pub const IPCP: u16 = 0x8021;
    /// Encryption control (RFC 1968).
    pub const ECP: u16 = 0x8053;
    /// Control protocol of IPv6 (RFC 5072).
    pub const IPV6CP: u16 = 0x8057;
    /// Compression control (RFC 1962).
    pub const CCP: u16 = 0x80fd;
    /// Link control (RFC 1661).
    pub const LCP: u16 = 0xc021;
    /// Password authentication (RFC 1334).
    pub const PAP: u16 = 0xc023;
    /// Challenge handshake authentication (RFC 1994).
    pub const CHAP: u16 = 0xc223;
    /// Extensible authentication (RFC 3748).
    pub const EAP: u16 = 0xc227;
    /// From here on protocols set up and keep the link (RFC 1661, 2).
    pub const FIRST_CONTROL: u16 = 0x8000;
}

/// A checked PPPoE header of either stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The code.
    pub code: u8,
    /// The session id; 0 while there is no session.
    pub session: u16,
    /// Where the payload begins in the frame.
    pub begins: usize,
    /// Where it ends; what is behind is padding.
    pub end: usize,
}

impl Header {
    /// Reads the header at `at` of a frame whose first segment is `head`. Fails with
    /// [`Reason::PppoeHeader`], [`Reason::PppoeLength`] or [`Reason::SplitHeader`].
    pub fn new(head: &[u8], at: usize, meta: Meta) -> Result<Self, Reason> {
        let bytes: &[u8; HEADER] = header(head, at, meta.length as usize, Reason::PppoeHeader)?;
        if bytes[0] != VERSION_TYPE {
            return Err(Reason::PppoeHeader);
        }
        let begins = at + HEADER;
        let end = match usize::from(be16(bytes, LENGTH)) {
            // Of a train, whose length it may not be able to hold.
            0 if meta.gso_size > 0 => meta.length as usize,
            length => begins + length,
        };
        if end > meta.length as usize {
            return Err(Reason::PppoeLength);
        }
        Ok(Self { code: bytes[1], session: be16(bytes, 2), begins, end })
    }
}

/// A packet of a session: the PPPoE header and PPP's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The session.
    pub id: NonZeroU16,
    /// PPP's protocol.
    pub protocol: u16,
    /// Where what PPP carries begins in the frame.
    pub begins: usize,
    /// Where it ends, if PPP has not padded it (RFC 1661, 2).
    pub end: usize,
}

impl Session {
    /// Reads both headers at `at` of a frame whose first segment is `head`. Fails as
    /// [`Header::new`], with [`Reason::PppoeHeader`] too for another code than that of a session and
    /// for the ids 0 and 0xffff, which no session has.
    pub fn new(head: &[u8], at: usize, meta: Meta) -> Result<Self, Reason> {
        let Header { code, session, begins, end } = Header::new(head, at, meta)?;
        let id = NonZeroU16::new(session).filter(|id| id.get() != u16::MAX);
        let (code::SESSION, Some(id)) = (code, id) else { return Err(Reason::PppoeHeader) };
        let [first] = *header::<1>(head, begins, end, Reason::PppoeLength)?;
        // Only the last byte of a protocol's number is odd.
        let (protocol, length) = if first & 1 == 1 {
            (first.into(), 1)
        } else {
            let bytes: &[u8; PROTOCOL] = header(head, begins, end, Reason::PppoeLength)?;
            (u16::from_be_bytes(*bytes), PROTOCOL)
        };
        Ok(Self { id, protocol, begins: begins + length, end })
    }

    /// The network layer that PPP carries, if it is IP.
    pub const fn network(&self) -> Option<Network> {
        match self.protocol {
            ppp::IPV4 => Some(Network::Ipv4),
            ppp::IPV6 => Some(Network::Ipv6),
            _ => None,
        }
    }
}

/// Whether a frame finds a session, sets it up, keeps or ends it: discovery, and the control protocols
/// of PPP but those that negotiate compression and encryption, since what they lead to cannot be
/// filtered. `head` is a frame that the parser has refused for [`Reason::Pppoe`].
pub fn is_control(frame: &Ethernet<'_>, head: &[u8], meta: Meta) -> bool {
    match frame.ethertype() {
        ethertype::PPPOE_DISCOVERY => Header::new(head, frame.length(), meta).is_ok_and(|header| {
            use code::{PADI, PADO, PADR, PADS, PADT};
            matches!(header.code, PADI | PADO | PADR | PADS | PADT)
        }),
        ethertype::PPPOE_SESSION => Session::new(head, frame.length(), meta).is_ok_and(|session| {
            session.protocol >= ppp::FIRST_CONTROL
                && !matches!(session.protocol, ppp::CCP | ppp::ECP)
        }),
        _ => false,
    }
}

/// Makes the PPPoE header fit a frame that ends where `frame` does, after the packet in it has been
/// replaced. A frame that is of no session is left alone.
pub fn set_length(frame: &mut [u8], packet: &Packet) {
    if packet.session.is_none() {
        return;
    }
    let Ok(begins) = Ethernet::new(frame).map(|header| header.length() + HEADER) else { return };
    let Some(payload) = frame.len().checked_sub(begins) else { return };
    let field = begins - HEADER + LENGTH;
    frame[field..field + 2].copy_from_slice(&(payload as u16).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Checksum, PortIndex};

    const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

    fn meta(length: usize) -> Meta {
        let length = length as u32;
        Meta { port: PortIndex::LAN, checksum: Checksum::Unknown, gso_size: 0, length }
    }

    fn session(bytes: &[u8]) -> Result<Session, Reason> {
        Session::new(bytes, 0, meta(bytes.len()))
    }

    #[test]
    fn reads_a_session() {
        let of = |protocol, begins, end| {
            Ok(Session { id: NonZeroU16::new(0x1234).unwrap(), protocol, begins, end })
        };
        assert_eq!(session(&[0x11, 0, 0x12, 0x34, 0, 3, 0, 0x21, 0x45]), of(ppp::IPV4, 8, 9));
        // Padding does not count.
        let padded = [0x11, 0, 0x12, 0x34, 0, 3, 0, 0x57, 0x60, 0, 0];
        assert_eq!(session(&padded), of(ppp::IPV6, 8, 9));
        // One byte of protocol.
        assert_eq!(session(&[0x11, 0, 0x12, 0x34, 0, 2, 0x21, 0x45]), of(ppp::IPV4, 7, 8));
        assert_eq!(session(&[0x11, 0, 0x12, 0x34, 0, 1, 0x57]), of(ppp::IPV6, 7, 7));
        // Address and control field, as on a serial line.
        assert_eq!(session(&[0x11, 0, 0x12, 0x34, 0, 4, 0xff, 3, 0, 0x21]), of(0xff, 7, 10));
        let network = |bytes: &[u8]| session(bytes).unwrap().network();
        assert_eq!(network(&[0x11, 0, 0, 1, 0, 2, 0, 0x21]), Some(Network::Ipv4));
        assert_eq!(network(&[0x11, 0, 0, 1, 0, 2, 0, 0x57]), Some(Network::Ipv6));
        assert_eq!(network(&[0x11, 0, 0, 1, 0, 2, 0xc0, 0x21]), None);
        assert_eq!(network(&[0x11, 0, 0, 1, 0, 2, 0, 0x20]), None);
    }

    #[test]
    fn refuses_what_no_session_sends() {
        for (bytes, reason) in [
            (&[0x11, 0, 0, 1, 0][..], Reason::PppoeHeader),
            (&[0x21, 0, 0, 1, 0, 2, 0, 0x21], Reason::PppoeHeader),
            (&[0x12, 0, 0, 1, 0, 2, 0, 0x21], Reason::PppoeHeader),
            (&[0x11, 9, 0, 1, 0, 2, 0, 0x21], Reason::PppoeHeader),
            (&[0x11, 0, 0, 0, 0, 2, 0, 0x21], Reason::PppoeHeader),
            (&[0x11, 0, 0xff, 0xff, 0, 2, 0, 0x21], Reason::PppoeHeader),
            (&[0x11, 0, 0, 1, 0, 3, 0, 0x21], Reason::PppoeLength),
            (&[0x11, 0, 0, 1, 0, 0, 0, 0x21], Reason::PppoeLength),
            (&[0x11, 0, 0, 1, 0, 1, 0, 0x21], Reason::PppoeLength),
        ] {
            assert_eq!(session(bytes), Err(reason), "{bytes:x?}");
        }
        let cut = [0x11, 0, 0, 1, 0, 2, 0, 0x21];
        for length in 0..8 {
            assert_eq!(Session::new(&cut[..length], 0, meta(8)), Err(Reason::SplitHeader));
        }
    }

    #[test]
    fn a_train_may_have_no_length() {
        let bytes = [0x11, 0, 0, 1, 0, 0, 0, 0x21];
        let train = Meta { gso_size: 1448, ..meta(70_000) };
        assert_eq!(Session::new(&bytes, 0, train).map(|session| session.end), Ok(70_000));
    }

    #[test]
    fn knows_control_frames() {
        let of = |behind: &[u8]| {
            let head = [&MACS[..], behind].concat();
            is_control(&Ethernet::new(&head).unwrap(), &head, meta(head.len()))
        };
        let discovery = |code| of(&[0x88, 0x63, 0x11, code, 0, 0, 0, 0]);
        for code in [code::PADI, code::PADO, code::PADR, code::PADS, code::PADT] {
            assert!(discovery(code), "{code:#x}");
        }
        assert!(!discovery(code::SESSION) && !discovery(0xd3));
        assert!(!of(&[0x88, 0x63, 0x11, code::PADI, 0, 0, 0, 1]), "longer than the frame");
        assert!(of(&[0x81, 0, 0, 7, 0x88, 0x63, 0x11, code::PADI, 0, 0, 0, 0]), "tagged");
        let carrying = |protocol: u16| {
            let [high, low] = protocol.to_be_bytes();
            of(&[0x88, 0x64, 0x11, 0, 0, 1, 0, 2, high, low])
        };
        for protocol in [ppp::IPCP, ppp::IPV6CP, ppp::LCP, ppp::PAP, ppp::CHAP, ppp::EAP] {
            assert!(carrying(protocol), "{protocol:#x}");
        }
        // Bridged Ethernet, van Jacobson's headers, compressed and encrypted datagrams.
        for protocol in [0x0031, 0x002d, 0x00fd, 0x0053, ppp::CCP, ppp::ECP, ppp::IPV4] {
            assert!(!carrying(protocol), "{protocol:#x}");
        }
        assert!(!of(&[0x88, 0x65, 0x11, 0, 0, 1, 0, 2, 0xc0, 0x21]));
    }
}
