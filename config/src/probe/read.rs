//! From words to a [`Probe`]. Every word is looked at, so that one run tells all mistakes.

use std::net::IpAddr;

use super::Probe;
use super::cases::By;
use super::words::{Quoted, Word, cut};
use crate::diagnostic::{Diagnostic, Diagnostics, Place, Severity};
use crate::ether::octets;
use crate::names;
use crate::parse::{MAX_TEXT, nearest, shorten, with_hint};
use crate::print::FLAG_LETTERS;
use crate::rules::Family;
use crate::source::Span;

/// The id of ICMP queries whose words name none.
pub(super) const ICMP_ID: u16 = 1;

/// The words of a packet that another follows, and those that stand for themselves.
const WORDS: &[&str] = &[
    "in",
    "on",
    "inet",
    "inet6",
    "proto",
    "from",
    "to",
    "flags",
    "icmp-type",
    "icmp6-type",
    "id",
    "tos",
    "ttl",
    "length",
    "vlan",
    "pppoe",
    "prio",
    "ether",
    "options",
    "fragment",
    "tagged",
    "by",
];

/// Words behind others: not the beginning of anything.
const INNER: &[&str] = &["port", "code"];

/// Words of rules that a packet does not have.
const RULE_WORDS: &[&str] = &[
    "pass",
    "block",
    "match",
    "anchor",
    "quick",
    "log",
    "keep",
    "modulate",
    "synproxy",
    "state",
    "label",
    "drop",
    "return",
    "all",
    "any",
    "no",
    "set",
    "scrub",
    "tag",
    "once",
    "probability",
    "allow-opts",
    "max-pkt-rate",
    "os",
    "received-on",
    "user",
    "group",
];

/// Reads one packet. `name` is what messages call the text.
///
/// # Errors
/// Everything that is wrong with it.
pub fn packet(name: &str, text: &str) -> Result<Probe, Diagnostics> {
    let mut reader = Reader::new(name, text);
    let mut words = Vec::new();
    if text.len() > MAX_TEXT {
        reader.text = "";
        reader.error(Span::default(), format!("more than {MAX_TEXT} bytes are no packet"), &[]);
        return Err(reader.found);
    }
    // Line ends are blanks: a packet may have been pasted.
    let flat;
    reader.line = 1;
    if text.contains('\n') {
        flat = text.replace('\n', " ");
        let mut reader = Reader::new(name, &flat);
        reader.line = 1;
        cut(&flat, 0, 0, &mut words);
        return reader.packet(&words);
    }
    cut(text, 0, 0, &mut words);
    reader.packet(&words)
}

/// Whether a word belongs to a packet.
pub(super) fn is_packet_word(word: &Word<'_>) -> bool {
    word.quoted == Quoted::No && (WORDS.contains(&word.text) || word.is("out"))
}

/// A word as messages name it.
pub(super) fn shown(word: &Word<'_>) -> String {
    let mark = if word.quoted == Quoted::No { '`' } else { '"' };
    format!("{mark}{}{mark}", shorten(word.text))
}

/// What the words have said so far.
#[derive(Default)]
pub(super) struct Seen<'t> {
    /// Index in [`WORDS`] of those that were there.
    there: u32,
    pub(super) port: Option<&'t str>,
    pub(super) family: Option<(Family, Span)>,
    pub(super) protocol: Option<(u8, Span)>,
    /// Addresses and ports of source and destination.
    pub(super) ends: [End; 2],
    pub(super) flags: Option<(u8, Span)>,
    pub(super) icmp: Option<(Family, u8, u8, Span)>,
    pub(super) id: Option<(u16, Span)>,
    pub(super) tos: u8,
    pub(super) ttl: Option<u8>,
    pub(super) length: Option<(u16, Span)>,
    pub(super) vlans: [u16; 2],
    pub(super) session: Option<u16>,
    pub(super) prio: Option<u8>,
    pub(super) macs: [Option<[u8; 6]>; 2],
    pub(super) options: bool,
    pub(super) fragment: bool,
    pub(super) tagged: Option<&'t str>,
    pub(super) by: Option<By>,
}

#[derive(Clone, Copy, Default)]
pub(super) struct End {
    pub(super) address: Option<(IpAddr, Span)>,
    pub(super) port: Option<(u16, Span)>,
}

/// Reads words and collects what is wrong.
pub(super) struct Reader<'t> {
    name: &'t str,
    text: &'t str,
    /// The line at hand, from 1.
    pub(super) line: u32,
    pub(super) found: Diagnostics,
}

