//! `-k`, `-K` and `-F`: what is removed, and what pfctl says of it.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use weir_config::names::protocol_by_name;

use super::{Outcome, Session};
use crate::options::FlushWhat;
use crate::protocol::{Command, Flush, Kill, StateCriterion};
use crate::query::{host, prefix, state_id};

impl<W: Write> Session<W> {
    /// `-k`.
    pub(super) fn kill(&mut self) -> Outcome {
        use StateCriterion as Is;
        let typed: Vec<&str> = self.options.kill.iter().map(String::as_str).collect();
        let told = |what: &str, error: String| io::Error::other(format!("-k {what}{error}"));
        let (mut criteria, hosts) = match typed.as_slice() {
            ["id", id] => (vec![Is::Id(state_id(id).map_err(|e| told("id -k ", e))?)], None),
            ["label", label] => (vec![Is::Label((*label).to_owned())], None),
            ["key", key] => (state_key(key).map_err(|e| told("key -k ", e))?, None),
            hosts => {
                let ends = [Is::From, Is::To];
                let criteria = hosts.iter().zip(ends).map(|(typed, end)| Ok(end(host(typed)?)));
                let criteria = criteria.collect::<Result<Vec<_>, _>>();
                (criteria.map_err(|error| told("", error))?, Some(hosts.len() - 1))
            }
        };
        // pf's ids are of one state, on whatever interface it is.
        if !matches!(criteria.as_slice(), [Is::Id(_)]) {
            criteria.extend(self.options.interface.clone().map(Is::Interface));
        }
        let count = self.act(Command::Kill(Kill { criteria }))?.count;
        let whose = hosts.map(|to| format!(" from 1 sources and {to} destinations"));
        let text = format!("killed {count} states{}", whose.unwrap_or_default());
        Ok(self.report("kill", Some(count), &text)?)
    }

