//! What can be seen of a server from outside: figures, the audit, live events, traces, and that no secret is among them.
//! Everything waits for an answer or a line, never for time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "what goes wrong here fails the test, also in its own functions")]

#[allow(dead_code, reason = "shared with the other tests of the program, which use the rest")]
mod e2e;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use e2e::{Server, json_of, stdout_of};
use serde_json::Value;

/// Sends one request and reads the whole answer.
fn ask(server: &Server, method: &str, path: &str, token: &str, body: &str) -> String {
    let host = server.url().replace("http://", "");
    server.raw(&format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nX-Auth-Token: {token}\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

fn body_of(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

fn header<'a>(answer: &'a str, name: &str) -> &'a str {
    let head = answer.split_once("\r\n\r\n").unwrap().0;
    let line = head.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}:"))).unwrap();
    line.split_once(':').unwrap().1.trim()
}

fn token(server: &Server) -> String {
    stdout_of(&server.cli(&["token"])).trim().to_owned()
}

/// The figures, by name and labels, without the buckets.
fn figures(server: &Server, token: &str) -> BTreeMap<String, f64> {
    let answer = ask(server, "GET", "/metrics", token, "");
    assert!(header(&answer, "content-type").starts_with("application/openmetrics-text"), "{answer}");
    assert!(answer.trim_end().ends_with("# EOF"), "{answer}");
    let lines = body_of(&answer).lines().filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
    let figure = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    };
    lines.filter(|line| !line.contains("_bucket")).map(figure).collect()
}

fn project(server: &Server) -> String {
    server.admin()["project_id"].as_str().unwrap().to_owned()
}

/// A life: made, stopped, started, renewed, stopped in vain, deleted.
fn live(server: &Server) {
    for line in [
        &["notebook", "create", "one"][..],
        &["notebook", "stop", "one"],
        &["notebook", "start", "one"],
        &["notebook", "renew", "one"],
        &["notebook", "delete", "one", "--yes"],
    ] {
        stdout_of(&server.cli(line));
    }
}

#[test]
fn the_figures_of_a_life_are_exactly_right() {
    let server = Server::start(&[]);
    stdout_of(&server.cli(&["notebook", "create", "stays"]));
    live(&server);
    let token = token(&server);
    let figures = figures(&server, &token);
    let count = |name: &str, labels: &str| figures.get(&format!("{name}{{{labels}}}")).copied().unwrap_or(0.0);
    for (operation, wanted) in [
        ("CreateNotebook", 2.0),
        ("StopNotebook", 1.0),
        ("StartNotebook", 1.0),
        ("RenewLease", 1.0),
        ("DeleteNotebook", 1.0),
    ] {
        let labels = format!("operation=\"{operation}\",code=\"200\"");
        assert!((count("atelier_request_duration_seconds_count", &labels) - wanted).abs() < 0.1, "{operation}");
    }
    for (kind, wanted) in [("create", 2.0), ("stop", 1.0), ("start", 1.0), ("delete", 1.0)] {
        let labels = format!("kind=\"{kind}\",result=\"done\"");
        assert!((count("atelier_operation_duration_seconds_count", &labels) - wanted).abs() < 0.1, "{kind}");
    }
    for (kind, step, wanted) in [
        ("create", "prepare-storage", 2.0),
        ("create", "initialize-instance", 2.0),
        ("start", "configure-network", 1.0),
        ("stop", "stop-instance", 1.0),
        ("delete", "remove-storage", 1.0),
    ] {
        let labels = format!("kind=\"{kind}\",step=\"{step}\",result=\"done\"");
        assert!((count("atelier_step_duration_seconds_count", &labels) - wanted).abs() < 0.1, "{kind} {step}");
    }
    let started = count("atelier_start_duration_seconds_count", "path=\"command-line\"");
    assert!((started - 3.0).abs() < 0.1, "{started}");
    for (status, wanted) in [("RUNNING", 1.0), ("STOPPED", 0.0), ("DELETING", 0.0)] {
        assert!((count("atelier_notebooks", &format!("status=\"{status}\"")) - wanted).abs() < 0.1, "{status}");
    }
    assert!(count("atelier_store_duration_seconds_count", "call=\"commit\"") >= 6.0);
    assert!(figures["process_resident_memory_bytes"] > 1e6 && figures["process_open_fds"] > 3.0);
    assert!(count("atelier_capacity_cpus", "state=\"held\"") > 0.0);
}

