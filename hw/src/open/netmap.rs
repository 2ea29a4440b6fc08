//! netmap ports: every worker's rings of both interfaces, in one memory region if that can be.
//!
//! One worker takes all rings of an interface, several take one pair each. Spare buffers, with which
//! frames are exchanged out of the rings, are asked for with the last registration of a region: a
//! small region might have none left for rings after that.

use std::io;
use std::sync::Arc;

use netmap_sys::netmap::nmreq;

use super::{HELD_BUFFERS, OpenError, Opened, Wanted, WorkerPorts, suited};
use crate::frame::Checksum;
use crate::netmap::{Apart, Kernel, Limits, Queue, Registrar, Request, Rings};
use crate::nic::{Interface, Prepared};
use crate::port::{Kind, Port};
use crate::sys::memory::{Memory, Pool};
use crate::sys::netmap::module::{self, Module};

/// Spare buffers for each worker beside those that it may hold back: what waits in its queues, what
/// its pool keeps, and some more.
const BUFFERS: u32 = 4096;
/// Spare buffers without which a worker cannot work: what its pool and those of others keep.
const LEAST: usize = 1024;

/// Opens netmap ports.
pub(super) fn open(wanted: &Wanted, ports: &mut [Prepared; 2]) -> Result<Opened, OpenError> {
    suited(Kind::Netmap, ports, |ports| {
        let bridge = open_bridge(
            &Module,
            ports.each_ref().map(|port| Side::of(port.interface())),
            wanted.workers,
        )?;
        let interfaces = ports.each_ref().map(Prepared::interface);
        let (reason, faster) = describe(&bridge, &interfaces);
        Ok(Opened { kind: Kind::Netmap, reason, faster, workers: bridge.workers })
    })
}

/// What became of it, and what would make it faster.
fn describe(bridge: &Bridge, interfaces: &[&Interface]) -> (String, Option<String>) {
    let mut reason = "netmap: ".to_owned();
    reason.push_str(if bridge.one_region { "zero-copy" } else { "two regions, frames are copied" });
    if !bridge.workers.iter().all(|worker| worker.holds) {
        reason.push_str(", few buffers");
    }
    let emulated: Vec<String> = interfaces
        .iter()
        .filter(|interface| !interface.is_virtual())
        .filter(|interface| !interface.driver.as_deref().is_some_and(module::is_native))
        .map(|interface| {
            let driver = interface.driver.as_deref().unwrap_or("unknown driver");
            format!("{} ({driver})", interface.name)
        })
        .collect();
    if emulated.is_empty() {
        return (reason, None);
    }
    let emulated = emulated.join(" and ");
    (
        format!("{reason}, emulated on {emulated}"),
        Some(format!(
            "a driver built with netmap for {emulated}, or --io xdp where it is in driver mode"
        )),
    )
}

/// One side of the bridge.
#[derive(Clone, Copy, Debug)]
struct Side<'a> {
    name: &'a str,
    /// Largest IP packet in bytes; `None` for a pipe or a VALE port, which has no such limit.
    mtu: Option<u32>,
    /// What its frames say of their transport checksums.
    checksum: Checksum,
}

impl<'a> Side<'a> {
    fn of(interface: &'a Interface) -> Self {
        let checksum = if interface.may_have_partial_checksums() {
            Checksum::MaybePartial
        } else {
            Checksum::Unknown
        };
        let mtu = (!interface.is_virtual()).then_some(interface.mtu);
        Self { name: &interface.name, mtu, checksum }
    }

    fn limits(&self, memory: &Memory) -> Limits {
        self.mtu.map_or(Limits::NONE, |mtu| Limits::of_mtu(mtu, memory.buffer_size()))
    }

    fn failed(&self, error: &io::Error) -> OpenError {
        let hint = match (error.raw_os_error(), self.mtu) {
            (Some(libc::EBUSY), _) => "another program has its rings".to_owned(),
            (Some(libc::EINVAL), Some(mtu)) => format!(
                "its MTU of {mtu} exceeds netmap's buffers (module parameter buf_size), or the \
                 module is too old"
            ),
            (Some(libc::EINVAL), None) => "the module is too old".to_owned(),
            (Some(libc::ENXIO), _) => "netmap finds no such port".to_owned(),
            (Some(libc::ENOMEM), _) => {
                "its rings do not fit into netmap's region: load the module with larger buf_num, \
                 ring_num or ring_size, or make the NIC's rings shorter"
                    .to_owned()
            }
            (Some(libc::ENOENT), _) => "the module is not loaded".to_owned(),
            _ => return OpenError::at(self.name, "register it with netmap")(copied(error)),
        };
        let error = io::Error::new(error.kind(), format!("{error} ({hint})"));
        OpenError::at(self.name, "register it with netmap")(error)
    }
}

