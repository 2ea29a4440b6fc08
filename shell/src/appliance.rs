//! Whether this machine is weir's own, and what its boot loader knows of the console's password.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read};
use std::num::NonZeroU32;

use ring::pbkdf2;

/// How GRUB's hashes begin: PBKDF2 with HMAC-SHA-512 (RFC 8018), rounds, salt and key in hexadecimal.
const KIND: &str = "grub.pbkdf2.sha512";

/// As many as grub-mkpasswd-pbkdf2(1) has: GRUB computes them on bare hardware.
const ROUNDS: NonZeroU32 = NonZeroU32::new(10_000).unwrap();

/// Bytes of salt and of the key.
const LENGTH: usize = 64;

/// Longest hash that is taken over, in bytes.
pub const BOOT_HASH: usize = 512;

/// The hash of a password as GRUB's `password_pbkdf2` reads it.
///
/// # Errors
/// When there is no randomness.
pub fn boot_hash(password: &str) -> io::Result<String> {
    let mut salt = [0; LENGTH];
    File::open("/dev/urandom")?.read_exact(&mut salt)?;
    Ok(hash(password, ROUNDS, &salt))
}

fn hash(password: &str, rounds: NonZeroU32, salt: &[u8]) -> String {
    let mut key = [0; LENGTH];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, rounds, salt, password.as_bytes(), &mut key);
    let hexadecimal = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02X}");
            text
        })
    };
    format!("{KIND}.{rounds}.{}.{}", hexadecimal(salt), hexadecimal(&key))
}

/// Whether a text is such a hash, and nothing else that a boot loader could read.
pub fn is_boot_hash(text: &str) -> bool {
    let Some(rest) = text.strip_prefix(KIND).and_then(|rest| rest.strip_prefix('.')) else {
        return false;
    };
    let fields: Vec<&str> = rest.split('.').collect();
    let [rounds, salt, key] = fields[..] else { return false };
    let hexadecimal = |field: &str| {
        !field.is_empty()
            && field.len().is_multiple_of(2)
            && field.bytes().all(|c| c.is_ascii_hexdigit())
    };
    text.len() <= BOOT_HASH
        && rounds.parse::<NonZeroU32>().is_ok()
        && rounds.bytes().all(|c| c.is_ascii_digit())
        && hexadecimal(salt)
        && hexadecimal(key)
}

/// Whether the first process is `weir init`: only then does `weir box` act on the machine.
pub fn is_one() -> bool {
    fs::read("/proc/1/cmdline").is_ok_and(|line| is_init(&line))
}

/// Whether a command line, as proc(5) shows it, is that of `weir init`.
fn is_init(line: &[u8]) -> bool {
    let mut words = line.split(|&byte| byte == 0);
    let program = words.next().and_then(|path| path.rsplit(|&byte| byte == b'/').next());
    program == Some(b"weir") && words.next() == Some(b"init")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_that_grub_knows() {
        // Python's hashlib.pbkdf2_hmac("sha512", b"correct horse", b"salt", 1000, 64).
        let known = "grub.pbkdf2.sha512.1000.73616C74.38B54862CF5DEF6E5F58038925E7D345C7AABCB331948C89ED1759F359BBF6743F5AC2C454DB86067A643FE17B65C0533683A45CEDD240087528C4068B21236F";
        assert_eq!(hash("correct horse", NonZeroU32::new(1000).unwrap(), b"salt"), known);
        let (first, second) = (boot_hash("x").unwrap(), boot_hash("x").unwrap());
        assert_ne!(first, second, "salted");
        assert!(is_boot_hash(&first) && is_boot_hash(known));
        for text in [
            "",
            "grub.pbkdf2.sha512",
            "grub.pbkdf2.sha512.1000.AA",
            "grub.pbkdf2.sha512.0.AA.BB",
            "grub.pbkdf2.sha512.+5.AA.BB",
            "grub.pbkdf2.sha512.1000.AA.BB.CC",
            "grub.pbkdf2.sha512.1000.AA.B",
            "grub.pbkdf2.sha512.1000.AA.BG",
            "grub.pbkdf2.sha512.1000.AA.BB\nset root=",
            " grub.pbkdf2.sha512.1000.AA.BB",
        ] {
            assert!(!is_boot_hash(text), "{text}");
        }
        assert!(!is_boot_hash(&format!("grub.pbkdf2.sha512.1000.AA.{}", "BB".repeat(300))));
    }

    #[test]
    fn only_weir_init_makes_an_appliance() {
        for line in [&b"/usr/bin/weir\0init\0"[..], b"weir\0init\0", b"weir\0init"] {
            assert!(is_init(line), "{line:?}");
        }
        for line in [
            &b""[..],
            b"/sbin/init\0",
            b"weir\0",
            b"weir\0run\0init\0",
            b"/usr/bin/notweir\0init\0",
            b"/usr/bin/weir init\0",
            b"init\0weir\0",
        ] {
            assert!(!is_init(line), "{line:?}");
        }
    }
}
