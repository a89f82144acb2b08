//! Tokens: how they are earned, where they count, and when they cease to.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

mod support;

use std::sync::atomic::Ordering;

use atelier_core::Timestamp;
use atelier_iam::{AuthRefusal, IamRefusal, Identity, ProjectFilter, Scope, Site, bodies};
use atelier_store::people::{Grant, GrantTarget, Method, PeopleChange, Role};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use support::{DAY_MS, Draft, VECTORS_AT, World, log_in, other_domain, with_token};

fn no_scope() -> Value {
    Value::Null
}

#[tokio::test]
async fn a_user_is_named_by_id_by_name_and_domain_or_by_default() {
    let world = World::new().await;
    let password = world.admin.password.expose_secret();
    for user in [
        json!({"name": "admin", "domain": {"name": "atelier"}, "password": password}),
        json!({"name": "admin", "domain": {"id": world.admin.domain_id.as_str()}, "password": password}),
        json!({"name": "admin", "domain": {"id": "default"}, "password": password}),
        json!({"id": world.admin.user_id.as_str(), "password": password}),
    ] {
        let issued = world.log_in(user.clone(), no_scope()).await.unwrap();
        assert_eq!(issued.identity.user_id, world.admin.user_id, "{user}");
        assert_eq!(world.iam.authenticate_token(issued.text.expose_secret()).await.unwrap(), issued.identity);
    }
}

#[tokio::test]
async fn wrong_user_domain_and_password_get_the_same_answer() {
    let world = World::new().await;
    let password = world.admin.password.expose_secret();
    let named =
        |name: &str, domain: Value, password: &str| json!({"name": name, "domain": domain, "password": password});
    let users = [
        named("admin", json!({"name": "atelier"}), "wrong"),
        named("admin", json!({"name": "atelier"}), ""),
        named("nobody", json!({"name": "atelier"}), password),
        named("admin", json!({"name": "nowhere"}), password),
        named("admin", json!({"id": "nowhere"}), password),
        named("Admin", json!({"name": "atelier"}), password),
        json!({"id": "no id", "password": password}),
        json!({"id": "f".repeat(32), "password": password}),
    ];
    for user in users {
        let refusal = world.log_in(user.clone(), no_scope()).await.unwrap_err();
        assert_eq!(refusal, IamRefusal::wrong_credentials(), "{user}");
    }
    world.enable_admin(false).await;
    let refusal = world.log_in(world.admins_password(), no_scope()).await.unwrap_err();
    assert_eq!((refusal.clone(), refusal.http), (IamRefusal::wrong_credentials(), 401));
}

#[tokio::test]
async fn default_names_nobody_when_two_domains_have_the_name() {
    let world = World::new().await;
    let password = world.admin.password.expose_secret();
    let by_default = json!({"name": "eve", "domain": {"id": "default"}, "password": password});
    world.add_stranger(Some(other_domain())).await;
    let issued = world.log_in(by_default.clone(), no_scope()).await.unwrap();
    assert_eq!(issued.identity.domain_name, "elsewhere");
    let directory = atelier_store::people::PeopleStore::directory(&*world.store).await.unwrap();
    let eve = directory.users.iter().find(|user| user.name == "eve").unwrap();
    let twin =
        atelier_store::people::User { id: support::id("7"), domain_id: world.admin.domain_id.clone(), ..eve.clone() };
    world.change(vec![PeopleChange::PutUser(twin)]).await;
    assert_eq!(world.log_in(by_default, no_scope()).await.unwrap_err(), IamRefusal::wrong_credentials());
}

#[tokio::test]
async fn scopes_are_the_users_own_projects_and_domain() {
    let world = World::new().await;
    let project = world.admin.project_id.as_str();
    let domain = world.admin.domain_id.as_str();
    for scope in [
        json!({"project": {"name": "local"}}),
        json!({"project": {"id": project}}),
        json!({"project": {"name": "local", "domain": {"id": "default"}}}),
        json!({"project": {"name": "local", "domain": {"name": "atelier"}}}),
        json!({"project": {"id": project, "domain": {"id": domain}}}),
    ] {
        let identity = world.admins_token(scope.clone()).await.identity;
        assert_eq!(identity.project_id(), Some(&world.admin.project_id), "{scope}");
        assert_eq!(identity.roles, [Role::Admin]);
    }
    for scope in [
        no_scope(),
        json!({}),
        json!("unscoped"),
        json!({"domain": {"name": "atelier"}}),
        json!({"domain": {"id": domain}}),
        json!({"domain": {"id": "default"}}),
    ] {
        assert_eq!(world.admins_token(scope.clone()).await.identity.scope, Scope::Domain, "{scope}");
    }
}

