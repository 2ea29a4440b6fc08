//! Who has put rules in force.

use std::fs;

/// Who has put rules in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Author {
    /// The start of the daemon.
    Start,
    /// SIGHUP.
    Hangup,
    /// A user of the control socket, by its id.
    User(u32),
}

impl Author {
    /// The user's id.
    pub const fn uid(&self) -> Option<u32> {
        match self {
            Self::User(uid) => Some(*uid),
            Self::Start | Self::Hangup => None,
        }
    }

    /// The name of the user, as this machine's own list of users has it; `uid 1000` if it does not.
    pub fn name(&self) -> String {
        match self {
            Self::Start => "start".into(),
            Self::Hangup => "SIGHUP".into(),
            Self::User(uid) => {
                let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
                name_in(&users, *uid).unwrap_or_else(|| format!("uid {uid}"))
            }
        }
    }
}

/// A user's name in the lines of passwd(5).
fn name_in(users: &str, uid: u32) -> Option<String> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::name_in;

    #[test]
    fn users_are_called_by_name() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbroken\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(name_in(users, 0).as_deref(), Some("root"));
        assert_eq!(name_in(users, 1000).as_deref(), Some("ann"));
        assert_eq!(name_in(users, 7), None);
    }
}
