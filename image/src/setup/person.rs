//! Whoever sits at the console, line by line: no cursor is moved, so that every terminal will do.

use std::io::{self, Read, Write};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr, tcsetattr,
};

/// The longest line that is taken, in bytes.
const LONGEST: usize = 1024;

/// Ctrl-C, which ends a line like Enter while the dialogue runs.
const INTERRUPT: u8 = 3;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Silence {
    /// Ctrl-C: everything is asked anew.
    Over,
    /// Nobody is there any more.
    Gone,
    /// The console fails.
    Failed(io::Error),
}

impl From<io::Error> for Silence {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// Where lines come from and text goes to.
pub(super) struct Person<R, W> {
    input: R,
    output: W,
    /// The terminal's settings when the dialogue began, and in it; nothing if it is none.
    modes: Option<(Termios, Termios)>,
}

impl<R: Read, W: Write> Person<R, W> {
    /// Somebody who is not at a terminal.
    pub(super) const fn new(input: R, output: W) -> Self {
        Self { input, output, modes: None }
    }

    /// Writes text as it is.
    pub(super) fn say(&mut self, text: &str) -> io::Result<()> {
        self.output.write_all(text.as_bytes())?;
        self.output.flush()
    }

    /// Asks for a line: what was typed, without what surrounds it. One that is too long or no text is
    /// empty, since nothing in it can be meant.
    pub(super) fn ask(&mut self, prompt: &str) -> Result<String, Silence> {
        self.say(prompt)?;
        Ok(self.line()?.trim().to_owned())
    }

    /// The same for what nobody may see, and every letter of it counts.
    pub(super) fn ask_secret(&mut self, prompt: &str) -> Result<String, Silence> {
        self.say(prompt)?;
        let calm = self.modes.as_ref().map(|(_, calm)| calm.clone());
        let mut silent = calm.clone();
        if let Some(modes) = &mut silent {
            modes.local_modes.remove(LocalModes::ECHO);
        }
        set(silent.as_ref());
        let line = self.line();
        set(calm.as_ref());
        self.say("\n")?;
        line
    }

    fn line(&mut self) -> Result<String, Silence> {
        let mut line = Vec::new();
        let mut fits = true;
        loop {
            let mut byte = [0];
            match self.input.read(&mut byte) {
                Ok(0) => return Err(Silence::Gone),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            }
            match byte {
                [INTERRUPT] => {
                    self.say("\n")?;
                    return Err(Silence::Over);
                }
                [b'\n'] => break,
                [b'\r'] => {}
                [byte] if line.len() < LONGEST => line.push(byte),
                _ => fits = false,
            }
        }
        Ok(String::from_utf8(line).ok().filter(|_| fits).unwrap_or_default())
    }
}

impl Person<io::Stdin, io::Stdout> {
    /// Whoever is at standard input and output.
    pub(super) fn at_the_console() -> Self {
        let mut person = Self::new(io::stdin(), io::stdout());
        if isatty(io::stdin())
            && let Ok(before) = tcgetattr(io::stdin())
        {
            let mut calm = before.clone();
            // Ctrl-C comes as a character that ends the line: nothing is ever killed half-way.
            calm.local_modes.remove(LocalModes::ISIG);
            calm.local_modes.insert(LocalModes::ICANON | LocalModes::ECHO);
            calm.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
            set(Some(&calm));
            person.modes = Some((before, calm));
        }
        person
    }
}

impl<R, W> Drop for Person<R, W> {
    fn drop(&mut self) {
        set(self.modes.as_ref().map(|(before, _)| before));
    }
}

/// A terminal that is gone has no settings.
fn set(modes: Option<&Termios>) {
    if let Some(modes) = modes {
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, modes);
    }
}
