//! `weir explain`: the way of a packet through the rules of a file, or of the running firewall.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use weir_config::probe;
use weir_config::rules::KeepState;
use weir_engine::packet::describe::describe;
use weir_engine::packet::{Address, Packet, Tags};
use weir_engine::{Checksum, Meta, PortIndex};
use weir_hw::pcap::file::Reader;
use weir_shell::explanation::Explanation;
use weir_shell::protocol::{Explain, SOCKET};

use super::fate::{Fate, Question};
use super::frame;
use super::policy::{Policy, Ports};
use super::telling::Teller;

/// Arguments of `weir explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A packet in words:
  in on wan proto tcp from 192.0.2.1 to 198.51.100.2 port 22
  in on lan inet6 proto udp from 2001:db8::1 port 40000 to 2001:db8::53 port domain
  in on lan from 10.0.0.1 to 10.0.0.2 icmp-type unreach code port-unr
More words: flags SA, tos, ttl, length, vlan 5 or 9.5, pppoe 1, prio,
ether from MAC to MAC, options, fragment, tagged TAG, id.

The exit status is 0 if it passes (with -r: if all do), 1 if it is blocked, 2 after an error.")]
pub struct Arguments {
    /// The rule file; - is standard input
    #[arg(long, value_name = "FILE", required_unless_present = "live")]
    rules: Option<OsString>,
    /// Define a macro, as weirctl -D
    #[arg(short = 'D', value_name = "NAME=VALUE", requires = "rules")]
    define: Vec<String>,
    #[command(flatten)]
    ports: Ports,
    /// Ask the running firewall: its rules, tables and states
    #[arg(long, conflicts_with_all = ["rules", "config", "lan", "wan", "read"])]
    live: bool,
    /// Its control socket
    #[arg(long, value_name = "PATH", default_value = SOCKET, requires = "live")]
    socket: PathBuf,
    /// Explain the packets of a pcap file; such of flows that an earlier one makes a state for pass
    #[arg(short, long, value_name = "FILE", requires = "on", conflicts_with = "packet")]
    read: Option<PathBuf>,
    /// The port at which the packets of the file arrive
    #[arg(long, value_name = "PORT", requires = "read")]
    on: Option<String>,
    /// Stop after so many packets
    #[arg(long, value_name = "N", requires = "read")]
    count: Option<u64>,
    /// Tell every rule, not just those that match
    #[arg(short, long)]
    verbose: bool,
    /// Print JSON, an object a line
    #[arg(long)]
    json: bool,
    /// The packet in words, quoted or not
    #[arg(value_name = "PACKET", required_unless_present = "read")]
    packet: Vec<String>,
}

/// Runs the command.
pub fn main(arguments: &Arguments) -> ExitCode {
    let mut out = BufWriter::new(io::stdout().lock());
    let done = run(arguments, &mut out).and_then(|passes| {
        out.flush().map_err(|error| Failure::Output(error.kind()))?;
        Ok(passes)
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(Failure::Output(kind)) => {
            // `weir explain -r big.pcap | head` is no mistake, but what passes is not known.
            if kind != io::ErrorKind::BrokenPipe {
                eprintln!("weir explain: {kind}");
            }
            ExitCode::from(2)
        }
        Err(Failure::Said(text)) => {
            // What was told before is worth seeing.
            let _ = out.flush();
            eprintln!("{text}");
            ExitCode::from(2)
        }
    }
}

enum Failure {
    /// To be said on standard error.
    Said(String),
    /// Standard output is gone.
    Output(io::ErrorKind),
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::Said(text)
    }
}

/// Whether everything passes.
fn run(arguments: &Arguments, out: &mut impl Write) -> Result<bool, Failure> {
    let words = arguments.packet.join(" ");
    if arguments.live {
        let explain = Explain { packet: words, all: arguments.verbose };
        let told = weir_shell::explanation::ask(&arguments.socket, explain)
            .map_err(|error| format!("weir explain: {error}"))?;
        print(out, &told, arguments.json)?;
        return Ok(told.passes);
    }
    let file = arguments.rules.clone().unwrap_or_else(|| "-".into());
    let policy = Policy::read(&file, &arguments.define, arguments.ports.names()?)?;
    policy.warnings.iter().for_each(|warning| eprintln!("{warning}"));
    let teller = policy.teller(arguments.verbose);
    if let (Some(file), Some(on)) = (&arguments.read, &arguments.on) {
        let port = frame::port(on, &policy.ports).map_err(|text| format!("--on: {text}"))?;
        let most = arguments.count.unwrap_or(u64::MAX);
        return capture(&teller, file, port, most, arguments.json, out);
    }
    let told = explain_words(&teller, &words)?;
    print(out, &told, arguments.json)?;
    Ok(told.passes)
}

