//! Who may do what, by the credentials of the process at the other end of the socket.
//!
//! Root and the user that the daemon runs as may do everything, the members of one group almost
//! everything, those of another may look. Groups are looked up in `/etc/group` when a client connects,
//! so that no restart is needed when members come and go; the kernel tells which groups a client is in.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;
use weir_hw::sys::peer;
use weir_shell::protocol::Access;

/// Bytes of the group file that are read at most.
const MAX_FILE: u64 = 4 << 20;

/// Groups whose members may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Groups {
    /// May look and change; none if it is empty.
    pub write: String,
    /// May look; none if it is empty.
    pub read: String,
    /// Where their numbers stand (group(5)).
    pub file: PathBuf,
}

impl Default for Groups {
    fn default() -> Self {
        Self { write: "weir".into(), read: "weir-ro".into(), file: "/etc/group".into() }
    }
}

/// A client's process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    /// Its user id when it connected.
    pub(super) uid: u32,
    /// What it may do; nothing if `None`.
    pub(super) access: Option<Access>,
}

impl Peer {
    /// Of a connection.
    pub(super) fn of(stream: &UnixStream, groups: &Groups) -> io::Result<Self> {
        let credentials = socket_peercred(stream.as_fd())?;
        let (uid, gid) = (credentials.uid.as_raw(), credentials.gid.as_raw());
        if uid == 0 || uid == geteuid().as_raw() {
            return Ok(Self { uid, access: Some(Access::Write) });
        }
        let others = peer::groups(stream.as_fd())?;
        let is_in = |group: Option<u32>| group.is_some_and(|id| id == gid || others.contains(&id));
        let access = if is_in(groups.number(&groups.write)) {
            Some(Access::Write)
        } else {
            is_in(groups.number(&groups.read)).then_some(Access::Read)
        };
        Ok(Self { uid, access })
    }

    /// How many of the places for clients must be free for this one: those who may do less cannot keep
    /// those out who may do more.
    pub(super) const fn share(self, places: usize) -> usize {
        match self.access {
            Some(Access::Write) if self.uid == 0 => places,
            Some(Access::Write) => places - places / 4,
            _ => places / 2,
        }
    }
}

impl Groups {
    /// The number of a group; `None` if there is none of that name.
    pub(super) fn number(&self, name: &str) -> Option<u32> {
        if name.is_empty() {
            return None;
        }
        let file = File::open(&self.file).ok()?;
        BufReader::new(file.take(MAX_FILE)).lines().map_while(Result::ok).find_map(|line| {
            let mut fields = line.split(':');
            let is_it = fields.next() == Some(name);
            fields.nth(1).filter(|_| is_it)?.parse().ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_the_numbers_of_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("group");
        std::fs::write(
            &file,
            "root:x:0:\nweir:x:998:ann,bob\nweir-ro:x:many:\n\nbroken\nweir:x:7:\n",
        )
        .expect("ours");
        let groups = Groups { file, ..Groups::default() };
        assert_eq!(groups.number("weir"), Some(998), "the first of that name");
        assert_eq!(groups.number("weir-ro"), None);
        assert_eq!(groups.number("ann"), None);
        assert_eq!(groups.number(""), None);
        let nowhere = Groups { file: folder.path().join("none"), ..groups };
        assert_eq!(nowhere.number("weir"), None);
    }

    #[test]
    fn those_who_may_do_less_leave_room() {
        let peer = |uid, access| Peer { uid, access: Some(access) };
        assert_eq!(peer(0, Access::Write).share(32), 32);
        assert_eq!(peer(1000, Access::Write).share(32), 24);
        assert_eq!(peer(1000, Access::Read).share(32), 16);
    }
}
