//! Who is at the other end of a Unix socket (unix(7)).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The most groups that a process can be in (`NGROUPS_MAX`).
const MOST: usize = 65_536;

/// Who the peer was when it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Its user.
    pub uid: u32,
    /// Its own group.
    pub gid: u32,
}

/// The user and the group of the peer (`SO_PEERCRED`). Its process id is not told: one in another PID
/// namespace has none here.
///
/// # Errors
/// When it is no connected Unix socket.
pub fn credentials(socket: BorrowedFd<'_>) -> io::Result<Credentials> {
    let mut told = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut length = size_of_val(&told) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, which is the length of the structure, and
    // whatever it writes are integers.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut told).cast(),
            &raw mut length,
        )
    };
    match result {
        // A socket that nobody is at the other end of has nobody's ids.
        0 if told.uid != u32::MAX => Ok(Credentials { uid: told.uid, gid: told.gid }),
        0 => Err(io::ErrorKind::NotConnected.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The supplementary groups that the peer was in when it connected (`SO_PEERGROUPS`, Linux 4.13). Its
/// own group, which `SO_PEERCRED` tells, need not be among them.
///
/// # Errors
/// When it is no connected Unix socket.
pub fn groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; 32];
    loop {
        let mut length = size_of_val(groups.as_slice()) as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes, which is the length of the vector, and
        // whatever it writes are integers.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let told = length as usize / size_of::<u32>();
        if result == 0 {
            groups.truncate(told);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // Then it says how much room they need.
        let is_short = error.raw_os_error() == Some(libc::ERANGE);
        if !is_short || told <= groups.len() || told > MOST {
            return Err(error);
        }
        groups.resize(told, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use super::{Credentials, credentials, groups};

    #[test]
    fn the_peer_is_who_made_the_socket() {
        let (ours, _theirs) = UnixStream::pair().expect("sockets");
        let own = Credentials {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        };
        assert_eq!(credentials(ours.as_fd()).expect("a Unix socket"), own);
    }

    #[test]
    fn the_groups_are_those_of_the_process() {
        let (ours, _theirs) = UnixStream::pair().expect("sockets");
        let mut found = groups(ours.as_fd()).expect("a Unix socket");
        let status = std::fs::read_to_string("/proc/self/status").expect("proc is mounted");
        let line = status.lines().find_map(|line| line.strip_prefix("Groups:")).expect("told");
        let mut known: Vec<u32> =
            line.split_whitespace().map(|id| id.parse().expect("a number")).collect();
        found.sort_unstable();
        known.sort_unstable();
        assert_eq!(found, known);
    }

    #[test]
    fn other_descriptors_have_no_peer() {
        let file = std::fs::File::open("/dev/null").expect("there");
        assert!(groups(file.as_fd()).is_err());
        assert!(credentials(file.as_fd()).is_err());
        let alone = UnixDatagram::unbound().expect("a socket");
        assert!(credentials(alone.as_fd()).is_err(), "connected to nobody");
    }
}
