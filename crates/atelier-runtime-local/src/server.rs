//! The notebook server in its container: how it is started, found and asked.
//!
//! It listens on a Unix socket in a folder of its own, a tiny file system that only ma-user writes. The host reaches
//! it through the root of the container's first process. Whatever ma-user puts there, only a socket below that very
//! folder is ever connected to.
//!
//! Its secret reaches it through a pipe that can be read once (see the init's protocol): it is in no argument, no
//! environment and no file, so that kernels and terminals do not inherit it.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use atelier_init::protocol::{Exec, SECRET_FD, StartServer, USER};
use atelier_runtime::{ExecSpec, Program, RuntimeError};
use bytes::Bytes;
use http_body_util::Empty;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use secrecy::{ExposeSecret, SecretString};
use tokio::net::UnixStream;

use crate::config::LocalConfig;
use crate::control::{connect_below, open_folder};
use crate::launch::INIT;
use crate::process::Handle;
use crate::record::Record;
use crate::seccomp;

/// ma-user.
pub(crate) const UID: u32 = USER.0;
/// Its group, `users`.
pub(crate) const GID: u32 = USER.1;
/// Where the server's socket is, in the container.
pub(crate) const SOCKET_FOLDER: &str = "/run/atelier/nb";
const SOCKET: &str = "server.sock";
const HOME: &str = "/home/ma-user";
const WORK: &str = "/home/ma-user/work";
/// Where programs are in an image that does not say so.
pub(crate) const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Where the machine's certificates are, in the container.
pub(crate) const CA_BUNDLE: &str = "/run/atelier/etc/ca-bundle.crt";
/// Every program has its own way to be told of certificates.
const CA_VARIABLES: [&str; 6] =
    ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS"];
/// The variable that names where the server reads its secret.
const TOKEN_FILE: &str = "JUPYTER_TOKEN_FILE";
/// How much earlier than the init the server and its kernels are killed when memory runs out.
const OOM_SCORE: u16 = 500;

/// How a program of an image is started as its notebook server is, but for the secret. `begin` and `environment` are the
/// image's: the beginning of the command line, and its part of the environment.
pub(crate) fn without_secret(
    config: &LocalConfig,
    begin: &[String],
    environment: &[(String, String)],
) -> Result<StartServer, RuntimeError> {
    Ok(StartServer {
        argv: begin.iter().cloned().chain(options()).collect(),
        env: whole_environment(config, environment),
        cwd: WORK.into(),
        uid: UID,
        gid: GID,
        secret: None,
        filters: seccomp::filters().map_err(no_filter)?,
        oom_score_adj: OOM_SCORE,
        log: config.log,
    })
}

/// How the server is started.
pub(crate) fn plan(config: &LocalConfig, record: &Record, secret: &SecretString) -> Result<StartServer, RuntimeError> {
    let mut plan = without_secret(config, &record.server, &record.environment)?;
    // Names where the secret can be read once, which the server has done before it starts anything.
    plan.env.push((TOKEN_FILE.into(), format!("/proc/self/fd/{SECRET_FD}")));
    plan.secret = Some(secret.expose_secret().to_owned());
    Ok(plan)
}

/// How a command is started that is to be what a terminal of the server's would be.
pub(crate) fn beside(config: &LocalConfig, record: &Record, spec: ExecSpec) -> Result<Exec, RuntimeError> {
    let mut env: BTreeMap<_, _> = whole_environment(config, &record.environment).into_iter().collect();
    env.extend(spec.env);
    Ok(Exec {
        argv: words(spec.program),
        env: env.into_iter().collect(),
        cwd: Path::new(WORK).join(spec.folder.unwrap_or_default()).to_string_lossy().into_owned(),
        uid: UID,
        gid: GID,
        filters: seccomp::filters().map_err(no_filter)?,
        oom_score_adj: OOM_SCORE,
        terminal: spec.terminal.is_some(),
    })
}

fn words(program: Program) -> Vec<String> {
    match program {
        Program::Command(words) => words,
        Program::Send { path } => vec![INIT.into(), "send".into(), path],
        Program::Receive { path, name } => [INIT.into(), "receive".into(), path].into_iter().chain(name).collect(),
    }
}

fn no_filter(error: impl std::fmt::Display) -> RuntimeError {
    RuntimeError::Permanent(format!("no seccomp filter for this machine: {error}"))
}

/// Where the server's socket is, in the container.
pub(crate) fn socket() -> String {
    format!("{SOCKET_FOLDER}/{SOCKET}")
}

fn options() -> impl Iterator<Item = String> {
    [
        "--no-browser".into(),
        format!("--ServerApp.sock={}", socket()),
        "--ServerApp.sock_mode=0600".into(),
        "--ServerApp.base_url=/".into(),
        format!("--ServerApp.root_dir={WORK}"),
        // The gateway is the only way in; it has checked where a request comes from.
        "--ServerApp.allow_remote_access=True".into(),
        "--ServerApp.use_redirect_file=False".into(),
        "--ServerApp.quit_button=False".into(),
        "--ServerApp.websocket_ping_interval=30000".into(),
        "--LabApp.extension_manager=readonly".into(),
    ]
    .into_iter()
}

