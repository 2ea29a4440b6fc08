//! From two prepared interfaces to what each worker needs: the step that takes privileges. What
//! comes after uses descriptors only.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;

use crate::nic::{Interface, Prepared};
use crate::packet::{self, PacketPort};
use crate::port::{Kind, Port};
use crate::sys::bpf;
use crate::sys::memory::{Memory, Pool};
use crate::sys::xdp::Mode;
use crate::xdp;

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

/// Buffers for each worker of `AF_XDP` ports beside those of its ports: for frames that it holds back,
/// fragments. Those of `AF_PACKET` are too large for that: frames from there have to be copied.
pub const HELD_BUFFERS: u32 = 4096;

/// Buffers for each worker of `AF_PACKET` ports: what both its sockets keep posted (256 each), and
/// what may wait in its queues.
const PACKET_BUFFERS: u32 = 2048;

/// Buffers for each worker of `AF_XDP` ports, beside those that wait for frames in the fill rings:
/// what both TX rings hold.
const XDP_BUFFERS: u32 = 2 * xdp::RING;

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
        Io::Xdp => open_xdp(ports, workers),
        Io::Packet => open_packet(ports, workers, "packet: as asked for".to_owned()),
        Io::Auto => open_xdp(ports, workers)
            .or_else(|error| open_packet(ports, workers, format!("packet: no AF_XDP ({error})"))),
    }
}

/// Opens `AF_XDP` ports.
fn open_xdp(ports: &mut [Prepared; 2], workers: usize) -> Result<Opened, OpenError> {
    for port in ports.iter() {
        let Interface { name, receive_queues, .. } = port.interface();
        if (*receive_queues as usize) < workers {
            return Err(OpenError::TooFewQueues {
                interface: name.clone(),
                queues: *receive_queues,
                workers,
            });
        }
    }
    // Some drivers take no program while such an offload is on.
    let told = ports.each_ref().map(|port| port.notices().len());
    for port in ports.iter_mut() {
        port.suit(Kind::Xdp);
    }
    let opened = try_modes(ports, workers);
    if opened.is_err() {
        for (port, told) in ports.iter_mut().zip(told) {
            port.forget_notices(told);
            port.unsuit();
        }
    }
    opened
}

/// Tries the ways in which the kernel can move frames, the best first: both ports share one memory
/// and with it one mode.
fn try_modes(ports: &mut [Prepared; 2], workers: usize) -> Result<Opened, OpenError> {
    let interfaces = ports.each_ref().map(|port| port.interface().clone());
    let longest = interfaces.iter().map(|interface| interface.mtu as usize).max();
    let one_buffer = longest.unwrap_or_default() + xdp::FRAMING <= xdp::PAYLOAD;
    let modes = [(true, true), (true, false), (false, true), (false, false)]
        .map(|(zero_copy, segments)| Mode { zero_copy, segments });

    let mut zero_copy_refused = None;
    let mut failed = None;
    let mut bound = None;
    // Without chains, longer frames would be lost.
    for mode in modes.into_iter().filter(|mode| mode.segments || one_buffer) {
        match bind_both(&interfaces, mode, workers) {
            Ok(both) => {
                bound = Some((mode, both));
                break;
            }
            Err(error) if mode.zero_copy => {
                zero_copy_refused.get_or_insert(error);
            }
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    let (mode, (memory, [lan, wan])) = match (bound, failed) {
        (Some(bound), _) => bound,
        (None, Some(error)) => return Err(error),
        // Copy mode with chains is always among the modes, so this is not reached.
        (None, None) => return Err(OpenError::NotBuilt(Io::Xdp)),
    };

    let attach = |bound: xdp::Bound, interface: &Interface| {
        bound
            .attach(mode, workers, &memory)
            .map_err(OpenError::at(&interface.name, "attach an XDP program in driver mode"))
    };
    let lan = attach(lan, &interfaces[0])?;
    let wan = attach(wan, &interfaces[1])?;
    for port in ports.iter_mut() {
        if port.interface().driver.as_deref() == Some("veth") {
            port.notice(
                "a tag that a VLAN interface at the other end of this veth pair adds travels \
                 beside the frame and is lost here; switch it off there with: \
                 ethtool -K DEVICE txvlan off tx-vlan-stag-hw-insert off"
                    .to_owned(),
            );
        }
    }
    let workers = lan
        .into_iter()
        .zip(wan)
        .map(|(lan, wan)| WorkerPorts {
            pool: Pool::new(Arc::clone(&memory)),
            ports: [Box::new(lan), Box::new(wan)],
        })
        .collect();
    let reason = match zero_copy_refused {
        _ if mode.zero_copy => "xdp: driver mode, zero-copy".to_owned(),
        Some(refused) => format!("xdp: driver mode, copy mode (no zero-copy: {refused})"),
        None => "xdp: driver mode, copy mode".to_owned(),
    };
    Ok(Opened { kind: Kind::Xdp, reason, workers })
}

/// Binds sockets for all queues of both interfaces over a new memory: when this fails, a driver may
/// let go of the old one some time later.
fn bind_both(
    interfaces: &[Interface; 2],
    mode: Mode,
    workers: usize,
) -> Result<(Arc<Memory>, [xdp::Bound; 2]), OpenError> {
    let queues: u32 = interfaces.iter().map(|interface| interface.receive_queues).sum();
    let each = XDP_BUFFERS + HELD_BUFFERS;
    let memory = Memory::new(queues * xdp::RING + workers as u32 * each, xdp::STRIDE)
        .map_err(OpenError::at("memory", "map buffers"))?;
    let mut pool = Pool::new(Arc::clone(&memory));
    let bind = |interface: &Interface, pool: &mut Pool, first| {
        xdp::Bound::new(interface, mode, pool, first)
            .map_err(OpenError::at(&interface.name, "bind an AF_XDP socket"))
    };
    let lan = bind(&interfaces[0], &mut pool, None)?;
    let wan = bind(&interfaces[1], &mut pool, lan.first())?;
    Ok((memory, [lan, wan]))
}

/// Opens `AF_PACKET` ports; `why` explains the choice where there was one.
fn open_packet(
    ports: &mut [Prepared; 2],
    workers: usize,
    reason: String,
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
    Ok(Opened { kind: Kind::Packet, reason, workers })
}
