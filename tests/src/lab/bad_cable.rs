//! A bad cable: a process of its own right between two ends of cables, which moves frames from one to
//! the other through two [`Link`]s, and perhaps puts them into a PPPoE session towards the firewall.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use weir_hw::{Frame, Io, PortError, Wanted, WorkerPorts, open, prepare};

use super::namespace::Namespace;
use crate::faults::{Faults, Link};
use crate::pppoe::{unwrap, wrap};

/// Index of [`BadCable::NEAR`].
const NEAR: usize = 0;
/// Frames taken at a time.
const BATCH: usize = 64;
/// How long it sleeps at most before it looks whether it should end.
const GLANCE: Duration = Duration::from_millis(50);

/// A thread between two interfaces of a namespace; it ends when this goes out of scope.
#[derive(Debug)]
pub(super) struct BadCable {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Held for its drop, after the thread has ended.
    _namespace: Namespace,
}

impl BadCable {
    /// The end towards a host.
    pub(super) const NEAR: &str = "near";
    /// The end towards the firewall.
    pub(super) const FAR: &str = "far";

    /// Starts to move frames between both ends, which are in `namespace`. What the links do repeats
    /// with the seed as far as the frames do.
    pub(super) fn start(
        namespace: Namespace,
        faults: Faults,
        session: Option<u16>,
        seed: u64,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ending = stop.clone();
        let (ready, opened) = channel();
        let links = [Link::new(faults, seed), Link::new(faults, !seed)];
        // A thread that is started in a namespace stays there.
        let thread =
            namespace.within(|| std::thread::spawn(move || work(links, session, &ending, &ready)));
        if let Err(error) = opened.recv().expect("the thread says how it went") {
            panic!("a bad cable: {error}");
        }
        Self { stop, thread: Some(thread), _namespace: namespace }
    }
}

impl Drop for BadCable {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn work(
    mut links: [Link; 2],
    session: Option<u16>,
    stop: &AtomicBool,
    ready: &Sender<Result<(), String>>,
) {
    let opened = prepare(&[BadCable::NEAR, BadCable::FAR])
        .map_err(|refusal| refusal.to_string())
        .and_then(|prepared| prepared.try_into().map_err(|_| "two interfaces".to_owned()))
        .and_then(|mut prepared| {
            let opened = open(&Wanted::new(Io::Packet, 1), &mut prepared)
                .map_err(|error| error.to_string())?;
            Ok((prepared, opened))
        });
    let (_prepared, mut worker) = match opened {
        Ok((prepared, mut opened)) => (prepared, opened.workers.remove(0)),
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    let _ = ready.send(Ok(()));
    let mut queues = [VecDeque::new(), VecDeque::new()];
    // A port fails when the host at its end has gone: the lab is being taken apart.
    let _ = carry(&mut worker, &mut links, session, &mut queues, stop);
    let WorkerPorts { pool, ports, .. } = &mut worker;
    for frame in queues.into_iter().flatten() {
        pool.release(frame);
    }
    for port in ports.iter_mut() {
        port.close(pool);
    }
}

fn carry(
    worker: &mut WorkerPorts,
    links: &mut [Link; 2],
    session: Option<u16>,
    queues: &mut [VecDeque<Frame>; 2],
    stop: &AtomicBool,
) -> Result<(), PortError> {
    let WorkerPorts { pool, ports, .. } = worker;
    let begin = Instant::now();
    let mut frames = Vec::with_capacity(BATCH);
    while !stop.load(Ordering::Relaxed) {
        let now = begin.elapsed();
        for (from, link) in links.iter_mut().enumerate() {
            ports[from].receive(pool, from as u8, &mut frames, BATCH)?;
            for frame in frames.drain(..) {
                let bytes: Vec<u8> = pool.segments(&frame).flatten().copied().collect();
                pool.release(frame);
                let bytes = match (session, from) {
                    (None, _) => Some(bytes),
                    (Some(session), NEAR) => wrap(&bytes, session),
                    (Some(session), _) => unwrap(&bytes, session),
                };
                if let Some(bytes) = bytes {
                    link.put(now, &bytes);
                }
            }
            let (port, queue) = (&mut ports[1 - from], &mut queues[1 - from]);
            while let Some(bytes) = link.take(now) {
                // An empty pool is one more way to lose a frame.
                queue.extend(pool.copy(&bytes));
            }
            port.transmit(pool, queue)?;
            port.flush(pool)?;
        }
        let due = links.iter().filter_map(Link::next_due).min();
        let pause = due.map_or(GLANCE, |due| due.saturating_sub(begin.elapsed()).min(GLANCE));
        let mut waits = Vec::with_capacity(4);
        for (port, queue) in ports.iter().zip(queues.iter()) {
            let Some(descriptor) = port.descriptor() else { continue };
            let mut wanted = PollFlags::IN;
            wanted.set(PollFlags::OUT, !queue.is_empty());
            waits.push(PollFd::from_borrowed_fd(descriptor, wanted));
        }
        let timeout = Timespec { tv_sec: 0, tv_nsec: pause.subsec_nanos().into() };
        match poll(&mut waits, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(PortError::Io(error.into())),
        }
    }
    Ok(())
}
