//! Rule sets are put in force here, and taken out of it.

use std::sync::Arc;

use weir_config::rules::RuleSet;
use weir_engine::Program;
use weir_engine::table::Tables;
use weir_shell::check::check;
use weir_shell::protocol::Load;

use super::{Control, InForce, Refused};
use crate::mailbox::Letter;

/// How a load went.
#[derive(Debug)]
pub struct Loaded {
    /// Rules in force now.
    pub rules: usize,
    /// They were in force before.
    pub unchanged: bool,
    /// Warnings, and what could not be done about keeping the rule set.
    pub warnings: Vec<String>,
}

impl Control {
    /// Puts a rule set in force on all workers and keeps it, or changes nothing.
    ///
    /// # Errors
    /// When the rules are wrong, need more than is reserved, or a worker does not answer.
    pub fn load(&self, load: &Load) -> Result<Loaded, Refused> {
        let _loading = self.loading.lock();
        let mut loaded = self.put_in_force(load, "")?;
        if let Err(error) = self.parts.last_good.save(load) {
            loaded.warnings.push(format!("the rules are in force but could not be kept: {error}"));
        }
        Ok(loaded)
    }

    /// Puts the rule set in force that was kept last.
    ///
    /// # Errors
    /// When there is none, and as for [`Control::load`].
    pub fn load_last_good(&self) -> Result<Loaded, Refused> {
        let _loading = self.loading.lock();
        self.put_in_force(&self.parts.last_good.read()?, " (last good)")
    }

    fn put_in_force(&self, load: &Load, remark: &str) -> Result<Loaded, Refused> {
        let (rules, warnings) = parse(load)?;
        let states = rules.options.limits.states;
        if states > self.parts.reserved {
            return Err(Refused::Error(format!(
                "set limit states {states}: memory is reserved for {} states only ([memory] states \
                 in the settings file)",
                self.parts.reserved
            )));
        }
        let previous = self.in_force.lock().program.clone();
        let unchanged = self.in_force.lock().origin.is_some()
            && previous.as_ref().is_some_and(|program| *program.rules() == rules);
        // Compiled before anything is locked that listings need.
        let program =
            if unchanged { None } else { Some(self.compile(&rules, previous.as_deref())?) };
        let mut in_force = self.in_force.lock();
        if let Some(program) = program {
            self.install(&mut in_force, program)?;
        }
        let name = load.sources.first().map_or("", |source| &source.name);
        let origin = format!("{name}{remark}");
        if let Some(announce) = self.announce.lock().take() {
            announce(&origin);
        }
        in_force.origin = Some(origin);
        Ok(Loaded { rules: rules.rules.len(), unchanged, warnings })
    }

    /// Blocks everything that no state lets pass.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub fn flush_rules(&self) -> Result<(), Refused> {
        let _loading = self.loading.lock();
        let mut in_force = self.in_force.lock();
        // Options live on: time-outs and limits go on to hold for the states there are.
        let options = in_force.program.as_ref().map(|program| program.rules().options.clone());
        let mut rules = RuleSet { options: options.unwrap_or_default(), ..RuleSet::default() };
        // Two skipped ports would pass everything.
        rules.options.skip.clear();
        let program = self.compile(&rules, in_force.program.as_deref())?;
        self.install(&mut in_force, program)?;
        in_force.origin = None;
        Ok(())
    }

    fn compile(
        &self,
        rules: &RuleSet,
        previous: Option<&Program>,
    ) -> Result<Arc<Program>, Refused> {
        Program::compile(rules, &self.parts.ports, previous)
            .map(Arc::new)
            .map_err(|error| Refused::Error(error.to_string()))
    }

    fn install(&self, in_force: &mut InForce, program: Arc<Program>) -> Result<(), Refused> {
        self.parts.programs.push(Arc::clone(&program));
        let tables = Tables::declared(&program, self.parts.clock.now());
        let tables = Arc::new(tables.map_err(|error| Refused::Error(error.to_string()))?);
        self.tell(|done| Letter::Install(Arc::clone(&program), Arc::clone(&tables), done))?;
        (in_force.program, in_force.tables) = (Some(program), tables);
        Ok(())
    }
}

/// Checks a rule set; also tells what it warns of.
fn parse(load: &Load) -> Result<(RuleSet, Vec<String>), Refused> {
    if load.sources.len() != 1 {
        return Err(Refused::Error("a load takes exactly one source".into()));
    }
    let checked = check(load).map_err(Refused::Error)?;
    let warnings = checked.diagnostics.iter().map(ToString::to_string).collect();
    match checked.rules {
        Some(rules) => Ok((rules, warnings)),
        None => Err(Refused::Diagnostics(checked.diagnostics)),
    }
}
