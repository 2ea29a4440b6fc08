//! Whether this machine is weir's own.

use std::fs;

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
