//! What becomes of a command that was understood.

use super::resolve::Resolved;

/// The words of a command line of `weir`, as [`super::tree::Action`] writes them.
///
/// `file` tells the path behind `%rules` or `%settings`.
pub(crate) fn arguments<E>(
    line: &str,
    socket: &str,
    found: &Resolved,
    mut file: impl FnMut(&str) -> Result<String, E>,
) -> Result<Vec<String>, E> {
    let mut words = Vec::new();
    for word in line.split(' ') {
        if word == "@" {
            words.extend(["--socket".to_owned(), socket.to_owned()]);
        } else if let Some(name) = word.strip_prefix('$') {
            words.extend(found.all(name).map(str::to_owned));
        } else if let Some(name) = word.strip_prefix('%') {
            words.push(file(name)?);
        } else {
            words.push(word.to_owned());
        }
    }
    Ok(words)
}
