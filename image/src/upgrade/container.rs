//! An upgrade as a file: the four lines of a minisign signature (prehashed), then what becomes the slot.
//! The signed comment says what it is: `weir VERSION layout LAYOUT size BYTES`.

use std::cmp::Ordering;
use std::fmt;
use std::io::{self, Read};

use minisign_verify::{PublicKey, Signature, StreamVerifier};

/// The longest signature, in bytes.
const MAX_SIGNATURE: usize = 1024;

/// The most that becomes a slot, in bytes: the partition but for its reserve.
pub const MAX_SIZE: u64 = 62 << 20;

/// A version: numbers with dots, and perhaps words behind `-`, which come before none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    numbers: Vec<u64>,
    words: Option<String>,
}

impl Version {
    /// Reads one.
    pub fn parse(text: &str) -> Option<Self> {
        let (numbers, words) = match text.split_once('-') {
            Some((numbers, words)) => (numbers, Some(words)),
            None => (text, None),
        };
        let is_word = |word: &str| {
            !word.is_empty()
                && word.len() <= 32
                && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-+".contains(&byte))
        };
        let is_number = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
        let number = |text| Some(text).filter(is_number)?.parse().ok();
        let numbers: Option<Vec<u64>> = numbers.split('.').map(number).collect();
        let numbers = numbers.filter(|numbers| numbers.len() <= 4)?;
        let words = words.map(|words| is_word(words).then(|| words.to_owned()));
        match words {
            Some(None) => None,
            words => Some(Self { numbers, words: words.flatten() }),
        }
    }

    /// Which of two is older.
    pub fn compare(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (&self.words, &other.words) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(ours), Some(theirs)) => ours.cmp(theirs),
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<_> = self.numbers.iter().map(ToString::to_string).collect();
        f.write_str(&numbers.join("."))?;
        self.words.iter().try_for_each(|words| write!(f, "-{words}"))
    }
}

/// What the beginning of a file says of the rest. It is to be believed once the signature was found
/// right.
#[derive(Clone)]
pub struct Header {
    signature: Signature,
    /// What it becomes.
    pub version: Version,
    /// The layout of disks that it is for.
    pub layout: u32,
    /// Bytes behind the signature.
    pub size: u64,
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "weir {} layout {} size {}", self.version, self.layout, self.size)
    }
}

impl Header {
    /// Takes it off a file.
    ///
    /// # Errors
    /// When the file cannot be read or does not begin like an upgrade.
    pub fn read(from: &mut impl Read) -> io::Result<Self> {
        let wrong = |what: &str| io::Error::other(format!("this is no upgrade of weir: {what}"));
        let mut text = Vec::new();
        let mut lines = 0;
        while lines < 4 {
            let mut byte = [0];
            if text.len() >= MAX_SIGNATURE || from.read(&mut byte)? == 0 {
                return Err(wrong("it does not begin with a signature"));
            }
            lines += usize::from(byte[0] == b'\n');
            text.push(byte[0]);
        }
        let text = str::from_utf8(&text).map_err(|_| wrong("its signature is no text"))?;
        let signature = Signature::decode(text).map_err(|error| wrong(&error.to_string()))?;
        let comment = signature.trusted_comment().to_owned();
        let words: Vec<_> = comment.split(' ').collect();
        let ["weir", version, "layout", layout, "size", size] = words[..] else {
            return Err(wrong("its signature is one of something else"));
        };
        let version = Version::parse(version).ok_or_else(|| wrong("its version is none"))?;
        let layout = layout.parse().map_err(|_| wrong("its layout is none"))?;
        let size = size.parse().map_err(|_| wrong("its size is none"))?;
        if !(1..=MAX_SIZE).contains(&size) {
            return Err(wrong("its size is none that fits"));
        }
        Ok(Self { signature, version, layout, size })
    }

    /// Begins to check what follows.
    ///
    /// # Errors
    /// When another key has signed it.
    pub fn verify<'a>(&'a self, key: &'a PublicKey) -> io::Result<StreamVerifier<'a>> {
        key.verify_stream(&self.signature).map_err(refused)
    }
}

/// In words, why a signature is not right.
pub(super) fn refused(error: minisign_verify::Error) -> io::Error {
    use minisign_verify::Error;
    io::Error::other(match error {
        Error::UnexpectedKeyId => {
            "it is signed with a key that this box does not know: refused".to_owned()
        }
        Error::InvalidSignature => {
            "its signature is wrong, it was damaged or forged: refused".to_owned()
        }
        error => format!("its signature is wrong ({error}): refused"),
    })
}

#[cfg(test)]
#[path = "container_tests.rs"]
pub(crate) mod tests;
