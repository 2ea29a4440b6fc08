//! What is in force and what it has counted: rules, ports, time-outs, pools, status.

use std::sync::atomic::Ordering;

use weir_engine::{Counters, Reason, RuleCounters};
use weir_shell::protocol;

use super::{Control, Refused};
use crate::mailbox::Report;

/// What passes before any rule is asked, as `-s rules` shows it.
const BUILT_IN: [&str; 2] = [
    "pass quick arp",
    "pass quick inet6 proto ipv6-icmp icmp6-type { neighbrsol, neighbradv }, if the hop limit is 255",
];

impl Control {
    /// The rules in force with their counters.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub fn rules(&self) -> Result<protocol::RuleListing, Refused> {
        // Locked until the workers have answered, so that numbers and counters belong together.
        let in_force = self.in_force.lock();
        let reports = self.reports()?;
        let rules = in_force.program.iter().flat_map(|program| &program.rules().rules);
        let rules = rules
            .enumerate()
            .map(|(number, rule)| {
                let mut sum = RuleCounters::default();
                let mut states = 0;
                for counters in reports.iter().filter_map(|report| report.rules.get(number)) {
                    sum.evaluations += counters.evaluations;
                    for i in 0..2 {
                        sum.packets[i] += counters.packets[i];
                        sum.bytes[i] += counters.bytes[i];
                    }
                    states += u64::from(counters.states);
                    sum.states_total += counters.states_total;
                }
                protocol::Rule {
                    number: number as u32,
                    text: rule.to_string(),
                    label: rule.label.clone(),
                    evaluations: sum.evaluations,
                    packets: sum.packets,
                    bytes: sum.bytes,
                    states,
                    states_total: sum.states_total,
                }
            })
            .collect();
        Ok(protocol::RuleListing {
            origin: in_force.origin.clone(),
            built_in: BUILT_IN.map(Into::into).into(),
            rules,
        })
    }

    /// Status and counters.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub fn info(&self) -> Result<protocol::Info, Refused> {
        let reports = self.reports()?;
        let now = self.parts.clock.now();
        let (blocked, open_for) = {
            let in_force = self.in_force.lock();
            let left = in_force.open_until.map(|until| until.since(now));
            (in_force.origin.is_none(), left.filter(|left| !left.is_zero()))
        };
        let sum = summed(&reports);
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
            states: reports.iter().map(|report| u64::from(report.states)).sum(),
            searches: sum.searches,
            inserts: sum.inserts,
            removals: sum.removals,
            evictions: sum.evictions,
            reflected: sum.reflected,
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
            log_lost: self.parts.held_back.load(Ordering::Relaxed)
                + reports.iter().map(|report| report.log_lost).sum::<u64>(),
            workers: reports
                .iter()
                .enumerate()
                .map(|(i, report)| protocol::WorkerInfo {
                    worker: i as u16,
                    cpu: self.parts.cpus.get(i).copied().flatten(),
                    states: report.states.into(),
                    frames: report.counters.judged - report.counters.handed_over,
                    handed_over: report.counters.handed_over,
                    back_pressure: report.back_pressure,
                })
                .collect(),
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
        let ports = self.parts.ports.0.iter().zip(&sum.ports).enumerate();
        Ok(ports
            .map(|(i, (port, counters))| {
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
                    cleared: self.parts.clock.now().since(in_force.cleared).as_secs(),
                    traffic: std::array::from_fn(|i| {
                        let [passed, blocked] = traffic[i].map(|t| [t.packets, t.bytes]);
                        protocol::Traffic { passed, blocked }
                    }),
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
        let in_force = self.in_force.lock();
        let program = in_force.program.as_ref();
        let limits = program.map(|program| program.rules().options.limits.clone());
        vec![protocol::Limit {
            name: "states".into(),
            limit: limits.unwrap_or_default().states.into(),
            used: self.parts.shared.states().into(),
            peak: self.parts.shared.high_water().into(),
            reserved: self.parts.reserved.into(),
        }]
    }
}

fn summed(reports: &[Report]) -> Counters {
    let mut sum = Counters::default();
    for report in reports {
        sum.merge(&report.counters);
    }
    sum
}
