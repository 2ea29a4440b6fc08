//! The macros in labels and tags: `$if`, `$srcaddr`, `$dstaddr`, `$srcport`, `$dstport`, `$proto`
//! and `$nr` (pf.conf(5), `label`; pfctl's `expand_label`).

use crate::names;
use crate::rules::{Endpoint, Ports, Rule};

/// pf's `PF_RULE_LABEL_SIZE` and `PF_TAG_NAME_SIZE` less their closing zero.
pub(super) const LONGEST: usize = 63;

/// The names of the macros.
const NAMES: [&str; 7] = ["$if", "$srcaddr", "$dstaddr", "$srcport", "$dstport", "$proto", "$nr"];

/// The first macro in a label that stands where none is replaced.
pub(super) fn first_macro(text: &str) -> Option<&'static str> {
    let found = NAMES.into_iter().filter_map(|name| Some((text.find(name)?, name)));
    found.min().map(|(_, name)| name)
}

/// The text with the macros replaced by what the rule says; `number` is the rule's own.
pub(super) fn replace(text: &str, rule: &Rule, number: usize) -> String {
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        replaced.push_str(&rest[..at]);
        rest = &rest[at..];
        let known: [(&str, &dyn Fn() -> String); 7] = [
            ("$if", &|| match &rule.interface {
                Some(interface) => interface.name.clone(),
                None => "any".to_owned(),
            }),
            ("$srcaddr", &|| label_address(&rule.from)),
            ("$dstaddr", &|| label_address(&rule.to)),
            ("$srcport", &|| label_port(rule.from.port)),
            ("$dstport", &|| label_port(rule.to.port)),
            ("$proto", &|| rule.protocol.map_or_else(|| "ip".to_owned(), names::protocol_text)),
            ("$nr", &|| number.to_string()),
        ];
        if let Some((name, value)) = known.iter().find(|(name, _)| rest.starts_with(name)) {
            replaced.push_str(&value());
            rest = &rest[name.len()..];
        } else {
            replaced.push('$');
            rest = &rest[1..];
        }
    }
    replaced + rest
}

fn label_address(side: &Endpoint) -> String {
    format!("{}{}", if side.not { "! " } else { "" }, side.address)
}

/// As pf writes it: a `28:29` range gives nothing.
fn label_port(port: Option<Ports>) -> String {
    match port {
        None | Some(Ports::Range(..)) => String::new(),
        Some(Ports::Equal(a)) => a.to_string(),
        Some(Ports::NotEqual(a)) => format!("!={a}"),
        Some(Ports::Less(a)) => format!("<{a}"),
        Some(Ports::LessEqual(a)) => format!("<={a}"),
        Some(Ports::Greater(a)) => format!(">{a}"),
        Some(Ports::GreaterEqual(a)) => format!(">={a}"),
        Some(Ports::Inside(a, b)) => format!("{a}><{b}"),
        Some(Ports::Outside(a, b)) => format!("{a}<>{b}"),
    }
}
