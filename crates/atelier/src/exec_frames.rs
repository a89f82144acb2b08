//! What goes over the WebSocket of a command, for both of its ends: docs/exec.md is the description of this.
//!
//! The client's first message is the wish, as text. Everything after it is binary: one byte that names the channel, and
//! what is on it. Output waits in the network for a slow reader, as output does. Input does not: the client sends no more
//! than a window beyond what the command has taken, so that its other messages are always read at once, and nobody's
//! memory grows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Message};

/// The WebSocket's subprotocol.
pub(crate) const PROTOCOL: &str = "atelier.exec.v1";
/// Bytes of input that may be on their way.
pub(crate) const WINDOW: usize = 256 * 1024;
/// Bytes of input or output in one message.
pub(crate) const PIECE: usize = 32 * 1024;
/// The longest message.
const MOST: usize = 256 * 1024;

/// What shall be run: one of the first three.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wish {
    /// A program and its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) command: Vec<String>,
    /// What writes a stream of the files that are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) send: Option<String>,
    /// What reads a stream of files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) receive: Option<Destination>,
    /// Variables of its environment besides those of a terminal in the notebook.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) env: BTreeMap<String, String>,
    /// Its working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) folder: Option<String>,
    /// The size of its terminal, when it shall have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) terminal: Option<Size>,
}

/// Where files come to be.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Destination {
    /// By this very name, or in this folder when it is one.
    pub(crate) path: String,
    /// What they are called in that folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
}

/// The size of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Size {
    pub(crate) columns: u16,
    pub(crate) rows: u16,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    /// By itself, with this code.
    ExitCode(i32),
    /// Otherwise, or it never began; in words.
    Error(String),
}

impl End {
    pub(crate) fn error(words: impl Into<String>) -> Self {
        Self::Error(words.into())
    }
}

/// A message after the first one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// From the client: what the command reads.
    Input(Bytes),
    /// What it writes.
    Output(Bytes),
    /// What it writes of errors.
    Errors(Bytes),
    /// The last message.
    Over(End),
    /// From the client: its terminal has another size.
    Resize(Size),
    /// So many bytes of input were taken.
    Taken(u32),
    /// From the client: there is no more input.
    EndOfInput,
}

const INPUT: u8 = 0;
const OUTPUT: u8 = 1;
const ERRORS: u8 = 2;
const OVER: u8 = 3;
const RESIZE: u8 = 4;
const TAKEN: u8 = 5;
const END_OF_INPUT: u8 = 255;

impl Frame {
    /// The message.
    pub(crate) fn message(&self) -> Message {
        let json = |value: serde_json::Result<Vec<u8>>| value.unwrap_or_default();
        let (channel, body) = match self {
            Self::Input(bytes) => (INPUT, bytes.to_vec()),
            Self::Output(bytes) => (OUTPUT, bytes.to_vec()),
            Self::Errors(bytes) => (ERRORS, bytes.to_vec()),
            Self::Over(end) => (OVER, json(serde_json::to_vec(end))),
            Self::Resize(size) => (RESIZE, json(serde_json::to_vec(size))),
            Self::Taken(bytes) => (TAKEN, bytes.to_be_bytes().to_vec()),
            Self::EndOfInput => (END_OF_INPUT, Vec::new()),
        };
        Message::Binary([&[channel], body.as_slice()].concat().into())
    }

    /// What a binary message says; `None` when it says nothing that is known here.
    pub(crate) fn read(message: &Bytes) -> Option<Self> {
        let body = || message.slice(1..);
        Some(match *message.first()? {
            INPUT => Self::Input(body()),
            OUTPUT => Self::Output(body()),
            ERRORS => Self::Errors(body()),
            OVER => Self::Over(serde_json::from_slice(&body()).ok()?),
            RESIZE => Self::Resize(serde_json::from_slice(&body()).ok()?),
            TAKEN => Self::Taken(u32::from_be_bytes(body()[..].try_into().ok()?)),
            END_OF_INPUT => Self::EndOfInput,
            _ => return None,
        })
    }
}

/// How both ends read.
pub(crate) fn config() -> WebSocketConfig {
    WebSocketConfig::default().max_message_size(Some(MOST)).max_frame_size(Some(MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_reads_back() {
        for (frame, wanted) in [
            (Frame::Input(Bytes::from_static(b"ab")), &b"\0ab"[..]),
            (Frame::Output(Bytes::new()), b"\x01"),
            (Frame::Errors(Bytes::from_static(b"\xff")), b"\x02\xff"),
            (Frame::Over(End::ExitCode(7)), b"\x03{\"exit_code\":7}"),
            (Frame::Over(End::error("gone")), b"\x03{\"error\":\"gone\"}"),
            (Frame::Resize(Size { columns: 80, rows: 24 }), b"\x04{\"columns\":80,\"rows\":24}"),
            (Frame::Taken(258), b"\x05\0\0\x01\x02"),
            (Frame::EndOfInput, b"\xff"),
        ] {
            let Message::Binary(bytes) = frame.message() else { panic!("not binary") };
            assert_eq!((bytes.as_ref(), Frame::read(&bytes)), (wanted, Some(frame)));
        }
    }

    #[test]
    fn what_is_not_known_is_no_frame() {
        for bytes in [&b""[..], b"\x09x", b"\x04{", b"\x05\0"] {
            assert_eq!(Frame::read(&Bytes::copy_from_slice(bytes)), None, "{bytes:?}");
        }
    }
}
