//! What is in force and what it has counted: rules, ports, time-outs, pools, status.

use std::collections::BTreeSet;
use std::sync::Arc;

use weir_config::options::{Limit, Named, Syncookies};
use weir_config::rules::{Action, Rule, RuleSet};
use weir_engine::counters::{SynproxyCounters, Tally};
use weir_engine::source::RuleLimits;
use weir_engine::{Counters, Engine, PortIndex, Reason, RuleCounters};
use weir_shell::protocol;

use super::loading::no_anchor;
use super::{Control, InForce, Refused, tables};
use crate::mailbox::Report;

/// What passes before any rule is asked, as `-s rules` shows it.
const BUILT_IN: [&str; 2] = [
    "pass quick arp",
    "pass quick inet6 proto ipv6-icmp icmp6-type { neighbrsol, neighbradv }, if the hop limit is 255",
];

impl Control {
    /// The rules of an anchor (`""`: the main rule set) with their counters, those of the anchors
    /// without a name that they call, and with `recursive` those of all others.
    ///
    /// # Errors
    /// When there is no such anchor, or a worker does not answer.
    pub fn rules(&self, anchor: &str, recursive: bool) -> Result<protocol::RuleListing, Refused> {
        // Locked until the workers have answered, so that ids and counters belong together.
        let in_force = self.in_force.lock();
        let shown = in_force.shown(anchor, recursive)?;
        let reports = self.reports()?;
        let mut listings = shown.into_iter().map(|path| protocol::RuleListing {
            anchor: path.to_owned(),
            origin: match path {
                "" => in_force.origin.clone(),
                _ => in_force.composition.origin(path).map(Into::into),
            },
            built_in: if path.is_empty() { BUILT_IN.map(Into::into).into() } else { Vec::new() },
            rules: in_force.rules_of(path).map_or_else(Vec::new, |(first, rules)| {
                let program = in_force.program.as_deref();
                let limits = |id| program.and_then(|program| program.limits(id));
                (0..)
                    .zip(rules)
                    .map(|(n, rule)| listed(n, rule, first + n, limits(first + n), &reports))
                    .collect()
            }),
            nested: Vec::new(),
        });
        let mut listing = listings.next().unwrap_or_default();
        listing.nested = listings.collect();
        Ok(listing)
    }

