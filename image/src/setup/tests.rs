//! Scripts of what is typed, and what is written then.

use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;

use argon2::{PasswordHash, PasswordVerifier};
use tempfile::TempDir;
use weir_config::settings::{NicName, Server, Settings};

use super::answers::words;
use super::*;

/// 2026-11-23 12:00:00
const NOON: i64 = 1_795_435_200;

/// Three or more NICs, of which the links change as the test has it.
struct Fake {
    nics: Vec<Nic>,
    /// Links that change with a pause: the name of each.
    pulled: Vec<&'static str>,
    pauses: usize,
}

impl World for Fake {
    fn nics(&mut self) -> io::Result<Vec<Nic>> {
        Ok(self.nics.clone())
    }

    fn pause(&mut self) {
        self.pauses += 1;
        for nic in &mut self.nics {
            if self.pulled.contains(&&*nic.name) {
                nic.carrier = nic.carrier.map(|link| !link);
            }
        }
        self.pulled.clear();
    }

    fn now(&self) -> i64 {
        NOON
    }
}

fn nic(number: u8) -> Nic {
    Nic {
        name: format!("eth{number}"),
        mac: [2, 0, 0, 0, 0, number],
        up: true,
        carrier: Some(true),
        speed: Some(100_000),
        driver: Some("virtio_net".into()),
        pci: Some(format!("0000:00:0{number}.0")),
        ..Nic::default()
    }
}

/// What is seen.
#[derive(Clone, Default)]
struct Screen(Rc<RefCell<Vec<u8>>>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is typed; of its echo only the ends of lines are shown.
struct Keys<'t> {
    typed: &'t [u8],
    screen: Screen,
}

impl Read for Keys<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let length = self.typed.read(bytes)?;
        if bytes[..length].contains(&b'\n') {
            self.screen.write_all(b"\n")?;
        }
        Ok(length)
    }
}

struct Box {
    folder: TempDir,
    world: Fake,
}

impl Box {
    fn new(nics: u8) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            folder,
            world: Fake { nics: (0..nics).map(nic).collect(), pulled: vec![], pauses: 0 },
        }
    }

    fn places(&self) -> Places {
        let at = |name: &str| self.folder.path().join(name);
        Places {
            settings: at("weir.toml"),
            rules: at("weir.conf"),
            password: at("password"),
            lock: at("lock"),
        }
    }

    /// Types it all; what was shown, and how it ended.
    fn types(&mut self, typed: &str, again: bool) -> (Result<Option<i64>, Silence>, String) {
        let screen = Screen::default();
        let places = self.places();
        let keys = Keys { typed: typed.as_bytes(), screen: screen.clone() };
        let mut person = Person::new(keys, screen.clone());
        let ended = serve(&mut person, &mut self.world, &places, again);
        let shown = String::from_utf8(screen.0.borrow().clone()).unwrap();
        for line in shown.lines() {
            assert!(line.chars().count() < 80, "{line}");
            assert!(line.chars().all(|c| !c.is_control()), "{line:?}");
        }
        (ended, shown)
    }

    fn written(&self) -> (Settings, String) {
        let places = self.places();
        let text = fs::read_to_string(places.settings).unwrap();
        let settings = settings::parse(&SourceFile::new("weir.toml", &*text)).unwrap();
        (settings, fs::read_to_string(places.rules).unwrap())
    }

    /// Nothing but the lock is there.
    fn is_untouched(&self) -> bool {
        let places = self.places();
        ![places.settings, places.rules, places.password].iter().any(|path| path.exists())
    }
}

/// lan, wan, rules, no management NIC, the time, no password, sure.
const DEFAULTS: &str = "\n\n\n\n\n\n\nyes\n";

/// All that there is to be asked.
const EVERYTHING: &str = "\n2\n1\n2\n192.0.2.80, 2001:db8::80\n80 443\n3\n192.0.2.10/24\n192.0.2.1\n\
                          tcp:192.0.2.5:1601\n192.0.2.7\ncorrect horse\ncorrect horse\nyes\n";

