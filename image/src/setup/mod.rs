//! The first boot's dialogue, `weir box setup`: which NICs are bridged, by which rules, how logs leave,
//! what time it is, and a password.
//!
//! All is asked before anything is written: a line that drops, Ctrl-C and a power cut leave the box as
//! it was. Then each file is replaced whole, the settings last, since init goes by `lan` and `wan` there:
//! a crash in between has the dialogue held again. One console at a time holds it, the first that gets a
//! key.

mod answers;
mod dialogue;
mod help;
pub(crate) mod nics;
mod person;
#[cfg(test)]
mod tests;
mod typed;

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use argon2::password_hash::SaltString;
use argon2::{Argon2, PasswordHasher};
use rustix::fs::{FlockOperation, flock};
use weir_config::SourceFile;
use weir_config::settings::{self, Settings};
use weir_hw::{Nic, nic::Configurator};
use weir_shell::whole;

use self::answers::{Answers, Logs, Policy, SETTINGS};
use self::dialogue::Dialogue;
use self::nics::World;
use self::person::{Person, Silence};
use crate::clock;

/// What `weir box setup` is called with.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Set up anew what was set up before.
    #[arg(long)]
    again: bool,
}

/// Where things are.
#[derive(Clone, Debug)]
struct Places {
    settings: PathBuf,
    rules: PathBuf,
    /// The hash of the console's password (`fw/daemon/src/control/seat.rs`).
    password: PathBuf,
    /// Held by the console that has the dialogue.
    lock: PathBuf,
}

impl Places {
    fn of_the_box() -> Self {
        Self {
            settings: settings::PATH.into(),
            rules: "/etc/weir/weir.conf".into(),
            password: "/var/lib/weir/console-password".into(),
            lock: "/run/weir-box/setup.lock".into(),
        }
    }
}

/// Holds the dialogue at standard input and output, and returns when the box is set up.
///
/// # Errors
/// When nobody is there any more, or something could not be written; the box is as it was then.
pub fn main(arguments: &Arguments) -> io::Result<()> {
    let places = Places::of_the_box();
    let mut person = Person::at_the_console();
    let mut machine = Machine;
    let set_up = serve(&mut person, &mut machine, &places, arguments.again);
    match set_up {
        Ok(Some(forward)) => {
            if forward != 0 {
                clock::put_forward(forward)?;
            }
            Ok(person.say(if arguments.again {
                "Done. `restart` puts it in force; rules alone are loaded by `load`.\n"
            } else {
                "Done. weir starts.\n"
            })?)
        }
        Ok(None) => Ok(()),
        Err(Silence::Failed(error)) => Err(error),
        Err(Silence::Gone | Silence::Over) => {
            Err(io::Error::other("nobody answers: nothing was written"))
        }
    }
}

/// The machine that this is.
struct Machine;

impl World for Machine {
    fn nics(&mut self) -> io::Result<Vec<Nic>> {
        let managed = crate::network::nics();
        let nics = weir_hw::nics()?;
        // A link is known only of one that is up. Without addresses and protocols it says nothing.
        let mut configurator = Configurator::new()?;
        for nic in nics.iter().filter(|nic| !nic.up) {
            // One that does not come up has no link to be found by.
            let _ = configurator.set_up(&nic.name, true);
        }
        // What the management port has is no reason against it: it is set up by the same settings.
        let managed = managed.into_iter().map(|nic| Nic { addresses: Vec::new(), ..nic });
        let mut nics: Vec<_> = weir_hw::nics()?.into_iter().chain(managed).collect();
        nics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(nics)
    }

    fn pause(&mut self) {
        std::thread::sleep(Duration::from_millis(125));
    }

    fn now(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        since.as_secs().cast_signed()
    }
}

