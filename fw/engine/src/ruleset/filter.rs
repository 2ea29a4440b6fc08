//! Which packets somebody wants to see, in the criteria of rules: what `weir capture` is told.

use std::fmt;

use weir_config::rules::{Action, Address, Direction, Rule};

use super::criteria::{Around, Criteria, Subject};
use super::names::PortNames;
use super::reverse_path::ReversePath;
use super::tags::TagNames;
use crate::frame::PortIndex;
use crate::packet::Packet;
use crate::table::Tables;
use crate::time::Instant;

/// Rules without effect, of which one at least has to match.
#[derive(Debug)]
pub struct Filter {
    criteria: Vec<Criteria>,
    /// Packets the other way are wanted, too.
    both_ways: bool,
    reverse_path: ReversePath,
    /// There are none.
    tables: Tables,
}

/// Why rules are no filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterError {
    /// A word that says something else than what a packet is like, or what nobody can tell from a
    /// packet alone.
    Word(&'static str),
    /// Lists stand for more rules than this.
    TooMany(usize),
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => {
                write!(f, "`{word}` is no part of a filter: it cannot be seen from a packet")
            }
            Self::TooMany(count) => write!(
                f,
                "the filter stands for {count} rules, and {} are the most it may be",
                Filter::MAX
            ),
        }
    }
}

impl std::error::Error for FilterError {}

impl Filter {
    /// The most rules that a filter can stand for: every one is asked about every packet.
    pub const MAX: usize = 64;

    /// Of `match` rules. With `both_ways` packets are wanted, too, that would match with their ends
    /// and their direction exchanged: the answers to those that do.
    ///
    /// # Errors
    /// When rules have anything beside criteria, or criteria that ask more than the packet.
    pub fn compile(
        rules: &[Rule],
        ports: &PortNames,
        both_ways: bool,
    ) -> Result<Self, FilterError> {
        if rules.len() > Self::MAX {
            return Err(FilterError::TooMany(rules.len()));
        }
        if let Some(word) = rules.iter().find_map(foreign_word) {
            return Err(FilterError::Word(word));
        }
        let mut tags = TagNames::default();
        let of_rule = |rule| Criteria::new(rule, ports, &mut tags, &mut |_| u32::MAX);
        Ok(Self {
            // There are tags only where rules name some, and these do not.
            criteria: rules.iter().filter_map(of_rule).collect(),
            both_ways,
            reverse_path: ReversePath::default(),
            tables: Tables::default(),
        })
    }

    /// Whether a packet is wanted, as it arrives at a port or leaves by it.
    pub fn matches(&self, packet: &Packet, (port, direction): (PortIndex, Direction)) -> bool {
        let around = Around {
            tables: &self.tables,
            reverse_path: &self.reverse_path,
            now: Instant::default(),
            answers: None,
        };
        let mut subject = Subject::new(packet, 0);
        subject.pass(port, direction);
        let matches = |subject: &Subject| {
            self.criteria.iter().any(|criteria| criteria.fails(subject, around).is_none())
        };
        if matches(&subject) {
            return true;
        }
        self.both_ways && {
            let mut answered = Subject::new(&turned(packet), 0);
            answered.pass(port, turned_way(direction));
            matches(&answered)
        }
    }
}

/// The packet as if its receiver had sent it.
fn turned(packet: &Packet) -> Packet {
    Packet {
        source: packet.destination,
        destination: packet.source,
        source_port: packet.destination_port,
        destination_port: packet.source_port,
        ..*packet
    }
}

const fn turned_way(direction: Direction) -> Direction {
    match direction {
        Direction::In => Direction::Out,
        Direction::Out => Direction::In,
    }
}

/// The first word of a rule that a filter cannot have.
fn foreign_word(rule: &Rule) -> Option<&'static str> {
    let is_table = |address: &Address| matches!(address, Address::Table(_));
    let words = [
        (rule.action != Action::Match, "pass"),
        (rule.quick, "quick"),
        (rule.log.is_some(), "log"),
        (rule.max_packet_rate.is_some(), "max-pkt-rate"),
        (rule.set != weir_config::rules::SetFields::default(), "set"),
        (rule.probability.is_some(), "probability"),
        (rule.scrub != weir_config::rules::Scrub::default(), "scrub"),
        (rule.allow_opts, "allow-opts"),
        (rule.label.is_some(), "label"),
        (rule.once, "once"),
        (rule.tag.is_some(), "tag"),
        (rule.tagged.is_some(), "tagged"),
        (rule.received_on.is_some(), "received-on"),
        (rule.from.os.is_some(), "os"),
        (rule.from.address == Address::UrpfFailed, "urpf-failed"),
        (is_table(&rule.from.address) || is_table(&rule.to.address), "<table>"),
    ];
    words.into_iter().find_map(|(used, word)| used.then_some(word))
}

