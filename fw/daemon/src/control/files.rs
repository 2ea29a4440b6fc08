//! The rule file and the settings file, for clients that may change the firewall: read, checked and
//! written whole. A crash leaves the old file or the new one.

use std::collections::hash_map::DefaultHasher;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use parking_lot::Mutex;
use tracing::{info, warn};
use weir_config::settings::{self, Settings};
use weir_config::{MAX_TEXT, SourceFile};
use weir_shell::check::{check, refuse_unbuilt};
use weir_shell::protocol::{Files, OwnFile, Setting, StoreRules};
use weir_shell::whole;

use super::settings::changed;
use super::{Control, Refused};

/// The mode of a file that was not there.
const USUAL: u32 = 0o644;

/// The files that the daemon was started with.
#[derive(Debug)]
pub struct OwnFiles {
    rules: PathBuf,
    settings: PathBuf,
    /// Held from reading a file until its successor is written.
    writing: Mutex<()>,
}

impl OwnFiles {
    /// The rule file and the settings file; neither need be there. Clients are told where they are,
    /// and may be in another folder than the daemon.
    pub fn new(rules: PathBuf, settings: PathBuf) -> Self {
        // It fails for an empty path, which is none.
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        let (rules, settings) = (absolute(rules), absolute(settings));
        Self { rules, settings, writing: Mutex::new(()) }
    }

    /// What the settings file says now; the defaults if it cannot be read.
    pub(super) fn settings(&self) -> Settings {
        let text = read(&self.settings).unwrap_or_default();
        settings::parse(&SourceFile::new("", text)).unwrap_or_default()
    }
}

impl Control {
    /// Reads one of the daemon's files, or writes it on behalf of a user.
    ///
    /// # Errors
    /// When it cannot be read or written, would have errors, or was changed meanwhile.
    pub fn files(&self, files: &Files, uid: u32) -> Result<Option<OwnFile>, Refused> {
        let Some((own, _)) = &self.own else {
            return Err(Refused::Error("there are no files here".into()));
        };
        match files {
            Files::Rules => own_file(&own.rules).map(Some),
            Files::Settings => own_file(&own.settings).map(Some),
            Files::StoreRules(store) => self.store_rules(own, store, uid).map(|()| None),
            Files::Set(setting) => set(own, setting, uid).map(|()| None),
        }
    }

    fn store_rules(&self, own: &OwnFiles, store: &StoreRules, uid: u32) -> Result<(), Refused> {
        let Some((main, others)) = store.load.sources.split_first() else {
            return Err(Refused::Error("there is no text to be stored".into()));
        };
        // At the next start these are read with the daemon's rights, and quoted where they are wrong.
        let folder = own.rules.parent().unwrap_or(Path::new("/"));
        if uid != 0
            && let Some(outside) = others.iter().find(|other| !is_within(folder, &other.name))
        {
            let (name, folder) = (&outside.name, folder.display());
            let text =
                format!("permission denied: {name:?} is not in {folder}: only root may name it");
            return Err(Refused::Error(text));
        }
        let mut checked = check(&store.load, &self.prefixes()).map_err(Refused::Error)?;
        refuse_unbuilt(&mut checked);
        if checked.rules.is_none() {
            return Err(Refused::Diagnostics(checked.diagnostics));
        }
        let _writing = own.writing.lock();
        if let Some(known) = &store.version
            && *known != own_file(&own.rules)?.version
        {
            let text = "the rule file was changed by somebody else meanwhile: nothing was written";
            return Err(Refused::Error(text.into()));
        }
        whole::write(&own.rules, main.text.as_bytes(), USUAL)
            .map_err(|error| failed(&own.rules, &error))?;
        info!("user {uid} wrote {}", own.rules.display());
        Ok(())
    }
}

/// Keys that name what the daemon opens with its own rights: no client may choose that.
const NAME_FILES: [&str; 7] =
    ["rules", "state_dir", "socket", "log.packets", "log.pflog", "log.syslog", "metrics.listen"];

/// Changes a key of the settings file.
fn set(own: &OwnFiles, setting: &Setting, uid: u32) -> Result<(), Refused> {
    if NAME_FILES.contains(&&*setting.key) {
        let (key, file) = (&setting.key, own.settings.display());
        let text = format!("`{key}` names what weir opens as root: change it in {file} by hand");
        return Err(Refused::Error(text));
    }
    let _writing = own.writing.lock();
    let before = own_file(&own.settings)?;
    let text = changed(&before.text, setting).map_err(Refused::Error)?;
    if let Err(found) = settings::parse(&SourceFile::new(&*before.path, &*text)) {
        return Err(Refused::Diagnostics(found));
    }
    if text != before.text {
        whole::write(&own.settings, text.as_bytes(), USUAL)
            .map_err(|error| failed(&own.settings, &error))?;
        warn!("user {uid} changed `{}` in {}", setting.key, own.settings.display());
    }
    Ok(())
}

/// Whether a path leads to a file in a folder or below, as far as its text tells.
fn is_within(folder: &Path, path: &str) -> bool {
    let mut parts = Path::new(path).components();
    Path::new(path).starts_with(folder) && parts.all(|part| part != Component::ParentDir)
}

fn own_file(path: &Path) -> Result<OwnFile, Refused> {
    let text = match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read.map_err(|error| failed(path, &error))?,
    };
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let version = format!("{:016x}", hasher.finish());
    Ok(OwnFile { path: path.display().to_string(), text, version })
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_TEXT as u64 + 1).read_to_string(&mut text)?;
    if text.len() > MAX_TEXT {
        return Err(io::Error::other(format!("longer than {MAX_TEXT} bytes")));
    }
    Ok(text)
}

fn failed(path: &Path, error: &io::Error) -> Refused {
    Refused::Error(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_outside_are_known_by_their_text() {
        let folder = Path::new("/etc/weir");
        assert!(is_within(folder, "/etc/weir/web.conf") && is_within(folder, "/etc/weir/a/b"));
        for outside in ["/etc/shadow", "/etc/weir/../shadow", "/etc/weird", "weir.conf"] {
            assert!(!is_within(folder, outside), "{outside}");
        }
    }
}
