use std::cmp::Ordering;

use minisign_verify::PublicKey;
use proptest::prelude::*;

use super::{Header, Version};

/// Made by minisign 0.11; its secret half is gone.
const KEY: &str = "RWQAfkeXtTmco/jaiPmw9MoEKjQh3ZTrcqdEmhbF9a5b2L4ejM/Mbcnm";

const GOOD: &str = "untrusted comment: signature from minisign secret key\n\
RUQAfkeXtTmco3Ix/YxDmG3zL31d3Pg01pC7HbJ5a94gV74vLXn19PACJB756mYgwqZmyGjIS+t/y50Niam/es1c+gLoQ3UlwAA=\n\
trusted comment: weir 0.2.0 layout 1 size 10000\n\
COA0xI7DZbSQ/FMiXXfn0wMPCm1fR63AmhEfS1xmSIIbbmh+d35RW3up4XejFyZ9mVhUqjMDNF3FZ0VMzyyWAA==\n";

/// Of the same bytes with another key.
const OTHER: &str = "untrusted comment: x\n\
RURvi5bDXbtdqdTcP3LMtRxmBSXxLH4/ciUp5VKCXZZ8Xacp843VzYcTWTUfbUqX2pg9kZyfGIkIgXT/Ljng9NSbfrX7f2435wQ=\n\
trusted comment: weir 0.2.0 layout 1 size 10000\n\
vetkpv3qzorf32/3rz/TUMbU6+hLMEZi99sBO9UGe5MRQ6/8GjPXxJuw6uhMy5AdyRv+YoQ3RKtrSKduMt6KCA==\n";

/// With the first key, not prehashed.
const LEGACY: &str = "untrusted comment: x\n\
RWQAfkeXtTmco8vw77Y85RgPr9dsINVcAaokUzL+SoKh0rDvNHMdD0yAVGqDwwx1ks0lsp/n2qv5PaaUvzjYbvjRlgFAvJv4XAI=\n\
trusted comment: weir 0.2.0 layout 1 size 10000\n\
pIveDphII0oC+0zeCPM1DHolLBtREq6iU1+wWXB2N9wlwupZ7IlMUaOQkUGiS5A0pLr1IzQAIMt/sdTvibcUDA==\n";

pub(crate) fn key() -> PublicKey {
    PublicKey::from_base64(KEY).unwrap()
}

/// What was signed.
pub(crate) fn blob() -> Vec<u8> {
    (0..10_000_u32).map(|at| (at * 7 + at / 256) as u8).collect()
}

/// A whole upgrade.
pub(crate) fn upgrade() -> Vec<u8> {
    [GOOD.as_bytes(), &blob()].concat()
}

/// The header of a file whose comment says something else.
pub(crate) fn saying(comment: &str) -> std::io::Result<Header> {
    Header::read(&mut GOOD.replace("weir 0.2.0 layout 1 size 10000", comment).as_bytes())
}

fn verified(signature: &str, blob: &[u8]) -> Result<(), String> {
    let mut rest = signature.as_bytes();
    let header = Header::read(&mut rest).map_err(|error| error.to_string())?;
    assert!(rest.is_empty());
    let (header, key) = (header, key());
    let mut verifier = header.verify(&key).map_err(|error| error.to_string())?;
    blob.chunks(999).for_each(|chunk| verifier.update(chunk));
    verifier.finalize().map_err(|error| super::refused(error).to_string())
}

#[test]
fn what_minisign_has_signed_is_taken() {
    assert_eq!(verified(GOOD, &blob()), Ok(()));
    let header = Header::read(&mut GOOD.as_bytes()).unwrap();
    assert_eq!(format!("{header:?}"), "weir 0.2.0 layout 1 size 10000");
    // The first line is nobody's business.
    assert_eq!(verified(&GOOD.replace("signature from", "whatever"), &blob()), Ok(()));
}

#[test]
fn what_was_signed_otherwise_or_changed_is_refused() {
    let refused = |signature: &str, blob: &[u8]| verified(signature, blob).unwrap_err();
    let wrong = "its signature is wrong, it was damaged or forged: refused";
    let mut changed = blob();
    changed[9_999] ^= 1;
    assert_eq!(refused(GOOD, &changed), wrong);
    assert_eq!(refused(GOOD, &blob()[..9_999]), wrong);
    for (from, to) in [("0.2.0", "0.3.0"), ("layout 1", "layout 2"), ("10000", "10001")] {
        assert_eq!(refused(&GOOD.replace(from, to), &blob()), wrong, "the comment is signed, too");
    }
    assert!(refused(OTHER, &blob()).contains("a key that this box does not know"));
    assert!(refused(LEGACY, &blob()).contains("non-legacy"), "{}", refused(LEGACY, &blob()));
}

#[test]
fn what_is_no_upgrade_is_said_to_be_none() {
    for (text, said) in [
        ("", "does not begin with a signature"),
        ("a\nb\nc\n", "does not begin with a signature"),
        (&"x".repeat(5000), "does not begin with a signature"),
        ("\n\n\n\n", "this is no upgrade of weir: "),
    ] {
        let wrong = Header::read(&mut text.as_bytes()).unwrap_err().to_string();
        assert!(wrong.contains(said), "{wrong}");
    }
    for comment in [
        "timestamp:1700000000\tfile:weir",
        "weir 0.2.0 layout 1 size 10000 more",
        "weir 0.2 layout x size 1",
        "weir  layout 1 size 1",
        "weir 0.2.0 layout 1 size -1",
        "weir 0.2.0 layout 1 size 0",
        "weir 0.2.0 layout 1 size 65011713",
        "weir 0.2.0\u{1b}[2J layout 1 size 1",
    ] {
        assert!(saying(comment).is_err(), "{comment}");
    }
    assert!(saying("weir 0.2.0-rc.1 layout 1 size 65011712").is_ok());
}

#[test]
fn versions_are_compared_by_their_numbers() {
    let version = |text: &str| Version::parse(text).unwrap();
    let sorted = ["0.1", "0.1.0-rc.1", "0.1.0-rc.2", "0.1.0", "0.2.0", "0.10.0", "1.0.0"];
    for (at, older) in sorted.iter().enumerate() {
        assert_eq!(version(older).to_string(), *older);
        for newer in &sorted[at + 1..] {
            assert_eq!(version(older).compare(&version(newer)), Ordering::Less, "{older} {newer}");
            assert_eq!(version(newer).compare(&version(older)), Ordering::Greater);
        }
        assert_eq!(version(older).compare(&version(older)), Ordering::Equal);
    }
    for odd in ["", "1.", "a", "1..2", "-rc", "1.0-", "1.2.3.4.5", "+1", "99999999999999999999"] {
        assert_eq!(Version::parse(odd), None, "{odd}");
    }
}

proptest! {
    #[test]
    fn no_bytes_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..600), comment in ".{0,40}") {
        let _ = Header::read(&mut &bytes[..]);
        let _ = saying(&comment);
        let _ = Version::parse(&comment);
    }
}
