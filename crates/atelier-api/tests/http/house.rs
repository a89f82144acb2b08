//! A whole server without a port: store, identity, engine, simulated runtime, API.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use atelier_api::{ApiConfig, ApiState, NotebookAddress};
use atelier_core::flavor::Capacity;
use atelier_core::id::{NotebookId, ProjectId, UserId};
use atelier_core::status::Status;
use atelier_core::{Entropy, Timestamp};
use atelier_engine::time::ManualTime;
use atelier_engine::{Engine, EngineConfig, Timekeeper};
use atelier_iam::{FirstStart, Iam, IamConfig, NewAccount, PasswordCost};
use atelier_runtime::simulated::{Call, Faults, SimulatedRuntime};
use atelier_runtime::{Root, RuntimeError};
use atelier_store::people::{Grant, GrantTarget, PeopleChange, Project, Role};
use atelier_store_sqlite::{Sealer, SqliteStore};
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use rand::RngCore;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt;

use crate::signer;

/// 2026-01-15 08:30:00 UTC.
pub(crate) const NOON: Timestamp = Timestamp::from_millis(1_768_465_800_000);
pub(crate) const SIGNED_AT: &str = "20260115T083000Z";
pub(crate) const HOST: &str = "127.0.0.1:8080";

struct Dice;

impl Entropy for Dice {
    fn fill(&self, out: &mut [u8]) {
        rand::rng().fill_bytes(out);
    }
}

/// Holds every start of a notebook server until the test lets it go, so that tests see what is under way; the stops of
/// some and the growth of their volumes, too.
pub(crate) struct Gate {
    /// Each start takes one, whichever notebook it is of.
    starts: Semaphore,
    doors: watch::Sender<Doors>,
}

#[derive(Default)]
struct Doors {
    /// These start without a permit.
    open: HashSet<NotebookId>,
    /// The servers of these do not come up.
    failing: HashSet<NotebookId>,
    /// These are not stopped, nor is anything of them removed, and their volumes do not grow.
    held: HashSet<NotebookId>,
    /// What stands before a closed door.
    waiting: HashSet<NotebookId>,
    /// No server comes up.
    broken: bool,
}

impl Gate {
    fn closed() -> Self {
        Self { starts: Semaphore::new(0), doors: watch::Sender::new(Doors::default()) }
    }

    /// Lets this one start, now or later.
    pub(crate) fn open_for(&self, id: &str) {
        self.change(id, |doors, id| doors.open.insert(id));
    }

    /// Lets the starts of this one fail, now or later.
    pub(crate) fn fail_for(&self, id: &str) {
        self.change(id, |doors, id| doors.failing.insert(id));
    }

    /// Holds the starts of this one again.
    pub(crate) fn close_for(&self, id: &str) {
        self.change(id, |doors, id| doors.open.remove(&id) | doors.failing.remove(&id));
    }

    /// Holds the stops of this one, its removal, and the growth of its volume.
    pub(crate) fn hold(&self, id: &str) {
        self.change(id, |doors, id| doors.held.insert(id));
    }

    /// Lets this one stop, go and grow.
    pub(crate) fn let_go(&self, id: &str) {
        self.change(id, |doors, id| doors.held.remove(&id));
    }

    fn change(&self, id: &str, how: impl FnOnce(&mut Doors, NotebookId) -> bool) {
        self.doors.send_modify(|doors| {
            how(doors, id.parse().unwrap());
        });
    }

    /// From now on no server comes up.
    pub(crate) fn break_starts(&self) {
        self.doors.send_modify(|doors| doors.broken = true);
    }

    /// Waits until this one stands before a closed door: nothing of it changes any more until it is opened.
    pub(crate) async fn is_before_a_door(&self, id: &str) {
        let id: NotebookId = id.parse().unwrap();
        self.opens(|doors| doors.waiting.contains(&id)).await;
    }

    /// Is seen to wait until `open` is there.
    async fn pass(&self, id: NotebookId, open: impl Future<Output = ()>) {
        self.doors.send_modify(|doors| _ = doors.waiting.insert(id));
        open.await;
        self.doors.send_modify(|doors| _ = doors.waiting.remove(&id));
    }

    async fn opens(&self, open: impl Fn(&Doors) -> bool) {
        drop(self.doors.subscribe().wait_for(|doors| open(doors)).await.unwrap());
    }

