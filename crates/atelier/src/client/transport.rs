//! Requests and answers, without knowing who sends them: retries, and refusals in words for people.

use std::time::Duration;

use atelier_wire::ApiError;
use atelier_wire::identity::IdentityError;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Upgraded, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};

use super::reach::Reach;
use crate::failure::Failure;

/// How often a request is repeated that the server refused because there were too many.
const REPEATS: u32 = 5;
/// The longest wait between two of them.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A way to one server.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    http: reqwest::Client,
    endpoint: String,
}

impl Transport {
    /// A way to a server.
    pub(crate) fn to(reach: &Reach) -> Result<Self, Failure> {
        let endpoint = &reach.url;
        let url: reqwest::Url = endpoint.parse().map_err(|_| {
            Failure::new(format!("`{endpoint}` is no address of a server, such as http://127.0.0.1:8080"))
        })?;
        let builder = reqwest::Client::builder()
            .user_agent(concat!("atelier/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            // A redirect would carry the token to another place.
            .redirect(reqwest::redirect::Policy::none());
        let builder = match (reach.at, url.host_str()) {
            (Some(at), Some(host)) => builder.resolve(host, (at, 0).into()).no_proxy(),
            _ if is_this_machine(&url) => builder.no_proxy(),
            _ => builder,
        };
        let builder = roots(reach)?.into_iter().fold(builder, reqwest::ClientBuilder::add_root_certificate);
        let http = builder.build().map_err(|e| Failure::new(format!("no HTTP client can be made: {}", causes(&e))))?;
        Ok(Self { http, endpoint: endpoint.trim_end_matches('/').to_owned() })
    }

    /// The server's address.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A request for `path`, which begins with a slash.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.endpoint))
    }

    /// Sends a request; again when the server asks for patience. A refusal becomes a failure.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        for _ in 0..REPEATS {
            let Some(copy) = request.try_clone() else { break };
            let response = copy.send().await.map_err(|e| self.unreachable(&e))?;
            if response.status() != StatusCode::TOO_MANY_REQUESTS {
                return checked(response).await;
            }
            tokio::time::sleep(pause(&response)).await;
        }
        checked(request.send().await.map_err(|e| self.unreachable(&e))?).await
    }

    /// Opens a WebSocket of this protocol.
    pub(crate) async fn websocket(
        &self,
        path: &str,
        protocol: &str,
        token: &SecretString,
    ) -> Result<Upgraded, Failure> {
        let key = generate_key();
        let request = self
            .request(Method::GET, path)
            .header("X-Auth-Token", token.expose_secret())
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_PROTOCOL, protocol)
            .header(header::SEC_WEBSOCKET_KEY, &key);
        let response = request.send().await.map_err(|e| self.unreachable(&e))?;
        let accepted = response.headers().get(header::SEC_WEBSOCKET_ACCEPT).map(|value| value.as_bytes().to_vec());
        if response.status() == StatusCode::SWITCHING_PROTOCOLS
            && accepted == Some(derive_accept_key(key.as_bytes()).into())
        {
            return response.upgrade().await.map_err(|e| self.unreachable(&e));
        }
        checked(response).await?;
        Err(Failure::new(format!("{} speaks no WebSocket", self.endpoint))
            .hint("a proxy on the way must pass on `Upgrade`; see docs/tls.md"))
    }

    /// The JSON in an answer; null when it is empty.
    pub(crate) async fn json(&self, response: Response) -> Result<Value, Failure> {
        let bytes = response.bytes().await.map_err(|e| self.unreachable(&e))?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|_| {
            Failure::new(format!("{} answered something that is no JSON", self.endpoint))
                .hint("is this the address of an Atelier server?")
        })
    }

    /// Why there was no answer, or no whole one.
    pub(crate) fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let causes = causes(error);
        let failure = Failure::new(format!("{} cannot be reached: {causes}", self.endpoint));
        if causes.contains("invalid peer certificate") {
            return failure.hint("name the CA to trust with --ca-file or ATELIER_CA_FILE; see docs/tls.md");
        }
        if error.is_connect() {
            return failure.hint("does the server run? `atelier up` or `atelier serve` starts one");
        }
        failure
    }
}

/// What is trusted besides the usual roots.
fn roots(reach: &Reach) -> Result<Vec<reqwest::Certificate>, Failure> {
    let Some(pem) = &reach.ca_certificate else { return Ok(Vec::new()) };
    let unreadable = || Failure::new("the certificates to trust must be in PEM");
    let roots = reqwest::Certificate::from_pem_bundle(pem.as_bytes()).map_err(|_| unreadable())?;
    if roots.is_empty() { Err(unreadable()) } else { Ok(roots) }
}

fn is_this_machine(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(|c| c == '[' || c == ']').parse::<std::net::IpAddr>();
    host == "localhost" || host.ends_with(".localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// The whole chain of causes, without the address: it may hold a token.
fn causes(error: &reqwest::Error) -> String {
    let mut texts = Vec::new();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        texts.push(cause.to_string());
        next = cause.source();
    }
    texts.dedup();
    if texts.is_empty() { "the connection broke off".into() } else { texts.join(": ") }
}

fn pause(response: &Response) -> Duration {
    let header = response.headers().get(reqwest::header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let seconds = header.and_then(|text| text.parse().ok()).map(Duration::from_secs);
    seconds.unwrap_or(Duration::from_secs(1)).min(LONGEST_PAUSE)
}

async fn checked(response: Response) -> Result<Response, Failure> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let id = response.headers().get("x-request-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = response.bytes().await.unwrap_or_default();
    Err(refusal(status.as_u16(), &body, id))
}

/// A refusal in words, from whichever of the bodies it came in.
fn refusal(status: u16, body: &[u8], request_id: Option<String>) -> Failure {
    if let Ok(error) = serde_json::from_slice::<ApiError>(body) {
        let request_id = request_id.or(error.request_id);
        return Failure::new(error.error_msg).refused(status, Some(error.error_code), request_id);
    }
    let message = match serde_json::from_slice::<IdentityError>(body) {
        Ok(answer) => answer.error.message,
        Err(_) => format!("the server answered with HTTP status {status}"),
    };
    Failure::new(message).refused(status, None, request_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_read_from_every_body() {
        let told = |body: &str| refusal(400, body.as_bytes(), Some("r".into())).to_string();
        assert_eq!(
            told(r#"{"error_code":"ModelArts.6357","error_msg":"not now"}"#),
            "not now (ModelArts.6357)\nrequest: r"
        );
        assert_eq!(
            told(r#"{"error":{"code":401,"message":"wrong password","title":"Unauthorized"}}"#),
            "wrong password\nrequest: r"
        );
        assert_eq!(told("<html>"), "the server answered with HTTP status 400\nrequest: r");
    }

    #[test]
    fn proxies_are_left_out_for_this_machine_only() {
        let local = |text: &str| is_this_machine(&text.parse().unwrap());
        for here in ["http://127.0.0.1:1", "http://localhost", "http://[::1]:2", "http://a.localhost"] {
            assert!(local(here), "{here}");
        }
        for far in ["http://example.com", "http://10.0.0.1", "http://notlocalhost"] {
            assert!(!local(far), "{far}");
        }
    }

    #[test]
    fn what_is_no_address_is_said_so() {
        let told = Transport::to(&Reach::to("not an address")).unwrap_err().to_string();
        assert!(told.contains("such as http://127.0.0.1:8080"), "{told}");
    }
}
