//! What the shell does itself.

use std::io::{self, Write};
use std::os::fd::AsFd;

use super::super::desk;
use super::super::help;
use super::super::keeper;
use super::super::lock;
use super::super::own::Refusal;
use super::super::pager::Pager;
use super::super::resolve::Resolved;
use super::super::terminal::{Manner, write};
use super::super::tree::Own;
use super::super::words::Typed;
use super::{Console, Done, Session, UNKNOWN, complain, remark};
use crate::{appliance, dial};

impl Session {
    pub(super) fn do_own(&mut self, own: Own, found: &Resolved, typed: &Typed) -> io::Result<Done> {
        match own {
            Own::Exit => Ok(Done::Exit),
            Own::EditRules => self.edit_rules(),
            Own::Load => Ok(self.load()),
            Own::ShowSettings => self.tell(desk::settings(&self.daemon)),
            Own::Set => {
                // As it was typed: quotation marks are part of it.
                let value = typed.rest(typed.words.len() - found.all("VALUE").count());
                self.set(found, Some(value.to_owned()))
            }
            Own::SetPort(key) => {
                let nic = found.all("NIC").next().map(|name| format!("{name:?}"));
                self.tell(desk::set(&self.daemon, key, nic).map(str::to_owned))
            }
            Own::Unset => self.set(found, None),
            Own::Password => self.change_password(),
            Own::Lock => self.lock(),
            Own::Help => {
                let begin: Vec<_> = found.all("COMMAND").map(str::to_owned).collect();
                self.tell(help::help(&begin).map_err(|mistake| mistake.to_string()))
            }
        }
    }

    fn set(&self, found: &Resolved, value: Option<String>) -> io::Result<Done> {
        let key = found.all("KEY").next().unwrap_or_default();
        self.tell(desk::set(&self.daemon, key, value).map(str::to_owned))
    }

    fn load(&self) -> Done {
        match self.daemon.load_rules() {
            Ok((warnings, done)) => {
                for line in warnings.to_string().lines().chain(done.note.as_deref()) {
                    remark(line);
                }
                remark(&format!("{} rules in force", done.count));
                Done::Well
            }
            Err(Refusal::Faults(found)) => {
                found.to_string().lines().for_each(remark);
                Done::Badly(1)
            }
            Err(Refusal::Other(text)) => finish(Err(text)),
        }
    }

    fn edit_rules(&mut self) -> io::Result<Done> {
        let Some(Console { terminal, interrupts, lock, .. }) = &mut self.console else {
            return Ok(needs_terminal());
        };
        let guard = (&*lock.watched.holds, lock.idle());
        Ok(finish(desk::edit_rules(&self.daemon, terminal, interrupts, guard)?))
    }

    fn change_password(&mut self) -> io::Result<Done> {
        let Some(Console { terminal, interrupts, lock, .. }) = &mut self.console else {
            return Ok(needs_terminal());
        };
        let changed = lock::change(&self.daemon, terminal, interrupts)?;
        if let Ok(new) = &changed {
            // The guard must learn of it.
            lock.renew(&self.daemon, terminal)?;
            write("changed\n")?;
            if appliance::is_one()
                && let Err(error) = tell_boot_loader(new)
            {
                let text = format!("THE BOOT LOADER STILL HAS THE OLD PASSWORD, or none: {error}");
                return Ok(finish(Err(text)));
            }
        }
        Ok(finish(changed.map(drop)))
    }

    fn lock(&mut self) -> io::Result<Done> {
        let Some(Console { terminal, interrupts, lock, .. }) = &mut self.console else {
            return Ok(needs_terminal());
        };
        match self.daemon.seat() {
            Ok(seat) if !seat.password => {
                return Ok(finish(Err("there is no password; `password` sets one".into())));
            }
            // Locked all the same: nobody is known until it can be asked.
            Err(refusal) => {
                lock.close();
                complain(&refusal.to_string());
                return Ok(finish(Err(UNKNOWN.into())));
            }
            Ok(_) => {}
        }
        if terminal.manner != Manner::Dumb {
            write("\x1b[H\x1b[2J")?;
        }
        lock.close();
        let open = lock.check(&self.daemon, terminal, interrupts)?;
        Ok(if open { Done::Well } else { Done::Exit })
    }

    /// Shows a text, a page at a time.
    pub(super) fn tell(&self, text: Result<String, String>) -> io::Result<Done> {
        let text = match text {
            Ok(text) => text,
            Err(complaint) => {
                complain(&complaint);
                return Ok(Done::Badly(2));
            }
        };
        match &self.console {
            None => write(&text)?,
            Some(console) => Pager::show(&console.terminal, &text)?,
        }
        Ok(Done::Well)
    }
}

/// Has the boot loader ask for a password, or for none if it is empty: its rescue prompt leads past ours.
fn tell_boot_loader(password: &str) -> io::Result<()> {
    let keeper = dial::keeper().ok_or_else(|| io::Error::other("only root's shell can tell it"))?;
    let hash = if password.is_empty() { String::new() } else { appliance::boot_hash(password)? };
    let (input, mut ours) = io::pipe()?;
    // Far less than a pipe holds.
    ours.write_all(hash.as_bytes())?;
    drop(ours);
    let (output, errors) = (io::stdout(), io::stderr());
    let verb = [keeper::BOOT_PASSWORD.to_owned()];
    match dial::run(keeper, &verb, [input.as_fd(), output.as_fd(), errors.as_fd()])? {
        Some(0) => Ok(()),
        _ => Err(io::Error::other("see above")),
    }
}

/// How something went that says itself what is wrong.
fn finish(outcome: Result<(), String>) -> Done {
    match outcome {
        Ok(()) => Done::Well,
        Err(text) => {
            complain(&text);
            Done::Badly(1)
        }
    }
}

fn needs_terminal() -> Done {
    finish(Err("this needs a terminal".into()))
}