/// The words that are left.
struct Left<'w, 't> {
    words: &'w [Word<'t>],
    at: usize,
    /// Behind the last word.
    end: Span,
}

impl<'w, 't> Left<'w, 't> {
    fn peek(&self) -> Option<&'w Word<'t>> {
        self.words.get(self.at)
    }

    fn next(&mut self) -> Option<&'w Word<'t>> {
        let word = self.words.get(self.at)?;
        self.at += 1;
        Some(word)
    }

    fn skip(&mut self, word: &str) -> bool {
        let there = self.peek().is_some_and(|next| next.is(word));
        self.at += usize::from(there);
        there
    }

    /// After a mistake: up to the next word that begins something.
    fn resume(&mut self) {
        while self.peek().is_some_and(|next| !is_packet_word(next)) {
            self.at += 1;
        }
    }
}

impl<'t> Reader<'t> {
    pub(super) fn new(name: &'t str, text: &'t str) -> Self {
        Self { name, text, line: 0, found: Diagnostics::default() }
    }

    pub(super) fn error(&mut self, span: Span, message: impl Into<String>, expected: &[&str]) {
        let before = &self.text[..span.start as usize];
        let line_start = before.rfind('\n').map_or(0, |at| at as u32 + 1);
        let place = Place::in_text(self.name, self.text, (self.line, line_start), span);
        self.found.push(Diagnostic {
            severity: Severity::Error,
            message: message.into(),
            place,
            expected: expected.iter().map(ToString::to_string).collect(),
            notes: Vec::new(),
        });
    }

