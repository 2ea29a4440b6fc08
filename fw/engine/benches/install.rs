//! How long a worker does not judge while it takes up a rule set, and how long the work takes that
//! it leaves for later. `cargo bench -p weir-engine --bench install`.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant as Clock;

use weir_config::{Defines, SourceFile, parse_one};
use weir_engine::table::{Editor, Pages, Tables};
use weir_engine::{Engine, Instant, PortName, PortNames, Program, Setup, Shared};

const RULES: u32 = 100_000;
const ENTRIES: u32 = 1_000_000;
const STATES: u32 = 1024;

fn main() {
    let ports = PortNames(["lan", "wan"].map(port).into());
    let mut before: Option<Arc<Program>> = None;
    let mut engine = engine();
    println!("{RULES} rules");
    for (what, first, changed) in [
        ("the first rules", 0, None),
        ("the same rules", 0, None),
        ("one rule more in the middle", 0, Some(RULES / 2)),
        ("other rules", RULES, None),
    ] {
        let program = Arc::new(compile(&text(first, changed), &ports, before.as_deref()));
        let begin = Clock::now();
        let replaced = engine.install(Instant(0), Arc::clone(&program), Arc::default());
        let taken = begin.elapsed();
        let begin = Clock::now();
        let counters = engine.rule_counters();
        println!(
            "  {what}: {taken:?}; counters of {} rules: {:?}",
            counters.len(),
            begin.elapsed()
        );
        drop(replaced);
        before = Some(program);
    }
    println!("a table of {ENTRIES} counted entries");
    let nets = (0..ENTRIES).map(|i| format!("10.{}.{}.{}", i >> 16, i >> 8 & 255, i & 255));
    let entries: Vec<_> = nets.map(|net| net.parse().expect("an address")).collect();
    let mut editor = Editor::new(1, true, Instant(0));
    editor.replace(Instant(0), &entries, u32::MAX).expect("room");
    let tables = Arc::new(Tables::new(vec![Arc::clone(editor.table())]));
    engine.stock(Pages::between(&Tables::default(), &tables));
    let begin = Clock::now();
    let replaced = engine.set_tables(tables);
    println!("  taken up: {:?}", begin.elapsed());
    drop(replaced);
}

fn port(role: &str) -> PortName {
    PortName { role: role.to_owned(), interface: role.to_owned(), prefixes: Vec::new() }
}

/// Rules for a host each, from a number on, and if wanted one more somewhere.
fn text(first: u32, more: Option<u32>) -> String {
    let mut text = String::new();
    for host in first..first + RULES {
        if Some(host) == more {
            text.push_str("pass proto udp to port 53\n");
        }
        let [_, a, b, c] = host.to_be_bytes();
        let _ = writeln!(text, "pass quick proto tcp from 10.{a}.{b}.{c} to any port 80");
    }
    text
}

fn compile(text: &str, ports: &PortNames, before: Option<&Program>) -> Program {
    let parsed = parse_one(&SourceFile::new("install", text), &Defines::default());
    Program::compile(&parsed.rules.expect("no errors"), ports, before).expect("a program")
}

fn engine() -> Engine {
    let memory = vec![0; Engine::memory_needed(STATES)].leak();
    let setup = Setup { worker: 0, workers: 1, key: [7; 16], states: STATES, now: Instant(0) };
    Engine::new(setup, memory, Arc::new(Shared::default()))
}
