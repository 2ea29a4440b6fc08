//! The settings file, read.

use super::*;

fn read(text: &str) -> Result<Settings, String> {
    parse(&SourceFile::new("weir.toml", text)).map_err(|found| found.to_string())
}

fn nic(name: &str) -> NicName {
    name.parse().expect("a name")
}

#[test]
fn an_empty_file_is_the_defaults() {
    assert_eq!(read(""), Ok(Settings::default()));
    assert_eq!(read("[ports]\nworkers = 0\n"), Ok(Settings::default()));
}

#[test]
fn everything_can_be_set() {
    let settings = read(
        "rules = \"/r\"\nsocket = \"/s\"\nstate_dir = \"/d\"\n[ports]\nlan = \
         \"eth1\"\nwan = 'eth0'\nio = \"netmap\"\nbusy_poll = true\nworkers = 4\nlan_prefixes = [\"10.1.2.3/8\", \
         \"::1\"]\npropagate_link = false\n[threads]\nshare_cores = true\nrealtime = 7\n[nics]\ntune \
         = false\nring = 512\ninterrupt_usecs = 0\nflow_control = true\n[memory]\nstates = 1_000\n[control]\nwrite_group = \"\"\nread_group = \"staff\"\n[history]\nentries = 5\n\
         mebibytes = 6\n[commit]\ncut_percent = 7\n[log]\npackets = \"/l\"\n[shell]\nidle_lock = 80\n",
    )
    .expect("valid");
    assert_eq!(
        settings,
        Settings {
            ports: Ports {
                lan: Some(nic("eth1")),
                wan: Some(nic("eth0")),
                io: Io::Netmap,
                busy_poll: true,
                workers: Some(4),
                lan_prefixes: vec![
                    "10.0.0.0/8".parse().expect("a prefix"),
                    "::1/128".parse().expect("a prefix"),
                ],
                wan_prefixes: Vec::new(),
                propagate_link: false,
            },
            threads: Threads { share_cores: true, realtime: Some(7) },
            nics: Nics { tune: false, ring: Some(512), interrupt_usecs: 0, flow_control: true },
            rules: "/r".into(),
            socket: "/s".into(),
            state_dir: "/d".into(),
            log: Log { packets: Packets::File("/l".into()), ..Log::default() },
            metrics: None,
            pflow: Pflow::default(),
            memory: Memory { states: 1000 },
            control: Control { write_group: String::new(), read_group: "staff".into() },
            history: History { entries: 5, mebibytes: 6 },
            commit: Commit { cut_percent: 7 },
            management: Management::default(),
            clock: Clock::default(),
            shell: Shell { idle_lock: 80 },
        }
    );
}

#[test]
fn ports_are_known_by_role_and_interface() {
    let settings = read("[ports]\nlan = \"eth1\"\nwan_prefixes = [\"::/0\"]\n").expect("valid");
    let [lan, wan] = settings.ports.prefixes().try_into().expect("two ports");
    assert_eq!((lan.names, lan.nets), (vec!["lan".into(), "eth1".into()], vec![]));
    assert_eq!(wan.names, ["wan"]);
    assert_eq!(wan.nets, ["::/0".parse().expect("a prefix")]);
}

#[test]
fn the_example_in_the_module_head_is_valid() {
    let head = include_str!("../settings.rs").lines().map_while(|line| line.strip_prefix("//!"));
    let example: Vec<_> = head
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .skip_while(|line| *line != "```toml")
        .skip(1)
        .take_while(|line| *line != "```")
        .collect();
    let settings = read(&example.join("\n")).expect("valid");
    let ports = Ports { lan: Some(nic("eth1")), wan: Some(nic("eth0")), ..Ports::default() };
    assert_eq!(settings, Settings { ports, ..Settings::default() });
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (text, message) in [
        ("rule = \"/x\"", "1:1: unknown key `rule`, did you mean `rules`?"),
        ("[port]\nlan = 'a'", "1:2: unknown section `port`, did you mean `ports`?"),
        ("[ports]\nlam = \"a\"", "2:1: unknown key `lam`, did you mean `lan`?"),
        ("io = \"xdp\"", "1:1: `io` belongs to the section [ports]"),
        ("[ports]\nrules = \"/x\"", "2:1: `rules` must stand before the first section"),
        ("log = \"/x\"", "1:1: `log` is a section: write `[log]`"),
        ("[ports]\nio = \"dpdk\"", "2:6: `io` must be one of auto, netmap, xdp, packet"),
        ("[ports]\nworkers = 2000", "2:11: `workers` must be a number from 0 to 1024"),
        ("[ports]\nworkers = \"two\"", "2:11: `workers` must be a number from 0 to 1024"),
        ("[ports]\nlan = 5", "2:7: `lan` must be a string, not integer"),
        ("[ports]\nlan = \"a b\"", "2:7: `a b` is no name of an interface"),
        (
            "[ports]\nlan_prefixes = \"10.0.0.0/8\"",
            "2:16: `lan_prefixes` must be a list of networks, as in [\"192.0.2.0/24\"]",
        ),
        (
            "[ports]\nwan_prefixes = [\"10.0.0.0/8\", \"10/8\"]",
            "2:31: `wan_prefixes`: a network is written as in \"192.0.2.0/24\"",
        ),
        ("[nics]\ntune = 1", "2:8: `tune` must be true or false"),
        ("[threads]\nrealtime = 100", "2:12: `realtime` must be a number from 0 to 99"),
        ("flow_control = true", "1:1: `flow_control` belongs to the section [nics]"),
        ("[ports]\nlan = 'pci:1'", "2:7: `pci:1` is no PCI path, as in pci:0000:01:00.0"),
        ("[memory]\nstates = 0", "2:10: `states` must be a number from 1 to 4294967295"),
        ("[control]\nread_group = \"a b\"", "2:14: `read_group` must be the name of a group"),
        ("[history]\nentries = 0", "2:11: `entries` must be a number from 1 to 10000"),
        ("[history]\nmegabytes = 1", "2:1: unknown key `megabytes`, did you mean `mebibytes`?"),
        ("[shell]\nidle_lock = 15", "2:13: `idle_lock` is 0, for never, or 16 or more"),
        ("[shell]\nidle_lock = 86401", "2:13: `idle_lock` must be a number from 0 to 86400"),
        ("[commit]\ncut_percent = 101", "2:15: `cut_percent` must be a number from 0 to 100"),
        ("ports = 1", "1:1: `ports` is a section: write `[ports]`"),
        ("rules = \"x\"", "1:9: `rules` must be a path from the root, as in \"/...\""),
    ] {
        assert_eq!(read(text), Err(format!("weir.toml:{message}\n")), "{text}");
    }
    let same = read("[ports]\nlan = 'pci:01:00.0'\nwan = 'pci:0000:01:00.0'").expect_err("two");
    assert!(same.contains("both `pci:0000:01:00.0`"), "{same}");
    let same = read("[ports]\nlan = 'a'\nwan = 'a'").expect_err("two ports");
    assert!(same.contains("`lan` and `wan` are both `a`"), "{same}");
    let broken = read("rules = \n[ports\n").expect_err("no TOML");
    assert!(broken.starts_with("weir.toml:1:"), "{broken}");
}

#[test]
fn all_errors_come_in_one_run() {
    let found = read("rule = 1\n[ports]\nlam = 2\nio = 3\n").expect_err("three errors");
    assert_eq!(found.lines().count(), 3, "{found}");
}
