//! A kept load as a file: one line of JSON that says what it is, and one that holds what makes the
//! rule set. The first line has the length and a digest of the second, so that a listing reads first
//! lines only, and damage is noticed before anything is put in force.

use std::fs::File;
use std::hash::Hasher;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use siphasher::sip128::{Hasher128, SipHasher24};
use weir_shell::protocol::{Entry, Fate, Load};

use crate::clock::Date;

/// The longest first line that is read; a comment of the longest, all of it escaped, fits.
const MAX_HEADER: u64 = 64 << 10;

/// The longest file that is read, which is more than a request can be.
const MAX_FILE: u64 = 1 << 30;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header {
    /// Version of this format: 1.
    format: u32,
    /// Its number; the file's name has it, too.
    pub(super) number: u64,
    time: u64,
    by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    what: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    comment: String,
    rules: u64,
    /// Length of the second line, its newline not counted.
    pub(super) length: u64,
    /// Of the second line.
    pub(super) digest: String,
}

/// What is known of a load before it gets a number.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Seconds since 1970.
    pub time: u64,
    /// Who.
    pub by: String,
    /// The user's id.
    pub uid: Option<u32>,
    /// What was done.
    pub what: String,
    /// Why.
    pub comment: String,
    /// Rules in force.
    pub rules: u64,
}

/// What a rule set is made of, in the form in which it is kept.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) text: Vec<u8>,
    pub(super) digest: String,
}

impl Body {
    pub(super) fn new(loads: &[Load]) -> io::Result<Self> {
        let text = serde_json::to_vec(loads)?;
        let digest = digest(&text);
        Ok(Self { text, digest })
    }
}

impl Header {
    pub(super) fn new(number: u64, origin: Origin, body: &Body) -> Self {
        let Origin { time, by, uid, what, comment, rules } = origin;
        let (length, digest) = (body.text.len() as u64, body.digest.clone());
        Self { format: 1, number, time, by, uid, what, comment, rules, length, digest }
    }

    /// Whether that is what it is the header of.
    pub(super) fn is_of(&self, body: &Body) -> bool {
        (self.length, &self.digest) == (body.text.len() as u64, &body.digest)
    }

    pub(super) fn entry(self, fate: Fate) -> Entry {
        let Self { number, time, by, uid, what, comment, rules, length: bytes, .. } = self;
        let date = Date::since_epoch(Duration::from_secs(time)).to_seconds();
        Entry { number, time, date, by, uid, what, comment, rules, bytes, fate }
    }
}

/// Both lines.
pub(super) fn text(header: &Header, body: &Body) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(header)?;
    text.reserve_exact(body.text.len() + 2);
    text.push(b'\n');
    text.extend_from_slice(&body.text);
    text.push(b'\n');
    Ok(text)
}

/// The first line of a file whose name has that number, if the length is right.
pub(super) fn read_header(path: &Path, number: u64) -> io::Result<Header> {
    open(path, number).map(|(header, _)| header)
}

/// All of a file.
pub(super) fn read(path: &Path, number: u64) -> io::Result<(Header, Vec<Load>)> {
    let (header, rest) = open(path, number)?;
    let mut body = Vec::new();
    rest.take(header.length).read_to_end(&mut body)?;
    if digest(&body) != header.digest {
        return Err(io::Error::other("damaged: what is kept is not what was written"));
    }
    let loads = serde_json::from_slice(&body)?;
    Ok((header, loads))
}

fn open(path: &Path, number: u64) -> io::Result<(Header, BufReader<File>)> {
    // Neither a link out of the directory nor a FIFO, which would hold the start up.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    let size = found.len();
    if !found.is_file() || size > MAX_FILE {
        return Err(io::Error::other("damaged: no file, or larger than any that is kept"));
    }
    let mut rest = BufReader::new(file);
    let mut line = Vec::new();
    rest.by_ref().take(MAX_HEADER).read_until(b'\n', &mut line)?;
    let header: Header = serde_json::from_slice(&line)
        .map_err(|error| io::Error::other(format!("damaged: {error}")))?;
    if header.format != 1 {
        let text = format!("of format {}, which this weir does not read", header.format);
        return Err(io::Error::other(text));
    }
    let whole = Some(header.length).and_then(|length| length.checked_add(line.len() as u64 + 1));
    if header.number != number || whole != Some(size) {
        return Err(io::Error::other("damaged: number or length are not those that were written"));
    }
    Ok((header, rest))
}

/// SipHash-2-4 with 128 bits and no key: it tells damage, not forgery. Only root writes there.
fn digest(bytes: &[u8]) -> String {
    let mut hasher = SipHasher24::new();
    hasher.write(bytes);
    format!("{:032x}", hasher.finish128().as_u128())
}
