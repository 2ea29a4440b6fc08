//! Layer 2: `ether` rules (FreeBSD's pf.conf(5), ETHERNET FILTERING) and the `set` options for control
//! frames and spoof guards, which are weir's own.

use std::fmt::{self, Display, Formatter};

use ipnet::IpNet;

use crate::rules::{Address, Direction, Interface, Source, Tagged};

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
    /// `vlan`, of the outermost tag. A priority tag (VID 0) is none.
    pub vlan: Option<VlanMatch>,
    /// `proto`: the ethertype behind all tags, at least 0x600; or [`EtherRule::LLC`].
    pub ethertype: Option<u16>,
    /// `from`.
    pub from: Option<MacMatch>,
    /// `to`.
    pub to: Option<MacMatch>,
    /// `l3 from`: `!` and the address; of an ARP packet the sender's. A rule that has one of these
    /// matches IPv4 and IPv6 only, or what its ethertype says.
    pub l3_from: Option<(bool, Address)>,
    /// `l3 to`; of an ARP packet the target's.
    pub l3_to: Option<(bool, Address)>,
    /// `label`: 1 to 63 bytes without quotes or backslashes.
    pub label: Option<String>,
    /// `tag`, which IP rules see if the rule decides on the arriving frame.
    pub tag: Option<String>,
    /// `[!] tagged`: the tag that an `ether` rule has given to the arriving frame.
    pub tagged: Option<Tagged>,
    /// Where the rule stands in its file.
    pub source: Source,
}

impl EtherRule {
    /// Stands in [`EtherRule::ethertype`] for frames of IEEE 802.3 that have a length where others
    /// have their type: LLC and SNAP.
    pub const LLC: u16 = 0;
}

/// `vlan`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VlanMatch {
    /// `none`: no tag.
    Untagged,
    /// `any`: any tag.
    Tagged,
    /// `a` or `a:b`, both included, 1 to 4094.
    Ids(u16, u16),
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

/// The `set` options of layer 2.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkOptions {
    /// `set link-control`: the control frames that cross the bridge without a rule.
    pub control: ControlFrames,
    /// `set neighbour-guard`, a line each: addresses that only hosts on one port may claim. Where
    /// prefixes overlap the longest counts; of equal ones either port will do.
    pub neighbours: Vec<NeighbourGuard>,
    /// `set neighbour-mac-check`: hardware addresses inside ARP and neighbour discovery have to be
    /// the frame's.
    pub neighbour_mac_check: bool,
    /// `set router-guard on`: the ports behind which routers are; empty if they may be anywhere.
    pub routers: Vec<String>,
    /// `set dhcp-guard on`: the ports behind which DHCP servers are; empty if they may be anywhere.
    pub dhcp_servers: Vec<String>,
}

/// `set neighbour-guard on PORT { prefixes }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighbourGuard {
    /// A role or an interface name.
    pub port: String,
    /// The addresses behind it, host bits cleared.
    pub nets: Vec<IpNet>,
}

/// A protocol between neighbouring devices. The frames of all but [`ControlFrame::Pppoe`] are
/// addressed to the link itself (01-80-C2-00-00-0x; IEEE 802.1Q, 8.6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ControlFrame {
    /// Spanning tree of whichever kind (IEEE 802.1Q, 14).
    Bpdu,
    /// Link layer discovery (IEEE 802.1AB).
    Lldp,
    /// Link aggregation and the other slow protocols (IEEE 802.3, 57A).
    Lacp,
    /// Port authentication (IEEE 802.1X).
    Eapol,
    /// What finds, sets up, keeps and ends a PPPoE session: discovery (RFC 2516, 5) and the control
    /// protocols of PPP (0x8000 to 0xffff), compression and encryption control excepted. It is
    /// addressed to a peer and may be tagged.
    Pppoe,
}

