//! The kinds of values that keys take: how each is read from what was written.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use super::layer::Raw;

/// Any text but the empty one.
pub(super) fn text(raw: &Raw) -> Option<String> {
    match raw {
        Raw::Bare(text) | Raw::Text(text) if !text.is_empty() => Some(text.clone()),
        _ => None,
    }
}

/// A text in one line, of at most so many characters.
pub(super) fn line(most: usize) -> impl Fn(&Raw) -> Option<String> {
    move |raw| text(raw).filter(|text| text.chars().count() <= most && !text.chars().any(char::is_control))
}

/// A text that `T` can be read from.
pub(super) fn parsed<T: FromStr>(raw: &Raw) -> Option<T> {
    text(raw)?.parse().ok()
}

/// Yes or no.
pub(super) fn boolean(raw: &Raw) -> Option<bool> {
    match raw {
        Raw::Boolean(value) => Some(*value),
        Raw::Bare(text) => text.parse().ok(),
        _ => None,
    }
}

/// A whole number in `range`.
pub(super) fn integer<T: TryFrom<i64>>(range: std::ops::RangeInclusive<i64>) -> impl Fn(&Raw) -> Option<T> {
    move |raw| {
        let number = match raw {
            Raw::Integer(number) => *number,
            Raw::Bare(text) => text.parse().ok()?,
            _ => return None,
        };
        range.contains(&number).then(|| T::try_from(number).ok())?
    }
}

/// An absolute path.
pub(super) fn path(raw: &Raw) -> Option<PathBuf> {
    let path = PathBuf::from(text(raw)?);
    path.is_absolute().then_some(path)
}

/// A list; from the environment, its items are separated by commas.
pub(super) fn list<T>(item: impl Fn(&Raw) -> Option<T>) -> impl Fn(&Raw) -> Option<Vec<T>> {
    move |raw| match raw {
        Raw::List(items) => items.iter().map(|(raw, _)| item(raw)).collect(),
        Raw::Bare(text) => {
            text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(|t| item(&Raw::Bare(t.into()))).collect()
        }
        _ => None,
    }
}

/// One of these words.
pub(super) fn word<T: Copy>(words: &[(&'static str, T)]) -> impl Fn(&Raw) -> Option<T> {
    move |raw| {
        let text = text(raw)?;
        words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value)
    }
}

/// An IP address and port. A port alone (`:8080`) and `localhost:8080` are this machine's own address: what reaches
/// further has to be written out.
pub(super) fn socket_address(raw: &Raw) -> Option<SocketAddr> {
    let text = text(raw)?;
    let port = text.strip_prefix("localhost:").or_else(|| text.strip_prefix(':'));
    match port {
        Some(port) => Some((Ipv4Addr::LOCALHOST, port.parse().ok()?).into()),
        None => text.parse().ok(),
    }
}

/// An IPv4 network such as `10.0.0.0/8`.
pub(super) fn network(raw: &Raw) -> Option<String> {
    let text = text(raw)?;
    let (address, bits) = text.split_once('/')?;
    let address: Ipv4Addr = address.parse().ok()?;
    let bits: u32 = bits.parse().ok().filter(|bits| *bits <= 32)?;
    let host_part = u32::MAX.checked_shr(bits).unwrap_or(0);
    (u32::from(address) & host_part == 0).then_some(text)
}

/// `http://` or `https://`, a host, maybe a port; nothing after it. A closing slash is dropped.
pub(super) fn base_url(raw: &Raw) -> Option<String> {
    let text = text(raw)?;
    let url = text.strip_suffix('/').unwrap_or(&text);
    let authority = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
    let parsed: http::uri::Authority = authority.parse().ok()?;
    let host_only = !authority.contains('@') && !parsed.host().is_empty();
    let port_is_right = parsed.port().is_none() || parsed.port_u16().is_some_and(|port| port > 0);
    (host_only && port_is_right && !authority.ends_with(':')).then(|| url.to_owned())
}

/// A host name in lower case, without port.
pub(super) fn host_name(raw: &Raw) -> Option<String> {
    let text = text(raw)?;
    let label_ok = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    (text.len() <= 200 && text.split('.').all(label_ok) && text.parse::<IpAddr>().is_err()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(text: &str) -> Raw {
        Raw::Bare(text.into())
    }

    #[test]
    fn the_environment_may_write_any_type_as_text_but_a_file_may_not() {
        assert_eq!(integer::<u32>(1..=9)(&bare("7")), Some(7));
        assert_eq!(integer::<u32>(1..=9)(&Raw::Integer(7)), Some(7));
        assert_eq!(integer::<u32>(1..=9)(&Raw::Text("7".into())), None);
        assert_eq!(boolean(&bare("true")), Some(true));
        assert_eq!(boolean(&Raw::Text("true".into())), None);
        assert_eq!(list(parsed::<Ipv4Addr>)(&bare("1.1.1.1, 9.9.9.9")).map(|l| l.len()), Some(2));
    }

    #[test]
    fn numbers_end_at_their_bounds() {
        for (number, fits) in [(0, false), (1, true), (9, true), (10, false)] {
            assert_eq!(integer::<u32>(1..=9)(&Raw::Integer(number)).is_some(), fits, "{number}");
        }
        assert_eq!(integer::<u8>(0..=i64::MAX)(&Raw::Integer(256)), None);
    }

    #[test]
    fn a_port_alone_listens_on_this_machine_only() {
        let read = |text| socket_address(&bare(text)).map(|a| a.to_string());
        for text in [":8080", "localhost:8080", "127.0.0.1:8080"] {
            assert_eq!(read(text).as_deref(), Some("127.0.0.1:8080"));
        }
        assert_eq!(read("[::]:0").as_deref(), Some("[::]:0"));
        for bad in ["8080", "127.0.0.1", ":", "example.com:80", ":65536"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn networks_have_an_empty_host_part() {
        for good in ["10.0.0.0/8", "0.0.0.0/0", "192.168.7.0/24", "1.2.3.4/32"] {
            assert!(network(&bare(good)).is_some(), "{good}");
        }
        for bad in ["10.0.0.1/8", "10.0.0.0", "10.0.0.0/33", "::/0", "x/8"] {
            assert!(network(&bare(bad)).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_base_url_is_scheme_host_and_port_alone() {
        assert_eq!(base_url(&bare("https://nb.example.com/")).as_deref(), Some("https://nb.example.com"));
        assert_eq!(base_url(&bare("http://127.0.0.1:8080")).as_deref(), Some("http://127.0.0.1:8080"));
        for bad in [
            "nb.example.com",
            "ftp://x",
            "http://",
            "http://a/b",
            "http://u:p@a",
            "http://a:0",
            "http://a:",
            "http://a?b",
        ] {
            assert_eq!(base_url(&bare(bad)), None, "{bad}");
        }
    }

    #[test]
    fn host_names_are_lower_case_labels() {
        for good in ["localhost", "nb.example.com", "a-1.b"] {
            assert!(host_name(&bare(good)).is_some(), "{good}");
        }
        for bad in ["", "Example.com", "a..b", "-a", "a:80", "*.x", "10.0.0.1", "a b"] {
            assert!(host_name(&bare(bad)).is_none(), "{bad}");
        }
    }
}