fn copied(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// Both ports of every worker.
struct Bridge {
    workers: Vec<WorkerPorts>,
    /// Whether both lie in one region, so that nothing is copied.
    one_region: bool,
}

/// The registrations of one side, one a worker.
type Registered<K> = Vec<(K, nmreq)>;

/// Registers the rings of one side, in this memory region if one is named, and asks for spare buffers
/// with the last of them.
fn register<R: Registrar>(
    registrar: &R,
    side: Side<'_>,
    workers: usize,
    region: Option<u16>,
    spare: u32,
) -> Result<Registered<R::Kernel>, (OpenError, Option<i32>)> {
    let failed = |error: io::Error| (side.failed(&error), error.raw_os_error());
    let mut registered: Registered<R::Kernel> = Vec::with_capacity(workers);
    for worker in 0..workers {
        let request = Request {
            name: side.name.to_owned(),
            rings: if workers == 1 { Rings::All } else { Rings::One(worker as u16) },
            exclusive: true,
            region: registered.first().map(|(_, first)| first.nr_arg2).or(region),
            spare_buffers: if worker + 1 == workers { spare } else { 0 },
        };
        let mut request = request.to_nmreq().map_err(failed)?;
        let kernel = registrar.register(&mut request).map_err(failed)?;
        let rings = request.nr_rx_rings.max(request.nr_tx_rings);
        if workers > 1 && usize::from(rings) != workers {
            let interface = side.name.to_owned();
            return Err((OpenError::RingsForWorkers { interface, rings, workers }, None));
        }
        registered.push((kernel, request));
    }
    Ok(registered)
}

/// Number of the region that a side's rings lie in.
fn region<K>(registered: &Registered<K>) -> Option<u16> {
    registered.first().map(|(_, request)| request.nr_arg2)
}

/// Makes the registrations of one side into ports, in `memory`.
fn queues<K: Kernel>(
    registered: Registered<K>,
    side: Side<'_>,
    memory: &Arc<Memory>,
) -> Result<Vec<Queue<K>>, OpenError> {
    registered
        .into_iter()
        .map(|(kernel, request)| {
            let queue = Queue::new(kernel, memory, &request)?;
            Ok(queue.with_checksum(side.checksum).with_limits(side.limits(memory)))
        })
        .collect::<io::Result<_>>()
        .map_err(OpenError::at(side.name, "find its rings"))
}

/// Maps the region of a side.
fn map<R: Registrar>(
    registrar: &R,
    side: Side<'_>,
    registered: &Registered<R::Kernel>,
) -> Result<Arc<Memory>, OpenError> {
    let (kernel, request) = registered.first().ok_or(OpenError::NoWorkers)?;
    registrar.map(kernel, request).map_err(OpenError::at(side.name, "map netmap's memory"))
}

/// Opens both sides for so many workers.
fn open_bridge<R: Registrar>(
    registrar: &R,
    sides: [Side<'_>; 2],
    workers: usize,
) -> Result<Bridge, OpenError> {
    let spare = workers as u32 * (BUFFERS + HELD_BUFFERS);
    let plain = |(error, _)| error;
    let mut lan = register(registrar, sides[0], workers, None, 0).map_err(plain)?;
    let wan = match register(registrar, sides[1], workers, region(&lan), spare) {
        Ok(wan) if region(&wan) == region(&lan) => wan,
        Err((error, code)) if !matches!(code, Some(libc::EINVAL | libc::ENOMEM)) => {
            return Err(error);
        }
        // The port does not take that region (a NIC answers ENOMEM to that of a VALE port), or has no
        // room in it: then each side in its own, with its own spare ones.
        other => {
            drop(other);
            drop(lan);
            lan = register(registrar, sides[0], workers, None, spare).map_err(plain)?;
            register(registrar, sides[1], workers, None, spare).map_err(plain)?
        }
    };
    let one_region = region(&lan) == region(&wan);
    let memory = map(registrar, sides[0], &lan)?;
    let other = if one_region { None } else { Some(map(registrar, sides[1], &wan)?) };
    let lan = queues(lan, sides[0], &memory)?;
    let wan = queues(wan, sides[1], other.as_ref().unwrap_or(&memory))?;
    for memory in std::iter::once(&memory).chain(&other) {
        let needed = workers * LEAST;
        if memory.free_count() < needed {
            return Err(OpenError::TooFewBuffers { spare: memory.free_count(), needed });
        }
    }
    let holds = memory.free_count() >= spare as usize;
    let workers = lan
        .into_iter()
        .zip(wan)
        .map(|(lan, wan)| {
            let wan: Box<dyn Port> =
                if one_region { Box::new(wan) } else { Box::new(Apart::new(wan)) };
            WorkerPorts { pool: Pool::new(Arc::clone(&memory)), ports: [Box::new(lan), wan], holds }
        })
        .collect();
    Ok(Bridge { workers, one_region })
}

#[cfg(test)]
mod tests;
