//! IPv4 (RFC 791).

use super::bytes::{be16, be32, header, region};
use super::checksum;
use super::parse::Layer;
use super::{Address, Fragment};
use crate::frame::Meta;
use crate::reason::Reason;

/// Length of the header without options, in bytes.
pub const HEADER: usize = 20;
/// "Don't fragment" in the fragment field.
pub const DONT_FRAGMENT: u16 = 0x4000;
/// "More fragments" in the fragment field.
pub const MORE_FRAGMENTS: u16 = 0x2000;
/// The offset in the fragment field, in units of 8 bytes.
pub const FRAGMENT_OFFSET: u16 = 0x1fff;

/// A checked IPv4 header: its version and length fit the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4<'a> {
    fixed: &'a [u8; HEADER],
    options: &'a [u8],
}

impl<'a> Ipv4<'a> {
    /// Reads the header at `at`, in a packet that ends before `end`, of which `head` is the first
    /// segment. Fails with [`Reason::TruncatedIp`], [`Reason::IpVersion`],
    /// [`Reason::IpHeaderLength`] or [`Reason::SplitHeader`].
    pub fn new(head: &'a [u8], at: usize, end: usize) -> Result<Self, Reason> {
        let fixed: &[u8; HEADER] = header(head, at, end, Reason::TruncatedIp)?;
        if fixed[0] >> 4 != 4 {
            return Err(Reason::IpVersion);
        }
        let length = usize::from(fixed[0] & 0xf) * 4;
        if length < HEADER {
            return Err(Reason::IpHeaderLength);
        }
        let options = region(head, at + HEADER, length - HEADER, end, Reason::TruncatedIp)?;
        Ok(Self { fixed, options })
    }

    /// Length of the header with options, in bytes: 20 to 60.
    pub fn header_length(&self) -> usize {
        HEADER + self.options.len()
    }

    /// Type of service.
    pub fn tos(&self) -> u8 {
        self.fixed[1]
    }

    /// Total length in bytes; 0 in trains above 64 KiB.
    pub fn total_length(&self) -> u16 {
        be16(self.fixed, 2)
    }

    /// Identification.
    pub fn identification(&self) -> u16 {
        be16(self.fixed, 4)
    }

    /// Flags and fragment offset: [`DONT_FRAGMENT`], [`MORE_FRAGMENTS`], [`FRAGMENT_OFFSET`].
    pub fn fragment(&self) -> u16 {
        be16(self.fixed, 6)
    }

    /// Time to live.
    pub fn ttl(&self) -> u8 {
        self.fixed[8]
    }

    /// Protocol number.
    pub fn protocol(&self) -> u8 {
        self.fixed[9]
    }

    /// Header checksum.
    pub fn checksum(&self) -> u16 {
        be16(self.fixed, 10)
    }

    /// Source as a number.
    pub fn source(&self) -> u32 {
        be32(self.fixed, 12)
    }

    /// Destination as a number.
    pub fn destination(&self) -> u32 {
        be32(self.fixed, 16)
    }

    /// The options, not looked into.
    pub fn options(&self) -> &'a [u8] {
        self.options
    }

    /// Whether the header checksum is right.
    pub fn checksum_is_right(&self) -> bool {
        checksum::ipv4_header_is_right(self.fixed, self.options)
    }
}

/// The fixed part of an IPv4 header, to be changed; every setter keeps the header checksum right.
#[derive(Debug)]
pub struct Ipv4Mut<'a>(&'a mut [u8; HEADER]);

impl<'a> Ipv4Mut<'a> {
    /// The header at `at`, which the parser has found there. `None` if there is no room for one.
    pub fn new(head: &'a mut [u8], at: usize) -> Option<Self> {
        head.get_mut(at..)?.first_chunk_mut().map(Self)
    }

    /// Sets the type of service.
    pub fn set_tos(&mut self, tos: u8) {
        self.set(0, u16::from_be_bytes([self.0[0], tos]));
    }

    /// Sets the total length in bytes.
    pub fn set_total_length(&mut self, length: u16) {
        self.set(2, length);
    }

    /// Sets the identification.
    pub fn set_identification(&mut self, id: u16) {
        self.set(4, id);
    }

    /// Sets flags and fragment offset.
    pub fn set_fragment(&mut self, fragment: u16) {
        self.set(6, fragment);
    }

    /// Sets the time to live.
    pub fn set_ttl(&mut self, ttl: u8) {
        self.set(8, u16::from_be_bytes([ttl, self.0[9]]));
    }

