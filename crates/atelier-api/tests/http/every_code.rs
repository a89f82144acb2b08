//! Every code of the catalogue is provoked: by a request here, or by a test elsewhere that is named here.
//!
//! A code without a witness fails, so the catalogue cannot promise a refusal that nobody has seen. A witness is a call in
//! one of the tables below; or something that a table cannot say ([`Stage::at_the_door`], [`used_up`]); or, for what lies
//! outside this interface, another test ([`ELSEWHERE`]), whose file must hold a test of that name which speaks of the code.

use std::net::SocketAddr;
use std::path::Path;

use atelier_core::flavor::Capacity;
use atelier_core::refusal::Code;
use atelier_core::status::Status;
use atelier_engine::EngineConfig;
use axum::body::{Body, Bytes};
use http::Request;
use serde_json::{Value, json};

use crate::answers::{create, wish};
use crate::house::{House, Plan, Reply, UNKNOWN};

/// A code, and the call that is refused with it: method, path behind the project, body.
type Row = (Code, &'static str, String, Value);

/// Tests elsewhere, each of a code that only something beyond this interface can provoke: file and function.
const ELSEWHERE: [(Code, &str, &str); 7] = [
    (Code::Internal, "crates/atelier-api/src/door.rs", "a_panic_is_an_answer_too"),
    (
        Code::NotebookTokenInvalid,
        "crates/atelier-gateway/tests/credentials.rs",
        "every_path_and_method_and_upgrade_by_every_credential",
    ),
    (Code::NotServing, "crates/atelier-gateway/tests/pages.rs", "each_status_that_does_not_serve_has_its_page"),
    (Code::InternalFault, "crates/atelier-api/tests/http/legacy.rs", "an_instance_that_failed_says_why"),
    (
        Code::Throttled,
        "crates/atelier/tests/serve.rs",
        "a_caller_who_asks_too_often_is_told_to_wait_and_the_command_line_does",
    ),
    (Code::BadGateway, "crates/atelier-gateway/tests/pages.rs", "a_server_that_is_gone_is_a_bad_gateway"),
    (Code::Unavailable, "tests/store/test_full_disk.py", "test_what_was_answered_survives_a_disk_that_fills_up"),
];

/// A house with notebooks in the statuses that refusals speak of.
struct Stage {
    house: House,
    token: String,
    running: String,
    stopped: String,
    halting: String,
    creating: String,
}

async fn made(house: &House, token: &str, status: Status) -> String {
    let id =
        create(house, token, json!({"name": status.as_str().to_lowercase()})).await["id"].as_str().unwrap().to_owned();
    if status == Status::Creating {
        return id;
    }
    house.gate.open_for(&id);
    house.reaches(&id, Status::Running).await;
    if status != Status::Running {
        house.gate.hold(&id);
        let stop = format!("{}/notebooks/{id}/stop", house.base());
        assert_eq!(house.call(token, "POST", &stop, &Value::Null).await.status, 200);
        if status == Status::Stopped {
            house.gate.let_go(&id);
        }
        house.reaches(&id, status).await;
    }
    id
}

impl Stage {
    async fn set() -> Self {
        let house = House::open().await;
        let token = house.project_token().await;
        let [running, stopped, halting, creating] = [
            made(&house, &token, Status::Running).await,
            made(&house, &token, Status::Stopped).await,
            made(&house, &token, Status::Stopping).await,
            made(&house, &token, Status::Creating).await,
        ];
        Self { house, token, running, stopped, halting, creating }
    }

    /// Calls of the present API.
    fn notebooks(&self) -> Vec<Row> {
        let (running, stopped) = (format!("/notebooks/{}", self.running), format!("/notebooks/{}", self.stopped));
        let row = |code, method, path: &str, body| (code, method, path.to_owned(), body);
        let with = |code, changes| row(code, "POST", "/notebooks", notebook(&changes));
        vec![
            row(Code::UnknownWorkspace, "GET", "/notebooks?workspace_id=other", Value::Null),
            row(Code::BadQuery, "GET", "/notebooks?limit=0", Value::Null),
            row(Code::BadSortKey, "GET", "/notebooks?sort_key=colour", Value::Null),
            row(Code::NotRunning, "PATCH", &format!("{stopped}/lease"), Value::Null),
            row(Code::LeaseOutOfRange, "PATCH", &format!("{running}/lease"), json!({"duration": 1})),
            row(Code::Conflict, "POST", &format!("{stopped}/stop"), Value::Null),
            row(Code::FieldLocked, "PUT", &running, json!({"flavor": "modelarts.vm.cpu.2u"})),
            row(Code::FlavorNotSwitchable, "PUT", &stopped, json!({"flavor": "none"})),
            row(Code::NotFound, "GET", &format!("/notebooks/{UNKNOWN}"), Value::Null),
            row(Code::NoSuchApi, "GET", "/nothing", Value::Null),
            row(Code::BadBody, "POST", "/notebooks", json!([])),
            row(Code::TooLarge, "POST", "/notebooks", json!({"name": "x".repeat(64 * 1024)})),
            with(Code::UnknownFlavor, json!({"flavor": "none"})),
            with(Code::UnknownImage, json!({"image_id": UNKNOWN})),
            with(Code::FlavorDoesNotSupportFeature, json!({"feature": "DEFAULT"})),
            with(Code::VolumeSizeOutOfRange, json!({"volume": volume(4097)})),
            with(Code::WrongType, json!({"description": 7})),
            with(Code::ForbiddenCharacter, json!({"name": "a/b"})),
            with(Code::FieldMissing, json!({"flavor": null})),
            with(Code::BadValue, json!({"feature": "TRIAL"})),
            with(Code::Unsupported, json!({"endpoints": [{"service": "SSH", "key_pair_names": ["k"]}]})),
        ]
    }

    /// Calls of the legacy API.
    fn instances(&self) -> Vec<Row> {
        let path = |id: &str| format!("/demanager/instances/DE-{id}");
        let start = |id: &str| format!("{}/action", path(id));
        let (started, stopped) = (json!({"action": "start"}), json!({"action": "stop"}));
        let with = |code, body| (code, "POST", "/demanager/instances".to_owned(), body);
        let obs = |path: Value| instance("new", json!({"type": "obs", "location": {"path": path}}));
        vec![
            with(Code::NameTaken, instance("running", json!({"type": "evs"}))),
            (Code::DeleteOfRunning, "DELETE", path(&self.running), Value::Null),
            (Code::StartOfRunning, "POST", start(&self.running), started.clone()),
            (Code::WhileStarting, "POST", start(&self.creating), started.clone()),
            (Code::WhileStopping, "POST", start(&self.halting), started),
            (Code::StopOfStopped, "POST", start(&self.stopped), stopped),
            (Code::NoInstance, "GET", path(UNKNOWN), Value::Null),
            with(Code::StorageMissing, instance("new", Value::Null)),
            with(Code::StoragePathMissing, instance("new", json!({"type": "obs"}))),
            with(Code::StoragePathWithoutSlash, obs(json!("/bucket/folder"))),
            with(Code::BucketRoot, obs(json!("/bucket/"))),
            (Code::AutoStopWithoutDuration, "PUT", path(&self.stopped), json!({"auto_stop": {"enable": true}})),
        ]
    }

    async fn ask(&self, token: &str, method: &str, path: &str, body: &Value) -> Reply {
        self.house.call(token, method, &format!("{}{path}", self.house.base()), body).await
    }

    /// What is refused before it is known what is asked for, and what a member may not.
    async fn at_the_door(&self, code: Code) -> Option<Reply> {
        let (house, list) = (&self.house, format!("{}/notebooks", self.house.base()));
        let get = || Request::get(&list);
        let source = SocketAddr::from(([10, 0, 0, 9], 1));
        Some(match code {
            Code::TokenMissing => house.send(get().body(Body::empty()).unwrap()).await,
            Code::TokenInvalid => house.call("forged", "GET", &list, &Value::Null).await,
            Code::BadProjectId => house.call(&self.token, "GET", "/v1/mine/notebooks", &Value::Null).await,
            Code::ForeignProject => {
                let other = format!("/v1/{}/notebooks", house.other_project);
                house.call(&self.token, "GET", &other, &Value::Null).await
            }
            Code::TokenNotProjectScoped => {
                let domain = json!({"domain": {"name": house.first.domain_name}});
                house.call(&house.token(&domain).await, "GET", &list, &Value::Null).await
            }
            Code::NotPermitted => self.ask(&house.member().await.1, "GET", "/notebooks/all", &Value::Null).await,
            Code::BadSignature => {
                let mut other = house.signed("GET", &list, "", source);
                *other.method_mut() = http::Method::POST;
                house.send(other).await
            }
            Code::Misdirected => house.send(get().header("host", "evil.example").body(Body::empty()).unwrap()).await,
            Code::BadRequest => {
                let broken = futures_util::stream::iter([Ok(Bytes::from("{")), Err(std::io::Error::other("gone"))]);
                let request = Request::post(&list).header("x-auth-token", &self.token);
                house.send(request.body(Body::from_stream(broken)).unwrap()).await
            }
            _ => return None,
        })
    }
}

fn volume(capacity: u32) -> Value {
    json!({"category": "EVS", "ownership": "MANAGED", "capacity": capacity})
}

fn notebook(changes: &Value) -> Value {
    let mut body = wish(json!({"name": "new", "volume": volume(5)}));
    body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    body
}

fn instance(name: &str, storage: Value) -> Value {
    let profile = "Multi-Engine 1.0 (python3)-cpu";
    let mut body = json!({"name": name, "profile_id": profile, "flavor": "atelier.cpu.small", "spec": {}});
    if !storage.is_null() {
        body["spec"]["storage"] = storage;
    }
    body
}

/// What is used up, and needs a house of its own: a token's time, one user's share, the machine, its disk.
async fn used_up(code: Code) -> Option<Reply> {
    let small = Capacity { cpu_millis: 500, memory_bytes: 1 << 30, cpu_overcommit: 1, memory_overcommit: 1 };
    let engine =
        EngineConfig { cpu_overcommit: 1, memory_overcommit: 1, notebooks_per_user: 2, ..EngineConfig::default() };
    let plan = match code {
        Code::TokenExpired | Code::QuotaExceeded => Plan::default(),
        Code::QuotaExhausted => Plan { engine, ..Plan::default() },
        Code::FlavorSoldOut | Code::NoCapacity => Plan { machine: small, engine, ..Plan::default() },
        Code::StorageSoldOut => {
            Plan { engine: EngineConfig { disk_reserve_bytes: u64::MAX, ..engine }, ..Plan::default() }
        }
        _ => return None,
    };
    let house = House::planned(plan).await;
    let (token, target) = (house.project_token().await, format!("{}/notebooks", house.base()));
    match code {
        Code::TokenExpired => drop(house.time.advance(25 * 3_600_000)),
        Code::QuotaExhausted => {
            create(&house, &token, json!({})).await;
            create(&house, &token, json!({})).await;
        }
        Code::FlavorSoldOut => drop(create(&house, &token, json!({})).await),
        Code::NoCapacity => {
            let first = made(&house, &token, Status::Stopped).await;
            create(&house, &token, json!({})).await;
            return Some(house.call(&token, "POST", &format!("{target}/{first}/start"), &Value::Null).await);
        }
        Code::QuotaExceeded => return Some(one_key_too_many(&house, &token).await),
        _ => {}
    }
    Some(house.call(&token, "POST", &target, &notebook(&json!({}))).await)
}

async fn one_key_too_many(house: &House, token: &str) -> Reply {
    let (keys, wanted) = ("/v3.0/OS-CREDENTIAL/credentials", json!({"user_id": house.first.user_id.to_string()}));
    let body = json!({"credential": wanted});
    for _ in 0..2 {
        let reply = house.call(token, "POST", keys, &body).await;
        if !reply.status.is_success() {
            return reply;
        }
    }
    house.call(token, "POST", keys, &body).await
}

/// The answer that a code is provoked with; none when its witness is elsewhere.
async fn provoked(stage: &Stage, code: Code) -> Option<Reply> {
    let rows = [stage.notebooks(), stage.instances()].concat();
    if let Some((_, method, path, body)) = rows.iter().find(|row| row.0 == code) {
        return Some(stage.ask(&stage.token, method, path, body).await);
    }
    match stage.at_the_door(code).await {
        Some(reply) => Some(reply),
        None => used_up(code).await,
    }
}

/// The text of a test that is run: from its name to the next line that closes or begins something at the left margin.
fn test_named<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let at = text.find(&format!("fn {name}(")).filter(|at| is_run(&text[..*at]));
    let at = at.or_else(|| text.find(&format!("\ndef {name}(")).filter(|_| name.starts_with("test_")))?;
    let rest = &text[at..];
    let end = ["\n}\n", "\n    }\n\n", "\n\n\n"].iter().filter_map(|end| rest.find(end)).min();
    Some(&rest[..end.unwrap_or(rest.len())])
}

