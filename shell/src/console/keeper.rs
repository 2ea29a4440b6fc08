//! The shell without privileges.
//!
//! Started as root, the shell begins by parting in two. A child, the *keeper*, stays what it was and
//! does one thing: asked over its standard input, it connects to the daemon's socket and hands the
//! connection over. The shell itself becomes the user `weir` (`nobody` where there is none) before it
//! reads the first key; neither it nor anything that it starts can gain a privilege again
//! (`no_new_privs`). Started by anybody else it keeps that user's rights on the socket.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::process::{Gid, Resource, Rlimit, Uid, geteuid, setrlimit};
use rustix::thread::{set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::dial;

/// The argument that makes the process a keeper.
pub(super) const ARGUMENT: &str = "--keeper";

/// The user that the shell becomes.
const USER: &str = "weir";

/// The user and group without rights of their own, where there is no such user.
const NOBODY: (u32, u32) = (65_534, 65_534);

/// Gives up all privileges; what is opened later is opened without them. No other thread runs yet.
/// Tells the descriptor of the keeper, if there is one.
///
/// # Errors
/// When something is left of them.
pub(super) fn part(socket: &Path) -> io::Result<Option<i32>> {
    if geteuid().is_root() {
        dial::use_keeper(start(socket)?);
        let (user, group, groups) = account()?;
        set_thread_groups(&groups)?;
        set_thread_res_gid(group, group, group)?;
        set_thread_res_uid(user, user, user)?;
        if geteuid().is_root() {
            return Err(io::Error::other("root's privileges cannot be given up"));
        }
    }
    set_no_new_privs(true)?;
    // What is typed, passwords too, is nobody else's and left in no core file.
    dial::hide();
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    // What a shell has left that has begun anew is left on, by the number that it had.
    Ok(dial::number())
}

/// Starts the keeper; what is returned stays open in commands that the shell starts.
fn start(socket: &Path) -> io::Result<OwnedFd> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("weir")
        .args(["shell", ARGUMENT])
        .arg(socket)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // What is typed at the terminal does not concern it.
        .process_group(0);
    drop(command.spawn()?);
    // Left open in the commands that the shell starts.
    fcntl_setfd(&ours, FdFlags::empty())?;
    Ok(ours.into())
}

/// Runs the keeper until its shell is gone.
pub(super) fn main(socket: &Path) -> ExitCode {
    // What it would be told to run is nothing; but nothing it ran could gain a privilege.
    if set_no_new_privs(true).is_err() {
        return ExitCode::FAILURE;
    }
    let requests = io::stdin();
    loop {
        let back = match dial::receive(requests.as_fd(), &mut [0]) {
            Ok((0, _)) => return ExitCode::SUCCESS,
            Err(_) => return ExitCode::FAILURE,
            Ok((_, back)) => back,
        };
        let Some(back) = back else { continue };
        // Whoever asked may be gone.
        let _ = match dial::reach(socket, dial::PATIENCE) {
            Ok(connection) => dial::send(back.as_fd(), &[0], Some(connection.as_fd())),
            Err(error) => {
                let number = error.raw_os_error().unwrap_or(Errno::IO.raw_os_error());
                dial::send(back.as_fd(), &number.to_ne_bytes(), None)
            }
        };
    }
}

/// Whom the shell becomes, with all groups.
fn account() -> io::Result<(Uid, Gid, Vec<Gid>)> {
    let (user, group) = match fs::read_to_string("/etc/passwd") {
        Ok(users) => user(&users, USER).unwrap_or(NOBODY),
        Err(error) if error.kind() == io::ErrorKind::NotFound => NOBODY,
        Err(error) => return Err(error),
    };
    if user == 0 {
        return Err(io::Error::other(format!("the user {USER} is root by another name")));
    }
    let mut groups = vec![Gid::from_raw(group)];
    if user != NOBODY.0 {
        let known = fs::read_to_string("/etc/group").unwrap_or_default();
        groups.extend(groups_of(&known, USER).filter(|&id| id != group).map(Gid::from_raw));
    }
    Ok((Uid::from_raw(user), Gid::from_raw(group), groups))
}

/// The ids of a user in passwd(5).
fn user(users: &str, name: &str) -> Option<(u32, u32)> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then_some(())?;
        let mut ids = fields.skip(1);
        Some((ids.next()?.parse().ok()?, ids.next()?.parse().ok()?))
    })
}

/// The groups in group(5) that a user is a member of.
fn groups_of<'a>(groups: &'a str, name: &'a str) -> impl Iterator<Item = u32> + 'a {
    groups.lines().filter_map(move |line| {
        let mut fields = line.split(':').skip(2);
        let id = fields.next()?.parse().ok()?;
        fields.next()?.split(',').any(|member| member == name).then_some(id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_read_as_passwd_and_group_write_them() {
        let users = "root:x:0:0:root:/root:/bin/sh\nweirdo:x:7:8::/:/\nweir:x:900:901::/:/x\n";
        assert_eq!(user(users, "weir"), Some((900, 901)));
        assert_eq!(user(users, "wei"), None);
        assert_eq!(user("weir:x:none:1::/:/\n", "weir"), None);
        let groups = "adm:x:4:syslog,weir\nweirdo:x:5:weirdo\ntty:x:6:weir\n";
        assert_eq!(groups_of(groups, "weir").collect::<Vec<_>>(), [4, 6]);
    }

    #[test]
    fn a_keeper_hands_connections_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (answer, back) = UnixStream::pair().unwrap();
        // What the shell asks, and what the keeper's loop does with it.
        dial::send(ours.as_fd(), &[0], Some(back.as_fd())).unwrap();
        let (1, Some(back)) = dial::receive(theirs.as_fd(), &mut [0]).unwrap() else {
            panic!("one byte with a descriptor")
        };
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let connection = UnixStream::connect(&path).unwrap();
        dial::send(back.as_fd(), &[0], Some(connection.as_fd())).unwrap();
        let (_, handed) = dial::receive(answer.as_fd(), &mut [0; 4]).unwrap();
        let handed = UnixStream::from(handed.unwrap());
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(handed.peer_addr().unwrap().as_pathname(), Some(path.as_path()));
        drop((accepted, handed));
    }
}
