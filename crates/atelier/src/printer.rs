//! Where words go: results on stdout, everything else on stderr.

use std::io::{IsTerminal, Write};

use serde_json::Value;

use crate::args::{Format, Global};
use crate::failure::Failure;

/// Somebody else's words, without what a terminal would obey.
pub(crate) fn plain(text: &str) -> String {
    text.replace(char::is_control, "?")
}

/// Prints results, news and errors, as loudly as was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printer {
    quiet: bool,
    format: Format,
    /// Somebody looks at stderr: progress may move.
    pub lively: bool,
    colour: bool,
}

impl Printer {
    /// A printer for this command line and this terminal.
    pub(crate) fn new(global: Global) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            quiet: global.quiet,
            format: global.output,
            lively: terminal && !global.quiet,
            colour: terminal && !no_colour,
        }
    }

    /// Whether only results and errors are wanted.
    pub(crate) const fn is_quiet(self) -> bool {
        self.quiet
    }

    /// How results are printed.
    pub(crate) const fn format(self) -> Format {
        self.format
    }

    /// One result: the record itself for programs, `text` for people.
    pub(crate) fn result(self, record: &Value, text: impl FnOnce() -> String) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.line(&format!("{record:#}")),
            Format::Table => self.line(&text()),
        }
    }

    /// A line of results.
    #[expect(clippy::unused_self, reason = "all words of a command go through its printer")]
    pub(crate) fn line(self, text: &str) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", text.trim_end())?;
        Ok(out.flush()?)
    }

    /// Bytes of results, as they come.
    #[expect(clippy::unused_self, reason = "all words of a command go through its printer")]
    pub(crate) fn bytes(self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes)?;
        Ok(out.flush()?)
    }

    /// News for people.
    pub(crate) fn say(self, text: &str) {
        if !self.quiet {
            // Nobody is left to tell when stderr is closed.
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        }
    }

    /// An error, also to the quiet.
    pub(crate) fn error(self, text: &str) {
        let label = if self.colour { "\u{1b}[1;31merror:\u{1b}[0m" } else { "error:" };
        let _ = writeln!(std::io::stderr().lock(), "{label} {text}");
    }
}
