//! Places for clients: so many are served at a time, shared out by what they may do and by user, so that
//! none can keep the others out.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use weir_shell::protocol::Access;

use super::access::Peer;

/// The places there are. Half of them may be taken by those who may change things, a quarter by those
/// who may only look, half of these by one user; so the last quarter is root's, who may take every one.
#[derive(Debug)]
pub(super) struct Places {
    all: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// By those who may look, and by those who may change things; owners are not among them.
    of: [usize; 2],
    /// By each user other than these who has one.
    by: HashMap<u32, usize>,
}

/// A place; free again when it goes out of scope.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    /// None for an owner.
    user: Option<(u32, Access)>,
}

impl Places {
    /// So many, and nobody is there.
    pub(super) fn new(all: usize) -> Arc<Self> {
        Arc::new(Self { all, taken: Mutex::default() })
    }

    /// Takes one for a client.
    ///
    /// # Errors
    /// Which bound it would be beyond.
    pub(super) fn take(self: &Arc<Self>, peer: Peer, access: Access) -> Result<Place, String> {
        let mut taken = self.taken.lock();
        if taken.all >= self.all {
            return Err(format!("more than {} clients", self.all));
        }
        let user = (!peer.owns()).then_some((peer.uid, access));
        if user.is_some() {
            let (share, who) = match access {
                Access::Write => (self.all / 2, "other than root's"),
                Access::Read => (self.all / 4, "that may only look"),
            };
            if taken.of[access as usize] >= share {
                return Err(format!("more than {share} clients {who}"));
            }
            let of_user = taken.by.get(&peer.uid).copied().unwrap_or(0);
            if of_user >= share / 2 {
                return Err(format!("more than {} clients of user {}", share / 2, peer.uid));
            }
            taken.of[access as usize] += 1;
            taken.by.insert(peer.uid, of_user + 1);
        }
        taken.all += 1;
        drop(taken);
        Ok(Place { places: Arc::clone(self), user })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        taken.all -= 1;
        let Some((user, access)) = self.user else { return };
        taken.of[access as usize] -= 1;
        if let Some(of_user) = taken.by.get_mut(&user) {
            *of_user -= 1;
            if *of_user == 0 {
                taken.by.remove(&user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(places: &Arc<Places>, uid: u32, access: Access) -> Vec<Place> {
        let peer = Peer { uid, access: Some(access) };
        std::iter::from_fn(|| places.take(peer, access).ok()).collect()
    }

    #[test]
    fn nobody_keeps_out_others() {
        let places = Places::new(32);
        let readers: Vec<_> =
            [61_000, 61_001, 61_002].map(|user| fill(&places, user, Access::Read)).into();
        assert_eq!(readers.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 0]);
        let writers: Vec<_> =
            [62_000, 62_001, 62_002].map(|user| fill(&places, user, Access::Write)).into();
        assert_eq!(writers.iter().map(Vec::len).collect::<Vec<_>>(), [8, 8, 0]);
        let root = fill(&places, 0, Access::Write);
        assert_eq!(root.len(), 8);
        let late = Peer { uid: 61_000, access: Some(Access::Read) };
        assert_eq!(places.take(late, Access::Read).unwrap_err(), "more than 32 clients");
        drop(root);
        let refused = places.take(late, Access::Read).unwrap_err();
        assert_eq!(refused, "more than 8 clients that may only look");
        drop(readers);
        assert_eq!(fill(&places, 61_002, Access::Read).len(), 4);
        drop(writers);
        assert_eq!(fill(&places, 0, Access::Write).len(), 32, "root may take all");
    }
}
