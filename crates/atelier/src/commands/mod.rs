//! What the commands do. Each is found by its name in [`crate::args`].

pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod catalogue;
pub(crate) mod change;
pub(crate) mod configuration;
pub(crate) mod cp;
pub(crate) mod delete;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod hello;
pub(crate) mod hooks;
pub(crate) mod key;
pub(crate) mod keypair;
pub(crate) mod login;
pub(crate) mod logs;
pub(crate) mod lookup;
pub(crate) mod notebook;
pub(crate) mod open;
pub(crate) mod operations;
pub(crate) mod serve;
pub(crate) mod top;
pub(crate) mod user;
pub(crate) mod volume;
pub(crate) mod wait;
pub(crate) mod why;

use std::net::TcpListener;
use std::sync::Arc;

use serde_json::Value;

use crate::failure::Failure;
use crate::places::Surroundings;
use crate::printer::Printer;

/// What every command works with.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// Where words go.
    pub printer: Printer,
    /// This machine.
    pub surroundings: Surroundings,
    /// The listening socket that was handed to `atelier serve`, when one was.
    pub door: Option<Arc<TcpListener>>,
}

/// Reads a record of the API.
pub(crate) fn record<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, Failure> {
    serde_json::from_value(value.clone())
        .map_err(|e| Failure::new(format!("the server answered in a way that this version does not know: {e}")))
}

/// Text as it may stand in a path or query of a URL.
pub(crate) fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_plain_is_percent_encoded() {
        assert_eq!(encoded("a-b_C.9~"), "a-b_C.9~");
        assert_eq!(encoded("a b/ü&"), "a%20b%2F%C3%BC%26");
    }
}