#[test]
fn enter_alone_makes_a_bridge_that_lets_out_and_nothing_in() {
    let mut new = Box::new(3);
    let (ended, shown) = new.types(DEFAULTS, false);
    assert!(matches!(ended, Ok(Some(0))), "{ended:?}\n{shown}");
    let (settings, rules) = new.written();
    let pci = |path: &str| Some(NicName::Pci(path.into()));
    assert_eq!(
        (settings.ports.lan, settings.ports.wan),
        (pci("0000:00:00.0"), pci("0000:00:01.0"))
    );
    assert_eq!((settings.management.nic, settings.clock.ntp.len()), (None, 0));
    assert_eq!(settings.management.namespace.as_deref(), Some("management"));
    assert_eq!(rules, Policy::Outgoing.rules().unwrap());
    assert!(!new.places().password.exists());
    assert!(shown.contains("NONE: whoever reaches a console may do everything"), "{shown}");
}

#[test]
fn everything_can_be_chosen() {
    let mut new = Box::new(3);
    let (ended, shown) = new.types(EVERYTHING, false);
    assert!(matches!(ended, Ok(Some(0))), "{ended:?}\n{shown}");
    let (settings, rules) = new.written();
    let pci = |path: &str| Some(NicName::Pci(path.into()));
    assert_eq!(
        (settings.ports.lan, settings.ports.wan),
        (pci("0000:00:01.0"), pci("0000:00:00.0"))
    );
    assert_eq!(settings.management.nic, pci("0000:00:02.0"));
    assert_eq!(words(&settings.management.addresses), "192.0.2.10/24");
    assert_eq!(words(&settings.management.gateways), "192.0.2.1");
    assert_eq!(settings.log.syslog[0].to, Server::Tcp("192.0.2.5:1601".parse().unwrap()));
    assert_eq!(words(&settings.clock.ntp), "192.0.2.7");
    assert!(rules.contains("servers = \"{ 192.0.2.80, 2001:db8::80 }\""), "{rules}");
    assert!(rules.contains("services = \"{ 80, 443 }\""), "{rules}");
    let hash = fs::read_to_string(new.places().password).unwrap();
    let hash = PasswordHash::new(hash.trim_end()).unwrap();
    assert!(Argon2::default().verify_password(b"correct horse", &hash).is_ok());
    assert!(!shown.contains("correct horse"));
}

/// Wherever the line drops, or Ctrl-C is typed and then the line drops.
#[test]
fn nothing_is_written_before_the_end() {
    for script in [DEFAULTS, EVERYTHING] {
        let lines = script.match_indices('\n').map(|(at, _)| at);
        for end in lines.flat_map(|at| [at, at + 1]).take_while(|&end| end < script.len()) {
            for over in ["", "\x03"] {
                let mut new = Box::new(3);
                let (ended, _) = new.types(&format!("{}{over}", &script[..end]), false);
                let gone = matches!(ended, Err(Silence::Gone | Silence::Over));
                assert!(gone && new.is_untouched(), "{end}: {ended:?}");
            }
        }
    }
}

#[test]
fn ctrl_c_begins_anew_and_forgets() {
    let mut new = Box::new(3);
    let typed = format!("\n2\n1\n3\nno\x03{}", &DEFAULTS[1..]);
    let (ended, shown) = new.types(&typed, false);
    assert!(matches!(ended, Ok(Some(_))), "{shown}");
    let (settings, rules) = new.written();
    assert_eq!(settings.ports.lan, Some(NicName::Pci("0000:00:00.0".into())));
    assert_eq!(rules, Policy::Outgoing.rules().unwrap());
}

