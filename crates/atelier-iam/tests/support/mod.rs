//! What the tests share: a service on a store of its own, people in it, and a signer.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use atelier_core::clock::ManualClock;
use atelier_core::id::{DomainId, ProjectId, UserId};
use atelier_core::{Entropy, Timestamp};
use atelier_iam::{
    AuthRefusal, AuthRequest, FirstStart, Iam, IamConfig, IamRefusal, Identity, IncomingRequest, Issued, PasswordCost,
};
use atelier_store::StoreError;
use atelier_store::key_pairs::{KeyPair, KeyPairOwner, KeyPairStore, KeyPairWritten, NewKeyPair};
use atelier_store::people::{
    Directory, Domain, Grant, GrantTarget, PeopleChange, PeopleStore, PeopleWritten, Project, Role, Token, TokenHash,
    User,
};
use atelier_store_sqlite::{Sealer, SqliteStore};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// The moment at which the vectors were signed.
pub const VECTORS_AT: i64 = 1_768_465_800_000;
pub const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
pub const DAY_MS: i64 = 24 * 60 * 60 * 1000;

pub struct Dice(Mutex<StdRng>);

impl Dice {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(StdRng::seed_from_u64(seed))))
    }
}

impl Entropy for Dice {
    fn fill(&self, out: &mut [u8]) {
        self.0.lock().unwrap().fill_bytes(out);
    }
}

/// A store that counts what is read and can be told to fail.
pub struct Watched {
    pub store: SqliteStore,
    pub token_reads: AtomicUsize,
    pub fails: AtomicBool,
    /// Refuses changes that come with a record.
    pub records_fail: AtomicBool,
}

impl Watched {
    fn check(&self) -> Result<(), StoreError> {
        if self.fails.load(Ordering::SeqCst) { Err(StoreError::Engine("told to".into())) } else { Ok(()) }
    }
}

#[async_trait]
impl PeopleStore for Watched {
    async fn directory(&self) -> Result<Directory, StoreError> {
        self.check()?;
        self.store.directory().await
    }

    async fn change_people(&self, changes: Vec<PeopleChange>, empty: bool) -> Result<PeopleWritten, StoreError> {
        self.check()?;
        let recorded = changes.iter().any(|change| matches!(change, PeopleChange::Record(_)));
        if recorded && self.records_fail.load(Ordering::SeqCst) {
            return Err(StoreError::Engine("no record".into()));
        }
        self.store.change_people(changes, empty).await
    }

    async fn put_token(&self, token: &Token) -> Result<(), StoreError> {
        self.check()?;
        self.store.put_token(token).await
    }

    async fn token(&self, hash: TokenHash) -> Result<Option<Token>, StoreError> {
        self.token_reads.fetch_add(1, Ordering::SeqCst);
        self.check()?;
        self.store.token(hash).await
    }

    async fn remove_token(&self, hash: TokenHash) -> Result<bool, StoreError> {
        self.check()?;
        self.store.remove_token(hash).await
    }

    async fn remove_tokens_of(&self, user_id: &UserId) -> Result<u64, StoreError> {
        self.check()?;
        self.store.remove_tokens_of(user_id).await
    }

    async fn remove_tokens_expired_by(&self, moment: Timestamp) -> Result<u64, StoreError> {
        self.check()?;
        self.store.remove_tokens_expired_by(moment).await
    }
}

#[async_trait]
impl KeyPairStore for Watched {
    async fn add_key_pair(&self, pair: NewKeyPair, most: u32) -> Result<KeyPairWritten, StoreError> {
        self.check()?;
        self.store.add_key_pair(pair, most).await
    }

    async fn key_pairs(&self, owner: &KeyPairOwner) -> Result<Vec<KeyPair>, StoreError> {
        self.check()?;
        self.store.key_pairs(owner).await
    }

    async fn key_pair(&self, owner: &KeyPairOwner, name: &str) -> Result<Option<KeyPair>, StoreError> {
        self.check()?;
        self.store.key_pair(owner, name).await
    }

    async fn describe_key_pair(
        &self,
        owner: &KeyPairOwner,
        name: &str,
        description: &str,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.check()?;
        self.store.describe_key_pair(owner, name, description, at).await
    }