#[test]
fn figures_name_nobody_and_are_for_administrators_or_an_address_of_their_own() {
    let server = Server::start(&[("ATELIER_METRICS__LISTEN", "127.0.0.1:0")]);
    live(&server);
    let nobody = ask(&server, "GET", "/metrics", "", "");
    assert!(nobody.starts_with("HTTP/1.1 401 "), "{nobody}");
    let own = ask(&server, "GET", "/metrics", &token(&server), "");
    assert!(own.starts_with("HTTP/1.1 200 "), "{own}");
    let project = project(&server);
    for series in own.lines().filter(|line| line.contains('{')) {
        assert!(!series.contains(&project) && !series.contains("/v1") && !series.contains("admin"), "{series}");
    }
    let log = server.log();
    let address = log.split("figures are at http://").nth(1).unwrap().split('/').next().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("atelier_notebooks{"), "{answer}");
}

/// The names that stand in a text between backticks or in expressions.
fn names_in(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !word(c)).filter(|name| name.starts_with("atelier_") || name.starts_with("process_"));
    words.map(family).collect()
}

/// The family that a series belongs to.
fn family(name: &str) -> String {
    let ends = ["_bucket", "_count", "_sum", "_total", "_info"];
    ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned()
}

#[test]
fn the_documents_the_dashboard_and_the_alerts_speak_of_figures_that_exist() {
    let server = Server::start(&[]);
    live(&server);
    let answer = ask(&server, "GET", "/metrics", &token(&server), "");
    let there: BTreeSet<_> =
        answer.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let there: BTreeSet<_> = there.into_iter().map(str::to_owned).collect();
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../");
    let read = |path: &str| std::fs::read_to_string(format!("{root}{path}")).unwrap();
    let page = read("docs/observability.md");
    let table: BTreeSet<_> = page.lines().filter(|line| line.starts_with("| `")).flat_map(names_in).collect();
    assert_eq!(table, there, "the table in docs/observability.md and /metrics differ");
    for file in ["deploy/grafana-dashboard.json", "deploy/prometheus-rules.yml"] {
        let used = names_in(&read(file));
        assert!(used.len() > 3 && used.is_subset(&there), "{file}: {:?}", used.difference(&there));
    }
    let _: Value = serde_json::from_str(&read("deploy/grafana-dashboard.json")).unwrap();
    let operations = read("docs/operations.md");
    for line in read("deploy/prometheus-rules.yml").lines() {
        if let Some(anchor) = line.split("operations.md#").nth(1) {
            let anchor = anchor.trim_matches(|c| c == '"' || c == '\'');
            let heading = |line: &&str| line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-") == anchor;
            assert!(operations.lines().filter(|line| line.starts_with('#')).any(|line| heading(&line)), "{anchor}");
        }
    }
}

/// Method, path and name of every operation of the contract that changes something.
fn mutating() -> Vec<(String, String, String)> {
    let text = include_str!("../../../contract/devenviron.yaml");
    let contract: Value = serde_norway::from_str(text).unwrap();
    let mut all = Vec::new();
    for (path, item) in contract["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if let (true, Some(id)) = (method != "get", operation["operationId"].as_str()) {
                all.push((method.to_uppercase(), path.clone(), id.to_owned()));
            }
        }
    }
    all
}

#[test]
fn every_call_of_the_contract_that_changes_something_has_one_record_accepted_or_refused() {
    let server = Server::start(&[]);
    let created = json_of(&server.cli(&["notebook", "create", "one", "-o", "json"]));
    let (id, token, project) = (created["id"].as_str().unwrap(), token(&server), project(&server));
    let (mut wanted, mut requests) = (BTreeMap::new(), Vec::new());
    for (method, path, operation) in mutating() {
        let path = path.replace("{project_id}", &project).replace("{id}", id);
        let path: String =
            path.split('/').map(|part| if part.starts_with('{') { id } else { part }).collect::<Vec<_>>().join("/");
        for token in [token.as_str(), "not-a-token"] {
            let answer = ask(&server, &method, &path, token, "");
            let (request, status) = (header(&answer, "x-request-id").to_owned(), answer[9..12].to_owned());
            wanted.insert(request.clone(), (operation.clone(), status));
            requests.push(request);
        }
    }
    assert!(wanted.len() > 40, "{}", wanted.len());
    let records = json_of(&server.cli(&["audit", "list", "--limit", "1000", "-o", "json"]));
    let of = |request: &str| -> Vec<&Value> {
        records.as_array().unwrap().iter().filter(|record| record["request_id"] == *request).collect()
    };
    for request in requests {
        let (operation, status) = &wanted[&request];
        let [record] = of(&request)[..] else { panic!("{operation} {status}: {} records", of(&request).len()) };
        assert_eq!(
            (record["operation"].as_str(), record["status"].to_string()),
            (Some(operation.as_str()), status.clone())
        );
        assert_eq!(record["address"], "127.0.0.1");
        let proved = record["credential"] == "token";
        assert_eq!(record["user_name"] == "admin", proved, "{record}");
    }
    assert_eq!(json_of(&server.cli(&["audit", "verify", "-o", "json"]))["whole"], true);
    let only = json_of(&server.cli(&["audit", "list", "--operation", "CreateNotebook", "--by", "admin", "-o", "json"]));
    assert!(only.as_array().unwrap().iter().all(|record| record["operation"] == "CreateNotebook"));
}

