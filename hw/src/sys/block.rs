//! Block devices: partitions that grow while they are in use (linux/blkpg.h, linux/fs.h), and the
//! ext4 in them (fs/ext4/ext4.h).

use std::ffi::{c_char, c_int, c_longlong, c_ulong, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

const BLKRRPART: c_ulong = 0x125f;
const BLKPG: c_ulong = 0x1269;
const BLKPG_RESIZE_PARTITION: c_int = 3;

/// `_IOW('f', 16, __u64)`.
const EXT4_IOC_RESIZE_FS: c_ulong = 0x4008_6610;

/// `struct blkpg_ioctl_arg`.
#[repr(C)]
struct Request {
    op: c_int,
    flags: c_int,
    length: c_int,
    data: *mut c_void,
}

/// `struct blkpg_partition`.
#[repr(C)]
struct Partition {
    start: c_longlong,
    length: c_longlong,
    number: c_int,
    device: [c_char; 64],
    volume: [c_char; 64],
}

/// Has the kernel read the partition table of a disk again (`BLKRRPART`).
///
/// # Errors
/// When a partition of it is in use, or the descriptor is not a whole disk's.
pub fn read_partitions(disk: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the request takes no argument.
    told(unsafe { libc::ioctl(disk.as_raw_fd(), BLKRRPART as _, 0) })
}

/// Tells the kernel where a partition of a disk is, in bytes; it may be in use, but must begin where it
/// began (`BLKPG_RESIZE_PARTITION`).
///
/// # Errors
/// When there is no such partition, it would overlap another, or a number is beyond what the kernel
/// takes.
pub fn resize_partition(
    disk: BorrowedFd<'_>,
    number: u32,
    start: u64,
    length: u64,
) -> io::Result<()> {
    let large = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let mut partition = Partition {
        start: start.try_into().map_err(large)?,
        length: length.try_into().map_err(large)?,
        number: number.try_into().map_err(large)?,
        device: [0; 64],
        volume: [0; 64],
    };
    let mut request = Request {
        op: BLKPG_RESIZE_PARTITION,
        flags: 0,
        length: (size_of::<Partition>() as u32).cast_signed(),
        data: (&raw mut partition).cast(),
    };
    // SAFETY: the kernel reads a blkpg_ioctl_arg and the blkpg_partition that it points to; both live
    // until it returns.
    told(unsafe { libc::ioctl(disk.as_raw_fd(), BLKPG as _, &raw mut request) })
}

/// Has a mounted ext4 take so many of its blocks (`EXT4_IOC_RESIZE_FS`). `mounted` is any file or
/// folder in it.
///
/// # Errors
/// When the partition is smaller, it is no ext4, or is not mounted for writing.
pub fn resize_ext4(mounted: BorrowedFd<'_>, blocks: u64) -> io::Result<()> {
    let mut blocks = blocks;
    // SAFETY: the kernel reads one __u64.
    told(unsafe { libc::ioctl(mounted.as_raw_fd(), EXT4_IOC_RESIZE_FS as _, &raw mut blocks) })
}

fn told(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    #[test]
    fn what_is_no_disk_is_refused() {
        let file = File::open("/dev/null").unwrap();
        assert!(super::read_partitions(file.as_fd()).is_err());
        assert!(super::resize_partition(file.as_fd(), 1, 512, 512).is_err());
        assert!(super::resize_partition(file.as_fd(), 1, u64::MAX, 512).is_err());
        assert!(super::resize_ext4(file.as_fd(), 1).is_err());
    }
}
