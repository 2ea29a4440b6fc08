//! Entries of tables as text: the files behind `file "name"`, which may hold a million of them, and
//! single ones. No tokens are made on the way.
//!
//! ```text
//! 192.0.2.0/24            # a network; host bits are cleared
//! 10/8                    ; pf's short form, and its other comment sign
//! !192.0.2.7              # not this one
//! 198.51.100.3 timeout 1h # weir: goes by itself; seconds, or with s, m, h, d
//! ```

use std::net::{IpAddr, Ipv6Addr};
use std::ops::{ControlFlow, Range};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::resolve::{decimal, short_v4};
use super::words::shorten;
use crate::options::Timeouts;
use crate::tables::TableEntry;

/// Reads one entry.
///
/// # Errors
/// In words, if it is none.
pub(crate) fn entry(text: &str) -> Result<TableEntry, String> {
    let mut found = Err("an entry of a table is missing".to_owned());
    let mut count = 0_u32;
    read(text, |_, entry| {
        count += 1;
        found = entry;
        ControlFlow::Continue(())
    });
    if count > 1 { Err(format!("`{}` is more than one entry", shorten(text))) } else { found }
}

/// Reads a text of entries; each gets the bytes it stands in and what is there, until it breaks off.
pub(super) fn read(
    text: &str,
    mut each: impl FnMut(Range<usize>, Result<TableEntry, String>) -> ControlFlow<()>,
) {
    let mut at = 0;
    let text = text.strip_prefix('\u{feff}').map_or(text, |rest| {
        at = text.len() - rest.len();
        rest
    });
    for line in text.split_inclusive('\n') {
        let entries = line.find(['#', ';']).map_or(line, |end| &line[..end]);
        let mut words = Words { line: entries, from: 0 };
        while let Some(range) = words.next_word() {
            let (range, entry) = words.entry(range);
            if each(at + range.start..at + range.end, entry).is_break() {
                return;
            }
        }
        at += line.len();
    }
}

/// The words of a line.
struct Words<'l> {
    line: &'l str,
    from: usize,
}

impl Words<'_> {
    fn next_word(&mut self) -> Option<Range<usize>> {
        let bytes = self.line.as_bytes();
        let start = self.from + bytes[self.from..].iter().position(|b| !b.is_ascii_whitespace())?;
        let length = bytes[start..].iter().position(u8::is_ascii_whitespace);
        self.from = length.map_or(bytes.len(), |length| start + length);
        Some(start..self.from)
    }

    /// The entry that begins with that word.
    fn entry(&mut self, first: Range<usize>) -> (Range<usize>, Result<TableEntry, String>) {
        let mut range = first;
        let not = self.line[range.clone()].starts_with('!');
        if &self.line[range.clone()] == "!" {
            // pf wants it glued; a blank is no reason to refuse.
            if let Some(next) = self.next_word() {
                range.end = next.end;
            }
        }
        let address = self.line[range.clone()].trim_start_matches('!').trim_start();
        let entry = net(address).map(|net| TableEntry { not, net, timeout: None });
        let back = self.from;
        if let Some(next) = self.next_word() {
            if &self.line[next.clone()] == "timeout" {
                range.end = next.end;
                let timeout = match self.next_word() {
                    Some(next) => {
                        range.end = next.end;
                        seconds(&self.line[next])
                    }
                    None => Err("`timeout` needs a number of seconds behind it".to_owned()),
                };
                let entry = entry.and_then(|entry| {
                    timeout.map(|seconds| TableEntry { timeout: Some(seconds), ..entry })
                });
                return (range, entry);
            }
            self.from = back;
        }
        (range, entry)
    }
}

/// `N`, or with `s`, `m`, `h` or `d` behind it: in seconds.
pub(super) fn seconds(text: &str) -> Result<u32, String> {
    let (number, unit) = match text.as_bytes().last() {
        Some(b's') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 60),
        Some(b'h') => (&text[..text.len() - 1], 3600),
        Some(b'd') => (&text[..text.len() - 1], 86_400),
        _ => (text, 1),
    };
    let seconds = decimal(number).map(|number| number.saturating_mul(unit));
    match seconds.and_then(|seconds| u32::try_from(seconds).ok()) {
        Some(seconds) if (1..=Timeouts::MAX_SECONDS).contains(&seconds) => Ok(seconds),
        _ => Err(format!(
            "`{}` is no time-out: expected 1 to {} seconds, or a number with s, m, h or d",
            shorten(text),
            Timeouts::MAX_SECONDS
        )),
    }
}

