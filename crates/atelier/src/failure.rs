//! What a command ends with when it does not do what it was told, for people: a sentence, what may help, and the
//! request to ask the server's log for.

use std::fmt;
use std::process::ExitCode;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hints: Vec<String>,
    request_id: Option<String>,
    /// The HTTP status, when the server refused.
    pub status: Option<u16>,
    /// The text code, when the server refused.
    pub code: Option<String>,
    pipe_closed: bool,
    exit_code: u8,
}

impl Failure {
    /// A failure with this sentence.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hints: Vec::new(),
            request_id: None,
            status: None,
            code: None,
            pipe_closed: false,
            exit_code: 1,
        }
    }

    /// The end of a command that ran elsewhere, and has said itself whatever there was to be said.
    pub(crate) fn ended_with(exit_code: u8) -> Self {
        Self::new("").exiting(exit_code)
    }

    /// With this exit code.
    #[must_use]
    pub(crate) const fn exiting(mut self, exit_code: u8) -> Self {
        self.exit_code = exit_code;
        self
    }

    /// The program's exit code.
    pub(crate) fn exit_code(&self) -> ExitCode {
        self.exit_code.into()
    }

    /// Whether there is nothing to be said.
    pub(crate) const fn is_silent(&self) -> bool {
        self.message.is_empty()
    }

    /// With something that may help.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// With the server's refusal: its HTTP status, text code and request.
    #[must_use]
    pub(crate) fn refused(mut self, status: u16, code: Option<String>, request_id: Option<String>) -> Self {
        self.status = Some(status);
        self.code = code;
        self.request_id = request_id;
        self
    }

    /// Whether the reader of our output went away: `atelier notebook list | head -1` has not failed.
    pub(crate) const fn is_closed_pipe(&self) -> bool {
        self.pipe_closed
    }

    /// Whether the server answered that the thing is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        self.status == Some(404)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(code) = &self.code {
            write!(f, " ({code})")?;
        }
        for hint in &self.hints {
            write!(f, "\nhint: {hint}")?;
        }
        self.request_id.iter().try_for_each(|id| write!(f, "\nrequest: {id}"))
    }
}

/// Writing the output failed.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        let pipe_closed = error.kind() == std::io::ErrorKind::BrokenPipe;
        Self { pipe_closed, ..Self::new(format!("the output cannot be written: {error}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_shows_its_code_its_hints_and_its_request() {
        let failure = Failure::new("notebook is STOPPED")
            .refused(400, Some("ModelArts.6327".into()), Some("r-1".into()))
            .hint("start it first");
        assert_eq!(failure.to_string(), "notebook is STOPPED (ModelArts.6327)\nhint: start it first\nrequest: r-1");
    }

    #[test]
    fn a_closed_pipe_is_told_apart_from_a_full_disk() {
        let closed = |kind| Failure::from(std::io::Error::from(kind)).is_closed_pipe();
        assert!(closed(std::io::ErrorKind::BrokenPipe));
        assert!(!closed(std::io::ErrorKind::StorageFull));
    }
}
