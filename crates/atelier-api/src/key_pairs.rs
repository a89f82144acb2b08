//! Key pairs for SSH: `/v3/{project_id}/keypairs`, in the shapes of the vendor's key pair service. Refusals come in the
//! words of the catalogue.

use atelier_core::limits::MAX_PAGE;
use atelier_core::refusal::{Code, Refusal};
use atelier_iam::{KeyAlgorithm, KeyFacts, KeySource};
use atelier_store::key_pairs::KeyPair;
use atelier_wire::ApiError;
use atelier_wire::key_pair::{
    KeyPairAnswer, KeyPairCreateRequest, KeyPairDetail, KeyPairMade, KeyPairMadeAnswer, KeyPairPageInfo,
    KeyPairSummary, KeyPairUpdateRequest, KeyPairsAnswer, ListedKeyPair,
};
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::Api;
use crate::answer::{Answer, Refused};
use crate::call::Call;
use crate::fields::Fields;

const SSH: &str = "ssh";
const USER: &str = "user";
/// Pairs on a page when nothing is said.
const DEFAULT_LIMIT: u32 = 50;
/// Fields of the vendor's service that this server does not offer.
const NOT_OFFERED: [&str; 1] = ["key_protection"];

/// Make a key pair, or import the public half of one. A private half that is made is in this answer only.
#[utoipa::path(
    post, path = "/v3/{project_id}/keypairs", operation_id = "CreateKeypair", tag = "key pairs",
    params(("project_id" = String, Path)),
    request_body = KeyPairCreateRequest,
    responses((status = 200, body = KeyPairMadeAnswer), (status = "default", body = ApiError)),
)]
pub(crate) async fn create(State(api): State<Api>, call: Call) -> Answer<KeyPairMadeAnswer> {
    let wanted = Fields::of_body(&call.body)?.required_object("keypair")?;
    NOT_OFFERED.iter().try_for_each(|name| wanted.refuse(name))?;
    let name = wanted.required_text("name")?;
    only(&wanted, "type", &["ssh", "x509"], SSH)?;
    only(&wanted, "scope", &["user", "domain"], USER)?;
    owner(&wanted, &call)?;
    let source = source(&wanted)?;
    let (pair, private_key) = api.iam.create_key_pair(&call.caller, name, source).await?;
    let keypair = KeyPairMade {
        fingerprint: KeyFacts::of(&pair.public_key).fingerprint,
        name: pair.name,
        kind: SSH.to_owned(),
        public_key: pair.public_key,
        private_key: private_key.map(|key| key.expose_secret().to_owned()),
        user_id: pair.owner.user_id.to_string(),
    };
    Ok(Json(KeyPairMadeAnswer { keypair }))
}

/// Refuses every word but the one that is offered.
fn only(wanted: &Fields, name: &str, words: &[&'static str], offered: &str) -> Result<(), Refusal> {
    match wanted.word(name, words)? {
        Some(word) if word != offered => Err(Refusal::unsupported(&format!("`{}` {word}", wanted.path_of(name)))),
        _ => Ok(()),
    }
}

/// A pair is its maker's; saying so is no mistake.
fn owner(wanted: &Fields, call: &Call) -> Result<(), Refusal> {
    match wanted.text("user_id")? {
        Some(id) if !id.is_empty() && id != call.caller.user_id.as_str() => {
            Err(Refusal::new(Code::NotPermitted, "`keypair.user_id` must be your own: key pairs of others are theirs"))
        }
        _ => Ok(()),
    }
}

/// An empty public key is none, as for the vendor's clients.
fn source(wanted: &Fields) -> Result<KeySource, Refusal> {
    let words = KeyAlgorithm::ALL.map(KeyAlgorithm::as_str);
    let algorithm = wanted.word("algorithm", &words)?;
    match wanted.text("public_key")? {
        Some(_) if algorithm.is_some() => {
            Err(Refusal::bad_value("keypair.algorithm", "absent when `keypair.public_key` is given"))
        }
        Some(text) if !text.is_empty() => Ok(KeySource::Imported(text.to_owned())),
        _ => {
            let asked = KeyAlgorithm::ALL.into_iter().find(|known| Some(known.as_str()) == algorithm);
            Ok(KeySource::Made(asked.unwrap_or(KeyAlgorithm::Ed25519)))
        }
    }
}

/// List the caller's key pairs, by name.
#[utoipa::path(
    get, path = "/v3/{project_id}/keypairs", operation_id = "ListKeypairs", tag = "key pairs",
    params(
        ("project_id" = String, Path),
        ("limit" = Option<u32>, Query, description = "1 to 1000; 50 when absent"),
        ("marker" = Option<String>, Query, description = "only pairs that come after this name"),
    ),
    responses((status = 200, body = KeyPairsAnswer), (status = "default", body = ApiError)),
)]
pub(crate) async fn list(State(api): State<Api>, call: Call) -> Answer<KeyPairsAnswer> {
    let limit = call.query.number_within("limit", 1, MAX_PAGE)?.unwrap_or(DEFAULT_LIMIT) as usize;
    let marker = call.query.text("marker")?.unwrap_or_default();
    let pairs = api.iam.key_pairs(&call.caller).await?;
    let names: Vec<_> = pairs.iter().map(|pair| pair.name.as_str()).collect();
    let (start, page_info) = page(&names, marker, limit);
    let keypairs = pairs[start..].iter().take(limit).map(summary).collect();
    Ok(Json(KeyPairsAnswer { keypairs, page_info }))
}

