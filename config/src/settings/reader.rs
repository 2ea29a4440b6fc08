//! From TOML to [`Settings`]: which key stands where, and what can be said of one that is wrong. Each
//! section reads its keys in a file of its own.

use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::{KEYS, SECTIONS, Settings};
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::parse::nearest;
use crate::source::{Places, SourceFile, Span};

/// What has been read so far, and what is wrong with it.
pub(super) struct Reader<'f> {
    pub(super) file: &'f SourceFile,
    pub(super) settings: Settings,
    pub(super) found: Diagnostics,
}

impl Reader<'_> {
    pub(super) fn error(&mut self, at: &Range<usize>, message: String) {
        let text = &self.file.text;
        let start = at.start.min(text.len());
        let span = Span { file: 0, start: start as u32, end: at.end.min(text.len()) as u32 };
        let places = Places::new(std::slice::from_ref(self.file));
        let Some(place) = places.place(span) else { return };
        self.found.push(Diagnostic {
            severity: Severity::Error,
            message,
            place,
            expected: Vec::new(),
            notes: Vec::new(),
        });
    }

    pub(super) fn top(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            match value.get_ref() {
                DeValue::Table(section) if SECTIONS.contains(&name) => {
                    for (key, value) in section {
                        self.entry(name, key, value);
                    }
                }
                _ if SECTIONS.contains(&name) => {
                    self.error(&key.span(), format!("`{name}` is a section: write `[{name}]`"));
                }
                DeValue::Table(_) => self.unknown("section", key, SECTIONS.iter().copied()),
                _ => self.entry("", key, value),
            }
        }
        if let (Some(lan), Some(wan)) = (&self.settings.ports.lan, &self.settings.ports.wan)
            && lan == wan
        {
            let message = format!("`lan` and `wan` are both `{lan}`: a bridge has two ports");
            let at = table.get("ports").map_or(0..0, Spanned::span);
            self.error(&at, message);
        }
        self.management_agrees(table);
    }

    pub(super) fn unknown(
        &mut self,
        what: &str,
        key: &Spanned<DeString<'_>>,
        known: impl Iterator<Item = &'static str>,
    ) {
        let name = key.get_ref();
        let shown: String = name.chars().take(40).flat_map(char::escape_debug).collect();
        let message = match nearest(name, known) {
            Some(near) => format!("unknown {what} `{shown}`, did you mean `{near}`?"),
            None => format!("unknown {what} `{shown}`"),
        };
        self.error(&key.span(), message);
    }

    fn entry(&mut self, section: &str, key: &Spanned<DeString<'_>>, value: &Spanned<DeValue<'_>>) {
        let name = key.get_ref().as_ref();
        if !KEYS.contains(&(section, name)) {
            self.misplaced(section, key);
            return;
        }
        match section {
            "" => self.paths(name, value),
            "ports" => self.ports(name, value),
            "threads" => self.threads(name, value),
            "nics" => self.nics(name, value),
            "memory" => self.memory(name, value),
            "control" => self.control(name, value),
            "history" => self.history(name, value),
            "log" => self.log(name, value),
            "metrics" | "pflow" => self.export(name, value),
            "commit" => self.commit(name, value),
            "management" => self.management(name, value),
            "clock" => self.clock(name, value),
            _ => self.shell(name, value),
        }
    }

    /// Says what is wrong with a key that the section does not have.
    fn misplaced(&mut self, section: &str, key: &Spanned<DeString<'_>>) {
        let name = key.get_ref().as_ref();
        let home = KEYS.iter().find(|(_, known)| *known == name);
        match home {
            Some(("", _)) => {
                let message = format!("`{name}` must stand before the first section");
                self.error(&key.span(), message);
            }
            Some((home, _)) => {
                self.error(&key.span(), format!("`{name}` belongs to the section [{home}]"));
            }
            None => {
                let here = KEYS.iter().filter(|(known, _)| *known == section);
                self.unknown("key", key, here.map(|&(_, name)| name));
            }
        }
    }

    /// A key above all sections: where something is.
    fn paths(&mut self, name: &str, value: &Spanned<DeValue<'_>>) {
        if let Some(path) = self.path(name, "", value) {
            match name {
                "rules" => self.settings.rules = path,
                "socket" => self.settings.socket = path,
                _ => self.settings.state_dir = path,
            }
        }
    }

    /// A path, `or` what else can be said.
    pub(super) fn path(
        &mut self,
        name: &str,
        or: &str,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<PathBuf> {
        let text = self.string(name, value)?;
        if is_path(text) {
            return Some(text.into());
        }
        let message = format!("`{name}` must be {or}a path from the root, as in \"/...\"");
        self.error(&value.span(), message);
        None
    }

    pub(super) fn string<'v>(
        &mut self,
        name: &str,
        value: &'v Spanned<DeValue<'_>>,
    ) -> Option<&'v str> {
        let text = value.get_ref().as_str();
        if text.is_none() {
            let kind = value.get_ref().type_str();
            self.error(&value.span(), format!("`{name}` must be a string, not {kind}"));
        }
        text
    }

    pub(super) fn boolean(&mut self, name: &str, value: &Spanned<DeValue<'_>>) -> Option<bool> {
        let on = value.get_ref().as_bool();
        if on.is_none() {
            self.error(&value.span(), format!("`{name}` must be true or false"));
        }
        on
    }

    pub(super) fn integer(
        &mut self,
        name: &str,
        value: &Spanned<DeValue<'_>>,
        least: u32,
        most: u32,
    ) -> Option<u32> {
        let number = value
            .get_ref()
            .as_integer()
            .and_then(|number| u32::from_str_radix(number.as_str(), number.radix()).ok())
            .filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.error(&value.span(), format!("`{name}` must be a number from {least} to {most}"));
        }
        number
    }
}

/// Whether a text is a path from the root.
pub(super) fn is_path(text: &str) -> bool {
    text.starts_with('/') && !text.contains('\0')
}
