//! `kill -9` in the middle of something.

use std::fmt::Write;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use weir_tests::frames::{self, destination_port, has_udp_payload};
use weir_tests::lab::{
    Capture, Family, Io, Lab, PATIENCE, Process, RawSocket, Weir, WeirOptions, binary,
};

use crate::on_every_io;

on_every_io! {
    a_crash_in_the_middle_of_a_load_leaves_the_last_good_rules
}

/// Crashes, spread over the time that a load takes.
const ROUNDS: u32 = 8;
const RULES: usize = 4_000;
/// Ports that the small rule set passes, the big one, none.
const SMALL: u16 = 4001;
const BIG: u16 = 4002;
const NEITHER: u16 = 4003;

/// A load of thousands of rules is interrupted again and again, while frames come that no rule set
/// passes. Nothing passes until weir is there again, and then it has the rules of before, or, if they
/// were in force, those that were being loaded: never others, never none, never half of them.
fn a_crash_in_the_middle_of_a_load_leaves_the_last_good_rules(io: Io) {
    let lab = Lab::new();
    let small = format!("block\npass proto udp to port {SMALL}\n");
    let mut big = String::from("block\n");
    for number in 0..RULES {
        let [high, low] = (number as u16).to_be_bytes();
        writeln!(big, "pass in quick proto tcp from 10.{high}.{low}.0/24 to port {}", number + 1)
            .expect("a string takes everything");
    }
    writeln!(big, "pass proto udp to port {BIG}").expect("a string takes everything");
    let [small_file, big_file] = ["small.conf", "big.conf"].map(|name| lab.folder().join(name));
    fs::write(&small_file, &small).expect("the folder is ours");
    fs::write(&big_file, &big).expect("the folder is ours");
    let [small_file, big_file] = [small_file, big_file].map(|path| path.display().to_string());

    let mut weir = Weir::start(&lab, &WeirOptions::new(io, &small));
    let small_shown = weir.show(&["-s", "rules"]);
    let began = Instant::now();
    weir.show(&["-f", &big_file]);
    let took = began.elapsed();
    let big_shown = weir.show(&["-s", "rules"]);
    weir.show(&["-f", &small_file]);

    let far = Capture::start(&lab.server.namespace, "eth0", "udp");
    let over = AtomicBool::new(false);
    let (mut interrupted, mut passed) = (0, 0);
    std::thread::scope(|scope| {
        let _over = SetOnDrop(&over);
        scope.spawn(|| {
            let socket = RawSocket::open(&lab.client.namespace, "eth0");
            let shut = datagram(&lab, NEITHER, "shut");
            while !over.load(Ordering::Relaxed) {
                socket.send(&shut);
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        for round in 0..ROUNDS {
            let mut load = start_load(&weir, &big_file);
            let due = Instant::now() + took * round / ROUNDS;
            while Instant::now() < due {
                std::thread::yield_now();
            }
            weir.kill();
            let (status, said) = load.finish(PATIENCE);
            interrupted += u32::from(!status.success());
            assert_closed(&lab, &far, round);

            weir = Weir::start(&lab, &WeirOptions::new(io, "pass nonsense\n"));
            assert!(weir.greeting.contains("last good"), "{}", weir.greeting);
            let shown = weir.show(&["-s", "rules"]);
            let is_big = shown == big_shown;
            assert!(is_big || shown == small_shown, "round {round}, neither:\n{shown}");
            assert!(is_big || !status.success(), "round {round}, a load was lost: {said}");
            let [open, shut] = if is_big { [BIG, SMALL] } else { [SMALL, BIG] };
            let text = format!("round {round}");
            let socket = RawSocket::open(&lab.client.namespace, "eth0");
            for port in [shut, open] {
                socket.send(&datagram(&lab, port, &text));
            }
            far.wait(&text, |frame| has_udp_payload(frame, text.as_bytes()));
            passed += 1;
            assert_eq!(far.count(|frame| has_udp_payload(frame, text.as_bytes())), 1);
            weir.show(&["-f", &small_file]);
        }
    });
    assert!(interrupted >= ROUNDS / 2, "only {interrupted} loads were interrupted");
    assert_eq!(passed, ROUNDS);
    assert_eq!(far.count(|frame| destination_port(frame) == Some(NEITHER)), 0);
}

/// Ends the thread beside it, also when an assertion fails.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn datagram(lab: &Lab, port: u16, text: &str) -> Vec<u8> {
    frames::udp_between(&lab.client, &lab.server, Family::Inet, (4000, port), text.as_bytes())
}

fn start_load(weir: &Weir, file: &str) -> Process {
    let mut command = Command::new(binary());
    command.arg("ctl").arg("--socket").arg(weir.socket()).args(["-f", file]);
    Process::start(&mut command)
}

/// What either rule set would pass does not pass now; a frame sent behind it on the other cable shows
/// that it had time to.
fn assert_closed(lab: &Lab, far: &Capture, round: u32) {
    let socket = RawSocket::open(&lab.client.namespace, "eth0");
    for port in [SMALL, BIG] {
        for _ in 0..20 {
            socket.send(&datagram(lab, port, "closed"));
        }
    }
    let text = format!("marker {round}");
    let ports = (4000, 4004);
    let marker =
        frames::udp_between(&lab.server, &lab.client, Family::Inet, ports, text.as_bytes());
    RawSocket::open(&lab.server.namespace, "eth0").send(&marker);
    far.wait("the marker", |frame| has_udp_payload(frame, text.as_bytes()));
    assert_eq!(far.count(|frame| has_udp_payload(frame, b"closed")), 0, "a dead weir forwards");
}
