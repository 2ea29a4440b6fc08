//! The words of pf.conf(5): which begin a statement, which are reserved, which are refused by name
//! and why, and which known word a mistyped one is near to.

/// Why a word that pf knows is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// A bridge without addresses, routes and sockets cannot have it.
    Bridge,
    /// An issue to come adds it.
    Later,
    /// OpenBSD's pf dropped it itself; what to write instead.
    Old(&'static str),
}

use Refusal::{Bridge, Later, Old};

const NAT: &str = "translation is not available on a transparent bridge";

/// Statements that this version refuses.
#[rustfmt::skip]
const STATEMENTS_REFUSED: &[(&str, Refusal)] = &[
    ("queue", Bridge), ("altq", Bridge),
    ("nat", Old(NAT)), ("rdr", Old(NAT)), ("binat", Old(NAT)),
    ("nat-anchor", Old(NAT)), ("rdr-anchor", Old(NAT)), ("binat-anchor", Old(NAT)),
    ("dummynet-anchor", Bridge),
];

/// Words inside a rule that this version refuses.
#[rustfmt::skip]
const REFUSED: &[(&str, Refusal)] = &[
    // What pf does with addresses, routes, sockets and queues of its own.
    ("nat-to", Bridge), ("rdr-to", Bridge), ("binat-to", Bridge), ("af-to", Bridge),
    ("route-to", Bridge), ("reply-to", Bridge), ("dup-to", Bridge), ("fastroute", Bridge),
    ("rtable", Bridge), ("rdomain", Bridge), ("divert-to", Bridge), ("divert-reply", Bridge),
    ("divert-packet", Bridge), ("user", Bridge), ("group", Bridge), ("least-states", Bridge),
    ("round-robin", Bridge), ("source-hash", Bridge), ("random", Bridge), ("bitmask", Bridge),
    ("sticky-address", Bridge), ("static-port", Bridge), ("self", Bridge), ("egress", Bridge),
    ("no-route", Bridge), ("route", Bridge), ("delay", Bridge), ("dnpipe", Bridge),
    ("dnqueue", Bridge), ("bridge-to", Bridge),
    // FreeBSD's.
    ("ridentifier", Later),
    ("set-tos", Old("write `set tos`")),
];

/// Options of `set` that this version refuses.
#[rustfmt::skip]
const OPTIONS_REFUSED: &[(&str, Refusal)] = &[
    ("keepcounters", Old("counters survive a reload anyway")),
    ("require-order", Old("rules and options may stand in any order")),
];

/// Words that only mean something in the parentheses of an option, and that option.
#[rustfmt::skip]
const IN_PARENTHESES: &[(&str, &str)] = &[
    ("max", STATE), ("no-sync", STATE), ("source-track", STATE), ("max-src-states", STATE),
    ("max-src-conn", STATE), ("max-src-conn-rate", STATE), ("max-src-nodes", STATE),
    ("max-idle", STATE), ("min-rate", STATE), ("overload", STATE), ("flush", STATE), ("if-bound", STATE), ("floating", STATE),
    ("sloppy", STATE), ("pflow", STATE),
    ("no-df", SCRUB), ("random-id", SCRUB), ("min-ttl", SCRUB), ("max-mss", SCRUB),
    ("reassemble", SCRUB), ("matches", "log (...)"),
];

const STATE: &str = "keep state (...)";
const SCRUB: &str = "scrub (...)";

/// What `set` takes that may not name a macro, as in pf.
const SET: &[&str] = &[
    "ruleset-optimization",
    "loginterface",
    "debug",
    "fingerprints",
    "syncookies",
    "state-defaults",
];

/// The option in whose parentheses the word belongs.
pub(super) fn parentheses(word: &str) -> Option<&'static str> {
    IN_PARENTHESES.iter().find(|(known, _)| *known == word).map(|(_, option)| *option)
}

fn refused() -> impl Iterator<Item = &'static (&'static str, Refusal)> {
    STATEMENTS_REFUSED.iter().chain(REFUSED).chain(OPTIONS_REFUSED)
}

/// The words of the language that this version takes.
const KNOWN: &[&str] = &[
    "pass",
    "block",
    "match",
    "set",
    "in",
    "out",
    "log",
    "quick",
    "on",
    "inet",
    "inet6",
    "proto",
    "all",
    "from",
    "to",
    "any",
    "port",
    "flags",
    "icmp-type",
    "icmp6-type",
    "code",
    "keep",
    "no",
    "state",
    "label",
    "received-on",
    "urpf-failed",
    "os",
    "tos",
    "prio",
    "max-pkt-rate",
    "modulate",
    "synproxy",
    "probability",
    "fragment",
    "scrub",
    "allow-opts",
    "once",
    "tag",
    "tagged",
    "drop",
    "return",
    "return-rst",
    "return-icmp",
    "return-icmp6",
    "ttl",
    "limit",
    "timeout",
    "block-policy",
    "state-policy",
    "skip",
];

/// The words around rules that this version takes.
const STRUCTURE: &[&str] =
    &["anchor", "load", "table", "include", "antispoof", "file", "for", "ether"];

/// Words that may not name a macro. Some of pf's words only mean something inside parentheses or
/// after `set`, where no name can stand; those are free, as they are in many files.
pub(super) fn is_reserved(word: &str) -> bool {
    const FREE: &[&str] = &[
        "random",
        "max",
        "l3",
        "vlan",
        "egress",
        "matches",
        "delay",
        "floating",
        "bridge-to",
        "optimization",
        "hostid",
        "skip",
    ];
    let known = KNOWN.contains(&word)
        || STRUCTURE.contains(&word)
        || SET.contains(&word)
        || parentheses(word).is_some()
        || refused().any(|&(known, _)| known == word);
    known && !FREE.contains(&word)
}

