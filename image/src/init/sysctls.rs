//! What is set in the kernel before any driver is loaded: interfaces come up without an IP stack, and
//! nobody but root learns of addresses, traces, or loads programs.

use std::fs;
use std::path::Path;

/// Keys as `/proc/sys` has them, and values. A key that a kernel does not have is left out.
const SETTINGS: &[(&str, &str)] = &[
    // What goes wrong in the kernel ends in a reboot: nothing passes meanwhile.
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    // Only what is urgent comes to the consoles; the rest is in dmesg.
    ("kernel/printk", "3 4 1 3"),
    ("kernel/sysrq", "0"),
    ("kernel/kptr_restrict", "2"),
    ("kernel/dmesg_restrict", "1"),
    ("kernel/unprivileged_bpf_disabled", "1"),
    ("kernel/perf_event_paranoid", "3"),
    ("kernel/yama/ptrace_scope", "2"),
    ("kernel/kexec_load_disabled", "1"),
    ("kernel/io_uring_disabled", "2"),
    ("kernel/unprivileged_userns_clone", "0"),
    ("user/max_user_namespaces", "0"),
    ("dev/tty/ldisc_autoload", "0"),
    ("dev/tty/legacy_tiocsti", "0"),
    ("vm/unprivileged_userfaultfd", "0"),
    ("fs/suid_dumpable", "0"),
    ("fs/protected_fifos", "2"),
    ("fs/protected_hardlinks", "1"),
    ("fs/protected_regular", "2"),
    ("fs/protected_symlinks", "1"),
    // Namespaces that are made later (the management's) begin as the kernel has them, not as this one.
    ("net/core/devconf_inherit_init_net", "2"),
    // No address, no answer, no forwarding on whatever interface comes.
    ("net/ipv6/conf/all/disable_ipv6", "1"),
    ("net/ipv6/conf/default/disable_ipv6", "1"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv4/ip_forward", "0"),
    ("net/ipv4/conf/all/arp_ignore", "8"),
    ("net/ipv4/conf/default/arp_ignore", "8"),
    ("net/ipv4/conf/all/accept_redirects", "0"),
    ("net/ipv4/conf/default/accept_redirects", "0"),
];

/// Sets them below a folder, `/proc/sys`; tells which could not be set.
pub(super) fn set_all(root: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    for (key, value) in SETTINGS {
        let path = root.join(key);
        if !path.exists() {
            continue;
        }
        if let Err(error) = fs::write(&path, value) {
            faults.push(format!("sysctl {}: {error}", key.replace('/', ".")));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_has_is_set_and_what_it_has_not_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let key = |name: &str| folder.path().join(name);
        fs::create_dir_all(key("kernel/yama")).unwrap();
        fs::write(key("kernel/panic"), "0").unwrap();
        // Cannot be written, even by root.
        fs::create_dir(key("kernel/sysrq")).unwrap();
        let faults = set_all(folder.path());
        assert_eq!(fs::read_to_string(key("kernel/panic")).unwrap(), "10");
        assert!(!key("kernel/yama/ptrace_scope").exists());
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].starts_with("sysctl kernel.sysrq: "), "{faults:?}");
    }
}
