//! `make bench-compare`: weir beside the kernel's bridge and beside a forwarder that does not
//! filter, in labs of the same shape, in the same run, round by round in turn, so that whatever
//! else the machine does meets all of them. Medians and the spread of all rounds.
//!
//! `weir-compare [--rounds N] [--seconds N] [--only WORD]`; five rounds, a second a figure and every
//! contender if nothing is said, which takes about seven minutes. The filters get the same twenty
//! rules, of which the last lets everything pass.
//!
//! How to read it: the kernel forwards in the context of the sender's system call, so that generator
//! and bridge share a core; a process in user space has one of its own. Packet rates of the two are
//! no fair pair, those of weir and the unfiltered forwarder are, and so are throughput and
//! connections. Over `AF_XDP` in driver mode a veth peer has no segmentation offload; the unfiltered
//! forwarder needs hosts that finish their checksums, and the rows marked so have these.
//! Needs root.

#![forbid(unsafe_code)]

mod contender;
mod figures;
mod table;

use std::process::ExitCode;

use weir_tests::lab::{Family, Lab, Namespace};
use weir_tests::rounds::Rounds;

use self::contender::{CONTENDERS, Contender, start};
use self::figures::{Figures, NAMES};

fn main() -> ExitCode {
    let usual = Rounds { rounds: 5, seconds: 1, only: String::new() };
    let Some(Rounds { rounds, seconds, only }) = usual.read(std::env::args().skip(1)) else {
        eprintln!("usage: weir-compare [--rounds N] [--seconds N] [--only WORD]");
        return ExitCode::from(2);
    };
    if !rustix::process::geteuid().is_root() {
        eprintln!("weir-compare makes network namespaces and needs root");
        return ExitCode::FAILURE;
    }
    let handler = ctrlc::set_handler(|| {
        Namespace::remove_all();
        std::process::exit(130);
    });
    if let Err(error) = handler {
        eprintln!("Ctrl-C will not clean up: {error}");
    }
    let mut results = [const { [const { Vec::new() }; NAMES.len()] }; CONTENDERS.len()];
    for round in 1..=rounds {
        for (contender, results) in CONTENDERS.iter().zip(&mut results) {
            if !contender.name.contains(&only) {
                continue;
            }
            let measured = measure(contender, seconds.into());
            eprintln!("round {round}/{rounds}: {:<38} {measured:.3?}", contender.name);
            for (figure, results) in measured.into_iter().zip(results) {
                results.push(figure);
            }
        }
    }
    println!("{}", table::table(&results));
    ExitCode::SUCCESS
}

/// Builds a lab around a contender and takes its figures.
fn measure(contender: &Contender, seconds: u64) -> Figures {
    let lab = Lab::new();
    if !contender.offloads {
        for host in [&lab.client, &lab.server] {
            host.run(&["ethtool", "-K", "eth0", "tx", "off", "tso", "off", "gso", "off"])
                .expect_success();
        }
    }
    let _running = start(&lab, contender.kind);
    // Addresses resolved, and proof that it forwards at all.
    weir_tests::lab::eventually("a ping passes", || lab.pings(Family::Inet));
    figures::take(&lab, seconds)
}
