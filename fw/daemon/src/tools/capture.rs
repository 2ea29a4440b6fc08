//! `weir capture`: frames of the running firewall, printed or written to a file.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use weir_engine::packet::describe::describe;
use weir_hw::pcap::ng::{Direction, Reader};
use weir_shell::protocol::{Capture, SOCKET};

use super::following::{end, end_on_signals};
use crate::clock::Date;
use crate::log::escape;

/// Arguments of `weir capture`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A filter is said in the criteria of a rule:
  weir capture -i wan proto tcp from 192.0.2.0/24 to port 22
  weir capture -b -w ssh.pcapng in on wan inet6 proto tcp to port { ssh, telnet }
Packets are seen as they arrive at a port (in), with the verdict and the rules that decided, and as
they leave by one (out). Frames that hold no packet are seen without a filter only.

Wireshark and tcpdump read the file; the verdicts are the packets' comments.")]
pub struct Arguments {
    /// Only this port: lan, wan, or its interface
    #[arg(short, value_name = "PORT")]
    interface: Option<String>,
    /// Write to a pcapng file; - is standard output
    #[arg(short, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Stop after so many packets
    #[arg(short, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Stop after so many seconds
    #[arg(short = 't', value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    seconds: Option<u32>,
    /// Bytes of each packet to keep; 0 for all
    #[arg(short, value_name = "BYTES", default_value_t = 0)]
    snap: u32,
    /// And the packets that answer those of the filter
    #[arg(short, long)]
    both: bool,
    /// The daemon's control socket
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    socket: PathBuf,
    /// Which packets, in the words of rules; quoted or not
    #[arg(value_name = "FILTER", trailing_var_arg = true, allow_hyphen_values = true)]
    filter: Vec<String>,
}

/// Runs the command.
pub fn main(arguments: &Arguments) -> ExitCode {
    end("capture", run(arguments))
}

fn run(arguments: &Arguments) -> io::Result<()> {
    let copy = arguments.write.as_deref().map(Copy::create).transpose()?;
    let capture = Capture {
        port: arguments.interface.clone(),
        filter: arguments.filter.join(" "),
        both_ways: arguments.both,
        snap: arguments.snap,
        count: arguments.count,
        seconds: arguments.seconds,
    };
    let (_, stream) = weir_shell::capture::begin(&arguments.socket, capture)?;
    // It ends the capture, and tells how many packets were lost.
    end_on_signals(stream.get_ref().try_clone()?, Shutdown::Write)?;
    let printing = copy.is_none();
    let mut reader = Reader::new(Tee { stream, copy }).map_err(|error| broken(error.into()))?;
    let mut frame = Vec::new();
    let mut count = 0_u64;
    let mut out = io::stdout().lock();
    let ended = loop {
        match reader.next(&mut frame) {
            Ok(None) => break Ok(()),
            Err(error) => break Err(broken(error.into())),
            Ok(Some((record, place))) => {
                count += 1;
                if printing {
                    let port = reader.interface(place.interface);
                    let port = port.map_or("?", |port| &*port.name);
                    let outbound = place.direction == Some(Direction::Outbound);
                    let date = Date::since_epoch(Duration::from_nanos(record.time));
                    let mut line = date.to_string();
                    line.push(' ');
                    escape(reader.comment(), &mut line);
                    line.push_str(if reader.comment().is_empty() { "" } else { " " });
                    line.push_str(if outbound { "out on " } else { "in on " });
                    escape(port, &mut line);
                    line.push_str(": ");
                    escape(&describe(&frame, record.length).to_string(), &mut line);
                    line.push('\n');
                    out.write_all(line.as_bytes())?;
                }
            }
        }
    };
    out.flush()?;
    eprintln!("{count} packets captured, {} lost", reader.dropped());
    ended
}

/// What is wrong with the daemon's stream.
fn broken(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::InvalidData => io::Error::other(format!("the daemon's capture: {error}")),
        _ => error,
    }
}

/// The stream, of which everything that is read goes into a file, too.
struct Tee {
    stream: BufReader<UnixStream>,
    copy: Option<Copy>,
}

enum Copy {
    File(PathBuf, File),
    Output(io::Stdout),
}

impl Copy {
    fn create(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Output(io::stdout()));
        }
        let file = File::create(path).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        Ok(Self::File(path.to_owned(), file))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::File(path, file) => file.write_all(bytes).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            }),
            Self::Output(out) => out.write_all(bytes).and_then(|()| out.flush()),
        }
    }
}

impl Read for Tee {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let length = self.stream.read(bytes)?;
        if let Some(copy) = &mut self.copy {
            copy.write(&bytes[..length])?;
        }
        Ok(length)
    }
}
