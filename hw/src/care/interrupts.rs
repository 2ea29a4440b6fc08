//! Each queue's interrupt on the core that it is meant for: that of the worker that serves it, in whose
//! cache is then what it brings; or another one where the worker runs before all else.

use std::io;

use super::{Device, Outcome, Step, all};

/// Points interrupts to processors.
pub(super) struct Affinity<'a> {
    /// By queue, again from the first where there are more queues.
    pub(super) cpus: &'a [u32],
}

impl Step for Affinity<'_> {
    fn name(&self) -> &'static str {
        "interrupt affinity"
    }

    fn consequence(&self) -> &'static str {
        "frames may be brought by another core than was meant to"
    }

    fn take(&self, device: &dyn Device) -> io::Result<Outcome> {
        let interrupts = device.interrupts()?;
        let served = queues(&interrupts);
        if let (true, [(_, name), ..]) = (served.is_empty(), &interrupts[..]) {
            let text = format!(
                "none of its {} interrupts ({name} ...) is known to serve a queue: {}",
                interrupts.len(),
                self.consequence()
            );
            return Ok(Outcome::Partly(None, text));
        }
        let mut before = Vec::new();
        let mut refused = None;
        for (interrupt, queue) in served {
            let Some(cpu) = self.cpus.get(queue as usize % self.cpus.len().max(1)) else { break };
            let change = || -> io::Result<Option<String>> {
                let was = device.affinity(interrupt)?;
                if was == cpu.to_string() {
                    return Ok(None);
                }
                device.set_affinity(interrupt, &cpu.to_string())?;
                Ok(Some(was))
            };
            match change() {
                Ok(was) => before.extend(was.map(|was| (interrupt, was))),
                // The kernel chooses by itself where an interrupt is "managed".
                Err(error) => refused = Some((interrupt, error)),
            }
        }
        let undo = (!before.is_empty()).then(|| -> super::Undo {
            Box::new(move |device| {
                all(before.iter().map(|(interrupt, was)| {
                    match device.set_affinity(*interrupt, was) {
                        // The driver has given it up with the XDP program that it had it for.
                        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                        outcome => outcome,
                    }
                }))
            })
        });
        Ok(match (undo, refused) {
            (undo, Some((interrupt, error))) => Outcome::Partly(
                undo,
                format!("interrupt {interrupt} cannot be moved ({error}): {}", self.consequence()),
            ),
            (Some(undo), None) => Outcome::Changed(undo),
            (None, None) => Outcome::AsItWas,
        })
    }
}

/// Which queue each interrupt serves, by its name: `eth0-TxRx-3`, `eth0-rx-3`, `virtio2-input.3`,
/// `mlx5_comp3@pci:0000:01:00.0`. The only one of a NIC serves queue 0; one without a number, or of
/// events, serves none.
fn queues(interrupts: &[(u32, String)]) -> Vec<(u32, u32)> {
    if let [(only, _)] = interrupts {
        return vec![(*only, 0)];
    }
    let of = |name: &str| -> Option<u32> {
        let name = name.split('@').next()?;
        let start = name.rfind(|c: char| !c.is_ascii_digit())? + 1;
        let kind = name[..start].to_ascii_lowercase();
        let serves = ["rx", "tx", "input", "output", "comp", "queue", "fp"];
        let serves =
            serves.iter().any(|word| kind.trim_end_matches(['-', '.', '_']).ends_with(word));
        name[start..].parse().ok().filter(|_| serves)
    };
    interrupts.iter().filter_map(|(number, name)| Some((*number, of(name)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_queue() {
        for (name, queue) in [
            ("eth0-TxRx-3", Some(3)),
            ("ice-eth0-TxRx-12", Some(12)),
            ("eth0-rx-0", Some(0)),
            ("eth0-rxtx-1", Some(1)),
            ("virtio2-input.1", Some(1)),
            ("virtio2-output.0", Some(0)),
            ("mlx5_comp7@pci:0000:01:00.0", Some(7)),
            ("eth0-fp-2", Some(2)),
            ("virtio2-config", None),
            ("eth0", None),
            ("eth0-event-3", None),
        ] {
            let found = queues(&[(40, name.to_owned()), (41, "other".to_owned())]);
            assert_eq!(
                found,
                queue.map(|queue| (40, queue)).into_iter().collect::<Vec<_>>(),
                "{name}"
            );
        }
        assert_eq!(queues(&[(16, "eth0".to_owned())]), [(16, 0)], "the only one");
    }
}
