//! What a frame costs in a worker outside the engine: received, transmitted and flushed on the
//! lenient memory port, in nanoseconds.
//!
//! `cargo run --release -p weir-hw --example port_cost [BATCH]`
//!
//! The wire's work (frames put into the rings, taken out) is not timed, that of the double's syncs
//! is. Frames are 64 bytes; each batch goes both ways between two ports of one memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_hw::netmap::Rings;
use weir_hw::netmap::double::{Config, Double};
use weir_hw::{Pool, Port};

const RUNS: usize = 7;
const FRAMES: u32 = 4_000_000;
const LENGTH: usize = 64;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let batch: usize = std::env::args().nth(1).map_or(Ok(64), |argument| argument.parse())?;
    let double = Double::new(Config::lenient(&["lan", "wan"]))?;
    let mut ports = [double.open_rings("lan", Rings::All)?, double.open_rings("wan", Rings::All)?];
    let wires = ["lan", "wan"].map(|name| double.wire(name).expect("it was just opened"));
    let mut pool = Pool::new(Arc::clone(double.memory()));
    let mut frames = Vec::with_capacity(batch);
    let mut queues = [VecDeque::with_capacity(batch), VecDeque::with_capacity(batch)];
    let mut costs = Vec::new();
    for _ in 0..RUNS {
        let mut spent = Duration::ZERO;
        let mut passed = 0u32;
        let mut rounds = 0u32;
        while passed < FRAMES {
            for wire in &wires {
                wire.put_batch(0, batch, LENGTH, |i, bytes| bytes.fill(i as u8));
            }
            let begin = Instant::now();
            for (i, port) in ports.iter_mut().enumerate() {
                port.receive(&mut pool, i as u8, &mut frames, batch)?;
                queues[1 - i].extend(frames.drain(..));
            }
            for (port, queue) in ports.iter_mut().zip(&mut queues) {
                port.transmit(&mut pool, queue)?;
            }
            for port in &mut ports {
                port.flush(&mut pool)?;
            }
            spent += begin.elapsed();
            rounds += 1;
            for wire in &wires {
                passed += wire.drain(0, batch, |bytes| assert_eq!(bytes.len(), LENGTH)) as u32;
            }
        }
        // The clock is read twice a round; that is not the port's doing.
        let begin = Instant::now();
        for _ in 0..rounds {
            std::hint::black_box(Instant::now());
        }
        let spent = spent.saturating_sub(begin.elapsed());
        costs.push(spent.as_secs_f64() * 1e9 / f64::from(passed));
    }
    costs.sort_by(f64::total_cmp);
    println!(
        "{:.1} ns a frame (median of {RUNS} runs of {FRAMES} frames, {:.1} to {:.1}), batches of {batch}",
        costs[RUNS / 2],
        costs[0],
        costs[RUNS - 1]
    );
    Ok(())
}
