//! The interface as steps see it.

use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use crate::sys::ethtool::{self, Driver, Hash, Table};
use crate::sys::socket;

/// What can be asked of a NIC and set.
pub(crate) trait Device {
    /// Its driver and place.
    fn driver(&self) -> Driver;

    /// Reads a table of settings.
    fn read(&self, table: Table) -> io::Result<Vec<u32>>;

    /// Writes a table that was read before and changed.
    fn write(&self, table: Table, words: &[u32]) -> io::Result<()>;

    /// Has the link negotiated anew: it is lost for as long as that takes.
    fn renegotiate(&self) -> io::Result<()>;

    /// How it spreads frames over its queues.
    fn hash(&self) -> io::Result<Hash>;

    /// Changes that; what is empty stays.
    fn set_hash(&self, hash: &Hash) -> io::Result<()>;

    /// Which fields of a kind of packet it hashes.
    fn flow_fields(&self, flow: u32) -> io::Result<u64>;

    /// Changes that.
    fn set_flow_fields(&self, flow: u32, fields: u64) -> io::Result<()>;

    /// Its interrupts: numbers and names, as `/proc/interrupts` has them.
    fn interrupts(&self) -> io::Result<Vec<(u32, String)>>;

    /// The CPUs that an interrupt may go to, as a list.
    fn affinity(&self, interrupt: u32) -> io::Result<String>;

    /// Changes that.
    fn set_affinity(&self, interrupt: u32, cpus: &str) -> io::Result<()>;
}

/// An interface of the network namespace that the socket was opened in.
pub(crate) struct Real<'a> {
    /// For interface requests.
    pub(crate) control: BorrowedFd<'a>,
    /// Number of the interface.
    pub(crate) index: u32,
}

impl Real<'_> {
    /// It may be renamed at any time.
    fn name(&self) -> io::Result<String> {
        socket::interface_name(self.control, self.index)
    }
}

/// Where the interrupts of a PCI device lie.
fn pci_device(bus: &str) -> PathBuf {
    PathBuf::from("/sys/bus/pci/devices").join(bus)
}

fn affinity_path(interrupt: u32) -> String {
    format!("/proc/irq/{interrupt}/smp_affinity_list")
}

impl Device for Real<'_> {
    fn driver(&self) -> Driver {
        let driver = self.name().and_then(|name| ethtool::driver(self.control, &name));
        driver.unwrap_or_default()
    }

    fn read(&self, table: Table) -> io::Result<Vec<u32>> {
        ethtool::read(self.control, &self.name()?, table)
    }

    fn write(&self, table: Table, words: &[u32]) -> io::Result<()> {
        ethtool::write(self.control, &self.name()?, table, words)
    }

    fn renegotiate(&self) -> io::Result<()> {
        ethtool::renegotiate(self.control, &self.name()?)
    }

    fn hash(&self) -> io::Result<Hash> {
        ethtool::hash(self.control, &self.name()?)
    }

    fn set_hash(&self, hash: &Hash) -> io::Result<()> {
        ethtool::set_hash(self.control, &self.name()?, hash)
    }

    fn flow_fields(&self, flow: u32) -> io::Result<u64> {
        ethtool::flow_fields(self.control, &self.name()?, flow)
    }

    fn set_flow_fields(&self, flow: u32, fields: u64) -> io::Result<()> {
        ethtool::set_flow_fields(self.control, &self.name()?, flow, fields)
    }

    fn interrupts(&self) -> io::Result<Vec<(u32, String)>> {
        let bus = self.driver().bus;
        if bus.is_empty() {
            return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        }
        let device = pci_device(&bus);
        let mut numbers: Vec<u32> = match fs::read_dir(device.join("msi_irqs")) {
            Ok(entries) => entries
                .flatten()
                .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
                .collect(),
            // Without message-signalled interrupts there is one line.
            Err(_) => fs::read_to_string(device.join("irq"))
                .ok()
                .and_then(|text| text.trim().parse().ok())
                .into_iter()
                .collect(),
        };
        numbers.sort_unstable();
        let names = fs::read_to_string("/proc/interrupts")?;
        Ok(numbers.into_iter().filter_map(|number| named(&names, number)).collect())
    }

    fn affinity(&self, interrupt: u32) -> io::Result<String> {
        fs::read_to_string(affinity_path(interrupt)).map(|text| text.trim().to_owned())
    }

    fn set_affinity(&self, interrupt: u32, cpus: &str) -> io::Result<()> {
        fs::write(affinity_path(interrupt), cpus)
    }
}

/// An interrupt that is in use, with its name out of `/proc/interrupts`: the last word of its line.
fn named(interrupts: &str, number: u32) -> Option<(u32, String)> {
    let line = interrupts.lines().find(|line| {
        let first = line.split(':').next().map(str::trim);
        first.and_then(|first| first.parse().ok()) == Some(number)
    })?;
    line.split_whitespace().next_back().map(|name| (number, name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupts_are_named_by_the_last_word() {
        let text = "            CPU0       CPU1\n   1:         9          0   IO-APIC   1-edge      \
                    i8042\n  24:  1234  0  PCI-MSIX-0000:00:03.0   1-edge      virtio2-input.0\nNMI: \
                    0 0 Non-maskable interrupts\n";
        assert_eq!(named(text, 24), Some((24, "virtio2-input.0".to_owned())));
        assert_eq!(named(text, 2), None);
    }
}
