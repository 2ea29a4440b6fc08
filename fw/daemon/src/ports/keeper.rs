//! The thread that keeps the ports: passes lost links on, warns of ports that do not fit each other, and
//! when a port fails or its interface goes (a USB adapter is pulled out) takes the ports away from the
//! workers and gives them new ones when it is back. Meanwhile the bridge is closed and states live.

use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded, never};
use tracing::{error, info, warn};
use weir_hw::{Kind, LinkState, LinkWatch, Opened, Prepared, Wanted};

use super::propagation::{Action, Propagation};
use super::{Seats, care, find, refused, settle, tell};
use crate::hold::Hold;
use crate::log::events;
use crate::mailbox::{Letter, Mailbox};
use crate::notify::notify;
use crate::settings::Settings;
use crate::worker::{Berth, PortFailure};

/// How often it is tried to open ports anew.
const RETRY: Duration = Duration::from_secs(1);
/// How often links are looked at when nothing tells of a change: drivers tell, but not all of all.
const LOOK: Duration = Duration::from_secs(10);

/// What the keeper is told.
pub enum News {
    /// A worker has parted from its ports.
    Failed(usize, PortFailure),
    /// The end: the ports are to come back through here.
    Stop(Sender<[Prepared; 2]>),
}

/// Both ports and all that leads to whoever uses them.
pub struct Keeper {
    settings: Settings,
    seats: Seats,
    prepared: [Prepared; 2],
    mailboxes: Vec<Mailbox>,
    /// What moves the frames, now and after the ports were opened anew.
    kind: Kind,
    propagation: Option<Propagation>,
    /// What it has said last about ports that do not fit each other.
    mismatch: Option<String>,
    /// Why the bridge is closed.
    closed: Option<String>,
    news: Receiver<News>,
    /// It was told to stop.
    stop: Option<Sender<[Prepared; 2]>>,
    /// Ends the process: workers do not answer.
    give_up: Box<dyn Fn(String) + Send>,
}

/// What a [`Keeper`] is made of.
pub struct Parts {
    /// Of this run.
    pub settings: Settings,
    /// Of this run.
    pub seats: Seats,
    /// The ports.
    pub prepared: [Prepared; 2],
    /// To all workers.
    pub mailboxes: Vec<Mailbox>,
    /// What moves the frames.
    pub kind: Kind,
    /// Ends the process: workers do not answer.
    pub give_up: Box<dyn Fn(String) + Send>,
}

/// Starts the thread, and the one that wakes it when interfaces change.
///
/// # Errors
/// When there can be no more threads or sockets.
pub fn start(parts: Parts, news: Receiver<News>) -> Result<(), String> {
    let fail = |error: std::io::Error| format!("cannot watch links: {error}");
    let watch = LinkWatch::new().map_err(fail)?;
    let (changed, changes) = bounded(1);
    let keeper = Keeper::new(parts, news);
    std::thread::Builder::new()
        .name("weir-links".into())
        .spawn(move || {
            while watch.wait().is_ok() {
                // Full: it will look anyway.
                let _ = changed.try_send(());
            }
        })
        .map_err(fail)?;
    std::thread::Builder::new()
        .name("weir-ports".into())
        .spawn(move || keeper.run(changes))
        .map(drop)
        .map_err(fail)
}

impl Keeper {
    fn new(parts: Parts, news: Receiver<News>) -> Self {
        let Parts { settings, seats, prepared, mailboxes, kind, give_up } = parts;
        let propagation = settings.propagate_link.then(|| {
            let able =
                [0, 1].map(|port| shows_that_it_is_down(&seats.names[port], &prepared[port]));
            Propagation::new(able, Instant::now())
        });
        Self {
            settings,
            seats,
            prepared,
            mailboxes,
            kind,
            propagation,
            mismatch: None,
            closed: None,
            news,
            stop: None,
            give_up,
        }
    }

