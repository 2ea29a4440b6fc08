//! Kernel modules with what they need, which each says in its `.modinfo` section.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A module's file.
pub(super) struct Module {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// The named modules and everything that they need, in an order in which they can be loaded. What the
/// kernel has built in is no file and left out, unless it was named.
pub(super) fn with_needed(folder: &Path, names: &[&str]) -> Vec<Module> {
    let mut files = Vec::new();
    collect(folder, &mut files);
    let mut found: Vec<Module> = Vec::new();
    for name in names {
        let known = add(name, &files, &mut found);
        assert!(known, "{}: there is no module {name}", folder.display());
    }
    found
}

/// Whether there is a module of this name.
pub(super) fn has(folder: &Path, name: &str) -> bool {
    let mut files = Vec::new();
    collect(folder, &mut files);
    files.iter().any(|path| name_of(path).as_deref() == Some(name))
}

/// Adds a module behind what it needs; `false` if there is no such file.
fn add(name: &str, files: &[PathBuf], found: &mut Vec<Module>) -> bool {
    if found.iter().any(|module| module.name == name) {
        return true;
    }
    let Some(path) = files.iter().find(|path| name_of(path).as_deref() == Some(name)) else {
        return false;
    };
    let bytes = unpacked(path);
    for needed in needs(&bytes) {
        add(&needed, files, found);
    }
    found.push(Module { name: name.to_owned(), bytes });
    true
}

/// A module's name: that of its file, where `-` and `_` are the same.
fn name_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let name = name.strip_suffix(".xz").unwrap_or(name).strip_suffix(".ko")?;
    Some(name.replace('-', "_"))
}

/// What is in a module's file; Debian packs them since 13.
fn unpacked(path: &Path) -> Vec<u8> {
    if path.extension().is_none_or(|extension| extension != "xz") {
        return super::read(path);
    }
    let output = Command::new("xz").arg("-dc").arg(path).output();
    let output = output.unwrap_or_else(|error| panic!("xz: {error} (Debian: xz-utils)"));
    assert!(output.status.success(), "xz -dc {}: {}", path.display(), output.status);
    output.stdout
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries.flatten() {
        let path = entry.path();
        // `build` and `source` are links that lead elsewhere.
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect(&path, files),
            Ok(kind) if kind.is_file() => files.push(path),
            _ => {}
        }
    }
}

/// The modules that a module needs.
fn needs(bytes: &[u8]) -> Vec<String> {
    let entry = bytes.split(|&byte| byte == 0).find_map(|entry| entry.strip_prefix(b"depends="));
    let list = entry.map(String::from_utf8_lossy).unwrap_or_default();
    list.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}
