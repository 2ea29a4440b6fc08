//! Where and how urgently a thread runs (`sched(7)`).

use std::io;

use rustix::thread::{CpuSet, sched_setaffinity};

/// Keeps the calling thread, and the threads that it starts, on these CPUs.
///
/// # Errors
/// `EINVAL` when none of them may be used.
pub fn run_on(cpus: &[u32]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for &cpu in cpus.iter().filter(|&&cpu| (cpu as usize) < CpuSet::MAX_CPU) {
        set.set(cpu as usize);
    }
    Ok(sched_setaffinity(None, &set)?)
}

/// Runs the calling thread before all others of its CPU (`SCHED_FIFO`), but those of a higher
/// priority. `priority` is 1 to 99.
///
/// # Errors
/// `EPERM` without `CAP_SYS_NICE` or a limit for it (`RLIMIT_RTPRIO`), and in control groups without a
/// share of real time; `EINVAL` for another priority.
pub fn run_first(priority: u8) -> io::Result<()> {
    // SAFETY: plain integers; every value of them is valid.
    let mut parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    parameters.sched_priority = priority.into();
    // Not the C library's function, which musl leaves out.
    // SAFETY: the kernel reads one sched_param; 0 is the calling thread.
    let result = unsafe {
        libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_FIFO, &raw const parameters)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_an_error() {
        assert_eq!(run_first(100).map_err(|error| error.raw_os_error()), Err(Some(libc::EINVAL)));
        assert!(run_on(&[]).is_err());
    }
}
