//! `SIOCETHTOOL` requests (linux/ethtool.h): what an interface is, and its settings.

mod features;
mod hash;

use std::ffi::c_ulong;
use std::io;
use std::os::fd::BorrowedFd;

pub(crate) use features::{features, set_feature};
pub(crate) use hash::{Hash, flow_fields, hash, set_flow_fields, set_hash};

use super::socket::InterfaceRequest;

// Commands.
const GDRVINFO: u32 = 0x03;
const NWAY_RST: u32 = 0x09;
const GLINKSETTINGS: u32 = 0x4c;

/// More words of link modes than any kernel has (4 in 2025), so that a bad answer allocates little.
const MOST_MODE_WORDS: i8 = 32;

/// Sends the command in `words`, with the answer in the same place.
///
/// # Safety
/// `words` must begin with a command and be as long as the kernel reads and writes for it.
unsafe fn request(control: BorrowedFd<'_>, interface: &str, words: &mut [u32]) -> io::Result<()> {
    let mut request = InterfaceRequest::named(interface)?;
    let address = words.as_mut_ptr() as usize;
    request.argument[..size_of::<usize>()].copy_from_slice(&address.to_ne_bytes());
    // SAFETY: the argument points to `words`, exclusively borrowed and long enough by contract.
    unsafe { request.send(control, libc::SIOCETHTOOL as c_ulong) }
}

fn text(words: &[u32]) -> String {
    let bytes = words.iter().flat_map(|word| word.to_ne_bytes()).take_while(|&byte| byte != 0);
    String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).into_owned()
}

/// What drives an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Driver {
    /// Its name.
    pub(crate) name: String,
    /// Where the device is on its bus, as in `0000:01:00.0`; empty for one without hardware.
    pub(crate) bus: String,
}

/// The driver of an interface.
pub(crate) fn driver(control: BorrowedFd<'_>, interface: &str) -> io::Result<Driver> {
    // struct ethtool_drvinfo: 196 bytes; strings of 32: driver, version, firmware, bus.
    let mut words = [0; 49];
    words[0] = GDRVINFO;
    // SAFETY: the kernel writes one ethtool_drvinfo.
    unsafe { request(control, interface, &mut words)? };
    Ok(Driver { name: text(&words[1..9]), bus: text(&words[25..33]) })
}

/// Speed of the link in Mbit/s and whether it is full duplex. `None` is unknown, as without a link.
pub(crate) fn link_mode(
    control: BorrowedFd<'_>,
    interface: &str,
) -> io::Result<(Option<u32>, Option<bool>)> {
    // struct ethtool_link_settings: 48 bytes, then three sets of link modes. Asked with no room for
    // these, the kernel tells only how much they take: negative, in the byte at 15.
    let mut words = [0; 12];
    words[0] = GLINKSETTINGS;
    // SAFETY: without room for link modes the kernel writes the 48 bytes.
    unsafe { request(control, interface, &mut words)? };
    let told = words[3].to_ne_bytes()[3].cast_signed();
    if !(-MOST_MODE_WORDS..0).contains(&told) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let room = told.unsigned_abs();
    let mut words = vec![0u32; 12 + 3 * usize::from(room)];
    words[0] = GLINKSETTINGS;
    words[3] = u32::from_ne_bytes([0, 0, 0, room]);
    // SAFETY: there is room for three sets of as many words as the request says.
    unsafe { request(control, interface, &mut words)? };
    // SPEED_UNKNOWN is -1; DUPLEX_HALF 0, DUPLEX_FULL 1.
    let speed = Some(words[1]).filter(|&speed| speed != 0 && speed != u32::MAX);
    let duplex = match words[2].to_ne_bytes()[0] {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    };
    Ok((speed, duplex))
}

/// Settings that are read and written whole. The first word of each is the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Table {
    /// `struct ethtool_ringparam`: maxima of rx, mini, jumbo and tx; then what they are.
    Rings,
    /// `struct ethtool_channels`: maxima of rx, tx, other, combined; then what they are.
    Channels,
    /// `struct ethtool_pauseparam`: autoneg, rx, tx.
    Pause,
    /// `struct ethtool_coalesce`.
    Coalesce,
}

impl Table {
    /// How many words it has.
    pub(crate) const fn words(self) -> usize {
        match self {
            Self::Rings | Self::Channels => 9,
            Self::Pause => 4,
            Self::Coalesce => 23,
        }
    }

    const fn get(self) -> u32 {
        match self {
            Self::Coalesce => 0x0e,
            Self::Rings => 0x10,
            Self::Pause => 0x12,
            Self::Channels => 0x3c,
        }
    }

    /// The setting commands are the next ones.
    const fn set(self) -> u32 {
        self.get() + 1
    }
}

/// Reads a table.
pub(crate) fn read(control: BorrowedFd<'_>, interface: &str, table: Table) -> io::Result<Vec<u32>> {
    let mut words = vec![0; table.words()];
    words[0] = table.get();
    // SAFETY: the kernel writes one structure of this length.
    unsafe { request(control, interface, &mut words)? };
    Ok(words)
}

/// Writes a table.
pub(crate) fn write(
    control: BorrowedFd<'_>,
    interface: &str,
    table: Table,
    words: &[u32],
) -> io::Result<()> {
    let mut words = words.to_vec();
    words.resize(table.words(), 0);
    words[0] = table.set();
    // SAFETY: the kernel reads one structure of this length.
    unsafe { request(control, interface, &mut words) }
}

/// Restarts the negotiation of the link.
pub(crate) fn renegotiate(control: BorrowedFd<'_>, interface: &str) -> io::Result<()> {
    // SAFETY: the kernel reads nothing behind the command, and writes nothing.
    unsafe { request(control, interface, &mut [NWAY_RST]) }
}

/// How many queues receive at present.
pub(crate) fn receive_queues(control: BorrowedFd<'_>, interface: &str) -> io::Result<u32> {
    let words = read(control, interface, Table::Channels)?;
    Ok(words[5].saturating_add(words[8]))
}
