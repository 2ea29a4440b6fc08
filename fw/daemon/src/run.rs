//! `weir run`: from settings to forwarding, and back.
//!
//! Order: settings, control socket bound (a second daemon stops here), interfaces prepared, ports
//! opened, workers started without a program, so that everything is dropped, control socket served,
//! rules read and put in force, said so. This thread waits for signals and for workers that end from
//! before the first rules on, and never reads a file or writes to a terminal: it must be able to stop
//! the bridge at any time. Rules are loaded on a thread of their own.
//!
//! A port that fails closes the bridge until it can be opened again, which the keeper of the ports tries
//! (`ports/keeper.rs`). A worker that does not answer, or a panic, ends the process: the bridge is closed,
//! and whoever started weir (systemd, init) starts it again.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded, unbounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing::{error, info, warn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use weir_config::settings::{NicName, Packets};
use weir_engine::{Engine, PortName, PortNames, Setup, Shared, Steering};
use weir_hw::sys::region::region;
use weir_hw::sys::thread::{run_first, run_on};
use weir_hw::{Opened, Prepared};
use weir_shell::protocol::Load;
use weir_shell::source::{Gathered, gather};

use crate::clock::Clock;
use crate::closed;
use crate::control::{self, Change, Control, Found, Guard, OwnFiles, Undone};
use crate::crowding;
use crate::developer::Developer;
use crate::handover::{Bell, exchange};
use crate::history::{self, Author, History};
use crate::hold::Hold;
use crate::ipfix::{Exporter, FlowSender};
use crate::log::outlet::OwnLog;
use crate::log::{self, Sinks, events};
use crate::mailbox::Mailbox;
use crate::metrics;
use crate::notify::notify;
use crate::pflog::Pflog;
use crate::ports::keeper::{self, News};
use crate::ports::{self, Seats};
use crate::random::random;
use crate::rules::Programs;
use crate::server::{Bounds, Server};
use crate::settings::Settings;
use crate::syslog::LogServer;
use crate::worker::{self, Worker};

/// How long threads may take to hear that it is over.
const STOP: Duration = Duration::from_millis(800);

/// How long ports may take to close after that, when nothing passes any more: drivers reset a NIC that
/// an XDP program leaves.
const CLOSING: Duration = Duration::from_secs(8);

/// How long the log writers may take for what is left at the end.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// What `weir run` is called with.
#[derive(Clone, Debug, Default, clap::Args)]
// One for each flag.
#[allow(clippy::struct_excessive_bools)]
pub struct Arguments {
    /// Settings file [default: /etc/weir/weir.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Interface of the protected network: its name, mac:52:54:00:12:34:56 or pci:0000:01:00.0
    #[arg(long, value_name = "IF")]
    pub lan: Option<NicName>,
    /// Interface towards the router
    #[arg(long, value_name = "IF")]
    pub wan: Option<NicName>,
    /// Rule file [default: /etc/weir/weir.conf]
    #[arg(long, value_name = "FILE")]
    pub rules: Option<PathBuf>,
    /// How frames are moved: auto, netmap, xdp or packet [default: auto]
    #[arg(long, value_name = "KIND")]
    pub io: Option<weir_hw::Io>,
    /// Never let workers sleep: lower latency, at the price of their CPUs' whole time
    #[arg(long)]
    pub busy_poll: bool,
    /// Worker threads, each pinned to a CPU [default: 1]
    #[arg(long, value_name = "N")]
    pub workers: Option<u16>,
    /// Let workers share a core
    #[arg(long)]
    pub share_cores: bool,
    /// Run workers before everything else, with this priority; 0: do not
    #[arg(long, value_name = "1-99", value_parser = clap::value_parser!(u8).range(0..=99))]
    pub realtime: Option<u8>,
    /// Whether a port without a link takes the other one's down [default: true]
    #[arg(long, value_name = "BOOL")]
    pub propagate_link: Option<bool>,
    /// Stay when the ports cannot be opened: forward nothing, answer at the socket, and end when that may
    /// have been repaired
    #[arg(long)]
    pub stay: bool,
    /// Print where workers and other threads would run, and end
    #[arg(long)]
    pub plan: bool,
    /// Control socket [default: /run/weir/weir.sock]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Where the rule sets that were in force are kept [default: /var/lib/weir]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// What developers put around the ports.
    #[command(flatten)]
    pub developer: Developer,
}

