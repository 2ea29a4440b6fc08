//! From words to numbers: addresses, ports, names, flags. Every word is looked at, so that a list
//! with three mistakes gives three messages.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::filter::{Flags as FlagsSpec, Icmp};
use super::grammar::{Answer, Host, HostKind, HostRest, InterfaceItem, LogItem, Port};
use super::lexer::{Kind, Token};
use super::macros::Macros;
use super::report::Report;
use super::words::{nearest, refusal, shorten, with_hint};
use crate::names;
use crate::rules::{Address, Family, Flags, IcmpMatch, Interface, Log, Ports, Return, Source};

/// An address with what it implies.
#[derive(Clone, Debug)]
pub(super) struct ResolvedHost {
    pub(super) not: bool,
    pub(super) address: Address,
    /// The family that the address brings with it; `any` brings none, `0/0` does.
    pub(super) family: Option<Family>,
}

/// Looks words up and reports what is none.
pub(super) struct Resolver<'r, 's> {
    pub(super) report: &'r mut Report<'s>,
    pub(super) macros: &'r Macros,
}

/// What a word could not be; said already.
pub(super) type Resolved<T> = Option<T>;

impl Resolver<'_, '_> {
    /// Says something about a word that spoils nothing.
    pub(super) fn warning(&mut self, at: &Token<'_>, message: String) {
        self.report.warning(at.span, message);
    }

    pub(super) fn error<T>(&mut self, at: &Token<'_>, message: impl Into<String>) -> Resolved<T> {
        self.report.error_at(at, message, self.macros);
        None
    }

    /// Where a rule or option that begins with that word stands.
    pub(super) fn source(&self, at: &Token<'_>) -> Source {
        let span = at.span;
        Source { file: span.file, line: self.report.sources.line(span.file, span.start) }
    }

    /// Every item, or nothing if one is wrong.
    pub(super) fn all<I, T>(
        &mut self,
        items: &[I],
        mut one: impl FnMut(&mut Self, &I) -> Resolved<T>,
    ) -> Resolved<Vec<T>> {
        let mut all = Some(Vec::with_capacity(items.len()));
        for item in items {
            if self.report.found.is_full() {
                return None;
            }
            match (one(self, item), &mut all) {
                (Some(value), Some(list)) => list.push(value),
                (Some(_), None) => {}
                (None, _) => all = None,
            }
        }
        all
    }

    /// A word that is in no table: a hint if it is near to one.
    fn unknown<T>(
        &mut self,
        at: &Token<'_>,
        what: &str,
        known: impl Iterator<Item = &'static str>,
    ) -> Resolved<T> {
        let message = format!("unknown {what} `{}`", shorten(&at.text));
        let known = known.take(if self.report.found.is_full() { 0 } else { usize::MAX });
        let message = with_hint(message, "", nearest(&at.text, known));
        self.error(at, message)
    }

    /// A decimal number up to `max`.
    pub(super) fn number(&mut self, at: &Token<'_>, what: &str, max: u32) -> Resolved<u32> {
        match decimal(&at.text) {
            Some(number) if number <= u64::from(max) => Some(number as u32),
            _ => {
                let message =
                    format!("`{}` is no {what}: expected a number up to {max}", shorten(&at.text));
                self.error(at, message)
            }
        }
    }

    pub(super) fn interface(&mut self, item: &InterfaceItem<'_, '_>) -> Resolved<Interface> {
        let name = self.interface_name(item.name)?;
        Some(Interface { not: item.not, name })
    }

    pub(super) fn interface_name(&mut self, at: &Token<'_>) -> Resolved<String> {
        const LONGEST: usize = 15; // IFNAMSIZ less its closing zero
        let name = &*at.text;
        if matches!(name, "egress" | "self") {
            return self.error(at, refusal(name)?);
        }
        let mut characters = name.chars();
        let fits = characters.next().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
            && characters.all(|c| c.is_ascii_alphanumeric() || "._-@".contains(c));
        if name.contains('$') {
            let message = format!(
                "`{}`: a macro is only replaced where it stands by itself, not inside a word",
                shorten(name)
            );
            return self.error(at, message);
        }
        if let Some((interface, modifier)) = name.split_once(':') {
            let message = format!(
                "`:{}` asks for the addresses of `{}`, which a transparent bridge has not",
                shorten(modifier),
                shorten(interface)
            );
            return self.error(at, message);
        }
        if !fits || super::words::is_keyword(name) {
            return self.error(at, format!("`{}` is no name of an interface", shorten(name)));
        }
        if name.len() > LONGEST {
            let message = format!(
                "the interface name `{}` is longer than {LONGEST} characters",
                shorten(name)
            );
            return self.error(at, message);
        }
        Some(name.to_owned())
    }

