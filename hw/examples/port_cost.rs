//! What a frame costs in a worker outside the engine: received, transmitted and flushed on the
//! lenient memory port, in nanoseconds.
//!
//! `cargo run --release -p weir-hw --example port_cost [BATCH]`
//!
//! The wire's work (frames put into the rings, taken out) is not timed, nor is what the worker does
//! between receiving and transmitting; that of the double's syncs is. Frames are 64 bytes; each batch goes both ways between two ports of one memory. A run's
//! figure is that of its median round, so that rounds in which something else had the core do not
//! count.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

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
    let mut received = [Vec::with_capacity(batch), Vec::with_capacity(batch)];
    let mut queues = [VecDeque::with_capacity(batch), VecDeque::with_capacity(batch)];
    let mut costs = Vec::new();
    for _ in 0..RUNS {
        let mut spent = Vec::new();
        let mut passed = 0;
        while passed < FRAMES {
            for wire in &wires {
                wire.put_batch(0, batch, LENGTH, |i, bytes| bytes.fill(i as u8));
            }
            let begin = Instant::now();
            for (i, (port, frames)) in ports.iter_mut().zip(&mut received).enumerate() {
                port.receive(&mut pool, i as u8, frames, batch)?;
            }
            let mut time = begin.elapsed();
            for (frames, queue) in received.iter_mut().rev().zip(&mut queues) {
                queue.extend(frames.drain(..));
            }
            let begin = Instant::now();
            for (port, queue) in ports.iter_mut().zip(&mut queues) {
                port.transmit(&mut pool, queue)?;
            }
            for port in &mut ports {
                port.flush(&mut pool)?;
            }
            time += begin.elapsed();
            spent.push(time);
            for wire in &wires {
                passed += wire.drain(0, batch, |bytes| assert_eq!(bytes.len(), LENGTH)) as u32;
            }
        }
        let frames_a_round = f64::from(passed) / f64::from(spent.len() as u32);
        spent.sort();
        // A round reads the clock in two pairs; that is not the port's doing.
        let begin = Instant::now();
        for _ in 0..10_000 {
            std::hint::black_box(Instant::now());
        }
        let median = spent[spent.len() / 2].saturating_sub(begin.elapsed() / 5_000);
        costs.push(median.as_secs_f64() * 1e9 / frames_a_round);
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
