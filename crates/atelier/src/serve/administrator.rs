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

/// The field with the root of the server's certificate.
const CA_FIELD: &str = "ca_certificate";

/// Makes the first administrator where there is none, and keeps the address in the file true.
pub(super) async fn ensure(
    iam: &Iam,
    folder: &Path,
    endpoint: &str,
    ca_certificate: Option<&str>,
    announce: Announce,
) -> Result<(), Failure> {
    let path = folder.join(ADMIN_FILE);
    let made = iam
        .bootstrap(|first| write(&path, &content(first, endpoint, ca_certificate)))
        .await
        .map_err(|e| Failure::new(format!("the first start failed: {e}")))?;
    if made.is_some() {
        tracing::info!(file = %path.display(), "first start: the administrator's credentials are in {}", path.display());
    } else if announce == Announce::Yes {
        readdress(&path, endpoint, ca_certificate)
            .map_err(|e| Failure::new(format!("{} cannot be brought up to date: {e}", path.display())))?;
    }
    Ok(())
}

fn content(first: &FirstStart, endpoint: &str, ca_certificate: Option<&str>) -> Value {
    let mut content = json!({
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
    });
    trust(&mut content, ca_certificate);
    content
}

/// Writes down what a client has to trust besides the usual roots: `ca_certificate`, only where there is such a thing.
fn trust(content: &mut Value, ca_certificate: Option<&str>) {
    let Some(fields) = content.as_object_mut() else { return };
    match ca_certificate {
        Some(pem) => fields.insert(CA_FIELD.to_owned(), pem.into()),
        None => fields.shift_remove(CA_FIELD),
    };
}

fn write(path: &Path, content: &Value) -> io::Result<()> {
    write_private(path, format!("{content:#}\n").as_bytes())
}

/// Writes the address that the server listens on now. An operator may have taken the file away: then it stays away.
fn readdress(path: &Path, endpoint: &str, ca_certificate: Option<&str>) -> io::Result<()> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    let mut content: Value = serde_json::from_slice(&text)?;
    let before = content.clone();
    content["endpoint"] = endpoint.into();
    trust(&mut content, ca_certificate);
    if content == before { Ok(()) } else { write(path, &content) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_address_and_its_root_change_and_only_where_there_is_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(ADMIN_FILE);
        readdress(&path, "http://b", None).unwrap();
        assert!(!path.exists());
        write(&path, &json!({"endpoint": "http://a", "password": "p", "later": 1})).unwrap();
        let now = || serde_json::from_slice::<Value>(&std::fs::read(&path).unwrap()).unwrap();
        readdress(&path, "https://b", Some("PEM")).unwrap();
        assert_eq!(now(), json!({"endpoint": "https://b", "password": "p", "later": 1, "ca_certificate": "PEM"}));
        readdress(&path, "http://b", None).unwrap();
        assert_eq!(now(), json!({"endpoint": "http://b", "password": "p", "later": 1}));
    }
}