    fn packet(mut self, words: &[Word<'t>]) -> Result<Probe, Diagnostics> {
        let packet = self.words(words, Span::default(), &mut Seen::default(), false);
        packet.filter(|_| !self.found.has_errors()).ok_or(self.found)
    }

    /// Reads all words of a packet; `behind` is the place before them. `None` after an error.
    pub(super) fn words(
        &mut self,
        words: &[Word<'t>],
        behind: Span,
        seen: &mut Seen<'t>,
        is_case: bool,
    ) -> Option<Probe> {
        let end = words.last().map_or(behind, |last| last.span);
        let end = Span { start: end.end, ..end };
        let mut left = Left { words, at: 0, end };
        let mut sound = true;
        while let Some(word) = left.next() {
            // Each message walks its line: a bound on them is one on the time.
            if self.found.is_full() {
                return None;
            }
            if self.word(word, &mut left, seen, is_case).is_none() {
                sound = false;
                left.resume();
            }
        }
        // What is missing is told of lines whose words are all right: the rest may be a misspelling.
        if !sound {
            return None;
        }
        self.finish(seen, end)
    }

    /// One word with those that belong to it; `None` after an error.
    fn word(
        &mut self,
        word: &Word<'t>,
        left: &mut Left<'_, 't>,
        seen: &mut Seen<'t>,
        is_case: bool,
    ) -> Option<()> {
        let known = WORDS.iter().position(|&known| word.is(known));
        let Some(known) = known.filter(|_| is_case || !word.is("by")) else {
            return self.unknown(word, is_case);
        };
        if seen.there >> known & 1 != 0 {
            self.error(word.span, format!("{} is there twice", shown(word)), &[]);
            return None;
        }
        seen.there |= 1 << known;
        match word.text {
            "in" => {}
            "on" => seen.port = Some(self.interface(left)?),
            "inet" => seen.family = Some((Family::Inet, word.span)),
            "inet6" => seen.family = Some((Family::Inet6, word.span)),
            "proto" => seen.protocol = Some(self.protocol(left)?),
            "from" => self.end(left, &mut seen.ends[0])?,
            "to" => self.end(left, &mut seen.ends[1])?,
            "flags" => seen.flags = Some(self.flags(left)?),
            "icmp-type" => seen.icmp = Some(self.icmp(left, Family::Inet, word.span)?),
            "icmp6-type" => seen.icmp = Some(self.icmp(left, Family::Inet6, word.span)?),
            "id" => {
                let (id, span) = self.number(left, "an id", 0, 65_535)?;
                seen.id = Some((id as u16, span));
            }
            "tos" => seen.tos = self.tos(left)?,
            "ttl" => seen.ttl = Some(self.number(left, "a time to live", 0, 255)?.0 as u8),
            "length" => {
                let (length, span) = self.number(left, "a length", 1, 65_535)?;
                seen.length = Some((length as u16, span));
            }
            "vlan" => seen.vlans = self.vlans(left)?,
            "pppoe" => {
                let (session, _) = self.number(left, "the id of a PPPoE session", 1, 65_534)?;
                seen.session = Some(session as u16);
            }
            "prio" => seen.prio = Some(self.number(left, "a priority", 0, 7)?.0 as u8),
            "ether" => self.ether(left, &mut seen.macs)?,
            "options" => seen.options = true,
            "fragment" => seen.fragment = true,
            "tagged" => seen.tagged = Some(self.tag(left)?),
            _ => seen.by = Some(self.by(left)?),
        }
        Some(())
    }

    fn unknown(&mut self, word: &Word<'t>, is_case: bool) -> Option<()> {
        let shown = shown(word);
        let message = match word.text {
            _ if word.quoted == Quoted::Open => "the quoted string is never closed".to_owned(),
            _ if word.quoted == Quoted::Yes => format!("unexpected {shown}"),
            "out" => {
                "a packet is said where it arrives: `in on` that port; what the rules say where \
                      it leaves is told as well"
                    .to_owned()
            }
            "by" => "`by` belongs to the cases of `weir test`".to_owned(),
            "port" => "`port` stands behind the address in `from` or `to`".to_owned(),
            "code" => "`code` stands behind `icmp-type` or `icmp6-type`".to_owned(),
            "{" | "}" | "(" | ")" | "<" | ">" | "!" | "," | "=" => {
                format!("unexpected {shown}: a packet has one value of each kind")
            }
            "\\" => "a packet stands on one line".to_owned(),
            "$" => "macros are not replaced in packets".to_owned(),
            text if RULE_WORDS.contains(&text) => {
                format!("{shown} is a word of rules; a packet has none of it")
            }
            text if text.parse::<IpAddr>().is_ok() => {
                format!("{shown}: an address stands behind `from` or `to`")
            }
            text if names::protocol_by_name(text).is_some() => {
                format!("unexpected {shown}, did you mean `proto {text}`?")
            }
            text => {
                let known = WORDS.iter().chain(INNER).copied();
                let known = known.filter(|&known| is_case || known != "by");
                let near = nearest(text, known);
                with_hint(format!("unknown word {shown}"), "", near)
            }
        };
        self.error(word.span, message, &[]);
        None
    }

    /// The word that has to follow.
    fn follows<'w>(&mut self, left: &mut Left<'w, 't>, what: &str) -> Option<&'w Word<'t>> {
        match left.peek() {
            Some(word) if word.quoted == Quoted::Open => {
                self.error(word.span, "the quoted string is never closed", &[]);
                left.at += 1;
                None
            }
            Some(word) if !is_packet_word(word) && !INNER.iter().any(|inner| word.is(inner)) => {
                left.at += 1;
                Some(word)
            }
            Some(word) => {
                let message = format!("expected {what}, found {}", shown(word));
                self.error(word.span, message, &[]);
                None
            }
            None => {
                let message = format!("expected {what}, found the end");
                self.error(left.end, message, &[]);
                None
            }
        }
    }

    fn interface(&mut self, left: &mut Left<'_, 't>) -> Option<&'t str> {
        let word = self.follows(left, "`lan`, `wan` or the name of an interface")?;
        let fits = word.text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && word.text.chars().all(|c| c.is_ascii_alphanumeric() || "._-@".contains(c));
        if fits && word.text.len() <= 15 {
            return Some(word.text);
        }
        self.error(word.span, format!("{} is no name of an interface", shown(word)), &[]);
        None
    }

    fn number(
        &mut self,
        left: &mut Left<'_, 't>,
        what: &str,
        min: u32,
        max: u32,
    ) -> Option<(u32, Span)> {
        let word = self.follows(left, what)?;
        let number = self.parsed(word, what, min, max)?;
        Some((number, word.span))
    }

    fn parsed(&mut self, word: &Word<'_>, what: &str, min: u32, max: u32) -> Option<u32> {
        if let Some(number) = number(word.text).filter(|number| (min..=max).contains(number)) {
            return Some(number);
        }
        let message = format!("{} is not {what}: expected {min} to {max}", shown(word));
        self.error(word.span, message, &[]);
        None
    }

    fn protocol(&mut self, left: &mut Left<'_, 't>) -> Option<(u8, Span)> {
        let word = self.follows(left, "a protocol")?;
        if word.text.starts_with(|c: char| c.is_ascii_digit()) && number(word.text).is_some() {
            let number = self.parsed(word, "a protocol", 1, 255)?;
            return Some((number as u8, word.span));
        }
        match names::protocol_by_name(word.text) {
            Some(0) => {
                let message = "`ip` stands for every protocol: a packet has one";
                self.error(word.span, message, &[]);
                None
            }
            Some(number) => Some((number, word.span)),
            None => self.unknown_name(word, "protocol", names::protocol_names()),
        }
    }