#[test]
fn who_opens_the_free_instance_is_recorded_at_it_whether_it_is_made_or_there_already() {
    let server = Server::start(&[]);
    let (token, path) = (token(&server), format!("/v1/{}/notebooks/open", project(&server)));
    let open = || {
        let answer = ask(&server, "POST", &path, &token, "");
        let opened: Value = serde_json::from_str(body_of(&answer)).unwrap();
        (header(&answer, "x-request-id").to_owned(), opened["id"].as_str().unwrap().to_owned())
    };
    let (making, id) = open();
    let (opening, same) = open();
    assert_eq!(id, same);
    let records = json_of(&server.cli(&["audit", "list", "--notebook", &id, "-o", "json"]));
    let of = |request: &str| {
        let about: Vec<_> =
            records.as_array().unwrap().iter().filter(|record| record["request_id"] == *request).collect();
        let [record] = about[..] else { panic!("{} records of {request}: {records}", about.len()) };
        assert_eq!((&record["operation"], &record["status"]), (&"RunCodeLab".into(), &200.into()));
        record["changes"].as_array().unwrap().len()
    };
    assert!(of(&making) > 5);
    assert_eq!(of(&opening), 0, "nothing changed");
}

/// Reads events off a live stream.
struct Stream(BufReader<TcpStream>);

impl Stream {
    fn open(server: &Server, token: &str, last: Option<&str>) -> Self {
        let host = server.url().replace("http://", "");
        let mut stream = TcpStream::connect(&host).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_mins(1))).unwrap();
        let last = last.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let path = format!("/atelier/v1/{}/events", project(server));
        let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nX-Auth-Token: {token}\r\n{last}");
        stream.write_all(format!("{head}Accept: text/event-stream\r\n\r\n").as_bytes()).unwrap();
        Self(BufReader::new(stream))
    }

    /// The id and the word of the next event.
    fn next(&mut self) -> (String, String) {
        let mut id = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "the stream ended");
            if let Some(rest) = line.strip_prefix("id: ") {
                rest.trim().clone_into(&mut id);
            } else if let Some(what) = line.strip_prefix("event: ") {
                return (id, what.trim().to_owned());
            }
        }
    }

    fn up_to(&mut self, what: &str) -> Vec<(String, String)> {
        let mut seen = vec![self.next()];
        while seen.last().is_some_and(|last| last.1 != what) {
            seen.push(self.next());
        }
        seen
    }
}

#[test]
fn a_reader_that_comes_back_misses_no_event_and_sees_none_twice() {
    let server = Server::start(&[]);
    let token = token(&server);
    let mut first = Stream::open(&server, &token, None);
    stdout_of(&server.cli(&["notebook", "create", "one"]));
    let mut seen = first.up_to("create.done");
    drop(first);
    // Nobody listens now.
    stdout_of(&server.cli(&["notebook", "stop", "one"]));
    let mut second = Stream::open(&server, &token, seen.last().map(|(id, _)| id.as_str()));
    stdout_of(&server.cli(&["notebook", "delete", "one", "--yes"]));
    seen.extend(second.up_to("delete.done"));
    let what: Vec<_> = seen.iter().map(|(_, what)| what.as_str()).collect();
    assert_eq!(what, ["create.asked", "create.done", "stop.asked", "stop.done", "delete.asked", "delete.done"]);
    let listed = json_of(&server.cli(&["events", "-o", "json"]));
    let ids: Vec<_> = listed.as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids, seen.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>());
    let later = json_of(&server.cli(&["events", "--after", ids[3], "-o", "json"]));
    assert_eq!(later.as_array().unwrap().len(), 2);
}

