//! What to ask netmap for.

use std::ffi::c_char;
use std::io;

use netmap_sys::netmap::{
    IFNAMSIZ, NETMAP_RING_MASK, NR_EXCLUSIVE, NR_REG_ALL_NIC, NR_REG_MASK, NR_REG_ONE_NIC, nmreq,
};

/// The version of netmap's interface that is spoken: the crate's own constant (11) is refused by
/// current modules.
pub(crate) const VERSION: u32 = 14;

/// Which rings of an interface a registration takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rings {
    /// All hardware rings.
    All,
    /// Hardware ring pair `n`, from 0. Where there are fewer rings of a direction, ring 0 of it.
    One(u16),
}

/// A registration to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Name of the interface, at most 15 bytes.
    pub name: String,
    /// Which rings.
    pub rings: Rings,
    /// Whether nobody else may have these rings. Without it netmap lets two programs share rings,
    /// to the harm of both.
    pub exclusive: bool,
    /// The memory region to use (`nr_arg2` that an earlier registration returned); `None` leaves it
    /// to netmap.
    pub region: Option<u16>,
    /// How many spare buffers to ask for; netmap may give fewer.
    pub spare_buffers: u32,
}

impl Request {
    /// All rings of an interface, exclusively, without spare buffers.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            rings: Rings::All,
            exclusive: true,
            region: None,
            spare_buffers: 0,
        }
    }

    /// As netmap's `NIOCREGIF` wants it.
    ///
    /// # Errors
    /// `InvalidInput`: the name is empty, too long or has a zero byte; the ring's number exceeds
    /// netmap's mask.
    pub fn to_nmreq(&self) -> io::Result<nmreq> {
        let bytes = self.name.as_bytes();
        if bytes.is_empty() || bytes.len() >= IFNAMSIZ || bytes.contains(&0) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("\"{}\" cannot be the name of an interface", self.name),
            ));
        }
        let mut name = [0; IFNAMSIZ];
        for (to, from) in name.iter_mut().zip(bytes) {
            *to = from.cast_signed() as c_char;
        }
        let (mode, ring) = match self.rings {
            Rings::All => (NR_REG_ALL_NIC, 0),
            Rings::One(ring) if ring <= NETMAP_RING_MASK as u16 => (NR_REG_ONE_NIC, ring),
            Rings::One(ring) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("there is no ring {ring}"),
                ));
            }
        };
        Ok(nmreq {
            nr_name: name,
            nr_version: VERSION,
            nr_offset: 0,
            nr_memsize: 0,
            nr_tx_slots: 0,
            nr_rx_slots: 0,
            nr_tx_rings: 0,
            nr_rx_rings: 0,
            nr_ringid: ring,
            nr_cmd: 0,
            nr_arg1: 0,
            nr_arg2: self.region.unwrap_or(0),
            nr_arg3: self.spare_buffers,
            nr_flags: mode | if self.exclusive { NR_EXCLUSIVE } else { 0 },
            spare2: [0],
        })
    }
}

/// The name in a request.
pub(super) fn name_of(request: &nmreq) -> String {
    let bytes: Vec<u8> = request
        .nr_name
        .iter()
        .flat_map(|&byte| byte.to_ne_bytes())
        .take_while(|&byte| byte != 0)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The rings that a request names, as ranges of TX and RX rings; `None` for modes that are not
/// supported and for rings that are not there. As netmap does, ring 0 stands in for one that a
/// direction lacks.
pub(super) fn rings_of(
    request: &nmreq,
    tx_rings: u16,
    rx_rings: u16,
) -> Option<(std::ops::Range<u16>, std::ops::Range<u16>)> {
    match request.nr_flags & NR_REG_MASK as u32 {
        NR_REG_ALL_NIC => Some((0..tx_rings, 0..rx_rings)),
        NR_REG_ONE_NIC => {
            let ring = request.nr_ringid & NETMAP_RING_MASK as u16;
            if ring >= tx_rings.max(rx_rings) {
                return None;
            }
            let pick = |count: u16| if ring < count { ring..ring + 1 } else { 0..1 };
            Some((pick(tx_rings), pick(rx_rings)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_what_the_module_wants_to_hear() {
        let mut request = Request::new("lan0");
        request.rings = Rings::One(2);
        request.region = Some(7);
        request.spare_buffers = 99;
        let raw = request.to_nmreq().unwrap();
        assert_eq!(raw.nr_version, 14);
        assert_eq!(raw.nr_flags, 4 | 0x800);
        assert_eq!((raw.nr_ringid, raw.nr_arg2, raw.nr_arg3), (2, 7, 99));
        assert_eq!(name_of(&raw), "lan0");
    }

    #[test]
    fn impossible_names_and_rings_are_refused() {
        assert!(Request::new("").to_nmreq().is_err());
        assert!(Request::new("sixteen-bytes-xx").to_nmreq().is_err());
        assert!(Request::new("a\0b").to_nmreq().is_err());
        let mut request = Request::new("lan");
        request.rings = Rings::One(0x1000);
        assert!(request.to_nmreq().is_err());
    }

    #[test]
    fn a_missing_ring_of_one_direction_is_ring_0() {
        let mut request = Request::new("lan");
        request.rings = Rings::One(2);
        let raw = request.to_nmreq().unwrap();
        assert_eq!(rings_of(&raw, 1, 4), Some((0..1, 2..3)));
        assert_eq!(rings_of(&raw, 2, 2), None);
    }
}