    fn set(&mut self, at: usize, new: u16) {
        let checksum = checksum::update(be16(self.0, 10), be16(self.0, at), new);
        self.0[at..at + 2].copy_from_slice(&new.to_be_bytes());
        self.0[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Whether a host may have this address as its source: not multicast (RFC 1112) nor the limited
/// broadcast. 0.0.0.0 is what a DHCP client has.
#[inline]
pub const fn is_source(address: u32) -> bool {
    address >> 28 != 0xe && address != u32::MAX
}

/// Checks the IPv4 packet at `at` of a frame: header, its checksum, lengths, source.
#[inline]
pub(super) fn parse(head: &[u8], at: usize, meta: Meta) -> Result<Layer, Reason> {
    let available = meta.length as usize - at;
    let header = Ipv4::new(head, at, meta.length as usize)?;
    let length = match usize::from(header.total_length()) {
        0 if meta.gso_size > 0 => available,
        length => length,
    };
    if length < header.header_length() {
        return Err(Reason::IpHeaderLength);
    }
    if length > available {
        return Err(Reason::TruncatedIp);
    }
    if !header.checksum_is_right() {
        return Err(Reason::IpChecksum);
    }
    if !is_source(header.source()) {
        return Err(Reason::SourceAddress);
    }
    Ok(Layer {
        source: Address::v4(header.source().to_be_bytes()),
        destination: Address::v4(header.destination().to_be_bytes()),
        length: length as u32,
        transport: at + header.header_length(),
        end: at + length,
        protocol: header.protocol(),
        ttl: header.ttl(),
        tos: header.tos(),
        options: !header.options().is_empty(),
        fragment: fragment(&header, at, length),
    })
}

/// The place of a packet of so many bytes, whose header is at `at`, in its datagram; `None` if it is
/// the whole.
#[inline]
fn fragment(header: &Ipv4<'_>, at: usize, length: usize) -> Option<Fragment> {
    let field = header.fragment();
    (field & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0).then(|| Fragment {
        id: header.identification().into(),
        // 13 bits: no bit is lost.
        offset: field << 3,
        length: (length - header.header_length()) as u16,
        data: (at + header.header_length()) as u16,
        more: field & MORE_FRAGMENTS != 0,
        dont_fragment: field & DONT_FRAGMENT != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::{DONT_FRAGMENT, Ipv4, Ipv4Mut, is_source};
    use crate::reason::Reason;

    /// 192.0.2.1 > 198.51.100.2, TCP, DF, id 0x1234, ttl 64, 40 bytes.
    const PLAIN: [u8; 20] = [
        0x45, 0x10, 0x00, 0x28, 0x12, 0x34, 0x40, 0x00, 0x40, 0x06, 0x3c, 0x55, 192, 0, 2, 1, 198,
        51, 100, 2,
    ];

    #[test]
    fn reads_a_header() {
        let header = Ipv4::new(&PLAIN, 0, 20).unwrap();
        assert_eq!((header.header_length(), header.tos(), header.total_length()), (20, 0x10, 40));
        assert_eq!((header.identification(), header.fragment()), (0x1234, DONT_FRAGMENT));
        assert_eq!((header.ttl(), header.protocol()), (64, 6));
        assert_eq!((header.source(), header.destination()), (0xc000_0201, 0xc633_6402));
        assert!(header.options().is_empty());
        assert!(header.checksum_is_right(), "{:#x}", header.checksum());
    }

    #[test]
    fn refuses_bad_headers() {
        let mut bytes = PLAIN;
        bytes[0] = 0x65;
        assert_eq!(Ipv4::new(&bytes, 0, 20), Err(Reason::IpVersion));
        bytes[0] = 0x44;
        assert_eq!(Ipv4::new(&bytes, 0, 20), Err(Reason::IpHeaderLength));
        bytes[0] = 0x46;
        assert_eq!(Ipv4::new(&bytes, 0, 20), Err(Reason::TruncatedIp));
        assert_eq!(Ipv4::new(&bytes, 0, 40), Err(Reason::SplitHeader));
        assert_eq!(Ipv4::new(&PLAIN, 0, 19), Err(Reason::TruncatedIp));
    }

    #[test]
    fn setters_keep_the_checksum_right() {
        let mut bytes = PLAIN;
        let mut header = Ipv4Mut::new(&mut bytes, 0).unwrap();
        header.set_tos(0xb8);
        header.set_total_length(1500);
        header.set_identification(0);
        header.set_fragment(0);
        header.set_ttl(1);
        let header = Ipv4::new(&bytes, 0, 20).unwrap();
        assert!(header.checksum_is_right());
        assert_eq!((header.tos(), header.total_length(), header.ttl()), (0xb8, 1500, 1));
        assert_eq!((header.identification(), header.fragment(), header.protocol()), (0, 0, 6));
    }

    #[test]
    fn knows_what_cannot_be_a_source() {
        assert!(is_source(0) && is_source(0xc000_0201) && is_source(0xf000_0001));
        assert!(!is_source(0xe000_0001) && !is_source(0xefff_ffff) && !is_source(u32::MAX));
    }
}
