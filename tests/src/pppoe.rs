//! A PPPoE session (RFC 2516) around the packets of hosts whose kernels know none: what a router and a
//! modem do on both sides of the firewall.

/// Bytes of an IP packet that a line carries at most: an Ethernet payload without both headers.
pub const MTU: usize = 1492;

/// Length of an Ethernet header.
const ETHERNET: usize = 14;
/// What stands in front of a session's payload: type, version and code.
const SESSION: [u8; 4] = [0x88, 0x64, 0x11, 0x00];

/// The frame as it goes over the line: IP inside the session, everything else as it is. `None` if the
/// packet is too long for the line, which drops it in silence, as a broken path MTU discovery does.
pub fn wrap(frame: &[u8], session: u16) -> Option<Vec<u8>> {
    let protocol = match frame.get(12..ETHERNET)? {
        [0x08, 0x00] => 0x21,
        [0x86, 0xdd] => 0x57,
        _ => return Some(frame.to_vec()),
    };
    let packet = &frame[ETHERNET..];
    if packet.len() > MTU {
        return None;
    }
    let length = (packet.len() as u16 + 2).to_be_bytes();
    let mut wrapped = [&frame[..12], &SESSION].concat();
    wrapped.extend(session.to_be_bytes());
    wrapped.extend(length);
    wrapped.extend([0, protocol]);
    wrapped.extend(packet);
    Some(wrapped)
}

/// The frame as the host gets it: what the session carries, everything else as it is. `None` for what
/// the end of a session does not take: IP beside it, another session, a header that does not fit the
/// frame to the byte.
pub fn unwrap(frame: &[u8], session: u16) -> Option<Vec<u8>> {
    match frame.get(12..ETHERNET)? {
        [0x88, 0x64] => {}
        [0x08, 0x00] | [0x86, 0xdd] => return None,
        _ => return Some(frame.to_vec()),
    }
    let header: &[u8; 10] = frame.get(12..22)?.try_into().ok()?;
    let payload = &frame[20..];
    let fits = header[..4] == SESSION
        && header[4..6] == session.to_be_bytes()
        && usize::from(u16::from_be_bytes([header[6], header[7]])) == payload.len();
    let ethertype = match header[8..] {
        [0, 0x21] => [0x08, 0x00],
        [0, 0x57] => [0x86, 0xdd],
        _ => return None,
    };
    fits.then(|| [&frame[..12], &ethertype, &payload[2..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrapped_unwraps() {
        let plain: Vec<u8> = [&[2; 12][..], &[0x08, 0x00], &[0x45; 30]].concat();
        let wrapped = wrap(&plain, 0x1234).unwrap();
        assert_eq!(wrapped[12..22], [0x88, 0x64, 0x11, 0, 0x12, 0x34, 0, 32, 0, 0x21]);
        assert_eq!(unwrap(&wrapped, 0x1234).as_deref(), Some(&*plain));
        assert_eq!(unwrap(&wrapped, 1), None);
        assert_eq!(unwrap(&plain, 1), None);
        let mut longer = wrapped;
        longer.push(0);
        assert_eq!(unwrap(&longer, 0x1234), None);
        assert_eq!(wrap(&[&plain[..], &[0; 1463]].concat(), 1), None);
        let arp = [&[2; 12][..], &[0x08, 0x06]].concat();
        assert_eq!(wrap(&arp, 1).as_deref(), Some(&*arp));
        assert_eq!(unwrap(&arp, 1).as_deref(), Some(&*arp));
    }
}
