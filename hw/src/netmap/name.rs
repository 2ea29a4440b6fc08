//! Names of netmap ports that are no interfaces of the kernel.

/// Whether `name` is a pipe (`name{N` or `name}N`, its two ends) or a port of a VALE switch
/// (`valeX:Y`): netmap makes these itself, and nothing else of the kernel knows them.
pub fn is_virtual(name: &str) -> bool {
    is_pipe(name) || is_vale(name)
}

fn is_pipe(name: &str) -> bool {
    name.rsplit_once(['{', '}']).is_some_and(|(parent, number)| {
        !parent.is_empty()
            && !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
            && (!parent.contains([':', '{', '}']) || is_vale(parent))
    })
}

fn is_vale(name: &str) -> bool {
    name.strip_prefix("vale").and_then(|rest| rest.split_once(':')).is_some_and(|(switch, port)| {
        switch.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && !port.is_empty()
            && !port.contains([':', '{', '}'])
    })
}

#[cfg(test)]
mod tests {
    use super::is_virtual;

    #[test]
    fn pipes_and_vale_ports_are_told_from_interfaces() {
        for name in ["eth0{1", "eth0}12", "x{0", "vale0:a", "vale:a", "vale1_b:eth0", "vale0:a{1"] {
            assert!(is_virtual(name), "{name}");
        }
        for name in
            ["eth0", "vale0", "valet", "eth0:1", "{1", "eth0{", "eth0{1a", "vale0:", "a{1}2"]
        {
            assert!(!is_virtual(name), "{name}");
        }
    }
}
