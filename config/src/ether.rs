//! Layer 2 rules (FreeBSD's pf.conf(5), ETHERNET FILTERING).

use crate::rules::{Address, Direction, Interface, Source};

/// `ether pass|block ...` after expansion. `None` matches everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtherRule {
    /// `pass` lets the frame on to the IP rules if it holds IP, else through; `block` drops it.
    pub pass: bool,
    /// `in`, `out`, or both.
    pub direction: Option<Direction>,
    /// `quick`.
    pub quick: bool,
    /// `on`.
    pub interface: Option<Interface>,
    /// `vlan`: the outermost VLAN id, 1 to 4094; 0 is a frame without a tag.
    pub vlan: Option<u16>,
    /// `proto`: the ethertype behind all tags.
    pub ethertype: Option<u16>,
    /// `from`.
    pub from: Option<MacMatch>,
    /// `to`.
    pub to: Option<MacMatch>,
    /// `l3 from`: `!` and the address.
    pub l3_from: Option<(bool, Address)>,
    /// `l3 to`.
    pub l3_to: Option<(bool, Address)>,
    /// `label`.
    pub label: Option<String>,
    /// `tag`, which IP rules see.
    pub tag: Option<String>,
    /// Where the rule stands in its file.
    pub source: Source,
}

/// `[!] aa:bb:cc:dd:ee:ff [/bits or &mask]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacMatch {
    /// `!` was written.
    pub not: bool,
    /// The address, bits outside the mask cleared.
    pub address: [u8; 6],
    /// The bits that are compared.
    pub mask: [u8; 6],
}
