//! What `weir run` needs to know: the command line over the settings file over the defaults.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use weir_config::SourceFile;
use weir_config::settings::{self, Log, Metrics, NicName, Pflow, Threads};
use weir_engine::Engine;
use weir_hw::{Io, Wishes};

use crate::developer::Developer;
use crate::history::Bounds;
use crate::namespace::Namespace;
use crate::run::Arguments;
use crate::server::Groups;

/// The settings file that is read if none is named, and may be absent then.
const FILE: &str = "/etc/weir/weir.toml";

/// Workers if nobody says how many. Every frame that a NIC without a suitable hash gives to the
/// wrong worker has to be handed over, so that more are worth it only if they were asked for.
const WORKERS: u16 = 1;

/// The settings of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The settings file.
    pub file: PathBuf,
    /// Interface of the protected network.
    pub lan: NicName,
    /// Interface towards the router.
    pub wan: NicName,
    /// Networks behind `lan`.
    pub lan_prefixes: Vec<IpNet>,
    /// Networks behind `wan`.
    pub wan_prefixes: Vec<IpNet>,
    /// The rule file.
    pub rules: PathBuf,
    /// How frames are moved.
    pub io: Io,
    /// Whether workers never sleep.
    pub busy_poll: bool,
    /// How many workers.
    pub workers: u16,
    /// How they run.
    pub threads: Threads,
    /// What is set on the interfaces.
    pub nics: Wishes,
    /// Whether the loss of one port's link is passed on to the other.
    pub propagate_link: bool,
    /// Control socket.
    pub socket: PathBuf,
    /// Who may use it besides root.
    pub groups: Groups,
    /// What outlives the process: the rule sets that were in force.
    pub state_dir: PathBuf,
    /// How many of them are kept.
    pub history: Bounds,
    /// Percent of the live states that a commit may cut without being asked for twice.
    pub cut_percent: u8,
    /// States that memory is reserved for.
    pub states: u32,
    /// Where logs go.
    pub log: Log,
    /// Where counters can be had, if anywhere.
    pub metrics: Option<Metrics>,
    /// Where records of connections go.
    pub pflow: Pflow,
    /// Where log servers, the flow collector and clients of the metrics are.
    pub namespace: Namespace,
    /// What is put around the ports.
    pub developer: Developer,
}

impl Settings {
    /// Puts the settings together.
    ///
    /// # Errors
    /// When the settings file cannot be read or is wrong (all that is wrong, a line each), or
    /// something is missing or out of bounds.
    pub fn gather(arguments: Arguments) -> Result<Self, String> {
        let path = arguments.config.clone().unwrap_or_else(|| FILE.into());
        let file = read_file(arguments.config.as_deref())?;
        Self::merge(arguments, path, file)
    }

    /// What can be known of them when they are wrong, for [`Arguments::stay`]: the ports may not be there,
    /// and have made-up names if nobody has named any.
    ///
    /// # Errors
    /// When the command line alone is out of bounds.
    pub(crate) fn whatever(arguments: Arguments) -> Result<Self, String> {
        let path = arguments.config.clone().unwrap_or_else(|| FILE.into());
        let file = read_file(arguments.config.as_deref()).unwrap_or_default();
        let named = |role: &str| Some(NicName::Interface(role.to_owned()));
        let arguments = Arguments {
            lan: arguments.lan.or_else(|| file.ports.lan.clone()).or_else(|| named("lan")),
            wan: arguments.wan.or_else(|| file.ports.wan.clone()).or_else(|| named("wan")),
            ..arguments
        };
        Self::merge(arguments.clone(), path.clone(), file)
            .or_else(|_| Self::merge(arguments, path, settings::Settings::default()))
    }

    fn merge(
        arguments: Arguments,
        path: PathBuf,
        file: settings::Settings,
    ) -> Result<Self, String> {
        let missing =
            |what| format!("no {what} interface: give --{what} IF, or {what} in [ports] of {FILE}");
        let settings = Self {
            file: path,
            lan: arguments.lan.or(file.ports.lan).ok_or_else(|| missing("lan"))?,
            wan: arguments.wan.or(file.ports.wan).ok_or_else(|| missing("wan"))?,
            lan_prefixes: file.ports.lan_prefixes,
            wan_prefixes: file.ports.wan_prefixes,
            rules: arguments.rules.unwrap_or(file.rules),
            io: arguments.io.unwrap_or(match file.ports.io {
                settings::Io::Auto => Io::Auto,
                settings::Io::Netmap => Io::Netmap,
                settings::Io::Xdp => Io::Xdp,
                settings::Io::Packet => Io::Packet,
            }),
            busy_poll: arguments.busy_poll || file.ports.busy_poll,
            workers: arguments.workers.or(file.ports.workers).unwrap_or(WORKERS),
            threads: Threads {
                share_cores: arguments.share_cores || file.threads.share_cores,
                realtime: match arguments.realtime {
                    Some(priority) => Some(priority).filter(|&priority| priority != 0),
                    None => file.threads.realtime,
                },
            },
            nics: Wishes {
                tune: file.nics.tune,
                ring: file.nics.ring,
                interrupt_usecs: file.nics.interrupt_usecs,
                flow_control: file.nics.flow_control,
                ..Wishes::default()
            },
            propagate_link: arguments.propagate_link.unwrap_or(file.ports.propagate_link),
            socket: arguments.socket.unwrap_or(file.socket),
            groups: Groups {
                write: file.control.write_group,
                read: file.control.read_group,
                ..Groups::default()
            },
            state_dir: arguments.state_dir.unwrap_or(file.state_dir),
            history: Bounds {
                entries: file.history.entries as usize,
                bytes: u64::from(file.history.mebibytes) << 20,
            },
            cut_percent: file.commit.cut_percent,
            states: file.memory.states,
            log: file.log,
            metrics: file.metrics,
            pflow: file.pflow,
            namespace: Namespace::new(file.management.namespace.as_deref()),
            developer: arguments.developer,
        };
        check_bounds(settings.workers, settings.states)?;
        Ok(settings)
    }
}

