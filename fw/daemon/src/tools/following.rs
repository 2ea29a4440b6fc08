//! What subcommands have in common that follow the running firewall until somebody has had enough.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// How the subcommand of that name ends; what went wrong is said.
pub(super) fn end(name: &str, ended: io::Result<()>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        // `weir log | head` is no mistake.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir {name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Shuts the connection to the daemon down at a signal, that way; at another the process ends. What is
/// returned says whether a signal came.
///
/// # Errors
/// When the kernel gives no thread, or no signals.
pub(super) fn end_on_signals(stream: UnixStream, how: Shutdown) -> io::Result<Arc<AtomicBool>> {
    let came: Arc<AtomicBool> = Arc::default();
    let comes = Arc::clone(&came);
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new()
        .name("weir-signals".into())
        .spawn(move || {
            let mut signals = signals.forever();
            if signals.next().is_some() {
                comes.store(true, Ordering::Release);
                // It may have ended by itself.
                let _ = stream.shutdown(how);
            }
            if signals.next().is_some() {
                std::process::exit(130);
            }
        })
        .map(|_| came)
}
