//! A double of netmap's kernel side and of the NICs behind it, in this process and without a wire.
//!
//! A [`Double`] is one memory region with the structures that a real module lays out in it and some
//! NICs with their rings. [`Double::open`] (or [`Double::register`] with an `nmreq`) gives the
//! application side a queue; a [`Wire`] is the cable in a NIC: it puts frames into the receive rings
//! and takes what was sent.
//!
//! Strict, as tests want it, the double is stricter than netmap: it panics when the application
//! breaks a rule, with a message that begins with `netmap double:` and names ring and slot. The
//! rules:
//! - a slot whose buffer was exchanged carries `NS_BUF_CHANGED`, on both sides of the exchange;
//! - every buffer of the region is in one place: a slot, a pool, or the application's hands;
//!   0 and 1 are never used; buffers of other regions are not known here;
//! - `head` and `cur` stay within what the kernel gave, only the kernel writes `tail`, headers and
//!   the slots it owns;
//! - lengths fit the buffer and are not 0 in what is sent; a chain is released whole;
//! - a buffer that the kernel or a pool owns is neither written (it is filled with poison and
//!   checked, frames on their way out by a digest) nor of use to a reader (poison again).
//!
//! [`Double::audit`] counts all buffers. Lenient, for benchmarks, only `head`, `cur`, indices and
//! lengths are checked.
//!
//! Where it differs from the module: the NIC writes a frame into a slot's buffer when [`Wire`] is
//! told to, and the next sync shows it; nothing is sent or received by poll(2) itself. The
//! descriptor is one end of a socket pair that is readable while something may be done.
//!
//! Locks: one a ring, taken by the syncs of its registration and by the wire; under it, if strict,
//! the one of the region's owners. Nothing else is taken under that.

mod lane;
mod owners;
mod signal;
#[cfg(test)]
mod tests;
mod wire;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use netmap_sys::netmap::{NR_EXCLUSIVE, nmreq};

use crate::netmap::double::lane::{Direction, Lane};
use crate::netmap::double::owners::{Owner, Owners};
use crate::netmap::double::signal::Signal;
pub use crate::netmap::double::wire::Wire;
use crate::netmap::request::{VERSION, name_of, rings_of};
use crate::netmap::{Kernel, MemoryPort, Registrar, Request};
use crate::port::Kind;
use crate::sys::ledger::Ledger;
use crate::sys::memory::Memory;
use crate::sys::netmap::{
    Device, Header, INTERFACE_SIZE, Interface, RING_SIZE, Ring, RingCounts, SLOT_SIZE, Slot, signed,
};

/// Buffers that no ring may use: netmap keeps them for itself.
const RESERVED: u32 = 2;
/// Registrations that may exist at a time.
const INTERFACES: usize = 64;

/// What to build a [`Double`] of.
#[derive(Clone, Debug)]
pub struct Config {
    /// The NICs.
    pub nics: Vec<Nic>,
    /// Buffers beyond those in the rings, for registrations that ask for them.
    pub spare_buffers: u32,
    /// Bytes of a buffer, a multiple of 64, at most 65,535; netmap's default is 2,048.
    pub buffer_size: usize,
    /// The region's number (`nr_arg2`), not 0.
    pub region: u16,
    /// Whether to check everything.
    pub strict: bool,
    /// Whether registrations have a descriptor to wait on. Costs system calls.
    pub descriptors: bool,
}

impl Config {
    /// A strict double of NICs with one ring pair of 256 slots each, 2 KiB buffers, 1,024 of them
    /// spare, with descriptors.
    pub fn strict(names: &[&str]) -> Self {
        Self {
            nics: names.iter().map(|name| Nic::new(name)).collect(),
            spare_buffers: 1024,
            buffer_size: 2048,
            region: 1,
            strict: true,
            descriptors: true,
        }
    }

    /// The same for benchmarks: lenient, without descriptors, 512 slots a ring.
    pub fn lenient(names: &[&str]) -> Self {
        let mut config = Self { strict: false, descriptors: false, ..Self::strict(names) };
        for nic in &mut config.nics {
            (nic.tx_slots, nic.rx_slots) = (512, 512);
        }
        config
    }
}

