//! What stands behind `-s states` and `-s Sources`: criteria in the words of rules, order and number.
//!
//! ```text
//! host 192.0.2.1 port 80 state ESTABLISHED sort bytes limit 10
//! from 192.0.2.0/24 to any port https not label "web" idle over 5m count
//! ```

use std::fmt::Display;
use std::str::FromStr;

use ipnet::IpNet;
use weir_config::names::{protocol_by_name, service_by_name};
use weir_config::rules::Address;
use weir_config::tables::TableEntry;

use crate::protocol::{
    Bound, MAX_SORTED, Query, SourceCriterion, SourceOrder, SourceQuery, StateCriterion,
    StateOrder, StateQuery,
};

/// The words that criteria of states begin with, what stands behind each, and what it means.
pub const STATE_WORDS: &[(&str, &str, &str)] = &[
    ("host", "ADDRESS", "either host is this address, or in this prefix"),
    ("from", "ADDRESS [port PORT]", "the initiator, as in rules"),
    ("to", "ADDRESS [port PORT]", "the responder, as in rules"),
    ("port", "PORT", "either port; a service, a number or a range as in 1024:65535"),
    ("proto", "PROTOCOL", "by name or number"),
    ("inet", "", "IPv4"),
    ("inet6", "", "IPv6"),
    ("state", "NAME", "of either end; with a colon of both, as printed"),
    ("rule", "NUMBER", "made by this rule; as printed, also 3.webfarm.0"),
    ("label", "LABEL", "made by a rule with this label"),
    ("on", "PORT", "begun on lan or wan; also the name of an interface"),
    ("vlan", "ID", "with this VLAN id"),
    ("id", "ID", "with this id, as -vvss prints it"),
    ("age", "over|under TIME", "since the first packet; as in 90s, 5m, 2h, 1d"),
    ("idle", "over|under TIME", "since the last packet"),
    ("expires", "over|under TIME", "until it ends if nothing more comes"),
    ("packets", "over|under NUMBER", "of both hosts; as in 10k, 2M, 1G"),
    ("bytes", "over|under NUMBER", "of both hosts"),
    ("rate", "over|under NUMBER", "bytes a second since the first packet"),
];

/// The words that criteria of sources begin with.
pub const SOURCE_WORDS: &[(&str, &str, &str)] = &[
    ("host", "ADDRESS", "this address, or in this prefix"),
    ("inet", "", "IPv4"),
    ("inet6", "", "IPv6"),
    ("rule", "NUMBER", "counted by this rule; as printed, also 3.webfarm.0"),
    ("states", "over|under NUMBER", "states that it has begun"),
    ("connections", "over|under NUMBER", "its connections"),
    ("rate", "over|under NUMBER", "connections that count for max-src-conn-rate"),
    ("age", "over|under TIME", "since its first state"),
];

/// The words that any listing may end with.
pub const ORDER_WORDS: &[(&str, &str, &str)] = &[
    ("not", "CRITERION", "what is not so"),
    ("sort", "WHAT [reverse]", "the largest first"),
    ("limit", "NUMBER", "no more than so many"),
    ("count", "", "only how many there are"),
];

/// What states can be sorted by.
pub const STATE_ORDERS: &[(&str, StateOrder)] = &[
    ("age", StateOrder::Age),
    ("idle", StateOrder::Idle),
    ("expires", StateOrder::Expires),
    ("packets", StateOrder::Packets),
    ("bytes", StateOrder::Bytes),
    ("rate", StateOrder::Rate),
];

/// What sources can be sorted by.
pub const SOURCE_ORDERS: &[(&str, SourceOrder)] = &[
    ("states", SourceOrder::States),
    ("connections", SourceOrder::Connections),
    ("rate", SourceOrder::Rate),
    ("age", SourceOrder::Age),
    ("packets", SourceOrder::Packets),
    ("bytes", SourceOrder::Bytes),
];

/// Reads what stands behind `-s states`.
///
/// # Errors
/// Says which word is wrong, and what was expected.
pub fn states(words: &[String]) -> Result<StateQuery, String> {
    read(words, STATE_WORDS, STATE_ORDERS, state_criterion, |inner| {
        StateCriterion::Not(Box::new(inner))
    })
}

/// Reads what stands behind `-s Sources`.
///
/// # Errors
/// Says which word is wrong, and what was expected.
pub fn sources(words: &[String]) -> Result<SourceQuery, String> {
    read(words, SOURCE_WORDS, SOURCE_ORDERS, source_criterion, |inner| {
        SourceCriterion::Not(Box::new(inner))
    })
}

