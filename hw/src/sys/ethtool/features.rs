//! Offload features: their names, which the kernel tells, and switching them.

use std::io;
use std::os::fd::BorrowedFd;

use super::{request, text};

const GSTRINGS: u32 = 0x1b;
const GSSET_INFO: u32 = 0x37;
const GFEATURES: u32 = 0x3a;
const SFEATURES: u32 = 0x3b;

/// `ETH_SS_FEATURES`
const FEATURE_NAMES: u32 = 4;
/// `ETH_GSTRING_LEN`, in words.
const NAME_WORDS: usize = 8;
/// More features than any kernel has (there were 60 in 2025), so that a bad answer allocates little.
const MOST_FEATURES: u32 = 1024;

/// An offload feature of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Feature {
    /// As ethtool(8) lists it with -k, in the kernel's words: `rx-gro`.
    pub(crate) name: String,
    /// Bit number.
    bit: u32,
    /// Whether it can be switched.
    pub(crate) available: bool,
    /// Whether it is in force.
    pub(crate) active: bool,
}

/// All features of an interface, and how the kernel numbers them.
#[derive(Debug)]
pub(crate) struct Features {
    pub(crate) list: Vec<Feature>,
    /// Words of 32 bits that the running kernel needs for all of them.
    blocks: u32,
}

impl Features {
    pub(crate) fn get(&self, name: &str) -> Option<&Feature> {
        self.list.iter().find(|feature| feature.name == name)
    }
}

/// The features of an interface.
pub(crate) fn features(control: BorrowedFd<'_>, interface: &str) -> io::Result<Features> {
    // struct ethtool_sset_info: command, reserved, 64-bit mask, one count.
    let mut info = [0u32; 5];
    info[0] = GSSET_INFO;
    info[2] = 1 << FEATURE_NAMES;
    // SAFETY: the kernel writes one ethtool_sset_info with one count, as one bit of the mask is set.
    unsafe { request(control, interface, &mut info)? };
    let count = info[4];
    if count > MOST_FEATURES {
        return Err(io::ErrorKind::InvalidData.into());
    }

    // struct ethtool_gstrings: command, set, count, the names.
    let mut names = vec![0u32; 3 + count as usize * NAME_WORDS];
    names[..3].copy_from_slice(&[GSTRINGS, FEATURE_NAMES, count]);
    // SAFETY: the number of features is a constant of the running kernel, which it told above; it
    // writes that many names of 32 bytes.
    unsafe { request(control, interface, &mut names)? };

    // struct ethtool_gfeatures: command, blocks, a block {available, requested, active, never}
    // for every 32 features.
    let blocks = count.div_ceil(32);
    let mut state = vec![0u32; 2 + blocks as usize * 4];
    state[..2].copy_from_slice(&[GFEATURES, blocks]);
    // SAFETY: the kernel writes at most as many blocks as the second word says.
    unsafe { request(control, interface, &mut state)? };

    let list = (0..count)
        .map(|bit| {
            let block = &state[2 + (bit / 32) as usize * 4..][..4];
            let has = |word: u32| word & 1 << (bit % 32) != 0;
            Feature {
                name: text(&names[3 + bit as usize * NAME_WORDS..][..NAME_WORDS]),
                bit,
                available: has(block[0]),
                active: has(block[2]),
            }
        })
        .collect();
    Ok(Features { list, blocks })
}

/// Asks for a feature to be on or off. The driver may leave it as it was: look again.
pub(crate) fn set_feature(
    control: BorrowedFd<'_>,
    interface: &str,
    features: &Features,
    feature: &Feature,
    on: bool,
) -> io::Result<()> {
    // struct ethtool_sfeatures: command, blocks, a block {valid, requested} for every 32.
    let mut words = vec![0u32; 2 + features.blocks as usize * 2];
    words[..2].copy_from_slice(&[SFEATURES, features.blocks]);
    let block = 2 + (feature.bit / 32) as usize * 2;
    words[block] = 1 << (feature.bit % 32);
    words[block + 1] = u32::from(on) << (feature.bit % 32);
    // SAFETY: the kernel reads as many blocks as the second word says, and writes nothing.
    unsafe { request(control, interface, &mut words) }
}
