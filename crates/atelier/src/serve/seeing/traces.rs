//! Spans for OpenTelemetry, sent as OTLP over HTTP in its JSON form to one configured receiver.
//!
//! The tree is small and known: a request, its commits, the operation that it asked for, the steps of that. A request's id
//! is 32 hexadecimal digits, which is what a trace's id is; so the trace *is* the request's id, unless the caller brought
//! a trace of its own (W3C `traceparent`), and is the same after a restart, when an operation goes on that a former process
//! began. Every span has the request's id as an attribute too, which links both cases.
//!
//! Why not the SDK: its exporter, its span processor and the bridge from `tracing` are a dozen crates more. All that is
//! wanted here is to write down moments that are known when they end; OTLP's JSON is a documented, stable form.
//!
//! Telling costs a message into a bounded queue. When the receiver is slow or gone, spans are dropped and counted; nobody
//! waits for it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use atelier_core::observe::{OperationSeen, StepResult, StepSeen};
use atelier_core::operation::OperationState;
use atelier_core::{Clock, Entropy};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::{Arrival, Metrics};

/// Spans that wait to be sent.
const QUEUE: usize = 4096;
/// Spans in one request.
const BATCH: usize = 512;
/// How long the first of them waits for others.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the receiver may take.
const LIMIT: Duration = Duration::from_secs(5);
/// Foreign traces that are remembered.
const MOST_TRACES: usize = 4096;

/// Where spans go.
pub(in crate::serve) struct Receiver {
    pub(in crate::serve) endpoint: String,
    pub(in crate::serve) headers: BTreeMap<String, String>,
    pub(in crate::serve) runtime: &'static str,
}

/// Makes spans.
pub(in crate::serve) struct Tracer {
    queue: mpsc::Sender<Message>,
    foreign: Mutex<Foreign>,
    entropy: Arc<dyn Entropy>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

enum Message {
    Span(Value),
    Flush(oneshot::Sender<()>),
}

/// Traces that callers brought, by request; the oldest are forgotten.
#[derive(Default)]
struct Foreign {
    by_request: HashMap<Arc<str>, Parent>,
    order: VecDeque<Arc<str>>,
}

/// A caller's span.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parent {
    trace: String,
    span: String,
    sampled: bool,
}

/// One span, before it has an id.
struct Span<'a> {
    id: String,
    name: &'a str,
    parent: Option<String>,
    /// As a server sees it, or inside.
    server: bool,
    began: i128,
    ended: i128,
    failed: Option<&'a str>,
    attributes: Vec<(&'static str, Value)>,
}

