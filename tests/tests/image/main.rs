//! The appliance's image in a virtual machine, driven through its serial console.
//!
//! `WEIR_IMAGE` names the image: `make test-image` sees to it, and to QEMU (`QEMU` names another) and its
//! UEFI. Without it nothing is tried, and the tests say so.

mod boots;
