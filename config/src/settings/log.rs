//! `[log]` and `[[log.syslog]]`: where what weir has to tell goes.
//!
//! Names of hosts are not looked up, neither here nor later: a firewall whose log waits for a name
//! server that its own rules may block is no firewall.

use std::net::SocketAddr;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeString, DeValue};

use super::reader::{Reader, is_path};
use crate::parse::nearest;

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// `packets`: where a line for each logged packet goes.
    pub packets: Packets,
    /// `rate`: lines a second that one rule may write; `None`: no bound of its own.
    pub rate: Option<u32>,
    /// `pflog`: the file in the format of pf's log, if there is one.
    pub pflog: Option<PathBuf>,
    /// `pflog_size`: MiB after which a new one is begun, at least 1.
    pub pflog_size: u32,
    /// `pflog_files`: how many old ones are kept.
    pub pflog_files: u32,
    /// `[[log.syslog]]`: log servers.
    pub syslog: Vec<Syslog>,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            packets: Packets::Stderr,
            rate: Some(100),
            pflog: None,
            pflog_size: 10,
            pflog_files: 5,
            syslog: Vec::new(),
        }
    }
}

/// `packets`: where a line for each logged packet goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Packets {
    /// Standard error.
    #[default]
    Stderr,
    /// A file, appended to.
    File(PathBuf),
    /// Nowhere.
    Nowhere,
}

/// `[[log.syslog]]`: a log server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syslog {
    /// `to`.
    pub to: Server,
    /// `facility`: one of [`FACILITIES`].
    pub facility: &'static str,
    /// `severity`: the least grave that is sent, an index of [`SEVERITIES`].
    pub severity: u8,
    /// `packets`: whether logged packets are sent.
    pub packets: bool,
    /// `events`: whether weir's own messages are sent.
    pub events: bool,
    /// `format`.
    pub format: Format,
    /// `hostname`: what the host is called in messages; its own name if there is none.
    pub hostname: Option<String>,
    /// `queue`: messages that wait for the server at most.
    pub queue: u32,
    /// `ca`: certificates (PEM) of which one must have signed the server's.
    pub ca: Option<PathBuf>,
    /// `certificate` and `key`: what weir shows to the server (PEM).
    pub identity: Option<(PathBuf, PathBuf)>,
    /// `server_name`: the name in the server's certificate; its address if there is none.
    pub server_name: Option<String>,
}

impl Syslog {
    fn new(to: Server) -> Self {
        Self {
            to,
            facility: "local0",
            severity: 6,
            packets: true,
            events: true,
            format: Format::default(),
            hostname: None,
            queue: 8192,
            ca: None,
            identity: None,
            server_name: None,
        }
    }
}

/// `to`: where a log server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// `unix:/dev/log`: a datagram socket of this host.
    Unix(PathBuf),
    /// `udp:192.0.2.1:514` (RFC 5426).
    Udp(SocketAddr),
    /// `tcp:192.0.2.1:601` (RFC 6587, octet counting).
    Tcp(SocketAddr),
    /// `tls:192.0.2.1:6514` (RFC 5425).
    Tls(SocketAddr),
}

/// `format`: how a message is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// RFC 5424, with structured data.
    #[default]
    Rfc5424,
    /// What syslog(3) writes to `/dev/log`: RFC 3164 without a host.
    Rfc3164,
}

/// The facilities of RFC 5424 by number.
pub const FACILITIES: [&str; 24] = [
    "kern",
    "user",
    "mail",
    "daemon",
    "auth",
    "syslog",
    "lpr",
    "news",
    "uucp",
    "cron",
    "authpriv",
    "ftp",
    "ntp",
    "audit",
    "alert",
    "clock_daemon",
    "local0",
    "local1",
    "local2",
    "local3",
    "local4",
    "local5",
    "local6",
    "local7",
];

/// The severities of RFC 5424 by number, the gravest first.
pub const SEVERITIES: [&str; 8] =
    ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

/// Log servers at most.
pub const MAX_SERVERS: usize = 16;

/// The keys of `[[log.syslog]]`.
pub const SYSLOG_KEYS: [&str; 12] = [
    "to",
    "facility",
    "severity",
    "packets",
    "events",
    "format",
    "hostname",
    "queue",
    "ca",
    "certificate",
    "key",
    "server_name",
];

