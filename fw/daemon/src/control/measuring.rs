//! What Prometheus is told: everything that is counted, on one page.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use weir_engine::packet::protocol;
use weir_engine::{Counters, Reason, RuleCounters, StateView};
use weir_shell::protocol::Limit;

use super::listings::summed;
use super::{Control, Refused};
use crate::mailbox::{CHUNK, Letter, Report};
use crate::metrics::Page;

/// How long a look at all states serves.
const FRESH: Duration = Duration::from_secs(10);

/// States by protocol and phase.
type Phases = BTreeMap<(&'static str, &'static str), u64>;

/// What is measured on the control side.
#[derive(Debug, Default)]
pub(super) struct Measured {
    phases: Mutex<Option<(Instant, Phases)>>,
    round_trips: AtomicU64,
    round_trip_nanos: AtomicU64,
    last_nanos: AtomicU64,
}

impl Measured {
    /// All workers have answered in that time.
    pub(super) fn note_round_trip(&self, time: Duration) {
        let nanos = time.as_nanos() as u64;
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        self.round_trip_nanos.fetch_add(nanos, Ordering::Relaxed);
        self.last_nanos.store(nanos, Ordering::Relaxed);
    }
}

impl Control {
    /// The page of metrics.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub fn metrics(&self) -> Result<String, Refused> {
        let mut page = Page::default();
        let phases = self.phases()?;
        let (reports, labels) = {
            let in_force = self.in_force.lock();
            let reports = self.reports()?;
            let mut labels: BTreeMap<String, RuleCounters> = BTreeMap::new();
            let rules = in_force.program.iter().flat_map(|program| {
                let rules = program.rules();
                let inner = rules.anchors.values().flat_map(|anchor| &anchor.rules);
                rules.rules.iter().chain(inner)
            });
            for (id, label) in
                rules.enumerate().filter_map(|(id, rule)| Some((id, rule.label.as_ref()?)))
            {
                let sum = labels.entry(label.clone()).or_default();
                reports
                    .iter()
                    .filter_map(|report| report.rules.get(id))
                    .for_each(|counted| add(sum, counted));
            }
            (reports, labels)
        };
        let sum = summed(&reports);
        self.tell_status(&mut page);
        self.tell_traffic(&mut page, &sum);
        self.tell_ports(&mut page, &reports);
        self.tell_states(&mut page, &sum, &phases);
        tell_limits(&mut page, &self.memory());
        tell_labels(&mut page, &labels);
        self.tell_synproxy(&mut page, &sum);
        tell_workers(&mut page, &reports);
        self.tell_log(&mut page, &reports);
        self.tell_flows(&mut page, &reports);
        self.tell_control(&mut page);
        Ok(page.finish())
    }

    fn tell_status(&self, page: &mut Page) {
        let (now, version) = (self.parts.clock.now(), env!("CARGO_PKG_VERSION"));
        let (blocked, open) = {
            let in_force = self.in_force.lock();
            (in_force.origin.is_none(), in_force.open_until.is_some_and(|until| until > now))
        };
        page.gauge("weir_info", "What runs: version, and how frames are moved.")
            .sample(&[("version", version), ("io", &self.parts.io.to_string())], 1);
        page.gauge("weir_uptime_seconds", "Time since the start.").seconds(&[], now.0);
        page.gauge(
            "weir_filtering",
            "1 while rules are in force, 0 while all is blocked or passes.",
        )
        .sample(&[], u64::from(!blocked && !open));
        page.gauge("weir_open", "1 while filtering is disabled and everything passes.")
            .sample(&[], u64::from(open));
    }

    fn tell_traffic(&self, page: &mut Page, sum: &Counters) {
        let ports = || self.parts.ports.0.iter().zip(&sum.ports);
        let each = |page: &mut Page, what: fn(&weir_engine::counters::Tally) -> u64| {
            for (port, counters) in ports() {
                for (family, ways) in ["inet", "inet6", "other"].into_iter().zip(&counters.traffic)
                {
                    for (way, verdicts) in ["in", "out"].into_iter().zip(ways) {
                        for (verdict, tally) in ["pass", "block"].into_iter().zip(verdicts) {
                            let labels = [
                                ("port", &*port.role),
                                ("family", family),
                                ("direction", way),
                                ("verdict", verdict),
                            ];
                            page.sample(&labels, what(tally));
                        }
                    }
                }
            }
        };
        page.counter(
            "weir_packets_total",
            "Packets judged, by port, family, direction and verdict.",
        );
        each(page, |tally| tally.packets);
        page.counter("weir_bytes_total", "Bytes of these.");
        each(page, |tally| tally.bytes);
        page.counter("weir_dropped_total", "Frames dropped, by reason.");
        for &reason in Reason::ALL {
            page.sample(&[("reason", reason.name())], sum.reasons[reason as usize]);
        }
        page.counter("weir_frames_total", "Frames judged.")
            .sample(&[], sum.judged - sum.handed_over);
        page.counter(
            "weir_unfiltered_total",
            "Frames passed unjudged while filtering was disabled.",
        )
        .sample(&[], sum.unfiltered);
        page.counter("weir_reflected_total", "Answers to blocked packets.")
            .sample(&[], sum.reflected);
        page.counter("weir_crafted_total", "Other frames that weir itself has sent.")
            .sample(&[], sum.crafted);
    }

    fn tell_ports(&self, page: &mut Page, reports: &[Report]) {
        type Count = fn(&weir_hw::Stats) -> u64;
        let counts: [(&'static str, &str, Count); 7] = [
            ("weir_port_received_total", "Frames that a port took in.", |stats| stats.received),
            ("weir_port_sent_total", "Frames that a port gave out.", |stats| stats.transmitted),
            ("weir_port_missed_total", "Frames lost before weir saw them.", |stats| stats.missed),
            ("weir_port_malformed_total", "Frames that came in broken.", |stats| stats.malformed),
            ("weir_port_unsendable_total", "Frames that a port can never send.", |stats| {
                stats.unsendable
            }),
            (
                "weir_port_transmit_full_total",
                "Rounds in which a full transmit ring left frames waiting.",
                |stats| stats.transmit_full,
            ),
            (
                "weir_port_pool_empty_total",
                "Rounds in which an empty pool left frames in the ring.",
                |stats| stats.pool_empty,
            ),
        ];
        for (name, help, count) in counts {
            page.counter(name, help);
            for (i, port) in self.parts.ports.0.iter().enumerate() {
                let of_port = reports.iter().filter_map(|report| report.ports.get(i));
                let labels = [("port", &*port.role), ("interface", &*port.interface)];
                page.sample(&labels, of_port.map(count).sum());
            }
        }
    }

    fn tell_states(&self, page: &mut Page, sum: &Counters, phases: &Phases) {
        page.gauge("weir_states", "States now.").sample(&[], self.parts.shared.states().into());
        page.gauge("weir_half_open_states", "TCP states whose handshake is not complete.")
            .sample(&[], self.parts.shared.half_open().into());
        page.gauge(
            "weir_states_by_phase",
            "States by protocol and phase, as of ten seconds ago at most.",
        );
        for ((protocol, phase), count) in phases {
            page.sample(&[("protocol", protocol), ("phase", phase)], *count);
        }
        for (name, help, count) in [
            ("weir_states_created_total", "States made.", sum.inserts),
            ("weir_states_ended_total", "States that ended.", sum.removals),
            (
                "weir_states_evicted_total",
                "Unproven states that made room for new ones.",
                sum.evictions,
            ),
            ("weir_state_searches_total", "Look-ups in the state table.", sum.searches),
            ("weir_late_packets_total", "Packets of TCP connections that had ended.", sum.late),
        ] {
            page.counter(name, help).sample(&[], count);
        }
        let sources = self.parts.shared.sources();
        let (begun, ended) = sources.turnover();
        page.gauge("weir_sources", "Sources that rules limit.").sample(&[], sources.used().into());
        page.counter("weir_sources_created_total", "Sources that were seen anew.")
            .sample(&[], begun);
        page.counter("weir_sources_ended_total", "Sources that were forgotten.").sample(&[], ended);
    }

    fn tell_synproxy(&self, page: &mut Page, sum: &Counters) {
        let counted = &sum.synproxy;
        page.gauge(
            "weir_syncookies_active",
            "1 while SYNs without a rule of their own are answered with cookies.",
        )
        .sample(&[], u64::from(self.parts.shared.uses_syncookies()));
        page.counter("weir_synproxy_total", "Handshakes that weir makes, by what became of them.");
        for (event, count) in [
            ("sent", counted.sent),
            ("resent", counted.resent),
            ("valid", counted.valid),
            ("invalid", counted.invalid),
            ("expired", counted.expired),
            ("surplus", counted.surplus),
            ("refused", counted.refused),
            ("silent", counted.silent),
            ("lacking", counted.lacking),
        ] {
            page.sample(&[("event", event)], count);
        }
    }

    fn tell_log(&self, page: &mut Page, reports: &[Report]) {
        let log = &self.parts.log;
        let rings = reports.iter().map(|report| report.log_lost).sum();
        page.counter(
            "weir_log_lost_total",
            "Log messages that were lost, by where they should have gone.",
        )
        .sample(&[("to", "ring")], rings);
        for (name, lost) in ["packets", "pflog"].into_iter().zip(log.lost()) {
            if let Some(lost) = lost {
                page.sample(&[("to", name)], lost);
            }
        }
        for server in log.servers() {
            page.sample(&[("to", server.name())], server.lost());
        }
        page.counter("weir_log_held_back_total", "Logged packets that rates have held back.")
            .sample(&[], log.held_back());
        page.counter("weir_log_sent_total", "Messages sent to a log server.");
        for server in log.servers() {
            page.sample(&[("to", server.name())], server.sent());
        }
        page.gauge("weir_log_waiting", "Messages that wait for a log server.");
        for server in log.servers() {
            page.sample(&[("to", server.name())], server.waiting() as u64);
        }
        page.gauge("weir_log_connected", "1 while a log server takes messages.");
        for server in log.servers() {
            page.sample(&[("to", server.name())], u64::from(server.is_connected()));
        }
    }

    fn tell_flows(&self, page: &mut Page, reports: &[Report]) {
        let engines: u64 = reports.iter().map(|report| report.flows_lost).sum();
        page.counter("weir_flow_records_sent_total", "Flow records sent to the collector (pflow).")
            .sample(&[], self.parts.flows.sent());
        page.counter("weir_flow_records_lost_total", "Flow records that were lost.")
            .sample(&[], self.parts.flows.lost() + engines);
    }

    fn tell_control(&self, page: &mut Page) {
        let measured = &self.measured;
        page.counter("weir_control_round_trips_total", "Questions that all workers have answered.")
            .sample(&[], measured.round_trips.load(Ordering::Relaxed));
        page.counter("weir_control_round_trip_seconds_total", "How long they took together.")
            .seconds(&[], measured.round_trip_nanos.load(Ordering::Relaxed));
        page.gauge("weir_control_round_trip_seconds", "How long the last one took.")
            .seconds(&[], measured.last_nanos.load(Ordering::Relaxed));
    }

    /// States by protocol and phase. Looking at a million takes a while, a piece at a time between
    /// batches: it is not done more often than there is reason to.
    fn phases(&self) -> Result<Phases, Refused> {
        // Held meanwhile: others who ask get what is found.
        let mut kept = self.measured.phases.lock();
        if let Some((at, phases)) = &*kept
            && at.elapsed() < FRESH
        {
            return Ok(phases.clone());
        }
        let mut phases = Phases::new();
        let mut room = Vec::with_capacity(CHUNK);
        for mailbox in &self.parts.mailboxes {
            let mut cursor = Some(0);
            while let Some(at) = cursor {
                (room, cursor) = mailbox.ask(|reply| Letter::States(at, room, reply))?;
                for state in room.drain(..) {
                    *phases.entry(phase(&state)).or_default() += 1;
                }
            }
        }
        *kept = Some((Instant::now(), phases.clone()));
        Ok(phases)
    }
}

