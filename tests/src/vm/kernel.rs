//! A kernel and its modules.

use std::path::{Path, PathBuf};

use super::modules;

/// A kernel image, and the folder that has its modules (as `/lib/modules/RELEASE`).
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The image.
    pub image: PathBuf,
    /// The folder.
    pub modules: PathBuf,
}

impl Kernel {
    /// The kernel of this image; its modules are looked for where packages of Debian lay them beside it:
    /// `boot/vmlinuz-RELEASE` and `[usr/]lib/modules/RELEASE`, or `[usr/]lib/modules/RELEASE/vmlinuz`.
    ///
    /// # Panics
    /// If the image's name says no release.
    pub fn at(image: PathBuf) -> Self {
        let modules = beside(&image).unwrap_or_else(|| {
            panic!("{}: not vmlinuz-RELEASE: where are its modules?", image.display())
        });
        Self { image, modules }
    }

    /// Whether it has this module, not built in.
    pub fn has(&self, module: &str) -> bool {
        modules::has(&self.modules, module)
    }
}

fn beside(image: &Path) -> Option<PathBuf> {
    let folder = image.parent()?;
    let name = image.file_name()?.to_str()?;
    if name == "vmlinuz" {
        return Some(folder.to_owned());
    }
    let root = folder.parent().unwrap_or(Path::new("/"));
    let release = name.strip_prefix("vmlinuz-")?;
    let [old, new] = ["lib/modules", "usr/lib/modules"].map(|place| root.join(place).join(release));
    Some(if new.exists() { new } else { old })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::beside;

    #[test]
    fn modules_lie_beside_their_kernel() {
        let of = |image: &str| beside(Path::new(image));
        let at = |folder: &str| Some(Path::new(folder).to_owned());
        assert_eq!(of("/x/boot/vmlinuz-6.1-amd64"), at("/x/lib/modules/6.1-amd64"));
        assert_eq!(of("/usr/lib/modules/7.3/vmlinuz"), at("/usr/lib/modules/7.3"));
        assert_eq!(of("/x/bzImage"), None);
    }
}