    /// `Some(None)` is protocol 0, which stands for any in pf.
    pub(super) fn protocol(&mut self, at: &Token<'_>) -> Resolved<Option<u8>> {
        let number = if starts_with_digit(&at.text) && decimal(&at.text).is_some() {
            self.number(at, "protocol", 255)? as u8
        } else {
            match names::protocol_by_name(&at.text) {
                Some(number) => number,
                None => return self.unknown(at, "protocol", names::protocol_names()),
            }
        };
        Some((number != 0).then_some(number))
    }

    pub(super) fn host(&mut self, host: &Host<'_, '_>) -> Resolved<ResolvedHost> {
        let Host { not, kind, first, rest } = host;
        let not = not.is_some();
        match kind {
            HostKind::Address => {}
            HostKind::Table => {
                let address = Address::Table(self.table_name(first)?);
                return Some(ResolvedHost { not, address, family: None });
            }
            HostKind::Dynamic => {
                let message = format!(
                    "`({})`: the ports of a transparent bridge have no addresses, write the \
                     prefix itself",
                    shorten(&first.text)
                );
                return self.error(first, message);
            }
        }
        if first.is_word("any") {
            if not {
                return self.error(first, "`! any` matches nothing");
            }
            return match rest {
                HostRest::None => Some(ResolvedHost { not, address: Address::Any, family: None }),
                HostRest::Mask(at) | HostRest::RangeEnd(at) => {
                    self.error(at, "nothing can be added to `any`")
                }
            };
        }
        if first.is_word("urpf-failed") {
            return match rest {
                HostRest::None => {
                    Some(ResolvedHost { not, address: Address::UrpfFailed, family: None })
                }
                _ => self.error(first, "nothing can be added to `urpf-failed`"),
            };
        }
        let (address, family) = match rest {
            HostRest::None if first.kind == Kind::Quoted && first.text.contains('/') => {
                // In quotes the whole prefix is one word.
                let (network, length) = first.text.split_once('/')?;
                let part = |text: &str| Token { text: text.to_owned().into(), ..(*first).clone() };
                self.masked(&part(network), &part(length))?
            }
            HostRest::None => {
                let address = self.address(first)?;
                (prefix(address, full(address))?, family_of(address))
            }
            HostRest::Mask(mask) => self.masked(first, mask)?,
            HostRest::RangeEnd(last) => {
                let (low, high) = (self.address(first), self.address(last));
                let (low, high) = (low?, high?);
                if family_of(low) != family_of(high) {
                    return self.error(last, "the ends of the range are of different families");
                }
                if low > high {
                    let message = format!("the range is empty: {high} comes before {low}");
                    return self.error(last, message);
                }
                (Address::Range(low, high), family_of(low))
            }
        };
        if not && address == Address::Any {
            return self.error(first, "`!` before all addresses of a family matches nothing");
        }
        Some(ResolvedHost { not, address, family: Some(family) })
    }

    /// A host behind `to`.
    pub(super) fn destination(&mut self, host: &Host<'_, '_>) -> Resolved<ResolvedHost> {
        if host.first.is_word("urpf-failed") && host.kind == HostKind::Address {
            return self
                .error(host.first, "`urpf-failed` is said of sources: it stands behind `from`");
        }
        self.host(host)
    }

    /// `address/bits`, also in pf's short form: `10/8`, `192.168/16`.
    fn masked(&mut self, at: &Token<'_>, mask: &Token<'_>) -> Resolved<(Address, Family)> {
        let address = match short_v4(&at.text) {
            Some(address) => Some(IpAddr::V4(address)),
            None => self.address(at),
        };
        let longest = address.map_or(128, full);
        let bits = self.number(mask, "prefix length", u32::from(longest));
        let (address, bits) = (address?, bits?);
        Some((prefix(address, bits as u8)?, family_of(address)))
    }