    /// The rules of layer 2 with their counters.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub fn ether_rules(&self) -> Result<protocol::RuleListing, Refused> {
        let in_force = self.in_force.lock();
        let reports = self.reports()?;
        let rules = in_force.program.iter().flat_map(|program| &program.rules().ether);
        let rules = (0..).zip(rules).map(|(number, rule)| {
            let mut listed =
                protocol::Rule { number, text: rule.to_string(), ..protocol::Rule::default() };
            for counters in reports.iter().filter_map(|report| report.ether.get(number as usize)) {
                listed.evaluations += counters.evaluations;
                for i in 0..2 {
                    listed.packets[i] += counters.packets[i];
                    listed.bytes[i] += counters.bytes[i];
                }
            }
            listed
        });
        // Without any, all that is built in holds: nothing is blocked for want of them.
        let origin = in_force.origin.clone().or_else(|| Some(String::new()));
        Ok(protocol::RuleListing { origin, rules: rules.collect(), ..Default::default() })
    }

    /// The paths of all anchors, in order: those that have content, those that are called, and those
    /// that others are in.
    pub fn anchors(&self) -> Vec<String> {
        let in_force = self.in_force.lock();
        in_force.anchors().into_iter().map(Into::into).collect()
    }

    /// Status and counters.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub fn info(&self) -> Result<protocol::Info, Refused> {
        let reports = self.reports()?;
        let now = self.parts.clock.now();
        let sum = summed(&reports);
        let (blocked, open_for, adaptive, log_interface, syncookies) = {
            let in_force = self.in_force.lock();
            let program = in_force.program.as_deref();
            let states = self.parts.shared.states();
            let adaptive = program.and_then(|program| program.adaptive_percent(states));
            let logged = program.and_then(|program| self.log_interface(program.rules(), &sum));
            let left = in_force.open_until.map(|until| until.since(now));
            let left = left.filter(|left| !left.is_zero());
            let set = program.map(|program| program.rules().options.syncookies);
            (in_force.origin.is_none(), left, adaptive, logged, set.unwrap_or_default())
        };
        let status = match (open_for, blocked) {
            (Some(_), _) => "disabled",
            (None, true) => "blocked",
            (None, false) => "enabled",
        };
        Ok(protocol::Info {
            version: env!("CARGO_PKG_VERSION").into(),
            status: status.into(),
            uptime: now.0 / 1_000_000_000,
            open_for: open_for.map(|left| left.as_secs() + 1),
            io: self.parts.io.to_string(),
            log_interface,
            adaptive,
            states: reports.iter().map(|report| u64::from(report.states)).sum(),
            half_open: self.parts.shared.half_open().into(),
            syncookies: self.syncookies(syncookies, &sum.synproxy),
            searches: sum.searches,
            inserts: sum.inserts,
            removals: sum.removals,
            evictions: sum.evictions,
            late: sum.late,
            src_nodes: self.parts.shared.sources().used().into(),
            src_node_inserts: self.parts.shared.sources().turnover().0,
            src_node_removals: self.parts.shared.sources().turnover().1,
            reflected: sum.reflected,
            crafted: sum.crafted,
            unfiltered: sum.unfiltered,
            reasons: Reason::ALL
                .iter()
                .map(|&reason| protocol::ReasonCount {
                    name: reason.name().into(),
                    count: sum.reasons[reason as usize],
                    description: reason.description().into(),
                })
                .collect(),
            // What was handed over is counted again where it was judged.
            frames: sum.judged - sum.handed_over,
            handed_over: sum.handed_over,
            steered: self.parts.steered,
            log_lost: self.parts.log.held_back()
                + reports.iter().map(|report| report.log_lost).sum::<u64>(),
            workers: reports
                .iter()
                .enumerate()
                .map(|(i, report)| protocol::WorkerInfo {
                    worker: i as u16,
                    cpu: self.parts.cpus.get(i).copied(),
                    states: report.states.into(),
                    frames: report.counters.judged - report.counters.handed_over,
                    handed_over: report.counters.handed_over,
                    back_pressure: report.back_pressure,
                    busy: report.busy,
                })
                .collect(),
        })
    }

    /// The handshakes that weir makes itself.
    fn syncookies(&self, set: Syncookies, counted: &SynproxyCounters) -> protocol::Syncookies {
        let (mode, shares) = match set {
            Syncookies::Never => ("never", None),
            Syncookies::Always => ("always", None),
            Syncookies::Adaptive { start, end } => ("adaptive", Some((start, end))),
        };
        protocol::Syncookies {
            mode: mode.into(),
            active: self.parts.shared.uses_syncookies(),
            start: shares.map(|(start, _)| start),
            end: shares.map(|(_, end)| end),
            sent: counted.sent,
            resent: counted.resent,
            valid: counted.valid,
            invalid: counted.invalid,
            expired: counted.expired,
            surplus: counted.surplus,
            refused: counted.refused,
            silent: counted.silent,
            lacking: counted.lacking,
        }
    }

    /// What the port of `set loginterface` has counted, if there is such a port.
    fn log_interface(&self, rules: &RuleSet, sum: &Counters) -> Option<protocol::InterfaceStats> {
        let port = self.parts.ports.named(rules.options.log_interface.as_deref()?)?;
        let traffic = sum.ports.get(port)?.traffic.as_flattened();
        Some(protocol::InterfaceStats {
            name: self.parts.ports.0[port].interface.clone(),
            traffic: std::array::from_fn(|i| counted(&traffic[i])),
        })
    }

    /// The ports with their counters.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub fn interfaces(&self) -> Result<Vec<protocol::Interface>, Refused> {
        let reports = self.reports()?;
        let in_force = self.in_force.lock();
        let program = in_force.program.as_ref();
        let skip = program.map_or(&[][..], |program| &program.rules().options.skip[..]);
        let sum = summed(&reports);
        let now = self.parts.clock.now();
        let ports = self.parts.ports.0.iter().zip(&sum.ports).enumerate();
        Ok(ports
            .map(|(i, (port, counters))| {
                let index = PortIndex(i as u8);
                let traffic = counters.traffic.as_flattened();
                let mut device = protocol::Device::default();
                for stats in reports.iter().filter_map(|report| report.ports.get(i)) {
                    device.received += stats.received;
                    device.transmitted += stats.transmitted;
                    device.malformed += stats.malformed;
                    device.unsendable += stats.unsendable;
                    device.missed += stats.missed;
                    device.transmit_full += stats.transmit_full;
                    device.pool_empty += stats.pool_empty;
                }
                protocol::Interface {
                    role: port.role.clone(),
                    name: port.interface.clone(),
                    io: self.parts.io.to_string(),
                    skip: skip.iter().any(|name| *name == port.role || *name == port.interface),
                    prefixes: port.prefixes.iter().map(ToString::to_string).collect(),
                    cleared: now
                        .since(*in_force.ports_cleared.get(&index).unwrap_or(&in_force.cleared))
                        .as_secs(),
                    traffic: std::array::from_fn(|i| counted(&traffic[i])),
                    device,
                }
            })
            .collect())
    }

    /// The time-outs in force.
    pub fn timeouts(&self) -> Vec<protocol::Timeout> {
        use weir_config::options::{Timeout, Timeouts};
        let in_force = self.in_force.lock();
        let defaults = Timeouts::default();
        let program = in_force.program.as_ref();
        let values = program.map_or(&defaults, |program| &program.rules().options.timeouts);
        Timeout::ALL
            .iter()
            .map(|&timeout| protocol::Timeout {
                name: timeout.name().into(),
                value: values.get(timeout),
                unit: if timeout.counts_states() { "states" } else { "s" }.into(),
            })
            .collect()
    }

    /// The bounded pools and their use.
    pub fn memory(&self) -> Vec<protocol::Limit> {
        // What is bounded, and for how many memory is reserved at the start.
        let pools = [
            (Limit::States, Some(self.parts.reserved)),
            (Limit::Frags, Some(Engine::FRAGMENTS * self.parts.mailboxes.len() as u32)),
            (Limit::SrcNodes, None),
            (Limit::Tables, None),
            (Limit::TableEntries, None),
            (Limit::Anchors, None),
            (Limit::Tails, None),
        ];
        let limits = self.limits();
        pools
            .into_iter()
            .map(|(limit, reserved)| {
                let pool = self.parts.shared.pool(limit);
                protocol::Limit {
                    name: limit.name().into(),
                    limit: limits.get(limit).into(),
                    used: pool.used().into(),
                    peak: pool.high_water().into(),
                    reserved: reserved.map(u64::from),
                }
            })
            .collect()
    }
}

