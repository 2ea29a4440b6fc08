//! `weir test`: lists of cases against a rule file, for use before every commit of a rule change.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant as Clock;

use weir_config::probe::{By, Case, cases};
use weir_config::rules::Action;
use weir_engine::{Criterion, Outcome, PortIndex, SideTrace, Trace};
use weir_shell::source;

use super::difference::{Scene, rule_id};
use super::fate::{self, Fate, Question};
use super::frame;
use super::junit::{Entry, Report, Suite};
use super::policy::{Policy, Ports};
use super::telling::Teller;

/// Arguments of `weir test`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A case is a line, # begins a comment:
  pass  in on wan proto tcp from 192.0.2.1 to 198.51.100.2 port 80 by \"web\"
  block in on wan proto tcp from 192.0.2.1 to 198.51.100.2 port 22 by @0
  block in on lan proto udp from 10.0.0.1 to 10.0.0.2 port 53 by @guests/3
`weir explain --help` tells the words of a packet; `by` and the rule that has to decide may be left
out.

The exit status is 0 if every case is as expected, 1 if one is not, 2 after an error.")]
pub struct Arguments {
    /// The rule file; - is standard input
    #[arg(long, value_name = "FILE")]
    rules: OsString,
    /// Define a macro, as weirctl -D
    #[arg(short = 'D', value_name = "NAME=VALUE")]
    define: Vec<String>,
    #[command(flatten)]
    ports: Ports,
    /// Write the results as `JUnit` XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Print every case, and how fast it went
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,
    /// Print nothing but errors
    #[arg(short, long)]
    quiet: bool,
    /// Files of cases; - is standard input
    #[arg(value_name = "CASES", required = true)]
    cases: Vec<OsString>,
}

/// Runs the command.
pub fn main(arguments: &Arguments) -> ExitCode {
    let mut out = BufWriter::new(io::stdout().lock());
    match run(arguments, &mut out) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(text) => {
            // What was printed before is worth seeing.
            let _ = out.flush();
            eprintln!("{text}");
            ExitCode::from(2)
        }
    }
}

/// The cases of one file.
struct List {
    name: String,
    cases: Vec<Case>,
}

