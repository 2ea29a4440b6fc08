//! Secrets of a run.

use std::fs::File;
use std::io::Read;

/// So many bytes that nobody knows.
///
/// # Errors
/// What the kernel said, in words.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| format!("/dev/urandom: {error}"))?;
    Ok(bytes)
}
