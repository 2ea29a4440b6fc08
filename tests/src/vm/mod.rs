//! Virtual machines: a Linux kernel, an initial file system made here, and a shell to talk to.
//!
//! [`Guest`] is what lies in the initial file system, [`Machine`] runs it under QEMU, by software
//! emulation where there is no other, and gives its commands to a shell on the guest's second serial
//! port one by one. The first one is the kernel's console and kept for when something fails. Nothing of
//! this needs root, a disk or a network of the host.

mod cpio;
mod machine;
mod modules;

use std::path::Path;

pub use machine::{Machine, Nic};
use modules::Module;

use cpio::Archive;

/// What init does: everything that a command may need, then one line after the other.
const INIT: &str = include_str!("init.sh");

/// The statically linked `BusyBox` of Debian's package `busybox-static`.
const BUSYBOX: &str = "/bin/busybox";

/// What a machine boots into.
#[derive(Debug)]
pub struct Guest {
    archive: Archive,
    /// Kernel modules, in the order in which they are loaded.
    modules: Vec<String>,
}

impl Guest {
    /// `BusyBox` and a shell.
    ///
    /// # Panics
    /// If there is no `BusyBox`.
    pub fn new() -> Self {
        let mut archive = Archive::default();
        for directory in ["bin", "dev", "proc", "sys", "tmp", "run", "etc", "modules"] {
            archive.directory(directory);
        }
        archive.console();
        archive.file("init", INIT.as_bytes(), true);
        let mut guest = Self { archive, modules: Vec::new() };
        guest.program("bin/busybox", Path::new(BUSYBOX));
        guest
    }

    /// Puts a program of the host there, which has to be linked statically.
    ///
    /// # Panics
    /// If it cannot be read or wants a dynamic linker.
    pub fn program(&mut self, path: &str, program: &Path) {
        let bytes = read(program);
        assert!(
            !wants_linker(&bytes),
            "{}: a guest has no shared libraries, it takes static programs (`make static`)",
            program.display()
        );
        self.archive.file(path, &bytes, true);
    }

    /// Puts a script there.
    pub fn script(&mut self, path: &str, text: &str) {
        self.archive.file(path, text.as_bytes(), true);
    }

    /// Puts a file there.
    pub fn file(&mut self, path: &str, bytes: &[u8]) {
        self.archive.file(path, bytes, false);
    }

    /// Has these kernel modules loaded, and what they need, from a folder as `/lib/modules/RELEASE`.
    ///
    /// # Panics
    /// If one is not there.
    pub fn modules(&mut self, folder: &Path, names: &[&str]) {
        for Module { name, bytes } in modules::with_needed(folder, names) {
            self.load(&name, &bytes, "");
        }
    }

    /// Has this kernel module loaded with these parameters, after those that were named before.
    pub fn module(&mut self, path: &Path, parameters: &str) {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        self.load(&name, &read(path), parameters);
    }

    fn load(&mut self, name: &str, bytes: &[u8], parameters: &str) {
        let line = format!("{name}.ko {parameters}\n");
        if self.modules.iter().all(|known| !known.starts_with(&format!("{name}.ko "))) {
            self.archive.file(&format!("modules/{name}.ko"), bytes, false);
            self.modules.push(line);
        }
    }

    /// The initial file system.
    fn pack(mut self) -> Vec<u8> {
        let order = self.modules.concat();
        self.archive.file("modules/order", order.as_bytes(), false);
        self.archive.finish()
    }
}

impl Default for Guest {
    fn default() -> Self {
        Self::new()
    }
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Whether an ELF file of 64 bits has a program header that names an interpreter (`PT_INTERP`).
fn wants_linker(elf: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let number = |at: usize, length: usize| -> Option<usize> {
        let bytes = elf.get(at..at + length)?;
        Some(bytes.iter().rev().fold(0, |number, &byte| number << 8 | usize::from(byte)))
    };
    let headers = || Some((number(32, 8)?, number(54, 2)?, number(56, 2)?));
    let Some((first, size, count)) = headers() else { return false };
    (0..count).any(|i| number(first + i * size, 4) == Some(PT_INTERP as usize))
}

#[cfg(test)]
mod tests {
    use super::{Archive, Guest, wants_linker};

    fn bare() -> Guest {
        Guest { archive: Archive::default(), modules: Vec::new() }
    }

    #[test]
    fn a_dynamic_program_is_known() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(wants_linker(&own));
        assert!(!wants_linker(b"#!/bin/sh\n"));
    }

    #[test]
    #[should_panic(expected = "it takes static programs")]
    fn a_dynamic_program_is_refused() {
        bare().program("bin/x", &std::env::current_exe().unwrap());
    }

    #[test]
    fn modules_are_loaded_once_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let module = |name: &str, needs: &str| {
            let info = format!("junk\0license=GPL\0depends={needs}\0name={name}\0");
            std::fs::write(folder.path().join(format!("{name}.ko")), info).unwrap();
        };
        module("virtio_ring", "virtio");
        module("virtio", "");
        module("virtio_net", "virtio,virtio_ring,net_failover");
        std::fs::create_dir(folder.path().join("net")).unwrap();
        module("net/net-failover", "");
        let mut guest = bare();
        guest.modules(folder.path(), &["virtio_ring", "virtio_net"]);
        guest.module(&folder.path().join("virtio.ko"), "again=1");
        let order = guest.modules.concat();
        assert_eq!(order, "virtio.ko \nvirtio_ring.ko \nnet_failover.ko \nvirtio_net.ko \n");
        let image = guest.pack();
        let has = |text: &str| image.windows(text.len()).any(|here| here == text.as_bytes());
        assert!(has("modules/order\0") && has(&order) && has("TRAILER!!!\0"));
    }
}
