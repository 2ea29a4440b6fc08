//! The network namespace in which weir's own partners are: log servers, the flow collector, those who
//! fetch metrics. Its sockets are made there; everything else of the process stays where it is.
//!
//! A socket belongs for ever to the namespace that its thread was in when it was made. So each one that
//! is wanted is made, bound and connected by a thread that enters the namespace and ends with it: no
//! other thread ever changes its own. The name is looked up each time, so that a namespace may come
//! late, or be made anew.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Where `ip netns` keeps names.
const FOLDER: &str = "/run/netns";

/// A network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace(Option<Arc<str>>);

impl Namespace {
    /// The one of that name in `/run/netns`, which may not be there yet; `None`: the process' own.
    pub fn new(name: Option<&str>) -> Self {
        Self(name.map(Into::into))
    }

    /// Whether it is another than the process' own.
    pub const fn is_apart(&self) -> bool {
        self.0.is_some()
    }

    /// Makes sockets there.
    ///
    /// # Errors
    /// What `make` says, or that the namespace cannot be entered.
    pub fn within<T: Send>(&self, make: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        let Some(name) = &self.0 else { return make() };
        std::thread::scope(|scope| {
            let entered = || {
                enter(name).map_err(|error| {
                    io::Error::new(error.kind(), format!("network namespace {name}: {error}"))
                })?;
                make()
            };
            let thread = std::thread::Builder::new().name("weir-namespace".into());
            let joined = thread.spawn_scoped(scope, entered)?.join();
            joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// Moves the calling thread.
fn enter(name: &str) -> io::Result<()> {
    let namespace = File::open(Path::new(FOLDER).join(name))?;
    Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_is_not_there_is_said() {
        let apart = Namespace::new(Some("weir-none-such"));
        let error = apart.within(|| Ok(())).expect_err("there is none");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().starts_with("network namespace weir-none-such: "), "{error}");
        let thread = std::thread::current().id();
        let own = Namespace::default().within(|| Ok(std::thread::current().id()));
        assert_eq!(own.expect("nothing to enter"), thread);
    }
}
