//! One console: what init starts on a terminal becomes the leader of a session with it, sets it to what
//! programs expect, and is then replaced by what the person there is to meet.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use argon2::{Argon2, PasswordHash, PasswordVerifier};
use clap::ValueEnum;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{ioctl_tiocsctty, setsid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, tcgetattr, tcsetattr,
};

/// Where the daemon keeps the hash of the console's password (`control/seat.rs`).
const PASSWORD: &str = "/var/lib/weir/console-password";

/// Longest hash, and longest line that is typed, in bytes.
const HASH: u64 = 1024;
const LINE: usize = 1024;

/// The pause after a wrong password; it doubles each time, up to five minutes.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Whom a person meets at a console.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// weir's shell.
    Shell,
    /// The dialogue of the first boot.
    Setup,
    /// A shell of root's, behind the password if there is one.
    Rescue,
}

impl Role {
    /// The word on the command line.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Shell => "shell",
            Self::Setup => "setup",
            Self::Rescue => "rescue",
        }
    }
}

/// What `weir box console` is called with.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The terminal.
    terminal: PathBuf,
    role: Role,
}

/// Becomes what is to be at the terminal; returns only if it cannot.
///
/// # Errors
/// When the terminal cannot be had, or the program cannot be started.
pub fn main(arguments: &Arguments) -> io::Result<()> {
    take(&arguments.terminal)?;
    let mut command = match arguments.role {
        Role::Shell => weir(&["shell"]),
        Role::Setup => weir(&["box", "setup"]),
        Role::Rescue => {
            greet()?;
            let mut command = Command::new("/bin/busybox");
            command.arg0("-sh");
            command
        }
    };
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", if arguments.role == Role::Rescue { "/root" } else { "/var/lib/weir" })
        .env("TERM", term(&arguments.terminal));
    Err(command.exec())
}

fn weir(words: &[&str]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("weir").args(words);
    command
}

/// What a terminal can do, by what it is: the screen of the machine, or a line to somebody's emulator.
fn term(terminal: &Path) -> &'static str {
    let name = terminal.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let number = name.strip_prefix("tty").unwrap_or_default();
    if number.starts_with(|c: char| c.is_ascii_digit()) { "linux" } else { "vt100" }
}

/// Makes a terminal that of a new session, and our standard streams.
fn take(path: &Path) -> io::Result<()> {
    setsid()?;
    // Without waiting for a carrier, which a three-wire line never has.
    let terminal = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed())
        .open(path)?;
    let mut settings = tcgetattr(&terminal)?;
    settings.control_modes.insert(ControlModes::CLOCAL | ControlModes::CREAD);
    settings.input_modes.insert(InputModes::ICRNL | InputModes::IXON);
    settings.input_modes.remove(InputModes::IGNCR | InputModes::INLCR);
    settings.output_modes.insert(OutputModes::OPOST | OutputModes::ONLCR);
    settings.local_modes.insert(
        LocalModes::ICANON
            | LocalModes::ECHO
            | LocalModes::ECHOE
            | LocalModes::ECHOK
            | LocalModes::ISIG
            | LocalModes::IEXTEN,
    );
    // What was typed to whatever was here before is for nobody else.
    tcsetattr(&terminal, OptionalActions::Flush, &settings)?;
    fcntl_setfl(&terminal, fcntl_getfl(&terminal)? - OFlags::NONBLOCK)?;
    ioctl_tiocsctty(&terminal)?;
    dup2_stdin(&terminal)?;
    dup2_stdout(&terminal)?;
    dup2_stderr(&terminal)?;
    Ok(())
}

/// Lets in whoever knows the password, if there is one.
fn greet() -> io::Result<()> {
    let mut out = io::stdout();
    write!(
        out,
        "\r\nweir: rescue prompt. NOTHING IS FORWARDED. Settings and rules are in /etc/weir;\r\n\
         `reboot` starts the machine anew.\r\n"
    )?;
    let hash = match File::open(PASSWORD) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => {
            let mut text = String::new();
            opened?.take(HASH).read_to_string(&mut text)?;
            text
        }
    };
    let input = io::stdin();
    let calm = tcgetattr(input.as_fd())?;
    let mut silent = calm.clone();
    // Ctrl-C leads past no pause.
    silent.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
    let mut pause = PAUSE;
    loop {
        // What was typed during a pause is no password.
        tcsetattr(input.as_fd(), OptionalActions::Flush, &silent)?;
        write!(out, "Password: ")?;
        out.flush()?;
        let typed = read_line(&input)?;
        if fits(&typed, hash.trim_end()) {
            tcsetattr(input.as_fd(), OptionalActions::Flush, &calm)?;
            return Ok(());
        }
        write!(out, "wrong password; wait {} s\r\n", pause.as_secs())?;
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Whether a password is the one of an Argon2 hash; none is that of a damaged one.
fn fits(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash)
        .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

/// Reads a line, and ends it on the screen.
fn read_line(input: &io::Stdin) -> io::Result<String> {
    let mut line = Vec::new();
    // Past the buffer of the standard library, which would keep what was thrown away.
    loop {
        let mut byte = [0];
        if rustix::io::read(input.as_fd(), &mut byte)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match byte {
            [b'\n'] => break,
            // Too long is wrong, too.
            [byte] if line.len() < LINE => line.push(byte),
            [_] => {}
        }
    }
    println!("\r");
    Ok(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_known_by_its_name() {
        for (path, name) in [
            ("/dev/tty1", "linux"),
            ("/dev/ttyS0", "vt100"),
            ("/dev/ttyUSB1", "vt100"),
            ("/dev/hvc0", "vt100"),
        ] {
            assert_eq!(term(Path::new(path)), name, "{path}");
        }
    }

    #[test]
    fn only_the_password_fits_and_nothing_fits_a_damaged_hash() {
        // Of the reference implementation (argon2 of Debian): `printf correct | argon2 saltsalt -id -t 2 -k 64 -e`.
        let hash =
            "$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHQ$4hD3iEnA2KhhQpMtamAvj+wd0p/OfN+IDIMzT5dAmUg";
        assert!(fits("correct", hash));
        assert!(!fits("Correct", hash) && !fits("", hash));
        assert!(!fits("", "") && !fits("x", "nonsense"));
    }
}
