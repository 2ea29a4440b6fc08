//! Frames of PPPoE, with what their sessions carry.

use std::fmt;

use super::{ip, ip6};
use crate::packet::bytes::be16;
use crate::packet::pppoe::{HEADER, PROTOCOL, code, ppp};

/// What is behind the ethertype of PPPoE, of whichever stage; `length` bytes were on the wire.
pub(super) fn print(f: &mut fmt::Formatter<'_>, bytes: &[u8], length: u32) -> fmt::Result {
    let Some((header, payload)) = bytes.split_first_chunk::<HEADER>() else {
        return f.write_str("PPPoE [|pppoe]");
    };
    if header[0] != 0x11 {
        write!(f, "PPPoE [ver {}, type {}]", header[0] >> 4, header[0] & 0xf)?;
        return write!(f, ", length {length}");
    }
    f.write_str("PPPoE ")?;
    match header[1] {
        code::SESSION => {}
        code::PADI => f.write_str("PADI")?,
        code::PADO => f.write_str("PADO")?,
        code::PADR => f.write_str("PADR")?,
        code::PADS => f.write_str("PADS")?,
        code::PADT => f.write_str("PADT")?,
        other => write!(f, "PAD-{other:X}")?,
    }
    let (there, told) = (length.saturating_sub(HEADER as u32), u32::from(be16(header, 4)));
    if told > there {
        write!(f, " [len {told} > {there}!]")?;
    }
    let session = be16(header, 2);
    if session != 0 {
        write!(f, " [ses 0x{session:x}]")?;
    }
    if header[1] != code::SESSION {
        return write!(f, ", length {told}");
    }
    // A train's length may not fit the field.
    let told = if told == 0 { there } else { told.min(there) };
    f.write_str(" ")?;
    carried(f, payload.get(..told as usize).unwrap_or(payload), told)
}

/// What PPP carries, in `length` bytes with its own header.
fn carried(f: &mut fmt::Formatter<'_>, bytes: &[u8], length: u32) -> fmt::Result {
    let (protocol, header) = match bytes {
        [first, ..] if first & 1 == 1 => (u16::from(*first), 1),
        [first, second, ..] => (u16::from_be_bytes([*first, *second]), PROTOCOL),
        _ => return f.write_str("[|ppp]"),
    };
    let (packet, rest) = (&bytes[header..], length.saturating_sub(header as u32));
    let name = match protocol {
        ppp::IPV4 => return ip(f, packet, rest),
        ppp::IPV6 => return ip6(f, packet, rest),
        ppp::LCP => "LCP",
        ppp::PAP => "PAP",
        ppp::CHAP => "CHAP",
        ppp::EAP => "EAP",
        ppp::IPCP => "IPCP",
        ppp::IPV6CP => "IP6CP",
        ppp::CCP => "CCP",
        ppp::ECP => "ECP",
        other => return write!(f, "unknown PPP protocol (0x{other:04x}), length {length}"),
    };
    f.write_str(name)?;
    // Authentication protocols count their codes otherwise (RFC 1334, 1994, 3748).
    if !matches!(protocol, ppp::PAP | ppp::CHAP | ppp::EAP)
        && let [code, id, ..] = packet
    {
        match negotiation(*code) {
            Some(name) => write!(f, ", {name} (0x{code:02x}), id {id}")?,
            None => write!(f, ", Unknown (0x{code:02x}), id {id}")?,
        }
    }
    write!(f, ", length {length}")
}

/// Codes of LCP and the control protocols made after it (RFC 1661, 5), as tcpdump names them.
const fn negotiation(code: u8) -> Option<&'static str> {
    Some(match code {
        1 => "Conf-Request",
        2 => "Conf-Ack",
        3 => "Conf-Nack",
        4 => "Conf-Reject",
        5 => "Term-Request",
        6 => "Term-Ack",
        7 => "Code-Reject",
        8 => "Prot-Reject",
        9 => "Echo-Request",
        10 => "Echo-Reply",
        11 => "Discard-Request",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use crate::packet::build;
    use crate::packet::describe::describe;
    use crate::packet::tcp::flags::SYN;

    const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

    fn described(behind: &[u8]) -> String {
        let frame = [&MACS[..], behind].concat();
        describe(&frame, frame.len() as u32).to_string()
    }

    #[test]
    fn says_what_tcpdump_says() {
        let syn = build::tcp(([192, 0, 2, 1], 40000), ([198, 51, 100, 2], 22), SYN);
        let (plain, inside) = (syn.frame(), syn.clone().pppoe(0x1234).frame());
        let text = |frame: &[u8]| describe(frame, frame.len() as u32).to_string();
        assert_eq!(text(&inside), format!("PPPoE  [ses 0x1234] {}", text(&plain)));
        let six =
            build::echo([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], [0x2001, 0xdb8, 0, 0, 0, 0, 0, 2], 1, 1);
        assert_eq!(
            text(&six.clone().vlan(7).pppoe(1).frame()),
            format!("vlan 7, PPPoE  [ses 0x1] {}", text(&six.frame()))
        );
        for (behind, words) in [
            (&[0x88, 0x63, 0x11, 9, 0, 0, 0, 0][..], "PPPoE PADI, length 0"),
            (&[0x88, 0x63, 0x11, 0xa7, 0, 0x12, 0, 0], "PPPoE PADT [ses 0x12], length 0"),
            (&[0x88, 0x63, 0x11, 0x33, 0, 0x12, 0, 0], "PPPoE PAD-33 [ses 0x12], length 0"),
            (
                &[0x88, 0x64, 0x11, 0, 0x12, 0x34, 0, 6, 0xc0, 0x21, 1, 1, 0, 4],
                "PPPoE  [ses 0x1234] LCP, Conf-Request (0x01), id 1, length 6",
            ),
            (
                &[0x88, 0x64, 0x11, 0, 0, 1, 0, 4, 0xc2, 0x23, 1, 1],
                "PPPoE  [ses 0x1] CHAP, length 4",
            ),
            (
                &[0x88, 0x64, 0x11, 0, 0, 1, 0, 4, 0x80, 0xfd, 99, 1],
                "PPPoE  [ses 0x1] CCP, Unknown (0x63), id 1, length 4",
            ),
            (
                &[0x88, 0x64, 0x11, 0, 0, 1, 0, 2, 0, 0xfc],
                "PPPoE  [ses 0x1] unknown PPP protocol (0x00fc), length 2",
            ),
            (
                &[0x88, 0x64, 0x11, 0, 0, 1, 0, 30, 0, 0x21],
                "PPPoE  [len 30 > 2!] [ses 0x1] IP [|ip]",
            ),
            (&[0x88, 0x64, 0x11, 0, 0, 1, 0, 1, 0], "PPPoE  [ses 0x1] [|ppp]"),
            (&[0x88, 0x64, 0x21, 0, 0, 1, 0, 0], "PPPoE [ver 2, type 1], length 6"),
            (&[0x88, 0x64, 0x11], "PPPoE [|pppoe]"),
        ] {
            assert_eq!(described(behind), words);
        }
    }
}
