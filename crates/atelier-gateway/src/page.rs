//! What visitors see instead of a notebook: a page for people, JSON for programs.
//!
//! A page is complete in itself. It loads nothing, runs nothing, is never stored, fits in no other page's frame, and
//! everything in it that somebody typed is escaped.

use std::fmt::Write;

use atelier_core::operation::{StepRecord, StepState};
use atelier_core::{Code, Refusal};
use axum::body::Body;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::json;

use crate::visit::Manner;

const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:36rem;margin:15vh auto;padding:0 1rem;color:#222}\
    h1{font-size:1.4rem}li,small{color:#555}input,button{font:inherit;padding:.3rem .6rem}\
    @media(prefers-color-scheme:dark){body{background:#1b1b1b;color:#ddd}li,small{color:#aaa}a{color:#8bf}}";
/// How long to wait before looking again, in seconds.
const LOOK_AGAIN: &str = "2";

/// An answer of the gateway's own.
pub(crate) struct Page<'a> {
    title: String,
    refusal: Refusal,
    steps: &'a [StepRecord],
    next: Next,
}

/// What the visitor may do.
pub(crate) enum Next {
    /// Nothing here.
    Nothing,
    /// Wait: it will be different soon.
    Wait,
    /// Show a token.
    ShowToken,
    /// Go to this address, which is for people.
    GoTo(String),
}

impl<'a> Page<'a> {
    pub(crate) fn new(title: impl Into<String>, refusal: Refusal) -> Self {
        Self { title: title.into(), refusal, steps: &[], next: Next::Nothing }
    }

    pub(crate) fn next(self, next: Next) -> Self {
        Self { next, ..self }
    }

    pub(crate) fn steps(self, steps: &'a [StepRecord]) -> Self {
        Self { steps, ..self }
    }

    /// The answer, in the visitor's manner.
    pub(crate) fn respond(&self, manner: &Manner) -> Response<Body> {
        let (kind, body) = if manner.page {
            ("text/html; charset=utf-8", self.html(manner))
        } else {
            ("application/json", self.json(manner))
        };
        let mut response = Response::new(Body::from(body));
        let status = self.refusal.code().http_status();
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut set = |name: HeaderName, value| response.headers_mut().insert(name, HeaderValue::from_static(value));
        set(header::CONTENT_TYPE, kind);
        set(header::CACHE_CONTROL, "no-store");
        set(header::REFERRER_POLICY, "no-referrer");
        set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        set(header::CONTENT_SECURITY_POLICY, POLICY);
        if matches!(self.next, Next::Wait) {
            set(header::RETRY_AFTER, LOOK_AGAIN);
        }
        if status == 401 {
            set(header::WWW_AUTHENTICATE, "Bearer realm=\"notebook\"");
        }
        response
    }

    fn json(&self, manner: &Manner) -> String {
        let mut body = json!({ "error_code": self.refusal.code().as_str(), "error_msg": self.refusal.message() });
        if let Some(id) = &manner.request_id {
            body["request_id"] = json!(id);
        }
        body.to_string()
    }

    fn html(&self, manner: &Manner) -> String {
        let refresh = match self.next {
            Next::Wait => format!("<meta http-equiv=\"refresh\" content=\"{LOOK_AGAIN}\">"),
            _ => String::new(),
        };
        let request = manner.request_id.as_ref().map(|id| format!(", request {}", escape(id))).unwrap_or_default();
        format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">{refresh}\
             <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head>\
             <body><h1>{title}</h1><p>{message}</p>{steps}{next}<p><small>{code}{request}</small></p></body></html>\n",
            title = escape(&self.title),
            message = escape(&sentence(self.refusal.message())),
            steps = steps(self.steps),
            next = self.next.html(),
            code = self.refusal.code().as_str(),
        )
    }
}

impl Next {
    fn html(&self) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::Wait => "<p>This page looks again by itself.</p>".into(),
            Self::ShowToken => "<form method=\"get\"><p><label>Token: <input type=\"password\" name=\"token\" \
                autocomplete=\"off\" required autofocus></label> <button>Open</button></p></form>"
                .into(),
            Self::GoTo(url) => format!("<p>In a browser, open <a href=\"{0}\">{0}</a>.</p>", escape(url)),
        }
    }
}

