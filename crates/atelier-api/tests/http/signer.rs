//! Signs requests, written down a second time from the description of the signature: path with a slash at the end, sorted
//! query, signed headers, hash of the body.

use std::fmt::Write;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// The value of `Authorization`. `path` and `query` must need no encoding, `query` must be sorted, `headers` too.
pub(crate) fn authorization(
    (access, secret): (&str, &str),
    method: &str,
    (path, query): (&str, &str),
    headers: &[(&str, &str)],
    body: &[u8],
) -> String {
    let slash = if path.ends_with('/') { "" } else { "/" };
    let lines = headers.iter().fold(String::new(), |lines, (name, value)| format!("{lines}{name}:{value}\n"));
    let names: Vec<_> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let hash = hex(&Sha256::digest(body));
    let canonical = format!("{method}\n{path}{slash}\n{query}\n{lines}\n{names}\n{hash}");
    let date = headers.iter().find(|(name, _)| *name == "x-sdk-date").unwrap().1;
    let to_sign = format!("SDK-HMAC-SHA256\n{date}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(to_sign.as_bytes());
    let signature = hex(&mac.finalize().into_bytes());
    format!("SDK-HMAC-SHA256 Access={access}, SignedHeaders={names}, Signature={signature}")
}

/// The first vector of the description comes out.
#[test]
fn the_signer_agrees_with_the_published_vector() {
    let project = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
    let signed = authorization(
        ("AKIDEXAMPLE0000000A", "SkExampleSecretKey0000000000000000000000A"),
        "GET",
        (&format!("/v1/{project}/notebooks"), "limit=10&name=my%20nb%2F1&offset=0&sort_dir=DESC&workspace_id=0"),
        &[
            ("content-type", "application/json"),
            ("host", "modelarts.eu-de.example.com"),
            ("x-project-id", project),
            ("x-sdk-date", "20260115T083000Z"),
        ],
        b"",
    );
    assert!(signed.ends_with("Signature=6754a80307ea260b14f61be56584d56e2effba0379601c9c25f6072f17d23952"), "{signed}");
}
