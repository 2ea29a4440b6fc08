//! What the data plane says on its standard streams: kept in a file of a bounded size, and its last words
//! remembered for the console.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, PipeReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Longest line, in bytes; what is longer is cut into pieces.
const LINE: u64 = 4096;

/// Size after which the file is put aside, in bytes, and the one before is dropped.
const SIZE: u64 = 1 << 20;

/// Lines that say that frames are forwarded, or why not, begin so.
const STATUS: [&str; 2] = ["weir: forwarding ", "weir: closed: "];

/// The last line that was said.
#[derive(Clone, Debug, Default)]
pub(super) struct LastWords(Arc<Mutex<String>>);

impl LastWords {
    /// It, without colours and control characters.
    pub(super) fn get(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Keeps what comes through a pipe, on a thread of its own; tells the lines that say that frames
/// are forwarded, or why not.
pub(super) fn keep(
    pipe: PipeReader,
    path: &Path,
    status: impl Fn(String) + Send + 'static,
) -> io::Result<LastWords> {
    let words = LastWords::default();
    let (last, path) = (words.clone(), path.to_owned());
    let keeping = move || {
        let mut lines = BufReader::new(pipe);
        let mut log = Log::new(path);
        let mut line = Vec::new();
        loop {
            line.clear();
            match (&mut lines).take(LINE).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            if !line.ends_with(b"\n") {
                line.push(b'\n');
            }
            log.add(&line);
            let text = plain(&String::from_utf8_lossy(&line));
            if STATUS.iter().any(|begin| text.starts_with(begin)) {
                status(text.clone());
            }
            *last.0.lock().unwrap_or_else(PoisonError::into_inner) = text;
        }
    };
    std::thread::Builder::new().name("weir-log".into()).spawn(keeping)?;
    Ok(words)
}

/// A line without its end, colours and control characters.
fn plain(line: &str) -> String {
    let mut text = String::new();
    let mut chars = line.trim_end().chars();
    while let Some(c) = chars.next() {
        if c == '\x1b' {
            // A sequence ends with a letter.
            chars.by_ref().find(char::is_ascii_alphabetic);
        } else if !c.is_control() {
            text.push(c);
        }
    }
    text
}

/// The file.
struct Log {
    path: PathBuf,
    open: Option<(File, u64)>,
}

impl Log {
    const fn new(path: PathBuf) -> Self {
        Self { path, open: None }
    }

    /// Adds a line, if there is room on the disk: a full one stops nothing.
    fn add(&mut self, line: &[u8]) {
        if self.open.as_ref().is_some_and(|(_, size)| *size + line.len() as u64 > SIZE) {
            self.open = None;
            let _ = fs::rename(&self.path, self.path.with_extension("log.1"));
        }
        if self.open.is_none() {
            self.open = OpenOptions::new()
                .append(true)
                .create(true)
                .open(&self.path)
                .and_then(|file| Ok((file.metadata()?.len(), file)))
                .map(|(size, file)| (file, size))
                .ok();
        }
        if let Some((file, size)) = &mut self.open {
            match file.write_all(line) {
                Ok(()) => *size += line.len() as u64,
                Err(_) => self.open = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn the_file_keeps_to_its_size_and_the_last_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weir.log");
        let mut log = Log::new(path.clone());
        let line = |number: u32| format!("{number:0>1023}\n");
        for number in 0..5000 {
            log.add(line(number).as_bytes());
        }
        let kept = fs::read_to_string(&path).unwrap();
        assert!(kept.len() as u64 <= SIZE && kept.ends_with(&line(4999)));
        let before = fs::metadata(folder.path().join("weir.log.1")).unwrap().len();
        assert!(before <= SIZE && before > SIZE - 1024);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        // Another process of the data plane goes on where the last one was.
        Log::new(path.clone()).add(b"again\n");
        assert!(fs::read_to_string(&path).unwrap().ends_with("9\nagain\n"));
    }

    #[test]
    fn the_last_words_are_known_and_the_status_is_told() {
        let (reader, mut writer) = io::pipe().unwrap();
        let (told, lines) = channel();
        let (done, ended) = channel::<()>();
        let tell = move |line| {
            let _ = told.send(line);
            let _ = &done;
        };
        let words = keep(reader, Path::new("/nonexistent/weir.log"), tell).unwrap();
        writer
            .write_all(b"starts\nweir: forwarding lan=a wan=b\n\x1b[31mERROR\x1b[0m no \x07room\n")
            .unwrap();
        drop(writer);
        assert_eq!(lines.recv().unwrap(), "weir: forwarding lan=a wan=b");
        // The thread ends with the pipe.
        assert!(ended.recv().is_err());
        assert_eq!(words.get(), "ERROR no room");
    }
}
