//! Asks a notebook server what it does: which kernels and terminals it has, in Jupyter's words.
//!
//! The engine wants to know, and speaks no HTTP; the gateway is the one that speaks with notebook servers. The question
//! goes over a connection of its own, with the upstream secret and `no_track_activity`, and reads nothing but two lists,
//! so that asking is not taken for activity by whoever is asked. The answer is the notebook's own and may be anything:
//! it is read up to a size, and what is not in the known shape is no answer.

use std::sync::Arc;

use async_trait::async_trait;
use atelier_core::activity::{Answer, Kernel, Terminal};
use atelier_core::id::NotebookId;
use atelier_engine::{Asked, Asker};
use atelier_runtime::{Runtime, RuntimeError};
use axum::body::Body;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

/// The longest answer that is read, in bytes.
const LONGEST: usize = 1 << 20;
/// The longest list that is believed.
const MOST: usize = 1000;

/// Asks the notebook servers of a runtime.
pub struct NotebookAsker {
    runtime: Arc<dyn Runtime>,
}

impl NotebookAsker {
    /// An asker of this runtime's notebook servers.
    pub fn new(runtime: Arc<dyn Runtime>) -> Self {
        Self { runtime }
    }

    async fn ask_both(&self, id: NotebookId, secret: &SecretString) -> Answer<Asked> {
        let io = self.runtime.connect(id).await.map_err(|error| match error {
            RuntimeError::Absent => "the notebook server does not run".to_owned(),
            other => other.to_string(),
        })?;
        let (mut sender, connection) = handshake(TokioIo::new(io)).await.map_err(|e| broken(&e))?;
        let both = async {
            let kernels = list(&mut sender, "/api/kernels", secret).await;
            // The second question waits for the connection; after a broken answer there is none.
            let terminals = list(&mut sender, "/api/terminals", secret).await;
            Asked {
                kernels: kernels.and_then(|found| kernels_in(found.as_ref())),
                terminals: terminals.and_then(|found| terminals_in(found.as_ref())),
            }
        };
        tokio::select! {
            biased;
            asked = both => Ok(asked),
            _ = connection => Err("the notebook server closed the connection".into()),
        }
    }
}

#[async_trait]
impl Asker for NotebookAsker {
    async fn ask(&self, id: NotebookId, secret: &SecretString) -> Asked {
        self.ask_both(id, secret).await.unwrap_or_else(|why| Asked::nothing(&why))
    }
}

/// The list at `path`; `None` where the server has no such thing.
async fn list(sender: &mut SendRequest<Body>, path: &str, secret: &SecretString) -> Answer<Option<Value>> {
    let request = Request::get(format!("{path}?no_track_activity=1"))
        .header(header::HOST, "localhost")
        .header(header::AUTHORIZATION, format!("token {}", secret.expose_secret()))
        .body(Body::empty())
        .map_err(|e| e.to_string())?;
    sender.ready().await.map_err(|e| broken(&e))?;
    let response = sender.send_request(request).await.map_err(|e| broken(&e))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LONGEST).collect().await;
    let body = body.map_err(|_| format!("the answer to {path} did not arrive whole"))?.to_bytes();
    match status {
        StatusCode::OK => serde_json::from_slice(&body).map(Some).map_err(|_| format!("{path} is no JSON")),
        StatusCode::NOT_FOUND => Ok(None),
        other => Err(format!("{path} is answered {}", other.as_u16())),
    }
}

fn broken(error: &hyper::Error) -> String {
    format!("the notebook server does not answer: {error}")
}

/// A server without kernels is none that is known here, so nothing is known of what it computes.
fn kernels_in(found: Option<&Value>) -> Answer<Vec<Kernel>> {
    let found = found.ok_or("the notebook server has no kernels to ask for")?;
    let kernel = |item: &Value| {
        Some(Kernel {
            id: text(item, "id")?,
            state: text(item, "execution_state")?,
            mark: text(item, "last_activity").unwrap_or_default(),
        })
    };
    each(found, kernel).ok_or_else(|| "/api/kernels is no list of kernels".into())
}

/// Terminals are an extension, and may be switched off.
fn terminals_in(found: Option<&Value>) -> Answer<Vec<Terminal>> {
    let Some(found) = found else { return Ok(Vec::new()) };
    let terminal = |item: &Value| {
        Some(Terminal { name: text(item, "name")?, mark: text(item, "last_activity").unwrap_or_default() })
    };
    each(found, terminal).ok_or_else(|| "/api/terminals is no list of terminals".into())
}

fn each<T>(found: &Value, read: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    found.as_array().filter(|items| items.len() <= MOST)?.iter().map(read).collect()
}

fn text(item: &Value, name: &str) -> Option<String> {
    item[name].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lists_are_read_in_the_shape_of_jupyter() {
        let kernels = json!([{"id": "k", "name": "python3", "execution_state": "busy", "last_activity": "t", "x": 1}]);
        let wanted = Kernel { id: "k".into(), state: "busy".into(), mark: "t".into() };
        assert_eq!(kernels_in(Some(&kernels)), Ok(vec![wanted]));
        let terminals = json!([{"name": "1", "last_activity": "t"}]);
        assert_eq!(terminals_in(Some(&terminals)), Ok(vec![Terminal { name: "1".into(), mark: "t".into() }]));
        assert_eq!(terminals_in(None), Ok(Vec::new()));
    }

    #[test]
    fn everything_else_is_no_answer() {
        assert!(kernels_in(None).is_err());
        for wrong in [json!({}), json!([1]), json!([{"id": "k"}]), json!(null), json!(vec![json!({}); 1001])] {
            assert!(kernels_in(Some(&wrong)).is_err(), "{wrong}");
            assert!(terminals_in(Some(&wrong)).is_err(), "{wrong}");
        }
    }
}
