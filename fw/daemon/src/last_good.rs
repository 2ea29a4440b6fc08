//! The last rule set that was put in force, as the loads that make it, kept for a start at which the rule file is broken.
//!
//! One file, written under another name, synced and renamed, so that a crash leaves the old one or
//! the new one and never half of it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

use weir_shell::protocol::Load;

/// Where the last good rule set is kept.
#[derive(Clone, Debug)]
pub struct LastGood {
    directory: PathBuf,
}

/// Name of the file in the state directory.
const NAME: &str = "last-good.json";

impl LastGood {
    /// In that directory, which is made when it is needed.
    pub const fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Keeps the loads that make a rule set, one after the other.
    ///
    /// # Errors
    /// When the directory or the file cannot be written; the one kept before is intact then.
    pub fn save(&self, loads: &[Load]) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let temporary = self.directory.join(format!("{NAME}.new"));
        let mut file =
            File::options().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(loads)?)?;
        file.sync_all()?;
        fs::rename(&temporary, self.directory.join(NAME))?;
        File::open(&self.directory)?.sync_all()
    }

    /// What was kept last; weir 0.1 kept a single load.
    ///
    /// # Errors
    /// When there is none, or the file cannot be read.
    pub fn read(&self) -> io::Result<Vec<Load>> {
        let path = self.directory.join(NAME);
        let text = fs::read(&path).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        if let Ok(load) = serde_json::from_slice(&text) {
            return Ok(vec![load]);
        }
        serde_json::from_slice(&text)
            .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use weir_shell::protocol::{Load, Source};

    use super::{LastGood, NAME};

    #[test]
    fn what_was_saved_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let kept = LastGood::new(directory.path().join("state"));
        assert!(kept.read().is_err(), "nothing yet");
        for text in ["pass\n", "block all\n"] {
            let load = Load {
                sources: vec![Source { name: "stdin".into(), text: text.into() }],
                macros: vec!["a=b".into()],
                ..Load::default()
            };
            let anchor = Load { anchor: "web".into(), ..load.clone() };
            let loads = [load, anchor];
            kept.save(&loads).unwrap();
            assert_eq!(kept.read().unwrap(), loads);
        }
        let path = directory.path().join("state");
        let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(path.clone()), 0o700);
        assert_eq!(mode(path.join(NAME)), 0o600);
        let old = r#"{"sources":[{"name":"stdin","text":"pass\n"}]}"#;
        std::fs::write(path.join(NAME), old).unwrap();
        assert_eq!(kept.read().unwrap()[0].sources[0].text, "pass\n");
        std::fs::write(path.join(NAME), "{").unwrap();
        assert!(kept.read().unwrap_err().to_string().contains(NAME));
    }
}
