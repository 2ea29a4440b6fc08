//! Who may do what, by the credentials of the process at the other end of the socket.
//!
//! Root and the user that the daemon runs as may do everything, the members of one group almost
//! everything, those of another may look. The kernel tells which groups a client is in, so that no restart
//! is needed when members come and go; which numbers the two have is read from `/etc/group` when that has
//! changed: anybody may make a client connect, as often as it likes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

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
    pub(super) fn of(stream: &UnixStream, door: &mut Door) -> io::Result<Self> {
        let peer::Credentials { uid, gid } = peer::credentials(stream.as_fd())?;
        let owner = Self { uid, access: Some(Access::Write) };
        if owner.owns() {
            return Ok(owner);
        }
        let [write, read] = door.numbers();
        let others = peer::groups(stream.as_fd())?;
        let is_in = |group: Option<u32>| group.is_some_and(|id| id == gid || others.contains(&id));
        let access =
            if is_in(write) { Some(Access::Write) } else { is_in(read).then_some(Access::Read) };
        Ok(Self { uid, access })
    }

    /// Whether it is root, or the user that the daemon runs as.
    pub(super) fn owns(self) -> bool {
        self.uid == 0 || self.uid == geteuid().as_raw()
    }

    /// Up to where this one may fill the room that all requests have together: those who may do less
    /// cannot keep those out who may do more.
    pub(super) const fn share(self, room: usize) -> usize {
        match self.access {
            Some(Access::Write) if self.uid == 0 => room,
            Some(Access::Write) => room - room / 4,
            _ => room / 2,
        }
    }
}

/// The groups, and what numbers they had when the file was read last.
#[derive(Debug)]
pub(super) struct Door {
    groups: Groups,
    read: Option<(Stamp, [Option<u32>; 2])>,
}

/// Tells one content of a file from another: its device, number, length, and time of change (ns).
type Stamp = (u64, u64, u64, i64, i64);

impl Door {
    /// Nothing is read yet.
    pub(super) const fn new(groups: Groups) -> Self {
        Self { groups, read: None }
    }

    /// The numbers of the groups whose members may change things, and may look; `None` if there is none
    /// of that name.
    pub(super) fn numbers(&mut self) -> [Option<u32>; 2] {
        let Groups { write, read, file } = &self.groups;
        let Ok(found) = file.metadata() else { return [None; 2] };
        let stamp = (found.dev(), found.ino(), found.len(), found.ctime(), found.ctime_nsec());
        match self.read {
            Some((known, numbers)) if known == stamp => numbers,
            _ => {
                let numbers = numbers(file, [write, read]);
                self.read = Some((stamp, numbers));
                numbers
            }
        }
    }
}

/// The numbers of groups by a file; `None` for one that it does not have.
fn numbers(file: &Path, names: [&str; 2]) -> [Option<u32>; 2] {
    let mut found = [None; 2];
    let Ok(file) = File::open(file) else { return found };
    // The first of a name counts, whatever its number looks like.
    let mut settled = names.map(str::is_empty);
    for line in BufReader::new(file.take(MAX_FILE)).lines().map_while(Result::ok) {
        let mut fields = line.split(':');
        let Some(name) = fields.next() else { continue };
        let number = fields.nth(1).and_then(|number| number.parse().ok());
        for at in (0..names.len()).filter(|&at| names[at] == name) {
            if !std::mem::replace(&mut settled[at], true) {
                found[at] = number;
            }
        }
    }
    found
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
        let of = |write: &str, read: &str, file: &PathBuf| {
            let groups = Groups { write: write.into(), read: read.into(), file: file.clone() };
            Door::new(groups).numbers()
        };
        assert_eq!(of("weir", "weir-ro", &file), [Some(998), None], "the first of that name");
        assert_eq!(of("ann", "", &file), [None, None]);
        assert_eq!(of("weir", "weir", &file), [Some(998); 2]);
        assert_eq!(of("weir", "root", &folder.path().join("none")), [None, None]);
    }

    #[test]
    fn a_file_is_read_again_when_it_is_another() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("group");
        let mut door = Door::new(Groups { file: file.clone(), ..Groups::default() });
        assert_eq!(door.numbers(), [None, None]);
        std::fs::write(&file, "weir:x:998:\n").expect("ours");
        assert_eq!(door.numbers(), [Some(998), None]);
        // As groupadd(8) and editors do it.
        let next = folder.path().join("group+");
        std::fs::write(&next, "weir:x:999:\n").expect("ours");
        std::fs::rename(&next, &file).expect("ours");
        assert_eq!(door.numbers(), [Some(999), None]);
        // What was read stays known: nothing opens the file while it is the same.
        door.read.as_mut().expect("read").1 = [Some(1), Some(2)];
        assert_eq!(door.numbers(), [Some(1), Some(2)]);
    }

    #[test]
    fn those_who_may_do_less_leave_room() {
        let peer = |uid, access| Peer { uid, access: Some(access) };
        assert_eq!(peer(0, Access::Write).share(32), 32);
        assert_eq!(peer(1000, Access::Write).share(32), 24);
        assert_eq!(peer(1000, Access::Read).share(32), 16);
    }
}
