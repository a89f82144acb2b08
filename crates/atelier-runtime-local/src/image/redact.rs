//! Addresses may carry a user and a password; nothing that people or tenants read does.

/// The address without its user and password.
pub(super) fn without_user(address: &str) -> String {
    match user_of(address) {
        Some((start, end)) => format!("{}{}", &address[..start], &address[end..]),
        None => address.to_owned(),
    }
}

/// Whether the address carries a user or a password.
pub(super) fn has_user(address: &str) -> bool {
    user_of(address).is_some()
}

/// The text with every address in it shorn of its user and password.
pub(super) fn line(text: &str) -> String {
    text.split_inclusive(char::is_whitespace).map(without_user).collect()
}

/// Where `user:password@` begins and ends.
fn user_of(address: &str) -> Option<(usize, usize)> {
    let start = address.find("://")? + 3;
    let authority = address[start..].split(['/', '?', '#']).next()?;
    authority.rfind('@').map(|at| (start, start + at + 1))
}

/// The host part of an address, without its port.
pub(super) fn host_of(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let place = authority.rsplit('@').next().unwrap_or_default();
    match place.strip_prefix('[') {
        Some(inner) => inner.split(']').next().unwrap_or_default(),
        None => place.split(':').next().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_are_cut_out_of_a_line() {
        let said = "Err:1 http://me:p@ss@mirror.example/debian bookworm  403\n";
        assert_eq!(line(said), "Err:1 http://mirror.example/debian bookworm  403\n");
        assert_eq!(line("pip asked https://index.example/a@b/simple"), "pip asked https://index.example/a@b/simple");
    }

    #[test]
    fn the_host_is_found_in_every_form() {
        for (address, host) in [
            ("http://me:x@proxy.example:3128/", "proxy.example"),
            ("http://[::1]:3128", "::1"),
            ("proxy.example:3128", "proxy.example"),
            ("https://index.example/simple", "index.example"),
        ] {
            assert_eq!(host_of(address), host, "{address}");
        }
    }
}
