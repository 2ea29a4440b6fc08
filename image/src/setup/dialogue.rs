//! The questions, one after the other. Nothing is changed by them: what was answered is returned when
//! the person is sure of it.

use std::fmt::Write as _;
use std::io::{Read, Write};

use weir_config::settings::{MAX_GATEWAYS, MAX_NTP, ManagementAddress, NicName};
use weir_hw::Nic;
use weir_shell::protocol::{MAX_PASSWORD, MIN_PASSWORD};

use super::answers::{Answers, Logs, Policy, words};
use super::help::{
    ADDRESS, GATEWAY, MANAGEMENT, NTP, PASSWORD, POLICY, PORT, SYSLOG, TIME, WELCOME, WELCOME_AGAIN,
};
use super::nics::{self, World};
use super::person::{Person, Silence};
use super::typed;
use crate::clock::date;

/// Where the dialogue goes after an answer.
enum Turn {
    On,
    Back,
}

type Answer = Result<Turn, Silence>;

/// What a line says besides an answer.
enum Said {
    /// What was typed; the default if nothing was.
    Text(String),
    Back,
}

/// The dialogue.
pub(super) struct Dialogue<'a, R, W> {
    pub(super) person: &'a mut Person<R, W>,
    pub(super) world: &'a mut dyn World,
    /// What is there to begin with.
    pub(super) first: Answers,
    /// Whether the box was set up before.
    pub(super) again: bool,
    /// Whether a password is asked for already.
    pub(super) has_password: bool,
}

