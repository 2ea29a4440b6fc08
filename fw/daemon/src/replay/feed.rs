//! The packets that are replayed: out of one or two capture files, in the order of time, each with the
//! port it arrives at.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use weir_engine::{PortIndex, PortNames};
use weir_hw::pcap::AnyReader;
use weir_hw::pcap::file::LONGEST;
use weir_hw::pcap::ng::Direction;

/// How a file's packets are given to ports.
#[derive(Clone, Debug)]
pub(super) enum Split {
    /// All arrive there.
    Port(PortIndex),
    /// Those that these hardware addresses have sent arrive at the LAN, all others at the WAN.
    Macs(Vec<[u8; 6]>),
    /// By the names of the file's interfaces.
    Interfaces(PortNames),
}

/// A packet to be replayed.
#[derive(Debug)]
pub(super) struct Packet {
    /// When it came, in nanoseconds since 1970; never before the one before it.
    pub(super) time: u64,
    pub(super) port: PortIndex,
    pub(super) bytes: Vec<u8>,
    /// Its end was not captured: zeros stand there.
    pub(super) is_cut: bool,
}

/// What was found out about the input.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Packets by port.
    pub(super) packets: [u64; 2],
    /// Time of the first and of the last one.
    pub(super) times: Option<(u64, u64)>,
    /// Packets of which a part is not in the file.
    pub(super) cut: u64,
    /// Packets older than one before them: replayed at its time.
    pub(super) late: u64,
    /// Frames that were sent and did not arrive, left out.
    pub(super) sent: u64,
    /// Frames without a byte in the file, left out.
    pub(super) empty: u64,
}

/// One file.
struct Source {
    path: PathBuf,
    reader: AnyReader<BufReader<File>>,
    split: Split,
    /// The next packet, read ahead; of a file that is broken there, what is wrong.
    next: Option<Result<Packet, String>>,
}

/// All files.
pub(super) struct Feed {
    sources: Vec<Source>,
    pub(super) counts: Counts,
}

impl Feed {
    /// Opens the files.
    ///
    /// # Errors
    /// When one cannot be opened, or is no capture.
    pub(super) fn open(files: Vec<(PathBuf, Split)>) -> Result<Self, String> {
        let mut feed = Self { sources: Vec::new(), counts: Counts::default() };
        for (path, split) in files {
            let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
            let file = File::open(&path).map_err(|error| wrong(&error))?;
            let reader = AnyReader::new(BufReader::new(file)).map_err(|error| wrong(&error))?;
            if matches!(split, Split::Interfaces(_)) && !reader.names_interfaces() {
                let text = "a classic pcap file has no interfaces: say with --lan-mac which \
                            hardware addresses are on the LAN, or give a file for each port";
                return Err(wrong(&text));
            }
            let mut source = Source { path, reader, split, next: None };
            source.read_ahead(&mut feed.counts);
            feed.sources.push(source);
        }
        Ok(feed)
    }

    /// When the next packet came; `None` if there is none, or a file is broken there.
    pub(super) fn next_time(&self) -> Option<u64> {
        self.sources.iter().filter_map(Source::time).min()
    }

    /// The next packet; of those with the same time that of the first file.
    ///
    /// # Errors
    /// What is wrong with a file, once its turn has come.
    pub(super) fn next(&mut self) -> Result<Option<Packet>, String> {
        // Nobody knows when what is broken was: it ends all.
        let broken = self.sources.iter().position(|source| matches!(source.next, Some(Err(_))));
        let first = || {
            let times = self.sources.iter().enumerate();
            times.filter_map(|(i, source)| Some((source.time()?, i))).min().map(|(_, i)| i)
        };
        let Some(i) = broken.or_else(first) else { return Ok(None) };
        let source = &mut self.sources[i];
        let Some(next) = source.next.take() else { return Ok(None) };
        let mut packet = next?;
        source.read_ahead(&mut self.counts);
        let counts = &mut self.counts;
        let (begin, last) = counts.times.unwrap_or((packet.time, packet.time));
        counts.late += u64::from(packet.time < last);
        packet.time = packet.time.max(last);
        counts.times = Some((begin, packet.time));
        counts.packets[usize::from(packet.port.0 & 1)] += 1;
        counts.cut += u64::from(packet.is_cut);
        Ok(Some(packet))
    }
}

impl Source {
    fn time(&self) -> Option<u64> {
        match &self.next {
            Some(Ok(packet)) => Some(packet.time),
            _ => None,
        }
    }

    fn read_ahead(&mut self, counts: &mut Counts) {
        let read = self.read(counts).map_err(|text| format!("{}: {text}", self.path.display()));
        self.next = read.transpose();
    }

    fn read(&mut self, counts: &mut Counts) -> Result<Option<Packet>, String> {
        let mut bytes = Vec::new();
        loop {
            let seen = self.reader.next(&mut bytes).map_err(|error| error.to_string())?;
            let Some(seen) = seen else { return Ok(None) };
            if seen.direction == Some(Direction::Outbound) {
                counts.sent += 1;
                continue;
            }
            if bytes.is_empty() {
                counts.empty += 1;
                continue;
            }
            let port = port_of(&self.split, seen.interface, &bytes)?;
            let length = (seen.record.length as usize).min(LONGEST);
            let is_cut = bytes.len() < length;
            if is_cut {
                bytes.resize(length, 0);
            }
            return Ok(Some(Packet { time: seen.record.time, port, bytes, is_cut }));
        }
    }
}

/// Where a frame arrives.
fn port_of(split: &Split, interface: &str, bytes: &[u8]) -> Result<PortIndex, String> {
    match split {
        Split::Port(port) => Ok(*port),
        Split::Macs(macs) => {
            let sender = bytes.get(6..12);
            let is_lan = macs.iter().any(|mac| sender == Some(mac));
            Ok(if is_lan { PortIndex::LAN } else { PortIndex::WAN })
        }
        Split::Interfaces(ports) => {
            ports.named(interface).map(|index| PortIndex(index as u8)).ok_or_else(|| {
                format!(
                    "{interface:?} of the file's interfaces is neither port: say what they are \
                     called with --lan-name and --wan-name, or which hardware addresses are on \
                     the LAN with --lan-mac"
                )
            })
        }
    }
}

/// Reads `02:00:00:00:00:01`.
///
/// # Errors
/// When it is no hardware address.
pub(super) fn mac(text: &str) -> Result<[u8; 6], String> {
    let octet = |octet: &str| {
        let is_hex =
            (1..=2).contains(&octet.len()) && octet.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| u8::from_str_radix(octet, 16).ok()).flatten()
    };
    let octets: Option<Vec<u8>> = text.split(':').map(octet).collect();
    octets
        .and_then(|octets| octets.try_into().ok())
        .ok_or_else(|| format!("`{text}` is no hardware address as 02:00:00:00:00:01"))
}

/// Whether a file is one of those that are read.
pub(super) fn is_among(path: &Path, inputs: &[(PathBuf, Split)]) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    let own = real(path);
    own.is_some() && inputs.iter().any(|(input, _)| real(input) == own)
}