/// Holds the dialogue and writes what comes of it. How far the clock is to be put forward; `None` if
/// another console has set the box up meanwhile.
fn serve<R: Read, W: io::Write>(
    person: &mut Person<R, W>,
    world: &mut dyn World,
    places: &Places,
    again: bool,
) -> Result<Option<i64>, Silence> {
    let Some(_lock) = take(person, places, again)? else { return Ok(None) };
    let before = read(&places.settings)?;
    let known = settings::parse(&SourceFile::new(settings::PATH, &*before)).ok();
    // Settings that nobody can read are begun anew.
    let base = if known.is_some() && !before.is_empty() { before } else { SETTINGS.to_owned() };
    let mut dialogue = Dialogue {
        person,
        world,
        first: first(&known.unwrap_or_default(), again && places.rules.exists()),
        again,
        has_password: places.password.exists(),
    };
    let answers = dialogue.hold()?;
    write(&answers, &base, places).map_err(|error| {
        Silence::Failed(io::Error::new(
            error.kind(),
            format!("the setup was not finished: {error}"),
        ))
    })?;
    Ok(Some(answers.forward))
}

/// Waits for somebody, and for the dialogue to be free; `None` if it is over.
fn take<R: Read, W: io::Write>(
    person: &mut Person<R, W>,
    places: &Places,
    again: bool,
) -> Result<Option<File>, Silence> {
    if let Some(folder) = places.lock.parent() {
        fs::create_dir_all(folder)?;
    }
    let lock = File::options().create(true).append(true).mode(0o600).open(&places.lock)?;
    loop {
        if !again {
            person.ask(
                "\nThis box is not set up yet: nothing is forwarded. Press Enter to begin.\n",
            )?;
        }
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let text = read(&places.settings)?;
            let known = settings::parse(&SourceFile::new(settings::PATH, &*text));
            let done =
                known.is_ok_and(|known| known.ports.lan.is_some() && known.ports.wan.is_some());
            return Ok((again || !done).then_some(lock));
        }
        person.say("Another console is in use for the setup.\n")?;
        if again {
            return Err(Silence::Failed(io::Error::other("nothing was written")));
        }
    }
}

/// What is proposed.
fn first(known: &Settings, keep: bool) -> Answers {
    Answers {
        lan: known.ports.lan.clone(),
        wan: known.ports.wan.clone(),
        policy: if keep { Policy::Keep } else { Policy::Outgoing },
        nic: known.management.nic.clone(),
        addresses: known.management.addresses.clone(),
        gateways: known.management.gateways.clone(),
        syslog: if known.log.syslog.is_empty() { Logs::None } else { Logs::Keep },
        ntp: known.clock.ntp.clone(),
        forward: 0,
        password: String::new(),
    }
}

/// Writes it, the settings last.
fn write(answers: &Answers, base: &str, places: &Places) -> io::Result<()> {
    // Everything is made before anything is written.
    let settings = answers.settings(base).map_err(io::Error::other)?;
    let rules = answers.rules().map_err(io::Error::other)?;
    let hash = match &*answers.password {
        "" => None,
        password => Some(hash(password)?),
    };
    if let Some(hash) = hash {
        if let Some(folder) = places.password.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        whole::write(&places.password, format!("{hash}\n").as_bytes(), 0o600)?;
    }
    if let Some(rules) = rules {
        whole::write(&places.rules, rules.as_bytes(), 0o644)?;
    }
    whole::write(&places.settings, settings.as_bytes(), 0o644)
}

/// As the daemon makes it.
fn hash(password: &str) -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let salt = SaltString::encode_b64(&bytes);
    let hash = salt.and_then(|salt| {
        Argon2::default().hash_password(password.as_bytes(), &salt).map(|hash| hash.to_string())
    });
    hash.map_err(|error| io::Error::other(error.to_string()))
}

/// A file's text; nothing if it is not there or no text.
fn read(path: &Path) -> io::Result<String> {
    match fs::read(path) {
        Ok(bytes) if bytes.len() <= settings::MAX_TEXT => {
            Ok(String::from_utf8(bytes).unwrap_or_default())
        }
        Ok(_) => Ok(String::new()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
    }
}