impl<R: Read, W: Write> Dialogue<'_, R, W> {
    /// Asks everything, as often as it takes.
    ///
    /// # Errors
    /// When nobody is there any more.
    pub(super) fn hold(&mut self) -> Result<Answers, Silence> {
        loop {
            self.person.say(if self.again { WELCOME_AGAIN } else { WELCOME })?;
            let mut answers = self.first.clone();
            match self.all(&mut answers) {
                Ok(()) => return Ok(answers),
                Err(Silence::Over) => self.person.say("\nOnce more from the beginning.\n")?,
                Err(other) => return Err(other),
            }
        }
    }

    fn all(&mut self, answers: &mut Answers) -> Result<(), Silence> {
        let questions = [
            Self::lan,
            Self::wan,
            Self::policy,
            Self::management,
            Self::addresses,
            Self::gateways,
            Self::syslog,
            Self::ntp,
            Self::time,
            Self::password,
            Self::sure,
        ];
        // Those that were really asked; a question that does not arise is no way back.
        let mut asked = Vec::new();
        let mut at = 0;
        while let Some(question) = questions.get(at) {
            if !self.arises(at, answers) {
                at += 1;
                continue;
            }
            match question(self, answers)? {
                Turn::On => {
                    asked.push(at);
                    at += 1;
                }
                Turn::Back => match asked.pop() {
                    Some(before) => at = before,
                    None => self.person.say("This is the first question.\n")?,
                },
            }
        }
        Ok(())
    }

    /// Whether a question is to be asked after what was answered.
    fn arises(&self, at: usize, answers: &Answers) -> bool {
        match at {
            4 | 6 | 7 => answers.nic.is_some(),
            5 => {
                let fixed =
                    |address: &ManagementAddress| matches!(address, ManagementAddress::Fixed(_));
                answers.nic.is_some() && answers.addresses.iter().any(fixed)
            }
            8 => answers.nic.is_none() || answers.ntp.is_empty(),
            9 => !self.has_password,
            _ => true,
        }
    }

    /// Asks for a line; help and `back` are dealt with.
    fn ask(&mut self, question: &str, default: &str, help: &str) -> Result<Said, Silence> {
        let default = if default.is_empty() { "none" } else { default };
        loop {
            let typed = self.person.ask(&format!("{question} [{default}]: "))?;
            match &*typed {
                "?" | "help" => self.person.say(help)?,
                "back" => return Ok(Said::Back),
                "" => return Ok(Said::Text(default.to_owned())),
                _ => return Ok(Said::Text(typed)),
            }
        }
    }

    /// Asks until an answer can be read.
    fn until<T>(
        &mut self,
        question: &str,
        default: &str,
        help: &str,
        mut read: impl FnMut(&mut Self, &str) -> Result<Result<T, String>, Silence>,
    ) -> Result<Option<T>, Silence> {
        loop {
            let Said::Text(text) = self.ask(question, default, help)? else { return Ok(None) };
            match read(self, &text)? {
                Ok(value) => return Ok(Some(value)),
                Err(wrong) => self.person.say(&typed::folded(&wrong))?,
            }
        }
    }

    fn lan(&mut self, answers: &mut Answers) -> Answer {
        let found = self.world.nics()?;
        self.person.say(&format!("\n1. The two ports of the bridge\n{}", nics::table(&found)))?;
        self.person.say(&nics::advice(&found))?;
        let [lan, _] = nics::proposal(&found);
        let lan = nics::index(&found, answers.lan.as_ref()).or(lan);
        let Some(nic) = self.nic("lan, towards the computers", lan, &[])? else {
            return Ok(Turn::Back);
        };
        answers.lan = Some(nic);
        Ok(Turn::On)
    }

    fn wan(&mut self, answers: &mut Answers) -> Answer {
        let found = self.world.nics()?;
        let lan = nics::index(&found, answers.lan.as_ref());
        let wan = nics::index(&found, answers.wan.as_ref());
        let others = nics::proposal(&found).into_iter().flatten().find(|&one| Some(one) != lan);
        let wan = wan.filter(|_| wan != lan).or(others);
        let taken: Vec<_> = answers.lan.iter().cloned().collect();
        let Some(nic) = self.nic("wan, towards the router", wan, &taken)? else {
            return Ok(Turn::Back);
        };
        if answers.nic.as_ref().is_some_and(|port| *port == nic || taken.contains(port)) {
            answers.nic = None;
        }
        answers.wan = Some(nic);
        Ok(Turn::On)
    }

    /// Asks for an interface that is not taken yet; `None` is `back`.
    fn nic(
        &mut self,
        role: &str,
        default: Option<usize>,
        taken: &[NicName],
    ) -> Result<Option<NicName>, Silence> {
        let question = format!("Number of the NIC for {role}, or `find`");
        let default = default.map_or_else(|| "find".into(), |at| (at + 1).to_string());
        self.until(&question, &default, PORT, |this, text| {
            let found = this.world.nics()?;
            let chosen = if text == "find" {
                match this.find()? {
                    Some(name) => found.iter().find(|nic| nic.name == name),
                    None => return Ok(Err("Type a number, or `find` to try again.".into())),
                }
            } else {
                let number = text.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
                let by_name = || found.iter().find(|nic| nic.name == text);
                number.and_then(|at| found.get(at)).or_else(by_name)
            };
            let Some(nic) = chosen else {
                let table = nics::table(&found);
                return Ok(Err(format!("{table}Type a number from the list, or `find`.")));
            };
            if let Some(objection) = nics::objection(nic) {
                return Ok(Err(objection));
            }
            let name = nics::lasting_name(nic, &found);
            if taken.contains(&name) {
                return Ok(Err(format!("{} is taken already.", nic.name)));
            }
            Ok(Ok(name))
        })
    }

    /// Has a cable pulled or plugged in, and tells whose link has changed.
    fn find(&mut self) -> Result<Option<String>, Silence> {
        let before = nics::links(&self.world.nics()?);
        self.person.ask("Unplug the cable now (or plug one in), then press Enter: ")?;
        let mut changed = Vec::new();
        for _ in 0..nics::ROUNDS {
            let now = nics::links(&self.world.nics()?);
            changed = nics::changed(&before, &now);
            if !changed.is_empty() {
                break;
            }
            self.world.pause();
        }
        match &changed[..] {
            [name] => {
                self.person.say(&format!("It is {name}. You can put the cable back.\n"))?;
                Ok(Some(name.clone()))
            }
            [] => {
                self.person.say("No link has changed.\n")?;
                Ok(None)
            }
            several => {
                self.person
                    .say(&format!("More than one link has changed: {}.\n", words(several)))?;
                Ok(None)
            }
        }
    }

    fn policy(&mut self, answers: &mut Answers) -> Answer {
        self.person.say(
            "\n2. What may pass\n   \
             1  outgoing only: connections that your computers begin, and their answers;\n      \
             nothing comes in\n   \
             2  the same, and servers of yours that the world may reach, protected from\n      \
             floods and from visitors that take too much\n   \
             3  watch only: everything passes and is written down; protects nobody\n",
        )?;
        if self.again {
            self.person.say("   4  the rules that there are\n")?;
        }
        let most = if self.again { 4 } else { 3 };
        let default = match answers.policy {
            Policy::Outgoing => "1",
            Policy::Servers(..) => "2",
            Policy::Watch => "3",
            Policy::Keep => "4",
        };
        let wrong = format!("Type a number from 1 to {most}.");
        let read = |_: &mut Self, text: &str| {
            let number = text.parse().ok().filter(|number| (1..=most).contains(number));
            Ok(number.ok_or_else(|| wrong.clone()))
        };
        loop {
            let Some(choice) = self.until("Rules to begin with", default, POLICY, read)? else {
                return Ok(Turn::Back);
            };
            answers.policy = match choice {
                1 => Policy::Outgoing,
                3 => Policy::Watch,
                4 => Policy::Keep,
                _ => match self.servers(&answers.policy)? {
                    Some(servers) => servers,
                    None => continue,
                },
            };
            return Ok(Turn::On);
        }
    }

    /// Which servers; `None` goes back to the choice.
    fn servers(&mut self, before: &Policy) -> Result<Option<Policy>, Silence> {
        let (addresses, ports) = match before {
            Policy::Servers(addresses, ports) => (words(addresses), words(ports)),
            _ => (String::new(), "80, 443".to_owned()),
        };
        let help = "As in 192.0.2.80, 2001:db8::80: the addresses that visitors see.\n";
        let question = "Addresses of the servers";
        let read = |_: &mut Self, text: &str| Ok(typed::hosts(text, 1, typed::MOST));
        let Some(addresses) = self.until(question, &addresses, help, read)? else {
            return Ok(None);
        };
        let help = "As in 80, 443, 25. Other protocols need rules of their own, later.\n";
        let read = |_: &mut Self, text: &str| Ok(typed::ports(text));
        let Some(ports) = self.until("TCP ports of the servers", &ports, help, read)? else {
            return Ok(None);
        };
        Ok(Some(Policy::Servers(addresses, ports)))
    }

    fn management(&mut self, answers: &mut Answers) -> Answer {
        self.person.say("\n3. Management: how logs leave the box and how it gets the time\n")?;
        let found = self.world.nics()?;
        let bridged = [&answers.lan, &answers.wan].map(|nic| nics::index(&found, nic.as_ref()));
        let free: Vec<_> = (0..found.len())
            .filter(|&at| !bridged.contains(&Some(at)) && nics::objection(&found[at]).is_none())
            .collect();
        if free.is_empty() {
            self.person.say("There is no third NIC: logs stay here.\n")?;
            answers.nic = None;
            // Nothing was asked, but the way back must not end here.
            return Ok(Turn::On);
        }
        self.person.say(&nics::rows(&found, &free))?;
        let default = nics::index(&found, answers.nic.as_ref()).filter(|at| free.contains(at));
        let default = default.map(|at| (at + 1).to_string()).unwrap_or_default();
        let question = "Number of the management NIC, or `none`";
        let read = |_: &mut Self, text: &str| {
            if text == "none" {
                return Ok(Ok(None));
            }
            let at = text.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
            let nic =
                at.filter(|at| free.contains(at)).map(|at| nics::lasting_name(&found[at], &found));
            Ok(nic.map(Some).ok_or_else(|| "Type a number from the list, or `none`.".to_owned()))
        };
        let Some(nic) = self.until(question, &default, MANAGEMENT, read)? else {
            return Ok(Turn::Back);
        };
        answers.nic = nic;
        if answers.nic.is_none() {
            answers.addresses = vec![ManagementAddress::Dhcp];
            answers.gateways = Vec::new();
            answers.ntp = Vec::new();
            answers.syslog = Logs::None;
        }
        Ok(Turn::On)
    }

    fn addresses(&mut self, answers: &mut Answers) -> Answer {
        let default = words(&answers.addresses);
        let read = |_: &mut Self, text: &str| {
            let list: Result<Vec<ManagementAddress>, _> =
                typed::items(text).map(str::parse).collect();
            Ok(list.and_then(|list| typed::distinct(list, 1, typed::MOST)))
        };
        match self.until("Its addresses, or `dhcp`, `slaac`", &default, ADDRESS, read)? {
            Some(addresses) => {
                let fixed =
                    |address: &ManagementAddress| matches!(address, ManagementAddress::Fixed(_));
                if !addresses.iter().any(fixed) {
                    answers.gateways = Vec::new();
                }
                answers.addresses = addresses;
                Ok(Turn::On)
            }
            None => Ok(Turn::Back),
        }
    }

    fn gateways(&mut self, answers: &mut Answers) -> Answer {
        let default = words(&answers.gateways);
        let read = |_: &mut Self, text: &str| Ok(typed::hosts(text, 0, MAX_GATEWAYS));
        match self.until("Its gateway, or `none`", &default, GATEWAY, read)? {
            Some(gateways) => {
                answers.gateways = gateways;
                Ok(Turn::On)
            }
            None => Ok(Turn::Back),
        }
    }

    fn syslog(&mut self, answers: &mut Answers) -> Answer {
        let default = match answers.syslog {
            Logs::None => String::new(),
            Logs::Keep => "keep".to_owned(),
            Logs::Udp(address) => format!("udp:{address}"),
            Logs::Tcp(address) => format!("tcp:{address}"),
        };
        let kept = self.first.syslog;
        let read = |_: &mut Self, text: &str| {
            Ok(if text == "keep" && kept == Logs::Keep { Ok(kept) } else { typed::logs(text) })
        };
        match self.until("Syslog server, or `none`", &default, SYSLOG, read)? {
            Some(syslog) => {
                answers.syslog = syslog;
                Ok(Turn::On)
            }
            None => Ok(Turn::Back),
        }
    }

    fn ntp(&mut self, answers: &mut Answers) -> Answer {
        let default = words(&answers.ntp);
        let read = |_: &mut Self, text: &str| Ok(typed::hosts(text, 0, MAX_NTP));
        match self.until("Time servers, or `none`", &default, NTP, read)? {
            Some(ntp) => {
                answers.ntp = ntp;
                Ok(Turn::On)
            }
            None => Ok(Turn::Back),
        }
    }

    fn time(&mut self, answers: &mut Answers) -> Answer {
        self.person.say("\n4. The clock\n")?;
        let default = date::written(self.world.now().saturating_add(answers.forward));
        let read = |this: &mut Self, text: &str| {
            if text == default {
                return Ok(Ok(None));
            }
            let typed = date::read(text);
            Ok(typed.map(|typed| Some(typed.saturating_sub(this.world.now()))))
        };
        match self.until("Date and time, UTC", &default, TIME, read)? {
            Some(forward) => {
                answers.forward = forward.unwrap_or(answers.forward);
                Ok(Turn::On)
            }
            None => Ok(Turn::Back),
        }
    }

    fn password(&mut self, answers: &mut Answers) -> Answer {
        self.person.say("\n5. The password of the consoles\n")?;
        loop {
            let typed = self.person.ask_secret("Password (not shown) [none]: ")?;
            match &*typed {
                "?" | "help" => self.person.say(PASSWORD)?,
                "back" => return Ok(Turn::Back),
                "" => {
                    answers.password = String::new();
                    return Ok(Turn::On);
                }
                _ if typed.chars().count() < MIN_PASSWORD || typed.len() > MAX_PASSWORD => {
                    self.person.say(&format!("It needs {MIN_PASSWORD} letters or more.\n"))?;
                }
                _ if self.person.ask_secret("The same again: ")? == typed => {
                    answers.password = typed;
                    return Ok(Turn::On);
                }
                _ => self.person.say("They differ.\n")?,
            }
        }
    }

    fn sure(&mut self, answers: &mut Answers) -> Answer {
        let found = self.world.nics()?;
        let summary = self.summary(answers, &found);
        self.person.say(&typed::folded(&summary))?;
        loop {
            match &*self.person.ask("Sure? (yes, back, or Ctrl-C to begin anew): ")? {
                "yes" => return Ok(Turn::On),
                "back" => return Ok(Turn::Back),
                _ => self.person.say("Type `yes` to have it written.\n")?,
            }
        }
    }

    fn summary(&self, answers: &Answers, found: &[Nic]) -> String {
        let nic = |name: &Option<NicName>| match nics::index(found, name.as_ref()) {
            Some(at) => format!("{} ({})", found[at].name, words(name.as_slice())),
            None => words(name.as_slice()),
        };
        let policy = match &answers.policy {
            Policy::Outgoing => "outgoing only".to_owned(),
            Policy::Servers(addresses, ports) => {
                format!("outgoing, and {} port {}", words(addresses), words(ports))
            }
            Policy::Watch => "watch only: EVERYTHING PASSES".to_owned(),
            Policy::Keep => "those that there are".to_owned(),
        };
        let or_none = |text: String| if text.is_empty() { "none".to_owned() } else { text };
        let mut rows = vec![
            ("lan", nic(&answers.lan)),
            ("wan", nic(&answers.wan)),
            ("rules", policy),
            (
                "management",
                or_none(answers.nic.as_ref().map_or(String::new(), |_| nic(&answers.nic))),
            ),
        ];
        if answers.nic.is_some() {
            let syslog = match answers.syslog {
                Logs::None => "none".to_owned(),
                Logs::Keep => "as it is".to_owned(),
                Logs::Udp(address) => format!("udp:{address}"),
                Logs::Tcp(address) => format!("tcp:{address}"),
            };
            rows.push(("addresses", words(&answers.addresses)));
            rows.push(("gateway", or_none(words(&answers.gateways))));
            rows.push(("syslog", syslog));
            rows.push(("time from", or_none(words(&answers.ntp))));
        }
        if answers.forward != 0 {
            let time = self.world.now().saturating_add(answers.forward);
            rows.push(("clock", date::written(time)));
        }
        let password = match (self.has_password, answers.password.is_empty()) {
            (true, _) => "as it is",
            (_, true) => "NONE: whoever reaches a console may do everything",
            (_, false) => "set",
        };
        rows.push(("password", password.to_owned()));
        let mut text = "
This is what will be written:
"
        .to_owned();
        for (name, value) in rows {
            let _ = writeln!(text, "   {name:<12}{value}");
        }
        text
    }
}