/// A rule with what all workers have counted for it.
fn listed(
    number: u32,
    rule: &Rule,
    id: u32,
    limits: Option<&Arc<RuleLimits>>,
    reports: &[Report],
) -> protocol::Rule {
    let mut sum = RuleCounters::default();
    let mut states = 0;
    for counters in reports.iter().filter_map(|report| report.rules.get(id as usize)) {
        sum.evaluations += counters.evaluations;
        for i in 0..2 {
            sum.packets[i] += counters.packets[i];
            sum.bytes[i] += counters.bytes[i];
        }
        states += u64::from(counters.states);
        sum.states_total += counters.states_total;
    }
    protocol::Rule {
        number,
        text: rule.to_string(),
        label: rule.label.clone(),
        evaluations: sum.evaluations,
        packets: sum.packets,
        bytes: sum.bytes,
        states,
        states_total: sum.states_total,
        refused: limits
            .into_iter()
            .flat_map(|limits| limits.refused())
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| (reason.name().to_owned(), count))
            .collect(),
        call: match &rule.action {
            Action::Anchor(call) => {
                Some(protocol::Call { path: call.path.clone(), wildcard: call.wildcard })
            }
            _ => None,
        },
    }
}

impl InForce {
    /// The rules of an anchor (`""`: the main rule set) and the id of the first; `None` if it has no
    /// content.
    pub(super) fn rules_of(&self, anchor: &str) -> Option<(u32, &[Rule])> {
        let rules = self.program.as_ref()?.rules();
        let inner = match anchor {
            "" => &rules.rules,
            _ => &rules.anchors.get(anchor)?.rules,
        };
        Some((self.places.first(anchor)?, inner))
    }

