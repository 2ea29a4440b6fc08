//! A rule file read, checked and compiled as the daemon would, but put in force nowhere.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};

use weir_config::rules::{Interface, RuleSet};
use weir_config::{Defines, MAX_TEXT, SourceFile, parse};
use weir_engine::table::Tables;
use weir_engine::{Instant, PortName, PortNames, Program};

use super::telling::Teller;

/// What rules may call the ports, from the command line.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Ports {
    /// Interface of the protected network, for rules that name it
    #[arg(long, value_name = "IF")]
    lan: Option<String>,
    /// Interface towards the router, likewise
    #[arg(long, value_name = "IF")]
    wan: Option<String>,
}

impl Ports {
    /// The names; a port without an interface has its role's.
    pub fn names(&self) -> PortNames {
        let name = |role: &str, interface: &Option<String>| PortName {
            role: role.to_owned(),
            interface: interface.clone().unwrap_or_else(|| role.to_owned()),
        };
        PortNames(vec![name("lan", &self.lan), name("wan", &self.wan)])
    }
}

/// A rule file that could be put in force.
#[derive(Debug)]
pub struct Policy {
    /// The rules.
    pub program: Program,
    /// What the file puts into its tables.
    pub tables: Tables,
    /// The ports.
    pub ports: PortNames,
    /// Names of the files that were read.
    pub files: Vec<String>,
    /// The time at which packets come.
    pub now: Instant,
    /// What should be looked at.
    pub warnings: Vec<String>,
}

impl Policy {
    /// Reads a rule file, `-` for standard input; `defines` as -D takes them.
    ///
    /// # Errors
    /// When it cannot be read, is wrong (everything that is, a line each), or cannot be compiled.
    pub fn read(file: &OsStr, defines: &[String], ports: PortNames) -> Result<Self, String> {
        let text = read(file, MAX_TEXT).map_err(|error| error.to_string())?;
        Self::parse(text, defines, ports)
    }

    /// The same for a file that was read.
    ///
    /// # Errors
    /// Likewise.
    pub fn parse(file: SourceFile, defines: &[String], ports: PortNames) -> Result<Self, String> {
        let mut macros = Defines::default();
        for definition in defines {
            macros.define(definition).map_err(|error| format!("-D {error}"))?;
        }
        let files = [file];
        let parsed = parse(&files, &macros);
        let Some(rules) = parsed.rules else {
            return Err(parsed.diagnostics.to_string().trim_end().to_owned());
        };
        let mut warnings: Vec<_> = parsed.diagnostics.iter().map(ToString::to_string).collect();
        warnings.extend(unknown_ports(&rules, &ports));
        let names = files.map(|file| file.name).to_vec();
        Ok(Self { warnings, ..Self::compile(&rules, ports, names)? })
    }

    /// A policy of rules that were read from these files.
    ///
    /// # Errors
    /// When the rules cannot be compiled.
    pub fn compile(rules: &RuleSet, ports: PortNames, files: Vec<String>) -> Result<Self, String> {
        let now = Instant::from_secs(1);
        let program = Program::compile(rules, &ports, None).map_err(|error| error.to_string())?;
        let tables = Tables::declared(&program, now).map_err(|error| error.to_string())?;
        Ok(Self { program, tables, ports, files, now, warnings: Vec::new() })
    }

    /// What tells of packets by these rules; of every rule, or of those that match.
    pub fn teller(&self, all: bool) -> Teller<'_> {
        Teller {
            program: &self.program,
            tables: &self.tables,
            ports: &self.ports,
            files: &self.files,
            now: self.now,
            all,
        }
    }
}

/// Rules on an interface that is neither port match nothing, or everything with `!`.
fn unknown_ports(rules: &RuleSet, ports: &PortNames) -> Option<String> {
    let all = rules.rules.iter().chain(rules.anchors.values().flat_map(|anchor| &anchor.rules));
    let named = all.flat_map(|rule| [&rule.interface, &rule.received_on]).flatten();
    let ether = rules.ether.iter().filter_map(|rule| rule.interface.as_ref());
    let unknown: BTreeSet<&str> = named
        .chain(ether)
        .map(|Interface { name, .. }| name.as_str())
        .chain(rules.options.skip.iter().map(String::as_str))
        .filter(|name| ports.mask(name) == 0)
        .collect();
    if unknown.is_empty() {
        return None;
    }
    let names: Vec<_> = unknown.into_iter().map(|name| format!("`{name}`")).collect();
    Some(format!(
        "warning: the rules name {}, which is no port here: say which with --lan and --wan",
        names.join(", ")
    ))
}

/// Reads a text file; `-` is standard input.
///
/// # Errors
/// When it cannot be read, is not UTF-8, or is longer than `most` bytes.
pub fn read(file: &OsStr, most: usize) -> io::Result<SourceFile> {
    let (name, input): (String, Box<dyn Read>) = if file == "-" {
        ("stdin".into(), Box::new(io::stdin().lock()))
    } else {
        let name = file.display().to_string();
        let open = File::open(file);
        let file = open.map_err(|error| named(&name, &error))?;
        (name, Box::new(file))
    };
    let mut text = String::new();
    let most_read = most as u64 + 1;
    input.take(most_read).read_to_string(&mut text).map_err(|error| named(&name, &error))?;
    if text.len() > most {
        return Err(io::Error::other(format!("{name}: longer than {most} bytes")));
    }
    Ok(SourceFile::new(name, text))
}

fn named(name: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{name}: {error}"))
}
