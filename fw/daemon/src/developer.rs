//! What developers can put around the ports of `weir run`; not there unless asked for.

use std::path::PathBuf;
use std::sync::Arc;

use tracing::warn;
use weir_hw::wrap::{Faults, Faulty, Record, Recorder};
use weir_hw::{Opened, Port, WorkerPorts};

/// For developers; none of it is shown by `--help`. CONTRIBUTING.md tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Developer {
    /// Lose, double, reorder and corrupt frames that come in
    #[arg(long = "developer-faults", value_name = "WORDS", hide = true)]
    pub faults: Option<Faults>,
    /// Write all that the ports receive and send to a pcapng file
    #[arg(long = "developer-record", value_name = "FILE", hide = true)]
    pub record: Option<PathBuf>,
}

impl Developer {
    /// Puts it around ports that were opened; faults first, so that the record holds what the workers
    /// see.
    ///
    /// # Errors
    /// When the record cannot be made.
    pub fn wrap(&self, opened: &mut Opened) -> Result<(), String> {
        if let Some(faults) = self.faults.filter(|faults| !faults.is_none()) {
            warn!("TRAFFIC IS DAMAGED, as --developer-faults says: {faults:?}");
            let mut number = 0;
            each(opened, &mut |_, port| {
                number += 1;
                Box::new(Faulty::new(port, faults, number))
            });
        }
        if let Some(path) = &self.record {
            let record = Record::create(path, &["lan", "wan"])
                .map_err(|error| format!("{}: {error}", path.display()))?;
            warn!("all frames are written to {}, and workers wait for that", path.display());
            each(opened, &mut |number, port| {
                Box::new(Recorder::new(port, Arc::clone(&record), number))
            });
        }
        Ok(())
    }
}

/// Puts something around every port of every worker, each with its number in its worker.
fn each(opened: &mut Opened, around: &mut dyn FnMut(u32, Box<dyn Port>) -> Box<dyn Port>) {
    opened.workers = std::mem::take(&mut opened.workers)
        .into_iter()
        .map(|WorkerPorts { ports: [lan, wan], pool, holds }| WorkerPorts {
            pool,
            ports: [around(0, lan), around(1, wan)],
            holds,
        })
        .collect();
}