    /// `-K`: source tracking entries. Since a bridge sends nobody elsewhere they have no second address,
    /// and listings show `0.0.0.0` or `::` there.
    pub(super) fn kill_sources(&mut self) -> Outcome {
        let told = |error| io::Error::other(format!("-K {error}"));
        let [from, to] = [0, 1].map(|at| self.options.kill_sources.get(at));
        let net = |typed: &String| prefix(typed).map_err(told);
        let Some(from) = from.map(net).transpose()? else { return Ok(()) };
        let to = to.map(net).transpose()?;
        let none = |net: IpNet| match net {
            IpNet::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            IpNet::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let count = match to {
            Some(to) if !to.contains(&none(from)) => 0,
            _ => self.act(Command::KillSources { from: from.to_string() })?.count,
        };
        let to = usize::from(to.is_some());
        let text = format!("killed {count} src nodes from 1 sources and {to} destinations");
        Ok(self.report("kill sources", Some(count), &text)?)
    }

    /// `-F`.
    pub(super) fn flush(&mut self, what: FlushWhat) -> Outcome {
        let each = match what {
            // An anchor has neither states nor statistics of its own.
            FlushWhat::All if !self.options.anchor.is_empty() => {
                &[FlushWhat::Rules, FlushWhat::Tables][..]
            }
            FlushWhat::All => &[
                FlushWhat::Rules,
                FlushWhat::States,
                FlushWhat::Sources,
                FlushWhat::Info,
                FlushWhat::Tables,
            ],
            _ => &[what],
        };
        for what in each {
            let anchor = self.options.anchor.clone();
            let (recursive, interface) = (self.options.recursive, self.options.interface.clone());
            let command = match (what, interface.clone()) {
                (FlushWhat::States, Some(name)) => {
                    Command::Kill(Kill { criteria: vec![StateCriterion::Interface(name)] })
                }
                (FlushWhat::States, None) => Command::Flush(Flush::States),
                (FlushWhat::Rules, _) if anchor.is_empty() && !recursive => {
                    Command::Flush(Flush::Rules)
                }
                (FlushWhat::Rules, _) => Command::Flush(Flush::RulesIn { anchor, recursive }),
                (FlushWhat::Sources, _) => Command::Flush(Flush::Sources),
                (FlushWhat::Reset, _) => Command::Flush(Flush::Options),
                (FlushWhat::Tables, _) => Command::Flush(Flush::Tables { anchor, recursive }),
                (FlushWhat::Info, Some(port)) => Command::Flush(Flush::Port { port }),
                (FlushWhat::Info | FlushWhat::All, _) => Command::Flush(Flush::Info),
            };
            let count = self.act(command)?.count;
            let (done, count, text) = match what {
                FlushWhat::Rules => ("flush rules", None, "rules cleared".to_owned()),
                FlushWhat::States => {
                    ("flush states", Some(count), format!("{count} states cleared"))
                }
                FlushWhat::Sources => {
                    ("flush sources", None, "source tracking entries cleared".to_owned())
                }
                FlushWhat::Reset => ("reset options", None, "weir: options reset".to_owned()),
                FlushWhat::Tables => {
                    ("flush tables", Some(count), format!("{count} tables deleted."))
                }
                FlushWhat::Info | FlushWhat::All => {
                    let of = interface.map(|port| format!(" for interface {port}"));
                    let of = of.unwrap_or_default();
                    ("flush info", None, format!("weir: statistics cleared{of}"))
                }
            };
            self.report(done, count, &text)?;
        }
        Ok(())
    }
}

/// A state as listings print it: `tcp 198.51.100.2:80 <- 192.0.2.1:40000`, or with `->` its initiator
/// first; the name of its port may stand before it, and what its ends are in behind it.
fn state_key(text: &str) -> Result<Vec<StateCriterion>, String> {
    use StateCriterion as Is;
    let expected =
        || format!("{text}: expected a state as listed, `tcp 198.51.100.2:80 <- 192.0.2.1:40000`");
    let words: Vec<&str> = text.split_whitespace().collect();
    let at = words.iter().position(|word| matches!(*word, "<-" | "->")).ok_or_else(expected)?;
    let (before, behind) = (&words[..at], &words[at + 1..]);
    let (interface, protocol, left) = match *before {
        [protocol, left] => (None, protocol, left),
        [interface, protocol, left] => (Some(interface), protocol, left),
        _ => return Err(expected()),
    };
    let ([right] | [right, _]) = *behind else { return Err(expected()) };
    let protocol = protocol_by_name(protocol).or_else(|| protocol.parse().ok());
    let (from, to) = if words[at] == "<-" { (right, left) } else { (left, right) };
    let mut criteria = vec![Is::Proto(protocol.ok_or_else(expected)?)];
    criteria.extend(interface.map(|name| Is::Interface(name.to_owned())));
    let (address, port) = endpoint(from).ok_or_else(expected)?;
    criteria.push(Is::From(address.to_string()));
    criteria.extend(port.map(|port| Is::FromPort(port, port)));
    let (address, port) = endpoint(to).ok_or_else(expected)?;
    criteria.push(Is::To(address.to_string()));
    criteria.extend(port.map(|port| Is::ToPort(port, port)));
    Ok(criteria)
}

/// `192.0.2.1:80`, `2001:db8::1[80]`, or an address alone.
fn endpoint(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(address) = text.parse() {
        return Some((address, None));
    }
    let (address, port) = match text.strip_suffix(']') {
        Some(text) => text.split_once('[')?,
        None => text.rsplit_once(':')?,
    };
    Some((address.parse().ok()?, Some(port.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::state_key;
    use crate::protocol::StateCriterion as Is;

    #[test]
    fn keys_are_states_as_they_are_listed() {
        let wanted = [
            Is::Proto(6),
            Is::From("192.0.2.1".into()),
            Is::FromPort(40000, 40000),
            Is::To("198.51.100.2".into()),
            Is::ToPort(80, 80),
        ];
        for key in [
            "tcp 198.51.100.2:80 <- 192.0.2.1:40000",
            "tcp 192.0.2.1:40000 -> 198.51.100.2:80",
            "6  198.51.100.2:80  <-  192.0.2.1:40000       ESTABLISHED:ESTABLISHED",
        ] {
            assert_eq!(state_key(key).unwrap(), wanted, "{key}");
        }
        assert_eq!(
            state_key("wan ipv6-icmp 2001:db8::2[8] <- 2001:db8::1[8]  0:0").unwrap(),
            [
                Is::Proto(58),
                Is::Interface("wan".into()),
                Is::From("2001:db8::1".into()),
                Is::FromPort(8, 8),
                Is::To("2001:db8::2".into()),
                Is::ToPort(8, 8),
            ]
        );
        assert_eq!(state_key("gre 192.0.2.1 -> 192.0.2.2").unwrap().len(), 3, "no ports");
    }

    #[test]
    fn half_a_key_is_none() {
        for key in [
            "",
            "tcp",
            "tcp 192.0.2.1:80",
            "tcp <- 192.0.2.1:80",
            "192.0.2.1:1 <- 192.0.2.2:2",
            "tcp 192.0.2.1:99999 <- 192.0.2.2:2",
            "tcp x <- y",
            "nosuch 192.0.2.1:1 <- 192.0.2.2:2",
        ] {
            assert!(state_key(key).is_err(), "{key}");
        }
    }
}
