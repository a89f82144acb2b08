//! Taking the token out of a query, and nothing else: every other byte of the request's target passes unchanged.

/// A query without its tokens, and the tokens.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Split {
    /// What is left; `None` when there was no query or nothing is left of it.
    pub(crate) rest: Option<String>,
    /// The values of every parameter `token`, decoded. Empty ones are none.
    pub(crate) tokens: Vec<Vec<u8>>,
}

/// Splits the tokens from a query. A name that only decodes to `token` counts: the server behind would read it so.
pub(crate) fn split_tokens(query: Option<&str>) -> Split {
    let Some(query) = query else { return Split::default() };
    let (mut rest, mut tokens) = (Vec::new(), Vec::new());
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if decode(name) == b"token" {
            tokens.push(decode(value));
        } else {
            rest.push(pair);
        }
    }
    if tokens.is_empty() {
        return Split { rest: Some(query.to_owned()), tokens };
    }
    tokens.retain(|t| !t.is_empty());
    Split { rest: (!rest.is_empty()).then(|| rest.join("&")), tokens }
}

/// Decodes one name or value of a form-encoded query. What is no escape stands for itself.
fn decode(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut left = text.as_bytes();
    while let [first, after @ ..] = left {
        left = after;
        match (first, escape(after)) {
            (b'%', Some(byte)) => {
                out.push(byte);
                left = &after[2..];
            }
            (b'+', _) => out.push(b' '),
            (other, _) => out.push(*other),
        }
    }
    out
}

/// The byte that two leading hexadecimal digits stand for.
fn escape(text: &[u8]) -> Option<u8> {
    let [high, low, ..] = text else { return None };
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    Some(digit(*high)? * 16 + digit(*low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(query: &str) -> (Option<String>, Vec<String>) {
        let split = split_tokens(Some(query));
        (split.rest, split.tokens.into_iter().map(|t| String::from_utf8(t).unwrap()).collect())
    }

    #[test]
    fn only_tokens_are_taken_out() {
        for (query, rest, tokens) in [
            ("token=abc", None, &["abc"][..]),
            ("a=1&token=abc&b=%2F%2f", Some("a=1&b=%2F%2f"), &["abc"]),
            ("token=a&token=b&x", Some("x"), &["a", "b"]),
            ("%74ok%65n=a%2Bb+c&x=1", Some("x=1"), &["a+b c"]),
            ("token=&x=1", Some("x=1"), &[]),
            ("token", None, &[]),
            ("a&&b=%zz&c=%4", Some("a&&b=%zz&c=%4"), &[]),
            ("tokens=1&Token=2&x.token=3", Some("tokens=1&Token=2&x.token=3"), &[]),
            ("", Some(""), &[]),
            ("token=%zz%", None, &["%zz%"]),
        ] {
            let (left, found) = split(query);
            assert_eq!(
                (left.as_deref(), found.as_slice()),
                (rest, &tokens.iter().map(ToString::to_string).collect::<Vec<_>>()[..]),
                "{query}"
            );
        }
        assert_eq!(split_tokens(None), Split::default());
    }
}