/// What wakes the main thread.
pub(crate) enum Event {
    Signal(i32),
    /// A worker ended, of itself or because it was told to.
    Ended(usize),
    /// A worker does not read its letters any more.
    Stuck(String),
}

/// Runs until a signal or a failure ends it.
pub fn main(arguments: Arguments) -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("WEIR_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let plan_only = arguments.plan;
    let staying = arguments.stay.then(|| arguments.clone());
    let gathered = Settings::gather(arguments).and_then(|settings| {
        let seats = Seats::take(&settings)?;
        Ok((settings, seats))
    });
    if plan_only {
        return match gathered {
            Ok((settings, seats)) => {
                print!("{}", ports::print(&settings, &seats));
                ExitCode::SUCCESS
            }
            Err(text) => {
                text.lines().for_each(|line| eprintln!("weir: {line}"));
                ExitCode::FAILURE
            }
        };
    }
    // Every thread begins where this one is; workers go to their own processors.
    let unplaced = gathered.as_ref().ok().and_then(|(_, seats)| run_on(&seats.plan.control).err());
    let colour = std::io::IsTerminal::is_terminal(&io::stderr());
    let own_log = match OwnLog::start(io::stderr()) {
        Ok(own_log) => own_log,
        Err(error) => {
            eprintln!("weir: cannot start its log: {error}");
            return ExitCode::FAILURE;
        }
    };
    // Whom else weir's own messages go to is known when its settings have been read.
    let sinks: Arc<OnceLock<Arc<Sinks>>> = Arc::default();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(own_log.clone())
        .with_ansi(colour)
        .with_target(false);
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .with(events::Layer::new(Arc::clone(&sinks)))
        .init();
    // In builds that unwind, a panicking worker would leave the others forwarding.
    let (last_words, others) = (own_log.clone(), Arc::clone(&sinks));
    std::panic::set_hook(Box::new(move |panic| {
        error!("{panic}");
        if let Some(sinks) = others.get() {
            sinks.drain(LAST_WORDS);
        }
        last_words.drain(LAST_WORDS);
        std::process::abort();
    }));
    if let Some(error) = unplaced {
        warn!("cannot keep to the processors of the plan: {error}");
    }
    let code = gathered.and_then(|(settings, seats)| run(&settings, &seats, &sinks));
    let told = |text: &String| text.lines().for_each(|line| error!("{line}"));
    let code = code.inspect_err(told).or_else(|text| match staying {
        Some(arguments) => closed::run(arguments, &text, &sinks).inspect_err(told),
        None => Err(text),
    });
    let code = code.unwrap_or(ExitCode::FAILURE);
    let late = sinks.get().map(|sinks| sinks.drain(LAST_WORDS)).unwrap_or_default();
    for name in late {
        warn!(target: events::LOG_LOST, "what waits for {name} is lost: it was not taken in time");
    }
    own_log.drain(LAST_WORDS);
    code
}

/// Everybody who is told what happens. A log that cannot be kept is no reason to cut a line off: it is
/// done without, and loudly.
fn start_sinks(settings: &Settings) -> Arc<Sinks> {
    let log = &settings.log;
    let file = match &log.packets {
        Packets::Nowhere => None,
        Packets::Stderr => Some(None),
        Packets::File(path) => Some(Some(path.as_path())),
    };
    let packet_log = file.and_then(|path| {
        let opened = log::open(path).or_else(|error| {
            let name = path.unwrap_or(Path::new("standard error")).display();
            error!(target: events::LOG_FILE, "{name}: {error}; packets are logged to standard error");
            log::open(None)
        });
        opened.ok()
    });
    let pflog = log.pflog.as_deref().map(|path| {
        let size = u64::from(log.pflog_size) << 20;
        Pflog::start(path, size, log.pflog_files)
            .map_err(|error| format!("{}: {error}", path.display()))
    });
    let pflog = pflog.and_then(|pflog: Result<_, String>| {
        pflog
            .inspect_err(|text| error!(target: events::LOG_FILE, "{text}; no pflog is written"))
            .ok()
    });
    let server = |server| {
        LogServer::start(server, &settings.namespace)
            .inspect_err(|text| error!(target: events::LOG_SERVER_DOWN, "log server {text}"))
            .ok()
    };
    let servers = log.syslog.iter().filter_map(server).collect();
    Arc::new(Sinks::new(packet_log, pflog, servers))
}