    fn address(&mut self, at: &Token<'_>) -> Resolved<IpAddr> {
        let text = &*at.text;
        if let Ok(address) = text.parse() {
            return Some(address);
        }
        let shown = shorten(text);
        if at.kind == Kind::Word && text == "self" {
            let message = "`self` is not available on a transparent bridge, which has no addresses: \
                           write those of the hosts that are meant";
            return self.error(at, message);
        }
        if at.kind == Kind::Word
            && let Some(message) = refusal(text)
        {
            return self.error(at, message);
        }
        let message = if text.contains('$') {
            format!("`{shown}`: a macro is only replaced where it stands by itself")
        } else if let Some((host, zone)) = text.split_once('%')
            && host.parse::<Ipv6Addr>().is_ok()
        {
            format!("`%{zone}`: addresses with a zone are not available on a transparent bridge")
        } else if let Some((low, high)) = text.split_once('-')
            && (low.parse::<IpAddr>().is_ok()
                && (high.is_empty() || high.parse::<IpAddr>().is_ok()))
        {
            format!("`{shown}`: put blanks around the `-` of a range")
        } else if let Some(short) = short_v4(text) {
            let bits = 8 * text.split('.').count();
            format!(
                "`{shown}` is no whole address: write `{short}`, or `{shown}/{bits}` for a network"
            )
        } else if let Some((port, "network" | "broadcast" | "peer" | "0")) = text.rsplit_once(':')
            && !port.contains(':')
        {
            format!(
                "`{shown}`: the ports of a transparent bridge have no addresses, write the prefix \
                 itself"
            )
        } else if text.contains(':') || !text.contains(|c: char| c.is_ascii_alphabetic()) {
            format!("`{shown}` is no address")
        } else if matches!(text, "lan" | "wan") {
            format!(
                "`{shown}` is no address: the ports of a transparent bridge have none, write the \
                 prefix behind it, or `on {shown}`"
            )
        } else if text.contains('.') {
            format!(
                "`{shown}` is no address: names of hosts are not looked up, since rules must not \
                 hang on DNS; write its addresses, or a table"
            )
        } else {
            format!(
                "`{shown}` is no address: names of hosts and interfaces stand for none on a \
                 transparent bridge, write the addresses or a table"
            )
        };
        self.error(at, message)
    }

    pub(super) fn port(&mut self, port: &Port<'_, '_>) -> Resolved<Ports> {
        let Port { operator, first, second } = port;
        if let Some((low, high)) = first.text.split_once(':') {
            if let Some(operator) = operator {
                return self.error(operator, "a range with `:` cannot have another port operator");
            }
            let (a, b) = (self.port_number(first, low), self.port_number(first, high));
            let (a, b) = (a?, b?);
            return match a.cmp(&b) {
                std::cmp::Ordering::Less => Some(Ports::Range(a, b)),
                std::cmp::Ordering::Equal => Some(Ports::Equal(a)),
                std::cmp::Ordering::Greater => {
                    self.error(first, format!("the port range is empty: {b} comes before {a}"))
                }
            };
        }
        let a = self.port_number(first, &first.text);
        if let (Some(operator), Some(second)) = (operator, second) {
            let b = self.port_number(second, &second.text);
            let (a, b) = (a?, b?);
            if a > b {
                let message = format!("the port range is empty: {b} comes before {a}");
                return self.error(second, message);
            }
            return Some(match &*operator.text {
                "><" => Ports::Inside(a, b),
                _ => Ports::Outside(a, b),
            });
        }
        let a = a?;
        Some(match operator.map(|operator| &*operator.text) {
            None | Some("=") => Ports::Equal(a),
            Some("!=") => Ports::NotEqual(a),
            Some("<") => Ports::Less(a),
            Some("<=") => Ports::LessEqual(a),
            Some(">") => Ports::Greater(a),
            Some(_) => Ports::GreaterEqual(a),
        })
    }