impl Tracer {
    /// A tracer that sends to `receiver` from now on. Needs a tokio runtime.
    pub(in crate::serve) fn start(
        receiver: Receiver,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Arc<Self>, reqwest::Error> {
        let (queue, messages) = mpsc::channel(QUEUE);
        let http = reqwest::Client::builder().timeout(LIMIT).redirect(reqwest::redirect::Policy::none()).build()?;
        let desk = Desk { receiver, http, metrics: metrics.clone(), failing: false };
        tokio::spawn(desk.serve(messages));
        Ok(Arc::new(Self { queue, foreign: Mutex::default(), entropy, clock, metrics }))
    }

    /// Returns when everything that was told is sent, or could not be.
    pub(in crate::serve) async fn flush(&self) {
        let (done, sent) = oneshot::channel();
        if self.queue.send(Message::Flush(done)).await.is_ok() {
            let _ = sent.await;
        }
    }

    /// Takes over the trace that the caller of this request brought.
    pub(super) fn take_over(&self, request_id: &Arc<str>, headers: &HeaderMap) {
        let Some(parent) = headers.get("traceparent").and_then(|value| Parent::read(value.to_str().ok()?)) else {
            return;
        };
        let mut foreign = self.foreign.lock().unwrap_or_else(PoisonError::into_inner);
        if foreign.order.len() >= MOST_TRACES
            && let Some(oldest) = foreign.order.pop_front()
        {
            foreign.by_request.remove(&oldest);
        }
        foreign.order.push_back(request_id.clone());
        foreign.by_request.insert(request_id.clone(), parent);
    }

    pub(super) fn request(&self, arrival: &Arrival, status: StatusCode) {
        let docket = &arrival.docket;
        let request_id = docket.request_id();
        let name = docket.operation().map_or("unknown operation", |name| name);
        let refusal = docket.refusal();
        let mut attributes = vec![
            ("http.request.method", json!(arrival.method.as_str())),
            ("http.response.status_code", json!(status.as_u16())),
        ];
        attributes.extend(refusal.map(|(code, _)| ("atelier.code", json!(code))));
        attributes.extend(docket.notebook().map(|id| ("atelier.notebook_id", json!(id.to_string()))));
        self.tell(request_id, |foreign| Span {
            id: span_of_request(request_id),
            name,
            parent: foreign.map(|parent| parent.span.clone()),
            server: true,
            began: self.moment(arrival.began),
            ended: self.moment(Instant::now()),
            failed: status.is_server_error().then_some("the request failed"),
            attributes,
        });
    }

    pub(super) fn commit(&self, request_id: &str, began: Instant, kept: bool) {
        self.tell(request_id, |_| Span {
            id: self.new_id(),
            name: "commit",
            parent: Some(span_of_request(request_id)),
            server: false,
            began: self.moment(began),
            ended: self.moment(Instant::now()),
            failed: (!kept).then_some("nothing was written"),
            attributes: Vec::new(),
        });
    }

    pub(super) fn step(&self, seen: &StepSeen<'_>) {
        let Some(request_id) = &seen.origin.request_id else { return };
        let failed = match seen.result {
            StepResult::Failed | StepResult::NotUndone => Some("the step failed"),
            StepResult::Done | StepResult::Interrupted | StepResult::Undone => None,
        };
        self.tell(request_id, |_| Span {
            id: self.new_id(),
            name: seen.step.as_str(),
            parent: Some(span_of_operation(&seen.operation.to_string())),
            server: false,
            began: self.moment(seen.began),
            ended: self.moment(Instant::now()),
            failed,
            attributes: vec![
                ("atelier.result", json!(seen.result.as_str())),
                ("atelier.notebook_id", json!(seen.notebook.to_string())),
            ],
        });
    }

    pub(super) fn operation(&self, seen: &OperationSeen<'_>) {
        let Some(request_id) = &seen.origin.request_id else { return };
        let ended = self.moment(Instant::now());
        self.tell(request_id, |_| Span {
            id: span_of_operation(&seen.operation.to_string()),
            name: seen.kind.as_str(),
            parent: Some(span_of_request(request_id)),
            server: false,
            began: ended - i128::from(seen.millis) * 1_000_000,
            ended,
            failed: (seen.state == OperationState::Failed).then_some("the operation failed"),
            attributes: vec![
                ("atelier.result", json!(seen.state.as_str())),
                ("atelier.operation_id", json!(seen.operation.to_string())),
                ("atelier.notebook_id", json!(seen.notebook.to_string())),
            ],
        });
    }

    /// Queues a span in the trace of this request, unless the caller's own trace is not recorded.
    fn tell<'a>(&self, request_id: &str, span: impl FnOnce(Option<&Parent>) -> Span<'a>) {
        let foreign = self.foreign.lock().unwrap_or_else(PoisonError::into_inner).by_request.get(request_id).cloned();
        if foreign.as_ref().is_some_and(|parent| !parent.sampled) {
            return;
        }
        let trace = foreign.as_ref().map_or(request_id, |parent| &parent.trace);
        let written = span(foreign.as_ref()).written(trace, request_id);
        if self.queue.try_send(Message::Span(written)).is_err() {
            self.metrics.spans_dropped.inc();
        }
    }

    /// Nanoseconds since 1970.
    fn moment(&self, at: Instant) -> i128 {
        let now = i128::from(self.clock.now().as_millis()) * 1_000_000;
        now - i128::try_from(at.elapsed().as_nanos()).unwrap_or(0)
    }

    fn new_id(&self) -> String {
        let mut random = [0; 8];
        self.entropy.fill(&mut random);
        format!("{:016x}", u64::from_be_bytes(random) | 1)
    }
}

/// The second half of the request's id: known to everybody who knows the request, also in a later process.
fn span_of_request(request_id: &str) -> String {
    request_id.get(16..).unwrap_or(request_id).to_owned()
}

/// The random end of the operation's id.
fn span_of_operation(operation: &str) -> String {
    let digits: String = operation.chars().filter(|c| *c != '-').collect();
    digits.get(16..).unwrap_or(&digits).to_owned()
}