/// A NIC of the [`Double`].
#[derive(Clone, Debug)]
pub struct Nic {
    /// Its name, at most 15 bytes.
    pub name: String,
    /// TX rings, at least 1.
    pub tx_rings: u16,
    /// RX rings, at least 1.
    pub rx_rings: u16,
    /// Slots of a TX ring, at least 2; one is never in use.
    pub tx_slots: u32,
    /// Slots of an RX ring, likewise.
    pub rx_slots: u32,
    /// Rings to and from the host stack, of each; the application has no business there.
    pub host_rings: u16,
    /// Largest payload of a frame; registration fails if it exceeds the buffer size.
    pub mtu: u32,
}

impl Nic {
    /// A NIC with one ring pair of 256 slots.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            tx_rings: 1,
            rx_rings: 1,
            tx_slots: 256,
            rx_slots: 256,
            host_rings: 1,
            mtu: 1500,
        }
    }
}

/// The double: a region and its NICs. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Double {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    device: Device,
    /// Every ring, by the number that [`Owner::Slot`] has.
    rings: Vec<Ring>,
    nics: Vec<NicState>,
    owners: Option<Mutex<Owners>>,
    /// Spare buffers that nobody has asked for.
    spare: Mutex<Vec<u32>>,
    /// Places for `netmap_if`s, by offset.
    interfaces: Mutex<Vec<usize>>,
}

#[derive(Debug)]
struct NicState {
    tx: Vec<Lane>,
    rx: Vec<Lane>,
    /// Whether the interface is there.
    present: AtomicBool,
    /// Whether frames get through; nobody is told when not.
    link: AtomicBool,
    /// The error that every sync returns; 0 for none.
    failure: AtomicI32,
}

/// Where the buffers of a region are, as [`Double::audit`] found them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    /// In slots of rings, the host rings too.
    pub in_rings: u32,
    /// In pools.
    pub in_pools: u32,
    /// Spare ones that no registration has asked for.
    pub unasked: u32,
    /// In nobody's sight: frames in hand, or leaked.
    pub in_hand: u32,
}

/// Locks in spite of a panic elsewhere: after a violation tests go on to look at the rest.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The place of one ring in the region.
struct Plan {
    nic: usize,
    direction: Direction,
    id: u16,
    slots: u32,
    host: bool,
    offset: usize,
}