/// Who sends records of connections, if anybody wants them.
fn exporter(settings: &Settings, clock: Clock) -> Option<Exporter> {
    let pflow = &settings.pflow;
    let to = pflow.collector?;
    Some(Exporter::new(to, settings.namespace.clone(), pflow.domain, clock))
}

fn run(
    settings: &Settings,
    seats: &Seats,
    told: &OnceLock<Arc<Sinks>>,
) -> Result<ExitCode, String> {
    let clock = Clock::start();
    let (events, happened) = unbounded();
    watch_signals(events.clone())?;
    let _claimed = history::claim(&settings.state_dir)?;
    let server = Server::bind(&settings.socket).map_err(|error| error.to_string())?;
    let sinks = start_sinks(settings);
    // Only once in a process.
    let _ = told.set(Arc::clone(&sinks));
    info!(target: events::START, "weir {} starts", env!("CARGO_PKG_VERSION"));
    seats.plan.notes.iter().for_each(|note| info!("plan: {note}"));
    let (prepared, opened) = ports::open(settings, seats)?;
    let io = opened.kind;
    let steering = ports::steering(&prepared, &opened).map(Arc::new);
    let steered = steering.is_some();
    let stop = Arc::new(AtomicBool::new(false));
    let (news, told) = unbounded();
    let mut exporter = exporter(settings, clock);
    let flows = exporter.as_ref().map(Exporter::counts).unwrap_or_default();
    let ports = (opened, steering);
    let ends = (&events, &news, &mut exporter);
    let crew = start_workers(settings, seats, clock, ports, &stop, ends)?;
    let exporting = exporter
        .map(Exporter::start)
        .transpose()
        .map_err(|error| format!("cannot export flows: {error}"))?;
    let stuck = events.clone();
    let keeper = keeper::Parts {
        settings: settings.clone(),
        seats: seats.clone(),
        prepared,
        mailboxes: crew.mailboxes.clone(),
        kind: io,
        give_up: Box::new(move |why| {
            // Nobody reads it: the process ends already.
            let _ = stuck.send(Event::Stuck(why));
        }),
    };
    keeper::start(keeper, told)?;

    let programs = Arc::new(Programs::default());
    let writer = log::Writer {
        rings: crew.records,
        sinks: Arc::clone(&sinks),
        clock,
        teller: log::Teller {
            roles: ["lan".into(), "wan".into()].into(),
            programs: Arc::clone(&programs),
        },
        rate: settings.log.rate,
    };
    let writer = writer.start().map_err(|error| error.to_string())?;
    let forwarding = format!(
        "weir: forwarding lan={} wan={} io={io} workers={}",
        seats.names[0], seats.names[1], settings.workers
    );
    let announce = Box::new(move |rules: &str| {
        // Whoever waits for the line may be gone; forwarding goes on. A client's name for its rules
        // must not forge another line.
        let line = format!("{forwarding} rules={}", rules.escape_debug());
        info!(target: events::FORWARDING, "{}", line.trim_start_matches("weir: "));
        let _ = writeln!(io::stdout().lock(), "{line}");
    });
    crowding::start(Arc::clone(&crew.shared))
        .map_err(|error| format!("cannot watch the state table: {error}"))?;
    let parts = control::Parts {
        clock,
        mailboxes: crew.mailboxes,
        cpus: crew.cpus,
        shared: crew.shared,
        overloads: crew.overloads,
        ports: port_names(settings, seats),
        io,
        steered,
        reserved: settings.states,
        programs,
        log: sinks,
        flows,
        history: Some(History::new(&settings.state_dir, settings.history)),
        rules_file: settings.rules.display().to_string(),
        cut_percent: settings.cut_percent,
        give_up: Box::new(move |why| {
            // Nobody reads it: the process ends already.
            let _ = events.send(Event::Stuck(why.to_owned()));
        }),
    };
    let own = OwnFiles::new(settings.rules.clone(), settings.file.clone());
    let guard = Guard::new(&settings.state_dir);
    let control = Arc::new(Control::new(parts, announce).with_own(own, guard));
    control.begin_starting();
    server
        .start(Arc::clone(&control), Bounds::default(), settings.groups.clone())
        .map_err(|error| error.to_string())?;
    let reload = start_loader(&control, &settings.rules)?;
    start_minders(&control, settings)?;

    let code = attend(&happened, &reload);
    let _ = notify("STOPPING=1");
    close(&crew.bells, crew.running, &stop, code != ExitCode::SUCCESS, (&news, &happened));
    info!(target: events::STOP, "stopped");
    writer.finish(LAST_WORDS);
    if let Some(exporting) = exporting {
        exporting.finish(LAST_WORDS);
    }
    drop(server);
    Ok(code)
}

