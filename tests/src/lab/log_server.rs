//! Log servers as others run them: rsyslog and syslog-ng of Debian, in the firewall's namespace.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::process::{Output, Process};
use super::{Lab, PATIENCE, within};

/// Which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogServerKind {
    /// rsyslog.
    Rsyslog,
    /// syslog-ng.
    SyslogNg,
}

/// What a server has understood of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The way that it came: `unix`, `udp`, `tcp` or `tls`.
    pub by: String,
    /// Facility and severity by name.
    pub priority: (String, String),
    /// HOSTNAME, APP-NAME, PROCID, MSGID.
    pub header: [String; 4],
    /// STRUCTURED-DATA: as it came from rsyslog, in the order of names from syslog-ng.
    pub data: String,
    /// MSG.
    pub text: String,
}

/// A log server that listens on every transport; killed when it goes out of scope.
#[derive(Debug)]
pub struct LogServer<'l> {
    lab: &'l Lab,
    kind: LogServerKind,
    folder: PathBuf,
    process: Option<Process>,
}

/// Ports of UDP, TCP and TLS.
const PORTS: [u16; 3] = [5514, 5601, 5651];

/// The name in its certificate.
const NAME: &str = "log.test";

impl<'l> LogServer<'l> {
    /// Sets one up; it does not run yet. There is one in a lab.
    pub fn new(lab: &'l Lab, kind: LogServerKind) -> Self {
        let folder = lab.folder().join("log-server");
        fs::create_dir(&folder).expect("the lab's folder is ours");
        lab.firewall.ip(&["link", "set", "lo", "up"]);
        certify(&folder);
        let [udp, tcp, tls] = PORTS;
        let here = folder.display();
        let config = match kind {
            LogServerKind::Rsyslog => format!(
                r#"global(workDirectory="{here}" defaultNetstreamDriver="ossl"
  defaultNetstreamDriverCAFile="{here}/ca.pem" defaultNetstreamDriverCertFile="{here}/server.pem"
  defaultNetstreamDriverKeyFile="{here}/server.key" maxMessageSize="16k")
module(load="imudp")
module(load="imptcp")
module(load="imtcp" streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="x509/certvalid")
module(load="imuxsock" sysSock.use="off")
template(name="t" type="string" string="%inputname%|%syslogfacility-text%|%syslogseverity-text%|%hostname%|%app-name%|%procid%|%msgid%|%structured-data%|%msg%\n")
input(type="imudp" address="127.0.0.1" port="{udp}" name="udp" ruleset="r")
input(type="imptcp" address="127.0.0.1" port="{tcp}" name="tcp" ruleset="r")
input(type="imtcp" address="127.0.0.1" port="{tls}" name="tls" ruleset="r")
input(type="imuxsock" socket="{here}/log" useSpecialParser="off" parseHostname="on"
  ratelimit.interval="0" ruleset="r")
ruleset(name="r") {{ action(type="omfile" file="{here}/out" template="t" flushOnTXEnd="on") }}
"#
            ),
            LogServerKind::SyslogNg => format!(
                r#"@version: 3.38
options {{ keep-hostname(yes); flush-lines(1); log-msg-size(16384); }};
source unix {{ unix-dgram("{here}/log" flags(syslog-protocol)); }};
source udp {{ syslog(transport("udp") ip("127.0.0.1") port({udp})); }};
source tcp {{ syslog(transport("tcp") ip("127.0.0.1") port({tcp})); }};
source tls {{ syslog(transport("tls") ip("127.0.0.1") port({tls}) tls(key-file("{here}/server.key")
  cert-file("{here}/server.pem") ca-file("{here}/ca.pem") peer-verify(required-trusted))); }};
template t {{ template("$SOURCE|$FACILITY|$PRIORITY|$HOST|$PROGRAM|$PID|$MSGID|$SDATA|$MSG\n"); }};
destination d {{ file("{here}/out" template(t)); }};
log {{ source(unix); source(udp); source(tcp); source(tls); destination(d); flags(flow-control); }};
"#
            ),
        };
        fs::write(folder.join("config"), config).expect("the lab's folder is ours");
        Self { lab, kind, folder, process: None }
    }

    /// What weir.toml has to say so that a message takes every way, and `more` of each.
    pub fn settings(&self, more: &str) -> String {
        let [udp, tcp, tls] = PORTS;
        let here = self.folder.display();
        let servers = [
            format!("to = \"unix:{here}/log\"\n"),
            format!("to = \"udp:127.0.0.1:{udp}\"\n"),
            format!("to = \"tcp:127.0.0.1:{tcp}\"\n"),
            format!(
                "to = \"tls:127.0.0.1:{tls}\"\nca = \"{here}/ca.pem\"\nserver_name = \"{NAME}\"\n\
                 certificate = \"{here}/client.pem\"\nkey = \"{here}/client.key\"\n"
            ),
        ];
        servers.map(|server| format!("[[log.syslog]]\n{server}{more}")).concat()
    }

    /// Starts it, and waits until it listens.
    pub fn start(&mut self) {
        let _ = fs::remove_file(self.folder.join("log"));
        let root = root();
        let libraries = root.join("usr/lib/x86_64-linux-gnu");
        let own = root.join("usr/lib/syslog-ng");
        let program = match self.kind {
            LogServerKind::Rsyslog => root.join("usr/sbin/rsyslogd"),
            LogServerKind::SyslogNg => root.join("usr/sbin/syslog-ng"),
        };
        let mut command = self.lab.firewall.command(&program.to_string_lossy());
        command.env("LD_LIBRARY_PATH", format!("{}:{}", libraries.display(), own.display()));
        let at = |name: &str| self.folder.join(name);
        match self.kind {
            LogServerKind::Rsyslog => {
                command.args(["-n", "-iNONE", "-f"]).arg(at("config"));
                command.arg("-M").arg(libraries.join("rsyslog"));
            }
            LogServerKind::SyslogNg => {
                command.args(["-F", "--no-caps", "-f"]).arg(at("config"));
                command.arg("-R").arg(at("persist")).arg("-c").arg(at("ctl"));
                command.arg("-p").arg(at("pid")).arg("--module-path").arg(own.join("3.38"));
            }
        }
        let process = Process::start(&mut command);
        let listens = within(PATIENCE, || {
            at("log").exists()
                && self.lab.firewall.within(|| {
                    PORTS[1..].iter().all(|&port| {
                        let address = ([127, 0, 0, 1], port).into();
                        TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
                    })
                })
        });
        assert!(listens, "{:?} does not listen:\n{}", self.kind, process.lines().join("\n"));
        self.process = Some(process);
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// All messages that it has written down so far.
    pub fn received(&self) -> Vec<Received> {
        let text = fs::read_to_string(self.folder.join("out")).unwrap_or_default();
        // The last line may be half written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().filter_map(received).collect()
    }
}

