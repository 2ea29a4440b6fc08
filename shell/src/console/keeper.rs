//! The shell without privileges.
//!
//! Started as root, the shell begins by parting in two. A child, the *keeper*, stays what it was and
//! does two things when it is asked over its standard input: it connects to the daemon's socket and hands
//! the connection over, and it runs the verbs of `weir box` that the table of commands has, which check
//! their arguments themselves and do nothing on a machine that weir has not started. The shell itself becomes the user `weir` (`nobody` where there is none) before it
//! reads the first key; neither it nor anything that it starts can gain a privilege again
//! (`no_new_privs`). Started by anybody else it keeps that user's rights on the socket.

use std::env;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Gid, Resource, Rlimit, Uid, geteuid, getpgid, getppid, setrlimit};
use rustix::thread::{set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::tree::Tree;
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
    // Messages, so that one request cannot run into another.
    let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    let (ours, theirs) = socketpair(AddressFamily::UNIX, kind, flags, None)?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("weir")
        .args(["shell", ARGUMENT])
        .arg(socket)
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // What is typed at the terminal does not concern it.
        .process_group(0);
    drop(command.spawn()?);
    // Left open in the commands that the shell starts.
    fcntl_setfd(&ours, FdFlags::empty())?;
    Ok(ours)
}

/// Runs the keeper until its shell is gone.
pub(super) fn main(socket: &Path) -> ExitCode {
    // Nothing that it runs can gain a privilege that it has not.
    if set_no_new_privs(true).is_err() {
        return ExitCode::FAILURE;
    }
    let requests = io::stdin();
    let busy = Arc::new(AtomicBool::new(false));
    loop {
        let mut request = [0; dial::LONGEST];
        let (length, descriptors) = match dial::receive(requests.as_fd(), &mut request) {
            Ok((0, _)) => return ExitCode::SUCCESS,
            Err(_) => return ExitCode::FAILURE,
            Ok(received) => received,
        };
        let mut descriptors = descriptors.into_iter();
        let Some(back) = descriptors.next() else { continue };
        match request[..length].split_first() {
            Some((&dial::CONNECT, [])) => connect(socket, &back),
            Some((&dial::RUN, words)) => run(words, descriptors, back, &busy),
            // Nothing comes back: whoever asks hears that we are gone.
            _ => {}
        }
    }
}

/// Hands a connection to the daemon over.
fn connect(socket: &Path, back: &OwnedFd) {
    // Whoever asked may be gone.
    let _ = match dial::reach(socket, dial::PATIENCE) {
        Ok(connection) => dial::send(back.as_fd(), &[0], &[connection.as_fd()]),
        Err(error) => dial::send(back.as_fd(), &number_of(&error).to_ne_bytes(), &[]),
    };
}

/// Runs a verb of `weir box`, one at a time; a thread waits for its end and tells it.
fn run(
    words: &[u8],
    streams: impl Iterator<Item = OwnedFd>,
    back: OwnedFd,
    busy: &Arc<AtomicBool>,
) {
    if busy.swap(true, Ordering::AcqRel) {
        return answer(&back, dial::BUSY, 0);
    }
    let refuse = |error: &io::Error| {
        busy.store(false, Ordering::Release);
        answer(&back, dial::REFUSED, number_of(error));
    };
    let mut child = match start_verb(words, streams) {
        Ok(child) => child,
        Err(error) => return refuse(&error),
    };
    let (busy, there) = (Arc::clone(busy), back);
    let wait = move || {
        let ended = child.wait();
        busy.store(false, Ordering::Release);
        match ended {
            Ok(status) => match status.code() {
                Some(code) => answer(&there, dial::EXITED, code),
                None => answer(&there, dial::SIGNALLED, status.signal().unwrap_or_default()),
            },
            Err(error) => answer(&there, dial::REFUSED, number_of(&error)),
        }
    };
    // Without a thread the answer does not come: the shell hears that nothing waits for it.
    let _ = std::thread::Builder::new().name("weir-verb".into()).spawn(wait);
}