/// Ends the workers, closes the ports and gives the interfaces back.
fn close(
    bells: &[Bell],
    running: usize,
    stop: &AtomicBool,
    failed: bool,
    (news, happened): (&Sender<News>, &Receiver<Event>),
) {
    let ports = call_back(news);
    // Before they are closed, since links that go by that are nothing to pass on.
    let early = if failed { None } else { ports.recv_timeout(STOP).ok() };
    stop.store(true, Ordering::Relaxed);
    bells.iter().for_each(Bell::ring);
    await_end(happened, running, failed);
    restore(early.or_else(|| ports.recv_timeout(CLOSING).ok()));
}

/// Starts the threads that do what is due by itself, or tell what there is.
fn start_minders(control: &Arc<Control>, settings: &Settings) -> Result<(), String> {
    start_metrics(control, settings)?;
    start_deadline(control)?;
    start_undoing(control)?;
    start_sweeping(control)?;
    start_overloads(control)?;
    start_watching(control)
}

/// Starts the thread that loads the rule file: now, and again whenever something is sent. Any number
/// of requests that come during a load make one more.
fn start_loader(control: &Arc<Control>, rules: &Path) -> Result<Sender<()>, String> {
    let (reload, requests) = bounded(1);
    let (control, rules) = (Arc::clone(control), rules.to_owned());
    std::thread::Builder::new()
        .name("weir-rules".into())
        .spawn(move || {
            first_rules(&control, &rules);
            control.end_starting();
            if let Err(error) = notify("READY=1") {
                warn!("$NOTIFY_SOCKET: {error}");
            }
            for () in requests {
                let _ = notify("RELOADING=1");
                if let Err(text) = load_file(&control, &rules, Author::Hangup) {
                    text.lines().for_each(|line| error!("{line}"));
                    error!(target: events::RULES_REFUSED, "SIGHUP: nothing was changed");
                }
                let _ = notify("READY=1");
            }
        })
        .map_err(|error| format!("cannot start loading rules: {error}"))?;
    Ok(reload)
}

/// Serves the metrics, if somebody wants them.
fn start_metrics(control: &Arc<Control>, settings: &Settings) -> Result<(), String> {
    let Some(at) = &settings.metrics else { return Ok(()) };
    let control = Arc::clone(control);
    let source = move || control.metrics().map_err(|refused| refused.to_string());
    metrics::server::start(at, &settings.namespace, Arc::new(source))
        .map(drop)
        .map_err(|error| format!("cannot serve metrics: {error}"))
}

/// Starts the thread that says when `ctl -d` has run out.
fn start_deadline(control: &Arc<Control>) -> Result<(), String> {
    let control = Arc::clone(control);
    std::thread::Builder::new()
        .name("weir-deadline".into())
        .spawn(move || {
            loop {
                control.await_deadline();
                warn!(target: events::FILTER_ENABLED, "the time of `weir ctl -d` is over: FILTERING IS ENABLED AGAIN");
            }
        })
        .map(drop)
        .map_err(|error| format!("cannot watch the deadline: {error}"))
}

