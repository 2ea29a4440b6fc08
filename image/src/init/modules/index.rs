//! What depmod(8) has written down: which modules there are, what they need, and which devices they are
//! for.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

/// The modules of a kernel.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// By name: the file, and behind it those that it needs, each before what that needs itself.
    modules: HashMap<String, Vec<String>>,
    /// Patterns of aliases, and the names that they stand for.
    aliases: Vec<(String, String)>,
}

impl Index {
    /// Reads `modules.dep` and `modules.alias` in a folder.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) fn read(folder: &Path) -> io::Result<Self> {
        let read = |name: &str| {
            fs::read_to_string(folder.join(name)).map_err(|error| {
                io::Error::new(error.kind(), format!("{}/{name}: {error}", folder.display()))
            })
        };
        Ok(Self::of(&read("modules.dep")?, &read("modules.alias")?))
    }

    fn of(dependencies: &str, aliases: &str) -> Self {
        let mut index = Self::default();
        for line in dependencies.lines() {
            let Some((file, needs)) = line.split_once(':') else { continue };
            let files = [file].into_iter().chain(needs.split_whitespace()).map(str::to_owned);
            index.modules.insert(name_of(file), files.collect());
        }
        for line in aliases.lines() {
            if let ["alias", pattern, name] = line.split(' ').collect::<Vec<_>>()[..] {
                index.aliases.push((pattern.to_owned(), plain(name)));
            }
        }
        index
    }

    /// The files of a module, or of all modules for what goes by such an alias, in the order in which
    /// they need each other: the last is loaded first.
    pub(super) fn files(&self, name: &str) -> Vec<String> {
        if let Some(files) = self.modules.get(&plain(name)) {
            return files.clone();
        }
        let mut found: Vec<String> = Vec::new();
        for (pattern, module) in &self.aliases {
            if fits(pattern.as_bytes(), name.as_bytes())
                && let Some(files) = self.modules.get(module)
                && !found.contains(&files[0])
            {
                // Loaded from its end: what is first here is loaded last.
                found.splice(0..0, files.iter().cloned());
            }
        }
        found
    }
}

/// The name of the module in a file.
fn name_of(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or_default();
    plain(name.split('.').next().unwrap_or_default())
}

/// `-` and `_` are the same in names.
fn plain(name: &str) -> String {
    name.replace('-', "_")
}

/// Whether a text fits a pattern of fnmatch(3): `*`, `?` and sets in brackets.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut here) = (0, 0);
    // Where the last star was, and how much of the text it has taken.
    let mut star: Option<(usize, usize)> = None;
    while here < text.len() {
        let step = match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, here));
                at += 1;
                continue;
            }
            Some(b'?') => Some(1),
            Some(b'[') => set(&pattern[at..], text[here]),
            Some(&byte) if byte == text[here] => Some(1),
            _ => None,
        };
        match (step, &mut star) {
            (Some(length), _) => {
                at += length;
                here += 1;
            }
            (None, Some((begin, taken))) => {
                *taken += 1;
                (at, here) = (*begin + 1, *taken);
            }
            (None, None) => return false,
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

/// The length of the set that a pattern begins with, if the byte is in it.
fn set(pattern: &[u8], byte: u8) -> Option<usize> {
    let end = pattern.iter().position(|&byte| byte == b']')?;
    let mut within = &pattern[1..end];
    let mut found = false;
    while let Some((&first, rest)) = within.split_first() {
        if let [b'-', last, rest @ ..] = rest {
            found |= (first..=*last).contains(&byte);
            within = rest;
        } else {
            found |= first == byte;
            within = rest;
        }
    }
    found.then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDENCIES: &str = "\
kernel/drivers/net/ethernet/intel/igb/igb.ko: kernel/drivers/i2c/algos/i2c-algo-bit.ko kernel/drivers/dca/dca.ko
kernel/drivers/i2c/algos/i2c-algo-bit.ko:
kernel/drivers/dca/dca.ko:
kernel/drivers/net/virtio_net.ko.xz: kernel/net/core/failover.ko
kernel/net/core/failover.ko:
updates/netmap.ko:
kernel/drivers/net/ethernet/intel/e1000e/e1000e.ko: updates/netmap.ko
";

    const ALIASES: &str = "\
# Aliases extracted from modules themselves.
alias pci:v00008086d00001533sv*sd*bc*sc*i* igb
alias pci:v00008086d00001533sv*sd*bc02sc00i* e1000e
alias virtio:d00000001v* virtio-net
alias usb:v0BDAp8153d*dc*dsc*dp*icFFisc[0-5a]ip*in* igb
alias wrong
";

    #[test]
    fn a_module_comes_with_what_it_needs() {
        let index = Index::of(DEPENDENCIES, ALIASES);
        let igb = [
            "kernel/drivers/net/ethernet/intel/igb/igb.ko",
            "kernel/drivers/i2c/algos/i2c-algo-bit.ko",
            "kernel/drivers/dca/dca.ko",
        ];
        assert_eq!(index.files("igb"), igb);
        assert_eq!(index.files("i2c_algo_bit"), index.files("i2c-algo-bit"));
        assert_eq!(
            index.files("virtio:d00000001v00001AF4"),
            ["kernel/drivers/net/virtio_net.ko.xz", "kernel/net/core/failover.ko"]
        );
        assert!(index.files("pci:v00001AF4d00001000").is_empty());
        assert!(index.files("nothing").is_empty());
    }

    #[test]
    fn all_modules_for_a_device_are_loaded_as_they_are_listed() {
        let index = Index::of(DEPENDENCIES, ALIASES);
        let files = index.files("pci:v00008086d00001533sv00008086sd00000001bc02sc00i00");
        let order: Vec<_> = files.iter().rev().map(|file| name_of(file)).collect();
        assert_eq!(order, ["dca", "i2c_algo_bit", "igb", "netmap", "e1000e"]);
    }

    #[test]
    fn patterns_fit_as_fnmatch_has_it() {
        for (pattern, text) in [
            ("", ""),
            ("*", ""),
            ("a*c", "abcbc"),
            ("a?c*", "abc"),
            ("*b*d", "abcbcd"),
            ("isc[0-5a]x", "isc3x"),
            ("isc[0-5a]x", "iscax"),
        ] {
            assert!(fits(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("a", ""),
            ("a*c", "abcb"),
            ("?", ""),
            ("isc[0-5a]x", "isc6x"),
            ("isc[0-5", "isc3"),
            ("*b*d", "abcbc"),
        ] {
            assert!(!fits(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
    }
}
