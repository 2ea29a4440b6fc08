//! A forwarder without a filter: what arrives on one port leaves by the other. It is what weir is
//! measured against, and what the tests of the ports drive.
//!
//! `forward [--io auto|netmap|xdp|packet] [--workers N] [--busy] LAN WAN` prints a line that begins with
//! `forward: forwarding`, ends at the end of its input (so that `sleep infinity | forward ...` runs
//! for ever), restores what it changed, and prints its counters. It leaves checksums as they are:
//! over `AF_XDP`, hosts have to finish theirs (`ethtool -K eth0 tx off`).

use std::collections::VecDeque;
use std::io::Read;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use weir_hw::{Io, PortError, Prepared, Stats, Wanted, WorkerPorts, open, prepare};

/// Frames taken at a time.
const BATCH: usize = 64;
/// Frames that may wait for a port before nothing more is received from the other.
const WAITING: usize = 512;

struct Options {
    io: Io,
    workers: usize,
    busy: bool,
    interfaces: Vec<String>,
}

fn options() -> Result<Options, String> {
    let mut options = Options { io: Io::Auto, workers: 1, busy: false, interfaces: Vec::new() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--io" => options.io = value()?.parse()?,
            "--workers" => {
                options.workers =
                    value()?.parse().map_err(|error| format!("--workers: {error}"))?;
            }
            "--busy" => options.busy = true,
            _ => options.interfaces.push(argument),
        }
    }
    if options.interfaces.len() == 2 {
        Ok(options)
    } else {
        Err("forward [--io auto|netmap|xdp|packet] [--workers N] [--busy] LAN WAN".to_owned())
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("forward: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let options = options()?;
    let names: Vec<&str> = options.interfaces.iter().map(String::as_str).collect();
    let prepared = prepare(&names).map_err(|refusal| refusal.to_string())?;
    let mut prepared: [Prepared; 2] =
        prepared.try_into().map_err(|_| "two interfaces are needed")?;
    let wanted = Wanted { io: options.io, workers: options.workers, busy_poll: options.busy };
    let opened = open(&wanted, &mut prepared).map_err(|error| error.to_string())?;
    for notice in prepared.iter().flat_map(Prepared::notices) {
        println!("forward: notice: {notice}");
    }
    println!("forward: forwarding {} {}: {}", names[0], names[1], opened.reason);

    let memory = opened.workers.first().map(|worker| Arc::clone(worker.pool.memory()));
    let stop = Arc::new(AtomicBool::new(false));
    thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let mut input = [0; 64];
            while std::io::stdin().read(&mut input).is_ok_and(|length| length > 0) {}
            stop.store(true, Ordering::Relaxed);
        }
    });
    let threads: Vec<_> = opened
        .workers
        .into_iter()
        .map(|worker| {
            let stop = Arc::clone(&stop);
            let busy = options.busy;
            thread::spawn(move || {
                let outcome = work(worker, busy, &stop);
                // The others stop as well.
                stop.store(true, Ordering::Relaxed);
                outcome
            })
        })
        .collect();
    let mut failure = None;
    for thread in threads {
        let (stats, outcome) = thread.join().map_err(|_| "a worker panicked")?;
        println!("forward: {} {:?}", names[0], stats[0]);
        println!("forward: {} {:?}", names[1], stats[1]);
        if let Err(error) = outcome {
            failure = Some(error.to_string());
        }
    }
    for notice in prepared.into_iter().flat_map(Prepared::restore) {
        println!("forward: notice: {notice}");
    }
    if let Some(memory) = memory {
        println!("forward: {} of {} buffers free", memory.free_count(), memory.count());
    }
    failure.map_or(Ok(()), Err)
}

/// One worker until it is told to stop or a port fails.
fn work(
    mut worker: WorkerPorts,
    busy: bool,
    stop: &AtomicBool,
) -> ([Stats; 2], Result<(), PortError>) {
    let mut queues = [VecDeque::new(), VecDeque::new()];
    let outcome = rounds(&mut worker, busy, stop, &mut queues);
    let WorkerPorts { pool, ports, .. } = &mut worker;
    for frame in queues.into_iter().flatten() {
        pool.release(frame);
    }
    for port in ports.iter_mut() {
        port.close(pool);
    }
    (ports.each_ref().map(|port| port.stats()), outcome)
}

fn rounds(
    worker: &mut WorkerPorts,
    busy: bool,
    stop: &AtomicBool,
    queues: &mut [VecDeque<weir_hw::Frame>; 2],
) -> Result<(), PortError> {
    let WorkerPorts { pool, ports, .. } = worker;
    let mut frames = Vec::with_capacity(BATCH);
    while !stop.load(Ordering::Relaxed) {
        let mut moved = 0;
        for from in 0..2 {
            let queue = &mut queues[1 - from];
            if queue.len() < WAITING {
                moved += ports[from].receive(pool, from as u8, &mut frames, BATCH)?;
                queue.extend(frames.drain(..));
            }
        }
        for (port, queue) in ports.iter_mut().zip(queues.iter_mut()) {
            moved += port.transmit(pool, queue)?;
            port.flush(pool)?;
        }
        if moved == 0 && !busy {
            let mut waits = Vec::with_capacity(4);
            for (index, port) in ports.iter().enumerate() {
                let Some(descriptor) = port.descriptor() else { continue };
                if queues[1 - index].len() < WAITING {
                    waits.push(PollFd::from_borrowed_fd(descriptor, PollFlags::IN));
                }
                if (!queues[index].is_empty() || port.is_sending())
                    && let Some(descriptor) = port.output_descriptor()
                {
                    waits.push(PollFd::from_borrowed_fd(descriptor, PollFlags::OUT));
                }
            }
            let timeout = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
            match poll(&mut waits, Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(PortError::Io(error.into())),
            }
        }
    }
    Ok(())
}