impl Reader<'_> {
    /// A key of `[log]`.
    pub(super) fn log(&mut self, name: &str, value: &Spanned<DeValue<'_>>) {
        match name {
            "packets" => {
                let packets = match self.string(name, value) {
                    Some("stderr") => Some(Packets::Stderr),
                    Some("none") => Some(Packets::Nowhere),
                    Some(_) => {
                        self.path(name, "\"stderr\", \"none\" or ", value).map(Packets::File)
                    }
                    None => None,
                };
                if let Some(packets) = packets {
                    self.settings.log.packets = packets;
                }
            }
            "rate" => {
                if let Some(rate) = self.integer(name, value, 0, 100_000) {
                    self.settings.log.rate = (rate != 0).then_some(rate);
                }
            }
            "pflog" => match self.string(name, value) {
                Some("none") => self.settings.log.pflog = None,
                Some(_) => self.settings.log.pflog = self.path(name, "\"none\" or ", value),
                None => {}
            },
            "pflog_size" => {
                if let Some(size) = self.integer(name, value, 1, 4096) {
                    self.settings.log.pflog_size = size;
                }
            }
            "pflog_files" => {
                if let Some(files) = self.integer(name, value, 0, 1000) {
                    self.settings.log.pflog_files = files;
                }
            }
            _ => self.servers(value),
        }
    }

    fn servers(&mut self, value: &Spanned<DeValue<'_>>) {
        let tables: Option<Vec<_>> = value.get_ref().as_array().and_then(|items| {
            items.iter().map(|item| Some((item.span(), item.get_ref().as_table()?))).collect()
        });
        let Some(tables) = tables else {
            let message = "log servers are sections of their own: write `[[log.syslog]]`";
            self.error(&value.span(), message.into());
            return;
        };
        if tables.len() > MAX_SERVERS {
            let message = format!("there can be {MAX_SERVERS} log servers at most");
            self.error(&value.span(), message);
        }
        for (span, table) in tables {
            let Some(to) = table.get("to") else {
                let message = "a log server needs `to`, as in to = \"udp:192.0.2.1:514\"";
                self.error(&span, message.into());
                continue;
            };
            let Some(to) = self.server(to) else { continue };
            let mut syslog = Syslog::new(to);
            let mut identity = [None, None];
            for (key, value) in table {
                self.syslog(&mut syslog, &mut identity, key, value);
            }
            match identity {
                [Some(certificate), Some(key)] => syslog.identity = Some((certificate, key)),
                [None, None] => {}
                _ => self.error(&span, "`certificate` and `key` belong together".into()),
            }
            let tls = matches!(syslog.to, Server::Tls(_));
            let names_tls =
                syslog.identity.is_some() || syslog.server_name.is_some() || syslog.ca.is_some();
            if tls && syslog.ca.is_none() {
                let message = "TLS needs `ca`, the certificate that the server's is signed with";
                self.error(&span, message.into());
            } else if !tls && names_tls {
                let message = "`ca`, `certificate`, `key` and `server_name` are for TLS only";
                self.error(&span, message.into());
            }
            self.settings.log.syslog.push(syslog);
        }
    }

    fn server(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Server> {
        let text = self.string("to", value)?;
        let server = match text.split_once(':') {
            Some(("unix", path)) if is_path(path) => Some(Server::Unix(path.into())),
            Some(("udp", address)) => address.parse().ok().map(Server::Udp),
            Some(("tcp", address)) => address.parse().ok().map(Server::Tcp),
            Some(("tls", address)) => address.parse().ok().map(Server::Tls),
            _ => None,
        };
        if server.is_none() {
            let message = "`to` must be \"unix:/dev/log\", or udp:, tcp: or tls: with an address and \
                           port, as in \"udp:192.0.2.1:514\"";
            self.error(&value.span(), message.into());
        }
        server
    }

    fn syslog(
        &mut self,
        syslog: &mut Syslog,
        [certificate, private]: &mut [Option<PathBuf>; 2],
        key: &Spanned<DeString<'_>>,
        value: &Spanned<DeValue<'_>>,
    ) {
        match key.get_ref().as_ref() {
            "to" => {}
            name @ "facility" => {
                let names = &FACILITIES[..];
                syslog.facility = self.one_of(name, names, value).map_or("local0", |i| names[i]);
            }
            name @ "severity" => {
                syslog.severity = self.one_of(name, &SEVERITIES, value).unwrap_or(6) as u8;
            }
            name @ "format" => {
                let formats = [Format::Rfc5424, Format::Rfc3164];
                let format = self.one_of(name, &["rfc5424", "rfc3164"], value);
                syslog.format = formats[format.unwrap_or_default()];
            }
            name @ "packets" => syslog.packets = self.boolean(name, value).unwrap_or(true),
            name @ "events" => syslog.events = self.boolean(name, value).unwrap_or(true),
            name @ "queue" => {
                syslog.queue = self.integer(name, value, 16, 1 << 20).unwrap_or(16);
            }
            name @ ("hostname" | "server_name") => {
                let Some(text) = self.string(name, value) else { return };
                // RFC 5424, 6: HOSTNAME is 1*255PRINTUSASCII.
                if text.is_empty()
                    || text.len() > 255
                    || !text.bytes().all(|b| b.is_ascii_graphic())
                {
                    let message = format!("`{name}` must be 1 to 255 letters without blanks");
                    self.error(&value.span(), message);
                } else if name == "hostname" {
                    syslog.hostname = Some(text.to_owned());
                } else {
                    syslog.server_name = Some(text.to_owned());
                }
            }
            name @ "ca" => syslog.ca = self.path(name, "", value),
            name @ "certificate" => *certificate = self.path(name, "", value),
            name @ "key" => *private = self.path(name, "", value),
            _ => self.unknown("key", key, SYSLOG_KEYS.into_iter()),
        }
    }

    /// The index of the name that is said.
    fn one_of(
        &mut self,
        name: &str,
        names: &[&'static str],
        value: &Spanned<DeValue<'_>>,
    ) -> Option<usize> {
        let text = self.string(name, value)?;
        let found = names.iter().position(|known| *known == text);
        if found.is_none() {
            let near = nearest(text, names.iter().copied());
            let hint = near.map_or(String::new(), |near| format!(", did you mean \"{near}\"?"));
            let message = format!("`{name}` must be one of {}{hint}", names.join(", "));
            self.error(&value.span(), message);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Metrics, Pflow, Settings, parse};
    use crate::source::SourceFile;

    fn read(text: &str) -> Result<Settings, String> {
        parse(&SourceFile::new("f", text)).map_err(|found| found.to_string())
    }

    #[test]
    fn everything_can_be_set() {
        let settings = read(
            "[log]\npackets = \"none\"\nrate = 0\npflog = \"/p\"\npflog_size = 1\npflog_files = 0\n\
             [[log.syslog]]\nto = \"unix:/dev/log\"\nformat = \"rfc3164\"\nfacility = \"daemon\"\n\
             severity = \"err\"\npackets = false\n[[log.syslog]]\nto = \"tls:[::1]:6514\"\nca = \"/c\"\n\
             certificate = \"/d\"\nkey = \"/k\"\nserver_name = \"log\"\nhostname = \"fw\"\nqueue = 100\n\
             events = false\n[metrics]\nlisten = \"unix:/m\"\n[pflow]\ncollector = \"192.0.2.1:4739\"\n\
             domain = 7\n",
        )
        .expect("valid");
        let local = Syslog {
            format: Format::Rfc3164,
            facility: "daemon",
            severity: 3,
            packets: false,
            ..Syslog::new(Server::Unix("/dev/log".into()))
        };
        let remote = Syslog {
            ca: Some("/c".into()),
            identity: Some(("/d".into(), "/k".into())),
            server_name: Some("log".into()),
            hostname: Some("fw".into()),
            queue: 100,
            events: false,
            ..Syslog::new(Server::Tls("[::1]:6514".parse().expect("an address")))
        };
        let log = Log {
            packets: Packets::Nowhere,
            rate: None,
            pflog: Some("/p".into()),
            pflog_size: 1,
            pflog_files: 0,
            syslog: vec![local, remote],
        };
        assert_eq!(settings.log, log);
        assert_eq!(settings.metrics, Some(Metrics::Unix("/m".into())));
        let collector = "192.0.2.1:4739".parse().ok();
        assert_eq!(settings.pflow, Pflow { collector, domain: 7 });
        let tcp = read("[metrics]\nlisten = \"127.0.0.1:9787\"\n").expect("valid");
        assert_eq!(tcp.metrics, Some(Metrics::Tcp("127.0.0.1:9787".parse().expect("an address"))));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let server = "[[log.syslog]]\nto = \"udp:192.0.2.1:514\"\n";
        for (text, message) in [
            (
                "[log]\npackets = \"x\"",
                "2:11: `packets` must be \"stderr\", \"none\" or a path from the root",
            ),
            ("[log]\nrate = -1", "2:8: `rate` must be a number from 0 to 100000"),
            (
                "[log]\nsyslog = \"udp:192.0.2.1:514\"",
                "2:10: log servers are sections of their own",
            ),
            ("[[log.syslog]]\nfacility = \"kern\"", "1:1: a log server needs `to`"),
            (
                "[[log.syslog]]\nto = \"udp:log.example.org:514\"",
                "2:6: `to` must be \"unix:/dev/log\"",
            ),
            ("[[log.syslog]]\nto = \"tls:192.0.2.1:6514\"", "1:1: TLS needs `ca`"),
            (&format!("{server}ca = \"/c\""), "1:1: `ca`, `certificate`, `key` and `server_name`"),
            (&format!("{server}key = \"/c\""), "1:1: `certificate` and `key` belong together"),
            (
                &format!("{server}facility = \"local8\""),
                "3:12: `facility` must be one of kern, user",
            ),
            (
                &format!("{server}sevrity = \"err\""),
                "3:1: unknown key `sevrity`, did you mean `severity`?",
            ),
            (&format!("{server}hostname = \"a b\""), "3:12: `hostname` must be 1 to 255 letters"),
            (
                "[metrics]\nlisten = \"9787\"",
                "2:10: `listen` must be \"none\", an address and port",
            ),
            (
                "[pflow]\ncollector = \"a:1\"",
                "2:13: `collector` must be \"none\" or an address and",
            ),
        ] {
            let found = read(text).expect_err(text);
            assert!(found.starts_with(&format!("f:{message}")), "{text}: {found}");
        }
    }
}
