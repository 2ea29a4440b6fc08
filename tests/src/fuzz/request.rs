//! Lines of the control protocol, and the words of a command line: whatever comes is understood as one
//! thing only, or refused; nothing is read as more than it says.

use weir_shell::options::Options;
use weir_shell::protocol::{Command, MAX_SORTED, Reply, Request, VERSION};
use weir_shell::query;

use super::Summary;

/// Reads each line of the input as a request, as an answer and as criteria. What is understood counts as
/// passed, what is refused as dropped. The memory is left alone.
pub fn request(_memory: &'static mut [u8], input: &[u8]) -> Summary {
    let mut seen = Summary::default();
    for line in input.split(|&byte| byte == b'\n') {
        match Request::read(line) {
            Ok(command) => {
                seen.passed += 1;
                reads_the_same(command);
            }
            Err(text) => {
                seen.dropped += 1;
                assert!(!text.is_empty(), "a refusal says why");
            }
        }
        if let Ok(reply) = serde_json::from_slice::<Reply>(line) {
            let again = serde_json::to_vec(&reply).expect("what was read can be written");
            assert_eq!(serde_json::from_slice::<Reply>(&again).ok(), Some(reply));
        }
        if let Ok(text) = std::str::from_utf8(line) {
            let words: Vec<String> = text.split_whitespace().map(Into::into).collect();
            if let Ok(query) = query::states(&words) {
                assert!(query.sort.is_none() || query.most() <= Some(MAX_SORTED));
                reads_the_same(Command::States(query));
            }
            if let Ok(query) = query::sources(&words) {
                reads_the_same(Command::Sources(query));
            }
            // It may be anything but a panic.
            let _ = Options::parse(words.into_iter().map(Into::into));
        }
    }
    seen
}

/// A command that is written and read is the same, and may do the same.
fn reads_the_same(command: Command) {
    let changes = command.changes();
    let request = Request { version: VERSION, command };
    let line = serde_json::to_vec(&request).expect("what was read can be written");
    assert!(!line.contains(&b'\n'), "a request is one line");
    let again = Request::read(&line).expect("it was a request before");
    assert_eq!(again.changes(), changes);
    assert_eq!(again, request.command);
}
