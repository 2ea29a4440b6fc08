//! `weir top`: what the bridge does at the moment, for a serial console as well as for a large window.
//!
//! `model` asks the daemon, `view` knows what is looked at, `screen` makes rows of text of both, and
//! ratatui writes those that have changed. Attributes are bold and reverse only.

mod format;
mod lists;
mod model;
mod paint;
mod screen;
mod view;

use std::env;
use std::ffi::OsString;
use std::io::{self, BufWriter, Stdout, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ratatui::layout::{Position, Rect};
use ratatui::style::{Modifier, Style as Attributes};
use ratatui::text::{Line, Text};
use ratatui::{Terminal as Painter, TerminalOptions, Viewport};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use self::lists::{chosen_state, ends, rows_of, shown_hosts};
use self::model::{Model, Trouble, Wanted};
use self::paint::Paint;
use self::screen::{Size, Style, screen};
use self::view::{Asked, Page, Question, View, Wish};
use crate::client::Client;
use crate::console::keys::Keys;
use crate::console::terminal::{Manner, Terminal};
use crate::protocol::{
    Command, Kill, Reply, SOCKET, State, StateCriterion, StateQuery, TableAction, TableChange,
};
use crate::query;

/// How to call it.
pub const USAGE: &str = "\
usage: weir top [--socket PATH] [-s SECONDS]
  -s SECONDS       how often the daemon is asked, 1 to 30; 2 if not given
  --socket PATH    where the daemon listens, /run/weir/weir.sock if not given";

/// How long the daemon may take for a line.
const PATIENCE: Duration = Duration::from_secs(10);

/// States that the list has at most.
const STATES: u32 = 500;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    socket: PathBuf,
    interval: Duration,
}

/// Runs it; `arguments` are those behind `weir top`.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match parse(arguments) {
        Ok(Some(options)) => match run(&options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("weir top: {error}");
                ExitCode::FAILURE
            }
        },
        Ok(None) => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        Err(text) => {
            eprintln!("weir top: {text}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// `None` asks for help.
fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Options>, String> {
    let mut options = Options { socket: SOCKET.into(), interval: Duration::from_secs(2) };
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or("an option lacks its argument");
        match argument.to_str() {
            Some("-h" | "--help") => return Ok(None),
            Some("--socket") => options.socket = value()?.into(),
            Some("-s") => {
                let value = value()?;
                let seconds = value.to_str().and_then(|text| text.parse().ok());
                let seconds = seconds.filter(|seconds| (1..=30).contains(seconds));
                options.interval =
                    Duration::from_secs(seconds.ok_or("-s: expected 1 to 30 seconds")?);
            }
            _ => return Err(format!("unknown argument `{}`", argument.display())),
        }
    }
    Ok(Some(options))
}

fn run(options: &Options) -> io::Result<()> {
    let terminal =
        Terminal::find().filter(|terminal| terminal.manner != Manner::Dumb).ok_or_else(|| {
            io::Error::other("this needs a terminal that can place its cursor (TERM, tty)")
        })?;
    // What does not work at the start is said without a screen in the way.
    let client = Client::connect_within(&options.socket, PATIENCE)?;
    let ending = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGHUP, SIGINT, SIGQUIT] {
        signal_hook::flag::register(signal, Arc::clone(&ending))?;
    }
    let _raw = terminal.raw();
    let mut top = Top {
        socket: options.socket.clone(),
        client: Some(client),
        model: Model::default(),
        view: View::default(),
        screen: Screen::new(&terminal)?,
    };
    top.watch(&terminal, options.interval, &ending)
}

struct Top {
    socket: PathBuf,
    client: Option<Client>,
    model: Model,
    view: View,
    screen: Screen,
}

