//! Rule files: read here, never by the daemon, and checked before they are sent.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use weir_config::{Files, MAX_TABLE_TEXT, MAX_TEXT, Parsed, PortPrefixes, SourceFile};

use crate::check;
use crate::client::Client;
use crate::protocol::{self, Command, Load, Reply, Source};

/// A rule file with everything that reading it has read.
#[derive(Debug)]
pub struct Gathered {
    /// To be put in force.
    pub load: Load,
    /// What came out.
    pub checked: Parsed,
}

/// Reads a rule file (`-` is standard input) and the files that it names. `terms` says how, and
/// becomes the load: its sources are what was read, each once.
///
/// # Errors
/// When the rule file cannot be read or a `-D` is no definition; what is wrong with the rest is among
/// the diagnostics.
pub fn gather(file: &OsStr, terms: Load, prefixes: &[PortPrefixes]) -> io::Result<Gathered> {
    let (name, bytes) = bytes_of(file)?;
    let main = match SourceFile::from_bytes(name, bytes) {
        Ok(main) => main,
        Err(found) => return Ok(Gathered { load: terms, checked: Parsed::refused(*found) }),
    };
    gather_text(&main, terms, prefixes)
}

/// The same of a rule file that was read already.
///
/// # Errors
/// When a `-D` is no definition.
pub fn gather_text(
    main: &SourceFile,
    terms: Load,
    prefixes: &[PortPrefixes],
) -> io::Result<Gathered> {
    let checked = check::read(main, &mut Disk, &terms, prefixes).map_err(io::Error::other)?;
    Ok(Gathered { load: Load { sources: sent(&checked.sources), ..terms }, checked })
}

/// The daemon's rule file as the daemon has it, whoever may read it here, and what it is for.
#[derive(Debug)]
pub struct Live {
    /// By its path.
    pub rules: SourceFile,
    /// Role and interface of each port.
    pub ports: Vec<(String, String)>,
    /// What is behind them.
    pub prefixes: Vec<PortPrefixes>,
}

/// Asks the daemon behind a socket for its rule file.
///
/// # Errors
/// When it cannot be asked, or there is none.
pub fn live(socket: &Path) -> io::Result<Live> {
    let refused = |end| match end {
        Reply::Error(text) => Err(io::Error::other(text)),
        _ => Ok(()),
    };
    let mut rules = None;
    let end = Client::connect(socket)?.ask(Command::Files(protocol::Files::Rules), |reply| {
        if let Reply::File(file) = reply {
            rules = Some(SourceFile::new(file.path, file.text));
        }
        Ok(())
    })?;
    refused(end)?;
    let rules = rules.ok_or_else(|| io::Error::other("the daemon has sent no file"))?;
    if rules.text.is_empty() {
        return Err(io::Error::other(format!("{} is not there, or empty", rules.name)));
    }
    let mut ports = Vec::new();
    let end = Client::connect(socket)?.ask(Command::Interfaces, |reply| {
        if let Reply::Interfaces(found) = reply {
            ports.extend(found.into_iter().map(|port| (port.role, port.name)));
        }
        Ok(())
    })?;
    refused(end)?;
    Ok(Live { rules, ports, prefixes: Client::connect(socket)?.prefixes()? })
}

/// The files of a load as they are sent: each once.
pub(crate) fn sent(files: &[SourceFile]) -> Vec<Source> {
    let mut known = HashSet::new();
    let once = files.iter().filter(|file| known.insert(&*file.name));
    once.map(|file| Source { name: file.name.clone(), text: file.text.clone() }).collect()
}

/// Reads a file of text, `-` for standard input.
///
/// # Errors
/// When it cannot be read, is not UTF-8, or is longer than rule files may be.
pub fn read(file: &OsStr) -> io::Result<SourceFile> {
    let (name, bytes) = bytes_of(file)?;
    SourceFile::from_bytes(name, bytes).map_err(|found| io::Error::other(found.to_string()))
}

