//! What Prometheus is told: everything that is counted, on one page.

mod labels;
mod traffic;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use weir_engine::{Counters, Phases, Program};
use weir_shell::protocol::Limit;

use self::labels::Labels;
use self::traffic::tell_workers;
use super::listings::summed;
use super::{Control, Refused};
use crate::mailbox::Report;
use crate::metrics::Page;

/// How long a page serves.
const FRESH: Duration = Duration::from_secs(1);

/// How often it is tried to catch the workers when nobody loads rules.
const ATTEMPTS: u32 = 5;

/// What is measured on the control side.
#[derive(Debug, Default)]
pub(super) struct Measured {
    page: Mutex<Option<(Instant, Arc<str>)>>,
    labels: Mutex<Labels>,
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
    /// The page of metrics, as of a second ago at most: more clients cost the workers no more.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub fn metrics(&self) -> Result<Arc<str>, Refused> {
        // Held while it is made: others who ask meanwhile get the same.
        let mut kept = self.measured.page.lock();
        if let Some((at, page)) = &*kept
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(page));
        }
        let page: Arc<str> = self.page()?.into();
        *kept = Some((Instant::now(), Arc::clone(&page)));
        Ok(page)
    }

    fn page(&self) -> Result<String, Refused> {
        let mut page = Page::default();
        let (program, reports) = self.counted()?;
        let sum = summed(&reports);
        self.tell_status(&mut page);
        self.tell_traffic(&mut page, &sum);
        self.tell_ports(&mut page, &reports);
        self.tell_states(&mut page, &sum, &reports);
        tell_limits(&mut page, &self.memory());
        if let Some(program) = program {
            self.measured.labels.lock().look(&program, &reports);
        }
        self.measured.labels.lock().tell(&mut page);
        self.tell_synproxy(&mut page, &sum);
        tell_workers(&mut page, &reports);
        self.tell_log(&mut page, &reports);
        self.tell_flows(&mut page, &reports);
        self.tell_control(&mut page);
        Ok(page.finish())
    }

    /// What the workers have counted, and the program whose rules that is about. Nobody who loads rules
    /// waits for it; `None` if rules were loaded all the time, or there are none.
    fn counted(&self) -> Result<(Option<Arc<Program>>, Vec<Report>), Refused> {
        let in_force = || self.in_force.lock().program.clone();
        let mut before = in_force();
        for _ in 0..ATTEMPTS {
            let reports = self.reports()?;
            let after = in_force();
            if before.as_ref().map(Arc::as_ptr) == after.as_ref().map(Arc::as_ptr) {
                return Ok((after, reports));
            }
            before = after;
        }
        Ok((None, self.reports()?))
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

    fn tell_states(&self, page: &mut Page, sum: &Counters, reports: &[Report]) {
        page.gauge("weir_states", "States now.").sample(&[], self.parts.shared.states().into());
        page.gauge("weir_half_open_states", "TCP states whose handshake is not complete.")
            .sample(&[], self.parts.shared.half_open().into());
        let mut phases = Phases::default();
        for report in reports {
            phases.add(&report.phases);
        }
        page.gauge("weir_states_by_phase", "States by protocol and phase (set timeout).");
        for (protocol, phase, count) in phases.iter() {
            page.sample(&[("protocol", protocol), ("phase", phase)], count.into());
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
        // Those of one address are told apart.
        let mut names: Vec<String> = Vec::new();
        for server in log.servers() {
            let name = server.name();
            let equals =
                names.iter().filter(|known| known.split(" #").next() == Some(name)).count();
            names.push(if equals > 0 {
                format!("{name} #{}", equals + 1)
            } else {
                name.to_owned()
            });
        }
        let servers = || names.iter().zip(log.servers());
        for (name, server) in servers() {
            page.sample(&[("to", name)], server.lost());
        }
        page.counter(
            "weir_log_held_back_total",
            "Logged packets, and messages of weir's own, that rates have held back.",
        )
        .sample(&[], log.held_back());
        page.counter("weir_log_sent_total", "Messages sent to a log server.");
        for (name, server) in servers() {
            page.sample(&[("to", name)], server.sent());
        }
        page.gauge("weir_log_waiting", "Messages that wait for a log server.");
        for (name, server) in servers() {
            page.sample(&[("to", name)], server.waiting() as u64);
        }
        page.gauge("weir_log_connected", "1 while a log server takes messages.");
        for (name, server) in servers() {
            page.sample(&[("to", name)], u64::from(server.is_connected()));
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
