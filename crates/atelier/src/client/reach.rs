//! How a server is reached: by which address, on which machine, and whose word on its certificate counts.

use std::net::IpAddr;
use std::path::Path;

use crate::failure::Failure;

/// A way to a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    /// Its address, without a slash at its end.
    pub(crate) url: String,
    /// Where the host in that address is found, when not by asking for its name.
    pub(crate) at: Option<IpAddr>,
    /// Roots to trust besides the usual ones, in PEM.
    pub(crate) ca_certificate: Option<String>,
}

impl Reach {
    /// By an address alone.
    pub(crate) fn to(url: &str) -> Self {
        Self { url: url.trim_end_matches('/').to_owned(), ..Self::default() }
    }

    /// With these roots trusted, too.
    pub(crate) fn trusting(mut self, more: Option<&str>) -> Self {
        if let Some(more) = more {
            let known = self.ca_certificate.get_or_insert_default();
            known.push_str(more);
            known.push('\n');
        }
        self
    }
}

/// The roots in a file that somebody named.
pub(crate) fn read_roots(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|e| {
        Failure::new(format!("the file with certificates to trust, {}, cannot be read: {e}", path.display()))
    })
}