/// Starts the thread that takes changes back which were not confirmed in time.
fn start_undoing(control: &Arc<Control>) -> Result<(), String> {
    let control = Arc::clone(control);
    std::thread::Builder::new()
        .name("weir-undo".into())
        .spawn(move || {
            loop {
                match control.await_unconfirmed() {
                    Ok(Undone { number, loaded }) => {
                        loaded.warnings.iter().for_each(|warning| warn!("{warning}"));
                        warn!(
                            "change {number} was NOT CONFIRMED in time and is UNDONE: {} rules in force",
                            loaded.rules
                        );
                    }
                    Err(refused) => error!(
                        "a change was not confirmed in time and CANNOT BE UNDONE, which is tried \
                         again: {refused}"
                    ),
                }
            }
        })
        .map(drop)
        .map_err(|error| format!("cannot watch over changes: {error}"))
}

/// Starts the thread that takes expired entries out of tables.
fn start_sweeping(control: &Arc<Control>) -> Result<(), String> {
    let control = Arc::clone(control);
    std::thread::Builder::new()
        .name("weir-tables".into())
        .spawn(move || control.sweep_tables())
        .map(drop)
        .map_err(|error| format!("cannot sweep tables: {error}"))
}

/// Starts the thread that tells of floods and of limits that are reached.
fn start_watching(control: &Arc<Control>) -> Result<(), String> {
    let control = Arc::clone(control);
    std::thread::Builder::new()
        .name("weir-watch".into())
        .spawn(move || control.watch_limits())
        .map(drop)
        .map_err(|error| format!("cannot watch limits: {error}"))
}

/// Starts the thread that puts sources into tables.
fn start_overloads(control: &Arc<Control>) -> Result<(), String> {
    let control = Arc::clone(control);
    std::thread::Builder::new()
        .name("weir-overload".into())
        .spawn(move || control.serve_overloads())
        .map(drop)
        .map_err(|error| format!("cannot serve overloads: {error}"))
}

/// Signals become events.
pub(crate) fn watch_signals(events: Sender<Event>) -> Result<(), String> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])
        .map_err(|error| format!("cannot watch for signals: {error}"))?;
    std::thread::Builder::new()
        .name("weir-signals".into())
        .spawn(move || {
            for signal in signals.forever() {
                if events.send(Event::Signal(signal)).is_err() {
                    break;
                }
            }
        })
        .map(drop)
        .map_err(|error| format!("cannot watch for signals: {error}"))
}

fn port_names(settings: &Settings, seats: &Seats) -> PortNames {
    PortNames(vec![
        PortName {
            role: "lan".into(),
            interface: seats.names[0].clone(),
            prefixes: settings.lan_prefixes.clone(),
        },
        PortName {
            role: "wan".into(),
            interface: seats.names[1].clone(),
            prefixes: settings.wan_prefixes.clone(),
        },
    ])
}

/// The workers, running, and our ends of everything that leads to them.
struct Crew {
    mailboxes: Vec<Mailbox>,
    records: Vec<log::RecordReceiver>,
    cpus: Vec<u32>,
    bells: Arc<[Bell]>,
    shared: Arc<Shared>,
    overloads: Arc<Bell>,
    running: usize,
}

