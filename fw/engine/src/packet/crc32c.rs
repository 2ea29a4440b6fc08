//! `CRC32c`, the checksum of SCTP (RFC 9260, 6.8 and appendix A): the polynomial of Castagnoli, bits
//! reflected, the field sent least significant byte first.

/// A CRC that is being computed.
#[derive(Clone, Copy, Debug)]
pub struct Crc32c(u32);

impl Crc32c {
    /// Takes bytes in.
    pub fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0 >> 8 ^ TABLE[usize::from(self.0 as u8 ^ byte)];
        }
    }

    /// The four bytes on the wire.
    pub const fn bytes(self) -> [u8; 4] {
        (!self.0).to_le_bytes()
    }
}

impl Default for Crc32c {
    /// Of nothing.
    fn default() -> Self {
        Self(u32::MAX)
    }
}

/// The CRC of each byte.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::Crc32c;

    /// RFC 3720, B.4, bytes in the order of the wire.
    #[test]
    fn examples_of_rfc_3720() {
        let counting: Vec<u8> = (0..32).collect();
        let down: Vec<u8> = (0..32).rev().collect();
        for (bytes, expected) in [
            (&[0; 32][..], [0xaa, 0x36, 0x91, 0x8a]),
            (&[0xff; 32], [0x43, 0xab, 0xa8, 0x62]),
            (&counting, [0x4e, 0x79, 0xdd, 0x46]),
            (&down, [0x5c, 0xdb, 0x3f, 0x11]),
        ] {
            for cut in 0..=bytes.len() {
                let mut crc = Crc32c::default();
                crc.feed(&bytes[..cut]);
                crc.feed(&bytes[cut..]);
                assert_eq!(crc.bytes(), expected);
            }
        }
    }
}