    fn unknown_name<T>(
        &mut self,
        word: &Word<'_>,
        what: &str,
        known: impl Iterator<Item = &'static str>,
    ) -> Option<T> {
        if word.is("{") {
            self.error(word.span, "a packet has one value of each kind, no list", &[]);
            return None;
        }
        let near = nearest(word.text, known);
        let message = with_hint(format!("unknown {what} {}", shown(word)), "", near);
        self.error(word.span, message, &[]);
        None
    }

    /// The address behind `from` or `to`, and the port if there is one.
    fn end(&mut self, left: &mut Left<'_, 't>, end: &mut End) -> Option<()> {
        let word = self.follows(left, "an address")?;
        let address = self.address(word);
        if address.is_none() {
            // The port may be wrong as well.
            while left.peek().is_some_and(|next| !next.is("port") && !is_packet_word(next)) {
                left.at += 1;
            }
        }
        end.address = address.map(|address| (address, word.span));
        if left.skip("port") {
            left.skip("=");
            let word = self.follows(left, "a port")?;
            end.port = Some((self.port(word)?, word.span));
        }
        address.map(|_| ())
    }

    fn address(&mut self, word: &Word<'_>) -> Option<IpAddr> {
        if let Ok(address) = word.text.parse() {
            return Some(address);
        }
        let shown = shown(word);
        let one = "a packet has one address on each side";
        let message = match word.text {
            "any" | "all" | "{" | "<" | "!" => format!("{shown}: {one}"),
            text if text.split_once('/').is_some_and(|(net, _)| net.parse::<IpAddr>().is_ok()) => {
                format!("{shown} is a network, and {one}")
            }
            text if text.contains(|c: char| c.is_ascii_alphabetic()) && !text.contains(':') => {
                format!("{shown} is no address: names are not looked up")
            }
            _ => format!("{shown} is no address"),
        };
        self.error(word.span, message, &[]);
        None
    }

    fn port(&mut self, word: &Word<'_>) -> Option<u16> {
        if let Some(number) = number(word.text) {
            if let Ok(port) = u16::try_from(number) {
                return Some(port);
            }
            let message = format!("{} is no port: expected 0 to 65535", shown(word));
            self.error(word.span, message, &[]);
            return None;
        }
        if let Some(port) = names::service_by_name(word.text) {
            return Some(port);
        }
        if word.text.contains(':') || matches!(word.text, "<" | ">" | "!" | "{") {
            let message = format!("{}: a packet has one port on each side", shown(word));
            self.error(word.span, message, &[]);
            return None;
        }
        self.unknown_name(word, "service", names::service_names())
    }

    fn flags(&mut self, left: &mut Left<'_, 't>) -> Option<(u8, Span)> {
        let word = self.follows(left, "TCP flags")?;
        if word.is("none") {
            return Some((0, word.span));
        }
        let mut flags = 0;
        for letter in word.text.chars() {
            let message = match FLAG_LETTERS.chars().position(|known| known == letter) {
                Some(bit) => {
                    flags |= 1 << bit;
                    continue;
                }
                None if letter == '/' => {
                    let set = word.text.split('/').next().unwrap_or_default();
                    format!(
                        "{}: a packet has flags and no mask: write `flags {}`",
                        shown(word),
                        if set.is_empty() { "none" } else { set }
                    )
                }
                None => {
                    format!("{}: flags are letters out of {FLAG_LETTERS}, or `none`", shown(word))
                }
            };
            self.error(word.span, message, &[]);
            return None;
        }
        Some((flags, word.span))
    }

    fn icmp(
        &mut self,
        left: &mut Left<'_, 't>,
        family: Family,
        span: Span,
    ) -> Option<(Family, u8, u8, Span)> {
        let word = self.follows(left, "an ICMP type")?;
        let kind = match names::type_by_name(family, word.text) {
            Some(kind) => kind,
            None if number(word.text).is_some() => self.parsed(word, "an ICMP type", 0, 255)? as u8,
            None => return self.unknown_name(word, "ICMP type", names::type_names(family)),
        };
        if !left.skip("code") {
            return Some((family, kind, 0, span));
        }
        let word = self.follows(left, "an ICMP code")?;
        let code = match names::code_by_name(family, kind, word.text) {
            Some(code) => code,
            None if number(word.text).is_some() => self.parsed(word, "an ICMP code", 0, 255)? as u8,
            None => return self.unknown_name(word, "ICMP code", names::code_names(family, kind)),
        };
        Some((family, kind, code, span))
    }