/// Whether all cases are as expected.
fn run(arguments: &Arguments, out: &mut impl Write) -> Result<bool, String> {
    if arguments.rules == "-" && arguments.cases.iter().any(|file| file == "-") {
        return Err("weir test: rules and cases cannot both come from standard input".to_owned());
    }
    let names = arguments.ports.names();
    let policy = names.and_then(|names| Policy::read(&arguments.rules, &arguments.define, names));
    let lists = gather(&arguments.cases);
    // What is wrong with either is told in one run.
    let (policy, lists) = match (policy, lists) {
        (Ok(policy), Ok(lists)) => (policy, lists),
        (policy, lists) => {
            let wrong: Vec<_> = policy.err().into_iter().chain(lists.err()).collect();
            return Err(wrong.join("\n"));
        }
    };
    if lists.iter().all(|list| list.cases.is_empty()) {
        return Err("weir test: there are no cases in these files".to_owned());
    }
    policy.warnings.iter().for_each(|warning| eprintln!("{warning}"));
    let unwritten = |error: io::Error| format!("weir test: {error}");
    let mut report = Report::default();
    let (mut count, mut failed, mut seconds) = (0, 0, 0.0);
    for list in &lists {
        let begin = Clock::now();
        let ports = ports(list, &policy)?;
        let fates = judge(list, &ports, &policy);
        let took = begin.elapsed().as_secs_f64();
        seconds += took;
        let mut suite = Suite { name: list.name.clone(), seconds: took, cases: Vec::new() };
        for ((case, port), fate) in list.cases.iter().zip(&ports).zip(&fates) {
            count += 1;
            let failure =
                (!holds(case, fate, &policy)).then(|| differs(case, *port, fate, &policy));
            failed += u64::from(failure.is_some());
            if !arguments.quiet {
                match &failure {
                    Some((message, text)) => {
                        let packet = &case.packet;
                        write!(out, "{}:{}: {message}: {packet}\n{text}", list.name, case.line)
                            .map_err(unwritten)?;
                    }
                    None if arguments.verbose => {
                        writeln!(out, "{}:{}: ok: {}", list.name, case.line, said(case))
                            .map_err(unwritten)?;
                    }
                    None => {}
                }
            }
            if arguments.junit.is_some() {
                suite.cases.push(Entry { name: said(case), line: case.line, failure });
            }
        }
        report.suites.push(suite);
    }
    if !arguments.quiet {
        let cases = if count == 1 { "case" } else { "cases" };
        writeln!(out, "{count} {cases}, {failed} failed").map_err(unwritten)?;
        if arguments.verbose {
            let rate = count as f64 / seconds.max(1e-9);
            writeln!(out, "{seconds:.6} s, {rate:.0} cases a second").map_err(unwritten)?;
        }
    }
    out.flush().map_err(unwritten)?;
    if let Some(path) = &arguments.junit {
        fs::write(path, report.to_string())
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(failed == 0)
}

/// Reads the files of cases.
fn gather(files: &[OsString]) -> Result<Vec<List>, String> {
    let mut wrong = String::new();
    let mut lists = Vec::new();
    for file in files {
        match source::read(file) {
            Ok(source) => {
                let found = cases(&source);
                // Writing to a string cannot fail.
                let _ = write!(wrong, "{}", found.diagnostics);
                lists.push(List { name: source.name, cases: found.list });
            }
            Err(error) => {
                let _ = writeln!(wrong, "{error}");
            }
        }
    }
    if wrong.is_empty() { Ok(lists) } else { Err(wrong.trim_end().to_owned()) }
}

/// The port at which each packet arrives.
fn ports(list: &List, policy: &Policy) -> Result<Vec<PortIndex>, String> {
    let mut wrong = String::new();
    let mut ports = Vec::with_capacity(list.cases.len());
    for case in &list.cases {
        match frame::port(&case.packet.port, &policy.ports) {
            Ok(port) => ports.push(port),
            Err(text) => {
                let _ = writeln!(wrong, "{}:{}: {text}", list.name, case.line);
            }
        }
    }
    if wrong.is_empty() { Ok(ports) } else { Err(wrong.trim_end().to_owned()) }
}

/// What becomes of each packet.
fn judge(list: &List, ports: &[PortIndex], policy: &Policy) -> Vec<Fate> {
    let fates = list.cases.iter().zip(ports).map(|(case, &port)| {
        ask(case, port, |question| {
            fate::decide(&policy.program, &policy.tables, policy.now, question)
        })
    });
    fates.collect()
}

fn ask<T>(case: &Case, port: PortIndex, answer: impl FnOnce(&Question<'_>) -> T) -> T {
    let bytes = frame::frame(&case.packet);
    let meta = frame::meta(&bytes, port);
    answer(&Question { head: &bytes, meta, link_tag: case.packet.tagged.as_deref() })
}

fn holds(case: &Case, fate: &Fate, policy: &Policy) -> bool {
    fate.passes() == case.passes
        && case.by.as_ref().is_none_or(|by| fate.is_by(by, &policy.program))
}

/// The case in words.
fn said(case: &Case) -> String {
    let verdict = verdict(case.passes);
    match &case.by {
        Some(by) => format!("{verdict} {} by {by}", case.packet),
        None => format!("{verdict} {}", case.packet),
    }
}

const fn verdict(passes: bool) -> &'static str {
    if passes { "pass" } else { "block" }
}

/// What differs, in one line, and why: who decides, and the rule that came nearest to deciding as
/// expected.
fn differs(case: &Case, port: PortIndex, fate: &Fate, policy: &Policy) -> (String, String) {
    let teller = policy.teller(true);
    let (expected, got) = (verdict(case.passes), verdict(fate.passes()));
    let message = match &case.by {
        Some(by) if expected == got => format!("expected {expected} by {by}, got it otherwise"),
        _ => format!("expected {expected}, got {got}"),
    };
    let mut text = format!("  {got}: {}\n", teller.because(fate));
    let mut deciding: Vec<_> = fate.deciding(&policy.program).into_iter().flatten().collect();
    // It may be the same on both sides.
    deciding.dedup();
    for rule in deciding {
        text += &line(&teller, rule);
    }
    ask(case, port, |question| {
        let (_, asked) = fate::explain(&policy.program, &policy.tables, policy.now, question);
        if let Some(asked) = asked
            && let Some((side, rule, outcome)) = nearest(case, &asked.trace, policy)
        {
            let scene = Scene {
                program: &policy.program,
                tables: &policy.tables,
                ports: &policy.ports,
                now: policy.now,
                packet: &asked.packet,
                port: side.port,
                direction: side.direction,
                tag: asked.tag.as_deref(),
            };
            let place = policy.program.place(rule);
            let why = match outcome {
                Outcome::Failed(criterion) => format!("differs: {}", scene.why(&place, criterion)),
                Outcome::NotReached => "is not asked".to_owned(),
                Outcome::Matched => match side.winner {
                    Some(winner) if winner != rule => {
                        format!("matches, but {} comes later", teller.name(winner))
                    }
                    _ => "decides this side, but not the packet".to_owned(),
                },
            };
            let (name, way) = (teller.name(rule), side.direction);
            let on = policy.ports.role(side.port);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  nearest, {way} on {on}: {name} {why}");
            text += &line(&teller, rule);
        }
    });
    (message, text)
}

/// A rule with its place.
fn line(teller: &Teller<'_>, rule: u32) -> String {
    let place = teller.program.place(rule);
    let text = format!("    {} {}", rule_id(&place), place.rule);
    match teller.place(place.rule.source) {
        Some(place) => format!("{text} ({place})\n"),
        None => format!("{text}\n"),
    }
}

/// The rule that came nearest to deciding as expected: the one that `by` names, else of those that do
/// what was expected one that matched, else the one of which most criteria hold. For a packet that
/// should pass, on the sides where a rule blocks it.
fn nearest<'t>(
    case: &Case,
    trace: &'t Trace,
    policy: &Policy,
) -> Option<(&'t SideTrace, u32, Outcome)> {
    let program = &policy.program;
    let blocks = |side: &SideTrace| {
        side.winner.is_some_and(|rule| program.place(rule).rule.action != Action::Pass)
    };
    let blocked = case.passes && trace.sides.iter().any(blocks);
    let mut best: Option<(&SideTrace, u32, Outcome)> = None;
    for side in trace.sides.iter().filter(|side| !blocked || blocks(side)) {
        for step in &side.steps {
            let place = program.place(step.rule);
            let wanted = match &case.by {
                Some(By::Label(label)) => place.rule.label.as_ref() == Some(label),
                Some(By::Rule { anchor, number }) => {
                    place.anchor == anchor && place.number == *number
                }
                None => match place.rule.action {
                    Action::Pass => case.passes,
                    Action::Block(_) => !case.passes,
                    Action::Match | Action::Anchor(_) => false,
                },
            };
            if wanted && best.is_none_or(|(.., so_far)| nearness(step.outcome) > nearness(so_far)) {
                best = Some((side, step.rule, step.outcome));
            }
        }
    }
    best
}

/// How near a rule came to deciding; criteria are in the order of asking.
fn nearness(outcome: Outcome) -> (u8, Option<Criterion>) {
    match outcome {
        Outcome::NotReached => (0, None),
        Outcome::Failed(criterion) => (1, Some(criterion)),
        Outcome::Matched => (2, None),
    }
}
