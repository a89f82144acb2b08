//! The users of the caller's domain, for its administrators. Small, because more about people is to come; whole, because
//! somebody who leaves has to be switched off today.

use atelier_core::Refusal;
use atelier_core::id::UserId;
use atelier_iam::{Account, NewAccount};
use atelier_store::people::Role;
use axum::extract::State;
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use http::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};

use super::Own;
use super::call::{Call, Refused};

pub(super) fn routes() -> Router<Own> {
    Router::new()
        .route("/atelier/v1/{project_id}/users", get(list).post(create))
        .route("/atelier/v1/{project_id}/users/{id}", patch(update))
        .route("/atelier/v1/{project_id}/users/{id}/password", post(password))
}

/// Everybody, by name.
async fn list(State(own): State<Own>, call: Call) -> Result<Json<Value>, Refused> {
    let accounts = own.iam.accounts(&call.caller).map_err(call.refused())?;
    Ok(Json(json!({"users": accounts.iter().map(described).collect::<Vec<_>>()})))
}

/// Makes a user who may work in the project. A password that was made up is in this answer only.
async fn create(State(own): State<Own>, call: Call) -> Result<(StatusCode, Json<Value>), Refused> {
    let body = call.object()?;
    let wanted = new_account(&body).map_err(call.refused())?;
    let made_up = wanted.password.is_none();
    let (account, password) =
        call.iam(&own, StatusCode::CREATED).add_account(&call.caller, wanted).await.map_err(call.refused())?;
    Ok((StatusCode::CREATED, Json(with_password(&account, &password, made_up))))
}

/// Switches a user off or on.
async fn update(State(own): State<Own>, call: Call) -> Result<Json<Value>, Refused> {
    let enabled = enabled(&call.object()?).map_err(call.refused())?;
    let account = call
        .iam(&own, StatusCode::OK)
        .enable_account(&call.caller, &user(&call)?, enabled)
        .await
        .map_err(call.refused())?;
    Ok(Json(json!({"user": described(&account)})))
}

/// Gives a user another password, and ends their tokens.
async fn password(State(own): State<Own>, call: Call) -> Result<Json<Value>, Refused> {
    let wanted = text(&call.object()?, "password").map_err(call.refused())?.map(SecretString::from);
    let made_up = wanted.is_none();
    let set = call.iam(&own, StatusCode::OK).reset_password(&call.caller, &user(&call)?, wanted).await;
    let (account, password) = set.map_err(call.refused())?;
    Ok(Json(with_password(&account, &password, made_up)))
}

/// The user in the path. What is no id names nobody.
fn user(call: &Call) -> Result<UserId, Refused> {
    let missing = || Refusal::new(atelier_core::Code::NotFound, format!("user `{}` does not exist", call.shown_id()));
    call.id.parse().map_err(|_| missing()).map_err(call.refused())
}

fn new_account(body: &Map<String, Value>) -> Result<NewAccount, Refusal> {
    let name = text(body, "name")?.ok_or_else(|| Refusal::missing("name"))?;
    let role = match text(body, "role")? {
        None => Role::Member,
        Some(word) => Role::named(&word).ok_or_else(|| Refusal::bad_value("role", "`admin` or `member`"))?,
    };
    Ok(NewAccount { name, password: text(body, "password")?.map(SecretString::from), role })
}

fn enabled(body: &Map<String, Value>) -> Result<bool, Refusal> {
    let value = body.get("enabled").ok_or_else(|| Refusal::missing("enabled"))?;
    value.as_bool().ok_or_else(|| Refusal::wrong_type("enabled", "a boolean"))
}

fn text(body: &Map<String, Value>, name: &str) -> Result<Option<String>, Refusal> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Refusal::wrong_type(name, "a string")),
    }
}

fn described(account: &Account) -> Value {
    json!({
        "id": account.id.as_str(),
        "name": account.name,
        "enabled": account.enabled,
        "roles": account.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>(),
        "created_at": account.created_at.as_millis(),
    })
}

/// Whoever chose a password knows it; one that was made up is told once.
fn with_password(account: &Account, password: &SecretString, made_up: bool) -> Value {
    let mut answer = json!({"user": described(account)});
    if made_up {
        answer["password"] = password.expose_secret().into();
    }
    answer
}