/// Starts a thread for each worker; none has a program yet.
fn start_workers(
    settings: &Settings,
    seats: &Seats,
    clock: Clock,
    (opened, steering): (Opened, Option<Arc<Steering>>),
    stop: &Arc<AtomicBool>,
    (events, news, exporter): (&Sender<Event>, &Sender<News>, &mut Option<Exporter>),
) -> Result<Crew, String> {
    let workers = opened.workers.len();
    let exchanges = exchange(workers).map_err(|error| error.to_string())?;
    let first = exchanges.first().ok_or("no workers")?;
    let (bells, overloads) = (Arc::clone(&first.bells), Arc::clone(&first.overloads));
    let key = random()?;
    let mut crew = Crew {
        mailboxes: Vec::new(),
        records: Vec::new(),
        cpus: seats.cpus(),
        bells,
        shared: Arc::default(),
        overloads,
        running: workers,
    };
    let states = states_each(settings.states, workers as u32);
    for (index, (ports, exchange)) in opened.workers.into_iter().zip(exchanges).enumerate() {
        let memory = region(Engine::memory_needed(states))
            .map_err(|error| format!("memory for {states} states: {error}"))?;
        let setup =
            Setup { worker: index as u16, workers: workers as u16, key, states, now: clock.now() };
        let (mailbox, letters) = Mailbox::new(index, Arc::clone(&crew.bells));
        let (log, records) = log::ring();
        let worker = Worker::new(worker::Parts {
            index,
            engine: Engine::new(setup, memory, Arc::clone(&crew.shared)).steered(steering.clone()),
            hold: Hold::new(ports.holds)
                .map_err(|error| format!("memory for fragments: {error}"))?,
            pool: ports.pool,
            ports: ports.ports.into(),
            exchange,
            letters,
            log,
            flows: exporter.as_mut().map_or_else(FlowSender::nowhere, Exporter::ring),
            busy_poll: settings.busy_poll,
        });
        let cpu = crew.cpus[index];
        let realtime = settings.threads.realtime;
        let stop = Arc::clone(stop);
        let (events, news) = (events.clone(), news.clone());
        std::thread::Builder::new()
            .name(format!("weir-worker-{index}"))
            .spawn(move || {
                place(index, cpu, realtime);
                worker.run(&clock, &stop, &|failure| {
                    let _ = news.send(News::Failed(index, failure));
                });
                let _ = events.send(Event::Ended(index));
            })
            .map_err(|error| format!("cannot start worker {index}: {error}"))?;
        crew.mailboxes.push(mailbox);
        crew.records.push(records);
    }
    Ok(crew)
}

/// States that each worker's table holds. The hash does not spread flows evenly: several workers
/// have an eighth to spare, so that the limit they share is reached first.
const fn states_each(states: u32, workers: u32) -> u32 {
    let each = states.div_ceil(workers);
    if workers > 1 { each + each / 8 + 64 } else { each }
}

/// Keeps the calling thread on a CPU, before others if so wished. Failure only costs speed.
fn place(worker: usize, cpu: u32, realtime: Option<u8>) {
    if let Err(error) = run_on(&[cpu]) {
        warn!("worker {worker} cannot stay on CPU {cpu}: {error}");
    }
    if let Some(priority) = realtime
        && let Err(error) = run_first(priority)
    {
        warn!(
            "worker {worker} has no real-time priority ({error}): other threads can hold it up; it \
             takes CAP_SYS_NICE, and a control group that may have real time"
        );
    }
}

/// The rules that the bridge starts with: the file's, unless it has errors or is what somebody has
/// put in force and not confirmed; else the last good ones, else none.
fn first_rules(control: &Control, file: &Path) {
    let name = file.display();
    let found = control.end_left_over();
    let why = match &found {
        Found::Nothing => match load_first(control, file) {
            Ok(()) => return,
            Err(why) => why,
        },
        Found::Pending(number) => {
            format!("change {number} WAS NEVER CONFIRMED and is undone, and {name} is not loaded")
        }
        Found::Unreadable(error) => format!(
            "whether a change waits to be confirmed IS NOT KNOWN ({error}), and {name} is not loaded"
        ),
    };
    match control.load_last_good() {
        Ok(loaded) => {
            loaded.warnings.iter().for_each(|warning| error!("last good rules: {warning}"));
            let number =
                loaded.number.map_or_else(String::new, |number| format!("number {number}, "));
            error!(
                target: events::RULES_LAST_GOOD,
                "{why}: the LAST GOOD rule set ({number}{} rules) is in force instead; repair it and \
                 load it with `weir ctl -f`",
                loaded.rules
            );
        }
        Err(refused) => {
            error!("{why}");
            for line in refused.to_string().lines() {
                error!("last good rules: {line}");
            }
            // A disk that cannot be read is no reason to cut everybody off.
            if matches!(found, Found::Unreadable(_)) && load_first(control, file).is_ok() {
                return error!("{name} is in force after all");
            }
            error!(target: events::RULES_NONE, "NO RULES: EVERYTHING IS BLOCKED until `weir ctl -f` or SIGHUP loads good ones");
        }
    }
}

