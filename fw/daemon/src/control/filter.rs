//! Which states and sources a request means, as numbers and prefixes that are quick to compare.
//!
//! A filter is made on a client's thread. States are asked there, too, when they are listed, and on the
//! worker's when they are killed.

use std::net::IpAddr;

use ipnet::IpNet;
use weir_engine::source::SourceView;
use weir_engine::{PeerView, PortIndex, StateView};
use weir_shell::protocol::{
    Bound, MAX_CRITERIA, SourceCriterion, SourceOrder, StateCriterion, StateOrder,
};

use super::{InForce, Refused};

/// All of some criteria.
pub(super) struct Filter<T>(Vec<Test<T>>);

struct Test<T> {
    is: T,
    /// Whether it must hold.
    wanted: bool,
}

/// A criterion of states.
pub(super) enum StateTest {
    Host(IpNet),
    From(IpNet),
    To(IpNet),
    Port(u16, u16),
    FromPort(u16, u16),
    ToPort(u16, u16),
    Ipv4(bool),
    Proto(u8),
    Either(&'static str),
    Both {
        responder: &'static str,
        initiator: &'static str,
    },
    /// Ids, ascending.
    Rules(Vec<u32>),
    Interface(PortIndex),
    Vlan(u16),
    Id(u64),
    Measure(StateOrder, Bound),
}

/// A criterion of sources.
pub(super) enum SourceTest {
    Host(IpNet),
    Ipv4(bool),
    Rules(Vec<u32>),
    Measure(SourceOrder, Bound),
}

impl InForce {
    /// The filter that states pass.
    ///
    /// # Errors
    /// When a criterion makes no sense.
    pub(super) fn state_filter(
        &self,
        criteria: &[StateCriterion],
        port: impl Fn(&str) -> Result<PortIndex, Refused>,
    ) -> Result<Filter<StateTest>, Refused> {
        use StateCriterion as Is;
        let mut room = MAX_CRITERIA;
        Filter::read(criteria, |mut criterion| {
            let wanted = unwrap(&mut criterion, &mut room, |criterion| match criterion {
                Is::Not(inner) => Some(&**inner),
                _ => None,
            })?;
            let is = match criterion {
                // All were taken off.
                Is::Not(_) => return Err(too_many()),
                Is::Host(host) => StateTest::Host(prefix(host)?),
                Is::From(host) => StateTest::From(prefix(host)?),
                Is::To(host) => StateTest::To(prefix(host)?),
                &Is::Port(first, last) => StateTest::Port(first, last),
                &Is::FromPort(first, last) => StateTest::FromPort(first, last),
                &Is::ToPort(first, last) => StateTest::ToPort(first, last),
                Is::Ip(version) => StateTest::Ipv4(is_ipv4(*version)?),
                Is::Proto(number) => StateTest::Proto(*number),
                Is::State(names) => match names.split_once(':') {
                    None => StateTest::Either(state_name(names)?),
                    Some((responder, initiator)) => StateTest::Both {
                        responder: state_name(responder)?,
                        initiator: state_name(initiator)?,
                    },
                },
                Is::Rule(name) => StateTest::Rules(self.rules_named(name)?),
                Is::Label(label) => StateTest::Rules(self.rules_labelled(label)?),
                Is::Interface(name) => StateTest::Interface(port(name)?),
                Is::Vlan(id) => StateTest::Vlan(*id),
                Is::Id(id) => StateTest::Id(
                    u64::from_str_radix(id.trim_start_matches("0x"), 16)
                        .ok()
                        // Clients whose handshake is awaited have it; there is no state yet.
                        .filter(|id| *id != 0)
                        .ok_or_else(|| {
                            Refused::Error(format!("`{id}` is not the id of a state"))
                        })?,
                ),
                &Is::Age(bound) => StateTest::Measure(StateOrder::Age, bound),
                &Is::Idle(bound) => StateTest::Measure(StateOrder::Idle, bound),
                &Is::Expires(bound) => StateTest::Measure(StateOrder::Expires, bound),
                &Is::Packets(bound) => StateTest::Measure(StateOrder::Packets, bound),
                &Is::Bytes(bound) => StateTest::Measure(StateOrder::Bytes, bound),
                &Is::Rate(bound) => StateTest::Measure(StateOrder::Rate, bound),
            };
            Ok(Test { is, wanted })
        })
    }

