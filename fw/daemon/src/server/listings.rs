//! Listings: one line, or as many as it takes.

use std::io;

use weir_shell::protocol::{Done, Reply};

use super::session::{Session, done};
use crate::control::Refused;

impl Session {
    /// Sends a listing of so many things; the answer's end is left to be sent.
    pub(super) fn list(
        &mut self,
        listing: Result<(usize, Reply), Refused>,
    ) -> io::Result<Result<Reply, Refused>> {
        match listing {
            Ok((count, listing)) => {
                self.connection.send(&listing)?;
                Ok(Ok(done(count as u64)))
            }
            Err(refused) => Ok(Err(refused)),
        }
    }

    /// Sends a listing that `walk` makes piece by piece, telling at last how many things it had; the
    /// answer's end is left to be sent.
    pub(super) fn pieces(
        &mut self,
        walk: impl FnOnce(&mut dyn FnMut(Reply) -> io::Result<()>) -> Result<Done, Refused>,
    ) -> io::Result<Result<Reply, Refused>> {
        let mut broken = None;
        let listed = walk(&mut |piece| {
            // The walk ends with the error, but tells it to the client; this is why there is none.
            self.connection.send(&piece).map_err(|error| {
                let kind = error.kind();
                broken = Some(error);
                kind.into()
            })
        });
        broken.map_or_else(|| Ok(listed.map(Reply::Done)), Err)
    }
}