impl Parent {
    /// Reads `00-<trace>-<span>-<flags>`. What is no such text is as good as none, as W3C wants it.
    fn read(header: &str) -> Option<Self> {
        let mut parts = header.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |text: &str, len: usize| {
            text.len() == len && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let whole = hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
        let known = version != "ff" && (version != "00" || parts.next().is_none());
        let zero = |text: &str| text.bytes().all(|b| b == b'0');
        let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        (whole && known && !zero(trace) && !zero(span)).then(|| Self {
            trace: trace.to_owned(),
            span: span.to_owned(),
            sampled,
        })
    }
}

impl Span<'_> {
    fn written(self, trace: &str, request_id: &str) -> Value {
        let mut attributes = self.attributes;
        attributes.push(("atelier.request_id", json!(request_id)));
        let attributes: Vec<_> = attributes.into_iter().map(|(key, value)| attribute(key, &value)).collect();
        let mut span = json!({
            "traceId": trace,
            "spanId": self.id,
            "name": self.name,
            "kind": if self.server { 2 } else { 1 },
            "startTimeUnixNano": self.began.to_string(),
            "endTimeUnixNano": self.ended.max(self.began).to_string(),
            "attributes": attributes,
            "status": self.failed.map_or(json!({}), |why| json!({"code": 2, "message": why})),
        });
        if let Some(parent) = self.parent {
            span["parentSpanId"] = parent.into();
        }
        span
    }
}

fn attribute(key: &str, value: &Value) -> Value {
    let value = match value {
        Value::Number(number) => json!({"intValue": number.to_string()}),
        Value::String(text) => json!({"stringValue": text}),
        other => json!({"stringValue": other.to_string()}),
    };
    json!({"key": key, "value": value})
}

/// Sends what was queued.
struct Desk {
    receiver: Receiver,
    http: reqwest::Client,
    metrics: Arc<Metrics>,
    failing: bool,
}

impl Desk {
    async fn serve(mut self, mut messages: mpsc::Receiver<Message>) {
        let mut spans = Vec::new();
        while let Some(first) = messages.recv().await {
            let mut flush = None;
            let mut next = Some(first);
            let deadline = tokio::time::sleep(PATIENCE);
            tokio::pin!(deadline);
            while let Some(message) = next {
                match message {
                    Message::Span(span) => spans.push(span),
                    Message::Flush(done) => flush = Some(done),
                }
                if flush.is_some() || spans.len() >= BATCH {
                    break;
                }
                next = tokio::select! {
                    message = messages.recv() => message,
                    () = &mut deadline => None,
                };
            }
            self.send(std::mem::take(&mut spans)).await;
            if let Some(done) = flush {
                let _ = done.send(());
            }
        }
    }

    async fn send(&mut self, spans: Vec<Value>) {
        if spans.is_empty() {
            return;
        }
        let count = spans.len();
        match self.post(spans).await {
            Ok(()) => self.failing = false,
            Err(error) => {
                self.metrics.spans_dropped.inc_by(u64::try_from(count).unwrap_or(0));
                // Once, not every second: the figure counts on.
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!("spans cannot be sent to `traces.endpoint`: {error}");
                }
            }
        }
    }

    async fn post(&self, spans: Vec<Value>) -> Result<(), reqwest::Error> {
        let resource = [
            ("service.name", "atelier"),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("atelier.runtime", self.receiver.runtime),
        ];
        let resource: Vec<_> = resource.iter().map(|(key, value)| attribute(key, &json!(value))).collect();
        let body = json!({"resourceSpans": [{
            "resource": {"attributes": resource},
            "scopeSpans": [{"scope": {"name": "atelier"}, "spans": spans}],
        }]});
        let url = format!("{}/v1/traces", self.receiver.endpoint.trim_end_matches('/'));
        let request = self.receiver.headers.iter().fold(self.http.post(url), |r, (name, value)| r.header(name, value));
        request.json(&body).send().await?.error_for_status().map(drop).map_err(reqwest::Error::without_url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_trace_is_taken_over_only_when_it_is_one() {
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let sampled = Parent { trace: trace.into(), span: span.into(), sampled: true };
        assert_eq!(Parent::read(&format!("00-{trace}-{span}-01")), Some(sampled.clone()));
        assert_eq!(Parent::read(&format!("cc-{trace}-{span}-01-later")), Some(sampled.clone()));
        assert_eq!(Parent::read(&format!("00-{trace}-{span}-00")), Some(Parent { sampled: false, ..sampled }));
        for wrong in [
            String::new(),
            format!("00-{trace}-{span}"),
            format!("00-{trace}-{span}-01-more"),
            format!("ff-{trace}-{span}-01"),
            format!("00-{}-{span}-01", "0".repeat(32)),
            format!("00-{trace}-{}-01", "0".repeat(16)),
            format!("00-{}-{span}-01", trace.to_uppercase()),
        ] {
            assert_eq!(Parent::read(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_operation_has_a_span_of_its_own_that_every_process_finds() {
        assert_eq!(span_of_operation("0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a10"), "8b1d4d3a5d4f0a10");
        assert_eq!(span_of_request("00112233445566778899aabbccddeeff"), "8899aabbccddeeff");
    }
}
