//! What stands in for a notebook server: it answers HTTP requests, and sends back what a WebSocket sends.
//!
//! It does as little as a server can do, so that what is measured in front of it is measured, and it does that right: a
//! client of either protocol finds what its standard promises. Frames are passed back one by one, as they came but for the
//! mask, which only clients use; so a message in several frames comes back in the same frames.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// What the key of a WebSocket is hashed with (RFC 6455, section 4.2.2).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The longest frame that is sent back.
const LONGEST: usize = 16 << 20;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// Answers until the other side closes.
pub async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    // Whoever went away in the middle needs no answer.
    let _ = answer_all(&mut stream).await;
}

async fn answer_all(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    let mut read = Vec::new();
    loop {
        while let Some(end) = request_end(&read) {
            let key = socket_key(&read[..end]);
            let head = key.as_ref().map_or_else(|| plain(&read[..end]), |key| switching(key));
            read.drain(..end);
            stream.write_all(head.as_bytes()).await?;
            if key.is_some() {
                return echo(stream, read).await;
            }
        }
        if more(stream, &mut read).await? == 0 {
            return Ok(());
        }
    }
}

async fn more(stream: &mut (impl AsyncRead + Unpin), read: &mut Vec<u8>) -> io::Result<usize> {
    read.reserve(16 * 1024);
    stream.read_buf(read).await
}

fn plain(request: &[u8]) -> String {
    let body = body_for(request);
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn switching(key: &str) -> String {
    let accept = STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-accept: {accept}\r\n\r\n"
    )
}

/// What a request is answered with.
fn body_for(request: &[u8]) -> &'static str {
    let asked = |path: &str| request.starts_with(format!("GET {path}").as_bytes());
    if asked("/api/kernels") || asked("/api/terminals") { "[]\n" } else { "{\"simulated\":true}\n" }
}

/// Where the first whole request in `read` ends. Bodies without a stated length are not understood.
fn request_end(read: &[u8]) -> Option<usize> {
    let head = read.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let length = header(&read[..head], "content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
    (read.len() >= head + length).then_some(head + length)
}

/// The key of a request that asks for a WebSocket.
fn socket_key(request: &[u8]) -> Option<String> {
    header(request, "upgrade").filter(|to| to.eq_ignore_ascii_case("websocket"))?;
    header(request, "sec-websocket-key")
}

fn header(request: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(request);
    text.lines().take_while(|line| !line.is_empty()).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

async fn echo(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), mut read: Vec<u8>) -> io::Result<()> {
    let mut back = Vec::new();
    loop {
        let mut closed = false;
        while let Some(frame) = Frame::first(&read)? {
            closed |= frame.kind() == CLOSE;
            frame.back(&read, &mut back);
            read.drain(..frame.end);
        }
        stream.write_all(&back).await?;
        back.clear();
        if closed || more(stream, &mut read).await? == 0 {
            return stream.shutdown().await;
        }
    }
}

/// A whole frame at the beginning of what was read.
struct Frame {
    first: u8,
    mask: [u8; 4],
    payload: usize,
    end: usize,
}

impl Frame {
    /// `None` while it is not all there. A client's frames have a mask.
    fn first(read: &[u8]) -> io::Result<Option<Self>> {
        let Some((&[first, second], rest)) = read.split_first_chunk::<2>() else { return Ok(None) };
        let (length, rest) = match second & 0x7f {
            126 => match rest.split_first_chunk::<2>() {
                Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk::<8>() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest),
                None => return Ok(None),
            },
            short => (u64::from(short), rest),
        };
        let length = usize::try_from(length).ok().filter(|length| *length <= LONGEST && second & 0x80 != 0);
        let length = length.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        let Some((mask, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let payload = read.len() - rest.len();
        Ok((rest.len() >= length).then_some(Self { first, mask: *mask, payload, end: payload + length }))
    }

    fn kind(&self) -> u8 {
        self.first & 0xf
    }

    /// Appends the frame without its mask; a ping as its pong.
    fn back(&self, read: &[u8], out: &mut Vec<u8>) {
        out.push(if self.kind() == PING { self.first & 0xf0 | PONG } else { self.first });
        let length = self.end - self.payload;
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short @ ..126), _) => out.push(short),
            (_, Ok(middle)) => {
                out.push(126);
                out.extend(middle.to_be_bytes());
            }
            _ => {
                out.push(127);
                out.extend((length as u64).to_be_bytes());
            }
        }
        out.extend(read[self.payload..self.end].iter().zip(self.mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_that_it_has_no_kernels() {
        assert_eq!(body_for(b"GET /api/kernels?no_track_activity=1 HTTP/1.1\r\n\r\n"), "[]\n");
        assert_eq!(body_for(b"GET /api/status HTTP/1.1\r\n\r\n"), "{\"simulated\":true}\n");
    }

    #[test]
    fn requests_are_told_apart() {
        assert_eq!(request_end(b"GET / HTTP/1.1\r\n\r"), None);
        assert_eq!(request_end(b"GET / HTTP/1.1\r\n\r\nGET"), Some(18));
        assert_eq!(request_end(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab"), None);
        assert_eq!(request_end(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"), Some(41));
    }

    /// The key and the answer to it are the standard's own example.
    #[tokio::test]
    async fn a_socket_is_sent_back_what_it_sends() {
        let (mut near, far) = tokio::io::duplex(1 << 20);
        let answering = tokio::spawn(answer(far));
        let ask = "GET /k HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        near.write_all(ask.as_bytes()).await.unwrap();
        let long = vec![7; 70_000];
        for (first, payload) in [(0x81, &b"Hello"[..]), (0x89, b"p"), (0x82, &[1; 300]), (0x82, &long), (0x88, b"")] {
            near.write_all(&masked(first, payload)).await.unwrap();
        }
        let mut all = Vec::new();
        near.read_to_end(&mut all).await.unwrap();
        answering.await.unwrap();
        let head = all.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        assert!(String::from_utf8_lossy(&all[..head]).contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        let mut expected = b"\x81\x05Hello\x8a\x01p\x82\x7e\x01\x2c".to_vec();
        expected.extend([1; 300]);
        expected.extend(b"\x82\x7f\0\0\0\0\0\x01\x11\x70");
        expected.extend(&long);
        expected.extend(b"\x88\0");
        assert!(all[head..] == expected);
    }

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        const MASK: [u8; 4] = [1, 2, 3, 4];
        let mut frame = vec![first];
        match payload.len() {
            short @ ..126 => frame.push(0x80 | u8::try_from(short).unwrap()),
            middle @ 126..65536 => {
                frame.push(0xfe);
                frame.extend(u16::try_from(middle).unwrap().to_be_bytes());
            }
            long => {
                frame.push(0xff);
                frame.extend((long as u64).to_be_bytes());
            }
        }
        frame.extend(MASK);
        frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }
}