#[tokio::test]
async fn what_is_anothers_is_answered_like_what_does_not_exist() {
    let world = World::new().await;
    let refusal = async |scope: Value| world.log_in(world.admins_password(), scope).await.unwrap_err();
    let no_project = refusal(json!({"project": {"name": "none"}})).await;
    let no_domain = refusal(json!({"domain": {"name": "none"}})).await;
    assert_eq!((no_project.http, no_domain.http), (404, 404));
    let stranger = world.add_stranger(Some(other_domain())).await;
    for scope in [
        json!({"project": {"name": "eves"}}),
        json!({"project": {"id": stranger.project_id.as_str()}}),
        json!({"project": {"name": "local", "domain": {"name": "elsewhere"}}}),
    ] {
        assert_eq!(refusal(scope.clone()).await, no_project, "{scope}");
    }
    assert_eq!(refusal(json!({"domain": {"name": "elsewhere"}})).await, no_domain);
}

#[tokio::test]
async fn the_scope_is_not_told_to_whoever_has_no_password() {
    let world = World::new().await;
    let mut user = world.admins_password();
    user["password"] = json!("wrong");
    let refusal = world.log_in(user, json!({"project": {"name": "none"}})).await.unwrap_err();
    assert_eq!(refusal, IamRefusal::wrong_credentials());
}

#[tokio::test]
async fn a_token_lives_a_day_to_the_millisecond() {
    let world = World::new().await;
    let token = world.project_token().await;
    world.clock.advance(DAY_MS - 1);
    assert!(world.iam.authenticate_token(&token).await.is_ok());
    assert!(world.reopened().await.authenticate_token(&token).await.is_ok());
    world.clock.advance(1);
    assert_eq!(world.iam.authenticate_token(&token).await, Err(AuthRefusal::TokenExpired));
    assert_eq!(world.reopened().await.authenticate_token(&token).await, Err(AuthRefusal::TokenExpired));
}

#[tokio::test]
async fn an_expired_token_is_told_apart_for_a_day_and_then_swept() {
    let world = World::new().await;
    let token = world.project_token().await;
    world.clock.advance(2 * DAY_MS - 1);
    world.project_token().await;
    assert_eq!(world.iam.authenticate_token(&token).await, Err(AuthRefusal::TokenExpired));
    world.clock.advance(60 * 60 * 1000);
    world.project_token().await;
    assert_eq!(world.iam.authenticate_token(&token).await, Err(AuthRefusal::TokenInvalid));
}

#[tokio::test]
async fn a_revoked_token_is_worthless_at_once_and_for_good() {
    let world = World::new().await;
    let (revoked, other) = (world.project_token().await, world.project_token().await);
    assert!(world.iam.authenticate_token(&revoked).await.is_ok());
    assert!(world.iam.revoke(&revoked).await.unwrap());
    assert_eq!(world.iam.authenticate_token(&revoked).await, Err(AuthRefusal::TokenInvalid));
    assert_eq!(world.reopened().await.authenticate_token(&revoked).await, Err(AuthRefusal::TokenInvalid));
    assert!(!world.iam.revoke(&revoked).await.unwrap());
    assert!(!world.iam.revoke("no token").await.unwrap());
    assert!(world.iam.authenticate_token(&other).await.is_ok());
    assert_eq!(world.iam.revoke_all_of(&world.admin.user_id).await.unwrap(), 1);
    assert_eq!(world.iam.authenticate_token(&other).await, Err(AuthRefusal::TokenInvalid));
}

#[tokio::test]
async fn a_known_token_costs_no_read_and_a_forged_text_none_either() {
    let world = World::new().await;
    let token = world.project_token().await;
    let reads = || world.store.token_reads.load(Ordering::SeqCst);
    for _ in 0..3 {
        world.iam.authenticate_token(&token).await.unwrap();
    }
    assert_eq!(world.iam.authenticate_token("no token").await, Err(AuthRefusal::TokenInvalid));
    assert_eq!(reads(), 0);
    let reopened = world.reopened().await;
    for _ in 0..3 {
        reopened.authenticate_token(&token).await.unwrap();
    }
    assert_eq!(reads(), 1);
    assert_eq!(reopened.authenticate_token(&"A".repeat(43)).await, Err(AuthRefusal::TokenInvalid));
    assert_eq!(reads(), 2);
}

