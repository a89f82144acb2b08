//! The client of the API that the command line is.

pub(crate) mod reach;
pub(crate) mod target;
pub(crate) mod tokens;
pub(crate) mod transport;

use reqwest::{Method, Response, Upgraded};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::sync::Mutex;

pub(crate) use self::reach::Reach;
use self::target::{Clues, Password, Proof};
use self::tokens::{Kept, ScopedToken};
use self::transport::Transport;
use crate::args::Connection;
use crate::failure::Failure;
use crate::places::Surroundings;
use atelier_core::{Clock, SystemClock};

/// A client that has shown who it is.
#[derive(Debug)]
pub(crate) struct Client {
    transport: Transport,
    project_id: String,
    token: Mutex<ScopedToken>,
    renewal: Option<Renewal>,
}

/// How a new token is had when the old one is refused.
#[derive(Debug)]
struct Renewal {
    password: Password,
    kept: Kept,
}

impl Client {
    /// Finds the server and shows who we are.
    pub(crate) async fn connect(connection: &Connection, surroundings: &Surroundings) -> Result<Self, Failure> {
        Self::connect_at(connection, surroundings, None).await
    }

    /// The same, for a server whose address is known better than what was found says.
    pub(crate) async fn connect_at(
        connection: &Connection,
        surroundings: &Surroundings,
        better: Option<&Reach>,
    ) -> Result<Self, Failure> {
        let target = Clues::gather(connection, surroundings)?.choose()?;
        let better = better.map(|better| better.clone().trusting(target.reach.ca_certificate.as_deref()));
        let transport = Transport::to(&better.unwrap_or(target.reach))?;
        match target.proof {
            Proof::Token(text, Some(project_id)) => {
                let token = ScopedToken { text, project_id, expires_at: i64::MAX };
                Ok(Self::holding(transport, token, None))
            }
            Proof::Token(text, None) => {
                let token = tokens::inspect(&transport, text).await?;
                Ok(Self::holding(transport, token, None))
            }
            Proof::Password(password) => {
                let kept = Kept::in_folder(&surroundings.config_dir());
                Self::with_password(transport, password, kept).await
            }
        }
    }

    async fn with_password(transport: Transport, password: Password, kept: Kept) -> Result<Self, Failure> {
        let now = SystemClock.now().as_millis();
        let token = if let Some(token) = kept.find(transport.endpoint(), &password, now) {
            token
        } else {
            let token = tokens::earn(&transport, &password).await?;
            kept.keep(transport.endpoint(), &password, &token);
            token
        };
        Ok(Self::holding(transport, token, Some(Renewal { password, kept })))
    }

    fn holding(transport: Transport, token: ScopedToken, renewal: Option<Renewal>) -> Self {
        Self { transport, project_id: token.project_id.clone(), token: Mutex::new(token), renewal }
    }

    /// The project in use.
    pub(crate) fn project_id(&self) -> &str {
        &self.project_id
    }

    /// The server's address.
    pub(crate) fn endpoint(&self) -> &str {
        self.transport.endpoint()
    }

    /// The token in use. A kept one is tried before it is handed out.
    pub(crate) async fn token(&self) -> Result<ScopedToken, Failure> {
        let text = self.token.lock().await.text.clone();
        match (tokens::inspect(&self.transport, text).await, &self.renewal) {
            (Err(failure), Some(renewal)) if matches!(failure.status, Some(401 | 404)) => self.renew(renewal).await,
            (inspected, _) => inspected,
        }
    }

    async fn renew(&self, renewal: &Renewal) -> Result<ScopedToken, Failure> {
        let token = tokens::earn(&self.transport, &renewal.password).await?;
        renewal.kept.keep(self.endpoint(), &renewal.password, &token);
        *self.token.lock().await = token.clone();
        Ok(token)
    }

    /// Calls an operation of the project: `path` is what follows `/v1/{project_id}`.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let path = format!("/v1/{}{path}", self.project_id);
        let response = self.exchange(&method, &path, body).await?;
        self.transport.json(response).await
    }

    /// Reads something of the project.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.call(Method::GET, path, None).await
    }

    /// Calls what only Atelier has, for its answer as it comes: `path` follows `/atelier/v1/{project_id}`.
    pub(crate) async fn stream(&self, method: Method, path: &str) -> Result<Response, Failure> {
        self.exchange(&method, &format!("/atelier/v1/{}{path}", self.project_id), None).await
    }

    /// Opens a WebSocket of this protocol: `path` follows `/atelier/v1/{project_id}`.
    pub(crate) async fn websocket(&self, path: &str, protocol: &str) -> Result<Upgraded, Failure> {
        let path = format!("/atelier/v1/{}{path}", self.project_id);
        self.with_token(async |token| self.transport.websocket(&path, protocol, token).await).await
    }

    /// Calls what only Atelier has, with a body.
    pub(crate) async fn own_with(&self, method: Method, path: &str, body: &Value) -> Result<Value, Failure> {
        let path = format!("/atelier/v1/{}{path}", self.project_id);
        self.transport.json(self.exchange(&method, &path, Some(body)).await?).await
    }

    /// Calls the identity service: `path` is the whole.
    pub(crate) async fn identity(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        self.transport.json(self.exchange(&method, path, body).await?).await
    }

    /// The id of whoever this is.
    pub(crate) async fn user_id(&self) -> Result<String, Failure> {
        let answer = self.identity(Method::GET, "/v5/caller-identity", None).await?;
        let id = answer["principal_id"].as_str().map(str::to_owned);
        id.ok_or_else(|| Failure::new("the server did not say who this is"))
    }

    /// Calls what only Atelier has.
    pub(crate) async fn own(&self, method: Method, path: &str) -> Result<Value, Failure> {
        self.transport.json(self.stream(method, path).await?).await
    }

    /// The next piece of a stream; `None` at its end.
    pub(crate) async fn chunk(&self, response: &mut Response) -> Result<Option<Vec<u8>>, Failure> {
        let chunk = response.chunk().await.map_err(|e| self.transport.unreachable(&e))?;
        Ok(chunk.map(|bytes| bytes.to_vec()))
    }

    /// Sends a request.
    async fn exchange(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<Response, Failure> {
        self.with_token(async |token| self.send(method, path, body, token).await).await
    }

    /// Asks with the token in use, and once more with a new one when that is refused.
    async fn with_token<T>(&self, ask: impl AsyncFn(&SecretString) -> Result<T, Failure>) -> Result<T, Failure> {
        let used = self.token.lock().await.text.clone();
        match (ask(&used).await, &self.renewal) {
            (Err(refused), Some(renewal)) if refused.status == Some(401) => ask(&self.renew(renewal).await?.text).await,
            (answer, _) => answer,
        }
        .map_err(explained)
    }

    async fn send(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        token: &SecretString,
    ) -> Result<Response, Failure> {
        let request = self.transport.request(method.clone(), path).header("X-Auth-Token", token.expose_secret());
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        self.transport.send(request).await
    }
}

fn explained(failure: Failure) -> Failure {
    match failure.status {
        Some(401) => failure.hint("`atelier login` logs in again"),
        _ => failure,
    }
}