/// The words that are left.
struct Words<'a>(std::slice::Iter<'a, String>);

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a str> {
        self.0.next().map(String::as_str)
    }

    /// The next word if it is this one.
    fn take(&mut self, word: &str) -> bool {
        let is = self.0.as_slice().first().is_some_and(|next| next == word);
        if is {
            self.0.next();
        }
        is
    }

    /// The word that must stand behind another.
    fn argument(&mut self, of: &str, what: &str) -> Result<&'a str, String> {
        self.next().ok_or_else(|| format!("`{of}` needs {what}"))
    }
}

fn read<C, O: Copy>(
    words: &[String],
    known: &[(&str, &str, &str)],
    orders: &[(&str, O)],
    criterion: impl Fn(&str, &mut Words<'_>, &mut dyn FnMut(C)) -> Result<bool, String>,
    negated: impl Fn(C) -> C,
) -> Result<Query<C, O>, String> {
    let mut words = Words(words.iter());
    let mut query = Query::default();
    while let Some(word) = words.next() {
        match word {
            "and" => {}
            "count" => query.count = true,
            "limit" => query.limit = Some(number(words.argument("limit", "a number")?)?),
            "sort" => {
                let names = || orders.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
                let typed = words.argument("sort", &format!("one of {}", names()))?;
                let found = orders.iter().find(|(name, _)| *name == typed);
                let unknown = || format!("nothing is sorted by `{typed}`: expected {}", names());
                query.sort = Some(found.ok_or_else(unknown)?.1);
                query.reverse = words.take("reverse");
            }
            _ => {
                let not = matches!(word, "not" | "!");
                let word = if not { words.argument(word, "a criterion")? } else { word };
                let before = query.criteria.len();
                let is_known = criterion(word, &mut words, &mut |one| query.criteria.push(one))?;
                if !is_known {
                    let names: Vec<_> =
                        known.iter().chain(ORDER_WORDS).map(|(name, ..)| *name).collect();
                    return Err(format!("`{word}` is no criterion: expected {}", names.join(", ")));
                }
                if not && query.criteria.len() != before + 1 {
                    return Err(format!("`{word}` with `port` is two criteria: negate each"));
                }
                if not && let Some(inner) = query.criteria.pop() {
                    query.criteria.push(negated(inner));
                }
            }
        }
    }
    if query.count && (query.sort.is_some() || query.limit.is_some()) {
        return Err("`count` counts all: it has neither `sort` nor `limit`".into());
    }
    if query.sort.is_some() && query.limit.is_some_and(|limit| limit > MAX_SORTED) {
        return Err(format!("what is sorted is limited to {MAX_SORTED}"));
    }
    Ok(query)
}

/// One criterion, or two for `from ADDRESS port PORT`; `false` if no criterion begins so.
fn state_criterion(
    word: &str,
    words: &mut Words<'_>,
    push: &mut dyn FnMut(StateCriterion),
) -> Result<bool, String> {
    use StateCriterion as Is;
    push(match word {
        "host" => Is::Host(host(words.argument(word, "an address")?)?),
        "from" | "to" => {
            let host_is = if word == "from" { Is::From } else { Is::To };
            let port_is = if word == "from" { Is::FromPort } else { Is::ToPort };
            let mut has_port = words.take("port");
            if !has_port {
                match words.argument(word, "an address")? {
                    "any" => {}
                    typed => push(host_is(host(typed)?)),
                }
                has_port = words.take("port");
            }
            if has_port {
                let (first, last) = ports(words.argument("port", "a port")?)?;
                push(port_is(first, last));
            }
            return Ok(true);
        }
        "port" => {
            let (first, last) = ports(words.argument(word, "a port")?)?;
            Is::Port(first, last)
        }
        "proto" => {
            let typed = words.argument(word, "a protocol")?;
            let known = protocol_by_name(typed).or_else(|| typed.parse().ok());
            Is::Proto(known.ok_or_else(|| format!("unknown protocol `{typed}`"))?)
        }
        "inet" => Is::Ip(4),
        "inet6" => Is::Ip(6),
        "state" => Is::State(words.argument(word, "the name of a state")?.to_owned()),
        "rule" => Is::Rule(words.argument(word, "the number of a rule")?.to_owned()),
        "label" => Is::Label(words.argument(word, "a label")?.to_owned()),
        "on" | "iface" => Is::Interface(words.argument(word, "lan or wan")?.to_owned()),
        "vlan" => Is::Vlan(number(words.argument(word, "a VLAN id")?)?),
        "id" => Is::Id(state_id(words.argument(word, "the id of a state")?)?),
        "age" => Is::Age(bound(word, words, seconds)?),
        "idle" => Is::Idle(bound(word, words, seconds)?),
        "expires" => Is::Expires(bound(word, words, seconds)?),
        "packets" => Is::Packets(bound(word, words, amount)?),
        "bytes" => Is::Bytes(bound(word, words, amount)?),
        "rate" => Is::Rate(bound(word, words, amount)?),
        _ => return Ok(false),
    });
    Ok(true)
}

fn source_criterion(
    word: &str,
    words: &mut Words<'_>,
    push: &mut dyn FnMut(SourceCriterion),
) -> Result<bool, String> {
    use SourceCriterion as Is;
    push(match word {
        "host" => Is::Host(host(words.argument(word, "an address")?)?),
        "inet" => Is::Ip(4),
        "inet6" => Is::Ip(6),
        "rule" => Is::Rule(words.argument(word, "the number of a rule")?.to_owned()),
        "states" => Is::States(bound(word, words, amount)?),
        "connections" => Is::Connections(bound(word, words, amount)?),
        // Tenths are what is counted.
        "rate" => Is::Rate(match bound(word, words, amount)? {
            Bound::Over(number) => Bound::Over(number.saturating_mul(10)),
            Bound::Under(number) => Bound::Under(number.saturating_mul(10)),
        }),
        "age" => Is::Age(bound(word, words, seconds)?),
        _ => return Ok(false),
    });
    Ok(true)
}

/// `over 5m`, `under 10`.
fn bound(
    of: &str,
    words: &mut Words<'_>,
    read: fn(&str) -> Result<u64, String>,
) -> Result<Bound, String> {
    let which = words.argument(of, "`over` or `under` and a number")?;
    let is = match which {
        "over" => Bound::Over,
        "under" => Bound::Under,
        _ => return Err(format!("`{of} {which}`: expected `over` or `under` and a number")),
    };
    read(words.argument(which, "a number")?).map(is)
}

/// An address or a prefix as in rules: 10/8 is 10.0.0.0/8.
///
/// # Errors
/// When it is neither. Names are not looked up.
pub(crate) fn prefix(text: &str) -> Result<IpNet, String> {
    let entry = text.parse::<TableEntry>().ok();
    let entry = entry.filter(|entry| !entry.not && entry.timeout.is_none());
    entry.map(|entry| entry.net).ok_or_else(|| format!("{text}: neither an address nor a prefix"))
}

/// The same as requests name it: an address without a length.
pub(crate) fn host(text: &str) -> Result<String, String> {
    prefix(text).map(|net| Address::Prefix(net).to_string())
}

/// The id of a state, with or without the `/creator` that pfctl takes.
///
/// # Errors
/// When it is none.
pub(crate) fn state_id(text: &str) -> Result<String, String> {
    let id = text.split_once('/').map_or(text, |(id, _)| id);
    u64::from_str_radix(id.trim_start_matches("0x"), 16)
        .map(|id| format!("{id:016x}"))
        .map_err(|_| format!("{text}: not the id of a state"))
}

/// `80`, `http`, `1024:65535`.
fn ports(text: &str) -> Result<(u16, u16), String> {
    let one = |text: &str| {
        let number = text.parse().ok().or_else(|| service_by_name(text));
        number.ok_or_else(|| format!("unknown port `{text}`"))
    };
    let (first, last) = match text.split_once(':') {
        Some((first, last)) => (one(first)?, one(last)?),
        None => (one(text)?, one(text)?),
    };
    if first > last {
        return Err(format!("port {text}: the range ends before it begins"));
    }
    Ok((first, last))
}

/// `90`, `90s`, `5m`, `2h`, `1d`.
fn seconds(text: &str) -> Result<u64, String> {
    scaled(text, &[("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)], "a time as in 90s, 5m, 2h, 1d")
}

/// `1500`, `10k`, `2M`, `1G`.
fn amount(text: &str) -> Result<u64, String> {
    let units = [("k", 1000), ("K", 1000), ("M", 1_000_000), ("G", 1_000_000_000)];
    scaled(text, &units, "a number as in 1500, 10k, 2M, 1G")
}

fn scaled(text: &str, units: &[(&str, u64)], expected: &str) -> Result<u64, String> {
    let unit = units.iter().find_map(|&(unit, scale)| Some((text.strip_suffix(unit)?, scale)));
    let (digits, scale) = unit.unwrap_or((text, 1));
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(scale));
    number.ok_or_else(|| format!("`{text}`: expected {expected}"))
}

fn number<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("`{text}`: {error}"))
}

#[cfg(test)]
mod tests {
    use super::{ORDER_WORDS, SOURCE_WORDS, STATE_WORDS, host, sources, states};
    use crate::protocol::{Bound, SourceCriterion, SourceOrder, StateCriterion as Is, StateOrder};

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(Into::into).collect()
    }

    #[test]
    fn criteria_are_read_as_rules_are() {
        let query = states(&words(
            "host 10.1/16 port http and from 192.0.2.1 port 1024:65535 to any port 443 not state \
             SYN_SENT idle over 5m bytes under 2M ! on wan proto icmp6 inet6",
        ));
        assert_eq!(
            query.unwrap().criteria,
            [
                Is::Host("10.1.0.0/16".into()),
                Is::Port(80, 80),
                Is::From("192.0.2.1".into()),
                Is::FromPort(1024, 65535),
                Is::ToPort(443, 443),
                Is::Not(Box::new(Is::State("SYN_SENT".into()))),
                Is::Idle(Bound::Over(300)),
                Is::Bytes(Bound::Under(2_000_000)),
                Is::Not(Box::new(Is::Interface("wan".into()))),
                Is::Proto(58),
                Is::Ip(6),
            ]
        );
    }

    #[test]
    fn order_and_number_stand_anywhere() {
        let query = states(&words("limit 10 sort bytes label web")).unwrap();
        assert_eq!((query.sort, query.reverse), (Some(StateOrder::Bytes), false));
        assert_eq!((query.limit, query.count, query.most()), (Some(10), false, Some(10)));
        assert_eq!(query.criteria, [Is::Label("web".into())]);
        let query = states(&words("sort age reverse")).unwrap();
        assert_eq!((query.reverse, query.most()), (true, Some(1000)));
        assert!(states(&words("count")).unwrap().count);
        assert_eq!(states(&[]).unwrap().most(), None);
        let query = sources(&words("rate over 5 sort connections")).unwrap();
        assert_eq!(query.criteria, [SourceCriterion::Rate(Bound::Over(50))], "tenths");
        assert_eq!(query.sort, Some(SourceOrder::Connections));
    }

    #[test]
    fn nonsense_is_named() {
        for (line, error) in [
            ("hst 192.0.2.1", "`hst` is no criterion: expected host, from, to, "),
            ("host", "`host` needs an address"),
            ("host web", "web: neither an address nor a prefix"),
            ("host !192.0.2.1", "!192.0.2.1: neither"),
            ("port 80:22", "port 80:22: the range ends"),
            ("port nosuch", "unknown port `nosuch`"),
            ("proto nosuch", "unknown protocol `nosuch`"),
            ("age 60", "`age 60`: expected `over` or `under`"),
            ("age over 1y", "`1y`: expected a time"),
            ("bytes over 99999999999G", "`99999999999G`: expected a number"),
            ("vlan 65536", "`65536`: "),
            ("sort colour", "nothing is sorted by `colour`: expected age, idle"),
            ("sort bytes limit 10001", "what is sorted is limited to 10000"),
            ("limit -1", "`-1`: "),
            ("limit 5 count", "`count` counts all"),
            ("count sort age", "`count` counts all"),
            ("reverse", "`reverse` is no criterion"),
            ("not from 192.0.2.1 port 80", "`from` with `port` is two criteria"),
            ("not", "`not` needs a criterion"),
            ("id xyz", "xyz: not the id of a state"),
        ] {
            let told = states(&words(line)).unwrap_err();
            assert!(told.starts_with(error), "{line}: {told}");
        }
        assert!(sources(&words("port 80")).unwrap_err().starts_with("`port` is no criterion"));
    }

    /// Every word of the tables is one, with what stands behind it.
    #[test]
    fn the_words_are_those_that_are_read() {
        let example = |arguments: &str| {
            arguments
                .replace(" [port PORT]", " port 80")
                .replace(" [reverse]", "")
                .replace("ADDRESS", "192.0.2.1")
                .replace("over|under", "over")
                .replace("TIME", "5m")
                .replace("NUMBER", "5")
                .replace("PORT", "80")
                .replace("PROTOCOL", "tcp")
                .replace("WHAT", "age")
                .replace("CRITERION", "inet")
                .replace("ID", "1")
        };
        for (word, arguments, _) in STATE_WORDS.iter().chain(ORDER_WORDS) {
            states(&words(&format!("{word} {}", example(arguments)))).unwrap();
        }
        for (word, arguments, _) in SOURCE_WORDS.iter().chain(ORDER_WORDS) {
            sources(&words(&format!("{word} {}", example(arguments)))).unwrap();
        }
        assert_eq!(host("10/8").as_deref(), Ok("10.0.0.0/8"));
    }
}
