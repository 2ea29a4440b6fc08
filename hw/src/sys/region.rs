//! Memory that lives as long as the process, for the state tables.

use std::io;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};

/// Maps `length` zeroed bytes, page-aligned, on huge pages where the kernel gives some. Pages are
/// taken when they are first written. Never unmapped.
///
/// # Errors
/// When the kernel refuses, or `length` is 0.
pub fn region(length: usize) -> io::Result<&'static mut [u8]> {
    // SAFETY: an anonymous mapping at an address of the kernel's choice touches no memory of ours.
    let base = unsafe {
        mmap_anonymous(
            std::ptr::null_mut(),
            length,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE | MapFlags::NORESERVE,
        )?
    };
    // SAFETY: exactly the range mapped above. Failure only costs speed.
    let _ = unsafe { madvise(base, length, Advice::LinuxHugepage) };
    // SAFETY: mapped above, readable and writable, zeroed by the kernel, known to nobody else, and
    // never unmapped; mmap gives no null and no range that wraps.
    Ok(unsafe { std::slice::from_raw_parts_mut(base.cast(), length) })
}

#[cfg(test)]
mod tests {
    use super::region;

    #[test]
    fn a_region_is_zeroed_and_aligned() {
        let memory = region(3 << 20).unwrap();
        assert_eq!(memory.len(), 3 << 20);
        assert_eq!(memory.as_ptr().align_offset(4096), 0);
        assert!(memory.iter().all(|&byte| byte == 0));
        memory[(3 << 20) - 1] = 1;
        assert!(region(0).is_err());
    }
}