/// Receives spans as a collector does, and passes them on.
fn collector() -> (String, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (spans, received) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream);
            while let Some(body) = posted(&mut reader) {
                let sent: Value = serde_json::from_slice(&body).unwrap();
                for span in sent["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap() {
                    let _ = spans.send(span.clone());
                }
                reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").unwrap();
            }
        }
    });
    (address, received)
}

fn posted(reader: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}

#[test]
fn the_trace_of_a_creation_has_the_request_its_commit_and_the_four_steps() {
    let (address, received) = collector();
    let mut server = Server::start(&[("ATELIER_TRACES__ENDPOINT", &address)]);
    let (token, project) = (token(&server), project(&server));
    let host = server.url().replace("http://", "");
    let image = json_of(&server.cli(&["image", "list", "-o", "json"]))[0]["id"].as_str().unwrap().to_owned();
    let body = format!(
        r#"{{"name":"traced","feature":"NOTEBOOK","flavor":"atelier.cpu.small","image_id":"{image}","volume":{{"category":"EVS","ownership":"MANAGED","capacity":5}}}}"#
    );
    let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let answer = server.raw(&format!(
        "POST /v1/{project}/notebooks HTTP/1.1\r\nHost: {host}\r\nX-Auth-Token: {token}\r\nConnection: close\r\n\
         traceparent: 00-{trace}-{parent}-01\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    Stream::open(&server, &token, None).up_to("create.done");
    // What was told is delivered before the server ends.
    assert_eq!(server.stop(), Some(0));
    let spans: Vec<Value> = received.try_iter().filter(|span| span["traceId"] == trace).collect();
    let named = |name: &str| spans.iter().find(|span| span["name"] == name).unwrap_or_else(|| panic!("no {name}"));
    let request = named("CreateNotebook");
    assert_eq!(request["parentSpanId"], parent);
    assert_eq!(named("commit")["parentSpanId"], request["spanId"]);
    let operation = named("create");
    assert_eq!(operation["parentSpanId"], request["spanId"]);
    for step in ["prepare-storage", "prepare-compute", "configure-network", "initialize-instance"] {
        let step = named(step);
        assert_eq!(step["parentSpanId"], operation["spanId"], "{step}");
        let nanos = |field: &str| step[field].as_str().unwrap().parse::<u64>().unwrap();
        assert!(nanos("startTimeUnixNano") <= nanos("endTimeUnixNano"));
    }
}

#[test]
fn every_request_has_one_line_and_nothing_secret_is_in_log_audit_events_or_figures() {
    for format in ["text", "json"] {
        let variables = [("ATELIER_SERVER__LOG_LEVEL", "trace"), ("ATELIER_SERVER__LOG_FORMAT", format)];
        let server = Server::start(&variables);
        let created = json_of(&server.cli(&["notebook", "create", "one", "-o", "json"]));
        let opened = stdout_of(&server.cli(&["notebook", "open", "one"]));
        live_again(&server);
        let (admin, token) = (server.admin(), token(&server));
        let wrong =
            ask(&server, "DELETE", &format!("/v1/{}/notebooks/x?token=in-the-query", project(&server)), &token, "");
        let request = header(&wrong, "x-request-id");
        let figures = ask(&server, "GET", "/metrics", &token, "");
        let audit = stdout_of(&server.cli(&["audit", "list", "-o", "json"]));
        let events = stdout_of(&server.cli(&["events", "-o", "json"]));
        let log = server.log();
        let lines: Vec<_> =
            log.lines().filter(|line| line.contains(request) && line.contains("atelier::access")).collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        for part in ["DeleteNotebook", "404", "ModelArts.6404", "admin", "127.0.0.1", "micros"] {
            assert!(lines[0].contains(part), "{part}: {}", lines[0]);
        }
        let secrets = [
            admin["password"].as_str().unwrap(),
            admin["secret_key"].as_str().unwrap(),
            &token,
            created["token"].as_str().unwrap(),
            opened.trim().split("token=").nth(1).unwrap(),
            "in-the-query",
        ];
        for (place, text) in [("log", &log), ("figures", &figures), ("audit", &audit), ("events", &events)] {
            for (nth, secret) in secrets.iter().enumerate() {
                assert!(secret.len() > 8 && !text.contains(secret), "secret {nth} is in the {place} ({format})");
            }
        }
    }
}

fn live_again(server: &Server) {
    for line in [&["notebook", "stop", "one"][..], &["notebook", "start", "one"], &["notebook", "renew", "one"]] {
        stdout_of(&server.cli(line));
    }
}
