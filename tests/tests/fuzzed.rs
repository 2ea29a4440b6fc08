//! The fuzz targets of the engine on stable Rust: every seed, every input that once crashed, and some
//! thousand random ones that repeat with their numbers.

use std::fs;
use std::path::{Path, PathBuf};

use weir_tests::fuzz::{MEMORY, Summary, TARGETS, Target};
use weir_tests::random::Random;

/// Random inputs of each target.
const RANDOM: u64 = 1_000;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

fn run(target: Target, input: &[u8]) -> Summary {
    target(vec![0; MEMORY].leak(), input)
}

/// All files of a folder, by name.
fn inputs(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).expect("readable"))).collect()
}

/// Named when a test fails.
struct Named<'a>(&'a dyn std::fmt::Debug);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input is {:?}", self.0);
        }
    }
}

#[test]
fn seeds_and_former_crashes_do_what_they_should() {
    for (name, target) in TARGETS {
        let seeds = inputs(&folder("seeds").join(name));
        assert!(seeds.len() >= 3, "{name}: {} seeds", seeds.len());
        let mut seen = Summary::default();
        for (path, input) in seeds.into_iter().chain(inputs(&folder("crashes").join(name))) {
            let _named = Named(&path);
            seen = seen.and(run(target, &input));
        }
        assert!(seen.passed > 0 && seen.dropped > 0, "{name}: {seen:?}");
    }
}

/// Seeds that are changed here and there, and bytes without any sense.
#[test]
fn random_inputs_do_no_harm() {
    for (name, target) in TARGETS {
        let seeds = inputs(&folder("seeds").join(name));
        let mut seen = Summary::default();
        for number in 0..RANDOM {
            let mut random = Random(number);
            let mut input = match random.below(4) {
                0 => (0..random.below(300)).map(|_| random.next() as u8).collect(),
                _ => seeds[random.below(seeds.len() as u64) as usize].1.clone(),
            };
            for _ in 0..random.below(6) {
                if !input.is_empty() {
                    let at = random.below(input.len() as u64) as usize;
                    input[at] = random.next() as u8;
                }
            }
            let shown = (name, number);
            let _named = Named(&shown);
            seen = seen.and(run(target, &input));
        }
        assert!(seen.passed > RANDOM && seen.dropped > RANDOM, "{name}: {seen:?}");
    }
}
