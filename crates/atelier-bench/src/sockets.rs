//! A load of web sockets, and the server that sends every message back.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderName, HeaderValue, Uri};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::report;

/// Answers as the simulated runtime's notebook servers do, behind a port and in a process of its own.
pub(crate) async fn serve() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}/", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(atelier_runtime::simulated::answer::answer(stream));
    }
}

/// Sends messages over many web sockets, each of them one message after the answer to the last one.
pub(crate) async fn load(
    url: Uri,
    headers: &[(HeaderName, HeaderValue)],
    bytes: usize,
    connections: usize,
    seconds: u64,
) -> anyhow::Result<()> {
    let begin = Instant::now() + Duration::from_secs(1);
    let end = begin + Duration::from_secs(seconds);
    let talks: Vec<_> =
        (0..connections).map(|_| tokio::spawn(talk(url.clone(), headers.to_vec(), bytes, begin, end))).collect();
    let mut micros = Vec::new();
    for talk in talks {
        micros.extend(talk.await??);
    }
    report("messages", micros, seconds)
}

async fn talk(
    url: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    bytes: usize,
    begin: Instant,
    end: Instant,
) -> anyhow::Result<Vec<u32>> {
    let authority = url.authority().context("the address has no host")?;
    let stream = TcpStream::connect(authority.as_str()).await?;
    stream.set_nodelay(true)?;
    let address = format!("ws://{authority}{}", url.path_and_query().map_or("/", |path| path.as_str()));
    let mut request = address.into_client_request()?;
    request.headers_mut().extend(headers);
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await?;
    let message = Message::text("m".repeat(bytes));
    let mut micros = Vec::new();
    loop {
        let sent = Instant::now();
        if sent >= end {
            socket.close(None).await?;
            return Ok(micros);
        }
        socket.send(message.clone()).await?;
        match socket.next().await {
            Some(Ok(back)) if back == message => {}
            other => bail!("sent back: {other:?}"),
        }
        if sent >= begin {
            micros.push(u32::try_from(sent.elapsed().as_micros())?);
        }
    }
}