    fn run(mut self, mut changes: Receiver<()>) {
        loop {
            if let Some(back) = self.stop.take() {
                self.release_all();
                // Nobody waits for them any more: they are set back where they are.
                let _ = back.send(self.prepared);
                return;
            }
            let again = self.look();
            if self.stop.is_some() {
                continue;
            }
            let next = if self.closed.is_some() { RETRY } else { LOOK };
            let next =
                again.map_or(next, |at| next.min(at.saturating_duration_since(Instant::now())));
            crossbeam::select! {
                recv(self.news) -> news => match news {
                    Ok(news) => self.hear(news),
                    // Nobody is left to keep ports for.
                    Err(_) => return,
                },
                recv(changes) -> change => if change.is_err() {
                    // From here on it only looks from time to time.
                    changes = never();
                },
                default(next) => {}
            }
        }
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Stop(back) => self.stop = Some(back),
            News::Failed(worker, failure) => {
                if self.closed.is_none() {
                    let name = &self.seats.names[failure.port & 1];
                    self.close(format!("{name}: {} (worker {worker})", failure.error));
                }
            }
        }
    }

    /// Looks at the links and does what they ask for. Returns when to look again at the latest.
    fn look(&mut self) -> Option<Instant> {
        let mut links = [None; 2];
        for (link, port) in links.iter_mut().zip(&mut self.prepared) {
            match port.link() {
                Ok(found) => *link = found,
                Err(error) => {
                    warn!("{}: cannot ask for its link: {error}", port.interface().name);
                    return None;
                }
            }
        }
        if self.closed.is_none()
            && let Some(gone) = links.iter().position(Option::is_none)
        {
            self.close(format!("{}: the interface is gone", self.seats.names[gone]));
        }
        if self.closed.is_some() {
            self.reopen();
        }
        if self.closed.is_none() {
            self.compare(links);
        }
        self.propagate(links)
    }

    /// Warns once of each way in which the ports do not fit each other.
    fn compare(&mut self, links: [Option<LinkState>; 2]) {
        let [Some(lan), Some(wan)] = links else { return };
        if !(lan.carrier && wan.carrier) {
            return;
        }
        let found = mismatch(self.seats.names.each_ref().map(String::as_str), [lan, wan]);
        if found != self.mismatch {
            if let Some(text) = &found {
                warn!(target: events::LINK, "{text}");
            }
            self.mismatch = found;
        }
    }

    fn propagate(&mut self, links: [Option<LinkState>; 2]) -> Option<Instant> {
        let propagation = self.propagation.as_mut()?;
        let now = Instant::now();
        let mut carriers = links.map(|link| link.is_some_and(|link| link.carrier));
        for (port, link) in links.iter().enumerate() {
            // An administrator has set it up.
            if propagation.holds(port) && link.is_some_and(|link| link.up) {
                propagation.let_go(port, now);
            }
        }
        loop {
            let (action, again) = propagation.step(carriers, now);
            let Some(action) = action else { return again };
            let (port, up) = match action {
                Action::Hold(port) => (port, false),
                Action::Release(port) => (port, true),
            };
            let [name, other] = [port, 1 - port].map(|port| &self.seats.names[port]);
            match self.prepared[port].set_up(up) {
                Ok(()) if up => {
                    info!(target: events::LINK, "{other} has a link again: {name} is set up again");
                }
                Ok(()) => {
                    warn!(target: events::LINK, "{other} has lost its link: {name} is set down until it is back");
                }
                Err(error) => {
                    warn!("{name}: cannot be set {}: {error}", ["down", "up"][usize::from(up)]);
                }
            }
            carriers[port] &= up;
        }
    }

    /// Lets go of what is held down.
    fn release_all(&mut self) {
        let Some(propagation) = &mut self.propagation else { return };
        for port in 0..2 {
            if propagation.holds(port) {
                propagation.let_go(port, Instant::now());
                if let Err(error) = self.prepared[port].set_up(true) {
                    warn!("{}: cannot be set up again: {error}", self.seats.names[port]);
                }
            }
        }
    }

    /// Takes the ports away from the workers.
    fn close(&mut self, why: String) {
        error!(target: events::CLOSED, "{why}: THE BRIDGE IS CLOSED until it is back");
        let _ = notify(&format!("STATUS=closed: {why}"));
        self.closed = Some(why);
        // Twice: while the first ones part, the last ones may still hand something over to them.
        for _ in 0..2 {
            self.ask_all(Letter::Part);
        }
        // Others have failed for the same reason; parted workers do not fail.
        while let Ok(news) = self.news.try_recv() {
            self.hear(news);
        }
    }

    /// Opens the ports again if both interfaces are there.
    fn reopen(&mut self) {
        match self.try_open() {
            Ok(opened) => {
                let mut berths = Vec::with_capacity(opened.workers.len());
                for ports in opened.workers {
                    match Hold::new(ports.holds) {
                        Ok(hold) => {
                            let ports_of_worker = ports.ports.into();
                            berths.push(Berth { pool: ports.pool, hold, ports: ports_of_worker });
                        }
                        Err(error) => return self.still_closed(format!("memory: {error}")),
                    }
                }
                let mut berths = berths.into_iter();
                self.ask_all(|done| {
                    let berth = berths.next().expect("as many as workers were opened");
                    Letter::Ports(Box::new(berth), done)
                });
                tell(&mut self.prepared);
                if let Some(propagation) = &mut self.propagation {
                    propagation.wait(Instant::now());
                }
                warn!(
                    target: events::OPEN,
                    "{} and {} are both there: the bridge is open again ({})",
                    self.seats.names[0], self.seats.names[1], opened.reason
                );
                let _ = notify("STATUS=forwarding");
                self.closed = None;
            }
            Err(why) => self.still_closed(why),
        }
    }

    fn try_open(&mut self) -> Result<Opened, String> {
        let missing = |port: &Prepared| !port.is_present();
        if self.prepared.iter().any(missing) {
            let found =
                weir_hw::nics().map_err(|error| format!("cannot list interfaces: {error}"))?;
            let wanted = [self.settings.lan.clone(), self.settings.wan.clone()];
            for (port, wanted) in wanted.iter().enumerate() {
                if !missing(&self.prepared[port]) {
                    continue;
                }
                let name = find(wanted, &found)?;
                let prepared = &mut self.prepared[port];
                prepared.replace(&name).map_err(|refusal| refused(&refusal, &found))?;
                care(prepared, &self.settings, &self.seats);
                self.seats.names[port] = name;
            }
        }
        self.release_all();
        let io = self.kind.io().unwrap_or(self.settings.io);
        let busy_poll = self.settings.busy_poll;
        let wanted = Wanted { io, workers: self.mailboxes.len(), busy_poll };
        let opened =
            weir_hw::open(&wanted, &mut self.prepared).map_err(|error| error.to_string())?;
        settle(&mut self.prepared, &self.settings, &self.seats);
        Ok(opened)
    }

    /// Says why the bridge cannot be opened, if that is new.
    fn still_closed(&mut self, why: String) {
        if self.closed.as_ref() != Some(&why) {
            warn!("the bridge stays closed: {why}");
            self.closed = Some(why);
        }
    }

    /// Sends all workers a letter and waits until they have done what it asks.
    fn ask_all(&self, mut make: impl FnMut(Sender<()>) -> Letter) {
        let answers: Vec<_> =
            self.mailboxes.iter().map(|mailbox| mailbox.post(&mut make)).collect();
        for answer in answers {
            if let Err(error) = answer.and_then(crate::mailbox::Answer::wait) {
                (self.give_up)(error.to_string());
            }
        }
    }
}