impl Top {
    fn watch(
        &mut self,
        terminal: &Terminal,
        interval: Duration,
        ending: &AtomicBool,
    ) -> io::Result<()> {
        /// So long a signal waits at most.
        const NAP: Duration = Duration::from_millis(500);
        let mut keys = Keys::new(terminal);
        let mut next = Instant::now();
        // Rates need two answers.
        let mut hurry = true;
        // A key has asked, which counts while the screen is frozen, too.
        let mut asked = false;
        while !ending.load(Ordering::Relaxed) && !keys.are_gone() {
            let now = Instant::now();
            if now >= next || asked {
                if !self.view.frozen || asked {
                    // What was chosen stays chosen wherever it goes; the first row is the first.
                    let before = rows_of(&self.model, &self.view);
                    self.poll();
                    if let Some(chosen) = before.get(self.view.selected)
                        && self.view.selected > 0
                    {
                        let rows = rows_of(&self.model, &self.view);
                        let now = rows.iter().position(|row| row == chosen);
                        self.view.selected = now.unwrap_or(self.view.selected);
                    }
                }
                asked = false;
                let pause = if std::mem::take(&mut hurry) { NAP } else { interval };
                next = Instant::now() + pause;
            }
            self.keep_in_list();
            self.screen.draw(&self.model, &self.view, terminal)?;
            let patience = next.saturating_duration_since(Instant::now()).min(NAP);
            let Some(key) = keys.next(Some(patience))? else { continue };
            match self.view.key(key, self.screen.rows()) {
                Wish::Nothing => {}
                Wish::Quit => return Ok(()),
                Wish::Refresh => asked = true,
                Wish::Requery => {
                    self.model.forget_states();
                    asked = true;
                }
                Wish::Kill => self.ask_to_kill(),
                Wish::Block => self.ask_to_block(),
                Wish::Remove(id) => {
                    let criteria = vec![StateCriterion::Id(id)];
                    self.act(Command::Kill(Kill { criteria }), |count| match count {
                        0 => "it has ended by itself".into(),
                        _ => "removed".into(),
                    });
                    self.model.forget_states();
                    asked = true;
                }
                Wish::Add(address, table) => self.add(address, table),
            }
        }
        Ok(())
    }

    /// Asks the daemon for what the page shows.
    fn poll(&mut self) {
        let (wanted, mistake) = match self.wanted() {
            Ok(wanted) => (wanted, None),
            // The rest goes on.
            Err(mistake) => (Wanted::default(), Some(mistake)),
        };
        let asked = connected(&mut self.client, &self.socket)
            .map_err(Trouble::Lost)
            .and_then(|client| self.model.poll(client, &wanted));
        self.model.trouble = match asked {
            Ok(()) => mistake,
            Err(Trouble::Refused(text)) => Some(text),
            Err(Trouble::Lost(error)) => {
                self.leave_daemon();
                Some(error.to_string())
            }
        };
    }

    /// What is left of an answer must not be taken for another, nor states of this daemon for those of
    /// the next one, which have the same ids.
    fn leave_daemon(&mut self) {
        self.client = None;
        self.model.forget_states();
        self.view.asked.take_if(|asked| matches!(asked.what, Question::Kill(..)));
    }

    /// What the page needs.
    ///
    /// # Errors
    /// What is wrong with the filter.
    fn wanted(&self) -> Result<Wanted, String> {
        let page = self.view.page;
        let overview = page == Page::Overview;
        let mut wanted = Wanted {
            rules: overview || page == Page::Rules,
            tally: overview || page == Page::Hosts,
            states: None,
        };
        if page == Page::States {
            let words: Vec<String> =
                self.view.filter().split_whitespace().map(Into::into).collect();
            let mut query: StateQuery = query::states(&words)?;
            query.sort = query.sort.or(self.view.state_order());
            query.limit = Some(query.limit.unwrap_or(STATES).min(STATES));
            query.count = false;
            wanted.states = Some(query);
        }
        Ok(wanted)
    }

    /// The chosen row is one of the list.
    fn keep_in_list(&mut self) {
        let rows = rows_of(&self.model, &self.view).len();
        self.view.selected = self.view.selected.min(rows.saturating_sub(1));
    }

    fn ask_to_kill(&mut self) {
        let Some(state) = chosen_state(&self.model, &self.view) else { return };
        if state.id.bytes().all(|digit| digit == b'0') {
            self.view.told = Some("it is no state yet, and ends by itself".into());
            return;
        }
        let what = Question::Kill(state.id.clone(), described(state));
        self.view.asked = Some(Asked { what, typed: String::new() });
    }

    fn ask_to_block(&mut self) {
        let address = match self.view.page {
            Page::States => chosen_state(&self.model, &self.view).map(|state| state.source),
            _ => shown_hosts(&self.model, &self.view)
                .get(self.view.selected)
                .map(|host| host.address),
        };
        let Some(address) = address else { return };
        let what = Question::Table(address.to_string());
        self.view.asked = Some(Asked { what, typed: self.view.table.clone() });
    }

    /// Puts an address into a table that is there: one that no rule names would block nothing.
    fn add(&mut self, address: String, table: String) {
        let mut known = false;
        let tables = Command::Tables { anchor: String::new(), recursive: false };
        let listed = self.ask(tables, |reply| {
            if let Reply::Tables(tables) = reply {
                known |= tables.iter().any(|found| found.name == table);
            }
        });
        self.view.told = Some(match listed {
            Err(text) => text,
            Ok(_) if !known => format!("there is no table <{table}>"),
            Ok(_) => {
                let told = format!("{address} is in <{table}>");
                let change = TableChange {
                    name: table,
                    anchor: String::new(),
                    action: TableAction::Add,
                    addresses: vec![address],
                    dry_run: false,
                    feedback: false,
                };
                self.ask(Command::Table(change), |_| {}).map_or_else(|text| text, |_| told)
            }
        });
    }

