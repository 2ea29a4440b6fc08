//! What becomes of a command that was understood.

use super::resolve::Resolved;

/// The words of a command line of `weir`, as [`super::tree::Action`] writes them.
pub(crate) fn arguments(line: &str, socket: &str, found: &Resolved) -> Vec<String> {
    let mut words = Vec::new();
    for word in line.split(' ') {
        if word == "@" {
            words.extend(["--socket".to_owned(), socket.to_owned()]);
        } else if let Some(name) = word.strip_prefix('$') {
            words.extend(found.all(name).map(str::to_owned));
        } else {
            words.push(word.to_owned());
        }
    }
    words
}