    /// A port as decimal or `0x` number or as the name of a service; `at` is where the message goes.
    fn port_number(&mut self, at: &Token<'_>, text: &str) -> Resolved<u16> {
        let number = match text.strip_prefix("0x") {
            Some(hex) if !hex.is_empty() && hex.len() <= 8 => u64::from_str_radix(hex, 16).ok(),
            _ => decimal(text),
        };
        if let Some(number) = number {
            if let Ok(port) = u16::try_from(number) {
                return Some(port);
            }
            return self.error(at, format!("`{}` is no port: expected 0 to 65535", shorten(text)));
        }
        if let Some(port) = names::service_by_name(text) {
            return Some(port);
        }
        if text.is_empty() {
            return self.error(at, "a port range needs a port on both sides of the `:`");
        }
        let message = format!("unknown service `{}`", shorten(text));
        if self.report.found.is_full() {
            return self.error(at, message);
        }
        let message = with_hint(message, "", nearest(text, names::service_names()));
        self.error(at, message)
    }

    /// `None` inside is `flags any`.
    pub(super) fn flags(&mut self, spec: &FlagsSpec<'_, '_>) -> Resolved<Flags> {
        let Some((set, of)) = spec.masks else { return Some(Flags { set: 0, of: 0 }) };
        let on = set.map_or(Some(0), |set| self.flag_letters(set));
        let of = self.flag_letters(of);
        let (on, of) = (on?, of?);
        if on & !of != 0 {
            let at = set.unwrap_or(spec.keyword);
            return self
                .error(at, "these flags never match: one that must be set is not looked at");
        }
        Some(Flags { set: on, of })
    }

    fn flag_letters(&mut self, at: &Token<'_>) -> Resolved<u8> {
        let mut bits = 0;
        for letter in at.text.chars() {
            let Some(bit) = crate::print::FLAG_LETTERS.chars().position(|known| known == letter)
            else {
                let message = format!(
                    "`{}`: flags are letters out of {}, or `any`",
                    shorten(&at.text),
                    crate::print::FLAG_LETTERS
                );
                return self.error(at, message);
            };
            bits |= 1 << bit;
        }
        if bits == 0 {
            return self.error(at, "no flags: `flags any` looks at none");
        }
        Some(bits)
    }

    pub(super) fn icmp(&mut self, icmp: &Icmp<'_, '_>) -> Resolved<(Family, Vec<IcmpMatch>)> {
        let family = if icmp.keyword.text == "icmp6-type" { Family::Inet6 } else { Family::Inet };
        let items = self.all(&icmp.items, |resolver, item| {
            let kind = resolver.icmp_type(item.kind, family)?;
            let code = match item.code {
                Some(code) => Some(resolver.icmp_code(code, family, kind)?),
                None => None,
            };
            Some(IcmpMatch { kind, code })
        })?;
        Some((family, items))
    }

    fn icmp_type(&mut self, at: &Token<'_>, family: Family) -> Resolved<u8> {
        if starts_with_digit(&at.text) && decimal(&at.text).is_some() {
            return self.number(at, "ICMP type", 255).map(|number| number as u8);
        }
        names::type_by_name(family, &at.text)
            .or_else(|| self.unknown(at, "ICMP type", names::type_names(family)))
    }

    fn icmp_code(&mut self, at: &Token<'_>, family: Family, kind: u8) -> Resolved<u8> {
        if starts_with_digit(&at.text) {
            return self.number(at, "ICMP code", 255).map(|number| number as u8);
        }
        names::code_by_name(family, kind, &at.text).or_else(|| {
            let of = names::type_name(family, kind)
                .map_or_else(|| format!("type {kind}"), |name| format!("type `{name}`"));
            let what = format!("code of ICMP {of}:");
            self.unknown(at, &what, names::code_names(family, kind))
        })
    }

