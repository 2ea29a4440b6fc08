//! `antispoof for lan` (pf.conf(5), ANTISPOOF): what claims to come from the networks behind a port
//! may only arrive there. pf takes the networks from the interface's addresses; a bridge has none,
//! so they come from the settings file. The second rule that pf makes, against the interface's own
//! address, has nothing to protect here.

use std::borrow::Cow;

use ipnet::IpNet;
use nom::Err;

use super::grammar::{self, InterfaceItem, list};
use super::lexer::{Kind, Token};
use super::{Reader, shown};

impl Reader<'_, '_> {
    /// `antispoof [log] [quick] for lan [inet|inet6] [label "..."]`: read as the `block` rules that
    /// it stands for.
    pub(super) fn antispoof<'s>(&mut self, words: &[Token<'s>]) {
        let Some(at) = words.iter().position(|word| word.is_word("for")) else {
            let message = "`antispoof` needs a port: `antispoof for lan`";
            return self.report.error_at(&words[0], message, &self.macros);
        };
        let (options, rest) = (&words[1..at], &words[at + 1..]);
        let (rest, ports) = match list(grammar::interface)(rest) {
            Ok(read) => read,
            Err(Err::Error(fault) | Err::Failure(fault)) => {
                return self.fault(fault, std::iter::empty());
            }
            Err(Err::Incomplete(_)) => return self.incomplete(words),
        };
        let (family, rest) = match rest {
            [family, rest @ ..] if family.is_word("inet") || family.is_word("inet6") => {
                (Some(family), rest)
            }
            _ => (None, rest),
        };
        let (label, rest) = match rest {
            [label, text, rest @ ..]
                if label.is_word("label") && matches!(text.kind, Kind::Word | Kind::Quoted) =>
            {
                (Some([label, text]), rest)
            }
            _ => (None, rest),
        };
        if rest[0].kind != Kind::End {
            let message = format!("unexpected {}", shown(&rest[0]));
            let expected = ["inet", "inet6", "label"].map(str::to_owned).to_vec();
            return self.report.expected_at(&rest[0], message, expected, &self.macros);
        }
        for port in &ports {
            let Some(nets) = self.nets_behind(port, family) else { continue };
            let made = |kind, text: &'static str| Token {
                kind,
                text: Cow::Borrowed(text),
                ..words[0].clone()
            };
            let word = |text| made(Kind::Word, text);
            let symbol = |text| made(Kind::Symbol, text);
            let mut rule: Vec<Token<'s>> = vec![word("block"), word("drop"), word("in")];
            rule.extend(options.iter().cloned());
            rule.extend([word("on"), symbol("!"), port.name.clone()]);
            rule.extend(family.cloned());
            rule.extend([word("from"), symbol("{")]);
            rule.extend(nets.iter().map(|net| Token {
                kind: Kind::Quoted,
                text: Cow::Owned(net.to_string()),
                ..port.name.clone()
            }));
            rule.extend([symbol("}"), word("to")]);
            // The last word of the statement, for the place of the whole.
            let last = &words[words.len() - 2];
            rule.push(Token { kind: Kind::Word, text: Cow::Borrowed("any"), ..last.clone() });
            rule.extend(label.into_iter().flatten().cloned());
            rule.push(rest[0].clone());
            self.rule(&rule);
        }
    }

    /// The networks that the settings file puts behind a port.
    fn nets_behind(
        &mut self,
        port: &InterfaceItem<'_, '_>,
        family: Option<&Token<'_>>,
    ) -> Option<Vec<IpNet>> {
        let name = &*port.name.text;
        let known =
            self.environment.prefixes.iter().find(|known| {
                !known.nets.is_empty() && known.names.iter().any(|known| known == name)
            });
        let fits = |net: &&IpNet| match family {
            Some(family) if family.is_word("inet") => matches!(net, IpNet::V4(_)),
            Some(_) => matches!(net, IpNet::V6(_)),
            None => true,
        };
        let nets = known.map(|known| known.nets.iter().filter(fits).copied().collect::<Vec<_>>());
        let message = match nets {
            _ if port.not => "`antispoof` is for a port, not for all others".to_owned(),
            None => format!(
                "`antispoof for {name}` needs to know which networks are behind it: give them as \
                 `lan_prefixes` or `wan_prefixes` in the settings file"
            ),
            Some(nets) if nets.iter().any(|net| net.prefix_len() == 0) => format!(
                "`antispoof for {name}` would block everything on other ports: the settings file \
                 says that all addresses are behind it"
            ),
            Some(nets) if nets.is_empty() => {
                let family = family.map_or("", |family| &*family.text);
                format!("the settings file names no {family} networks behind `{name}`")
            }
            Some(nets) => return Some(nets),
        };
        self.report.error_at(port.name, message, &self.macros);
        None
    }
}