    /// The filter that sources pass.
    ///
    /// # Errors
    /// When a criterion makes no sense.
    pub(super) fn source_filter(
        &self,
        criteria: &[SourceCriterion],
    ) -> Result<Filter<SourceTest>, Refused> {
        use SourceCriterion as Is;
        let mut room = MAX_CRITERIA;
        Filter::read(criteria, |mut criterion| {
            let wanted = unwrap(&mut criterion, &mut room, |criterion| match criterion {
                Is::Not(inner) => Some(&**inner),
                _ => None,
            })?;
            let is = match criterion {
                // All were taken off.
                Is::Not(_) => return Err(too_many()),
                Is::Host(host) => SourceTest::Host(prefix(host)?),
                Is::Ip(version) => SourceTest::Ipv4(is_ipv4(*version)?),
                Is::Rule(name) => SourceTest::Rules(self.rules_named(name)?),
                &Is::States(bound) => SourceTest::Measure(SourceOrder::States, bound),
                &Is::Connections(bound) => SourceTest::Measure(SourceOrder::Connections, bound),
                &Is::Rate(bound) => SourceTest::Measure(SourceOrder::Rate, bound),
                &Is::Age(bound) => SourceTest::Measure(SourceOrder::Age, bound),
            };
            Ok(Test { is, wanted })
        })
    }

    /// The ids of the rules that have a label, ascending.
    fn rules_labelled(&self, label: &str) -> Result<Vec<u32>, Refused> {
        let rules = self.program.iter().flat_map(|program| {
            let rules = program.rules();
            let inner = rules.anchors.values().flat_map(|anchor| &anchor.rules);
            rules.rules.iter().chain(inner)
        });
        let labelled = (0..).zip(rules).filter(|(_, rule)| rule.label.as_deref() == Some(label));
        let ids: Vec<u32> = labelled.map(|(id, _)| id).collect();
        if ids.is_empty() {
            return Err(Refused::Error(format!("no rule has the label \"{label}\"")));
        }
        Ok(ids)
    }

    /// Whether a criterion asks for a label that no rule has.
    pub(super) fn is_unknown_label(&self, criterion: &StateCriterion) -> bool {
        matches!(criterion, StateCriterion::Label(label) if self.rules_labelled(label).is_err())
    }

    /// The ids of a rule by its number or its name, as listings of states call it.
    fn rules_named(&self, name: &str) -> Result<Vec<u32>, Refused> {
        let none = || Refused::Error(format!("there is no rule `{name}`"));
        if let Ok(number) = name.parse::<u32>() {
            let all = self.program.as_ref().map_or(0, |program| {
                let rules = program.rules();
                let inner = rules.anchors.values().map(|anchor| anchor.rules.len());
                rules.rules.len() + inner.sum::<usize>()
            });
            return if (number as usize) < all { Ok(vec![number]) } else { Err(none()) };
        }
        // The path of an anchor may have dots of its own.
        let Some((path, number)) = name.rsplit_once('.') else {
            let text = format!("`{name}` is no rule: expected a number, or as in 3.webfarm.0");
            return Err(Refused::Error(text));
        };
        let number: u32 = number.parse().map_err(|_| none())?;
        let called = path.split_once('.').filter(|(caller, _)| caller.parse::<u32>().is_ok());
        let id =
            [Some(path), called.map(|(_, path)| path)].into_iter().flatten().find_map(|path| {
                let (first, rules) = self.rules_of(path).filter(|_| !path.is_empty())?;
                let id = first + Some(number).filter(|&number| (number as usize) < rules.len())?;
                (self.places.anchored(id).as_deref() == Some(name)).then_some(id)
            });
        id.map(|id| vec![id]).ok_or_else(none)
    }
}

/// The word that a tracker has for what an end is in.
fn state_name(typed: &str) -> Result<&'static str, Refused> {
    let found = PeerView::state_names().find(|name| name.eq_ignore_ascii_case(typed));
    found.ok_or_else(|| {
        let mut known: Vec<_> = PeerView::state_names().collect();
        known.sort_unstable();
        known.dedup();
        Refused::Error(format!("nothing is in `{typed}`: expected {}", known.join(", ")))
    })
}

/// Takes negations off; tells whether what is left must hold. `room` is how many more criteria there
/// may be.
fn unwrap<'a, C>(
    criterion: &mut &'a C,
    room: &mut usize,
    inner: impl Fn(&'a C) -> Option<&'a C>,
) -> Result<bool, Refused> {
    let mut wanted = true;
    loop {
        *room = room.checked_sub(1).ok_or_else(too_many)?;
        let Some(next) = inner(criterion) else { return Ok(wanted) };
        *criterion = next;
        wanted = !wanted;
    }
}