    async fn may_start(&self, id: NotebookId) -> Result<(), RuntimeError> {
        let fails = |doors: &Doors| doors.broken || doors.failing.contains(&id);
        self.pass(id, async {
            tokio::select! {
                permit = self.starts.acquire() => permit.unwrap().forget(),
                () = self.opens(|doors| fails(doors) || doors.open.contains(&id)) => {}
            }
        })
        .await;
        let broken = fails(&self.doors.borrow());
        if broken { Err(RuntimeError::Permanent("the server did not come up".into())) } else { Ok(()) }
    }
}

#[async_trait]
impl Faults for Gate {
    async fn before(&self, call: Call, id: Option<NotebookId>) -> Result<(), RuntimeError> {
        match (call, id) {
            (Call::Initialize, Some(id)) => self.may_start(id).await?,
            (Call::Stop | Call::Remove | Call::DiscardStorage | Call::GrowStorage, Some(id)) => {
                self.pass(id, self.opens(|doors| !doors.held.contains(&id))).await;
            }
            _ => {}
        }
        Ok(())
    }
}

/// The id of nothing.
pub(crate) const UNKNOWN: &str = "01900000-0000-7000-8000-000000000000";

/// What a house may have otherwise than most tests need it.
pub(crate) struct Plan {
    pub(crate) machine: Capacity,
    /// The kinds of its GPUs.
    pub(crate) gpus: &'static [&'static str],
    pub(crate) engine: EngineConfig,
    /// The folders that notebooks can have as volumes.
    pub(crate) roots: Vec<Root>,
}

impl Default for Plan {
    fn default() -> Self {
        let machine = Capacity { cpu_millis: 64_000, memory_bytes: 256 << 30, cpu_overcommit: 1, memory_overcommit: 1 };
        let engine = EngineConfig { notebooks_per_user: 50, ..EngineConfig::default() };
        Self { machine, gpus: &[], engine, roots: Vec::new() }
    }
}

pub(crate) struct House {
    pub(crate) router: Router,
    pub(crate) engine: Engine,
    iam: Arc<Iam>,
    pub(crate) time: Arc<ManualTime>,
    pub(crate) first: FirstStart,
    pub(crate) gate: Arc<Gate>,
    /// A second project of the same user.
    pub(crate) other_project: ProjectId,
    _folder: tempfile::TempDir,
}

/// What came back.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Reply {
    pub(crate) fn code(&self) -> &str {
        self.body["error_code"].as_str().unwrap_or_default()
    }

    pub(crate) fn message(&self) -> &str {
        self.body["error_msg"].as_str().unwrap_or_default()
    }
}

impl House {
    pub(crate) async fn open() -> Self {
        Self::planned(Plan::default()).await
    }

