//! admin.json: what the first start leaves for the operator, and where this machine's clients find the server.

use std::io;
use std::path::Path;

use atelier_iam::{FirstStart, Iam};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::Announce;
use crate::client::target::ADMIN_FILE;
use crate::failure::Failure;
use crate::folder::write_private;

/// Makes the first administrator where there is none, and keeps the address in the file true.
pub(super) async fn ensure(iam: &Iam, folder: &Path, endpoint: &str, announce: Announce) -> Result<(), Failure> {
    let path = folder.join(ADMIN_FILE);
    let made = iam
        .bootstrap(|first| write(&path, &content(first, endpoint)))
        .await
        .map_err(|e| Failure::new(format!("the first start failed: {e}")))?;
    if made.is_some() {
        tracing::info!(file = %path.display(), "first start: the administrator's credentials are in {}", path.display());
    } else if announce == Announce::Yes {
        readdress(&path, endpoint)
            .map_err(|e| Failure::new(format!("{} cannot be brought up to date: {e}", path.display())))?;
    }
    Ok(())
}

fn content(first: &FirstStart, endpoint: &str) -> Value {
    json!({
        "endpoint": endpoint,
        "region": first.region,
        "domain_name": first.domain_name,
        "domain_id": first.domain_id.as_str(),
        "user_name": first.user_name,
        "user_id": first.user_id.as_str(),
        "password": first.password.expose_secret(),
        "project_name": first.project_name,
        "project_id": first.project_id.as_str(),
        "access_key": first.access_key,
        "secret_key": first.secret_key.expose_secret(),
    })
}

fn write(path: &Path, content: &Value) -> io::Result<()> {
    write_private(path, format!("{content:#}\n").as_bytes())
}

/// Writes the address that the server listens on now. An operator may have taken the file away: then it stays away.
fn readdress(path: &Path, endpoint: &str) -> io::Result<()> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    let mut content: Value = serde_json::from_slice(&text)?;
    if content["endpoint"] == endpoint {
        return Ok(());
    }
    content["endpoint"] = endpoint.into();
    write(path, &content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_address_changes_and_only_where_there_is_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(ADMIN_FILE);
        readdress(&path, "http://b").unwrap();
        assert!(!path.exists());
        write(&path, &json!({"endpoint": "http://a", "password": "p", "later": 1})).unwrap();
        readdress(&path, "http://b").unwrap();
        let now: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(now, json!({"endpoint": "http://b", "password": "p", "later": 1}));
    }
}
