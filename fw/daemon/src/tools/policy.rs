//! A rule file read, checked and compiled as the daemon would, but put in force nowhere.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::PathBuf;

use weir_config::PortPrefixes;
use weir_config::rules::{Interface, RuleSet};
use weir_config::settings::NicName;
use weir_engine::table::Tables;
use weir_engine::{Instant, PortName, PortNames, Program};
use weir_shell::check;
use weir_shell::protocol::Load;
use weir_shell::source;

use super::telling::Teller;
use crate::settings;

/// What rules may call the ports: the command line over the settings file.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Ports {
    /// Settings file that names the interfaces of lan and wan and the networks behind them [default: /etc/weir/weir.toml, if it
    /// is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Interface of the protected network
    #[arg(long, value_name = "IF")]
    lan: Option<NicName>,
    /// Interface towards the router
    #[arg(long, value_name = "IF")]
    wan: Option<NicName>,
}

impl Ports {
    /// What the command line says.
    pub const fn new(config: Option<PathBuf>, lan: Option<NicName>, wan: Option<NicName>) -> Self {
        Self { config, lan, wan }
    }

    /// The names, with the networks behind them; a port without an interface has its role's.
    ///
    /// # Errors
    /// When the settings file cannot be read or is wrong.
    pub fn names(&self) -> Result<PortNames, String> {
        let file = settings::read_file(self.config.as_deref())?;
        let (lan, wan) = (self.lan.clone().or(file.ports.lan), self.wan.clone().or(file.ports.wan));
        let name = |role: &str, nic: Option<NicName>, prefixes| PortName {
            role: role.to_owned(),
            interface: nic.as_ref().and_then(NicName::interface).unwrap_or(role).to_owned(),
            prefixes,
        };
        Ok(PortNames(vec![
            name("lan", lan, file.ports.lan_prefixes),
            name("wan", wan, file.ports.wan_prefixes),
        ]))
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
    /// Reads a rule file, `-` for standard input, and the files that it names; `defines` as -D takes
    /// them.
    ///
    /// # Errors
    /// When it cannot be read, is wrong (everything that is, a line each), or cannot be compiled.
    pub fn read(file: &OsStr, defines: &[String], ports: PortNames) -> Result<Self, String> {
        let terms = Load { macros: defines.to_vec(), ..Load::default() };
        let prefixes: Vec<_> = ports
            .0
            .iter()
            .map(|port| PortPrefixes {
                names: vec![port.role.clone(), port.interface.clone()],
                nets: port.prefixes.clone(),
            })
            .collect();
        let gathered = source::gather(file, terms, &prefixes).map_err(|error| error.to_string())?;
        let mut parsed = gathered.checked;
        check::refuse_unbuilt(&mut parsed);
        let Some(rules) = parsed.rules else {
            return Err(parsed.diagnostics.to_string().trim_end().to_owned());
        };
        let mut warnings: Vec<_> = parsed.diagnostics.iter().map(ToString::to_string).collect();
        warnings.extend(unknown_ports(&rules, &ports));
        let files = parsed.sources.into_iter().map(|file| file.name).collect();
        Ok(Self { warnings, ..Self::compile(&rules, ports, files)? })
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
pub(crate) fn unknown_ports(rules: &RuleSet, ports: &PortNames) -> Option<String> {
    let all = rules.rules.iter().chain(rules.anchors.values().flat_map(|anchor| &anchor.rules));
    let named = all.flat_map(|rule| [&rule.interface, &rule.received_on]).flatten();
    let named = named.map(|interface| &**interface);
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