fn print(out: &mut impl Write, told: &Explanation, json: bool) -> Result<(), Failure> {
    let printed = if json {
        serde_json::to_writer(&mut *out, told).map_err(io::Error::from).and_then(|()| writeln!(out))
    } else {
        write!(out, "{told}")
    };
    printed.map_err(|error| Failure::Output(error.kind()))
}

/// Explains a packet in words.
///
/// # Errors
/// Everything that is wrong with the words, a line each.
pub fn explain_words(teller: &Teller<'_>, words: &str) -> Result<Explanation, String> {
    let probe =
        probe::packet("packet", words).map_err(|found| found.to_string().trim_end().to_owned())?;
    let port = frame::port(&probe.port, teller.ports)?;
    let bytes = frame::frame(&probe);
    let meta = frame::meta(&bytes, port);
    let question = Question { head: &bytes, meta, link_tag: probe.tagged.as_deref() };
    let (mut told, _) = teller.explain(probe.to_string(), &question);
    told.notes.extend(frame::note(teller.program.rules(), &probe));
    Ok(told)
}

/// The two ends of a flow in an order that both directions share, and what else tells flows apart.
type Flow = ([(Address, u16); 2], u8, Tags);

fn flow(packet: &Packet) -> Flow {
    let mut ends =
        [(packet.source, packet.source_port), (packet.destination, packet.destination_port)];
    ends.sort_unstable();
    (ends, packet.protocol, packet.tags)
}

/// Explains the packets of a file, all arriving at one port.
fn capture(
    teller: &Teller<'_>,
    path: &Path,
    port: PortIndex,
    most: u64,
    json: bool,
    out: &mut impl Write,
) -> Result<bool, Failure> {
    let name = path.display();
    let wrong = |error: &dyn std::fmt::Display| Failure::Said(format!("{name}: {error}"));
    let file = File::open(path).map_err(|error| wrong(&error))?;
    let mut reader = Reader::new(BufReader::new(file)).map_err(|error| wrong(&error))?;
    let mut bytes = Vec::new();
    let mut states: HashMap<Flow, u64> = HashMap::new();
    let mut all_pass = true;
    let mut number = 0;
    while number < most
        && let Some(record) = reader.next(&mut bytes).map_err(|error| wrong(&error))?
    {
        number += 1;
        let title = format!("#{number} {}", describe(&bytes, record.length));
        // The checksum of a packet that its own host has captured is not finished.
        let meta = Meta { port, checksum: Checksum::Valid, gso_size: 0, length: record.length };
        let question = Question { head: &bytes, meta, link_tag: None };
        let packet = Packet::parse(&bytes, &meta).ok();
        let known = packet.as_ref().and_then(|packet| states.get(&flow(packet)));
        let told = if let Some(maker) = known {
            of_known_flow(title, *maker)
        } else {
            let (told, fate) = teller.explain(title, &question);
            if let Some(packet) = packet.filter(|_| makes_state(&fate)) {
                states.insert(flow(&packet), number);
            }
            told
        };
        all_pass &= told.passes;
        if number > 1 && !json {
            writeln!(out).map_err(|error| Failure::Output(error.kind()))?;
        }
        print(out, &told, json)?;
    }
    Ok(all_pass)
}

fn makes_state(fate: &Fate) -> bool {
    fate.passes() && fate.decision.is_some_and(|decision| decision.keeps != KeepState::No)
}

fn of_known_flow(packet: String, maker: u64) -> Explanation {
    Explanation {
        packet,
        passes: true,
        reason: None,
        because: format!("it belongs to the state that packet #{maker} makes"),
        state: None,
        sides: Vec::new(),
        makes: None,
        notes: Vec::new(),
    }
}
