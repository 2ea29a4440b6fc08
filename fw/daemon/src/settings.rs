//! What `weir run` needs to know: the command line over the settings file over the defaults.

use std::path::PathBuf;

use weir_engine::Engine;
use weir_hw::Io;
use weir_shell::protocol::SOCKET;

use crate::run::Arguments;

/// The settings of a run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Interface of the protected network.
    pub lan: String,
    /// Interface towards the router.
    pub wan: String,
    /// The rule file.
    pub rules: PathBuf,
    /// How frames are moved.
    pub io: Io,
    /// How many workers.
    pub workers: u16,
    /// Control socket.
    pub socket: PathBuf,
    /// Where the last good rules are kept.
    pub state_dir: PathBuf,
    /// States that memory is reserved for.
    pub states: u32,
    /// Where packets are logged; `None` is standard error.
    pub packet_log: Option<PathBuf>,
}

impl Settings {
    /// Puts the settings together.
    ///
    /// # Errors
    /// When the settings file cannot be read or is wrong, or something is missing or out of bounds.
    pub fn gather(arguments: Arguments) -> Result<Self, String> {
        let missing = |what| format!("no {what} interface: give --{what} IF");
        let settings = Self {
            lan: arguments.lan.ok_or_else(|| missing("lan"))?,
            wan: arguments.wan.ok_or_else(|| missing("wan"))?,
            rules: arguments.rules.unwrap_or_else(|| "/etc/weir/weir.conf".into()),
            io: arguments.io.unwrap_or_default(),
            workers: arguments.workers.unwrap_or(1),
            socket: arguments.socket.unwrap_or_else(|| SOCKET.into()),
            state_dir: arguments.state_dir.unwrap_or_else(|| "/var/lib/weir".into()),
            states: 1_000_000,
            packet_log: None,
        };
        if !(1..=Engine::MAX_WORKERS).contains(&settings.workers) {
            return Err(format!("workers must be 1 to {}", Engine::MAX_WORKERS));
        }
        if !(1..=Engine::MAX_STATES).contains(&settings.states) {
            return Err(format!("[memory] states must be 1 to {}", Engine::MAX_STATES));
        }
        Ok(settings)
    }
}