    pub(crate) async fn planned(plan: Plan) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (time, entropy) = (Arc::new(ManualTime::at(NOON)), Arc::new(Dice));
        let sealer = Sealer::new(&[7; 32], entropy.clone());
        let store = Arc::new(SqliteStore::open(&folder.path().join("store.db"), sealer).await.unwrap());
        let cost = PasswordCost { memory_kib: 8, passes: 1, at_once: 1 };
        let config = IamConfig { password_cost: cost, ..IamConfig::new("local") };
        let iam = Iam::open(store.clone(), time.clone(), entropy.clone(), config).await.unwrap();
        let first = iam.bootstrap(|_| Ok(())).await.unwrap().unwrap();
        let other_project = second_project(&iam, &first).await;
        let gate = Arc::new(Gate::closed());
        let runtime = SimulatedRuntime::open(&folder.path().join("runtime"), plan.machine, gate.clone()).unwrap();
        runtime.pretend_gpus(plan.gpus);
        let runtime = runtime.with_roots(plan.roots);
        let keeper: Arc<dyn Timekeeper> = time.clone();
        let engine = Engine::open(plan.engine, store, Arc::new(runtime), keeper, entropy.clone()).await.unwrap();
        let iam = Arc::new(iam);
        let state = ApiState { engine: engine.clone(), iam: iam.clone(), entropy };
        let router = atelier_api::router(state, config_of_api());
        Self { router, engine, iam, time, first, gate, other_project, _folder: folder }
    }

    /// Where the project's operations are.
    pub(crate) fn base(&self) -> String {
        format!("/v1/{}", self.first.project_id)
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        // A length that is not the body's breaks the connection, and with it the requests behind this one.
        if let Some(length) = parts.headers.get("content-length") {
            assert_eq!(length.to_str().unwrap(), bytes.len().to_string(), "{}", parts.status);
        }
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).expect("a JSON body") };
        Reply { status: parts.status, headers: parts.headers, body }
    }

    /// What anybody gets who asks for a file.
    pub(crate) async fn fetch(&self, target: &str) -> (StatusCode, http::HeaderMap, Vec<u8>) {
        let request = Request::get(target).body(Body::empty()).unwrap();
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        (parts.status, parts.headers, body.collect().await.unwrap().to_bytes().to_vec())
    }

    /// A call with a token and a body; `Value::Null` sends none.
    pub(crate) async fn call(&self, token: &str, method: &str, target: &str, body: &Value) -> Reply {
        let content = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = Request::builder().method(method).uri(target).header("x-auth-token", token);
        self.send(request.body(content).unwrap()).await
    }

    /// A new token, scoped to `scope` as a request says it.
    pub(crate) async fn token(&self, scope: &Value) -> String {
        let user = json!({
            "name": self.first.user_name, "password": self.first.password.expose_secret(),
            "domain": {"name": self.first.domain_name},
        });
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope,
        }});
        let reply = self.call("", "POST", "/v3/auth/tokens", &body).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.body);
        reply.headers["x-subject-token"].to_str().unwrap().to_owned()
    }

    /// The id of another user of the project, a mere member, and a token of theirs.
    pub(crate) async fn member(&self) -> (UserId, String) {
        self.member_named("member").await
    }

    /// One more.
    pub(crate) async fn member_named(&self, name: &str) -> (UserId, String) {
        let identity = self.iam.authenticate_token(&self.project_token().await).await.unwrap();
        let by = self.iam.caller(&identity, self.first.project_id.as_str()).unwrap();
        let new = NewAccount { name: name.into(), password: None, role: Role::Member };
        let (account, password) = self.iam.add_account(&by, new).await.unwrap();
        let user = json!({
            "name": account.name, "password": password.expose_secret(), "domain": {"name": self.first.domain_name},
        });
        let scope = json!({"project": {"id": self.first.project_id.to_string()}});
        let identity = json!({"methods": ["password"], "password": {"user": user}});
        let body = json!({"auth": {"identity": identity, "scope": scope}});
        let reply = self.call("", "POST", "/v3/auth/tokens", &body).await;
        (account.id, reply.headers["x-subject-token"].to_str().unwrap().to_owned())
    }

    pub(crate) async fn project_token(&self) -> String {
        self.token(&json!({"project": {"id": self.first.project_id.to_string()}})).await
    }

    /// A signed request. Each source may fail a few times before it is locked out, so tests choose their own.
    pub(crate) fn signed(&self, method: &str, target: &str, body: &str, source: SocketAddr) -> Request<Body> {
        let headers = [("host", HOST), ("x-sdk-date", SIGNED_AT)];
        let key = (self.first.access_key.as_str(), self.first.secret_key.expose_secret());
        let split = target.split_once('?').unwrap_or((target, ""));
        let authorization = signer::authorization(key, method, split, &headers, body.as_bytes());
        let mut request = Request::builder().method(method).uri(target).header("authorization", authorization);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.extension(ConnectInfo(source)).body(Body::from(body.to_owned())).unwrap()
    }

    /// A notebook's status, once it is this one. Waits for commits, not for time.
    pub(crate) async fn reaches(&self, id: &str, status: Status) {
        let id: NotebookId = id.parse().unwrap();
        let mut changes = self.engine.route_changes();
        while self.engine.route(id).map(|route| route.status) != Some(status) {
            changes.changed().await.unwrap();
        }
    }

    /// Waits until a notebook is gone.
    pub(crate) async fn is_gone(&self, id: &str) {
        let id: NotebookId = id.parse().unwrap();
        let mut changes = self.engine.route_changes();
        while self.engine.route(id).is_some() {
            changes.changed().await.unwrap();
        }
    }

    /// Lets one notebook server start.
    pub(crate) fn let_one_start(&self) {
        self.gate.starts.add_permits(1);
    }
}

async fn second_project(iam: &Iam, first: &FirstStart) -> ProjectId {
    let id = ProjectId::generate(&Dice);
    let target = GrantTarget::Project(id.clone());
    let project = Project {
        id: id.clone(),
        domain_id: first.domain_id.clone(),
        name: "other".into(),
        description: String::new(),
    };
    let grant = Grant { user_id: first.user_id.clone(), target, role: Role::Member };
    iam.change_people(vec![PeopleChange::PutProject(project), PeopleChange::Give(grant)]).await.unwrap();
    id
}

fn config_of_api() -> ApiConfig {
    ApiConfig {
        public_url: "http://127.0.0.1:8080".into(),
        notebooks: NotebookAddress { scheme: "http".into(), domain: "localhost".into(), port: 8080 },
        region: "local".into(),
        hosts: Vec::new(),
        profiles: atelier_api::Profile::defaults(),
    }
}
