//! `weir capture` on the running firewall, read by tcpdump, and `weir replay` of what it wrote.

use std::path::Path;
use std::time::Duration;

use weir_tests::lab::{Family, Io, Lab, Output, Process, Weir, WeirOptions, binary};

use crate::on_every_port;

on_every_port! {
    what_passes_is_captured_with_verdicts_and_can_be_replayed
}

const RULES: &str = "block in log on wan\npass in on lan label \"out\"\n";

/// How long a capture of packets that come may take to end.
const LIMIT: Duration = Duration::from_secs(20);

fn weir(arguments: &[&str], file: &Path) -> Output {
    Output::of(std::process::Command::new(binary()).args(arguments).arg(file))
}

fn what_passes_is_captured_with_verdicts_and_can_be_replayed(io: Io, family: Family) {
    let lab = Lab::new();
    let weir_run = Weir::start(&lab, &WeirOptions::new(io, RULES));
    // Two ways to say the same, by which the log tells that both have begun.
    let [written, printed] = match family {
        Family::Inet => [
            "inet proto icmp icmp-type { echoreq, echorep }",
            "inet proto icmp icmp-type { echorep, echoreq }",
        ],
        Family::Inet6 => [
            "inet6 proto icmp6 icmp6-type { echoreq, echorep }",
            "inet6 proto icmp6 icmp6-type { echorep, echoreq }",
        ],
    };
    let socket = weir_run.socket().to_string_lossy().into_owned();
    let file = lab.folder().join("ping.pcapng");
    let capture = |more: &[&str], ping: &str| {
        let mut command = lab.firewall.command(&binary().to_string_lossy());
        command.args(["capture", "--socket", &socket, "-c", "4"]).args(more).arg(ping);
        Process::start(&mut command)
    };
    let mut writing = capture(&["-w", &file.to_string_lossy()], written);
    let mut printing = capture(&[], printed);
    weir_run.wait_log(&format!("begins to capture {written}"));
    weir_run.wait_log(&format!("begins to capture {printed}"));
    for _ in 0..2 {
        assert!(lab.pings(family));
    }
    let (status, said) = writing.finish(LIMIT);
    assert!(status.success(), "{said}");
    let (status, said) = printing.finish(LIMIT);
    assert!(status.success(), "{said}");
    let wanted = [
        "rule 1 \"out\": pass in on lan: ",
        " out on wan: ",
        "rule 1 \"out\": pass in on wan: ",
        " out on lan: ",
    ];
    // What it says on standard error may come before or behind the packets.
    let packets: Vec<_> = said.lines().filter(|line| line.contains("echo re")).collect();
    assert_eq!(packets.len(), wanted.len(), "{said}");
    for (line, wanted) in packets.into_iter().zip(wanted) {
        assert!(line.contains(wanted), "{said}");
    }

    let read = Output::of(std::process::Command::new("tcpdump").args(["-n", "-r"]).arg(&file));
    let echoes = read.stdout.lines().filter(|line| line.contains("echo re")).count();
    assert_eq!(echoes, 4, "{}{}", read.stdout, read.stderr);

    let rules = lab.folder().join("weir.conf");
    let settings = lab.folder().join("weir.toml");
    let arguments = [
        "replay",
        "--rules",
        &rules.to_string_lossy(),
        "--config",
        &settings.to_string_lossy(),
        "-v",
        "--read",
    ];
    let told = weir(&arguments, &file).expect_success();
    assert!(told.contains("replayed: 2 packets of "), "{told}");
    assert!(told.contains("verdicts: pass 2\n"), "{told}");
    assert!(told.contains("2 frames were sent and did not arrive: left out"), "{told}");
}
