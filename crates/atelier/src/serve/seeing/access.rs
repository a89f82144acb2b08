//! The access log: one line for each request of an API, with everything that is known of it and nothing secret.
//!
//! What failed on our side is a warning, what was refused or changes something is information, and what only reads is for
//! those who look closer: a hundred people's pages that ask for a status every second would bury the rest. The target is
//! `atelier::access`, so that a filter can tell these lines apart. The path has no query, because tokens travel there.

use http::StatusCode;

use super::Arrival;

/// One event at a level that is known when it is compiled, as the macros want it.
macro_rules! line {
    ($level:ident, $arrival:ident, $status:ident, $bytes:ident) => {{
        let docket = &$arrival.docket;
        let sender = docket.sender();
        let refusal = docket.refusal();
        tracing::$level!(
            target: "atelier::access",
            request_id = %docket.request_id(),
            operation = docket.operation().map_or("-", |name| &**name),
            method = %$arrival.method,
            path = $arrival.path,
            status = $status.as_u16(),
            code = refusal.map(|(code, _)| code),
            micros = u64::try_from($arrival.began.elapsed().as_micros()).unwrap_or(u64::MAX),
            bytes = $bytes,
            user = sender.map(|sender| sender.user_name.as_str()),
            user_id = sender.map(|sender| sender.user_id.as_str()),
            credential = sender.map(|sender| sender.source.credential.kind()),
            peer = %$arrival.peer,
            "{}",
            refusal.map_or("answered", |(_, words)| words)
        );
    }};
}

/// Writes the line.
pub(super) fn log(arrival: &Arrival, status: StatusCode, bytes: Option<u64>) {
    if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED {
        line!(warn, arrival, status, bytes);
    } else if status.is_client_error() || arrival.changes_something() {
        line!(info, arrival, status, bytes);
    } else {
        line!(debug, arrival, status, bytes);
    }
}