impl Double {
    /// Lays the region out.
    ///
    /// # Errors
    /// `InvalidInput` for a configuration that the fields' documentation rules out; what mmap(2)
    /// says.
    pub fn new(config: Config) -> io::Result<Self> {
        let sound = config.region != 0
            && u16::try_from(config.buffer_size).is_ok()
            && config.nics.iter().all(|nic| {
                let rings = nic.tx_rings.min(nic.rx_rings);
                let slots = nic.tx_slots.min(nic.rx_slots);
                rings >= 1 && slots >= 2 && (1..16).contains(&nic.name.len())
            });
        if !sound {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "an impossible netmap double"));
        }
        let widest = config.nics.iter().map(|nic| {
            usize::from(nic.tx_rings) + usize::from(nic.rx_rings) + 2 * usize::from(nic.host_rings)
        });
        let interface_size = (INTERFACE_SIZE + 8 * widest.max().unwrap_or(0)).next_multiple_of(64);
        let (plans, end) = plan(&config, interface_size * INTERFACES);
        let first = end.next_multiple_of(4096);
        let in_rings: u32 = plans.iter().map(|plan| plan.slots).sum();
        let count = RESERVED + in_rings + config.spare_buffers;
        let memory = Memory::region(first, count, config.buffer_size, config.strict)?;
        let mut owners = Owners::new(count);
        let mut next = RESERVED;
        let mut rings = Vec::new();
        let mut nics: Vec<NicState> = config.nics.iter().map(|_| NicState::new()).collect();
        for plan in plans {
            let header = Header {
                buf_ofs: signed(first) - signed(plan.offset),
                num_slots: plan.slots,
                buf_size: config.buffer_size as u32,
                ring_id: plan.id,
                direction: plan.direction.number(),
            };
            let ring = Ring::create(&memory, plan.offset, header)
                .ok_or_else(|| io::Error::other("a ring that does not fit its own plan"))?;
            let number = rings.len() as u16;
            for i in 0..plan.slots {
                ring.set_slot(i, Slot { index: next, length: 0, flags: 0 });
                owners.set(next, Owner::Slot { ring: number, slot: i });
                next += 1;
            }
            rings.push(ring.clone());
            if !plan.host {
                let name = &config.nics[plan.nic].name;
                let lane = Lane::new(ring, number, plan.direction, name, config.strict);
                let nic = &mut nics[plan.nic];
                match plan.direction {
                    Direction::Tx => nic.tx.push(lane),
                    Direction::Rx => nic.rx.push(lane),
                }
            }
        }
        let device = Device::new(memory);
        for lane in nics.iter().flat_map(|nic| nic.tx.iter().chain(&nic.rx)) {
            lane.reset(&device);
        }
        let shared = Shared {
            owners: config.strict.then(|| Mutex::new(owners)),
            config,
            device,
            rings,
            nics,
            spare: Mutex::new((next..count).rev().collect()),
            interfaces: Mutex::new((0..INTERFACES).map(|i| i * interface_size).collect()),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The region's memory, for pools.
    pub fn memory(&self) -> &Arc<Memory> {
        self.shared.device.memory()
    }

    /// The region's number.
    pub fn region(&self) -> u16 {
        self.shared.config.region
    }

    /// The cable in a NIC; `None` if there is no NIC of that name.
    pub fn wire(&self, name: &str) -> Option<Wire> {
        let nic = self.nic(name)?;
        Some(Wire::new(Arc::clone(&self.shared), nic))
    }

    /// Registers an interface and makes a queue of it.
    ///
    /// # Errors
    /// As for [`Double::register`].
    pub fn open(&self, request: &Request) -> io::Result<MemoryPort> {
        let mut raw = request.to_nmreq()?;
        let registration = self.register(&mut raw)?;
        MemoryPort::new(registration, self.memory(), &raw)
    }

    /// As [`Double::open`] for rings of `name`, exclusively, with all spare buffers that nobody has
    /// asked for.
    ///
    /// # Errors
    /// As for [`Double::register`].
    pub fn open_rings(&self, name: &str, rings: super::Rings) -> io::Result<MemoryPort> {
        let mut request = Request::new(name);
        request.rings = rings;
        request.region = Some(self.region());
        request.spare_buffers = u32::MAX;
        self.open(&request)
    }

    /// `NIOCREGIF`: takes rings of an interface and fills `request` in as netmap does.
    ///
    /// # Errors
    /// As netmap's: `EINVAL` for another version, mode, ring or region, and where the MTU exceeds
    /// the buffer size; `ENXIO` for an interface that is not there; `EBUSY` for rings that somebody
    /// has, if either wants them exclusively; `ENOMEM` for too many registrations.
    pub fn register(&self, request: &mut nmreq) -> io::Result<Registration> {
        let errno = io::Error::from_raw_os_error;
        let shared = &self.shared;
        if request.nr_version < VERSION || request.nr_cmd != 0 {
            return Err(errno(libc::EINVAL));
        }
        let nic = self.nic(&name_of(request)).ok_or_else(|| errno(libc::ENXIO))?;
        let (config, state) = (&shared.config.nics[nic], &shared.nics[nic]);
        if !state.present.load(Ordering::Relaxed) {
            return Err(errno(libc::ENXIO));
        }
        if request.nr_arg2 != 0 && request.nr_arg2 != self.region() {
            return Err(errno(libc::EINVAL));
        }
        if config.mtu as usize > shared.config.buffer_size {
            return Err(errno(libc::EINVAL));
        }
        let (tx, rx) = rings_of(request, config.tx_rings, config.rx_rings)
            .ok_or_else(|| errno(libc::EINVAL))?;
        let exclusive = request.nr_flags & NR_EXCLUSIVE != 0;
        let offset = lock(&shared.interfaces).pop().ok_or_else(|| errno(libc::ENOMEM))?;
        let signal = match shared.config.descriptors.then(Signal::new).transpose() {
            Ok(signal) => signal.map(Arc::new),
            Err(error) => {
                lock(&shared.interfaces).push(offset);
                return Err(error);
            }
        };
        let mut registration = Registration {
            shared: Arc::clone(shared),
            nic,
            tx: Vec::new(),
            rx: Vec::new(),
            interface: offset,
            signal,
        };
        // On refusal the registration gives back what it has taken so far.
        for (wanted, lanes, taken) in
            [(tx, &state.tx, &mut registration.tx), (rx, &state.rx, &mut registration.rx)]
        {
            for i in wanted.map(usize::from) {
                if !lanes[i].take(exclusive, registration.signal.as_ref()) {
                    return Err(errno(libc::EBUSY));
                }
                taken.push(i);
            }
        }
        let interface = self.lay_out_interface(&registration, config)?;
        request.nr_arg3 = self.give_spare_buffers(&interface, request.nr_arg3);
        request.nr_offset = offset as u32;
        request.nr_memsize = shared.device.memory().mapped() as u32;
        request.nr_tx_slots = config.tx_slots;
        request.nr_rx_slots = config.rx_slots;
        request.nr_tx_rings = config.tx_rings;
        request.nr_rx_rings = config.rx_rings;
        request.nr_arg2 = self.region();
        Ok(registration)
    }

    /// Counts the buffers of the region. Nobody may be at work on it meanwhile.
    ///
    /// # Panics
    /// If a buffer is in two places, or if the double is not strict.
    pub fn audit(&self) -> Census {
        let shared = &self.shared;
        let memory = shared.device.memory();
        let ledger = memory.ledger().expect("only a strict double knows its buffers");
        let mut place = vec![None; memory.count() as usize];
        let mut census = Census { in_rings: 0, in_pools: 0, unasked: 0, in_hand: 0 };
        for (number, ring) in shared.rings.iter().enumerate() {
            for i in 0..ring.slots() {
                let index = ring.slot(i).index;
                assert!(
                    (RESERVED..memory.count()).contains(&index),
                    "netmap double: ring {number} slot {i}: buffer {index} is not for use"
                );
                if let Some((ring, slot)) = place[index as usize].replace((number, i)) {
                    panic!(
                        "netmap double: buffer {index} is in ring {number} slot {i} and in \
                         ring {ring} slot {slot}"
                    );
                }
                census.in_rings += 1;
            }
        }
        for &index in &*lock(&shared.spare) {
            place[index as usize] = Some((usize::MAX, 0));
            census.unasked += 1;
        }
        for index in RESERVED..memory.count() {
            match (place[index as usize], ledger.is_pooled(index)) {
                (None, true) => census.in_pools += 1,
                (None, false) => census.in_hand += 1,
                (Some(_), false) => {}
                (Some((ring, slot)), true) => panic!(
                    "netmap double: buffer {index} is in ring {ring} slot {slot} and in a pool"
                ),
            }
        }
        census
    }

    fn nic(&self, name: &str) -> Option<usize> {
        self.shared.config.nics.iter().position(|nic| nic.name == name)
    }

    fn lay_out_interface(&self, registration: &Registration, nic: &Nic) -> io::Result<Interface> {
        let state = &self.shared.nics[registration.nic];
        let counts = RingCounts {
            tx: nic.tx_rings.into(),
            host_tx: nic.host_rings.into(),
            rx: nic.rx_rings.into(),
            host_rx: nic.host_rings.into(),
        };
        // Rings that are not part of the registration, and the host's, are not shown.
        let hidden = vec![None; nic.host_rings.into()];
        let shown = |lanes: &[Lane], taken: &[usize]| -> Vec<Option<usize>> {
            let offset = |(i, lane): (usize, &Lane)| taken.contains(&i).then(|| lane.offset());
            lanes.iter().enumerate().map(offset).collect()
        };
        let tx = shown(&state.tx, &registration.tx);
        let rx = shown(&state.rx, &registration.rx);
        Interface::create(
            self.memory(),
            registration.interface,
            &nic.name,
            VERSION,
            counts,
            &[tx, hidden.clone(), rx, hidden].concat(),
        )
        .ok_or_else(|| io::Error::other("an interface that does not fit its own plan"))
    }

    /// Chains up to `count` spare buffers together for a registration and returns how many.
    fn give_spare_buffers(&self, interface: &Interface, count: u32) -> u32 {
        let mut spare = lock(&self.shared.spare);
        let count = count.min(spare.len() as u32);
        let mut first = 0u32;
        for _ in 0..count {
            let Some(index) = spare.pop() else { break };
            self.shared.device.write(index, 4, |link| link.copy_from_slice(&first.to_ne_bytes()));
            if let Some(owners) = &self.shared.owners {
                lock(owners).set(index, Owner::Application);
            }
            first = index;
        }
        interface.set_spare_buffers(first);
        count
    }
}

