//! The end: the bridge closes first, then everybody else goes, disks are written out, and the machine is
//! started anew or switched off. Nothing here waits for ever; the watchdog, fed for as long as it takes,
//! ends what hangs in the kernel.

use std::fs;
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, UnmountFlags, mount_remount, unmount};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};

/// How long the data plane may take to give its interfaces back.
const PLANE: Duration = Duration::from_secs(12);

/// How long everybody else may take, and whoever was killed.
const OTHERS: Duration = Duration::from_secs(3);

/// How often it is looked at.
const ROUND: Duration = Duration::from_millis(20);

/// Ends every process but this one; `feed` is called all the time.
pub(super) fn end_processes(plane: Option<Pid>, mut feed: impl FnMut()) {
    if let Some(plane) = plane {
        let _ = kill_process(plane, Signal::TERM);
        bury_until(Some(plane), PLANE, &mut feed);
    }
    for signal in [Signal::HUP, Signal::TERM, Signal::KILL] {
        // Shells go by the first, most others by the second.
        to_all(signal);
        let time = if signal == Signal::HUP { ROUND * 10 } else { OTHERS };
        if bury_until(None, time, &mut feed) {
            return;
        }
    }
}

/// Sends a signal to all processes but this one and the kernel's.
fn to_all(signal: Signal) {
    let ourselves = rustix::process::getpid();
    if ourselves != Pid::INIT {
        return;
    }
    let Ok(entries) = fs::read_dir("/proc") else { return };
    for entry in entries.flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = pid.and_then(Pid::from_raw).filter(|&pid| pid != ourselves) else {
            continue;
        };
        // Those of the kernel have no command line, and take no signals either.
        let _ = kill_process(pid, signal);
    }
}

/// Buries who ends until one has, or, if none is named, all children have; whether that came true in time.
fn bury_until(one: Option<Pid>, limit: Duration, feed: &mut impl FnMut()) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < limit {
        feed();
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, _))) if Some(pid) == one => return true,
            Ok(Some(_)) => {}
            Ok(None) => std::thread::sleep(ROUND),
            // No children.
            Err(_) => return true,
        }
    }
    false
}

/// Writes disks out and lets go of them, the last mounted first.
pub(super) fn release_disks() {
    rustix::fs::sync();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for place in on_disks(&mounts).into_iter().rev() {
        if unmount(place.as_str(), UnmountFlags::empty()).is_err() {
            let _ = mount_remount(place.as_str(), MountFlags::RDONLY, c"");
        }
    }
    rustix::fs::sync();
}

/// Where block devices are mounted, but the root.
fn on_disks(mounts: &str) -> Vec<String> {
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let (device, place) = (fields.next()?, fields.next()?);
            (device.starts_with("/dev/") && place != "/").then(|| place.replace("\\040", " "))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_told_from_what_lies_in_memory() {
        let mounts = "/dev/sda3 / squashfs ro 0 0\nproc /proc proc rw 0 0\n\
                      /dev/sda5 /data ext4 rw,nosuid 0 0\n/dev/sda5 /etc/weir ext4 rw 0 0\n\
                      tmpfs /run tmpfs rw 0 0\n/dev/sdb1 /run/a\\040stick vfat ro 0 0\n";
        assert_eq!(on_disks(mounts), ["/data", "/etc/weir", "/run/a stick"]);
    }
}