    /// Has something done and says how it went.
    fn act(&mut self, command: Command, told: impl FnOnce(u64) -> String) {
        self.view.told = Some(self.ask(command, |_| {}).map_or_else(|text| text, told));
    }

    /// Sends a command. Tells the count at its end, or why there is none.
    fn ask(&mut self, command: Command, mut each: impl FnMut(Reply)) -> Result<u64, String> {
        let answered = connected(&mut self.client, &self.socket).and_then(|client| {
            client.ask(command, |reply| {
                each(reply);
                Ok(())
            })
        });
        match answered {
            Ok(Reply::Done(done)) => Ok(done.count),
            Ok(Reply::Error(text)) => Err(text),
            Ok(other) => Err(format!("the daemon said {other:?}")),
            Err(error) => {
                self.leave_daemon();
                Err(error.to_string())
            }
        }
    }
}

/// The connection; a daemon that was away may be back.
fn connected<'a>(client: &'a mut Option<Client>, socket: &Path) -> io::Result<&'a mut Client> {
    match client {
        Some(client) => Ok(client),
        None => Ok(client.insert(Client::connect_within(socket, PATIENCE)?)),
    }
}

/// A state in few words.
fn described(state: &State) -> String {
    let [from, to] = ends(state);
    format!("{} {to} <- {from}", weir_config::names::protocol_text(state.protocol))
}

/// The terminal as ratatui paints it.
struct Screen {
    painter: Painter<Paint<BufWriter<Stdout>>>,
    size: (u16, u16),
    manner: Manner,
    unicode: bool,
}

impl Screen {
    fn new(terminal: &Terminal) -> io::Result<Self> {
        let (manner, size) = (terminal.manner, terminal.size());
        let unicode = manner == Manner::Full && speaks_utf8();
        let mut screen = Self { painter: painter(size, manner)?, size, manner, unicode };
        if manner == Manner::Full {
            // The screen as it was comes back at the end; a VT100 has but one.
            io::stdout().write_all(b"\x1b[?1049h")?;
        }
        screen.painter.clear()?;
        Ok(screen)
    }

    /// Rows of a list.
    fn rows(&self) -> usize {
        usize::from(self.size.1).saturating_sub(7).max(1)
    }

    fn draw(&mut self, model: &Model, view: &View, terminal: &Terminal) -> io::Result<()> {
        let size = terminal.size();
        if size != self.size {
            self.size = size;
            self.painter = painter(size, self.manner)?;
            self.painter.clear()?;
        }
        let (columns, rows) = (usize::from(size.0), usize::from(size.1));
        let rows = screen(model, view, Size { columns, rows, unicode: self.unicode });
        let lines = rows.into_iter().map(|row| {
            Line::styled(
                row.text,
                match row.style {
                    Style::Plain => Attributes::new(),
                    Style::Bold => Attributes::new().add_modifier(Modifier::BOLD),
                    Style::Reverse => Attributes::new().add_modifier(Modifier::REVERSED),
                },
            )
        });
        let text: Text<'_> = lines.collect();
        self.painter.draw(|frame| {
            frame.render_widget(text, frame.area());
            if self.manner != Manner::Full {
                // It cannot be hidden: in a corner, where it covers nothing.
                frame.set_cursor_position(Position::new(size.0 - 1, size.1 - 2));
            }
        })?;
        Ok(())
    }
}

impl Drop for Screen {
    /// Leaves the terminal as it was, after a panic, too.
    fn drop(&mut self) {
        let mut out = io::stdout();
        // It may be gone.
        let _ = match self.manner {
            Manner::Full => out.write_all(b"\x1b[?25h\x1b[?1049l"),
            _ => write!(out, "\x1b[{};1H\r\n", self.size.1),
        };
        let _ = out.flush();
    }
}

fn painter(
    (columns, rows): (u16, u16),
    manner: Manner,
) -> io::Result<Painter<Paint<BufWriter<Stdout>>>> {
    // Serial lines do not know their size, so that the painter cannot ask for it.
    let viewport = Viewport::Fixed(Rect::new(0, 0, columns, rows));
    let out = BufWriter::new(io::stdout());
    let paint = Paint::new(out, (columns, rows), manner == Manner::Full);
    Painter::with_options(paint, TerminalOptions { viewport })
}

/// Whether the locale is one of UTF-8 (locale(7)).
fn speaks_utf8() -> bool {
    let of = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let locale = of("LC_ALL").or_else(|| of("LC_CTYPE")).or_else(|| of("LANG"));
    locale.is_some_and(|name| {
        let name = name.to_ascii_lowercase();
        name.contains("utf-8") || name.contains("utf8")
    })
}

#[cfg(test)]
mod tests;
