//! The boot loader's password: with it, GRUB asks before it gives a rescue prompt, a factory reset, its
//! editor or its command line to anybody. The default entry starts without (`image/boot/grub.cfg`).

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use weir_shell::{appliance, whole};

use crate::disk::Booted;
use crate::slots::esp;

/// The name that GRUB asks for beside the password.
const USER: &str = "weir";

/// Where GRUB looks for it, on the ESP.
const FILE: &str = "grub/password.cfg";

/// Reads what GRUB is to know from standard input, and takes it over; nothing: no password is asked for.
///
/// # Errors
/// When it is no hash of GRUB's, or cannot be written.
pub(crate) fn main() -> io::Result<()> {
    let mut text = String::new();
    io::stdin().take(appliance::BOOT_HASH as u64 + 2).read_to_string(&mut text)?;
    set(text.trim_end())
}

/// Has the boot loader of the disk that was booted ask for the password of a hash
/// ([`appliance::boot_hash`]), or for none if it is empty.
///
/// # Errors
/// When it is no hash of GRUB's, or cannot be written.
pub fn set(hash: &str) -> io::Result<()> {
    if !hash.is_empty() && !appliance::is_boot_hash(hash) {
        return Err(io::Error::other("this is no hash of a password as GRUB has them"));
    }
    esp::with(&Booted::find()?, |folder| write(folder, hash))
}

fn write(esp: &Path, hash: &str) -> io::Result<()> {
    let path = esp.join(FILE);
    if hash.is_empty() {
        return match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    }
    // Exported, or GRUB's submenus would not know it.
    let text =
        format!("set superusers=\"{USER}\"\npassword_pbkdf2 {USER} {hash}\nexport superusers\n");
    whole::write(&path, text.as_bytes(), 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_what_grub_reads_and_goes_with_the_password() {
        let esp = tempfile::tempdir().unwrap();
        fs::create_dir(esp.path().join("grub")).unwrap();
        let hash = appliance::boot_hash("correct horse").unwrap();
        write(esp.path(), &hash).unwrap();
        let path = esp.path().join(FILE);
        let text = fs::read_to_string(&path).unwrap();
        let wanted =
            format!("set superusers=\"weir\"\npassword_pbkdf2 weir {hash}\nexport superusers\n");
        assert_eq!(text, wanted);
        write(esp.path(), "").unwrap();
        assert!(!path.exists());
        write(esp.path(), "").unwrap();
    }

    #[test]
    fn nothing_but_a_hash_comes_into_it() {
        for text in ["x", "grub.pbkdf2.sha512.1.AA.BB\nset superusers=", "}; normal_exit"] {
            assert!(set(text).is_err(), "{text}");
        }
    }
}
