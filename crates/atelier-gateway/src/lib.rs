//! The gateway: the one door to a notebook's server.
//!
//! A notebook's server listens on no port of the host. Whoever wants to reach it comes here, shows the notebook's
//! token, and is passed on; nobody else is. Requests come in two forms.
//!
//! | form | address | credentials | for |
//! |---|---|---|---|
//! | host | `http://<id>.<domain>:<port>/…` | header, `?token=`, cookie | browsers: each notebook is an origin of its own |
//! | path | `/notebook/<id>/…` on the API's address | header, `?token=` | programs |
//!
//! The path form never sets or reads a cookie, and what it answers carries `Content-Security-Policy: sandbox`:
//! its origin is shared by all notebooks and the API, so a page that came through it must not act as that origin.
//!
//! **What a request meets**, in this order, and why in this order:
//!
//! 1. *Is it one request?* (`shape`) What two servers could read differently is refused before anything is looked up.
//! 2. *Which notebook?* An id that no notebook has is answered 404, to anybody. Ids are `UUIDv7` with 74 random bits:
//!    they cannot be found by trying, so "not there" tells nothing to somebody who was not told the id, and the owner
//!    of a deleted notebook learns that it is gone instead of being asked for a token that no longer exists.
//! 3. *Who is it?* (`credential`) No token is 401; a wrong one, or one of an earlier start, 403. Only past this
//!    point may an answer say anything of the notebook: its name, its status, why it failed. Any right credential
//!    opens, also beside a wrong one: `JupyterLab`'s own pages send the token that they know themselves, which is not
//!    the visitor's, together with the visitor's cookie.
//! 4. *Is the owner still welcome?* The token proves that its holder was let in by the owner. Where the owner was
//!    switched off or left the project, nobody is let in by them any more, and what they had opened ends at once.
//! 5. *Did the visitor want it?* (`origin`) A cookie travels with requests that other pages cause. So what changes
//!    something, and every upgrade, must come from the notebook's own origin.
//! 6. *Does the token show?* A browser that navigates with `?token=` gets a cookie and is sent to the same address
//!    without it, so that the token stands in no address bar, history or `Referer`. A program's request never is: it
//!    could not follow with a body or an upgrade, and has no use for a cookie.
//! 7. *Does the notebook serve?* If not, a page says what it does instead, and looks again while it starts.
//! 8. *On to the server*, over a connection that belongs to this start of the notebook (`upstream`), with headers
//!    rewritten (`headers`).
//!
//! **What must hold.** The visitor's token, the gateway's cookie and the upstream secret never meet in a head: what goes
//! up carries only the secret, what comes down none of them but a fresh cookie. Bodies are not read, so a server that
//! writes its own secret into its pages, as `JupyterLab` does, shows it to those who were let in; it is of no use to
//! them, because nothing but the gateway reaches the server and the gateway does not accept it. The cookie does not
//! contain the token but a value derived from it, so a new start makes old cookies worthless. Nothing that streams is
//! collected: bodies pass frame by frame at the pace of the slower side. Everything opened for one start ends when that
//! start ends, its token is replaced, or its owner may enter no more.
//!
//! **Who works?** Traffic that a person causes is told from what pages say by themselves (`people`, `frames`), and passed
//! on as a moment only: idle leases count from it. And the gateway asks notebook servers what they do, for those who
//! speak no HTTP (`asker`).
//!
//! Against the server, `Host` is `localhost` and a visitor's own `Origin` becomes `http://localhost`: a notebook server
//! refuses other names unless told otherwise, and which names are right has been decided here already. The true ones
//! are in `X-Forwarded-Host` and `X-Forwarded-Proto`.

mod asker;
mod config;
mod credential;
mod frames;
mod gateway;
mod headers;
mod host;
mod origin;
mod page;
mod people;
mod query;
mod routes;
mod shape;
mod traffic;
mod tunnel;
mod upstream;
mod visit;

pub use asker::NotebookAsker;
pub use config::{GatewayConfig, PublicUrl, Scheme};
pub use credential::COOKIE;
pub use gateway::Gateway;
pub use host::{Host, HostNames};
pub use routes::{Notebooks, Route, Routes, Standing};
pub use traffic::{Class, Traffic, Visited};
pub use visit::Form;