fn received(line: &str) -> Option<Received> {
    let mut parts = line.splitn(9, '|').map(str::to_owned);
    let mut next = || parts.next();
    let by = next()?;
    Some(Received {
        by: if by == "imuxsock" { "unix".into() } else { by },
        priority: (next()?, next()?),
        header: [next()?, next()?, next()?, next()?],
        data: next()?,
        text: next()?.trim_start().to_owned(),
    })
}

/// Where `.ci/log-servers` has put the programs.
fn root() -> PathBuf {
    let ourselves = std::env::current_exe().expect("/proc is mounted");
    let fetched = ourselves.ancestors().map(|folder| folder.join("log-servers"));
    let folder = fetched.into_iter().find(|folder| folder.join("complete").is_file());
    folder.expect("no log servers in the target folder: run `make deps`").join("root")
}

/// Another program that was fetched with them, ready to run in a namespace of the lab.
pub fn fetched(lab: &Lab, program: &str) -> Command {
    let root = root();
    let mut command = lab.firewall.command(&root.join(program).to_string_lossy());
    command.env("LD_LIBRARY_PATH", root.join("usr/lib/x86_64-linux-gnu"));
    command
}

/// An authority, and certificates of it for server and client.
fn certify(folder: &Path) {
    const KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let openssl = |arguments: &[&str]| {
        let output = Output::of(Command::new("openssl").args(arguments).current_dir(folder));
        output.expect_success();
    };
    let authority =
        ["-x509", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "2"];
    openssl(&[&["req"], &KEY[..], &authority[..]].concat());
    let extensions = format!("subjectAltName=DNS:{NAME}\nbasicConstraints=CA:FALSE\n");
    fs::write(folder.join("extensions"), extensions).expect("the lab's folder is ours");
    for (name, subject) in [("server", "/CN=log.test"), ("client", "/CN=weir")] {
        let [key, request, certificate] = ["key", "csr", "pem"].map(|end| format!("{name}.{end}"));
        let wanted = ["-keyout", &key, "-out", &request, "-subj", subject];
        openssl(&[&["req"], &KEY[..], &wanted[..]].concat());
        openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-out",
            &certificate,
            "-days",
            "2",
            "-extfile",
            "extensions",
        ]);
    }
}