/// Where the page after `marker` begins among sorted names, and what it says of itself.
fn page(names: &[&str], marker: &str, limit: usize) -> (usize, KeyPairPageInfo) {
    let start = names.partition_point(|name| *name <= marker);
    let end = names.len().min(start + limit);
    let before = |position: usize| position.checked_sub(1).map_or("", |last| names[last]).to_owned();
    let page_info = KeyPairPageInfo {
        next_marker: (end < names.len()).then(|| before(end)),
        previous_marker: (start > 0).then(|| before(start.saturating_sub(limit))),
        current_count: (end - start) as u64,
    };
    (start, page_info)
}

/// Show one of the caller's key pairs.
#[utoipa::path(
    get, path = "/v3/{project_id}/keypairs/{keypair_name}", operation_id = "ListKeypairDetail", tag = "key pairs",
    params(("project_id" = String, Path), ("keypair_name" = String, Path)),
    responses((status = 200, body = KeyPairAnswer), (status = "default", body = ApiError)),
)]
pub(crate) async fn show(State(api): State<Api>, call: Call) -> Answer<KeyPairAnswer> {
    let pair = api.iam.key_pair(&call.caller, call.param("keypair_name")).await?;
    Ok(Json(KeyPairAnswer { keypair: detail(pair) }))
}

/// Describe one of the caller's key pairs anew.
#[utoipa::path(
    put, path = "/v3/{project_id}/keypairs/{keypair_name}", operation_id = "UpdateKeypairDescription",
    tag = "key pairs", params(("project_id" = String, Path), ("keypair_name" = String, Path)),
    request_body = KeyPairUpdateRequest,
    responses((status = 200, body = serde_json::Value), (status = "default", body = ApiError)),
)]
pub(crate) async fn update(State(api): State<Api>, call: Call) -> Answer<Value> {
    let wanted = Fields::of_body(&call.body)?.required_object("keypair")?;
    let description = wanted.required_text("description")?;
    api.iam.describe_key_pair(&call.caller, call.param("keypair_name"), description).await?;
    Ok(Json(json!({})))
}

/// Remove one of the caller's key pairs.
#[utoipa::path(
    delete, path = "/v3/{project_id}/keypairs/{keypair_name}", operation_id = "DeleteKeypair", tag = "key pairs",
    params(("project_id" = String, Path), ("keypair_name" = String, Path)),
    responses((status = 204), (status = "default", body = ApiError)),
)]
pub(crate) async fn delete(State(api): State<Api>, call: Call) -> Result<StatusCode, Refused> {
    api.iam.remove_key_pair(&call.caller, call.param("keypair_name")).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn summary(pair: &KeyPair) -> ListedKeyPair {
    let keypair = KeyPairSummary {
        name: pair.name.clone(),
        kind: SSH.to_owned(),
        scope: USER.to_owned(),
        public_key: pair.public_key.clone(),
        fingerprint: KeyFacts::of(&pair.public_key).fingerprint,
        is_key_protection: false,
        frozen_state: "0".to_owned(),
    };
    ListedKeyPair { keypair }
}

fn detail(pair: KeyPair) -> KeyPairDetail {
    let KeyFacts { fingerprint, algorithm } = KeyFacts::of(&pair.public_key);
    KeyPairDetail {
        id: pair.id,
        name: pair.name,
        kind: SSH.to_owned(),
        scope: USER.to_owned(),
        public_key: pair.public_key,
        fingerprint,
        algorithm,
        is_key_protection: false,
        deleted: false,
        frozen_state: 0,
        description: pair.description,
        user_id: pair.owner.user_id.to_string(),
        create_time: pair.created_at.as_millis(),
        update_time: pair.updated_at.as_millis(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Going on by `next_marker` shows everything once; going back by `previous_marker` shows the pages before.
    #[test]
    fn pages_lead_forwards_and_back() {
        let names = ["a", "b", "c", "d", "e"];
        for limit in 1..=6 {
            let (mut marker, mut seen, mut starts) = (String::new(), Vec::<&str>::new(), Vec::new());
            loop {
                let (start, info) = page(&names, &marker, limit);
                seen.extend(&names[start..start + usize::try_from(info.current_count).unwrap()]);
                if let Some(back) = &info.previous_marker {
                    assert_eq!(page(&names, back, limit).0, *starts.last().unwrap(), "limit {limit}");
                }
                assert_eq!(info.previous_marker.is_none(), starts.is_empty());
                starts.push(start);
                let Some(next) = info.next_marker else { break };
                marker = next;
            }
            assert_eq!(seen, names, "limit {limit}");
        }
        assert_eq!(page(&[], "x", 5).1, KeyPairPageInfo { next_marker: None, previous_marker: None, current_count: 0 });
        assert_eq!(page(&names, "bb", 9).0, 2, "a marker need not be there any more");
    }
}
