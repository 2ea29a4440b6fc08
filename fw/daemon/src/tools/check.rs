//! `weir check`: reads rule files as `weir ctl -f` does, says everything that is wrong with them, and
//! warns of what is valid and a trap; settings files as `weir run` does. Changes nothing and needs no
//! running daemon.

use std::collections::HashSet;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;
use weir_config::lint::{self, Ports, Report};
use weir_config::settings::{NicName, parse};
use weir_config::{Diagnostic, Diagnostics, Parsed, Places, PortPrefixes, Severity};
use weir_shell::check::refuse_unbuilt;
use weir_shell::protocol::{Load, SOCKET};
use weir_shell::source::{self, Gathered, Live};

use crate::settings;

/// The command line.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Arguments {
    /// Rule files, each checked by itself, and settings files, whose names end in .toml; - is standard
    /// input
    #[arg(value_name = "FILE", required_unless_present_any = ["explain", "list", "settings", "live"])]
    files: Vec<PathBuf>,
    /// Check this settings file, whatever its name
    #[arg(long, value_name = "FILE")]
    settings: Vec<PathBuf>,
    /// Check the rule file of the running firewall, for its ports
    #[arg(long, conflicts_with_all = ["config", "lan", "wan"])]
    live: bool,
    /// The daemon's control socket, for --live
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    socket: PathBuf,
    /// Define a macro, as `weir ctl -D` does
    #[arg(short = 'D', value_name = "NAME=VALUE")]
    macros: Vec<String>,
    /// Fail on warnings too
    #[arg(long)]
    strict: bool,
    /// Print one JSON object for each file
    #[arg(long)]
    json: bool,
    /// Settings file that names the interfaces of lan and wan [default: /etc/weir/weir.toml, if it
    /// is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Interface of the protected network
    #[arg(long, value_name = "IF")]
    lan: Option<NicName>,
    /// Interface towards the router
    #[arg(long, value_name = "IF")]
    wan: Option<NicName>,
    /// Explain a warning
    #[arg(long, value_name = "NAME", conflicts_with_all = ["files", "list"])]
    explain: Option<String>,
    /// List all warnings
    #[arg(long, conflicts_with = "files")]
    list: bool,
}

/// What was found in one file, for --json.
#[derive(Serialize)]
struct Checked<'a> {
    file: &'a str,
    /// What the parser says.
    diagnostics: &'a [&'a Diagnostic],
    /// The warnings with names.
    lint: &'a Report,
}

/// Runs the subcommand: 0 if all is well, 1 if there are errors (with --strict, or warnings), 2 if
/// it could not check.
pub fn main(arguments: &Arguments) -> ExitCode {
    let mut out = io::stdout().lock();
    let done = match &arguments.explain {
        Some(name) => explain(name, &mut out),
        None if arguments.list => list(&mut out),
        None => check(arguments, &mut out),
    };
    match done {
        Ok(code) => code,
        Err(Failure::Pipe) => ExitCode::from(2),
        Err(Failure::Text(text)) => {
            eprintln!("weir check: {text}");
            ExitCode::from(2)
        }
    }
}

