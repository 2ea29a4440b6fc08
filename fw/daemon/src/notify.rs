//! `sd_notify(3)`: telling the service manager how we are.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Sends a state such as `READY=1` to `$NOTIFY_SOCKET`, if there is one.
///
/// # Errors
/// When the socket cannot be reached.
pub(crate) fn notify(state: &str) -> io::Result<()> {
    match env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) {
        Some(path) => send(&path, state),
        None => Ok(()),
    }
}

/// Sends to a path, or to an abstract name behind `@`.
fn send(path: &OsStr, state: &str) -> io::Result<()> {
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use super::send;

    #[test]
    fn states_arrive_by_path_and_by_abstract_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let name = format!("weir-test-{}", std::process::id());
        let abstract_address = SocketAddr::from_abstract_name(&name).unwrap();
        let by_path = UnixDatagram::bind(&path).unwrap();
        let by_name = UnixDatagram::bind_addr(&abstract_address).unwrap();
        for (socket, to) in [(by_path, path.into_os_string()), (by_name, format!("@{name}").into())]
        {
            send(&to, "READY=1").unwrap();
            let mut bytes = [0; 16];
            let length = socket.recv(&mut bytes).unwrap();
            assert_eq!(&bytes[..length], b"READY=1");
        }
        assert!(send("/nonexistent/notify".as_ref(), "READY=1").is_err());
    }
}
