//! Tokens: earned with a password, kept until they expire, earned anew when they do.

use std::path::{Path, PathBuf};

use atelier_wire::identity::TokenAnswer;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::target::{Password, Remembered, read_json};
use super::transport::Transport;
use crate::failure::Failure;
use crate::folder::write_private;

/// Where the last token is kept, in the folder of what the command line remembers.
pub(crate) const TOKEN_FILE: &str = "token.json";
/// A token this close to its end is not used any more: a command should not lose it half-way.
const LAST_MINUTES_MS: i64 = 5 * 60 * 1000;

/// A token and where it counts.
#[derive(Clone, Debug)]
pub(crate) struct ScopedToken {
    /// Its text.
    pub text: SecretString,
    /// The project's id.
    pub project_id: String,
    /// When it expires, in milliseconds since 1970 UTC.
    pub expires_at: i64,
}

/// Asks for a token in the wanted project, or in the only one there is.
pub(crate) async fn earn(transport: &Transport, password: &Password) -> Result<ScopedToken, Failure> {
    let project = match &password.project_name {
        Some(name) => json!({"name": name, "domain": {"name": password.domain_name}}),
        None => json!({"id": only_project(transport, password).await?}),
    };
    issue(transport, password, Some(json!({"project": project}))).await
}

async fn issue(transport: &Transport, password: &Password, scope: Option<Value>) -> Result<ScopedToken, Failure> {
    let user = json!({
        "name": password.user_name,
        "domain": {"name": password.domain_name},
        "password": password.password.expose_secret(),
    });
    let mut auth = json!({"identity": {"methods": ["password"], "password": {"user": user}}});
    if let Some(scope) = scope {
        auth["scope"] = scope;
    }
    let request = transport.request(reqwest::Method::POST, "/v3/auth/tokens").json(&json!({"auth": auth}));
    let response = transport.send(request).await.map_err(|failure| match failure.status {
        Some(401) => failure.hint("is the password still the right one? `atelier login` asks for it"),
        _ => failure,
    })?;
    let header = response.headers().get("x-subject-token").and_then(|value| value.to_str().ok());
    let text = header.map(SecretString::from).ok_or_else(|| Failure::new("the server sent no token"))?;
    described(text, transport.json(response).await?)
}

fn described(text: SecretString, answer: Value) -> Result<ScopedToken, Failure> {
    let unreadable = || Failure::new("the server described its token in a way that this version does not know");
    let answer: TokenAnswer = serde_json::from_value(answer).map_err(|_| unreadable())?;
    let expires_at: jiff::Timestamp = answer.token.expires_at.parse().map_err(|_| unreadable())?;
    let project_id = answer.token.project.map(|project| project.id).unwrap_or_default();
    Ok(ScopedToken { text, project_id, expires_at: expires_at.as_millisecond() })
}

async fn only_project(transport: &Transport, password: &Password) -> Result<String, Failure> {
    let token = issue(transport, password, None).await?;
    let request = transport.request(reqwest::Method::GET, "/v3/auth/projects");
    let request = request.header("X-Auth-Token", token.text.expose_secret());
    let answer = transport.json(transport.send(request).await?).await?;
    let projects = answer["projects"].as_array().cloned().unwrap_or_default();
    match projects.as_slice() {
        [only] => Ok(only["id"].as_str().unwrap_or_default().to_owned()),
        [] => Err(Failure::new(format!("the user `{}` has no project", password.user_name))),
        several => {
            let names: Vec<_> = several.iter().filter_map(|project| project["name"].as_str()).collect();
            let message = format!("the user `{}` has several projects: {}", password.user_name, names.join(", "));
            Err(Failure::new(message).hint("choose one with --project or ATELIER_PROJECT"))
        }
    }
}