    async fn remove_key_pair(&self, owner: &KeyPairOwner, name: &str) -> Result<bool, StoreError> {
        self.check()?;
        self.store.remove_key_pair(owner, name).await
    }
}

/// A service with its first administrator, on a folder that goes when it goes.
pub struct World {
    pub iam: Iam,
    pub admin: FirstStart,
    pub clock: Arc<ManualClock>,
    pub store: Arc<Watched>,
    pub folder: TempDir,
}

pub fn config() -> IamConfig {
    let password_cost = PasswordCost { memory_kib: 8, passes: 1, at_once: 2 };
    IamConfig { password_cost, ..IamConfig::new("local") }
}

pub async fn store_in(folder: &Path) -> Arc<Watched> {
    let store = SqliteStore::open(&folder.join("store.db"), Sealer::new(&[7; 32], Dice::new(1))).await.unwrap();
    Arc::new(Watched {
        store,
        token_reads: AtomicUsize::new(0),
        fails: AtomicBool::new(false),
        records_fail: AtomicBool::new(false),
    })
}

pub async fn open(store: &Arc<Watched>, clock: &Arc<ManualClock>, seed: u64) -> Iam {
    Iam::open(Arc::clone(store) as Arc<dyn PeopleStore>, Arc::clone(clock) as _, Dice::new(seed), config())
        .await
        .unwrap()
}

impl World {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = store_in(folder.path()).await;
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(VECTORS_AT)));
        let iam = open(&store, &clock, 2).await;
        let admin = iam.bootstrap(|_| Ok(())).await.unwrap().expect("the store was empty");
        Self { iam, admin, clock, store, folder }
    }

    /// The same people and tokens, with nothing remembered.
    pub async fn reopened(&self) -> Iam {
        open(&self.store, &self.clock, 3).await
    }

    pub async fn change(&self, changes: Vec<PeopleChange>) {
        assert_eq!(self.iam.change_people(changes).await.unwrap(), PeopleWritten::Written);
    }

    /// The administrator, enabled or not.
    pub async fn enable_admin(&self, enabled: bool) {
        let directory = self.store.directory().await.unwrap();
        let user = directory.users.into_iter().find(|user| user.id == self.admin.user_id).unwrap();
        self.change(vec![PeopleChange::PutUser(User { enabled, ..user })]).await;
    }

    /// Another user with a project of their own and the administrator's password.
    pub async fn add_stranger(&self, domain: Option<Domain>) -> Stranger {
        let directory = self.store.directory().await.unwrap();
        let domain_id = domain.as_ref().map_or(&self.admin.domain_id, |domain| &domain.id).clone();
        let user = User { id: id("b"), domain_id: domain_id.clone(), name: "eve".into(), ..directory.users[0].clone() };
        let project = Project { id: id("c"), domain_id, name: "eves".into(), description: "eve's own project".into() };
        let stranger = Stranger { user_id: user.id.clone(), project_id: project.id.clone() };
        let target = GrantTarget::Project(project.id.clone());
        let mut changes: Vec<_> = domain.into_iter().map(PeopleChange::PutDomain).collect();
        changes.push(PeopleChange::PutUser(user));
        changes.push(PeopleChange::PutProject(project));
        changes.push(PeopleChange::Give(Grant { user_id: id("b"), target, role: Role::Member }));
        self.change(changes).await;
        stranger
    }

    pub fn admins_password(&self) -> Value {
        json!({
            "name": "admin",
            "domain": {"name": "atelier"},
            "password": self.admin.password.expose_secret(),
        })
    }

    pub async fn log_in(&self, user: Value, scope: Value) -> Result<Issued, IamRefusal> {
        log_in(&self.iam, user, scope).await
    }

    pub async fn admins_token(&self, scope: Value) -> Issued {
        self.log_in(self.admins_password(), scope).await.unwrap()
    }

    pub async fn project_token(&self) -> String {
        let issued = self.admins_token(json!({"project": {"name": "local"}})).await;
        issued.text.expose_secret().to_owned()
    }
}

pub struct Stranger {
    pub user_id: UserId,
    pub project_id: ProjectId,
}

