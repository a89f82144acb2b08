//! What of the traffic is a person at work.
//!
//! An open page talks all day with nobody before it: `JupyterLab` asks for kernels, sessions, terminals and folders
//! every few seconds, keeps its layout, and connects again whenever a socket broke. None of that may keep a notebook
//! from being idle. So what counts is named here, and everything else does not count:
//!
//! * a document that a browser goes to: `/lab`, `/tree`, a file;
//! * what changes files (`PUT`, `POST`, `PATCH`, `DELETE` of `/api/contents/…`), and what makes, restarts, interrupts
//!   or ends kernels, sessions and terminals;
//! * on a kernel's socket, messages that a person causes: above all the running of a cell;
//! * on a terminal's socket, what is typed.
//!
//! The sockets of extensions (language servers, shared editing) do not count, because they chatter by themselves. What
//! is written into a shared document reaches the notebook's disk and kernels by ways that do count or are seen there.
//!
//! A program that does these things through the gateway is taken for a person: it was let in by a person's token.

use http::Method;

/// Folders of the API in which a change is somebody's work.
const WORKED_IN: [&str; 4] = ["contents", "kernels", "sessions", "terminals"];

/// Messages that a page sends to kernels by itself: when it opens, when it connects again, to follow a debugger. While a
/// debugger is really used, the kernel is busy.
const OF_THE_PAGE: [&str; 10] = [
    "kernel_info_request",
    "comm_info_request",
    "comm_open",
    "comm_close",
    "history_request",
    "debug_request",
    "create_subshell_request",
    "delete_subshell_request",
    "list_subshell_request",
    "connect_request",
];

/// What a socket carries, by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    /// Messages to a kernel.
    Kernel,
    /// Keys to a terminal.
    Terminal,
}

impl Channel {
    /// The channel at this path of the notebook server; `None` for one that does not count.
    pub(crate) fn at(path: &str) -> Option<Self> {
        let parts: Vec<_> = path.split('/').collect();
        match parts[..] {
            ["", "api", "kernels", _, "channels"] => Some(Self::Kernel),
            ["", "terminals", "websocket", _] => Some(Self::Terminal),
            _ => None,
        }
    }

    /// Whether a person caused the message that begins so. What cannot be read counts: a wrong stop is worse than a
    /// late one.
    pub(crate) fn is_work(self, beginning: &[u8]) -> bool {
        match self {
            Self::Kernel => !is_of_the_page(&String::from_utf8_lossy(beginning)),
            // `["set_size", …]` is sent by every page that opens or connects again.
            Self::Terminal => !without_blanks(beginning).starts_with(b"[\"set_size\""),
        }
    }
}

/// The first of these names in a message is its own: headers come first, and text within a cell is escaped.
fn is_of_the_page(message: &str) -> bool {
    match text_of(message, "\"msg_type\"") {
        // Widgets ask for their state when a page opens; everything else that they send, somebody moved.
        Some("comm_msg") => text_of(message, "\"method\"").is_some_and(|method| method.starts_with("request_state")),
        Some(kind) => OF_THE_PAGE.contains(&kind),
        None => false,
    }
}

/// The text that follows a quoted name and a colon.
fn text_of<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    let (_, after) = message.split_once(name)?;
    let after = after.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    after.split_once('"').map(|(text, _)| text)
}

fn without_blanks(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).take(16).collect()
}

/// Whether a request that is no upgrade is a person at work.
pub(crate) fn is_work(method: &Method, path: &str, navigates: bool) -> bool {
    if navigates {
        return true;
    }
    let changes = matches!(*method, Method::PUT | Method::POST | Method::PATCH | Method::DELETE);
    let folder = path.strip_prefix("/api/").and_then(|rest| rest.split('/').next());
    changes && folder.is_some_and(|folder| WORKED_IN.contains(&folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_page_asks_by_itself_is_no_work() {
        for path in [
            "/api/kernels",
            "/api/sessions",
            "/api/terminals",
            "/api/contents/a.ipynb",
            "/api/status",
            "/api/me",
            "/api/metrics/v1",
            "/api/kernelspecs",
            "/lab/api/workspaces/default",
            "/lab/api/settings",
        ] {
            assert!(!is_work(&Method::GET, path, false), "{path}");
        }
        for path in ["/lab/api/workspaces/default", "/lab/api/settings/x", "/api/security/csp-report", "/git/x/status"]
        {
            for method in [Method::PUT, Method::POST] {
                assert!(!is_work(&method, path, false), "{method} {path}");
            }
        }
    }

    #[test]
    fn saving_starting_and_opening_is_work() {
        assert!(is_work(&Method::PUT, "/api/contents/a%20b.ipynb", false));
        assert!(is_work(&Method::POST, "/api/contents", false));
        assert!(is_work(&Method::DELETE, "/api/sessions/1", false));
        assert!(is_work(&Method::POST, "/api/kernels/1/interrupt", false));
        assert!(is_work(&Method::POST, "/api/terminals", false));
        assert!(is_work(&Method::GET, "/lab/tree/a.ipynb", true));
        assert!(!is_work(&Method::PUT, "/api/contentsx/a", false));
        assert!(!is_work(&Method::HEAD, "/api/contents/a", false));
    }

    #[test]
    fn sockets_count_by_their_paths() {
        assert_eq!(Channel::at("/api/kernels/8f3a/channels"), Some(Channel::Kernel));
        assert_eq!(Channel::at("/terminals/websocket/1"), Some(Channel::Terminal));
        for other in ["/api/events/subscribe", "/lsp/ws/pylsp", "/api/collaboration/room/x", "/api/kernels/8f3a"] {
            assert_eq!(Channel::at(other), None, "{other}");
        }
    }

    #[test]
    fn a_kernel_is_worked_with_by_messages_that_a_person_causes() {
        let message = |kind: &str, content: &str| {
            format!("\u{6}\0shell{{\"date\":\"x\",\"msg_type\":\"{kind}\"}}{{}}{{}}{content}").into_bytes()
        };
        for kind in ["execute_request", "complete_request", "inspect_request", "input_reply", "a_new_request"] {
            assert!(Channel::Kernel.is_work(&message(kind, "{}")), "{kind}");
        }
        for kind in OF_THE_PAGE {
            assert!(!Channel::Kernel.is_work(&message(kind, "{}")), "{kind}");
        }
        assert!(Channel::Kernel.is_work(&message("comm_msg", r#"{"data":{"method":"update"}}"#)));
        assert!(!Channel::Kernel.is_work(&message("comm_msg", r#"{"data":{"method":"request_states"}}"#)));
        assert!(Channel::Kernel.is_work(b"\xff\xfe"), "what cannot be read counts");
        let spaced = br#"{"header": {"msg_id": "1", "msg_type" : "kernel_info_request"}, "content": {}}"#;
        assert!(!Channel::Kernel.is_work(spaced));
        let inside = br#"{"content":{"code":"{\"msg_type\":\"comm_open\"}"},"header":{"msg_type":"execute_request"}}"#;
        assert!(Channel::Kernel.is_work(inside), "what a cell says is not what the message is");
    }

    #[test]
    fn a_terminal_is_worked_with_by_typing() {
        assert!(Channel::Terminal.is_work(br#"["stdin","l"]"#));
        assert!(!Channel::Terminal.is_work(br#"["set_size",24,80,400,600]"#));
        assert!(!Channel::Terminal.is_work(br#" [ "set_size", 24 ]"#));
    }
}