fn too_many() -> Refused {
    Refused::Error(format!("there may be {MAX_CRITERIA} criteria at most"))
}

impl<T> Filter<T> {
    fn read<C>(
        criteria: &[C],
        read: impl FnMut(&C) -> Result<Test<T>, Refused>,
    ) -> Result<Self, Refused> {
        criteria.iter().map(read).collect::<Result<_, _>>().map(Self)
    }
}

impl Filter<StateTest> {
    /// Whether all criteria hold.
    pub(super) fn holds(&self, state: &StateView) -> bool {
        self.0.iter().all(|test| test.is.holds(state) == test.wanted)
    }
}

impl Filter<SourceTest> {
    /// Whether all criteria hold; `rule` is the id of the rule that counts the source.
    pub(super) fn holds(&self, source: &SourceView, rule: Option<u32>) -> bool {
        self.0.iter().all(|test| test.is.holds(source, rule) == test.wanted)
    }
}

impl StateTest {
    fn holds(&self, state: &StateView) -> bool {
        let source = || state.source.to_ip(state.network);
        let destination = || state.destination.to_ip(state.network);
        let within = |first: u16, last: u16, port: u16| (first..=last).contains(&port);
        match self {
            Self::Host(net) => net.contains(&source()) || net.contains(&destination()),
            Self::From(net) => net.contains(&source()),
            Self::To(net) => net.contains(&destination()),
            &Self::Port(first, last) => {
                within(first, last, state.source_port)
                    || within(first, last, state.destination_port)
            }
            &Self::FromPort(first, last) => within(first, last, state.source_port),
            &Self::ToPort(first, last) => within(first, last, state.destination_port),
            Self::Ipv4(ipv4) => source().is_ipv4() == *ipv4,
            Self::Proto(number) => state.protocol == *number,
            Self::Either(name) => state.peers.iter().any(|peer| peer.state == *name),
            Self::Both { responder, initiator } => {
                state.peers[1].state == *responder && state.peers[0].state == *initiator
            }
            Self::Rules(ids) => {
                state.rules.iter().flatten().any(|rule| ids.binary_search(rule).is_ok())
            }
            Self::Interface(port) => state.port == *port,
            Self::Vlan(id) => [state.tags.outer, state.tags.inner].contains(id) && *id != 0,
            Self::Id(id) => state.id == *id,
            Self::Measure(what, bound) => bound.holds(measure(*what, state)),
        }
    }
}

impl SourceTest {
    fn holds(&self, source: &SourceView, rule: Option<u32>) -> bool {
        match self {
            Self::Host(net) => net.contains(&source.address),
            Self::Ipv4(ipv4) => source.address.is_ipv4() == *ipv4,
            Self::Rules(ids) => rule.is_some_and(|rule| ids.binary_search(&rule).is_ok()),
            Self::Measure(what, bound) => bound.holds(measure_source(*what, source)),
        }
    }
}

/// What states are sorted by.
pub(super) fn measure(what: StateOrder, state: &StateView) -> u64 {
    let bytes = state.bytes[0].saturating_add(state.bytes[1]);
    match what {
        StateOrder::Age => state.age.into(),
        StateOrder::Idle => state.idle.into(),
        StateOrder::Expires => state.expires.into(),
        StateOrder::Packets => state.packets[0].saturating_add(state.packets[1]),
        StateOrder::Bytes => bytes,
        StateOrder::Rate => bytes / u64::from(state.age.max(1)),
    }
}

/// What sources are sorted by.
pub(super) fn measure_source(what: SourceOrder, source: &SourceView) -> u64 {
    match what {
        SourceOrder::States => source.states.into(),
        SourceOrder::Connections => source.connections.into(),
        SourceOrder::Rate => source.rate.0,
        SourceOrder::Age => source.age,
        SourceOrder::Packets => source.packets,
        SourceOrder::Bytes => source.bytes,
    }
}

fn is_ipv4(version: u8) -> Result<bool, Refused> {
    match version {
        4 => Ok(true),
        6 => Ok(false),
        _ => Err(Refused::Error(format!("there is no IP version {version} here: expected 4 or 6"))),
    }
}

/// An address or a prefix.
pub(super) fn prefix(text: &str) -> Result<IpNet, Refused> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| Refused::Error(format!("`{text}` is neither an address nor a prefix")))
}