    pub(super) fn answer(&mut self, answer: &Answer<'_, '_>) -> Resolved<Return> {
        match answer {
            Answer::Drop => Some(Return::Drop),
            Answer::Return => Some(Return::Auto),
            Answer::Rst { ttl: None } => Some(Return::Rst { ttl: None }),
            Answer::Rst { ttl: Some(ttl) } => {
                let ttl = self.number(ttl, "time to live", 255)? as u8;
                // pf's 0 is its default.
                Some(Return::Rst { ttl: (ttl != 0).then_some(ttl) })
            }
            Answer::Icmp { v4, v6 } => {
                let code = |resolver: &mut Self, at: Option<&Token<'_>>, family| match at {
                    Some(at) => resolver.icmp_code(at, family, Return::unreachable_type(family)),
                    None => Some(Return::port_unreachable(family)),
                };
                let (v4, v6) = (code(self, *v4, Family::Inet), code(self, *v6, Family::Inet6));
                Some(Return::Icmp { v4: Some(v4?), v6: Some(v6?) })
            }
        }
    }

    pub(super) fn log(&mut self, items: &[LogItem<'_, '_>]) -> Resolved<Log> {
        let mut log = Log::default();
        self.all(items, |resolver, LogItem { word, target }| {
            match (&*word.text, target) {
                (_, Some(target)) => log.to = resolver.log_interface(target)?,
                ("all", _) => log.all = true,
                ("matches", _) => log.matches = true,
                ("user", _) => {
                    let message = "`user` is not available on a transparent bridge";
                    return resolver.error(word, message);
                }
                (text, _) => {
                    let message = format!("unknown `log` option `{}`", shorten(text));
                    let known = ["all", "matches", "to"].into_iter();
                    return resolver.error(word, with_hint(message, "", nearest(text, known)));
                }
            }
            Some(())
        })?;
        Some(log)
    }

    /// `pflog0` to `pflog15` (pf's `PFLOGIFS_MAX`).
    fn log_interface(&mut self, at: &Token<'_>) -> Resolved<u8> {
        let number = at.text.strip_prefix("pflog").and_then(decimal);
        if let Some(number @ 0..=15) = number {
            return Some(number as u8);
        }
        let message =
            format!("`{}` is no log interface: expected `pflog0` to `pflog15`", shorten(&at.text));
        self.error(at, message)
    }

    /// The name of an operating system; which there are is not known here.
    pub(super) fn os(&mut self, at: &Token<'_>) -> Resolved<String> {
        const LONGEST: usize = 31; // PF_OSFP_LEN less its closing zero
        if at.text.len() > LONGEST {
            return self.error(at, format!("the operating system is longer than {LONGEST} bytes"));
        }
        self.quotable(at, "an operating system")
    }

    pub(super) fn label(&mut self, at: &Token<'_>) -> Resolved<String> {
        self.in_quotes(at, "a label")
    }

    /// A name that is printed in quotes.
    pub(super) fn quotable(&mut self, at: &Token<'_>, what: &str) -> Resolved<String> {
        if at.text.is_empty() {
            return self.error(at, format!("{what} cannot be empty"));
        }
        self.in_quotes(at, what)
    }

    /// A text that is printed in quotes, and must be readable then.
    fn in_quotes(&mut self, at: &Token<'_>, what: &str) -> Resolved<String> {
        if at.text.contains(|c: char| matches!(c, '"' | '\\') || c.is_control()) {
            let message =
                format!("{what} cannot contain quotes, backslashes or control characters");
            return self.error(at, message);
        }
        Some(at.text.clone().into_owned())
    }
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

/// Decimal digits only; a number too large for anything is still a number.
pub(super) fn decimal(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

/// One to three numbers with points between: the rest is zero (`inet_net_pton(3)`).
pub(super) fn short_v4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in octets.iter_mut().take(3) {
        match parts.next() {
            Some(part) => *octet = u8::try_from(decimal(part)?).ok()?,
            None => break,
        }
    }
    parts.next().is_none().then(|| octets.into())
}

const fn full(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

const fn family_of(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::Inet } else { Family::Inet6 }
}

/// Host bits cleared; a prefix of no bits is `any` of its family.
fn prefix(address: IpAddr, bits: u8) -> Option<Address> {
    if bits == 0 {
        return Some(Address::Any);
    }
    let network = match address {
        IpAddr::V4(address) => IpNet::V4(Ipv4Net::new(address, bits).ok()?.trunc()),
        IpAddr::V6(address) => IpNet::V6(Ipv6Net::new(address, bits).ok()?.trunc()),
    };
    Some(Address::Prefix(network))
}
