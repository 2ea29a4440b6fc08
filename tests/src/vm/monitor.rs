//! QEMU's monitor (QMP, docs/interop/qmp-spec): a line of JSON for a command, one for its answer, and
//! events between them.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

/// How long QEMU and the guest may take for what was asked of them.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to the monitor.
#[derive(Debug)]
pub(super) struct Monitor {
    stream: BufReader<UnixStream>,
    /// Events that came before an answer.
    events: Vec<Value>,
}

impl Monitor {
    /// Connects to the monitor of a running machine.
    ///
    /// # Panics
    /// If there is none.
    pub(super) fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("a machine's monitor");
        stream.set_read_timeout(Some(PATIENCE)).expect("time-outs");
        let mut monitor = Self { stream: BufReader::new(stream), events: Vec::new() };
        let greeting = monitor.line();
        assert!(greeting.get("QMP").is_some(), "{greeting}");
        monitor.execute("qmp_capabilities", &json!({}));
        monitor
    }

    /// Has a command carried out, and returns what it says.
    ///
    /// # Panics
    /// If QEMU refuses.
    pub(super) fn execute(&mut self, command: &str, arguments: &Value) -> Value {
        let line = json!({ "execute": command, "arguments": arguments });
        writeln!(self.stream.get_mut(), "{line}").expect("a monitor that listens");
        loop {
            let mut answer = self.line();
            if answer.get("event").is_some() {
                self.events.push(answer);
                continue;
            }
            assert!(answer.get("return").is_some(), "{line}: {answer}");
            return answer["return"].take();
        }
    }

    /// Waits until the device of this name is gone.
    ///
    /// # Panics
    /// If it stays.
    pub(super) fn await_deleted(&mut self, device: &str) {
        let deleted =
            |event: &Value| event["event"] == "DEVICE_DELETED" && event["data"]["device"] == device;
        while !self.events.iter().any(deleted) {
            let event = self.line();
            self.events.push(event);
        }
        self.events.clear();
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("an answer of the monitor in time");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }
}
