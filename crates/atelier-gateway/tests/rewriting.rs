//! What passes up and down, and what does not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by them, also in its own functions"
)]

mod support;

use axum::body::Body;
use http::Request;
use support::{Answer, ID, SECRET, TOKEN, World, host};

use atelier_gateway::COOKIE;

fn in_host(target: &str, pairs: &[(&str, &str)]) -> Request<Body> {
    build(target, &host(ID), pairs)
}

fn in_path(target: &str, pairs: &[(&str, &str)]) -> Request<Body> {
    build(&format!("/notebook/{ID}{target}"), "127.0.0.1:8080", pairs)
}

fn build(target: &str, host: &str, pairs: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::get(target).header("host", host).header("authorization", format!("token {TOKEN}"));
    for (name, value) in pairs {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

fn received(answer: &Answer, name: &str) -> String {
    answer.received(name).join(" | ")
}

#[tokio::test]
async fn up_goes_the_secret_and_no_proof_of_the_visitors() {
    let world = World::new().await;
    let cookies = format!("a=b; {COOKIE}=x; c=\"d\"");
    let own = format!("http://{}", host(ID));
    let pairs = [
        ("cookie", cookies.as_str()),
        ("cookie", "e=f"),
        ("origin", &own),
        ("referer", "http://x/lab?token=abc"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-user", "root"),
        ("forwarded", "for=6.6.6.6"),
        ("x-real-ip", "6.6.6.6"),
        ("proxy-authorization", "Basic x"),
        ("te", "trailers"),
        ("keep-alive", "timeout=5"),
        ("connection", "x-hop, keep-alive, authorization"),
        ("x-hop", "1"),
        ("x-kept", "1"),
    ];
    let answer = world.send(in_host(&format!("/x?token=abc&y=%20&token={TOKEN}"), &pairs)).await;
    assert_eq!(answer.json()["target"], "/x?y=%20");
    for (name, value) in [
        ("authorization", format!("token {SECRET}").as_str()),
        ("host", "localhost"),
        ("origin", "http://localhost"),
        ("cookie", "a=b; c=\"d\"; e=f"),
        ("x-kept", "1"),
        ("x-forwarded-host", &host(ID)),
        ("x-forwarded-proto", "http"),
        ("referer", ""),
        ("x-forwarded-for", ""),
        ("x-forwarded-user", ""),
        ("x-forwarded-prefix", ""),
        ("forwarded", ""),
        ("x-real-ip", ""),
        ("proxy-authorization", ""),
        ("te", ""),
        ("keep-alive", ""),
        ("connection", ""),
        ("x-hop", ""),
    ] {
        assert_eq!(received(&answer, name), value, "{name}");
    }
    assert!(!answer.text().contains(TOKEN));
}

#[tokio::test]
async fn in_the_path_form_no_cookie_goes_up() {
    let world = World::new().await;
    let answer = world.send(in_path("/x", &[("cookie", "console=secret")])).await;
    assert_eq!(received(&answer, "cookie"), "");
    assert_eq!(received(&answer, "x-forwarded-prefix"), format!("/notebook/{ID}"));
    assert_eq!(received(&answer, "x-forwarded-host"), "127.0.0.1:8080");
}

#[tokio::test]
async fn a_foreign_origin_that_only_reads_stays_as_it_is() {
    let world = World::new().await;
    let answer = world.send(in_host("/x", &[("origin", "http://elsewhere.example")])).await;
    assert_eq!(received(&answer, "origin"), "http://elsewhere.example");
}

#[tokio::test]
async fn down_comes_nothing_that_reaches_beyond_the_notebook() {
    let world = World::new().await;
    let told = format!(
        "/answer-with?status=201&x-kept=1&x-leak={SECRET}&set-cookie=a=1;+Path=/&set-cookie=b=1;+Domain=localhost\
         &set-cookie={COOKIE}=x&set-cookie=s={SECRET}&keep-alive=timeout=5&x-hop=1&connection=x-hop\
         &alt-svc=x&clear-site-data=x&strict-transport-security=x&content-security-policy=default-src"
    );
    let answer = world.send(in_host(&told, &[])).await;
    let all = |name: &str| answer.headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
    assert_eq!((answer.status, answer.text().as_str()), (201, "as told"));
    assert_eq!(all("set-cookie"), ["a=1; Path=/"]);
    assert_eq!(all("x-kept"), ["1"]);
    assert_eq!(all("content-security-policy"), ["default-src"]);
    for name in
        ["x-leak", "keep-alive", "x-hop", "connection", "alt-svc", "clear-site-data", "strict-transport-security"]
    {
        assert_eq!(all(name), Vec::<&str>::new(), "{name}");
    }
    let answer = world.send(in_path(&told, &[])).await;
    let policies: Vec<_> = answer.headers.get_all("content-security-policy").iter().collect();
    assert_eq!(policies, ["default-src", "sandbox"]);
    assert_eq!(answer.header("set-cookie"), None);
}

#[tokio::test]
async fn redirects_lead_back_through_the_gateway() {
    let world = World::new().await;
    for (location, at_host, at_path) in [
        ("/lab?x=1", "/lab?x=1", format!("/notebook/{ID}/lab?x=1")),
        ("http://localhost/lab", "/lab", format!("/notebook/{ID}/lab")),
        ("http://localhost", "/", format!("/notebook/{ID}/")),
        ("tree/x", "tree/x", "tree/x".into()),
        ("http://localhost.example/x", "http://localhost.example/x", "http://localhost.example/x".into()),
        ("//elsewhere.example/x", "//elsewhere.example/x", "//elsewhere.example/x".into()),
    ] {
        let told = format!("/answer-with?status=302&location={location}");
        assert_eq!(world.send(in_host(&told, &[])).await.header("location"), Some(at_host));
        assert_eq!(world.send(in_path(&told, &[])).await.header("location"), Some(at_path.as_str()));
    }
}

#[tokio::test]
async fn ambiguous_requests_are_refused_before_anything_else() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let world = World::new().await;
    let head = format!("Host: {}\r\nAuthorization: token {TOKEN}\r\nConnection: close\r\n", host(ID));
    for (bad, refused) in [
        (format!("POST /x HTTP/1.1\r\n{head}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"), "400"),
        (format!("TRACE /x HTTP/1.1\r\n{head}\r\n"), "400"),
        (format!("GET /x HTTP/1.1\r\n{head}Host: localhost\r\n\r\n"), "421"),
        (format!("GET http://localhost:8080/x HTTP/1.1\r\n{head}\r\n"), "421"),
        (format!("GET /x HTTP/1.1\r\n{head}Transfer-Encoding: gzip\r\n\r\n"), "400"),
    ] {
        let mut stream = world.connect().await;
        stream.write_all(bad.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(&format!("HTTP/1.1 {refused}")), "{bad}\n{answer}");
    }
    assert_eq!(world.doubles.connections.load(std::sync::atomic::Ordering::SeqCst), 0);
}
