//! `make bench-flood`: visitors of a web server under a SYN flood, behind weir and behind the kernel's
//! own means, in labs of the same shape, in the same run, round by round in turn; and what the proxy
//! costs long transfers.
//!
//! `weir-flood [--rounds N] [--seconds N] [--only WORD]`; three rounds, two seconds a phase, and every
//! contender if nothing is said. Needs root.
//!
//! In each round, for each contender: fifty visitors fetch four pages a second each, over a new
//! connection each time, from a server that keeps no SYN cookies of its own (one contender is just
//! that). First nobody else is there. Then the rate of SYNs is found that is taken without loss, by
//! halves; then a flood of 70 % of that comes from random sources, then one as fast as the sender can.
//!
//! How to read it: all of it, the sender of the flood too, shares the cores of this machine. The
//! kernel works in the context of whoever sends: there it is the sender who slows down, so that
//! nothing is lost, and a flood is never larger than what the kernel can do. A process in user space
//! works beside the sender, and what it cannot take is lost in its port's queue, with the SYNs of
//! visitors among it.

#![forbid(unsafe_code)]
#![allow(clippy::cast_precision_loss, reason = "figures are rounded anyway")]

mod contender;
mod report;
mod throughput;
mod trial;

use std::process::ExitCode;

use weir_tests::lab::{Io, Namespace};
use weir_tests::rounds::Rounds;

use self::contender::CONTENDERS;

fn main() -> ExitCode {
    let usual = Rounds { rounds: 3, seconds: 2, only: String::new() };
    let Some(Rounds { rounds, seconds, only }) = usual.read(std::env::args().skip(1)) else {
        eprintln!("usage: weir-flood [--rounds N] [--seconds N] [--only WORD]");
        return ExitCode::from(2);
    };
    if !rustix::process::geteuid().is_root() {
        eprintln!("weir-flood makes network namespaces and needs root");
        return ExitCode::FAILURE;
    }
    let handler = ctrlc::set_handler(|| {
        Namespace::remove_all();
        std::process::exit(130);
    });
    if let Err(error) = handler {
        eprintln!("Ctrl-C will not clean up: {error}");
    }
    let mut trials = [const { Vec::new() }; CONTENDERS.len()];
    let mut rates = [Io::Packet, Io::Xdp].map(|io| (io, Vec::new()));
    for round in 1..=rounds {
        for (contender, trials) in CONTENDERS.iter().zip(&mut trials) {
            if !contender.name.contains(&only) {
                continue;
            }
            eprintln!("round {round}/{rounds}: {}", contender.name);
            match trial::run(contender, seconds, u64::from(round)) {
                Ok(trial) => trials.push(trial),
                Err(lacks) => eprintln!("this kernel cannot do it: {lacks}"),
            }
        }
        for (io, rates) in &mut rates {
            if "transfers".contains(&only) {
                eprintln!("round {round}/{rounds}: transfers, {io}");
                rates.push(throughput::run(*io, seconds));
            }
        }
    }
    println!(
        "{}{}{}",
        report::visits(&trials),
        report::accounts(&trials),
        report::transfers(&rates)
    );
    for (contender, trials) in CONTENDERS.iter().zip(&trials) {
        if trials.is_empty() && contender.name.contains(&only) {
            println!("{}: not measured, this kernel cannot do it.", contender.name);
        }
    }
    ExitCode::SUCCESS
}
