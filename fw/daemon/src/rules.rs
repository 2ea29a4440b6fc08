//! Rule sets by the number of their load, for those who must translate rule numbers of the past.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use weir_engine::Program;

/// Loads that are remembered; a log record is at most a few seconds old.
const REMEMBERED: usize = 8;

/// The programs that were put in force last.
#[derive(Default)]
pub struct Programs {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Loads so far, counted as the engines count them.
    epoch: u32,
    programs: VecDeque<Arc<Program>>,
}

impl Programs {
    /// Notes that a program is about to be put in force on all workers.
    pub fn push(&self, program: Arc<Program>) {
        let mut inner = self.inner.lock();
        inner.epoch = inner.epoch.wrapping_add(1);
        inner.programs.push_back(program);
        if inner.programs.len() > REMEMBERED {
            inner.programs.pop_front();
        }
    }

    /// The label of a rule of the load `epoch`; `None` if it has none or is long gone.
    pub fn label(&self, epoch: u32, rule: u32) -> Option<String> {
        let inner = self.inner.lock();
        let back = inner.epoch.wrapping_sub(epoch) as usize;
        let program = inner.programs.iter().rev().nth(back)?;
        program.rules().rules.get(rule as usize)?.label.clone()
    }
}