/// Whether what stands above a function makes it a test, and does not switch it off.
fn is_run(above: &str) -> bool {
    let above = above.rsplit("\n\n").next().unwrap_or_default();
    let attributes = || above.lines().map(str::trim_start).filter(|line| line.starts_with("#["));
    attributes().any(|line| line == "#[test]" || line.starts_with("#[tokio::test"))
        && !attributes().any(|line| line.contains("ignore"))
}

fn witnessed_elsewhere(code: Code) -> Result<(), String> {
    let Some((_, file, function)) = ELSEWHERE.iter().find(|row| row.0 == code) else {
        return Err("it has no witness".to_owned());
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
    let source = std::fs::read_to_string(path).map_err(|error| format!("{file}: {error}"))?;
    let test = test_named(&source, function).ok_or(format!("{file} has no test `{function}`"))?;
    if test.contains(code.as_str()) { Ok(()) } else { Err(format!("`{function}` does not speak of it")) }
}

#[tokio::test]
async fn every_code_of_the_catalogue_is_provoked() {
    let stage = Stage::set().await;
    let mut wrong = Vec::new();
    for &code in Code::ALL {
        let found = match provoked(&stage, code).await {
            Some(reply) if (reply.status.as_u16(), reply.code()) == (code.http_status(), code.as_str()) => Ok(()),
            Some(reply) => Err(format!("answered {} {}", reply.status, reply.body)),
            None => witnessed_elsewhere(code),
        };
        wrong.extend(found.err().map(|why| format!("{code:?} {}: {why}", code.as_str())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The search finds no more than the test itself, words of its neighbours are none of its own; and only what is run.
#[test]
fn a_test_is_cut_out_of_its_file() {
    let rust = "#[test]\nfn test_one() {\n    says(\"a\");\n}\n\n#[test]\nfn test_two() {\n    says(\"b\");\n}\n\n\
                fn test_four() {}\n\n#[test]\n#[cfg_attr(all(), ignore)]\nfn test_five() {}\n";
    let python = "\ndef test_one():\n    says('a')\n\n\ndef test_two():\n    says('b')\n";
    for text in [rust, python] {
        assert!(test_named(text, "test_one").is_some_and(|test| test.contains("s(") && !test.contains("two")));
        assert!(test_named(text, "test_two").is_some_and(|test| test.contains('b') && !test.contains("one")));
        for other in ["test_three", "test_four", "test_five"] {
            assert_eq!(test_named(text, other), None, "{other}");
        }
    }
}

#[test]
fn a_code_that_nothing_provokes_is_seen() {
    assert_eq!(witnessed_elsewhere(Code::NotFound), Err("it has no witness".to_owned()));
}
