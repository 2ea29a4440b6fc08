//! `weir replay`: packets of capture files through the daemon's own workers, in the time at which they
//! were captured.
//!
//! [`feed`] reads the files, [`stage`] has the workers, [`report`] prints what becomes of the packets
//! and [`output`] writes those that leave. Nothing depends on the machine's clock or on chance: the
//! same input and the same seed have the same outcome, byte for byte.

mod feed;
mod output;
mod report;
mod stage;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use weir_config::PortPrefixes;
use weir_config::settings::NicName;
use weir_engine::{Engine, Instant, PortIndex, PortNames};
use weir_hw::Checksum;
use weir_shell::check::refuse_unbuilt;
use weir_shell::protocol::Load;
use weir_shell::source::{Gathered, gather};

use self::feed::{Feed, Packet, Split};
use self::output::Output;
use self::report::{End, Report};
use self::stage::{Outcome, Plan, Stage};
use crate::clock::Clock;
use crate::control::Change;
use crate::history::Author;
use crate::log::Teller;
use crate::rules::Programs;
use crate::tools::policy::{self, unknown_ports};

/// Arguments of `weir replay`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Files are pcap or pcapng, of Ethernet frames. A frame that was sent by the port that it was captured
at (pcapng says so, and `weir capture` writes it) is left out: weir sends it again itself.
Packets that were cut when they were captured are filled up with zeros.

The exit status is 0, or 2 after an error; what was replayed before it is told.")]
pub struct Arguments {
    /// The rule file; - is standard input
    #[arg(long, value_name = "FILE")]
    rules: OsString,
    /// Define a macro, as weirctl -D
    #[arg(short = 'D', value_name = "NAME=VALUE")]
    define: Vec<String>,
    /// Packets that arrive at the LAN
    #[arg(long, value_name = "PCAP", required_unless_present_any = ["wan", "read"])]
    lan: Option<PathBuf>,
    /// Packets that arrive at the WAN
    #[arg(long, value_name = "PCAP")]
    wan: Option<PathBuf>,
    /// Packets that arrive at either: by the names of a pcapng file's interfaces, or by --lan-mac
    #[arg(long, short, value_name = "PCAP", conflicts_with_all = ["lan", "wan"])]
    read: Option<PathBuf>,
    /// Hardware address on the LAN; may be given again. All others are on the WAN
    #[arg(long, value_name = "MAC", requires = "read", value_parser = feed::mac)]
    lan_mac: Vec<[u8; 6]>,
    /// Settings file that names the interfaces of lan and wan and the networks behind them [default:
    /// /etc/weir/weir.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What the rules, or the file, call the LAN's interface
    #[arg(long, value_name = "IF")]
    lan_name: Option<NicName>,
    /// What the rules, or the file, call the WAN's interface
    #[arg(long, value_name = "IF")]
    wan_name: Option<NicName>,
    /// Workers that share the packets
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=i64::from(Engine::MAX_WORKERS)))]
    workers: u16,
    /// Where the keys of hashes and cookies and the dice of rules come from
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Stop after so many packets
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Go on for so many seconds after the last packet
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    linger: u32,
    /// Write what leaves by the LAN to a pcap file
    #[arg(long, value_name = "PCAP")]
    out_lan: Option<PathBuf>,
    /// Write what leaves by the WAN to a pcap file
    #[arg(long, value_name = "PCAP")]
    out_wan: Option<PathBuf>,
    /// Write what leaves by either to a pcapng file with two interfaces
    #[arg(long, value_name = "PCAPNG")]
    out: Option<PathBuf>,
    /// Tell every packet with its verdict and the rules that decided, not just the log
    #[arg(short, long)]
    verbose: bool,
    /// Print JSON, an object a line; the last one holds the statistics
    #[arg(long)]
    json: bool,
}

