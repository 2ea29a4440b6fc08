//! `weir box restore`: the settings of a backup in place of those that there are. They are checked as
//! the daemon would, and taken at the next start, which is at once.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use rustix::mount::MountFlags;
use weir_config::SourceFile;
use weir_config::settings::{self, Settings};
use weir_shell::check::{check as check_rules, refuse_unbuilt};
use weir_shell::protocol::{Load, Source};

use super::archive::Archive;
use super::{armour, newest, of_box, staged};
use crate::disk::storage::about;
use crate::disk::{Booted, data, sticks};
use crate::terminal::{Modes, agree};

/// The settings before the last restoring, in a file of the data partition.
const PREVIOUS: &str = "/data/before-restore";

/// Where settings and rules are looked for on a box.
const FOLDER: &str = "/etc/weir";

/// The words behind `weir box restore`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// `usb`: the newest on a stick; the name of a file on a stick; a path; `previous`: what was before
    /// the last restoring; nothing: pasted into the terminal
    from: Option<String>,
}

/// Does it.
///
/// # Errors
/// When the backup is damaged or wrong, or it cannot be written; nothing has changed then.
pub(crate) fn main(arguments: &Arguments) -> io::Result<()> {
    let booted = Booted::find()?;
    if data::noted() != "disk" {
        return Err(io::Error::other("the data partition is not in use: nothing can be restored"));
    }
    let archive = match arguments.from.as_deref() {
        None => pasted()?,
        Some("previous") => of_file(Path::new(PREVIOUS))?,
        Some(path) if path.starts_with('/') => of_file(Path::new(path))?,
        Some(name) => {
            let found = sticks::find(&booted, MountFlags::RDONLY, |folder| {
                let name = match name {
                    "usb" => newest(folder)?.map(super::name),
                    name => Some(name.to_owned()),
                };
                let path = name.map(|name| folder.join(name)).filter(|path| path.is_file());
                path.map(|path| of_file(&path)).transpose()
            })?;
            found.ok_or_else(|| io::Error::other("no stick with that backup was found"))?
        }
    };
    if let Err(wrong) = check(&archive) {
        return Err(io::Error::other(format!(
            "it is not restored, since there are errors:\n{wrong}"
        )));
    }
    println!("A backup of weir {} with {} files.", archive.version, archive.files.len());
    agree("Shall it replace all settings, rules and the password, and the box restart?")?;
    let before = armour::write(&of_box(&booted)?.to_bytes());
    weir_shell::whole::write(Path::new(PREVIOUS), before.as_bytes(), 0o600)?;
    staged::stage(Path::new(data::MOUNTED), &archive)?;
    println!("The box restarts with it. `restore previous` goes back.");
    Ok(())
}

fn of_file(path: &Path) -> io::Result<Archive> {
    let file = File::open(path).map_err(|error| about(path, &error))?;
    read(BufReader::new(file))
}

fn pasted() -> io::Result<Archive> {
    println!("Paste the backup now, with its first and its last line; Ctrl-C ends it.");
    let _silent = Modes::silent()?;
    read(io::stdin().lock())
}

/// Reads a backup from text.
fn read(mut from: impl BufRead) -> io::Result<Archive> {
    let mut reader = armour::Reader::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        from.by_ref().take(armour::MAX_LINE as u64).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Err(io::Error::other(reader.missing()));
        }
        let text = String::from_utf8_lossy(&line);
        if let Some(bytes) = reader.line(&text).map_err(io::Error::other)? {
            return Archive::parse(&bytes)
                .map_err(|wrong| io::Error::other(format!("the backup cannot be used: {wrong}")));
        }
    }
}

/// Whether the settings and rules of an archive are without errors.
///
/// # Errors
/// All of these, a line each.
pub(super) fn check(archive: &Archive) -> Result<(), String> {
    let mut sources = Vec::new();
    for (name, file) in archive.below("etc") {
        // What is no text is none that rules name, or an error where they do.
        if let Ok(text) = String::from_utf8(file.bytes.clone()) {
            sources.push(Source { name: format!("{FOLDER}/{name}"), text });
        }
    }
    let find = |name: &str| sources.iter().position(|source| source.name == name);
    let settings = match find(settings::PATH) {
        None => Settings::default(),
        Some(at) => settings::parse(&SourceFile::new(settings::PATH, &*sources[at].text))
            .map_err(|found| found.to_string())?,
    };
    let path = settings.rules.display().to_string();
    let Some(main) = find(&path) else {
        // A box that was never set up has none.
        if archive.get("etc/weir.conf").is_none() && settings.ports.lan.is_none() {
            return Ok(());
        }
        return Err(format!("the rule file {path} is not in it, or is no text"));
    };
    sources.swap(0, main);
    let load = Load { sources, ..Load::default() };
    let mut checked = check_rules(&load, &settings.ports.prefixes())?;
    refuse_unbuilt(&mut checked);
    match checked.rules {
        Some(_) => Ok(()),
        None => Err(checked.diagnostics.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::archive::Archive;
    use super::super::archive::tests::example;
    use super::super::armour;
    use super::{check, read};

    fn with(name: &str, text: &str) -> Archive {
        let mut archive = example();
        archive.files.retain(|file| file.name != name);
        let mode = 0o644;
        archive.files.push(super::super::archive::Entry {
            name: name.into(),
            mode,
            bytes: text.into(),
        });
        archive
    }

    #[test]
    fn what_was_written_as_text_is_read() {
        let text = armour::write(&example().to_bytes());
        assert_eq!(read(text.as_bytes()).unwrap(), example());
        let wrong = read(&text.as_bytes()[..200]).unwrap_err().to_string();
        assert!(wrong.contains("line 3 of the backup is damaged"), "{wrong}");
        let other = armour::write(b"something else\n");
        let wrong = read(other.as_bytes()).unwrap_err().to_string();
        assert_eq!(wrong, "the backup cannot be used: these are no settings of weir");
        assert!(read(&[0xff; 10_000][..]).is_err());
    }

    #[test]
    fn settings_and_rules_are_checked_as_the_daemon_does() {
        assert_eq!(check(&example()), Ok(()));
        assert_eq!(check(&Archive::default()), Ok(()));
        for (archive, said) in [
            (with("etc/weir.toml", "[ports]\nlan = 1\n"), "/etc/weir/weir.toml:2:"),
            (with("etc/weir.conf", "blok\n"), "/etc/weir/weir.conf:1:"),
            (with("etc/weir.conf", "include \"web\"\n"), "no such file"),
            (with("etc/weir.conf", "antispoof for lan\n"), "/etc/weir/weir.conf:1:"),
            (with("etc/weir.toml", "rules = \"/root/x\"\n"), "/root/x is not in it"),
        ] {
            let wrong = check(&archive).unwrap_err();
            assert!(wrong.contains(said), "{wrong}");
        }
        let mut whole =
            with("etc/weir.conf", "include \"web\"\ntable <t> file \"/etc/weir/bad\"\n");
        let add = |whole: &mut Archive, name, text| {
            whole.files.extend(with(name, text).files.pop());
        };
        add(&mut whole, "etc/web", "pass proto tcp to port 80\n");
        add(&mut whole, "etc/bad", "192.0.2.1\n");
        assert_eq!(check(&whole), Ok(()));
    }
}