/// Starts a verb in the process group of the shell, so that the terminal is its own as well, and with
/// nothing of the shell's but the streams.
fn start_verb(words: &[u8], mut streams: impl Iterator<Item = OwnedFd>) -> io::Result<Child> {
    let words: Vec<&str> = words
        .strip_suffix(&[0])
        .ok_or(Errno::INVAL)?
        .split(|&byte| byte == 0)
        .map(|word| std::str::from_utf8(word).map_err(|_| Errno::INVAL))
        .collect::<Result<_, _>>()?;
    if !words.first().is_some_and(|verb| is_allowed(verb)) {
        return Err(Errno::PERM.into());
    }
    let mut stream = || streams.next().map(Stdio::from).ok_or(Errno::INVAL);
    let (input, output, errors) = (stream()?, stream()?, stream()?);
    let shell = getpgid(Some(getppid().ok_or(Errno::SRCH)?))?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("weir").arg("box").args(words).env_clear().env("PATH", PATH).env("HOME", "/root");
    if let Some(term) = env::var_os("TERM") {
        command.env("TERM", term);
    }
    command.process_group(shell.as_raw_nonzero().get());
    command.stdin(input).stdout(output).stderr(errors).spawn()
}

/// Where verbs look for programs.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// The verb that takes the console's password over to the boot loader, which no command is.
pub(super) const BOOT_PASSWORD: &str = "boot-password";

/// Whether the table of commands has a verb.
fn is_allowed(verb: &str) -> bool {
    verb == BOOT_PASSWORD || Tree::get().entries().any(|(entry, _)| entry.verb() == Some(verb))
}

fn answer(back: &OwnedFd, how: i32, status: i32) {
    let [how, status] = [how, status].map(i32::to_ne_bytes);
    // Whoever asked may be gone.
    let _ = dial::send(back.as_fd(), &[how, status].concat(), &[]);
}

fn number_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(Errno::IO.raw_os_error())
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
    use std::os::unix::net::{UnixListener, UnixStream};

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
    fn only_verbs_of_commands_are_run() {
        for verb in ["reboot", "poweroff", "restart", BOOT_PASSWORD] {
            assert!(is_allowed(verb), "{verb}");
        }
        for verb in ["", "network", "dhcp-event", "console", "reboo", "box", "-h", "--help", "run"]
        {
            assert!(!is_allowed(verb), "{verb}");
        }
    }

    #[test]
    fn what_is_no_request_for_a_verb_is_refused() {
        let null = || fs::File::open("/dev/null").map(OwnedFd::from).unwrap();
        let refused = |words: &[u8], streams: usize| {
            let streams = (0..streams).map(|_| null());
            start_verb(words, streams).expect_err("refused").raw_os_error()
        };
        let (invalid, forbidden) = (Errno::INVAL.raw_os_error(), Errno::PERM.raw_os_error());
        assert_eq!(refused(b"", 3), Some(invalid));
        assert_eq!(refused(b"reboot", 3), Some(invalid), "not ended");
        assert_eq!(refused(b"re\xffboot\0", 3), Some(invalid));
        assert_eq!(refused(b"sh\0-c\0id\0", 3), Some(forbidden));
        assert_eq!(refused(b"\0reboot\0", 3), Some(forbidden));
        assert_eq!(refused(b"reboot\0", 2), Some(invalid), "a stream is missing");
    }

    #[test]
    fn a_keeper_hands_connections_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let (answer, back) = UnixStream::pair().unwrap();
        connect(&path, &back.into());
        let (1, handed) = dial::receive(answer.as_fd(), &mut [0; 4]).unwrap() else {
            panic!("one byte")
        };
        let handed = UnixStream::from(handed.into_iter().next().expect("a descriptor"));
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(handed.peer_addr().unwrap().as_pathname(), Some(path.as_path()));
        drop((accepted, handed));
        drop(listener);
        let (answer, back) = UnixStream::pair().unwrap();
        connect(&path, &back.into());
        let mut number = [0; 4];
        let (4, none) = dial::receive(answer.as_fd(), &mut number).unwrap() else {
            panic!("a number")
        };
        assert!(none.is_empty());
        assert_eq!(i32::from_ne_bytes(number), Errno::CONNREFUSED.raw_os_error());
    }
}
