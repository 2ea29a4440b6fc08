//! What a rule file means besides its text: the files it names, macros of the command line, what the
//! settings file says of the ports. Handed over by the caller, since nothing here opens a file.

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::parse::Defines;
use crate::source::SourceFile;

/// Where the files come from that a rule file names: `include`, `load anchor`, tables.
pub trait Files {
    /// The bytes of a file; whether they are UTF-8 is for the caller to check. `path` is as written if that begins with a slash, else it begins with the
    /// folder of `by`, the name of the file that names it; standard input is in no folder. What is
    /// returned is looked at whole: an implementation refuses what is longer than
    /// [`MAX_TABLE_TEXT`](crate::MAX_TABLE_TEXT) bytes before it is in memory.
    ///
    /// # Errors
    /// In words without the path, if it cannot be read.
    fn read(&mut self, path: &str, by: &str) -> Result<Vec<u8>, String>;
}

/// Files that are in memory, by their names.
#[derive(Clone, Debug, Default)]
pub struct Texts(BTreeMap<String, String>);

impl FromIterator<SourceFile> for Texts {
    fn from_iter<I: IntoIterator<Item = SourceFile>>(files: I) -> Self {
        Self(files.into_iter().map(|file| (file.name, file.text)).collect())
    }
}

impl Files for Texts {
    fn read(&mut self, path: &str, _: &str) -> Result<Vec<u8>, String> {
        let text = self.0.get(path).cloned();
        text.map(String::into_bytes).ok_or_else(|| "no such file".to_owned())
    }
}

/// Networks that are behind a port, from the settings file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortPrefixes {
    /// What rules call the port: its role and the name of its interface.
    pub names: Vec<String>,
    /// The networks.
    pub nets: Vec<IpNet>,
}

/// Everything that [`parse`](crate::parse) needs besides the rule file.
pub struct Environment<'a> {
    /// The files that the rule file names.
    pub files: &'a mut dyn Files,
    /// -D.
    pub defines: &'a Defines,
    /// What is behind the ports, for `antispoof` and `urpf-failed`; may lack ports or be empty.
    pub prefixes: &'a [PortPrefixes],
    /// -a: the path of the anchor that the file fills; empty for the main rule set.
    pub anchor: &'a str,
}