/// What messages call a file, and what is in it.
fn bytes_of(file: &OsStr) -> io::Result<(String, Vec<u8>)> {
    let (name, input): (String, Box<dyn Read>) = if file == "-" {
        ("stdin".into(), Box::new(io::stdin().lock()))
    } else {
        let name = file.display().to_string();
        let open = File::open(file);
        let file = open.map_err(|e| io::Error::new(e.kind(), format!("{name}: {e}")))?;
        (name, Box::new(file))
    };
    let mut bytes = Vec::new();
    input
        .take(MAX_TEXT as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?;
    if bytes.len() > MAX_TEXT {
        return Err(io::Error::other(format!("{name}: longer than {MAX_TEXT} bytes")));
    }
    Ok((name, bytes))
}

/// The files of this machine, for those that a rule file names.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Files for Disk {
    fn read(&mut self, path: &str, _: &str) -> Result<Vec<u8>, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let mut bytes = Vec::new();
        file.take(MAX_TABLE_TEXT as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| error.to_string())?;
        if bytes.len() > MAX_TABLE_TEXT {
            return Err(format!("longer than {MAX_TABLE_TEXT} bytes"));
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use weir_config::Files;

    use super::{Disk, gather, read};
    use crate::protocol::Load;

    #[test]
    fn the_disk_is_read_within_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        std::fs::write(&path, "10.0.0.1\n").unwrap();
        let path = path.to_str().unwrap();
        assert_eq!(Disk.read(path, "weir.conf"), Ok(b"10.0.0.1\n".to_vec()));
        assert!(Disk.read("/nonexistent/hosts", "weir.conf").unwrap_err().contains("No such file"));
        assert_eq!(Disk.read("/dev/zero", ""), Err("longer than 67108864 bytes".into()));
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_where_they_stand() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.into_os_string().into_string().unwrap()
        };
        let main = file("weir.conf", b"block\npass # na\xc3\xafve gr\xfc\xdfe\nblok\n");
        let told = |main: &str| {
            let checked = gather(main.as_ref(), Load::default(), &[]).unwrap().checked;
            assert!(checked.rules.is_none());
            checked.diagnostics
        };
        let wrong = "found the byte 0xfc, which is not UTF-8 text";
        let found = told(&main);
        assert_eq!(found.to_string(), format!("{main}:2:16: {wrong}\n"));
        let shown = found.iter().next().unwrap().underlined();
        assert!(shown.starts_with("    pass # na\u{ef}ve gr\u{fffd}"), "{shown}");
        assert_eq!(read(main.as_ref()).unwrap_err().to_string(), format!("{main}:2:16: {wrong}"));

        let hosts = file("hosts", b"10.0.0.1\n10.0.0.2 # K\xfcche\n");
        let web = file("web", b"\xff");
        let main = file(
            "all.conf",
            b"table <t> file \"hosts\"\ninclude \"web\"\nload anchor a from \"web\"\nanchor a\n",
        );
        assert_eq!(
            told(&main).to_string(),
            format!(
                "{hosts}:2:13: {wrong} (included from {main}:1)\n\
                 {web}:1:1: found the byte 0xff, which is not UTF-8 text (included from {main}:2)\n\
                 {web}:1:1: found the byte 0xff, which is not UTF-8 text (included from {main}:3)\n"
            )
        );
    }

    #[test]
    fn errors_name_the_file() {
        let error = read("/nonexistent/weir.conf".as_ref()).unwrap_err();
        assert!(error.to_string().starts_with("/nonexistent/weir.conf: "), "{error}");
    }

    #[test]
    fn everything_that_is_read_is_sent_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let main = file(
            "weir.conf",
            "table <bad> file \"bad\"\ninclude \"web\"\ninclude \"web\"\n\
             load anchor ssh from \"ssh\"\nanchor ssh\n",
        );
        let web = file("web", "pass proto tcp to port $p\n");
        let bad = file("bad", "10.0.0.1\n");
        let ssh = file("ssh", "pass proto tcp to port 22\n");
        let terms = Load { macros: vec!["p=80".into()], ..Load::default() };
        let gathered = gather(main.as_os_str(), terms, &[]).unwrap();
        assert!(gathered.checked.rules.is_some(), "{}", gathered.checked.diagnostics);
        let mut names: Vec<_> = gathered.load.sources.iter().map(|source| &*source.name).collect();
        assert_eq!(names[0], main.to_str().unwrap(), "the rule file first");
        names.sort_unstable();
        let mut wanted = [&bad, &ssh, &web, &main].map(|path| path.to_str().unwrap());
        wanted.sort_unstable();
        assert_eq!(names, wanted);
        assert_eq!(gathered.load.macros, ["p=80"]);
    }
}