/// Whether the other end of the cable sees it when the interface is set down; said where it does not.
fn shows_that_it_is_down(name: &str, port: &Prepared) -> bool {
    let driver = port.interface().driver.as_deref().unwrap_or_default();
    let able = weir_hw::inventory::driver(driver).is_some_and(|driver| driver.link_goes_down);
    if !able {
        info!(
            "{name}: the link of its driver ({driver}) cannot be taken down: that the other port has \
             lost its link will not be seen behind it"
        );
    }
    able
}

/// In what two ports with links do not fit each other, with the consequence.
fn mismatch(names: [&str; 2], links: [LinkState; 2]) -> Option<String> {
    let [lan, wan] = links;
    let mut found = Vec::new();
    if lan.mtu != wan.mtu {
        found.push(format!(
            "MTU {} on {}, {} on {}: longer packets are lost at the smaller one",
            lan.mtu, names[0], wan.mtu, names[1]
        ));
    }
    if let (Some(one), Some(other)) = (lan.speed, wan.speed)
        && one != other
    {
        found.push(format!(
            "{} has {one} Mbit/s, {} {other} Mbit/s: bursts are lost at the slower one",
            names[0], names[1]
        ));
    }
    (!found.is_empty()).then(|| found.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_do_not_fit_are_told_apart() {
        let link = |mtu, speed| LinkState { up: true, carrier: true, mtu, speed };
        let of = |lan, wan| mismatch(["eth1", "eth2"], [lan, wan]);
        assert_eq!(of(link(1500, Some(1000)), link(1500, Some(1000))), None);
        assert_eq!(of(link(1500, Some(1000)), link(1500, None)), None, "one does not tell");
        assert_eq!(
            of(link(9000, Some(100)), link(1500, Some(1000))).unwrap(),
            "MTU 9000 on eth1, 1500 on eth2: longer packets are lost at the smaller one; eth1 has \
             100 Mbit/s, eth2 1000 Mbit/s: bursts are lost at the slower one"
        );
    }
}
