//! From what the words of a packet have said to a [`Probe`]: what is missing is inferred or asked for,
//! what does not go together is refused.

use super::read::{ICMP_ID, Reader, Seen};
use super::{Probe, SOURCE_PORT, Transport};
use crate::names;
use crate::rules::Family;
use crate::source::Span;

impl<'t> Reader<'t> {
    /// Puts together what the words have said; `end` is behind them.
    pub(super) fn finish(&mut self, seen: &Seen<'t>, end: Span) -> Option<Probe> {
        let mut missing = Vec::new();
        for (word, there) in [
            ("on", seen.port.is_some()),
            ("from", seen.ends[0].address.is_some()),
            ("to", seen.ends[1].address.is_some()),
        ] {
            if !there {
                missing.push(word);
            }
        }
        let protocol = self.whose_protocol(seen, end, &mut missing);
        if !missing.is_empty() {
            let names: Vec<_> = missing.iter().map(|word| format!("`{word}`")).collect();
            let names = names.join(", ");
            self.error(end, format!("the packet is incomplete: {names} is missing"), &missing);
        }
        let [(source, _), (destination, span)] = [seen.ends[0].address?, seen.ends[1].address?];
        if source.is_ipv4() != destination.is_ipv4() {
            let message = format!("{source} and {destination} are of different families");
            self.error(span, message, &[]);
            return None;
        }
        let family = if source.is_ipv4() { Family::Inet } else { Family::Inet6 };
        if let Some((written, span)) = seen.family
            && written != family
        {
            let message = format!("`{written}`, but the addresses are `{family}`");
            self.error(span, message, &[]);
            return None;
        }
        let transport = self.transport(seen, protocol?, family, end)?;
        let probe = Probe {
            port: seen.port?.to_owned(),
            source,
            destination,
            transport,
            tos: seen.tos,
            ttl: seen.ttl.unwrap_or(Probe::usual_ttl(transport, family)),
            length: seen.length.map(|(length, _)| length),
            vlans: seen.vlans,
            session: seen.session,
            macs: seen.macs,
            prio: seen.prio,
            options: seen.options,
            fragment: seen.fragment,
            tagged: seen.tagged.map(str::to_owned),
        };
        if let Some((length, span)) = seen.length
            && length < probe.shortest()
        {
            let message = format!(
                "length {length} is too short: the headers of such a packet have {} bytes",
                probe.shortest()
            );
            self.error(span, message, &[]);
            return None;
        }
        Some(probe)
    }

    /// The protocol, written or inferred.
    fn whose_protocol(
        &mut self,
        seen: &Seen<'t>,
        end: Span,
        missing: &mut Vec<&'static str>,
    ) -> Option<u8> {
        let inferred = match (seen.flags, seen.icmp) {
            (_, Some((Family::Inet, ..))) => Some(names::ICMP),
            (_, Some((Family::Inet6, ..))) => Some(names::ICMP6),
            (Some(_), None) => Some(names::TCP),
            (None, None) => None,
        };
        let protocol = seen.protocol.map(|(protocol, _)| protocol).or(inferred);
        if protocol.is_none() {
            if let Some((_, span)) = seen.ends.iter().find_map(|end| end.port) {
                let message = "a port of which protocol? Add `proto tcp` or `proto udp`";
                self.error(span, message, &["proto tcp", "proto udp"]);
            } else if missing.is_empty() {
                self.error(end, "the packet is incomplete: `proto` is missing", &["proto"]);
            } else {
                missing.push("proto");
            }
        }
        protocol
    }

    /// The transport header; refuses words of other protocols.
    fn transport(
        &mut self,
        seen: &Seen<'t>,
        protocol: u8,
        family: Family,
        end: Span,
    ) -> Option<Transport> {
        let (tcp, udp) = (protocol == names::TCP, protocol == names::UDP);
        let icmp = matches!(protocol, names::ICMP | names::ICMP6);
        let mut foreign = |span: Option<Span>, fits: bool, message: &str| match span {
            Some(span) if !fits => {
                self.error(span, message, &[]);
                true
            }
            _ => false,
        };
        let of_icmp = "only ICMP has a type and an id, and the packet is of another protocol";
        let of_ports = "only TCP and UDP have ports, and the packet is of another protocol";
        let mut wrong = foreign(
            seen.flags.map(|(_, span)| span),
            tcp,
            "only TCP has flags, and the packet is of another protocol",
        );
        wrong |= foreign(seen.icmp.map(|(.., span)| span), icmp, of_icmp);
        wrong |= foreign(seen.id.map(|(_, span)| span), icmp, of_icmp);
        for end in seen.ends {
            wrong |= foreign(end.port.map(|(_, span)| span), tcp || udp, of_ports);
        }
        if wrong {
            return None;
        }
        if icmp {
            return self.icmp_message(seen, protocol, family, end);
        }
        if !tcp && !udp {
            return Some(Transport::Other(protocol));
        }
        let Some((destination, _)) = seen.ends[1].port else {
            let name = if tcp { "TCP" } else { "UDP" };
            let to = seen.ends[1].address.map_or(end, |(_, span)| Span { start: span.end, ..span });
            self.error(to, format!("a {name} packet needs a port behind `to`"), &["port"]);
            return None;
        };
        let ports = [seen.ends[0].port.map_or(SOURCE_PORT, |(port, _)| port), destination];
        Some(if tcp {
            Transport::Tcp { ports, flags: seen.flags.map_or(0x02, |(flags, _)| flags) }
        } else {
            Transport::Udp { ports }
        })
    }

    fn icmp_message(
        &mut self,
        seen: &Seen<'t>,
        protocol: u8,
        family: Family,
        end: Span,
    ) -> Option<Transport> {
        let of = if protocol == names::ICMP { Family::Inet } else { Family::Inet6 };
        if of != family {
            let span = seen.protocol.map(|(_, span)| span).or(seen.icmp.map(|(.., span)| span));
            let name = if of == Family::Inet { "icmp" } else { "icmp6" };
            let message = format!("`{name}` does not go with `{family}` addresses");
            self.error(span.unwrap_or(end), message, &[]);
            return None;
        }
        if let Some((typed, .., span)) = seen.icmp
            && typed != family
        {
            let right = if family == Family::Inet { "icmp-type" } else { "icmp6-type" };
            self.error(span, format!("the packet is `{family}`: write `{right}`"), &[]);
            return None;
        }
        let echo = if family == Family::Inet { 8 } else { 128 };
        let (kind, code) = seen.icmp.map_or((echo, 0), |(_, kind, code, _)| (kind, code));
        Some(Transport::Icmp { kind, code, id: seen.id.map_or(ICMP_ID, |(id, _)| id) })
    }
}
