//! From two prepared interfaces to what each worker needs: the step that takes privileges. What
//! comes after uses descriptors only.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;

use crate::nic::Prepared;
use crate::packet::{self, PacketPort};
use crate::port::{Kind, Port};
use crate::sys::bpf;
use crate::sys::memory::{Memory, Pool};

/// Which kind of port is wanted, as `--io` names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Io {
    /// The fastest that both interfaces can do.
    #[default]
    Auto,
    /// netmap.
    Netmap,
    /// `AF_XDP` in driver mode.
    Xdp,
    /// `AF_PACKET`.
    Packet,
}

impl FromStr for Io {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "netmap" => Ok(Self::Netmap),
            "xdp" => Ok(Self::Xdp),
            "packet" => Ok(Self::Packet),
            _ => Err(format!("'{text}' is no kind of port: auto, netmap, xdp or packet")),
        }
    }
}

impl fmt::Display for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Netmap => "netmap",
            Self::Xdp => "xdp",
            Self::Packet => "packet",
        })
    }
}

/// What one worker owns.
pub struct WorkerPorts {
    /// Its buffers; those of all workers are in one memory.
    pub pool: Pool,
    /// Its queues of both ports, in the order in which the interfaces were given.
    pub ports: [Box<dyn Port>; 2],
}

impl fmt::Debug for WorkerPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerPorts").field("pool", &self.pool).finish_non_exhaustive()
    }
}

/// Open ports.
#[derive(Debug)]
pub struct Opened {
    /// What moves the frames.
    pub kind: Kind,
    /// Kind, mode and why it became this one, in words.
    pub reason: String,
    /// One entry for each worker.
    pub workers: Vec<WorkerPorts>,
}

/// Why ports could not be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// This build has no such port.
    NotBuilt(Io),
    /// No worker at all was asked for.
    NoWorkers,
    /// More workers than an interface has queues to give them.
    TooFewQueues {
        /// Name of the interface.
        interface: String,
        /// Its receive queues.
        queues: u32,
        /// Workers asked for.
        workers: usize,
    },
    /// A step failed.
    Failed {
        /// Name of the interface, or `memory`.
        interface: String,
        /// What was attempted.
        step: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
}

impl OpenError {
    /// Makes an error of what a step on `interface` came to.
    pub(crate) fn at(interface: &str, step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Failed { interface: interface.to_owned(), step, error }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBuilt(io) => {
                write!(f, "{io} ports are not built yet: use auto, xdp or packet")
            }
            Self::NoWorkers => f.write_str("no workers"),
            Self::TooFewQueues { interface, queues, workers } => write!(
                f,
                "{interface} has {queues} receive queue(s) for {workers} workers: give it more \
                 (ethtool -L {interface} combined {workers}) or use fewer workers"
            ),
            Self::Failed { interface, step, error } => {
                write!(f, "{interface}: cannot {step}: {error}")
            }
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failed { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// Buffers for each worker of `AF_PACKET` ports: what both its sockets keep posted (256 each), and
/// what may wait in its queues.
const PACKET_BUFFERS: u32 = 2048;

/// Opens both ports for `workers` workers. Offloads that the chosen kind cannot live with are
/// switched off by `ports`, which also collect the notices.
///
/// # Errors
/// [`OpenError`]; nothing stays open then.
pub fn open(io: Io, ports: &mut [Prepared; 2], workers: usize) -> Result<Opened, OpenError> {
    if workers == 0 {
        return Err(OpenError::NoWorkers);
    }
    match io {
        Io::Netmap => Err(OpenError::NotBuilt(io)),
        Io::Auto | Io::Xdp | Io::Packet => open_packet(ports, workers, String::new()),
    }
}

/// Opens `AF_PACKET` ports; `why` explains the choice where there was one.
fn open_packet(
    ports: &mut [Prepared; 2],
    workers: usize,
    why: String,
) -> Result<Opened, OpenError> {
    let memory = Memory::new(PACKET_BUFFERS * workers as u32, packet::STRIDE)
        .map_err(OpenError::at("memory", "map buffers"))?;
    let mut opened = Vec::with_capacity(2);
    for port in ports {
        port.suit(Kind::Packet);
        let interface = port.interface().clone();
        let guard = match bpf::close_stack(interface.index) {
            Ok(link) => Some(Arc::new(link)),
            Err(error) => {
                port.notice(format!(
                    "cannot be closed to this host's own network stack ({error}; Linux 6.6 has \
                     tcx): frames for this host's other addresses reach it past the firewall"
                ));
                None
            }
        };
        opened.push(
            PacketPort::open(interface.index, workers, &memory, guard.as_ref())
                .map_err(OpenError::at(&interface.name, "open a packet socket"))?,
        );
    }
    let (wan, lan) = (opened.pop().unwrap_or_default(), opened.pop().unwrap_or_default());
    let workers = lan
        .into_iter()
        .zip(wan)
        .map(|(lan, wan)| WorkerPorts {
            pool: Pool::new(Arc::clone(&memory)),
            ports: [Box::new(lan), Box::new(wan)],
        })
        .collect();
    let reason = if why.is_empty() { "packet: as asked for".to_owned() } else { why };
    Ok(Opened { kind: Kind::Packet, reason, workers })
}