#[test]
fn wrong_answers_are_asked_again() {
    let mut new = Box::new(3);
    let typed = "\n0\n4\nx\n?\n1\n1\n2\n9\n2\nnonsense\nnone\n192.0.2.80 192.0.2.80\n127.0.0.1\n\
                 192.0.2.80\n0\n70000\n443\n1\n3\n192.0.2.0/24\n192.0.2.10\ndhcp\n\
                 tls:192.0.2.1:6514\nhost\n192.0.2.5\nntp.example.org\n\
                 none\n2026-02-30 12:00\n2026-11-24 12:00\nshort\ncorrect horse\nother horse\n\n\
                 no\nyes\n";
    let (ended, shown) = new.types(typed, false);
    assert!(matches!(ended, Ok(Some(86_400))), "{ended:?}\n{shown}");
    for said in [
        "Type a number from the list, or `find`.",
        "eth0 is taken already.",
        "Type a number from 1 to 3.",
        "`nonsense` is no address of a host.",
        "Type at least one.",
        "192.0.2.80 stands there twice.",
        "`127.0.0.1` is no address of a host.",
        "`0` is no port from 1 to 65535.",
        "Type a number from the list, or `none`.",
        "`192.0.2.0/24` is the network",
        "TLS needs files",
        "`ntp.example.org` is no address of a host.",
        "`2026-02-30 12:00` is no date and time",
        "It needs 8 letters or more.",
        "They differ.",
        "Type `yes` to have it written.",
    ] {
        assert!(shown.contains(said), "{said}\n{shown}");
    }
    let (settings, _) = new.written();
    assert_eq!(settings.log.syslog[0].to, Server::Udp("192.0.2.5:514".parse().unwrap()));
    assert_eq!(words(&settings.management.addresses), "dhcp");
}

#[test]
fn back_goes_to_the_question_before() {
    let mut new = Box::new(3);
    // From the first; from wan to lan; from the summary over the password to the time.
    let typed = "\nback\n1\nback\n2\n1\n2\nback\n3\n\nback\nnone\n\n\nback\nback\n\
                 2026-11-23 13:00\n\nyes\n";
    let (ended, shown) = new.types(typed, false);
    assert!(shown.contains("This is the first question."), "{shown}");
    assert!(matches!(ended, Ok(Some(3600))), "{ended:?}\n{shown}");
    let (settings, rules) = new.written();
    assert_eq!(settings.ports.lan, Some(NicName::Pci("0000:00:01.0".into())));
    assert_eq!(rules, Policy::Watch.rules().unwrap());
}

#[test]
fn a_nic_is_found_by_its_cable() {
    let mut new = Box::new(3);
    new.world.pulled = vec!["eth2"];
    let typed = "\nfind\n\nfind\n\n2\n1\n\n\n\nyes\n";
    let (ended, shown) = new.types(typed, false);
    assert!(matches!(ended, Ok(Some(_))), "{ended:?}\n{shown}");
    assert!(shown.contains("It is eth2."), "{shown}");
    assert!(shown.contains("No link has changed."), "{shown}");
    assert_eq!(new.world.pauses, 1 + nics::ROUNDS);
    let (settings, _) = new.written();
    assert_eq!(settings.ports.lan, Some(NicName::Pci("0000:00:02.0".into())));

    let mut new = Box::new(3);
    new.world.pulled = vec!["eth1", "eth2"];
    let (_, shown) = new.types("\nfind\n\n", false);
    assert!(shown.contains("More than one link has changed: eth1, eth2."), "{shown}");
}

#[test]
fn with_two_nics_there_is_no_management_port() {
    let mut new = Box::new(2);
    let (ended, shown) = new.types("\n\n\n\n\n\nyes\n", false);
    assert!(matches!(ended, Ok(Some(_))), "{ended:?}\n{shown}");
    assert!(shown.contains("There is no third NIC"), "{shown}");
    let (settings, _) = new.written();
    assert_eq!(settings.management.nic, None);
}