/// Why it ends early.
enum Failure {
    /// To be said on standard error.
    Said(String),
    /// Standard output is gone.
    Output(io::Error),
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::Said(text)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Runs the command.
pub fn main(arguments: &Arguments) -> ExitCode {
    // What the control side has to say about sources that exceed limits.
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .init();
    let out = BufWriter::new(io::stdout().lock());
    match run(arguments, out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Output(error)) => {
            // `weir replay -v | head` is no mistake.
            if error.kind() != io::ErrorKind::BrokenPipe {
                eprintln!("weir replay: {error}");
            }
            ExitCode::from(2)
        }
        Err(Failure::Said(text)) => {
            eprintln!("{text}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments, out: impl Write) -> Result<(), Failure> {
    let names = policy::Ports::new(
        arguments.config.clone(),
        arguments.lan_name.clone(),
        arguments.wan_name.clone(),
    );
    let ports = names.names()?;
    let (load, states) = rules(arguments, &ports)?;
    let inputs = inputs(arguments, &ports);
    for path in [&arguments.out_lan, &arguments.out_wan, &arguments.out].into_iter().flatten() {
        if feed::is_among(path, &inputs) {
            return Err(format!("{}: is read, and cannot be written", path.display()).into());
        }
    }
    let mut feed = Feed::open(inputs)?;
    let mut output = Output::create(
        [arguments.out_lan.as_deref(), arguments.out_wan.as_deref()],
        arguments.out.as_deref(),
    )?;
    let begin = feed.next_time().unwrap_or_default();
    let clock = Clock::standing(Duration::from_nanos(begin));
    let programs: Arc<Programs> = Arc::default();
    let mut stage = Stage::new(Plan {
        workers: arguments.workers,
        states,
        seed: arguments.seed,
        ports,
        clock,
        programs: Arc::clone(&programs),
    })?;
    let loaded =
        stage.attend(|control| control.load(&load, &Change::plain(Author::Start, "replay")))?;
    let loaded = loaded.map_err(|refused| refused.to_string())?;
    loaded.warnings.iter().for_each(|warning| eprintln!("{warning}"));
    stage.watch()?;
    let mut report = Report {
        out,
        teller: Teller { roles: ["lan".into(), "wan".into()].into(), programs },
        clock,
        verbose: arguments.verbose,
        json: arguments.json,
        verdicts: BTreeMap::new(),
        left: [0; 2],
    };
    let replayed = play(arguments, &mut feed, &mut stage, &mut output, &mut report);
    if let Err(failure @ Failure::Output(_)) = replayed {
        return Err(failure);
    }
    // After an error what was replayed before it is told, too.
    output.finish()?;
    let told = stage
        .attend(|control| Ok((control.info()?, control.rules("", true)?, control.interfaces()?)))?;
    let (info, rules, interfaces) =
        told.map_err(|refused: crate::control::Refused| refused.to_string())?;
    report.end(&End {
        counts: &feed.counts,
        info: &info,
        rules: &rules,
        interfaces: &interfaces,
        unseen: stage.unseen(),
    })?;
    report.out.flush()?;
    replayed
}

/// Every packet in its time.
fn play(
    arguments: &Arguments,
    feed: &mut Feed,
    stage: &mut Stage,
    output: &mut Output,
    report: &mut Report<impl Write>,
) -> Result<(), Failure> {
    let begin = feed.next_time().unwrap_or_default();
    let most = arguments.count.unwrap_or(u64::MAX);
    let mut number = 0;
    while number < most
        && let Some(packet) = feed.next()?
    {
        let Packet { time, port, bytes, is_cut } = packet;
        stage.wait(Instant(time - begin), &mut |at, outcome| {
            write_down(number, at, &outcome, output, report)
        })?;
        number += 1;
        // A host may have captured before its network interface has made the checksum; the sum of what
        // is not there nobody can make.
        let checksum = if is_cut { Checksum::Complete } else { Checksum::MaybePartial };
        let outcome = stage.feed(port, bytes, checksum)?;
        write_down(number, stage.now(), &outcome, output, report)?;
    }
    let end = stage.now().after(Duration::from_secs(arguments.linger.into()));
    stage.wait(end, &mut |at, outcome| write_down(number, at, &outcome, output, report))
}

/// Prints and writes what has come of the packet of that number, or of time.
fn write_down(
    number: u64,
    at: Instant,
    outcome: &Outcome,
    output: &mut Output,
    report: &mut Report<impl Write>,
) -> Result<(), Failure> {
    for (sighting, bytes) in &outcome.seen {
        report.packet(number, sighting, bytes)?;
    }
    for record in &outcome.log {
        report.log(record)?;
    }
    for (port, frame) in &outcome.left {
        report.left(*port);
        output.write(*port, report.clock.since_epoch(at), frame)?;
    }
    Ok(())
}

/// The rule file with all that it names, checked, and how many states it allows.
fn rules(arguments: &Arguments, ports: &PortNames) -> Result<(Load, u32), Failure> {
    let terms = Load { macros: arguments.define.clone(), ..Load::default() };
    let prefixes: Vec<_> = ports
        .0
        .iter()
        .map(|port| PortPrefixes {
            names: vec![port.role.clone(), port.interface.clone()],
            nets: port.prefixes.clone(),
        })
        .collect();
    let Gathered { load, mut checked } =
        gather(&arguments.rules, terms, &prefixes).map_err(|error| error.to_string())?;
    refuse_unbuilt(&mut checked);
    match &checked.rules {
        Some(rules) => {
            if let Some(warning) = unknown_ports(rules, ports) {
                eprintln!("{warning}");
            }
            let states = rules.options.limits.states;
            if !(1..=Engine::MAX_STATES).contains(&states) {
                let text = format!("set limit states {states}: 1 to {} can be", Engine::MAX_STATES);
                return Err(text.into());
            }
            Ok((load, states))
        }
        None => Err(checked.diagnostics.to_string().trim_end().to_owned().into()),
    }
}

/// The files, and how each is split.
fn inputs(arguments: &Arguments, ports: &PortNames) -> Vec<(PathBuf, Split)> {
    let of = |path: &Option<PathBuf>, port| path.clone().map(|path| (path, Split::Port(port)));
    let sides = [of(&arguments.lan, PortIndex::LAN), of(&arguments.wan, PortIndex::WAN)];
    let split = if arguments.lan_mac.is_empty() {
        Split::Interfaces(ports.clone())
    } else {
        Split::Macs(arguments.lan_mac.clone())
    };
    let both = arguments.read.clone().map(|path| (path, split));
    sides.into_iter().flatten().chain(both).collect()
}