/// Protocol and phase of a state.
fn phase(state: &StateView) -> (&'static str, &'static str) {
    let [initiator, responder] = state.peers.each_ref().map(|peer| peer.state);
    let either = |names: &[&str]| names.contains(&initiator) || names.contains(&responder);
    match state.protocol {
        protocol::TCP => (
            "tcp",
            match () {
                () if either(&["PROXY", "DST"]) => "proxy",
                () if either(&["CLOSED", "SYN_SENT"])
                    && !either(&["CLOSING", "FIN_WAIT_2", "TIME_WAIT"]) =>
                {
                    "opening"
                }
                () if initiator == "ESTABLISHED" && responder == "ESTABLISHED" => "established",
                () if initiator == "TIME_WAIT" && responder == "TIME_WAIT" => "closed",
                () => "closing",
            },
        ),
        protocol::SCTP => (
            "sctp",
            match () {
                () if either(&["CLOSED", "COOKIE_WAIT"]) => "opening",
                () if either(&["SHUTDOWN_PENDING"]) => "closing",
                () => "established",
            },
        ),
        other => {
            let name = match other {
                protocol::UDP => "udp",
                protocol::ICMP => "icmp",
                protocol::ICMP6 => "icmp6",
                _ => "other",
            };
            let answered = responder != "NO_TRAFFIC" && responder != "0";
            (name, if answered { "answered" } else { "unanswered" })
        }
    }
}

