//! The measuring side of the benchmarks: a bare server to compare with, and a load of keep-alive connections.
//!
//! `bare` answers one fixed JSON document through axum and does nothing else: the most that this machine and this
//! library can do. `load` keeps a number of HTTP/1.1 connections busy for a time and prints what came back, as one line
//! of JSON; `talk` does the same with web sockets, whose messages `echo` sends back. `fill` writes very many notebooks into a data folder, to measure what grows with them. Both sides of a
//! comparison are measured by the same load in the same run, on the same cores, so their ratio means something where the
//! numbers alone would not.
#![allow(clippy::print_stdout, reason = "what is measured is printed")]

mod fill;
mod sockets;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use axum::routing::get;
use clap::{Parser, Subcommand};
use http::{HeaderName, HeaderValue, Request, Uri};
use http_body_util::{BodyExt, Full};
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
        /// A body to send, with POST.
        #[arg(long)]
        body: Option<String>,
        /// Connections at a time.
        #[arg(long, default_value_t = 32)]
        connections: usize,
        /// Seconds to measure, after one second to warm up.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// Answers as a simulated notebook server does, web sockets too, on a free port; prints the address.
    Echo,
    /// Keeps web sockets busy, one message at a time on each, and prints messages per second and latencies.
    Talk {
        /// The address to ask, as `http://host:port/path`.
        url: Uri,
        /// A header to send, as `name: value`.
        #[arg(long = "header")]
        headers: Vec<String>,
        /// The length of a message.
        #[arg(long, default_value_t = 256)]
        bytes: usize,
        /// web sockets at a time.
        #[arg(long, default_value_t = 32)]
        connections: usize,
        /// Seconds to measure, after one second to warm up.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// Adds notebooks to a data folder that no server uses, after a first start has made it.
    Fill {
        /// The data folder.
        data_dir: PathBuf,
        /// How many.
        #[arg(long)]
        notebooks: usize,
        /// How many people share them, the administrator among them.
        #[arg(long, default_value_t = 1)]
        owners: usize,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Args::parse().what {
        What::Bare => bare().await,
        What::Load { url, headers, body, connections, seconds } => {
            let question = Question::new(url, &headers, body)?;
            load(question, connections, seconds).await
        }
        What::Echo => sockets::serve().await,
        What::Talk { url, headers, bytes, connections, seconds } => {
            sockets::load(url, &parsed(&headers)?, bytes, connections, seconds).await
        }
        What::Fill { data_dir, notebooks, owners } => fill::fill(&data_dir, notebooks, owners).await,
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

/// What is asked again and again.
#[derive(Clone)]
struct Question {
    url: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Option<Bytes>,
}

impl Question {
    fn new(url: Uri, headers: &[String], body: Option<String>) -> anyhow::Result<Self> {
        let authority = url.authority().context("the address has no host")?;
        let mut all = vec![(http::header::HOST, HeaderValue::from_str(authority.as_str())?)];
        if body.is_some() {
            all.push((http::header::CONTENT_TYPE, HeaderValue::from_static("application/json")));
        }
        all.extend(parsed(headers)?);
        Ok(Self { url, headers: all, body: body.map(Bytes::from) })
    }

    async fn address(&self) -> anyhow::Result<SocketAddr> {
        let authority = self.url.authority().context("the address has no host")?;
        let mut found = tokio::net::lookup_host((authority.host(), authority.port_u16().unwrap_or(80))).await?;
        found.next().context("the host has no address")
    }

    fn request(&self) -> anyhow::Result<Request<Full<Bytes>>> {
        let path = self.url.path_and_query().map_or("/", |path| path.as_str());
        let method = if self.body.is_some() { http::Method::POST } else { http::Method::GET };
        let mut request =
            Request::builder().method(method).uri(path).body(Full::new(self.body.clone().unwrap_or_default()))?;
        request.headers_mut().extend(self.headers.iter().cloned());
        Ok(request)
    }
}

fn parsed(headers: &[String]) -> anyhow::Result<Vec<(HeaderName, HeaderValue)>> {
    let one = |header: &String| {
        let (name, value) = header.split_once(':').context("a header is `name: value`")?;
        Ok((name.trim().parse()?, value.trim().parse()?))
    };
    headers.iter().map(one).collect()
}

async fn load(question: Question, connections: usize, seconds: u64) -> anyhow::Result<()> {
    let address = question.address().await?;
    let begin = Instant::now() + Duration::from_secs(1);
    let end = begin + Duration::from_secs(seconds);
    let tasks: Vec<_> =
        (0..connections).map(|_| tokio::spawn(keep_busy(address, question.clone(), begin, end))).collect();
    let mut micros = Vec::new();
    for task in tasks {
        micros.extend(task.await??);
    }
    report("requests", micros, seconds)
}

/// What came back within the time measured, as one line of JSON.
fn report(what: &str, mut micros: Vec<u32>, seconds: u64) -> anyhow::Result<()> {
    micros.sort_unstable();
    if micros.is_empty() {
        bail!("nothing was answered");
    }
    let at = |share: usize| micros[(micros.len() - 1) * share / 1000];
    println!(
        r#"{{"{what}_per_second": {}, "p50_us": {}, "p99_us": {}, "p999_us": {}, "{what}": {}}}"#,
        micros.len() / usize::try_from(seconds)?,
        at(500),
        at(990),
        at(999),
        micros.len()
    );
    Ok(())
}

/// Sends one request after the other; the latencies, in microseconds, of those that began within the time measured.
async fn keep_busy(address: SocketAddr, question: Question, begin: Instant, end: Instant) -> anyhow::Result<Vec<u32>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut micros = Vec::new();
    loop {
        let sent = Instant::now();
        if sent >= end {
            return Ok(micros);
        }
        let request = question.request()?;
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
