//! Log lines: to stderr, as text or as JSON, each saying so when nothing really runs.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Config, LogFormat};
use atelier_runtime::RuntimeKind;

/// Sends log lines to stderr from now on.
pub(crate) fn start(config: &Config) {
    let filter = config.server.log_level.clone();
    let simulated = config.runtime == RuntimeKind::Simulated;
    // A second start in one process keeps the first subscriber.
    let _ = match config.server.log_format {
        LogFormat::Text => text(&filter, simulated, || Unbroken).try_init(),
        LogFormat::Json => json(&filter, simulated, || Unbroken).try_init(),
    };
}

fn text<W>(filter: &str, simulated: bool, writer: W) -> impl Subscriber + Send + Sync + use<W>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let format = Named { inner: Format::default(), simulated };
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).event_format(format).with_writer(writer).finish()
}

fn json<W>(filter: &str, simulated: bool, writer: W) -> impl Subscriber + Send + Sync + use<W>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let format = Named { inner: Format::default().json().flatten_event(true), simulated };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .fmt_fields(JsonFields::new())
        .event_format(format)
        .with_writer(writer)
        .finish()
}

/// Standard error, whose loss loses log lines and nothing else.
struct Unbroken;

impl std::io::Write for Unbroken {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _ = std::io::Write::write_all(&mut std::io::stderr().lock(), bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A format that names the runtime in every line when it is the simulated one.
struct Named<F> {
    inner: F,
    simulated: bool,
}

impl<S, N> FormatEvent<S, N> for Named<Format<Full>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if self.simulated {
            writer.write_str("[simulated runtime] ")?;
        }
        self.inner.format_event(context, writer, event)
    }
}

impl<S, N> FormatEvent<S, N> for Named<Format<Json>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        match line.strip_prefix('{') {
            Some(rest) if self.simulated => write!(writer, "{{\"runtime\":\"simulated\",{rest}"),
            _ => writer.write_str(&line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, simulated: bool) -> String {
        let sink = Sink::default();
        let writer = {
            let sink = sink.clone();
            move || sink.clone()
        };
        let log = || tracing::info!(notebook = "n-1", "stopping notebook n-1");
        match format {
            LogFormat::Text => tracing::subscriber::with_default(text("info", simulated, writer), log),
            LogFormat::Json => tracing::subscriber::with_default(json("info", simulated, writer), log),
        }
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn every_line_of_the_simulated_runtime_says_so() {
        assert!(logged(LogFormat::Text, true).starts_with("[simulated runtime] "));
        assert!(!logged(LogFormat::Text, false).contains("simulated"));
        let line: serde_json::Value = serde_json::from_str(&logged(LogFormat::Json, true)).unwrap();
        assert_eq!(line["runtime"], "simulated");
        assert_eq!((&line["notebook"], &line["message"]), (&"n-1".into(), &"stopping notebook n-1".into()));
        let line: serde_json::Value = serde_json::from_str(&logged(LogFormat::Json, false)).unwrap();
        assert_eq!(line.get("runtime"), None);
    }
}