/// An address or a prefix, its host bits cleared.
fn net(text: &str) -> Result<IpNet, String> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let parsed = address.parse::<IpAddr>().ok();
    let short = bits.is_some().then(|| short_v4(address).map(IpAddr::V4));
    let Some(address) = parsed.or(short.flatten()) else { return Err(no_address(text)) };
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        None => most,
        Some(bits) => match decimal(bits) {
            Some(bits) if bits <= u64::from(most) => bits as u8,
            _ => {
                let shown = shorten(bits);
                return Err(format!("`{shown}` is no prefix length: expected 0 to {most}"));
            }
        },
    };
    let net = match address {
        IpAddr::V4(address) => Ipv4Net::new(address, bits).map(|net| IpNet::V4(net.trunc())),
        IpAddr::V6(address) => Ipv6Net::new(address, bits).map(|net| IpNet::V6(net.trunc())),
    };
    net.map_err(|_| no_address(text))
}

fn no_address(text: &str) -> String {
    let shown = shorten(text);
    let whole = |part: &str| part.parse::<IpAddr>().is_ok();
    if text.is_empty() {
        "an address is missing behind the `!`".to_owned()
    } else if text == "timeout" {
        "`timeout` stands behind an address".to_owned()
    } else if text == "-" || text.split_once('-').is_some_and(|(a, b)| whole(a) && whole(b)) {
        "a table holds addresses and prefixes, no ranges".to_owned()
    } else if text.split_once('%').is_some_and(|(host, _)| host.parse::<Ipv6Addr>().is_ok()) {
        format!("`{shown}`: addresses with a zone are not available on a transparent bridge")
    } else if let Some(short) = short_v4(text) {
        let bits = 8 * text.split('.').count();
        format!("`{shown}` is no whole address: write `{short}`, or `{shown}/{bits}` for a network")
    } else if text.contains(':') || !text.contains(|c: char| c.is_ascii_alphabetic()) {
        format!("`{shown}` is no address")
    } else {
        format!(
            "`{shown}` is no address: names of hosts are not looked up, and ports of a transparent \
             bridge have none"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<(String, String)> {
        let mut found = Vec::new();
        read(text, |range, entry| {
            let entry = entry.map_or_else(|error| error, |entry| entry.to_string());
            found.push((text[range].to_owned(), entry));
            ControlFlow::Continue(())
        });
        found
    }

    #[test]
    fn files_are_read_as_pf_reads_them() {
        let text = "\u{feff}# c\r\n10.0.0.1\r\n\r\n  !192.0.2.77/24 # why\n2001:DB8::/32;x\n! ::1\n10/8 \
                    1.2.3.4 timeout 2h 5.6.7.8";
        let entries: Vec<_> = all(text).into_iter().map(|(_, entry)| entry).collect();
        assert_eq!(
            entries,
            [
                "10.0.0.1",
                "!192.0.2.0/24",
                "2001:db8::/32",
                "!::1",
                "10.0.0.0/8",
                "1.2.3.4 timeout 7200",
                "5.6.7.8"
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let found =
            all("10.0.0.1-10.0.0.9\nhost.example\n10.1\n1.2.3.4/33\n1.2.3.4 timeout 0\n!\n\
                         fe80::1%lan\n");
        let wrong: Vec<_> = found.iter().map(|(at, error)| format!("{at}|{error}")).collect();
        assert_eq!(
            wrong,
            [
                "10.0.0.1-10.0.0.9|a table holds addresses and prefixes, no ranges",
                "host.example|`host.example` is no address: names of hosts are not looked up, and \
                 ports of a transparent bridge have none",
                "10.1|`10.1` is no whole address: write `10.1.0.0`, or `10.1/16` for a network",
                "1.2.3.4/33|`33` is no prefix length: expected 0 to 32",
                "1.2.3.4 timeout 0|`0` is no time-out: expected 1 to 2592000 seconds, or a number \
                 with s, m, h or d",
                "!|an address is missing behind the `!`",
                "fe80::1%lan|`fe80::1%lan`: addresses with a zone are not available on a \
                 transparent bridge",
            ]
        );
    }

    #[test]
    fn one_entry_by_itself() {
        assert_eq!(entry(" !10.0.0.1/8 ").map(|entry| entry.to_string()), Ok("!10.0.0.0/8".into()));
        assert!(entry("").is_err() && entry("1.1.1.1 2.2.2.2").is_err());
    }
}