    /// All anchors there are.
    fn anchors(&self) -> BTreeSet<&str> {
        let Some(program) = &self.program else { return BTreeSet::new() };
        let rules = program.rules();
        let inner = rules.anchors.values().flat_map(|anchor| &anchor.rules);
        let called = rules.rules.iter().chain(inner).filter_map(|rule| match &rule.action {
            Action::Anchor(call) => Some(&*call.path),
            _ => None,
        });
        let mut found = BTreeSet::new();
        for path in rules.anchors.keys().map(String::as_str).chain(called) {
            let above = path.match_indices('/').map(|(end, _)| &path[..end]);
            found.extend(above.chain([path]).filter(|path| !path.is_empty()));
        }
        found
    }

    /// The anchor, then those that are shown with it: with `recursive` all others, else those
    /// without a name that its rules call.
    pub(super) fn shown(&self, anchor: &str, recursive: bool) -> Result<Vec<&str>, Refused> {
        let all = self.anchors();
        let main = anchor.is_empty().then_some("");
        let own = main.or_else(|| all.get(anchor).copied()).ok_or_else(|| no_anchor(anchor))?;
        let mut shown = vec![own];
        if recursive {
            shown.extend(all.into_iter().filter(|path| *path != anchor));
            return Ok(shown);
        }
        self.add_unnamed(&all, &mut shown);
        Ok(shown)
    }

    /// The anchor, with `recursive` all below it, and those without a name that their rules call.
    pub(super) fn below(&self, anchor: &str, recursive: bool) -> Result<Vec<&str>, Refused> {
        let all = self.anchors();
        let main = anchor.is_empty().then_some("");
        let own = main.or_else(|| all.get(anchor).copied()).ok_or_else(|| no_anchor(anchor))?;
        let mut below = vec![own];
        below
            .extend(all.iter().filter(|path| **path != own && tables::is_in(path, own, recursive)));
        self.add_unnamed(&all, &mut below);
        Ok(below)
    }

    /// Adds the anchors without a name that the rules of these, and of those added, call.
    fn add_unnamed<'a>(&self, all: &BTreeSet<&'a str>, shown: &mut Vec<&'a str>) {
        let mut at = 0;
        while let Some(path) = shown.get(at) {
            let (_, rules) = self.rules_of(path).unwrap_or_default();
            for rule in rules {
                if let Action::Anchor(call) = &rule.action
                    && !call.wildcard
                    && call.path.rsplit('/').next().is_some_and(|name| name.starts_with('_'))
                    && let Some(path) = all.get(&*call.path)
                    && !shown.contains(path)
                {
                    shown.push(path);
                }
            }
            at += 1;
        }
    }
}

/// Passed and blocked packets.
fn counted(tallies: &[Tally; 2]) -> protocol::Traffic {
    let [passed, blocked] = tallies.map(|tally| [tally.packets, tally.bytes]);
    protocol::Traffic { passed, blocked }
}

pub(super) fn summed(reports: &[Report]) -> Counters {
    let mut sum = Counters::default();
    for report in reports {
        sum.merge(&report.counters);
    }
    sum
}
