//! What drivers can do for a port. Looked up in:
//! - Linux 6.12, `drivers/net`: XDP in the driver (`ndo_bpf` with `XDP_SETUP_PROG`), `AF_XDP` without
//!   copies (`XDP_SETUP_XSK_POOL`, `ndo_xsk_wakeup`); `Documentation/networking/af_xdp.rst`.
//! - netmap(4) of FreeBSD 14, "SUPPORTED DEVICES", and the `LINUX/` folder of github.com/luigirizzo/netmap
//!   (patched drivers): native mode. Every other driver works in emulated mode, which copies.
//! - What becomes of the link when an interface is set down: `ndo_stop` of each driver. i40e and ice
//!   keep it up unless a private flag says otherwise (`link-down-on-close`, their documentation in
//!   `Documentation/networking/device_drivers/ethernet/intel/`); paravirtual NICs have none of their own.

/// Since when a driver moves `AF_XDP` frames without copying them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZeroCopy {
    /// It does not.
    No,
    /// Since this release of Linux.
    Since(&'static str),
}

/// What is known of a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Driver {
    /// As ethtool(8) tells it with -i.
    pub name: &'static str,
    /// Whether it runs XDP programs itself, which an `xdp` port needs.
    pub xdp: bool,
    /// `AF_XDP` without copies.
    pub zero_copy: ZeroCopy,
    /// Whether netmap has a native driver for it (Linux).
    pub netmap: bool,
    /// Whether the other end of the cable sees the link go when the interface is set down.
    pub link_goes_down: bool,
}

const fn known(
    name: &'static str,
    xdp: bool,
    zero_copy: ZeroCopy,
    netmap: bool,
    link_goes_down: bool,
) -> Driver {
    Driver { name, xdp, zero_copy, netmap, link_goes_down }
}

use ZeroCopy::{No, Since};

/// By name.
const DRIVERS: [Driver; 36] = [
    known("8139cp", false, No, false, true),
    known("8139too", false, No, false, true),
    known("alx", false, No, false, true),
    known("atlantic", true, No, false, true),
    known("bnxt_en", true, No, false, true),
    known("cxgb4", false, No, false, true),
    known("dpaa2-eth", true, Since("6.2"), false, true),
    known("e1000", false, No, true, true),
    known("e1000e", false, No, true, true),
    known("ena", true, No, false, false),
    known("forcedeth", false, No, true, true),
    known("gve", true, Since("6.4"), false, false),
    known("hv_netvsc", true, No, false, false),
    known("i40e", true, Since("4.20"), true, false),
    known("iavf", false, No, false, false),
    known("ice", true, Since("5.5"), true, false),
    known("igb", true, Since("6.14"), true, true),
    known("igc", true, Since("5.14"), true, true),
    known("ixgbe", true, Since("4.20"), true, true),
    known("ixgbevf", true, No, true, false),
    known("mlx4_en", true, No, false, true),
    known("mlx5_core", true, Since("5.3"), true, true),
    known("mvneta", true, No, false, true),
    known("nfp", true, Since("5.18"), false, true),
    known("qede", true, No, false, true),
    known("r8152", false, No, false, true),
    known("r8169", false, No, true, true),
    known("sfc", true, No, false, true),
    known("sky2", false, No, false, true),
    known("stmmac", true, Since("5.13"), true, true),
    known("tg3", false, No, false, true),
    known("tun", true, No, false, false),
    known("veth", true, No, true, true),
    known("virtio_net", true, Since("6.11"), true, false),
    known("vmxnet3", true, No, true, false),
    known("xen_netfront", true, No, false, false),
];

/// What is known of the driver of this name.
pub fn driver(name: &str) -> Option<&'static Driver> {
    DRIVERS.iter().find(|driver| driver.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_are_in_order_and_zero_copy_needs_xdp() {
        assert!(DRIVERS.is_sorted_by(|a, b| a.name < b.name));
        assert!(DRIVERS.iter().all(|driver| driver.xdp || driver.zero_copy == No));
        assert_eq!(driver("igc").map(|driver| driver.zero_copy), Some(Since("5.14")));
        assert_eq!(driver("nothing"), None);
    }
}
