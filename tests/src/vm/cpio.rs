//! Archives as the kernel unpacks them into its first file system: cpio's "new ASCII" format
//! (`Documentation/driver-api/early-userspace/buffer-format.rst`).

/// An archive in the making. Everything belongs to root; times are 0, so that the same contents are the
/// same bytes.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;
const CHARACTERS: u32 = 0o020_600;

impl Archive {
    /// A folder; what is in it comes later.
    pub(super) fn directory(&mut self, path: &str) {
        self.entry(path, DIRECTORY, (0, 0), &[]);
    }

    /// A file.
    pub(super) fn file(&mut self, path: &str, bytes: &[u8], program: bool) {
        self.entry(path, if program { PROGRAM } else { FILE }, (0, 0), bytes);
    }

    /// `/dev/console`, on which the kernel opens the standard streams of init.
    pub(super) fn console(&mut self) {
        self.entry("dev/console", CHARACTERS, (5, 1), &[]);
    }

    /// The archive with its end.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, (major, minor): (u32, u32), bytes: &[u8]) {
        self.entries += 1;
        let links = if mode == DIRECTORY { 2 } else { 1 };
        self.bytes.extend(b"070701");
        let size = bytes.len() as u32;
        let name = path.len() as u32 + 1;
        // Inode, mode, owner, group, links, time, size, device, special device, name, checksum.
        for field in [self.entries, mode, 0, 0, links, 0, size, 0, 0, major, minor, name, 0] {
            self.bytes.extend(format!("{field:08X}").bytes());
        }
        self.bytes.extend(path.bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend(bytes);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn entries_are_laid_out_as_the_kernel_reads_them() {
        let mut archive = Archive::default();
        archive.file("etc/x", b"hello", true);
        let bytes = archive.finish();
        let header = "070701\
                      00000001000081ED00000000000000000000000100000000\
                      00000005000000000000000000000000000000000000000600000000";
        assert_eq!(&bytes[..110], header.as_bytes());
        assert_eq!(&bytes[110..116], b"etc/x\0");
        assert_eq!(&bytes[116..124], b"hello\0\0\0");
        assert_eq!(&bytes[124..130], b"070701");
        assert_eq!(bytes.len() % 4, 0);
        assert!(bytes.windows(11).any(|here| here == b"TRAILER!!!\0"));
    }
}
