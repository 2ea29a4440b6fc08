//! From two prepared interfaces to what each worker needs: the step that takes privileges. What
//! comes after uses descriptors only.

mod netmap;
mod packet;
mod xdp;

use std::fmt;
use std::io;
use std::str::FromStr;

use crate::nic::Prepared;
use crate::port::{Kind, Port};
use crate::sys::memory::Pool;
use crate::sys::netmap::module;

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

/// What is wanted of the ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Which kind.
    pub io: Io,
    /// How many workers share them.
    pub workers: usize,
    /// Whether workers will never sleep, but ask the ports again and again.
    pub busy_poll: bool,
}

impl Wanted {
    /// Ports of a kind for so many workers, which sleep while there is nothing to do.
    pub const fn new(io: Io, workers: usize) -> Self {
        Self { io, workers, busy_poll: false }
    }
}

/// What one worker owns.
pub struct WorkerPorts {
    /// Its buffers; those of all workers are in one memory.
    pub pool: Pool,
    /// Its queues of both ports, in the order in which the interfaces were given.
    pub ports: [Box<dyn Port>; 2],
    /// Whether the memory has [`HELD_BUFFERS`] for it, in which frames that it holds back can stay.
    pub holds: bool,
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
    /// What would make it faster, in words.
    pub faster: Option<String>,
    /// One entry for each worker.
    pub workers: Vec<WorkerPorts>,
}

/// Why ports could not be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// A pipe or a VALE port, which only netmap has, and another kind is wanted.
    OnlyNetmap(String),
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
    /// netmap's rings cannot be dealt out to the workers one each: what arrives on the others would
    /// be lost.
    RingsForWorkers {
        /// Name of the interface.
        interface: String,
        /// Its receive rings.
        rings: u16,
        /// Workers asked for.
        workers: usize,
    },
    /// netmap's region has too few buffers beside those in the rings.
    TooFewBuffers {
        /// How many it had to give.
        spare: usize,
        /// How many there must be.
        needed: usize,
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
            Self::OnlyNetmap(interface) => {
                write!(f, "{interface} is a port of netmap's own: only --io netmap can take it")
            }
            Self::NoWorkers => f.write_str("no workers"),
            Self::TooFewQueues { interface, queues, workers } => write!(
                f,
                "{interface} has {queues} receive queue(s) for {workers} workers: give it more \
                 (ethtool -L {interface} combined {workers}) or use fewer workers"
            ),
            Self::RingsForWorkers { interface, rings, workers } => write!(
                f,
                "{interface} has {rings} netmap ring(s) for {workers} workers: give it as many \
                 (ethtool -L {interface} combined {workers}), or use {rings} or 1"
            ),
            Self::TooFewBuffers { spare, needed } => write!(
                f,
                "netmap: only {spare} buffers beside those in the rings, at least {needed} are \
                 needed: load the module with a larger buf_num"
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

/// Buffers for each worker for frames that it holds back, fragments. Those of `AF_PACKET` are too
/// large for that, and a small region of netmap has none to spare: frames from there are copied.
pub const HELD_BUFFERS: u32 = 4096;

/// Opens both ports as they are wanted. Offloads that the chosen kind cannot live with are switched
/// off by `ports`, which also collect the notices.
///
/// # Errors
/// [`OpenError`]; nothing stays open then.
pub fn open(wanted: &Wanted, ports: &mut [Prepared; 2]) -> Result<Opened, OpenError> {
    if wanted.workers == 0 {
        return Err(OpenError::NoWorkers);
    }
    let virtual_port = ports.iter().map(Prepared::interface).find(|port| port.is_virtual());
    match (wanted.io, virtual_port) {
        (Io::Netmap, _) | (Io::Auto, Some(_)) => netmap::open(wanted, ports),
        (_, Some(port)) => Err(OpenError::OnlyNetmap(port.name.clone())),
        (Io::Xdp, None) => xdp::open(wanted, ports),
        (Io::Packet, None) => packet::open(wanted, ports),
        (Io::Auto, None) => choose(wanted, ports),
    }
}

/// The fastest kind that both ports can do, and why it is none that is faster.
fn choose(wanted: &Wanted, ports: &mut [Prepared; 2]) -> Result<Opened, OpenError> {
    let mut passed_over = if module::is_loaded() {
        match netmap::open(wanted, ports) {
            Ok(opened) => return Ok(opened),
            Err(error) => format!("no netmap: {error}"),
        }
    } else {
        format!("no netmap: there is no {}", module::PATH)
    };
    let opened = xdp::open(wanted, ports).or_else(|error| {
        passed_over = format!("no AF_XDP: {error}; {passed_over}");
        packet::open(wanted, ports)
    })?;
    Ok(Opened { reason: format!("{}; {passed_over}", opened.reason), ..opened })
}

/// Entries that the rings of a NIC may have, no more than `wanted` if that is given, where `io` may mean
/// netmap: it makes its own rings as long, and one has to fit into what the module sets aside for it
/// (its parameter `ring_size`).
pub fn longest_ring(io: Io, wanted: Option<u32>) -> Option<u32> {
    let room = match io {
        Io::Auto | Io::Netmap => module::longest_ring(),
        Io::Xdp | Io::Packet => None,
    };
    wanted.into_iter().chain(room).min()
}

/// Calls `open` with what ports of `kind` cannot live with switched off; if it fails, all is as it
/// was.
fn suited<T>(
    kind: Kind,
    ports: &mut [Prepared; 2],
    open: impl FnOnce(&mut [Prepared; 2]) -> Result<T, OpenError>,
) -> Result<T, OpenError> {
    let told = ports.each_ref().map(|port| port.notices().len());
    for port in ports.iter_mut() {
        port.suit(kind);
    }
    let opened = open(ports);
    if opened.is_err() {
        for (port, told) in ports.iter_mut().zip(told) {
            port.forget_notices(told);
            port.unsuit();
        }
    }
    opened
}