#[test]
fn one_nic_is_not_enough_and_says_so() {
    let mut new = Box::new(1);
    let (ended, shown) = new.types("\n1\n1\n", false);
    assert!(matches!(ended, Err(Silence::Gone)), "{ended:?}");
    assert!(shown.contains("a bridge needs two"), "{shown}");
    assert!(new.is_untouched());
}

#[test]
fn a_second_console_is_told_and_meets_a_box_that_is_set_up() {
    let mut new = Box::new(3);
    let lock = File::create(new.places().lock).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let (ended, shown) = new.types("\n", false);
    assert!(matches!(ended, Err(Silence::Gone)), "{ended:?}");
    assert!(shown.contains("Another console is in use for the setup."), "{shown}");
    drop(lock);
    fs::write(new.places().settings, "[ports]\nlan = \"eth0\"\nwan = \"eth1\"\n").unwrap();
    let (ended, shown) = new.types("\n", false);
    assert!(matches!(ended, Ok(None)), "{ended:?}\n{shown}");
}

#[test]
fn setting_up_anew_keeps_what_nobody_changes() {
    let mut old = Box::new(3);
    let text = "# mine\n[ports]\nlan = \"eth1\" # inside\nwan = \"eth0\"\nbusy_poll = true\n\
                [management]\nnamespace = \"management\"\nnic = \"eth2\"\naddresses = [\"slaac\"]\n\
                [[log.syslog]]\nto = \"udp:192.0.2.1:514\"\nfacility = \"local3\"\n\
                [clock]\nntp = [\"192.0.2.9\"]\n";
    let places = old.places();
    fs::write(&places.settings, text).unwrap();
    fs::write(&places.rules, "pass\n").unwrap();
    fs::write(&places.password, "hash").unwrap();
    let (ended, shown) = old.types("\n\n\n\n\n\n\nyes\n", true);
    assert!(matches!(ended, Ok(Some(0))), "{ended:?}\n{shown}");
    assert!(shown.contains("NIC for lan, towards the computers, or `find` [2]"), "{shown}");
    assert_eq!(fs::read_to_string(&places.rules).unwrap(), "pass\n");
    assert_eq!(fs::read_to_string(&places.password).unwrap(), "hash");
    let written = fs::read_to_string(&places.settings).unwrap();
    for kept in ["# mine\n", "# inside\n", "busy_poll = true\n", "facility = \"local3\"\n"] {
        assert!(written.contains(kept), "{kept}\n{written}");
    }
    let (settings, _) = old.written();
    assert_eq!(words(&settings.management.addresses), "slaac");
    assert_eq!(words(&settings.clock.ntp), "192.0.2.9");
    assert_eq!(settings.management.nic, Some(NicName::Pci("0000:00:02.0".into())));
}

#[test]
fn settings_that_nobody_can_read_are_begun_anew() {
    let mut old = Box::new(3);
    fs::write(old.places().settings, "[ports\n").unwrap();
    let (ended, shown) = old.types(DEFAULTS, false);
    assert!(matches!(ended, Ok(Some(_))), "{ended:?}\n{shown}");
    assert_eq!(old.written().0.log.pflog_size, 4);
}

#[test]
fn names_last_where_places_are_shared() {
    let mut nics: Vec<_> = (0..3).map(nic).collect();
    nics[1].pci = nics[0].pci.clone();
    nics[2].pci = None;
    nics[2].permanent_mac = Some([2, 0, 0, 0, 0, 9]);
    assert_eq!(nics::lasting_name(&nics[0], &nics), NicName::Mac([2, 0, 0, 0, 0, 0]));
    assert_eq!(nics::lasting_name(&nics[2], &nics), NicName::Mac([2, 0, 0, 0, 0, 9]));
    nics[2].pci = Some("0000:00:09.0".into());
    assert_eq!(nics::lasting_name(&nics[2], &nics), NicName::Pci("0000:00:09.0".into()));
}
