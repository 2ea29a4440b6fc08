//! What may follow in the criteria of a listing, by the word before: `host` wants an address, `sort` an
//! order. The words themselves are those of [`crate::query`].

use super::pattern::Kind;
use crate::query::{ORDER_WORDS, SOURCE_ORDERS, SOURCE_WORDS, STATE_ORDERS, STATE_WORDS};

/// What can stand at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// One of these.
    Words(Vec<&'static str>),
    /// A name that the daemon knows.
    Named(Kind),
    /// Something that nobody can guess.
    Free,
}

/// The states that ends can be in, as listings print them.
const STATES: [&str; 14] = [
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RCVD",
    "FIN_WAIT_1",
    "FIN_WAIT_2",
    "CLOSE_WAIT",
    "CLOSING",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSED",
    "PROXY:DST",
    "SINGLE",
    "MULTIPLE",
    "NO_TRAFFIC",
];

/// What may stand behind some words in the criteria of states, or of sources.
pub(crate) fn after(words: &[&str], kind: Kind) -> Next {
    let states = kind == Kind::Which;
    let (before, earlier) = match words {
        [.., earlier, before] => (*before, *earlier),
        [before] => (*before, ""),
        [] => ("", ""),
    };
    match before {
        _ if earlier == "sort" => Next::Words(criteria(kind).chain(["reverse"]).collect()),
        "host" | "from" | "to" => Next::Named(Kind::Address),
        "label" if states => Next::Named(Kind::Label),
        "on" if states => Next::Named(Kind::Port),
        "proto" if states => Next::Words(vec!["tcp", "udp", "icmp", "icmp6", "sctp"]),
        "state" if states => Next::Words(STATES.to_vec()),
        "age" | "idle" | "expires" | "packets" | "bytes" | "rate" | "states" | "connections" => {
            Next::Words(vec!["over", "under"])
        }
        "sort" if states => Next::Words(STATE_ORDERS.iter().map(|(word, _)| *word).collect()),
        "sort" => Next::Words(SOURCE_ORDERS.iter().map(|(word, _)| *word).collect()),
        "port" | "rule" | "vlan" | "id" | "limit" | "over" | "under" => Next::Free,
        _ => Next::Words(criteria(kind).collect()),
    }
}

/// The words that may begin the next of them.
fn criteria(kind: Kind) -> impl Iterator<Item = &'static str> {
    explained(kind).map(|(word, ..)| word)
}

/// The words that criteria begin with, what stands behind each, and what it means.
pub(crate) fn explained(
    kind: Kind,
) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let own = match kind {
        Kind::Which => STATE_WORDS,
        Kind::Whose => SOURCE_WORDS,
        _ => &[],
    };
    let orders = if own.is_empty() { &[] } else { ORDER_WORDS };
    own.iter().chain(orders).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_goes_by_the_word_before() {
        let words = |line: &str, kind| {
            let words: Vec<_> = line.split_whitespace().collect();
            match after(&words, kind) {
                Next::Words(words) => words.join(" "),
                other => format!("{other:?}"),
            }
        };
        assert!(words("", Kind::Which).starts_with("host from to port "));
        assert!(words("host 192.0.2.1", Kind::Which).ends_with("not sort limit count"));
        assert_eq!(words("not host", Kind::Which), "Named(Address)");
        assert_eq!(words("rate", Kind::Which), "over under");
        assert!(words("sort", Kind::Which).starts_with("age idle "));
        assert!(words("sort rate", Kind::Which).ends_with(" count reverse"));
        assert!(words("", Kind::Whose).starts_with("host inet "));
        assert_eq!(words("limit", Kind::Whose), "Free");
    }
}
