//! What becomes of a packet in words: `weir explain --live`.

use std::sync::Arc;

use weir_config::probe;
use weir_engine::Meta;
use weir_shell::explanation::Explanation;
use weir_shell::protocol::{self, Explain};

use super::{Control, Refused};
use crate::mailbox::Letter;
use crate::rules::Places;
use crate::tools::fate::Question;
use crate::tools::frame;
use crate::tools::telling::Teller;

impl Control {
    /// Explains a packet by the states, rules and tables in force; changes nothing.
    ///
    /// # Errors
    /// When the words are wrong, no rule set was ever in force, or a worker does not answer.
    pub fn explain(&self, explain: &Explain) -> Result<Explanation, Refused> {
        let probe = probe::packet("packet", &explain.packet).map_err(Refused::Diagnostics)?;
        let port = frame::port(&probe.port, &self.parts.ports).map_err(Refused::Error)?;
        let now = self.parts.clock.now();
        let (program, places, open_for) = {
            let in_force = self.in_force.lock();
            let program = in_force.program.as_ref().map(Arc::clone);
            let open_for = in_force.open_until.map(|until| until.since(now).as_secs());
            let places = Arc::clone(&in_force.places);
            (program, places, open_for.filter(|&left| left > 0))
        };
        let program = program.ok_or_else(|| {
            Refused::Error("no rule set is in force: everything is blocked".into())
        })?;
        let tables = self.tables.lock().contents(now, program.tables());
        let bytes = frame::frame(&probe);
        let meta = frame::meta(&bytes, port);
        let question = Question { head: &bytes, meta, link_tag: probe.tagged.as_deref() };
        let teller = Teller {
            program: &program,
            tables: &tables,
            ports: &self.parts.ports,
            // Where the rules stand now nobody knows: their files may have changed.
            files: &[],
            now,
            all: explain.all,
        };
        let (mut explanation, fate) = teller.explain(probe.to_string(), &question);
        explanation.notes.extend(frame::note(program.rules(), &probe));
        let asked = fate.decision.is_some_and(|decision| !decision.skipped);
        if asked && let Some(state) = self.state_of(&bytes, meta, &places)? {
            explanation.passes = true;
            explanation.reason = None;
            explanation.because =
                String::from("the state lets it pass if its sequence numbers and flags fit");
            explanation.makes = None;
            explanation.state = Some(Box::new(state));
        }
        if let Some(seconds) = open_for {
            explanation.passes = true;
            explanation.reason = None;
            explanation.because =
                format!("filtering is disabled for another {seconds} s: everything passes");
            explanation.makes = None;
        }
        Ok(explanation)
    }

    /// The state that a frame would be judged by.
    fn state_of(
        &self,
        frame: &[u8],
        meta: Meta,
        places: &Places,
    ) -> Result<Option<protocol::State>, Refused> {
        for (worker, mailbox) in self.parts.mailboxes.iter().enumerate() {
            let ask = |reply| Letter::StateOf(frame.into(), meta, reply);
            if let Some(state) = mailbox.ask(ask)? {
                return Ok(Some(self.state(worker, &state, places)));
            }
        }
        Ok(None)
    }
}