pub fn other_domain() -> Domain {
    Domain { id: id::<DomainId>("d"), name: "elsewhere".into(), description: String::new() }
}

/// 32 times this digit.
pub fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(digit: &str) -> T {
    digit.repeat(32).parse().unwrap()
}

pub async fn log_in(iam: &Iam, user: Value, scope: Value) -> Result<Issued, IamRefusal> {
    let identity = json!({"methods": ["password"], "password": {"user": user}});
    ask(iam, identity, scope).await
}

pub async fn with_token(iam: &Iam, token: &str, scope: Value) -> Result<Issued, IamRefusal> {
    ask(iam, json!({"methods": ["token"], "token": {"id": token}}), scope).await
}

async fn ask(iam: &Iam, identity: Value, scope: Value) -> Result<Issued, IamRefusal> {
    let body = json!({"auth": {"identity": identity, "scope": scope}}).to_string();
    iam.log_in(AuthRequest::parse(body.as_bytes())?, HERE).await
}

/// A request that owns its parts, so that they can be tampered with.
#[derive(Clone, Debug)]
pub struct Draft {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub from: IpAddr,
}

impl Draft {
    pub fn new(method: &str, path: &str, query: &str) -> Self {
        let headers = vec![("host".to_owned(), "localhost:8080".to_owned())];
        let (method, path, query) = (method.to_owned(), path.to_owned(), query.to_owned());
        Self { method, path, query, headers, body: Vec::new(), from: HERE }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn body(mut self, body: &str) -> Self {
        self.body = body.as_bytes().to_vec();
        self
    }

    pub fn value(&mut self, name: &str) -> &mut String {
        &mut self.headers.iter_mut().find(|(header, _)| header == name).unwrap().1
    }

    /// Signs what is there, at this moment. Written from the rules and not with the service's own code; the path has
    /// to be plain and the query in its canonical form.
    pub fn signed(self, at: Timestamp, access: &str, secret: &str) -> Self {
        let date = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap().strftime("%Y%m%dT%H%M%SZ").to_string();
        let mut draft = self.header("x-sdk-date", &date);
        draft.headers.sort();
        let names: Vec<_> = draft.headers.iter().map(|(name, _)| name.clone()).collect();
        let lines: Vec<_> = draft.headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
        let lines = lines.concat();
        let hash = match draft.headers.iter().find(|(name, _)| name == "x-sdk-content-sha256") {
            Some((_, value)) if !draft.body.is_empty() => value.clone(),
            _ => hex(&Sha256::digest(&draft.body)),
        };
        let names = names.join(";");
        let canonical = format!("{}\n{}/\n{}\n{lines}\n{names}\n{hash}", draft.method, draft.path, draft.query);
        let string_to_sign = format!("SDK-HMAC-SHA256\n{date}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
        let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        let signature = hex(&mac.chain_update(string_to_sign).finalize().into_bytes());
        draft.header(
            "authorization",
            &format!("SDK-HMAC-SHA256 Access={access}, SignedHeaders={names}, Signature={signature}"),
        )
    }

    pub fn header_map(&self) -> HeaderMap {
        let header = |(name, value): &(String, String)| {
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        };
        let mut map = HeaderMap::new();
        for (name, value) in self.headers.iter().map(header) {
            map.append(name, value);
        }
        map
    }

    pub fn check(&self, iam: &Iam) -> Result<Identity, AuthRefusal> {
        let headers = self.header_map();
        iam.authenticate_signature(&self.incoming(&headers))
    }

    pub fn incoming<'a>(&'a self, headers: &'a HeaderMap) -> IncomingRequest<'a> {
        IncomingRequest {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers,
            body: &self.body,
            from: self.from,
        }
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

/// A refused signature is always the same status.
pub fn assert_bad_signature(answer: Result<Identity, AuthRefusal>) {
    let refusal = answer.expect_err("the signature must not be accepted");
    assert_eq!(refusal.code(), atelier_core::Code::BadSignature, "{refusal}");
    assert_eq!(refusal.code().http_status(), StatusCode::UNAUTHORIZED.as_u16());
}