#[tokio::test]
async fn changes_of_people_count_for_tokens_that_are_known() {
    let world = World::new().await;
    let token = world.project_token().await;
    let roles = async || world.iam.authenticate_token(&token).await.map(|identity| identity.roles.clone());
    world.enable_admin(false).await;
    assert_eq!(roles().await, Err(AuthRefusal::TokenInvalid));
    world.enable_admin(true).await;
    assert_eq!(roles().await, Ok(vec![Role::Admin]));
    let grant = |role| Grant {
        user_id: world.admin.user_id.clone(),
        target: GrantTarget::Project(world.admin.project_id.clone()),
        role,
    };
    world.change(vec![PeopleChange::Give(grant(Role::Member)), PeopleChange::Take(grant(Role::Admin))]).await;
    assert_eq!(roles().await, Ok(vec![Role::Member]));
    world.change(vec![PeopleChange::Take(grant(Role::Member))]).await;
    assert_eq!(roles().await, Err(AuthRefusal::TokenInvalid));
    assert_eq!(world.store.token_reads.load(Ordering::SeqCst), 0, "all from memory");
}

#[tokio::test]
async fn nobody_is_let_in_while_the_directory_is_unknown() {
    let world = World::new().await;
    let token = world.project_token().await;
    world.store.fails.store(true, Ordering::SeqCst);
    assert!(world.iam.change_people(Vec::new()).await.is_err());
    assert_eq!(world.iam.authenticate_token(&token).await, Err(AuthRefusal::Unavailable));
    assert_eq!(world.log_in(world.admins_password(), no_scope()).await.unwrap_err().http, 503);
    assert!(world.iam.check().await.is_err());
    world.store.fails.store(false, Ordering::SeqCst);
    world.iam.check().await.unwrap();
    assert!(world.iam.authenticate_token(&token).await.is_ok());
}

#[tokio::test]
async fn a_store_that_cannot_be_asked_is_no_verdict_on_a_token() {
    let world = World::new().await;
    let token = world.project_token().await;
    let reopened = world.reopened().await;
    world.store.fails.store(true, Ordering::SeqCst);
    assert_eq!(reopened.authenticate_token(&token).await, Err(AuthRefusal::Unavailable));
    world.store.fails.store(false, Ordering::SeqCst);
    assert!(reopened.authenticate_token(&token).await.is_ok());
}

#[tokio::test]
async fn a_token_earns_another_that_does_not_outlive_it() {
    let world = World::new().await;
    let first = world.admins_token(no_scope()).await;
    world.clock.advance(1000);
    let second =
        with_token(&world.iam, first.text.expose_secret(), json!({"project": {"name": "local"}})).await.unwrap();
    assert_eq!(second.identity.project_id(), Some(&world.admin.project_id));
    assert_eq!(second.identity.expires_at(), first.identity.expires_at());
    let third = with_token(&world.iam, second.text.expose_secret(), no_scope()).await.unwrap();
    let atelier_iam::Proof::Token { methods, issued_at, .. } = &third.identity.proof else { unreachable!() };
    assert_eq!(*methods, [Method::Password, Method::Token]);
    assert_eq!(*issued_at, Timestamp::from_millis(VECTORS_AT + 1000));
    for wrong in ["no token", &"A".repeat(43)] {
        let refusal = with_token(&world.iam, wrong, no_scope()).await.unwrap_err();
        assert_eq!((refusal.http, refusal.message.as_str()), (401, "`auth.identity.token.id` is not a valid token"));
    }
}

#[tokio::test]
async fn the_project_in_the_path_must_be_the_tokens() {
    let world = World::new().await;
    let own = world.admin.project_id.as_str();
    let project = world.admins_token(json!({"project": {"id": own}})).await.identity;
    let domain = world.admins_token(no_scope()).await.identity;
    let caller = world.iam.caller(&project, own).unwrap();
    assert_eq!((caller.user_name.as_str(), caller.domain_name.as_str()), ("admin", "atelier"));
    assert_eq!(caller.project_id, world.admin.project_id);
    let refusal = |identity: &Identity, path: &str| {
        let refusal = world.iam.caller(identity, path).unwrap_err();
        (refusal.code().http_status(), refusal.code().as_str())
    };
    let foreign = "e".repeat(32);
    assert_eq!(refusal(&project, &foreign), (403, "ModelArts.0210"));
    assert_eq!(refusal(&domain, own), (401, "ModelArts.0212"));
    for no_id in ["%7Bproject_id%7D", "{project_id}", "", &own.to_uppercase(), &own[1..], "default"] {
        if no_id != own {
            assert_eq!(refusal(&project, no_id), (400, "ModelArts.0210"), "{no_id}");
        }
    }
}