/// What a token is worth that somebody else has earned.
pub(crate) async fn inspect(transport: &Transport, text: SecretString) -> Result<ScopedToken, Failure> {
    let request = transport
        .request(reqwest::Method::GET, "/v3/auth/tokens?nocatalog=1")
        .header("X-Auth-Token", text.expose_secret())
        .header("X-Subject-Token", text.expose_secret());
    let response = transport.send(request).await.map_err(|failure| match failure.status {
        Some(401 | 404) => failure.hint("the token has expired or was never one; `atelier token` makes one"),
        _ => failure,
    })?;
    let token = described(text, transport.json(response).await?)?;
    if token.project_id.is_empty() {
        return Err(
            Failure::new("the token is not scoped to a project").hint("ask for one with a project in its scope")
        );
    }
    Ok(token)
}

/// Makes a token worthless. One that already is needs nothing.
pub(crate) async fn revoke(transport: &Transport, text: &SecretString) -> Result<(), Failure> {
    let request = transport
        .request(reqwest::Method::DELETE, "/v3/auth/tokens")
        .header("X-Auth-Token", text.expose_secret())
        .header("X-Subject-Token", text.expose_secret());
    match transport.send(request).await {
        Err(failure) if !matches!(failure.status, Some(401 | 404)) => Err(failure),
        _ => Ok(()),
    }
}

/// The last token, kept for the next command.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    path: PathBuf,
}

impl Kept {
    /// In this folder.
    pub(crate) fn in_folder(config_dir: &Path) -> Self {
        Self { path: config_dir.join(TOKEN_FILE) }
    }

    /// The kept token, when it was earned with this name at this server and is still good at `now`.
    pub(crate) fn find(&self, endpoint: &str, password: &Password, now: i64) -> Option<ScopedToken> {
        let kept: Remembered = read_json(&self.path).ok()??;
        let same = kept.endpoint == endpoint
            && kept.user_name == password.user_name
            && kept.domain_name == password.domain_name
            && kept.project_name == password.project_name
            && now < kept.expires_at - LAST_MINUTES_MS;
        same.then(|| ScopedToken { text: kept.token.into(), project_id: kept.project_id, expires_at: kept.expires_at })
    }

    /// Keeps a token. A folder that cannot be written only costs the next command a login.
    pub(crate) fn keep(&self, endpoint: &str, password: &Password, token: &ScopedToken) {
        let _ = write_remembered(&self.path, &remembered(endpoint, password, token));
    }
}

/// What is remembered of a token.
pub(crate) fn remembered(endpoint: &str, password: &Password, token: &ScopedToken) -> Remembered {
    Remembered {
        endpoint: endpoint.to_owned(),
        user_name: password.user_name.clone(),
        domain_name: password.domain_name.clone(),
        project_name: password.project_name.clone(),
        project_id: token.project_id.clone(),
        token: token.text.expose_secret().to_owned(),
        expires_at: token.expires_at,
        ca_certificate: None,
    }
}

/// Writes a token where only its owner can read it.
pub(crate) fn write_remembered(path: &Path, remembered: &Remembered) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    write_private(path, format!("{:#}\n", serde_json::to_value(remembered)?).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(user: &str) -> Password {
        Password {
            user_name: user.into(),
            domain_name: "d".into(),
            password: "x".into(),
            project_name: Some("local".into()),
        }
    }

    #[test]
    fn a_token_is_kept_for_its_owner_its_server_and_its_time_only() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::in_folder(&folder.path().join("new"));
        let token = ScopedToken { text: "t".into(), project_id: "p".into(), expires_at: 1_000_000 };
        kept.keep("http://a", &password("u"), &token);
        let found = |endpoint, user, now| kept.find(endpoint, &password(user), now).is_some();
        assert!(found("http://a", "u", 0));
        assert!(!found("http://b", "u", 0));
        assert!(!found("http://a", "v", 0));
        assert!(found("http://a", "u", 1_000_000 - LAST_MINUTES_MS - 1));
        assert!(!found("http://a", "u", 1_000_000 - LAST_MINUTES_MS));
    }

    #[test]
    fn what_is_remembered_is_for_the_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::in_folder(&folder.path().join("new"));
        kept.keep("e", &password("u"), &ScopedToken { text: "t".into(), project_id: "p".into(), expires_at: 9 });
        assert_eq!(std::fs::metadata(&kept.path).unwrap().permissions().mode() & 0o777, 0o600);
        let parent = kept.path.parent().unwrap();
        assert_eq!(std::fs::metadata(parent).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