impl Registrar for Double {
    type Kernel = Registration;

    fn register(&self, request: &mut nmreq) -> io::Result<Registration> {
        Self::register(self, request)
    }

    fn map(&self, _kernel: &Registration, _request: &nmreq) -> io::Result<Arc<Memory>> {
        Ok(Arc::clone(self.memory()))
    }
}

impl Shared {
    /// The pools' ledger, if strict.
    fn ledger(&self) -> Option<&Ledger> {
        self.device.memory().ledger()
    }

    /// As netmap does when the last registration of a region is gone: what lies free in the
    /// application's pools can be asked for again.
    fn begin_anew(&self) {
        let free = self.device.memory().reclaim();
        if let Some(owners) = &self.owners {
            let mut owners = lock(owners);
            for &index in &free {
                owners.set(index, Owner::Kernel);
            }
        }
        lock(&self.spare).extend(free);
    }
}

impl NicState {
    fn new() -> Self {
        Self {
            tx: Vec::new(),
            rx: Vec::new(),
            present: AtomicBool::new(true),
            link: AtomicBool::new(true),
            failure: AtomicI32::new(0),
        }
    }

    fn check(&self) -> io::Result<()> {
        if !self.present.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        match self.failure.load(Ordering::Relaxed) {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

/// Where every ring goes, in netmap's order: TX, host TX, RX, host RX; and the end of them all.
fn plan(config: &Config, begin: usize) -> (Vec<Plan>, usize) {
    let mut plans = Vec::new();
    let mut offset = begin.next_multiple_of(256);
    for (nic, this) in config.nics.iter().enumerate() {
        for (direction, slots, rings) in [
            (Direction::Tx, this.tx_slots, this.tx_rings),
            (Direction::Rx, this.rx_slots, this.rx_rings),
        ] {
            for id in 0..rings + this.host_rings {
                plans.push(Plan { nic, direction, id, slots, host: id >= rings, offset });
                let length = RING_SIZE + slots as usize * SLOT_SIZE;
                // Rings of the module begin where its allocator likes, so not back to back.
                offset = (offset + length).next_multiple_of(256) + 256;
            }
        }
    }
    (plans, offset)
}

/// One registration: the kernel's side of a [`MemoryPort`]. Dropped, its rings are free again.
#[derive(Debug)]
pub struct Registration {
    shared: Arc<Shared>,
    nic: usize,
    tx: Vec<usize>,
    rx: Vec<usize>,
    interface: usize,
    signal: Option<Arc<Signal>>,
}

impl Registration {
    /// Runs a sync with the descriptor's state brought up to date: first lowered, then raised again
    /// if something is still to be done, so that what the wire does meanwhile is not missed.
    fn sync(&self, sync: impl FnOnce(&Shared, &NicState)) -> io::Result<()> {
        let nic = &self.shared.nics[self.nic];
        nic.check()?;
        let Some(signal) = &self.signal else {
            sync(&self.shared, nic);
            return Ok(());
        };
        signal.lower();
        sync(&self.shared, nic);
        if self.rx.iter().any(|&i| nic.rx[i].has_received())
            || self.tx.iter().any(|&i| nic.tx[i].has_unsent())
        {
            signal.raise();
        }
        Ok(())
    }
}

impl Kernel for Registration {
    fn kind(&self) -> Kind {
        Kind::Memory
    }

    fn rxsync(&mut self) -> io::Result<()> {
        self.sync(|shared, nic| {
            for &i in &self.rx {
                nic.rx[i].rxsync(shared);
            }
        })
    }

    fn txsync(&mut self) -> io::Result<()> {
        self.sync(|shared, nic| {
            let link = nic.link.load(Ordering::Relaxed);
            for &i in &self.tx {
                nic.tx[i].txsync(shared, link);
            }
        })
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.signal.as_ref().map(|signal| signal.as_fd())
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let nic = &self.shared.nics[self.nic];
        let tx = self.tx.iter().map(|&i| &nic.tx[i]);
        for lane in tx.chain(self.rx.iter().map(|&i| &nic.rx[i])) {
            // After a violation there is nothing to settle.
            if lane.leave() && !std::thread::panicking() {
                lane.settle(&self.shared);
                lane.reset(&self.shared.device);
            }
        }
        lock(&self.shared.interfaces).push(self.interface);
        let lanes = self.shared.nics.iter().flat_map(|nic| nic.tx.iter().chain(&nic.rx));
        if lanes.clone().all(Lane::is_idle) {
            self.shared.begin_anew();
        }
    }
}
