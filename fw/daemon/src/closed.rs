//! `weir run --stay` without ports: a card is missing, or the settings are wrong. Nothing is forwarded, and
//! nothing is opened but the control socket, so that somebody at the console can find out and repair it.
//! It ends when something has changed that may help, to be started again by whoever has started it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam::channel::{RecvTimeoutError, unbounded};
use tracing::{error, info};
use weir_engine::{PortName, PortNames};
use weir_hw::Kind;

use crate::clock::Clock;
use crate::control::{Control, Guard, OwnFiles, Parts};
use crate::handover::Bell;
use crate::history::{self, History};
use crate::log::{Sinks, events};
use crate::ports::Seats;
use crate::run::{Arguments, watch_signals};
use crate::server::{Bounds, Server};
use crate::settings::Settings;

/// How often it is looked whether something has changed.
const LOOK: Duration = Duration::from_secs(1);

/// When it is tried again although nothing has changed that can be seen: both interfaces are there, and
/// could not be opened.
const AGAIN: Duration = Duration::from_secs(60);

/// What a change of may help.
#[derive(Debug, PartialEq, Eq)]
struct Situation {
    /// Inode, size and time of the settings file.
    file: Option<(u64, u64, i64, i64)>,
    /// Names and addresses of the interfaces.
    interfaces: Vec<(String, [u8; 6])>,
}

impl Situation {
    fn look(file: &Path) -> Self {
        let found = fs::metadata(file).ok();
        let file = found.map(|file| (file.ino(), file.size(), file.mtime(), file.mtime_nsec()));
        let nics = weir_hw::nics().unwrap_or_default();
        let mut interfaces: Vec<_> = nics.into_iter().map(|nic| (nic.name, nic.mac)).collect();
        interfaces.sort();
        Self { file, interfaces }
    }
}

/// Serves the control socket until something changes or a signal comes.
///
/// # Errors
/// When not even that can be: in words.
pub(crate) fn run(
    arguments: Arguments,
    why: &str,
    told: &OnceLock<Arc<Sinks>>,
) -> Result<ExitCode, String> {
    let settings = Settings::whatever(arguments)?;
    let before = Situation::look(&settings.file);
    let (signals, happened) = unbounded();
    watch_signals(signals)?;
    let _claimed = history::claim(&settings.state_dir)?;
    let server = Server::bind(&settings.socket).map_err(|error| error.to_string())?;
    let control = Arc::new(control(&settings, Arc::clone(told.get_or_init(Arc::default)))?);
    server
        .start(Arc::clone(&control), Bounds::default(), settings.groups.clone())
        .map_err(|error| error.to_string())?;
    error!(target: events::CLOSED, "THE BRIDGE IS CLOSED until this is repaired");
    // Whoever waits for the line may be gone.
    let first = why.lines().next().unwrap_or_default();
    let _ = writeln!(std::io::stdout().lock(), "weir: closed: {}", first.escape_debug());
    let begun = Instant::now();
    loop {
        match happened.recv_timeout(LOOK) {
            Ok(_) | Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if Situation::look(&settings.file) != before {
            info!("something has changed: trying again");
            break;
        }
        if begun.elapsed() >= AGAIN && Seats::take(&settings).is_ok() {
            break;
        }
    }
    drop(server);
    Ok(ExitCode::SUCCESS)
}

/// The control side of no workers.
fn control(settings: &Settings, log: Arc<Sinks>) -> Result<Control, String> {
    let names = [("lan", &settings.lan), ("wan", &settings.wan)];
    let port = |(role, name): (&str, &weir_config::settings::NicName)| PortName {
        role: role.into(),
        interface: name.to_string(),
        prefixes: Vec::new(),
    };
    let parts = Parts {
        clock: Clock::start(),
        mailboxes: Vec::new(),
        cpus: Vec::new(),
        shared: Arc::default(),
        overloads: Arc::new(Bell::new().map_err(|error| error.to_string())?),
        ports: PortNames(names.map(port).into()),
        io: Kind::Packet,
        steered: false,
        reserved: settings.states,
        programs: Arc::default(),
        log,
        flows: Arc::default(),
        history: Some(History::new(&settings.state_dir, settings.history)),
        rules_file: settings.rules.display().to_string(),
        cut_percent: settings.cut_percent,
        // There is nobody who could be stuck.
        give_up: Box::new(|_| {}),
    };
    let own = OwnFiles::new(settings.rules.clone(), settings.file.clone());
    let guard = Guard::new(&settings.state_dir);
    Ok(Control::new(parts, Box::new(|_| {})).with_own(own, guard))
}