fn add(sum: &mut RuleCounters, counted: &RuleCounters) {
    sum.evaluations += counted.evaluations;
    for way in 0..2 {
        sum.packets[way] += counted.packets[way];
        sum.bytes[way] += counted.bytes[way];
    }
    sum.states += counted.states;
    sum.states_total += counted.states_total;
}

fn tell_limits(page: &mut Page, limits: &[Limit]) {
    type Count = fn(&Limit) -> u64;
    let counts: [(&'static str, &str, Count); 3] = [
        ("weir_limit", "How many of something there may be (set limit).", |limit| limit.limit),
        ("weir_limit_used", "How many there are.", |limit| limit.used),
        ("weir_limit_peak", "How many there were at most.", |limit| limit.peak),
    ];
    for (name, help, count) in counts {
        page.gauge(name, help);
        for limit in limits {
            page.sample(&[("limit", &limit.name)], count(limit));
        }
    }
}

fn tell_labels(page: &mut Page, labels: &BTreeMap<String, RuleCounters>) {
    type Count = fn(&RuleCounters) -> u64;
    let counts: [(&'static str, &str, Count); 5] = [
        ("weir_label_evaluations_total", "Times that rules with a label were asked.", |rule| {
            rule.evaluations
        }),
        (
            "weir_label_packets_total",
            "Packets that rules with a label have decided, with those of their states.",
            |rule| rule.packets[0] + rule.packets[1],
        ),
        ("weir_label_bytes_total", "Bytes of these.", |rule| rule.bytes[0] + rule.bytes[1]),
        ("weir_label_states_total", "States that rules with a label have made.", |rule| {
            rule.states_total
        }),
        ("weir_label_states", "States that they have now.", |rule| rule.states.into()),
    ];
    for (name, help, count) in counts {
        if name.ends_with("_total") {
            page.counter(name, help)
        } else {
            page.gauge(name, help)
        };
        for (label, counted) in labels {
            page.sample(&[("label", label)], count(counted));
        }
    }
}

fn tell_workers(page: &mut Page, reports: &[Report]) {
    type Count = fn(&Report) -> u64;
    let numbers: Vec<String> = (0..reports.len()).map(|number| number.to_string()).collect();
    let workers = || numbers.iter().zip(reports);
    page.counter("weir_worker_busy_seconds_total", "Time that a worker had something to do.");
    for (number, report) in workers() {
        page.seconds(&[("worker", number)], report.busy);
    }
    let counts: [(&'static str, &str, Count); 3] = [
        ("weir_worker_frames_total", "Frames that a worker judged.", |report| {
            report.counters.judged - report.counters.handed_over
        }),
        (
            "weir_worker_handed_over_total",
            "Frames that a worker gave to the one that owns their flow.",
            |report| report.counters.handed_over,
        ),
        (
            "weir_worker_back_pressure_total",
            "Rounds in which a worker did not receive, since a queue was half full.",
            |report| report.back_pressure,
        ),
    ];
    for (name, help, count) in counts {
        page.counter(name, help);
        for (number, report) in workers() {
            page.sample(&[("worker", number)], count(report));
        }
    }
    page.gauge("weir_worker_states", "States in a worker's table.");
    for (number, report) in workers() {
        page.sample(&[("worker", number)], report.states.into());
    }
}