fn steps(steps: &[StepRecord]) -> String {
    if steps.is_empty() {
        return String::new();
    }
    let mut list = String::from("<ol>");
    for step in steps {
        let state = match step.state {
            StepState::Waiting => "waiting",
            StepState::Began => "under way",
            StepState::Done => "done",
            StepState::Failed | StepState::Undone => "failed",
        };
        let note = step.note.as_ref().map(|note| format!(" ({})", escape(note))).unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = write!(list, "<li>{}: {state}{note}</li>", step.name.description());
    }
    list + "</ol>"
}

/// A refusal's message as a sentence: upper case, full stop.
fn sentence(message: &str) -> String {
    let mut chars = message.chars();
    chars.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), chars.as_str()))
}

fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
        out
    })
}

/// The id names no notebook.
pub(crate) fn gone(id: &str) -> Page<'static> {
    Page::new("There is no such notebook", Refusal::no_notebook(id))
}

/// No token was shown.
pub(crate) fn token_missing(next: Next) -> Page<'static> {
    let message = "a token is required: send `Authorization: token TOKEN` or `?token=TOKEN`";
    Page::new("This notebook asks for its token", Refusal::new(Code::TokenMissing, message)).next(next)
}

/// A wrong or old token was shown.
pub(crate) fn token_wrong(next: Next) -> Page<'static> {
    let message = "the token must be the notebook's present one; each start of a notebook makes a new one";
    Page::new("This is not the notebook's token", Refusal::new(Code::NotebookTokenInvalid, message)).next(next)
}

/// The right token was shown, but the owner of the notebook may not enter it any more.
pub(crate) fn owner_barred() -> Page<'static> {
    let message = "the owner of the notebook is switched off or has left the project; an administrator can undo that";
    Page::new("This notebook is closed", Refusal::new(Code::NotPermitted, message))
}

/// Whether the owner may enter cannot be found out now.
pub(crate) fn owner_unknown() -> Page<'static> {
    let message = "who may enter cannot be checked at the moment; try again";
    Page::new("This notebook cannot be opened now", Refusal::new(Code::Unavailable, message)).next(Next::Wait)
}

#[cfg(test)]
mod tests {
    use super::*;
    use atelier_core::operation::StepName;

    const HOSTILE: &str = "</title><script>alert('1')</script>\"&";

    #[test]
    fn everything_typed_is_escaped() {
        let steps = [StepRecord {
            name: StepName::PrepareStorage,
            state: StepState::Began,
            attempts: 1,
            began_at: None,
            ended_at: None,
            note: Some(HOSTILE.into()),
        }];
        let page = Page::new(HOSTILE, Refusal::new(Code::NotServing, HOSTILE)).steps(&steps);
        for next in [Next::Wait, Next::ShowToken, Next::GoTo(HOSTILE.into())] {
            let page = Page { title: page.title.clone(), refusal: page.refusal.clone(), steps: page.steps, next };
            let html = page.html(&Manner { page: true, request_id: Some(HOSTILE.into()) });
            assert!(!html.contains("<script") && !html.contains("alert('1')"), "{html}");
            assert_eq!(html.matches("</title>").count(), 1, "{html}");
            assert!(html.contains("prepare storage: under way (&lt;/title&gt;&lt;script&gt;"), "{html}");
        }
    }

    #[test]
    fn programs_get_the_error_body() {
        let manner = Manner { page: false, request_id: Some("r\"1".into()) };
        let body: serde_json::Value = serde_json::from_str(&token_missing(Next::ShowToken).json(&manner)).unwrap();
        assert_eq!(body["error_code"], "ModelArts.0201");
        assert_eq!(body["request_id"], "r\"1");
        assert!(body["error_msg"].as_str().unwrap().contains("?token="));
    }
}
