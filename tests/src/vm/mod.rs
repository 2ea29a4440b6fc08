//! Virtual machines: a Linux kernel, an initial file system made here, and a shell to talk to.
//!
//! [`Guest`] is what lies in the initial file system, [`Machine`] runs it under QEMU, by software
//! emulation where there is no other, and gives its commands to a shell on the guest's second serial
//! port one by one. The first one is the kernel's console and kept for when something fails. Nothing of
//! this needs root, a disk or a network of the host.
//!
//! [`Appliance`] boots the appliance's image instead, as a box would, and talks to its console.

mod appliance;
mod cpio;
mod hardware;
mod hosts;
mod kernel;
mod machine;
mod modules;
mod monitor;
mod serial;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

pub use appliance::{Appliance, Disk, Firmware, image};
pub use hardware::Nic;
pub use kernel::Kernel;
pub use machine::Machine;
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
    /// What programs brought with them, files and folders, by path.
    libraries: BTreeSet<String>,
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
        let mut guest = Self { archive, modules: Vec::new(), libraries: BTreeSet::new() };
        guest.program("bin/busybox", Path::new(BUSYBOX));
        guest
    }

    /// Puts a program of the host there, with the shared libraries that `ldd` names if it wants some.
    ///
    /// # Panics
    /// If it or one of them cannot be read.
    pub fn program(&mut self, path: &str, program: &Path) {
        let bytes = read(program);
        if wants_linker(&bytes) {
            self.libraries_of(program);
        }
        self.archive.file(path, &bytes, true);
    }

    fn libraries_of(&mut self, program: &Path) {
        let output = Command::new("ldd").arg(program).output().expect("ldd");
        let listing = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "ldd {}: {listing}", program.display());
        for library in listing.split_whitespace().filter(|word| word.starts_with('/')) {
            if !self.libraries.insert(library.to_owned()) {
                continue;
            }
            let inside = &library[1..];
            for (end, _) in inside.match_indices('/') {
                if self.libraries.insert(inside[..end].to_owned()) {
                    self.archive.directory(&inside[..end]);
                }
            }
            self.archive.file(inside, &read(Path::new(library)), true);
        }
    }

    /// Puts a script there.
    pub fn script(&mut self, path: &str, text: &str) {
        self.archive.file(path, text.as_bytes(), true);
    }

    /// Puts a file there.
    pub fn file(&mut self, path: &str, bytes: &[u8]) {
        self.archive.file(path, bytes, false);
    }

    /// Has these modules of a kernel loaded, and what they need.
    ///
    /// # Panics
    /// If one is not there.
    pub fn modules(&mut self, kernel: &Kernel, names: &[&str]) {
        for Module { name, bytes } in modules::with_needed(&kernel.modules, names) {
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
    use std::collections::BTreeSet;

    use super::{Archive, Guest, Kernel, wants_linker};

    fn bare() -> Guest {
        Guest { archive: Archive::default(), modules: Vec::new(), libraries: BTreeSet::new() }
    }

    #[test]
    fn a_dynamic_program_is_known() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(wants_linker(&own));
        assert!(!wants_linker(b"#!/bin/sh\n"));
    }

    #[test]
    fn libraries_come_once_and_into_their_folders() {
        let own = std::env::current_exe().unwrap();
        let mut guest = bare();
        guest.program("bin/x", &own);
        guest.program("bin/y", &own);
        let library =
            guest.libraries.iter().find(|path| path.contains("libc.so")).cloned().unwrap();
        let folder = library[1..].rsplit_once('/').map(|(folder, _)| folder.to_owned()).unwrap();
        assert!(guest.libraries.contains(&folder));
        let image = guest.pack();
        // A name in a header: behind it comes the file, aligned.
        let entries = |path: &str| {
            let name = format!("{path}\0");
            let at = |here: &[u8]| {
                here.starts_with(b"070701") && here[110..].starts_with(name.as_bytes())
            };
            image.windows(110 + name.len()).filter(|here| at(here)).count()
        };
        assert_eq!((entries("bin/x"), entries("bin/y")), (1, 1));
        assert_eq!((entries(&library[1..]), entries(&folder)), (1, 1));
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
        let kernel = Kernel { image: "vmlinuz".into(), modules: folder.path().to_owned() };
        assert!(kernel.has("net_failover") && !kernel.has("igb"));
        guest.modules(&kernel, &["virtio_ring", "virtio_net"]);
        guest.module(&folder.path().join("virtio.ko"), "again=1");
        let order = guest.modules.concat();
        assert_eq!(order, "virtio.ko \nvirtio_ring.ko \nnet_failover.ko \nvirtio_net.ko \n");
        let image = guest.pack();
        let has = |text: &str| image.windows(text.len()).any(|here| here == text.as_bytes());
        assert!(has("modules/order\0") && has(&order) && has("TRAILER!!!\0"));
    }
}
