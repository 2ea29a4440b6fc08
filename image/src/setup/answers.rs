//! What was answered, and the files that come of it.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, Value};
use weir_config::SourceFile;
use weir_config::settings::{self, ManagementAddress, NicName};
use weir_shell::check::{check, refuse_unbuilt};
use weir_shell::protocol::{Load, Source};

/// The settings that an appliance begins with.
pub(super) const SETTINGS: &str = include_str!("../../root/usr/lib/weir/first/weir.toml");

/// The namespace of the management port.
const NAMESPACE: &str = "management";

/// Which rules the box begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// Outgoing connections and their answers.
    Outgoing,
    /// The same, and these servers on these TCP ports.
    Servers(Vec<IpAddr>, Vec<u16>),
    /// Everything.
    Watch,
    /// Those that there are.
    Keep,
}

impl Policy {
    /// The rules; `None` if those that there are stay.
    pub(super) fn rules(&self) -> Option<String> {
        let servers = include_str!("../../root/usr/lib/weir/first/servers.conf");
        match self {
            Self::Outgoing => {
                Some(include_str!("../../root/usr/lib/weir/first/outgoing.conf").into())
            }
            Self::Watch => Some(include_str!("../../root/usr/lib/weir/first/watch.conf").into()),
            Self::Keep => None,
            Self::Servers(addresses, ports) => {
                let mut text = String::new();
                for line in servers.lines() {
                    let _ = if line.starts_with("servers = ") {
                        writeln!(text, "servers = \"{{ {} }}\"", words(addresses))
                    } else if line.starts_with("services = ") {
                        writeln!(text, "services = \"{{ {} }}\"", words(ports))
                    } else {
                        writeln!(text, "{line}")
                    };
                }
                Some(text)
            }
        }
    }
}

/// A list as it is written and typed.
pub(super) fn words<T: ToString>(list: &[T]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Everything that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answers {
    pub(super) lan: Option<NicName>,
    pub(super) wan: Option<NicName>,
    pub(super) policy: Policy,
    /// The management port.
    pub(super) nic: Option<NicName>,
    pub(super) addresses: Vec<ManagementAddress>,
    pub(super) gateways: Vec<IpAddr>,
    /// The log server.
    pub(super) syslog: Logs,
    pub(super) ntp: Vec<IpAddr>,
    /// Seconds that the clock is put forward.
    pub(super) forward: i64,
    /// The password of the console; empty: none, or the one that there is.
    pub(super) password: String,
}

/// Where logs go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Logs {
    /// Nowhere.
    None,
    /// To where the settings say.
    Keep,
    /// There by UDP.
    Udp(SocketAddr),
    /// There by TCP.
    Tcp(SocketAddr),
}

impl Answers {
    /// The settings: those that there were with what was answered.
    ///
    /// # Errors
    /// When the ones before were broken, or the result would be.
    pub(super) fn settings(&self, before: &str) -> Result<String, String> {
        let mut document: DocumentMut = before.parse().map_err(|error| format!("{error}"))?;
        let ports = section(&mut document, "ports")?;
        for (key, nic) in [("lan", &self.lan), ("wan", &self.wan)] {
            let nic = nic.as_ref().ok_or_else(|| format!("{key} is not chosen"))?;
            put(ports, key, nic.to_string().into());
        }
        let management = section(&mut document, "management")?;
        put(management, "namespace", NAMESPACE.into());
        let nic = self.nic.as_ref().map_or("none".to_owned(), ToString::to_string);
        put(management, "nic", nic.into());
        put(management, "addresses", list(&self.addresses));
        put(management, "gateways", list(&self.gateways));
        put(section(&mut document, "clock")?, "ntp", list(&self.ntp));
        self.put_logs(&mut document)?;
        let text = document.to_string();
        settings::parse(&SourceFile::new(settings::PATH, &*text))
            .map_err(|found| found.to_string())?;
        Ok(text)
    }

    fn put_logs(&self, document: &mut DocumentMut) -> Result<(), String> {
        let to = match self.syslog {
            Logs::Keep => return Ok(()),
            Logs::None => {
                section(document, "log")?.remove("syslog");
                return Ok(());
            }
            Logs::Udp(address) => format!("udp:{address}"),
            Logs::Tcp(address) => format!("tcp:{address}"),
        };
        let mut server = Table::new();
        server.insert("to", Item::Value(to.into()));
        let mut servers = ArrayOfTables::new();
        servers.push(server);
        section(document, "log")?.insert("syslog", Item::ArrayOfTables(servers));
        Ok(())
    }

    /// The rules, if there are to be others.
    ///
    /// # Errors
    /// What is wrong with them, which they are checked for as by `weir check`.
    pub(super) fn rules(&self) -> Result<Option<String>, String> {
        let Some(text) = self.policy.rules() else { return Ok(None) };
        let source = Source { name: "weir.conf".into(), text: text.clone() };
        let mut parsed = check(&Load { sources: vec![source], ..Load::default() }, &[])?;
        refuse_unbuilt(&mut parsed);
        if parsed.rules.is_none() {
            return Err(parsed.diagnostics.to_string());
        }
        Ok(Some(text))
    }
}

fn section<'d>(document: &'d mut DocumentMut, name: &str) -> Result<&'d mut Table, String> {
    let entry = document.entry(name).or_insert_with(|| Item::Table(Table::new()));
    entry.as_table_mut().ok_or_else(|| format!("`{name}` is not written as a section"))
}

/// Sets a key; a comment at the end of its line stays.
fn put(table: &mut Table, key: &str, mut value: Value) {
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(old) => {
            *value.decor_mut() = old.decor().clone();
            *old = value;
        }
        None => {
            table.insert(key, Item::Value(value));
        }
    }
}

fn list<T: ToString>(items: &[T]) -> Value {
    Value::Array(items.iter().map(ToString::to_string).collect::<Array>())
}