#[cfg(test)]
mod tests {
    use weir_config::{Defines, SourceFile, parse_one};

    use super::*;
    use crate::frame::{Checksum, Meta};
    use crate::packet::build;
    use crate::packet::tcp::flags::{ACK, SYN};
    use crate::ruleset::PortName;

    fn filter(words: &str, both_ways: bool) -> Result<Filter, FilterError> {
        let text = format!("table <t> const {{ 10.0.0.1 }}\nmatch {words}\n");
        let parsed = parse_one(&SourceFile::new("filter", text), &Defines::default());
        let rules = parsed.rules.unwrap_or_else(|| panic!("{words}: {}", parsed.diagnostics));
        let port = |role: &str| PortName {
            role: role.into(),
            interface: format!("{role}0"),
            prefixes: Vec::new(),
        };
        let ports = PortNames(vec![port("lan"), port("wan")]);
        Filter::compile(&rules.rules, &ports, both_ways)
    }

    /// A SYN to a web server that arrives at the WAN and leaves by the LAN, and its answer.
    fn packets() -> [Packet; 2] {
        let (client, server) = (([192, 0, 2, 1], 40_000), ([198, 51, 100, 2], 80));
        let there = build::tcp(client, server, SYN).frame();
        let back = build::tcp(server, client, SYN | ACK).frame();
        [(there, PortIndex::WAN), (back, PortIndex::LAN)].map(|(frame, port)| {
            let length = frame.len() as u32;
            let meta = Meta { port, checksum: Checksum::Valid, gso_size: 0, length };
            Packet::parse(&frame, &meta).expect("a packet")
        })
    }

    /// Which of the sightings it wants: there in and out, back in and out.
    fn wanted(words: &str, both_ways: bool) -> [bool; 4] {
        let filter = filter(words, both_ways).expect("a filter");
        let [there, back] = packets();
        [
            (&there, PortIndex::WAN, Direction::In),
            (&there, PortIndex::LAN, Direction::Out),
            (&back, PortIndex::LAN, Direction::In),
            (&back, PortIndex::WAN, Direction::Out),
        ]
        .map(|(packet, port, direction)| filter.matches(packet, (port, direction)))
    }

    #[test]
    fn criteria_are_those_of_rules() {
        let (yes, no) = (true, false);
        for (words, expected) in [
            ("all", [yes; 4]),
            ("in", [yes, no, yes, no]),
            ("on wan", [yes, no, no, yes]),
            ("out on lan0", [no, yes, no, no]),
            ("proto udp", [no; 4]),
            ("inet6", [no; 4]),
            ("proto { tcp udp } to port { 443, 80 }", [yes, yes, no, no]),
            ("from 192.0.2.0/24 to ! 10.0.0.0/8", [yes, yes, no, no]),
            ("proto tcp flags S/SA", [yes, yes, no, no]),
            ("proto tcp flags SA/SA", [no, no, yes, yes]),
        ] {
            assert_eq!(wanted(words, false), expected, "{words}");
        }
    }

    #[test]
    fn both_ways_wants_the_answers() {
        let (yes, no) = (true, false);
        assert_eq!(wanted("proto tcp to port 80", true), [yes; 4]);
        assert_eq!(wanted("in on wan proto tcp to port 80", true), [yes, no, no, yes]);
        assert_eq!(wanted("proto tcp to port 81", true), [no; 4]);
    }

    #[test]
    fn what_is_no_criterion_is_refused_by_name() {
        for (words, word) in [
            ("log all", "log"),
            ("from <t>", "<table>"),
            ("all tag A", "tag"),
            ("all tagged A", "tagged"),
            ("all label x", "label"),
            ("all scrub (no-df)", "scrub"),
            ("proto tcp from any os Linux", "os"),
            ("all probability 5%", "probability"),
        ] {
            assert_eq!(filter(words, false).err(), Some(FilterError::Word(word)), "{words}");
        }
        let ports: Vec<_> = (1..=65).map(|port| port.to_string()).collect();
        let many = filter(&format!("proto tcp to port {{ {} }}", ports.join(" ")), false);
        assert_eq!(many.err(), Some(FilterError::TooMany(65)));
    }
}