/// Why nothing could be checked.
enum Failure {
    /// Nobody reads what is printed.
    Pipe,
    Text(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Pipe,
            _ => Self::Text(error.to_string()),
        }
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

fn explain(name: &str, out: &mut impl Write) -> Result<ExitCode, Failure> {
    let Some(lint) = lint::lints().find(|lint| lint.name == name) else {
        return Err(format!("no warning is named `{name}`; --list shows all").into());
    };
    writeln!(out, "{lint}")?;
    Ok(ExitCode::SUCCESS)
}

fn list(out: &mut impl Write) -> Result<ExitCode, Failure> {
    let width = lint::lints().map(|lint| lint.name.len()).max().unwrap_or(0);
    for lint in lint::lints() {
        writeln!(out, "{:width$}  {}", lint.name, lint.summary)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn check(arguments: &Arguments, out: &mut impl Write) -> Result<ExitCode, Failure> {
    let is_settings = |path: &&PathBuf| path.extension().is_some_and(|kind| kind == "toml");
    let (settings, rules): (Vec<_>, Vec<_>) = arguments.files.iter().partition(is_settings);
    let mut is_clean = true;
    for path in arguments.settings.iter().chain(settings) {
        is_clean &= check_settings(path, arguments, out)?;
    }
    if !rules.is_empty() {
        is_clean &= check_rules(&rules, arguments, out)?;
    }
    if arguments.live {
        is_clean &= check_live(arguments, out)?;
    }
    out.flush()?;
    Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether nothing is wrong with a settings file.
fn check_settings(
    path: &Path,
    arguments: &Arguments,
    out: &mut impl Write,
) -> Result<bool, Failure> {
    let name = path.display();
    let found = match source::read(path.as_os_str()).map(|file| parse(&file)) {
        Ok(Ok(file)) => {
            let workers = file.ports.workers.unwrap_or(1);
            if let Err(text) = settings::check_bounds(workers, file.memory.states) {
                eprintln!("{name}: {text}");
                return Ok(false);
            }
            Diagnostics::default()
        }
        Ok(Err(found)) => found,
        Err(error) => return Err(error.to_string().into()),
    };
    let said: Vec<_> = found.iter().collect();
    tell(&name.to_string(), &said, &found, &Report::default(), arguments, out)?;
    Ok(said.is_empty())
}

/// Whether there is nothing to complain of in rule files.
fn check_rules(
    paths: &[&PathBuf],
    arguments: &Arguments,
    out: &mut impl Write,
) -> Result<bool, Failure> {
    let mut file = settings::read_file(arguments.config.as_deref())?;
    file.ports.lan = arguments.lan.clone().or(file.ports.lan);
    file.ports.wan = arguments.wan.clone().or(file.ports.wan);
    let prefixes = file.ports.prefixes();
    let name = |nic: &Option<NicName>| nic.as_ref().and_then(NicName::interface).map(str::to_owned);
    let ports =
        Ports { lan: name(&file.ports.lan), wan: name(&file.ports.wan), others: Vec::new() };
    let behind = Behind { ports, prefixes };
    let mut is_clean = true;
    for path in paths {
        is_clean &= check_file(path, &behind, arguments, out)?;
    }
    Ok(is_clean)
}

/// Whether there is nothing to complain of in the rule file of the running firewall.
fn check_live(arguments: &Arguments, out: &mut impl Write) -> Result<bool, Failure> {
    let Live { rules, ports, prefixes } = source::live(&arguments.socket)?;
    let named =
        |wanted| ports.iter().find(|(role, _)| role == wanted).map(|(_, name)| name.clone());
    let ports = Ports { lan: named("lan"), wan: named("wan"), others: Vec::new() };
    let terms = Load { macros: arguments.macros.clone(), ..Load::default() };
    let gathered = source::gather_text(&rules, terms, &prefixes)?;
    check_gathered(gathered, &ports, arguments, out)
}

/// What is known of the ports.
struct Behind {
    ports: Ports,
    /// The networks behind them.
    prefixes: Vec<PortPrefixes>,
}

/// Whether there is nothing to complain of.
fn check_file(
    path: &Path,
    behind: &Behind,
    arguments: &Arguments,
    out: &mut impl Write,
) -> Result<bool, Failure> {
    let terms = Load { macros: arguments.macros.clone(), ..Load::default() };
    let gathered = source::gather(path.as_os_str(), terms, &behind.prefixes);
    let gathered = gathered.map_err(|error| error.to_string())?;
    check_gathered(gathered, &behind.ports, arguments, out)
}

/// Whether there is nothing to complain of in what was read.
fn check_gathered(
    gathered: Gathered,
    ports: &Ports,
    arguments: &Arguments,
    out: &mut impl Write,
) -> Result<bool, Failure> {
    let mut parsed = gathered.checked;
    let report = match &parsed.rules {
        Some(rules) => lint::lint(rules, &parsed.notes, &parsed.sources, ports),
        None => Report::default(),
    };
    refuse_unbuilt(&mut parsed);
    let said: Vec<_> = said_by_parser(&parsed).collect();
    let warns = !report.findings.is_empty()
        || said.iter().any(|diagnostic| diagnostic.severity == Severity::Warning);
    let name = parsed.sources.first().map_or("", |file| &file.name);
    tell(name, &said, &parsed.diagnostics, &report, arguments, out)?;
    Ok(parsed.rules.is_some() && !(arguments.strict && warns))
}

/// Prints what was found in a file.
fn tell(
    file: &str,
    said: &[&Diagnostic],
    all: &Diagnostics,
    report: &Report,
    arguments: &Arguments,
    out: &mut impl Write,
) -> Result<(), Failure> {
    if arguments.json {
        let checked = Checked { file, diagnostics: said, lint: report };
        serde_json::to_writer(&mut *out, &checked).map_err(io::Error::from)?;
        return Ok(writeln!(out)?);
    }
    // Standard error as `weir ctl` does, and in the order in which a terminal should show it.
    out.flush()?;
    for diagnostic in said {
        eprintln!("{diagnostic}");
        if io::stderr().is_terminal() {
            eprintln!("{}", diagnostic.underlined());
        }
    }
    if let Some(end) = all.end() {
        eprintln!("{end}");
    }
    Ok(write!(out, "{report}")?)
}

/// Errors, and the warnings of the parser that lint has no name for.
fn said_by_parser(parsed: &Parsed) -> impl Iterator<Item = &Diagnostic> {
    let places = Places::new(&parsed.sources);
    let comments: HashSet<(String, u32)> = parsed
        .notes
        .continued_comments
        .iter()
        .filter_map(|comment| places.place(comment.span))
        .map(|place| (place.file, place.start))
        .collect();
    parsed.diagnostics.iter().filter(move |diagnostic| {
        let place = &diagnostic.place;
        diagnostic.severity == Severity::Error
            || !comments.contains(&(place.file.clone(), place.start))
    })
}