/// Later entries win: the basics, then the image's, then the configuration's.
fn whole_environment(config: &LocalConfig, of_image: &[(String, String)]) -> Vec<(String, String)> {
    let mut all: BTreeMap<String, String> = [
        ("HOME", HOME),
        ("USER", "ma-user"),
        ("LOGNAME", "ma-user"),
        ("SHELL", "/bin/bash"),
        ("LANG", "C.UTF-8"),
        ("PATH", PATH),
        ("JUPYTER_CONFIG_DIR", "/home/ma-user/.jupyter"),
        ("JUPYTER_DATA_DIR", "/home/ma-user/.local/share/jupyter"),
        ("JUPYTER_RUNTIME_DIR", "/home/ma-user/.local/share/jupyter/runtime"),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .collect();
    all.extend(of_image.iter().cloned());
    if config.ca_bundle.is_some() {
        all.extend(CA_VARIABLES.map(|name| (name.to_owned(), CA_BUNDLE.to_owned())));
    }
    all.extend(config.environment.iter().cloned());
    all.into_iter().collect()
}

/// Connects to the server of a container by its first process.
pub(crate) async fn connect(pid: i32, first: &Handle) -> io::Result<UnixStream> {
    let root = open_folder(Path::new(&format!("/proc/{pid}/root")))?;
    // The process lives after its root was opened, so the number meant it then.
    if !first.lives()? {
        return Err(ErrorKind::NotFound.into());
    }
    let socket = Path::new(SOCKET_FOLDER).join(SOCKET);
    let below = socket.strip_prefix("/").unwrap_or(&socket);
    connect_below(&root, below).await
}

/// What the server says to a first question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// It does not answer yet.
    NotYet,
    /// It answers.
    Ready,
    /// It answers, but has another secret.
    OtherSecret,
}

/// Asks once.
pub(crate) async fn ask(pid: i32, first: &Handle, secret: &SecretString) -> Readiness {
    let limit = Duration::from_secs(5);
    match tokio::time::timeout(limit, status(pid, first, secret)).await {
        Ok(Ok(StatusCode::OK)) => Readiness::Ready,
        Ok(Ok(StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED)) => Readiness::OtherSecret,
        _ => Readiness::NotYet,
    }
}

async fn status(pid: i32, first: &Handle, secret: &SecretString) -> io::Result<StatusCode> {
    let stream = connect(pid, first).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let request = Request::get("/api/status")
        .header(header::HOST, "localhost")
        .header(header::AUTHORIZATION, format!("token {}", secret.expose_secret()))
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    tokio::select! {
        answer = sender.send_request(request) => Ok(answer.map_err(io::Error::other)?.status()),
        _ = connection => Err(ErrorKind::ConnectionReset.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::ReadyImage;
    use std::net::Ipv4Addr;

    #[test]
    fn the_secret_is_in_no_argument_and_no_variable() {
        let mut config = LocalConfig::new("/data".into());
        config.environment.push(("PIP_INDEX_URL".into(), "https://index".into()));
        let image = ReadyImage {
            layers: Vec::new(),
            size_bytes: 0,
            server: vec!["/python".into()],
            environment: vec![("LANG".to_owned(), "de_DE.UTF-8".to_owned())],
            zygotes: None,
        };
        let record = Record::new(0, 1_000_000, Ipv4Addr::LOCALHOST, image);
        let plan = plan(&config, &record, &"s3cret-s3cret".to_owned().into()).unwrap();
        assert!(plan.argv.iter().chain(plan.env.iter().map(|(_, v)| v)).all(|t| !t.contains("s3cret")));
        assert_eq!(plan.secret.as_deref(), Some("s3cret-s3cret"));
        let value = |name: &str| plan.env.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str());
        assert_eq!(value("LANG"), Some("de_DE.UTF-8"));
        assert_eq!(value("PIP_INDEX_URL"), Some("https://index"));
        assert_eq!(value("SSL_CERT_FILE"), None);
        let without = without_secret(&config, &record.server, &record.environment).unwrap();
        assert_eq!((&without.argv, without.secret), (&plan.argv, None));
        assert_eq!(without.env, plan.env[..plan.env.len() - 1]);
        let command = ExecSpec {
            program: Program::Command(vec!["ls".into()]),
            env: vec![("LANG".into(), "C".into())],
            folder: Some("sub".into()),
            terminal: None,
        };
        let beside = beside(&config, &record, command).unwrap();
        assert_eq!(beside.cwd, "/home/ma-user/work/sub");
        assert!(beside.env.contains(&("LANG".into(), "C".into())));
        assert!(beside.env.contains(&("PIP_INDEX_URL".into(), "https://index".into())));
        assert!(!beside.env.iter().any(|(name, _)| name == TOKEN_FILE));
    }
}