/// Whether the word cannot be a name or a number in a rule. (`skip` is one of `set` only, and the
/// name of a protocol.)
pub(super) fn is_keyword(word: &str) -> bool {
    word != "skip" && (KNOWN.contains(&word) || STRUCTURE.contains(&word))
}

/// Whether a line that begins with that word is a statement of its own.
pub(super) fn begins_statement(word: &str) -> bool {
    matches!(
        word,
        "pass"
            | "block"
            | "match"
            | "set"
            | "anchor"
            | "table"
            | "antispoof"
            | "include"
            | "load"
            | "ether"
    )
}

/// Whether rules may stand in the braces behind that word.
pub(super) fn opens_block(word: &str) -> bool {
    matches!(word, "anchor" | "rdr-anchor" | "nat-anchor" | "binat-anchor")
}

/// Whether a list may stand behind that word of a rule.
pub(super) fn takes_list(word: &str) -> bool {
    matches!(
        word,
        "on" | "received-on"
            | "proto"
            | "from"
            | "to"
            | "port"
            | "os"
            | "icmp-type"
            | "icmp6-type"
            | "user"
            | "group"
    )
}

/// The message for a word that pf knows and this version refuses.
pub(super) fn refusal(word: &str) -> Option<String> {
    let &(_, refusal) = refused().find(|&&(known, _)| known == word)?;
    Some(match refusal {
        Bridge => format!("`{word}` is not available on a transparent bridge"),
        Later => format!("`{word}` is not built yet"),
        Old(instead) => format!("`{word}` is not part of the language any more: {instead}"),
    })
}

/// Every word that pf's grammar or weir's knows, the refused ones among them.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    let refused = refused().map(|&(word, _)| word);
    let inner = IN_PARENTHESES.iter().map(|&(word, _)| word);
    KNOWN.iter().chain(STRUCTURE).chain(SET).copied().chain(refused).chain(inner)
}

/// Words that can stand in a rule, for near misses.
pub(super) fn rule_words() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().chain(REFUSED.iter().map(|(word, _)| word)).copied()
}

/// Whether the word, at the beginning of a line, is likelier the rest of the line before.
pub(super) fn continues_rule(word: &str) -> bool {
    rule_words().any(|known| known == word) && !STATEMENTS.contains(&word)
}

/// Words that can begin a statement, for near misses.
pub(super) const STATEMENTS: &[&str] =
    &["pass", "block", "set", "match", "anchor", "table", "include", "antispoof", "load", "ether"];

/// pf's word for one of another firewall.
pub(crate) fn synonym(word: &str) -> Option<&'static str> {
    match word {
        "deny" | "reject" | "discard" => Some("block"),
        "allow" | "permit" | "accept" => Some("pass"),
        _ => None,
    }
}

/// Text of a person as messages quote it: bounded and without control characters.
pub(crate) fn shorten(text: &str) -> String {
    const SHOWN: usize = 40;
    let mut shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push_str("...");
    }
    shown
}

/// The known word that a mistyped one was probably meant to be: at most a third of it wrong.
pub(crate) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    if !(2..=32).contains(&word.len()) {
        return None;
    }
    let lower = word.to_ascii_lowercase();
    known
        .filter(|known| known.len().abs_diff(word.len()) <= 2)
        .map(|known| (distance(lower.as_bytes(), known.as_bytes()), known))
        .filter(|&(distance, known)| {
            distance * 3 <= known.len().max(word.len()) && distance < known.len()
        })
        .min_by_key(|&(distance, known)| (distance, known.len().abs_diff(word.len())))
        .map(|(_, known)| known)
}

/// A message with the near miss behind it, if there is one. `mark` is what the word begins with.
pub(crate) fn with_hint(message: String, mark: &str, near: Option<&str>) -> String {
    match near {
        Some(near) => format!("{message}, did you mean `{mark}{near}`?"),
        None => message,
    }
}

/// Damerau and Levenshtein's distance (optimal string alignment): one for a letter that is wrong,
/// missing or too many, or for two letters that changed places.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = vec![i + 1; b.len() + 1];
        for (j, &y) in b.iter().enumerate() {
            let substituted = last[j] + usize::from(x != y);
            row[j + 1] = substituted.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && x == b[j - 1] && a[i - 1] == y {
                row[j + 1] = row[j + 1].min(before[j - 1] + 1);
            }
        }
        before = last;
        last = row;
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses() {
        let near = |word| nearest(word, rule_words());
        assert_eq!(near("kep"), Some("keep"));
        assert_eq!(near("qucik"), Some("quick"));
        assert_eq!(near("form"), Some("from"));
        assert_eq!(near("protp"), Some("proto"));
        assert_eq!(near("xyzzy"), None);
        assert_eq!(near("zz"), None);
    }

    #[test]
    fn no_word_is_both_known_and_refused() {
        for word in KNOWN {
            assert_eq!(refusal(word), None, "{word}");
        }
        assert_eq!(
            refusal("nat-to").as_deref(),
            Some("`nat-to` is not available on a transparent bridge")
        );
        for word in STRUCTURE {
            assert_eq!(refusal(word), None, "{word}");
        }
    }
}
