//! The sections about what can be seen of the server: figures, traces, the audit.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::kinds;
use super::reader::Reader;

/// `[metrics]`, `[traces]`, `[audit]`
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Seeing {
    /// Where figures are given to everybody who connects, if anywhere.
    pub metrics_listen: Option<SocketAddr>,
    /// Where spans are sent, if anywhere.
    pub traces_endpoint: Option<String>,
    /// Headers that go with them: what the receiver wants to be shown.
    pub traces_headers: BTreeMap<String, String>,
    /// Days that records of the audit are kept; 0 for ever.
    pub audit_keep_days: u32,
}

impl std::fmt::Debug for Seeing {
    /// The values of the headers are left out: they are credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seeing")
            .field("metrics_listen", &self.metrics_listen)
            .field("traces_endpoint", &self.traces_endpoint)
            .field("traces_headers", &self.traces_headers.keys())
            .field("audit_keep_days", &self.audit_keep_days)
            .finish()
    }
}

pub(super) fn read(reader: &mut Reader) -> Seeing {
    Seeing {
        metrics_listen: reader.read("metrics.listen", None, "an address such as 127.0.0.1:9464", |raw| {
            kinds::socket_address(raw).map(Some)
        }),
        traces_endpoint: reader.read("traces.endpoint", None, "an address such as http://127.0.0.1:4318", |raw| {
            kinds::base_url(raw).map(Some)
        }),
        traces_headers: reader.read_table("traces.headers", "the name of a header and a text", is_header_name),
        audit_keep_days: reader.read(
            "audit.keep_days",
            400,
            "a whole number of days, 1 to 36500, or 0 for ever",
            kinds::integer(0..=36_500),
        ),
    }
}

fn is_header_name(name: &str) -> bool {
    http::HeaderName::try_from(name).is_ok()
}
