//! The measuring side of the benchmarks: a bare server to compare with, and a load of keep-alive connections.
//!
//! `bare` answers one fixed JSON document through axum and does nothing else: the most that this machine and this
//! library can do. `load` keeps a number of HTTP/1.1 connections busy for a time and prints what came back, as one line
//! of JSON. Both sides of a comparison are measured by the same load in the same run, on the same cores, so their ratio
//! means something where the numbers alone would not.
#![allow(clippy::print_stdout, reason = "what is measured is printed")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use axum::routing::get;
use clap::{Parser, Subcommand};
use http::{HeaderName, HeaderValue, Request, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

#[derive(Parser)]
#[command(about = "The measuring side of Atelier's benchmarks")]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Answers one fixed document on a free port; prints the address.
    Bare,
    /// Keeps connections busy and prints requests per second and latencies.
    Load {
        /// The address to ask, as `http://host:port/path`.
        url: Uri,
        /// A header to send, as `name: value`.
        #[arg(long = "header")]
        headers: Vec<String>,
        /// Connections at a time.
        #[arg(long, default_value_t = 32)]
        connections: usize,
        /// Seconds to measure, after one second to warm up.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Args::parse().what {
        What::Bare => bare().await,
        What::Load { url, headers, connections, seconds } => load(&url, &headers, connections, seconds).await,
    }
}

/// A document of the size of a lease.
const DOCUMENT: &str =
    r#"{"create_at":1687656452470,"duration":3627372,"enable":true,"type":"TIMING","update_at":1687656479842}"#;

async fn bare() -> anyhow::Result<()> {
    let answer = || async { ([("content-type", "application/json")], DOCUMENT) };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}/", listener.local_addr()?);
    axum::serve(listener, axum::Router::new().route("/", get(answer))).await?;
    Ok(())
}

async fn load(url: &Uri, headers: &[String], connections: usize, seconds: u64) -> anyhow::Result<()> {
    let authority = url.authority().context("the address has no host")?;
    let address: SocketAddr = tokio::net::lookup_host((authority.host(), authority.port_u16().unwrap_or(80)))
        .await?
        .next()
        .context("the host has no address")?;
    let mut parsed = vec![(http::header::HOST, HeaderValue::from_str(authority.as_str())?)];
    for header in headers {
        let (name, value) = header.split_once(':').context("a header is `name: value`")?;
        parsed.push((name.trim().parse::<HeaderName>()?, value.trim().parse()?));
    }
    let begin = Instant::now() + Duration::from_secs(1);
    let end = begin + Duration::from_secs(seconds);
    let tasks: Vec<_> =
        (0..connections).map(|_| tokio::spawn(keep_busy(address, url.clone(), parsed.clone(), begin, end))).collect();
    let mut micros = Vec::new();
    for task in tasks {
        micros.extend(task.await??);
    }
    micros.sort_unstable();
    if micros.is_empty() {
        bail!("nothing was answered");
    }
    let at = |share: usize| micros[(micros.len() - 1) * share / 1000];
    println!(
        r#"{{"requests_per_second": {}, "p50_us": {}, "p99_us": {}, "p999_us": {}, "requests": {}}}"#,
        micros.len() / usize::try_from(seconds)?,
        at(500),
        at(990),
        at(999),
        micros.len()
    );
    Ok(())
}

/// Sends one request after the other; the latencies, in microseconds, of those that began within the time measured.
async fn keep_busy(
    address: SocketAddr,
    url: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    begin: Instant,
    end: Instant,
) -> anyhow::Result<Vec<u32>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let path = url.path_and_query().map_or("/", |p| p.as_str()).to_owned();
    let mut micros = Vec::new();
    loop {
        let sent = Instant::now();
        if sent >= end {
            return Ok(micros);
        }
        let mut request = Request::get(&path).body(Empty::<Bytes>::new())?;
        request.headers_mut().extend(headers.iter().cloned());
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        if !response.status().is_success() {
            bail!("answered {}", response.status());
        }
        response.into_body().collect().await?;
        if sent >= begin {
            micros.push(u32::try_from(sent.elapsed().as_micros())?);
        }
    }
}