/// What the engine can have.
///
/// # Errors
/// In words.
pub fn check_bounds(workers: u16, states: u32) -> Result<(), String> {
    if !(1..=Engine::MAX_WORKERS).contains(&workers) {
        return Err(format!("workers must be 1 to {}", Engine::MAX_WORKERS));
    }
    if !(1..=Engine::MAX_STATES).contains(&states) {
        return Err(format!("[memory] states must be 1 to {}", Engine::MAX_STATES));
    }
    Ok(())
}

/// Reads the settings file: the one that is named, else the usual one if it is there.
///
/// # Errors
/// When it cannot be read or is wrong (all that is wrong, a line each).
pub fn read_file(named: Option<&Path>) -> Result<settings::Settings, String> {
    let text = match named {
        Some(path) => read(path).map_err(|error| format!("{}: {error}", path.display()))?,
        None => match read(Path::new(FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.map_err(|error| format!("{FILE}: {error}"))?,
        },
    };
    let name = named.unwrap_or(Path::new(FILE)).display().to_string();
    settings::parse(&SourceFile::new(name, text))
        .map_err(|diagnostics| diagnostics.to_string().trim_end().to_owned())
}

/// The text of the settings file; what is too long is cut where the parser will say so.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(settings::MAX_TEXT as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use weir_config::settings::{NicName, Packets, Threads};
    use weir_hw::Io;

    use super::Settings;
    use crate::run::Arguments;

    fn nic(name: &str) -> NicName {
        name.parse().unwrap()
    }

    fn gather(file: &str, arguments: Arguments) -> Result<Settings, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("weir.toml");
        std::fs::write(&path, file).unwrap();
        Settings::gather(Arguments { config: Some(path), ..arguments })
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let file = "rules = \"/a\"\n[ports]\nlan = \"eth1\"\nwan = \"eth0\"\nio = \
                    \"packet\"\nbusy_poll = true\nworkers = 3\n[threads]\nshare_cores = true\nrealtime = 5\n[nics]\ntune = \
                    false\n[memory]\nstates = 5000\n[log]\npackets = \"/l\"\n";
        let settings = gather(file, Arguments::default()).unwrap();
        assert_eq!((settings.lan, settings.wan), (nic("eth1"), nic("eth0")));
        assert_eq!((settings.io, settings.workers, settings.states), (Io::Packet, 3, 5000));
        assert_eq!(settings.threads.realtime, Some(5));
        assert!(settings.propagate_link);
        assert!(settings.busy_poll);
        assert_eq!(settings.rules, Path::new("/a"));
        assert_eq!(settings.log.packets, Packets::File("/l".into()));
        let arguments = Arguments {
            wan: Some(nic("02:00:00:00:00:01")),
            realtime: Some(0),
            propagate_link: Some(false),
            rules: Some("/b".into()),
            io: Some(Io::Auto),
            workers: Some(1),
            ..Arguments::default()
        };
        let settings = gather(file, arguments).unwrap();
        assert_eq!((settings.lan, settings.wan), (nic("eth1"), nic("mac:02:00:00:00:00:01")));
        assert_eq!(settings.threads, Threads { share_cores: true, realtime: None });
        assert!(!settings.propagate_link && !settings.nics.tune);
        assert_eq!((settings.io, settings.workers), (Io::Auto, 1));
        assert_eq!(settings.rules, Path::new("/b"));
    }

    #[test]
    fn what_is_wrong_or_missing_is_said() {
        let both = Arguments { lan: Some(nic("a")), wan: Some(nic("b")), ..Default::default() };
        assert!(gather("", both.clone()).is_ok());
        assert!(gather("", Arguments::default()).unwrap_err().contains("--lan"));
        let errors = gather("rulez = \"/a\"\nlog = 3\n", both.clone()).unwrap_err();
        assert!(errors.contains("weir.toml:1:1: "), "{errors}");
        assert_eq!(errors.lines().count(), 2, "{errors}");
        let many = Arguments { workers: Some(65), ..both.clone() };
        assert!(gather("", many).unwrap_err().contains("workers"));
        assert!(gather("[memory]\nstates = 4000000000\n", both).unwrap_err().contains("states"));
        let absent =
            Arguments { config: Some("/nonexistent/weir.toml".into()), ..Default::default() };
        assert!(Settings::gather(absent).unwrap_err().starts_with("/nonexistent/weir.toml: "));
    }
}
