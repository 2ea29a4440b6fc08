//! Frames, as ports, the engine and the workers count them.

use weir_engine::{Counters, Reason};

use crate::control::Control;
use crate::mailbox::Report;
use crate::metrics::Page;

impl Control {
    pub(super) fn tell_traffic(&self, page: &mut Page, sum: &Counters) {
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

    pub(super) fn tell_ports(&self, page: &mut Page, reports: &[Report]) {
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
}

pub(super) fn tell_workers(page: &mut Page, reports: &[Report]) {
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