#[tokio::test]
async fn credentials_are_looked_for_in_their_order() {
    let world = World::new().await;
    let token = world.project_token().await;
    let (good, bad) = (token.as_str(), "A".repeat(43));
    let key = (world.admin.access_key.as_str(), world.admin.secret_key.expose_secret());
    let bearer = |token: &str| format!("Bearer {token}");
    let plain = || Draft::new("GET", "/v3/projects", "");
    let signed = || plain().signed(Timestamp::from_millis(VECTORS_AT), key.0, key.1);
    let by = async |draft: Draft| {
        let headers = draft.header_map();
        let identity = world.iam.authenticate(&draft.incoming(&headers)).await?;
        Ok::<_, AuthRefusal>(identity.expires_at().map_or("key", |_| "token"))
    };
    assert_eq!(by(plain()).await, Err(AuthRefusal::TokenMissing));
    assert_eq!(by(plain().header("x-auth-token", "")).await, Err(AuthRefusal::TokenMissing));
    assert_eq!(by(plain().header("x-auth-token", good)).await, Ok("token"));
    assert_eq!(by(plain().header("x-auth-token", &bad)).await, Err(AuthRefusal::TokenInvalid));
    assert_eq!(by(plain().header("x-auth-token", "t\u{f6}ken")).await, Err(AuthRefusal::TokenInvalid));
    assert_eq!(by(plain().header("authorization", &bearer(good))).await, Ok("token"));
    assert_eq!(by(plain().header("authorization", &bearer(&bad).to_lowercase())).await, Err(AuthRefusal::TokenInvalid));
    assert_eq!(by(plain().header("x-auth-token", &bad).header("authorization", &bearer(good))).await, Ok("token"));
    assert_eq!(by(signed()).await, Ok("key"));
    assert_eq!(by(signed().header("x-auth-token", good)).await, Ok("token"));
    assert_eq!(by(signed().header("x-auth-token", &bad)).await, Ok("key"));
    for authorization in ["Basic YTpi", "SDK-HMAC-SM3 Access=a", "Negotiate", "SDK-HMAC-SHA256 "] {
        let refusal = by(plain().header("authorization", authorization)).await.unwrap_err();
        assert_eq!(refusal.code(), atelier_core::Code::BadSignature, "{authorization}");
    }
    world.clock.advance(DAY_MS);
    assert_eq!(by(plain().header("x-auth-token", good)).await, Err(AuthRefusal::TokenExpired));
}

#[tokio::test]
async fn tokens_are_shown_to_their_owner_and_to_administrators() {
    let world = World::new().await;
    let admins = world.admins_token(json!({"project": {"name": "local"}})).await;
    world.add_stranger(None).await;
    let eve = json!({"id": "b".repeat(32), "password": world.admin.password.expose_secret()});
    let eves = log_in(&world.iam, eve, no_scope()).await.unwrap();
    let (admins_text, eves_text) = (admins.text.expose_secret(), eves.text.expose_secret());
    assert_eq!(world.iam.validate(&eves.identity, eves_text).await.unwrap(), eves.identity);
    assert_eq!(world.iam.validate(&admins.identity, eves_text).await.unwrap(), eves.identity);
    assert_eq!(world.iam.validate(&eves.identity, admins_text).await.unwrap_err().http, 403);
    for wrong in ["no token", &"A".repeat(43)] {
        let refusal = world.iam.validate(&admins.identity, wrong).await.unwrap_err();
        assert_eq!((refusal.http, refusal.message.as_str()), (404, "`X-Subject-Token` is not a valid token"));
    }
}

#[tokio::test]
async fn lists_hold_what_the_caller_can_turn_to() {
    let world = World::new().await;
    world.add_stranger(Some(other_domain())).await;
    let identity = world.admins_token(no_scope()).await.identity;
    let names = |query: &str| {
        let page = world.iam.projects(&identity, &ProjectFilter::parse(query).unwrap()).unwrap();
        page.projects.into_iter().map(|project| project.name).collect::<Vec<_>>()
    };
    assert_eq!(names("name=local"), ["local"]);
    assert_eq!(names(""), ["local"]);
    assert_eq!(names("name=eves").len(), 0);
    let domains = world.iam.domains(&identity).unwrap();
    assert_eq!(domains.iter().map(|domain| domain.name.as_str()).collect::<Vec<_>>(), ["atelier"]);
}