impl ControlFrame {
    /// All of them, in printing order.
    pub const ALL: [Self; 5] = [Self::Bpdu, Self::Lldp, Self::Lacp, Self::Eapol, Self::Pppoe];

    /// The word in `set link-control`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bpdu => "bpdu",
            Self::Lldp => "lldp",
            Self::Lacp => "lacp",
            Self::Eapol => "eapol",
            Self::Pppoe => "pppoe",
        }
    }

    /// The control frame of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|frame| frame.name() == name)
    }
}

/// A set of [`ControlFrame`]s; all of them by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlFrames(u8);

impl ControlFrames {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// Whether it holds that one.
    pub const fn contains(self, frame: ControlFrame) -> bool {
        self.0 >> frame as u8 & 1 == 1
    }
}

impl Default for ControlFrames {
    fn default() -> Self {
        ControlFrame::ALL.into_iter().collect()
    }
}

impl FromIterator<ControlFrame> for ControlFrames {
    fn from_iter<I: IntoIterator<Item = ControlFrame>>(frames: I) -> Self {
        Self(frames.into_iter().fold(0, |set, frame| set | 1 << frame as u8))
    }
}

/// As `set link-control` takes it: `none`, or a list.
impl Display for ControlFrames {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if *self == Self::NONE {
            return f.write_str("none");
        }
        let names = ControlFrame::ALL.into_iter().filter(|&frame| self.contains(frame));
        write!(f, "{{ {} }}", names.map(ControlFrame::name).collect::<Vec<_>>().join(" "))
    }
}

/// As it stands behind `set`.
impl Display for NeighbourGuard {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "neighbour-guard on {} {{", self.port)?;
        self.nets.iter().try_for_each(|&net| write!(f, " {}", Address::Prefix(net)))?;
        f.write_str(" }")
    }
}

/// `set` lines for everything that is not the default, each with its newline.
impl Display for LinkOptions {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.control != ControlFrames::default() {
            writeln!(f, "set link-control {}", self.control)?;
        }
        self.neighbours.iter().try_for_each(|guard| writeln!(f, "set {guard}"))?;
        if self.neighbour_mac_check {
            writeln!(f, "set neighbour-mac-check yes")?;
        }
        for (name, ports) in [("router-guard", &self.routers), ("dhcp-guard", &self.dhcp_servers)] {
            if !ports.is_empty() {
                writeln!(f, "set {name} on {{ {} }}", ports.join(" "))?;
            }
        }
        Ok(())
    }
}

/// The rule as FreeBSD's pfctl prints it (`pfctl -s ether`), without its number and without a
/// newline.
impl Display for EtherRule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if self.pass { "ether pass" } else { "ether block" })?;
        if let Some(direction) = self.direction {
            write!(f, " {direction}")?;
        }
        if self.quick {
            f.write_str(" quick")?;
        }
        if let Some(interface) = &self.interface {
            write!(f, " on {interface}")?;
        }
        match self.vlan {
            None => {}
            Some(VlanMatch::Untagged) => f.write_str(" vlan none")?,
            Some(VlanMatch::Tagged) => f.write_str(" vlan any")?,
            Some(VlanMatch::Ids(a, b)) if a == b => write!(f, " vlan {a}")?,
            Some(VlanMatch::Ids(a, b)) => write!(f, " vlan {a}:{b}")?,
        }
        match self.ethertype {
            None => {}
            Some(Self::LLC) => f.write_str(" proto llc")?,
            Some(ethertype) => write!(f, " proto 0x{ethertype:04x}")?,
        }
        for (word, mac) in [("from", &self.from), ("to", &self.to)] {
            if let Some(mac) = mac {
                write!(f, " {word} {mac}")?;
            }
        }
        f.write_str(" l3")?;
        let is_any = |side: &Option<(bool, Address)>| side.is_none();
        if is_any(&self.l3_from) && is_any(&self.l3_to) {
            f.write_str(" all")?;
        } else {
            for (word, side) in [("from", &self.l3_from), ("to", &self.l3_to)] {
                match side {
                    None => write!(f, " {word} any")?,
                    Some((not, address)) => {
                        write!(f, " {word} {}{address}", if *not { "! " } else { "" })?;
                    }
                }
            }
        }
        if let Some(label) = &self.label {
            write!(f, " label \"{label}\"")?;
        }
        if let Some(tag) = &self.tag {
            write!(f, " tag {tag}")?;
        }
        if let Some(Tagged { not, tag }) = &self.tagged {
            write!(f, " {}tagged {tag}", if *not { "! " } else { "" })?;
        }
        Ok(())
    }
}