/// Loads the rule file at the start; the error is why it cannot be, what is wrong with it having been
/// said.
fn load_first(control: &Control, file: &Path) -> Result<(), String> {
    let told = |text: String| {
        text.lines().for_each(|line| error!("{line}"));
        format!("{} HAS ERRORS", file.display())
    };
    let load = read_rules(control, file).map_err(told)?;
    if let Some(number) = control.was_undone(&load) {
        let name = file.display();
        return Err(format!("{name} is change {number}, which WAS NOT CONFIRMED"));
    }
    put_in_force(control, file, &load, Author::Start).map_err(told)
}

/// Loads the rule file; the error is all that is wrong with it, a line each.
fn load_file(control: &Control, file: &Path, by: Author) -> Result<(), String> {
    let load = read_rules(control, file)?;
    if let Some(number) = control.was_undone(&load) {
        return Err(format!(
            "{} is change {number}, which WAS NOT CONFIRMED: `weir ctl -f` or `weir commit` loads it \
             all the same",
            file.display()
        ));
    }
    put_in_force(control, file, &load, by)
}

/// Reads the rule file and what it names; the error is all that is wrong with it, a line each.
fn read_rules(control: &Control, file: &Path) -> Result<Load, String> {
    let Gathered { load, checked } = gather(file.as_os_str(), Load::default(), &control.prefixes())
        .map_err(|error| error.to_string())?;
    if checked.rules.is_none() {
        return Err(checked.diagnostics.to_string());
    }
    Ok(load)
}

fn put_in_force(control: &Control, file: &Path, load: &Load, by: Author) -> Result<(), String> {
    let name = file.display();
    let change = Change::plain(by, format!("load {name}"));
    let loaded = control.load(load, &change).map_err(|refused| refused.to_string())?;
    loaded.warnings.iter().for_each(|warning| warn!(target: events::RULES_WARNING, "{warning}"));
    let note = if loaded.unchanged { " (unchanged)" } else { "" };
    info!(target: events::RULES_LOADED, "{} rules in force from {name}{note}", loaded.rules);
    Ok(())
}

/// Waits for what ends the process, and has the rules reloaded on SIGHUP meanwhile.
fn attend(happened: &Receiver<Event>, reload: &Sender<()>) -> ExitCode {
    for event in happened {
        match event {
            Event::Signal(SIGHUP) => {
                // Full: a load that has not begun yet will read the same file.
                let _ = reload.try_send(());
            }
            Event::Signal(signal) => {
                info!(target: events::STOP, "signal {signal}: stopping");
                break;
            }
            Event::Stuck(why) => {
                error!(target: events::CLOSED, "{why}: THE BRIDGE IS CLOSED");
                return ExitCode::FAILURE;
            }
            Event::Ended(worker) => {
                error!(target: events::CLOSED, "worker {worker} has ended: THE BRIDGE IS CLOSED");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// Waits until the workers have closed their ports, but not for ever.
fn await_end(happened: &Receiver<Event>, running: usize, one_has_ended: bool) {
    // One that fails may have done so because another one is stuck.
    let deadline = Instant::now() + if one_has_ended { STOP } else { CLOSING };
    let mut left = running - usize::from(one_has_ended);
    while left > 0 {
        match happened.recv_deadline(deadline) {
            Ok(Event::Ended(..)) => left -= 1,
            Ok(Event::Signal(_) | Event::Stuck(_)) => {}
            Err(_) => {
                warn!("{left} workers did not stop in time");
                return;
            }
        }
    }
}

/// Has the keeper give the ports back, as soon as it can.
fn call_back(news: &Sender<News>) -> Receiver<[Prepared; 2]> {
    let (back, ports) = bounded(1);
    let _ = news.send(News::Stop(back));
    ports
}

/// Sets the interfaces back to what they were, unless the keeper does not let go of them.
fn restore(ports: Option<[Prepared; 2]>) {
    let Some(ports) = ports else {
        warn!("the ports are busy: their interfaces are left as they are");
        return;
    };
    for notice in ports.into_iter().flat_map(Prepared::restore) {
        warn!("{notice}");
    }
}

#[cfg(test)]
mod tests {
    use super::states_each;

    #[test]
    fn tables_are_never_smaller_than_the_limit() {
        assert_eq!(states_each(1_000_000, 1), 1_000_000);
        for workers in 2..=64 {
            assert!(states_each(1_000_000, workers) * workers >= 1_125_000);
        }
        assert!(states_each(10, 64) >= 10);
    }
}