#[tokio::test]
async fn bodies_have_the_shapes_that_clients_read() {
    let world = World::new().await;
    let site = Site::new("http://127.0.0.1:8080/", "local");
    let project_id = world.admin.project_id.as_str();
    let identity = world.admins_token(json!({"project": {"name": "local"}})).await.identity;
    let body = serde_json::to_value(bodies::token(&identity, &site, true).unwrap()).unwrap();
    let token = &body["token"];
    assert_eq!(token["methods"], json!(["password"]));
    assert_eq!(token["issued_at"], "2026-01-15T08:30:00.000000Z");
    assert_eq!(token["expires_at"], "2026-01-16T08:30:00.000000Z");
    let domain = json!({"id": world.admin.domain_id.as_str(), "name": "atelier"});
    assert_eq!(token["project"], json!({"id": project_id, "name": "local", "domain": domain}));
    assert_eq!((&token["user"]["domain"], &token["user"]["password_expires_at"]), (&domain, &json!("")));
    assert_eq!(token["roles"][0]["name"], "admin");
    assert!(token.get("domain").is_none());
    let services = token["catalog"].as_array().unwrap();
    let url = |kind: &str| {
        let service = services.iter().find(|service| service["type"] == kind).unwrap();
        let endpoint = &service["endpoints"][0];
        assert_eq!(
            (&endpoint["interface"], &endpoint["region"], &endpoint["region_id"]),
            (&json!("public"), &json!("local"), &json!("local"))
        );
        endpoint["url"].as_str().unwrap().to_owned()
    };
    assert_eq!(url("modelarts"), format!("http://127.0.0.1:8080/v1/{project_id}"));
    assert_eq!(url("modelartsv1"), url("modelarts"));
    assert_eq!(url("identity"), "http://127.0.0.1:8080/v3");
    let listed = serde_json::to_value(bodies::catalog(&identity, &site)).unwrap();
    assert_eq!(&listed["catalog"], &token["catalog"]);
    assert_eq!(listed["links"]["self"], "http://127.0.0.1:8080/v3/auth/catalog");
}

#[tokio::test]
async fn a_domain_scoped_body_names_its_domain_and_offers_identity_only() {
    let world = World::new().await;
    let site = Site::new("http://127.0.0.1:8080", "local");
    let identity = world.admins_token(no_scope()).await.identity;
    let body = serde_json::to_value(bodies::token(&identity, &site, true).unwrap()).unwrap();
    assert_eq!(body["token"]["domain"]["name"], "atelier");
    assert!(body["token"].get("project").is_none());
    let kinds: Vec<_> = body["token"]["catalog"].as_array().unwrap().iter().map(|service| &service["type"]).collect();
    assert_eq!(kinds, ["identity"]);
    let short = serde_json::to_value(bodies::token(&identity, &site, false).unwrap()).unwrap();
    assert!(short["token"].get("catalog").is_none());
    assert!(!bodies::wants_catalog("a=b&nocatalog=0") && !bodies::wants_catalog("nocatalog"));
    assert!(bodies::wants_catalog("") && bodies::wants_catalog("nocatalogue=1"));
}

#[tokio::test]
async fn lists_versions_and_refusals_have_the_shapes_that_clients_read() {
    let world = World::new().await;
    let site = Site::new("http://127.0.0.1:8080", "local");
    let identity = world.admins_token(no_scope()).await.identity;
    let page = world.iam.projects(&identity, &ProjectFilter::parse("").unwrap()).unwrap();
    let projects = serde_json::to_value(bodies::projects(&page, &site, "/v3/projects")).unwrap();
    let project = &projects["projects"][0];
    assert_eq!((&project["is_domain"], &project["enabled"]), (&json!(false), &json!(true)));
    assert_eq!(project["parent_id"], project["domain_id"]);
    let own_link = format!("http://127.0.0.1:8080/v3/projects/{}", world.admin.project_id);
    assert_eq!(project["links"], json!({"self": own_link, "next": null, "previous": null}));
    let links = json!({"self": "http://127.0.0.1:8080/v3/projects", "next": null, "previous": null});
    assert_eq!(projects["links"], links);
    let domains = serde_json::to_value(bodies::domains(&world.iam.domains(&identity).unwrap(), &site)).unwrap();
    assert_eq!(domains["domains"][0]["name"], "atelier");
    let versions = serde_json::to_value(bodies::versions(&site)).unwrap();
    let version = serde_json::to_value(bodies::version(&site)).unwrap();
    assert_eq!(versions["versions"]["values"][0], version["version"]);
    assert_eq!(version["version"]["links"][0], json!({"rel": "self", "href": "http://127.0.0.1:8080/v3/"}));
    assert!(version["version"]["media-types"].is_array());
    let error = serde_json::to_value(bodies::error(&IamRefusal::wrong_credentials())).unwrap();
    assert_eq!((&error["error"]["code"], &error["error"]["title"]), (&json!(401), &json!("Unauthorized")));
}
