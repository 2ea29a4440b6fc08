//! What translation costs long transfers: the same rule with `keep state` and with `synproxy state`,
//! in turn, in the same lab and the same process.

use serde_json::Value;
use weir_tests::lab::{Family, Io, Lab, Weir, WeirOptions, eventually};

/// Rules whose rates are compared.
const RULES: [&str; 2] =
    ["pass\npass proto tcp keep state\n", "pass\npass proto tcp synproxy state\n"];
/// Numbers of streams.
pub(crate) const STREAMS: [u32; 2] = [1, 8];

/// Gbit/s by number of streams, then by rule.
pub(crate) type Rates = [[f64; 2]; 2];

/// Measures all rates once.
pub(crate) fn run(io: Io, seconds: u32) -> Rates {
    let lab = Lab::new();
    let weir = Weir::start(&lab, &WeirOptions::new(io, RULES[0]));
    eventually("a ping passes", || lab.pings(Family::Inet));
    let file = lab.folder().join("rules.conf");
    let file = file.to_string_lossy();
    STREAMS.map(|streams| {
        RULES.map(|rules| {
            std::fs::write(&*file, rules).expect("our folder");
            weir.show(&["-f", &file]);
            gigabits(&lab, seconds, streams)
        })
    })
}

fn gigabits(lab: &Lab, seconds: u32, streams: u32) -> f64 {
    let server = lab.server.namespace.start(&["iperf3", "-s", "-1", "--forceflush"]);
    server.wait_line("Server listening");
    let to = lab.server.inet.to_string();
    let [seconds, streams] = [seconds, streams].map(|number| number.to_string());
    let command = ["iperf3", "-J", "-c", &to, "-t", &seconds, "-P", &streams];
    let said = lab.client.run(&command).expect_success();
    let report: Value = serde_json::from_str(&said).expect("iperf3 -J prints JSON");
    report["end"]["sum_received"]["bits_per_second"].as_f64().expect("iperf3's report") / 1e9
}
