//! What a person is asked before a command is done that few mean: by what its flags ask for, whether
//! they were typed or a command in words stands for them.

use crate::options::{FlushWhat, Options};
use crate::query::prefix;

/// The question that stands before what these flags do.
pub(super) fn before(options: &Options) -> Option<&'static str> {
    const BLOCKS: &str = "Without rules EVERYTHING IS BLOCKED that no state lets pass.";
    const CUTS: &str = "All connections are cut.";
    if options.no_action {
        return None;
    }
    if options.disable.is_some() {
        return Some("EVERYTHING PASSES, unjudged, until the time is over.");
    }
    match options.flush {
        Some(FlushWhat::Rules | FlushWhat::All) if options.anchor.is_empty() => Some(BLOCKS),
        Some(FlushWhat::States) => Some(CUTS),
        _ => kills_all(&options.kill).then_some(CUTS),
    }
}

/// Whether the hosts of `-k` are all there are.
fn kills_all(hosts: &[String]) -> bool {
    let everybody = |host: &String| prefix(host).is_ok_and(|net| net.prefix_len() == 0);
    !hosts.is_empty() && hosts.iter().all(everybody)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(line: &str) -> bool {
        let options = Options::parse(line.split_whitespace().map(Into::into)).unwrap();
        before(&options).is_some()
    }

    #[test]
    fn what_hits_everybody_is_asked_about() {
        for line in [
            "-d",
            "-d60",
            "-Fa",
            "-F rules",
            "-F states -i wan",
            "-vFs",
            "-k 0.0.0.0/0",
            "-k ::/0",
            "-k 0/0 -k 0/0",
        ] {
            assert!(asks(line), "{line}");
        }
        for line in [
            "-sr",
            "-e",
            "-F info",
            "-a web -F rules",
            "-nf /etc/weir/weir.conf",
            "-k 192.0.2.1",
            "-k 0.0.0.0/0 -k 192.0.2.1",
            "-k label -k web",
            "-t bad -T flush",
        ] {
            assert!(!asks(line), "{line}");
        }
    }
}
