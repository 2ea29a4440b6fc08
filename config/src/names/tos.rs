//! Names of types of service as pf.conf(5) spells them: code points of RFC 2474 and RFC 2597, and
//! the older precedences and flags of RFC 791, as the whole octet.

/// The octet of that name.
pub fn tos_by_name(name: &str) -> Option<u8> {
    TOS.iter().find(|&&(known, _)| known == name).map(|&(_, value)| value)
}

/// Every name, for near misses.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    TOS.iter().map(|&(name, _)| name)
}

#[rustfmt::skip]
const TOS: &[(&str, u8)] = &[
    ("cs0", 0x00), ("cs1", 0x20), ("cs2", 0x40), ("cs3", 0x60), ("cs4", 0x80), ("cs5", 0xa0),
    ("cs6", 0xc0), ("cs7", 0xe0), ("af11", 0x28), ("af12", 0x30), ("af13", 0x38), ("af21", 0x48),
    ("af22", 0x50), ("af23", 0x58), ("af31", 0x68), ("af32", 0x70), ("af33", 0x78),
    ("af41", 0x88), ("af42", 0x90), ("af43", 0x98), ("ef", 0xb8), ("critical", 0xa0),
    ("inetcontrol", 0xc0), ("netcontrol", 0xe0), ("lowdelay", 0x10), ("throughput", 0x08),
    ("reliability", 0x04),
];
