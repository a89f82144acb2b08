//! The door with TLS, as clients meet it: HTTP/1.1 and HTTP/2, certificates that change, and proxies before it.

#![allow(clippy::unwrap_used, reason = "a test fails by it, also in its own functions")]

#[expect(clippy::panic, dead_code, reason = "what goes wrong here fails the test")]
mod e2e;
mod secure;

use std::path::Path;

use e2e::{Server, json_of, stderr_of, stdout_of};
use rustix::process::{Pid, Signal, kill_process};
use secure::{Wanted, connect, get, shown_to};

const SELF_MADE: (&str, &str) = ("ATELIER_TLS__CERTIFICATE", "self-made");

fn root(server: &Server) -> String {
    server.admin()["ca_certificate"].as_str().unwrap().to_owned()
}

/// Asks the server to look at its files again.
fn hang_up(server: &Server) {
    let pid = Pid::from_raw(server.pid().cast_signed()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
}

/// Writes a certificate for this machine and its key; the certificate.
fn write_pair(folder: &Path) -> String {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    std::fs::write(folder.join("c.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("k.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.pem()
}

#[test]
fn a_first_try_needs_nothing_but_one_word() {
    let server = Server::start(&[SELF_MADE]);
    assert!(server.url().starts_with("https://127.0.0.1:"));
    assert_eq!(server.admin()["endpoint"], server.url());
    for file in ["tls/ca.pem", "tls/ca.key", "tls/server.pem", "tls/server.key"] {
        assert_eq!(server.mode(file), 0o600, "{file}");
    }
    let made = json_of(&server.cli(&["notebook", "create", "one", "-o", "json"]));
    let url = made["url"].as_str().unwrap();
    assert!(url.starts_with(&format!("https://{}.localhost:", made["id"].as_str().unwrap())), "{url}");
    stdout_of(&server.cli(&["up", "--runtime", "simulated"]));
}

#[test]
fn who_does_not_trust_the_root_is_told_how_to() {
    let server = Server::start(&[SELF_MADE]);
    let line = ["notebook", "list", "--endpoint", &server.url(), "--token", "x", "--data-dir", "/nowhere"];
    let told = stderr_of(&server.cli(&line));
    assert!(told.contains("invalid peer certificate") && told.contains("hint: name the CA to trust"), "{told}");
    let file = server.home().join("root.pem");
    std::fs::write(&file, root(&server)).unwrap();
    let told = stderr_of(&server.cli(&[&line[..], &["--ca-file", file.to_str().unwrap()]].concat()));
    assert!(!told.contains("certificate") && told.contains("token"), "{told}");
}

#[tokio::test]
async fn http_2_and_http_1_say_the_same_and_so_does_tls_1_2() {
    let server = Server::start(&[SELF_MADE]);
    let token = stdout_of(&server.cli(&["token"]));
    let project = server.admin()["project_id"].as_str().unwrap().to_owned();
    let path = format!("/v1/{project}/notebooks");
    for wanted in
        [Wanted::HTTP_2, Wanted::HTTP_1, Wanted { old: true, ..Wanted::HTTP_1 }, Wanted { old: true, ..Wanted::HTTP_2 }]
    {
        let mut client = connect(&server, &root(&server), "localhost", wanted).await.unwrap();
        assert_eq!(client.agreed, wanted.protocol);
        let (status, body) = get(&mut client, &path, &[("x-auth-token", token.trim())]).await.unwrap();
        assert_eq!(status, 200, "{body}");
        let (status, body) = get(&mut client, &path, &[]).await.unwrap();
        assert_eq!(status, 401, "{body}");
    }
}

#[tokio::test]
async fn notebooks_have_certificates_and_are_reached_by_http_2() {
    let server = Server::start(&[SELF_MADE]);
    let made = json_of(&server.cli(&["notebook", "create", "one", "-o", "json"]));
    let host = format!("{}.localhost", made["id"].as_str().unwrap());
    let mut client = connect(&server, &root(&server), &host, Wanted::HTTP_2).await.unwrap();
    let (status, _) = get(&mut client, "/api/status", &[]).await.unwrap();
    assert_eq!(status, 401, "the gateway asks for the token");
    let (status, body) = get(&mut client, "/api/status", &[("host", "localhost")]).await.unwrap();
    assert_eq!(status, 421, "two names: {body}");
}

#[test]
fn plain_http_on_a_port_with_tls_is_told_so() {
    let server = Server::start(&[SELF_MADE]);
    let answer = server.raw("GET /v3 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("must begin with `https://`"), "{answer}");
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_newcomers_and_a_broken_one_to_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let first = write_pair(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let files = [("ATELIER_TLS__CERTIFICATE", path("c.pem")), ("ATELIER_TLS__KEY", path("k.pem"))];
    let server = Server::start(&files.each_ref().map(|(name, value)| (*name, value.as_str())));
    let mut old = connect(&server, &first, "localhost", Wanted::HTTP_2).await.unwrap();
    std::fs::write(path("k.pem"), "no key").unwrap();
    hang_up(&server);
    server.wait_for("the new certificate is not taken");
    assert_eq!(shown_to(&server, &first).await.unwrap(), first);
    let second = write_pair(folder.path());
    hang_up(&server);
    server.wait_for("a new certificate is shown");
    assert_eq!(shown_to(&server, &second).await.unwrap(), second);
    assert!(shown_to(&server, &first).await.is_err());
    assert_eq!(get(&mut old, "/readyz", &[]).await.unwrap().0, 200, "old connections live on");
    // Without a word, by looking.
    let third = write_pair(folder.path());
    server.wait_for("a new certificate is shown");
    assert_eq!(shown_to(&server, &third).await.unwrap(), third);
}

#[tokio::test]
async fn the_end_is_announced_to_those_who_speak_http_2() {
    let mut server = Server::start(&[SELF_MADE]);
    let mut client = connect(&server, &root(&server), "localhost", Wanted::HTTP_2).await.unwrap();
    assert_eq!(get(&mut client, "/readyz", &[]).await.unwrap().0, 200);
    server.terminate();
    client.ended().await.unwrap();
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn only_a_trusted_proxy_is_believed() {
    let asked = |server: &Server| {
        let head = format!("X-Forwarded-Host: localhost:{}\r\nX-Request-Id: given-by-a-proxy\r\n", server.port());
        let answer =
            server.raw(&format!("GET /readyz HTTP/1.1\r\nHost: inner.example\r\n{head}Connection: close\r\n\r\n"));
        (answer[9..12].to_owned(), answer.contains("given-by-a-proxy"))
    };
    let trusting = Server::start(&[("ATELIER_SERVER__TRUSTED_PROXIES", "127.0.0.0/8")]);
    assert_eq!(asked(&trusting), ("200".to_owned(), true));
    let doubting = Server::start(&[("ATELIER_SERVER__TRUSTED_PROXIES", "10.0.0.0/8")]);
    assert_eq!(asked(&doubting), ("421".to_owned(), false));
}
