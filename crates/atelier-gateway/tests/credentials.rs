//! Every kind of request against every credential.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by them, also in its own functions"
)]

mod support;

use axum::body::Body;
use http::Request;
use support::{Answer, ID, OLD_TOKEN, SECRET, SIBLING, TOKEN, UNKNOWN, World, host, id, route};

use atelier_gateway::{COOKIE, Form, Route};

/// The cookie that a browser gets for this token.
async fn cookie_for(world: &World, token: &str) -> String {
    let request = Request::get(format!("/lab?token={token}"))
        .header("host", host(ID))
        .header("sec-fetch-mode", "navigate")
        .body(Body::empty())
        .unwrap();
    let set = world.send(request).await.header("set-cookie").unwrap().to_owned();
    set.split(';').next().unwrap().to_owned()
}

/// A credential: the query to add, and a header.
struct Credential {
    name: &'static str,
    query: Option<String>,
    header: Option<(&'static str, String)>,
    host_form: u16,
    path_form: u16,
}

fn credential(
    name: &'static str,
    query: Option<&str>,
    header: Option<(&'static str, String)>,
    host_form: u16,
    path_form: u16,
) -> Credential {
    Credential { name, query: query.map(|t| format!("token={t}")), header, host_form, path_form }
}

async fn credentials(world: &World) -> Vec<Credential> {
    let restarted = |token: &str| world.doubles.put(Route { token: token.into(), ..route(ID) });
    restarted(OLD_TOKEN);
    let old = cookie_for(world, OLD_TOKEN).await;
    restarted(TOKEN);
    let right = cookie_for(world, TOKEN).await;
    let auth = |value: String| Some(("authorization", value));
    let cookie = |value: String| Some(("cookie", value));
    vec![
        credential("none", None, None, 401, 401),
        credential("empty", Some(""), auth("token ".into()), 401, 401),
        credential("other scheme", None, auth(format!("Basic {TOKEN}")), 401, 401),
        credential("wrong token", None, auth("token wrong".into()), 403, 403),
        credential("wrong bearer", None, auth("Bearer wrong".into()), 403, 403),
        credential("wrong query", Some("wrong"), None, 403, 403),
        credential("wrong cookie", None, cookie(format!("{COOKIE}=wrong")), 403, 401),
        credential("token as cookie", None, cookie(format!("{COOKIE}={TOKEN}")), 403, 401),
        credential("neighbour's token", None, auth("token siblings".into()), 403, 403),
        credential("upstream secret", None, auth(format!("token {SECRET}")), 403, 403),
        credential("old token", None, auth(format!("token {OLD_TOKEN}")), 403, 403),
        credential("old bearer", None, auth(format!("Bearer {OLD_TOKEN}")), 403, 403),
        credential("old query", Some(OLD_TOKEN), None, 403, 403),
        credential("old cookie", None, cookie(old), 403, 401),
        credential("right token", None, auth(format!("token {TOKEN}")), 200, 200),
        credential("right bearer", None, auth(format!("Bearer {TOKEN}")), 200, 200),
        credential("right query", Some(TOKEN), None, 200, 200),
        credential("right cookie", None, cookie(right.clone()), 200, 401),
        credential("right cookie, the page's own token", None, cookie(right), 200, 403),
    ]
}

const PATHS: [&str; 7] = [
    "/",
    "/lab",
    "/lab/tree/a%2Fb.ipynb",
    "/api/contents/../x",
    "/files/a.html",
    "/static/lab/main.js",
    "//api//kernels",
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Get,
    Head,
    Post,
    Delete,
    Upgrade,
}

fn request(kind: Kind, form: Form, path: &str, credential: &Credential) -> Request<Body> {
    let query = credential.query.as_ref().map(|q| format!("&{q}")).unwrap_or_default();
    let (host, prefix) = match form {
        Form::Host => (host(ID), String::new()),
        Form::Path => ("127.0.0.1:8080".into(), format!("/notebook/{ID}")),
    };
    let method = match kind {
        Kind::Get | Kind::Upgrade => "GET",
        Kind::Head => "HEAD",
        Kind::Post => "POST",
        Kind::Delete => "DELETE",
    };
    let mut request = Request::builder()
        .method(method)
        .uri(format!("{prefix}{path}?a=1{query}"))
        .header("origin", format!("http://{host}"))
        .header("host", host);
    if let Some((name, value)) = &credential.header {
        request = request.header(*name, value);
    }
    if credential.name.ends_with("own token") {
        request = request.header("authorization", format!("token {SECRET}"));
    }
    if kind == Kind::Upgrade {
        request = request
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    }
    request.body(if kind == Kind::Post { Body::from("cell") } else { Body::empty() }).unwrap()
}

/// What must be true of any answer, whatever was asked.
fn leaks_nothing(answer: &Answer, form: Form, context: &str) {
    for (name, value) in &answer.headers {
        let value = value.to_str().unwrap();
        assert!(!value.contains(SECRET), "{context}: {name} holds the secret");
        assert!(!value.contains(TOKEN), "{context}: {name} holds the token");
    }
    if form == Form::Path {
        assert_eq!(answer.header("set-cookie"), None, "{context}");
    }
    if answer.status >= 400 {
        let text = answer.text();
        assert!(!text.contains("trial") && !text.contains("RUNNING"), "{context}: tells of the notebook: {text}");
    }
}

#[tokio::test]
async fn every_path_and_method_and_upgrade_by_every_credential() {
    let world = World::new().await;
    let credentials = credentials(&world).await;
    let mut tried = 0;
    for form in [Form::Host, Form::Path] {
        for credential in &credentials {
            for path in PATHS {
                for kind in [Kind::Get, Kind::Head, Kind::Post, Kind::Delete, Kind::Upgrade] {
                    let allowed = if form == Form::Host { credential.host_form } else { credential.path_form };
                    let expected = if kind == Kind::Upgrade && allowed == 200 { 101 } else { allowed };
                    let context = format!("{form:?} {kind:?} {path} {}", credential.name);
                    let mut answer = world.send(request(kind, form, path, credential)).await;
                    assert_eq!(answer.status, expected, "{context}");
                    if answer.status == 200 && kind != Kind::Head {
                        assert_eq!(answer.json()["target"], format!("{path}?a=1"), "{context}");
                        assert_eq!(answer.json()["body"], if kind == Kind::Post { "cell" } else { "" }, "{context}");
                    } else if expected >= 400 && kind != Kind::Head {
                        let code = if expected == 401 { "ModelArts.0201" } else { "ModelArts.0203" };
                        assert_eq!(answer.json()["error_code"], code, "{context}");
                    }
                    if expected < 400 {
                        answer.body = bytes::Bytes::new();
                    }
                    leaks_nothing(&answer, form, &context);
                    tried += 1;
                }
            }
        }
    }
    assert_eq!(tried, 2 * credentials.len() * PATHS.len() * 5);
}

#[tokio::test]
async fn an_unknown_id_is_not_found_whatever_is_shown() {
    let world = World::new().await;
    for auth in [None, Some(format!("token {TOKEN}"))] {
        for (host, path) in
            [(host(UNKNOWN), "/lab".to_owned()), ("localhost:8080".into(), format!("/notebook/{UNKNOWN}/lab"))]
        {
            let mut request = Request::get(&path).header("host", host);
            if let Some(auth) = &auth {
                request = request.header("authorization", auth);
            }
            let answer = world.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!((answer.status, answer.json()["error_code"].as_str()), (404, Some("ModelArts.6404")));
        }
    }
    for path in ["/notebook/x/lab", "/notebook/x", "/notebook/0197f2d04ba47bbf8b1d4d3a5d4f0a10/"] {
        let request = Request::get(path).header("host", "localhost:8080").body(Body::empty()).unwrap();
        assert_eq!(world.send(request).await.status, 404, "{path}");
    }
    world.doubles.remove(id(ID));
    let request = Request::get("/lab").header("host", host(ID)).header("authorization", format!("token {TOKEN}"));
    assert_eq!(world.send(request.body(Body::empty()).unwrap()).await.status, 404);
}

fn navigation(target: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::get(target).header("host", host(ID));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

const HTML: (&str, &str) = ("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");

#[tokio::test]
async fn a_browser_trades_its_token_for_a_cookie() {
    let world = World::new().await;
    for headers in [&[HTML][..], &[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"), HTML]] {
        let answer = world.send(navigation(&format!("/lab?a=%2F&token={TOKEN}&reset"), headers)).await;
        assert_eq!(answer.status, 303);
        assert_eq!(answer.header("location"), Some(format!("http://{}/lab?a=%2F&reset", host(ID)).as_str()));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let cookie = answer.header("set-cookie").unwrap();
        let (pair, flags) = cookie.split_once("; ").unwrap();
        assert_eq!(flags, "Path=/; Secure; HttpOnly; SameSite=Lax");
        assert!(pair.starts_with("__Host-atelier-notebook=") && !pair.contains(TOKEN) && !pair.contains(SECRET));
        let answer = world.send(navigation("/lab", &[HTML, ("cookie", pair)])).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.received("cookie"), Vec::<String>::new());
        let request = Request::get("/lab").header("host", host(SIBLING)).header("cookie", pair);
        assert_eq!(world.send(request.body(Body::empty()).unwrap()).await.status, 403, "a neighbour takes the cookie");
    }
}

#[tokio::test]
async fn the_way_without_the_token_leads_nowhere_else() {
    let world = World::new().await;
    let answer = world.send(navigation(&format!("//evil.example/x?token={TOKEN}"), &[HTML])).await;
    assert_eq!(answer.header("location"), Some(format!("http://{}//evil.example/x", host(ID)).as_str()));
}

#[tokio::test]
async fn programs_are_never_redirected() {
    let world = World::new().await;
    let target = format!("/api/status?token={TOKEN}");
    for headers in
        [&[][..], &[("accept", "*/*")], &[("accept", "application/json")], &[HTML, ("sec-fetch-mode", "cors")]]
    {
        let answer = world.send(navigation(&target, headers)).await;
        assert_eq!((answer.status, answer.header("set-cookie")), (200, None), "{headers:?}");
    }
    let post = Request::post(&target).header("host", host(ID)).header(HTML.0, HTML.1).body(Body::empty()).unwrap();
    assert_eq!(world.send(post).await.status, 200);
    let in_path = Request::get(format!("/notebook/{ID}{target}")).header("host", "localhost").header(HTML.0, HTML.1);
    let answer = world.send(in_path.body(Body::empty()).unwrap()).await;
    assert_eq!((answer.status, answer.header("set-cookie")), (200, None));
}

#[tokio::test]
async fn other_pages_cannot_use_the_cookie() {
    let world = World::new().await;
    let cookie = cookie_for(&world, TOKEN).await;
    let own = format!("http://{}", host(ID));
    let sibling = format!("http://{}", host(SIBLING));
    for (pairs, expected) in [
        (vec![("origin", own.as_str())], 200),
        (vec![("sec-fetch-site", "same-origin")], 200),
        (vec![], 403),
        (vec![("origin", sibling.as_str())], 403),
        (vec![("origin", "null")], 403),
        (vec![("origin", own.as_str()), ("sec-fetch-site", "same-site")], 403),
    ] {
        for upgrade in [false, true] {
            let mut request = Request::builder().uri("/api/kernels").header("host", host(ID)).header("cookie", &cookie);
            for (name, value) in &pairs {
                request = request.header(*name, *value);
            }
            request = if upgrade {
                let request = request.header("connection", "upgrade").header("upgrade", "websocket");
                request.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==").header("sec-websocket-version", "13")
            } else {
                request.method("POST")
            };
            let answer = world.send(request.body(Body::empty()).unwrap()).await;
            let expected = if upgrade && expected == 200 { 101 } else { expected };
            assert_eq!(answer.status, expected, "{pairs:?} {upgrade}");
            if expected == 403 {
                assert_eq!(answer.json()["error_code"], "ModelArts.0112");
            }
        }
    }
}

#[tokio::test]
async fn unknown_hosts_reach_nothing() {
    let world = World::new().await;
    for (host, expected) in [
        ("evil.example:8080", 421),
        ("localhost:9999", 421),
        ("0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a10.evil.example", 421),
        ("localhost:8080", 404),
        ("127.0.0.1", 404),
    ] {
        let request = Request::get("/lab").header("host", host).header("authorization", format!("token {TOKEN}"));
        assert_eq!(world.send(request.body(Body::empty()).unwrap()).await.status, expected, "{host}");
    }
}