impl Display for MacMatch {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let hex = |bytes: [u8; 6]| bytes.map(|byte| format!("{byte:02x}")).join(":");
        write!(f, "{}{}", if self.not { "! " } else { "" }, hex(self.address))?;
        match (0..=48).find(|&bits| mask_of(bits) == self.mask) {
            None => write!(f, "&{}", hex(self.mask)),
            Some(48) => Ok(()),
            Some(bits) => write!(f, "/{bits}"),
        }
    }
}

/// The first `bits` bits of an address, at most 48, the first octet's highest first.
pub(crate) fn mask_of(bits: u32) -> [u8; 6] {
    let mask = (u64::MAX << (48 - bits)).to_be_bytes();
    std::array::from_fn(|i| mask[i + 2])
}

/// A hardware address: six hexadecimal numbers of one or two digits with colons between.
pub(crate) fn octets(text: &str) -> Option<[u8; 6]> {
    let mut octets = [0; 6];
    let mut parts = text.split(':');
    for octet in &mut octets {
        let part = parts.next()?;
        if !(1..=2).contains(&part.len()) || !part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        *octet = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_print_as_short_as_they_can() {
        let print = |not, address, mask| MacMatch { not, address, mask }.to_string();
        assert_eq!(print(false, [2, 0, 0, 0, 0, 0xaf], [0xff; 6]), "02:00:00:00:00:af");
        assert_eq!(print(true, [2, 0, 0x5e, 0, 0, 0], mask_of(24)), "! 02:00:5e:00:00:00/24");
        assert_eq!(print(false, [2, 0, 0x50, 0, 0, 0], mask_of(20)), "02:00:50:00:00:00/20");
        let odd = [0xff, 0, 0, 0, 0, 0xff];
        assert_eq!(print(false, [2, 0, 0, 0, 0, 1], odd), "02:00:00:00:00:01&ff:00:00:00:00:ff");
        assert_eq!(mask_of(0), [0; 6]);
        assert_eq!(mask_of(1), [0x80, 0, 0, 0, 0, 0]);
        assert_eq!(mask_of(47), [0xff, 0xff, 0xff, 0xff, 0xff, 0xfe]);
    }

    #[test]
    fn options_print_what_is_not_the_default() {
        assert_eq!(LinkOptions::default().to_string(), "");
        let options = LinkOptions {
            control: [ControlFrame::Lacp, ControlFrame::Bpdu].into_iter().collect(),
            neighbours: vec![NeighbourGuard {
                port: "lan".to_owned(),
                nets: vec!["192.0.2.7/32".parse().unwrap(), "2001:db8::/64".parse().unwrap()],
            }],
            neighbour_mac_check: true,
            routers: vec!["wan".to_owned()],
            dhcp_servers: vec!["lan".to_owned(), "eth1".to_owned()],
        };
        assert_eq!(
            options.to_string(),
            "set link-control { bpdu lacp }\n\
             set neighbour-guard on lan { 192.0.2.7 2001:db8::/64 }\n\
             set neighbour-mac-check yes\n\
             set router-guard on { wan }\n\
             set dhcp-guard on { lan eth1 }\n"
        );
        assert_eq!(ControlFrames::NONE.to_string(), "none");
    }
}