    fn tos(&mut self, left: &mut Left<'_, 't>) -> Option<u8> {
        let word = self.follows(left, "a type of service")?;
        match word.text {
            "lowdelay" => Some(0x10),
            "throughput" => Some(0x08),
            "reliability" => Some(0x04),
            _ => self.parsed(word, "a type of service", 0, 255).map(|tos| tos as u8),
        }
    }

    /// `5`, or `9.5` for two tags.
    fn vlans(&mut self, left: &mut Left<'_, 't>) -> Option<[u16; 2]> {
        let word = self.follows(left, "a VLAN id")?;
        let id = |text: &str| number(text).filter(|id| (1..=4094).contains(id)).map(|id| id as u16);
        let ids = match word.text.split_once('.') {
            None => id(word.text).map(|id| [id, 0]),
            Some((outer, inner)) => id(outer).zip(id(inner)).map(|(outer, inner)| [outer, inner]),
        };
        if ids.is_none() {
            let message = format!(
                "{} is no VLAN id: expected 1 to 4094, or two of them with a point between",
                shown(word)
            );
            self.error(word.span, message, &[]);
        }
        ids
    }

    /// `from MAC`, `to MAC` or both behind `ether`. The `from` and `to` of IP may follow at once.
    fn ether(&mut self, left: &mut Left<'_, 't>, macs: &mut [Option<[u8; 6]>; 2]) -> Option<()> {
        let start = left.at;
        let mut sound = Some(());
        for (word, mac) in ["from", "to"].into_iter().zip(macs) {
            let behind = left.words.get(left.at + 1);
            if left.at == start || behind.is_some_and(|next| octets(next.text).is_some()) {
                if !left.skip(word) {
                    continue;
                }
                *mac = self.mac(left);
                sound = sound.filter(|()| mac.is_some());
            }
        }
        if left.at == start {
            let end = left.end;
            let span = left.peek().map_or(end, |next| next.span);
            let message = "expected `from` or `to` and a hardware address behind `ether`";
            self.error(span, message, &["from", "to"]);
            return None;
        }
        sound
    }

    fn mac(&mut self, left: &mut Left<'_, 't>) -> Option<[u8; 6]> {
        let word = self.follows(left, "a hardware address")?;
        let mac = octets(word.text);
        if mac.is_none() {
            let message =
                format!("{} is no hardware address: expected aa:bb:cc:dd:ee:ff", shown(word));
            self.error(word.span, message, &[]);
        }
        mac
    }

    fn tag(&mut self, left: &mut Left<'_, 't>) -> Option<&'t str> {
        let word = self.follows(left, "a tag")?;
        if word.text.is_empty() || word.text.len() > 63 || word.is("!") {
            let message = format!("{} is no tag: expected 1 to 63 bytes", shown(word));
            self.error(word.span, message, &[]);
            return None;
        }
        Some(word.text)
    }

    fn by(&mut self, left: &mut Left<'_, 't>) -> Option<By> {
        let word = self.follows(left, "a label in quotes or the number of a rule (`@14`)")?;
        let Some(rule) = word.text.strip_prefix('@').filter(|_| word.quoted == Quoted::No) else {
            if word.quoted == Quoted::No && number(word.text).is_some() {
                let text = word.text;
                let message =
                    format!("the number of a rule is written `@{text}`, a label \"{text}\"");
                self.error(word.span, message, &[]);
                return None;
            }
            return Some(By::Label(word.text.to_owned()));
        };
        let (anchor, text) = rule.rsplit_once('/').unwrap_or(("", rule));
        let anchor = anchor.strip_prefix('/').unwrap_or(anchor);
        if let Some(number) = number(text) {
            return Some(By::Rule { anchor: anchor.to_owned(), number });
        }
        let message = format!(
            "{} is no rule: expected `@14`, or `@anchor/3` for rule 3 of an anchor",
            shown(word)
        );
        self.error(word.span, message, &[]);
        None
    }
}

/// Decimal or `0x` digits.
fn number(text: &str) -> Option<u32> {
    let digits = |text: &str, radix| {
        let fits = !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
        // A number too large for anything is still a number.
        fits.then(|| u32::from_str_radix(text, radix).unwrap_or(u32::MAX))
    };
    match text.strip_prefix("0x") {
        Some(hex) => digits(hex, 16),
        None => digits(text, 10),
    }
}
