//! The way of one request through the gateway; the crate's own page says why in this order.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use atelier_core::id::NotebookId;
use atelier_core::status::Status;
use atelier_core::{Code, Refusal};
use atelier_engine::Route;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::routing::any;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::config::GatewayConfig;
use crate::credential::{Opened, Session, Verdict};
use crate::headers::{self, Up};
use crate::page::{self, Next, Page};
use crate::people::{self, Channel};
use crate::routes::{Routes, Standing, comes_up, serves};
use crate::traffic::{Counted, Traffic, Visited};
use crate::tunnel::{Ear, Tunnels};
use crate::upstream::{Start, Upstream, UpstreamError};
use crate::visit::{Form, Manner, Visit, id_in_path};
use crate::{origin, shape};

/// The reverse proxy to notebooks. Cheap to clone; when the last clone is gone, every connection ends.
#[derive(Clone)]
pub struct Gateway {
    inner: Arc<Inner>,
}

struct Inner {
    config: GatewayConfig,
    routes: Arc<dyn Routes>,
    upstream: Arc<Upstream>,
    traffic: Arc<Traffic>,
    tunnels: Tunnels,
    _watching: DropGuard,
}

/// A request that was let in.
struct Admitted {
    visit: Visit,
    route: Route,
    session: Session,
}

impl Gateway {
    /// A gateway to the notebooks of `routes`. Must be called within a tokio runtime: it watches the routes.
    pub fn new(config: GatewayConfig, routes: Arc<dyn Routes>) -> Self {
        let upstream = Arc::new(Upstream::new(routes.clone()));
        let watching = CancellationToken::new();
        let watch = watch(Arc::downgrade(&upstream), routes.subscribe(), routes.subscribe_standings());
        tokio::spawn(watching.clone().run_until_cancelled_owned(watch));
        Self {
            inner: Arc::new(Inner {
                config,
                routes,
                upstream,
                traffic: Arc::default(),
                tunnels: Tunnels::default(),
                _watching: watching.drop_guard(),
            }),
        }
    }

    /// What has passed through, up to now.
    pub fn traffic(&self) -> &Traffic {
        &self.inner.traffic
    }

    /// Ends every open `WebSocket` because another server takes this one's place: visitors get a close with code 1012
    /// behind the last message, and can go on there. To be called last, when nothing new is let in any more.
    pub async fn leave(&self) {
        self.inner.tunnels.leave().await;
    }

    /// The path form, `/notebook/{id}/…`, for the API's router. To be merged, not nested: it reads the whole path.
    pub fn path_router(&self) -> Router {
        let gateway = self.clone();
        let handler = any(move |request: Request<Body>| {
            let gateway = gateway.clone();
            async move { gateway.handle_path(request).await }
        });
        Router::new()
            .route("/notebook/{id}", handler.clone())
            .route("/notebook/{id}/", handler.clone())
            .route("/notebook/{id}/{*rest}", handler)
    }

    async fn handle_path(&self, request: Request<Body>) -> Response<Body> {
        if let Some(id) = id_in_path(request.uri().path()) {
            return self.handle(request, Form::Path, id).await;
        }
        let refusal = Refusal::new(Code::NotFound, "the path must start with `/notebook/` and a notebook's id");
        let (parts, _) = request.into_parts();
        Page::new("There is no such notebook", refusal).respond(&Manner::read(&parts))
    }

    /// Answers a request for the notebook `id`. The server's assembly has classified its host, so that `form` and `id`
    /// are right; in the path form the path still begins with `/notebook/<id>`.
    pub async fn handle(&self, request: Request<Body>, form: Form, id: NotebookId) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let visit = Visit::read(&parts, form, id);
        let (method, path) = (parts.method.clone(), visit.path.clone());
        let kind = if visit.upgrade { Visited::Socket } else { Visited::Http };
        let response = match self.admit(&parts, visit) {
            Ok(admitted) => self.pass(Request::from_parts(parts, body), &admitted).await,
            Err(answer) => *answer,
        };
        self.inner.traffic.answered(kind, response.status());
        tracing::debug!(notebook_id = %id, %method, path, status = response.status().as_u16(), "notebook {id} visited");
        response
    }

    /// Everything that can be said without asking the notebook server.
    fn admit(&self, parts: &Parts, visit: Visit) -> Result<Admitted, Box<Response<Body>>> {
        let refuse = |page: Page<'_>| Err(Box::new(page.respond(&visit.manner)));
        if let Err(refusal) = shape::check(parts, visit.upgrade) {
            return refuse(Page::new("This request cannot be understood", refusal));
        }
        let Some(route) = self.inner.routes.route(visit.id).filter(|r| r.status != Status::Deleted) else {
            return refuse(page::gone(&visit.id.to_string()));
        };
        let opened = match visit.shown.judge(&route) {
            Verdict::Missing => return refuse(page::token_missing(self.ask(&visit))),
            Verdict::Wrong => return refuse(page::token_wrong(self.ask(&visit))),
            Verdict::Right(opened) => opened,
        };
        match self.inner.routes.standing(&route) {
            Standing::Welcome => {}
            Standing::Barred => return refuse(page::owner_barred()),
            Standing::Unknown => return refuse(page::owner_unknown()),
        }
        if let Err(foreign) = origin::check(parts, &visit, &self.inner.config, opened) {
            let refusal = Refusal::new(Code::NotPermitted, foreign.0);
            return refuse(Page::new("Another page asked for this", refusal));
        }
        let session = Session::of(&route);
        if opened == Opened::Query && visit.form == Form::Host && visit.navigates {
            return Err(Box::new(self.without_token(&visit, session)));
        }
        if !serves(route.status) {
            return refuse(not_serving(&route));
        }
        Ok(Admitted { visit, route, session })
    }

    /// What somebody without the right token may do. The path form is not for browsers.
    fn ask(&self, visit: &Visit) -> Next {
        match visit.form {
            Form::Host => Next::ShowToken,
            Form::Path => Next::GoTo(self.inner.config.notebook_url(visit.id)),
        }
    }

    /// Sends a browser to the same address without the token, with a cookie instead. The address is absolute, since a
    /// path that begins with two slashes would lead to another host.
    fn without_token(&self, visit: &Visit, session: Session) -> Response<Body> {
        let scheme = visit.scheme.unwrap_or(self.inner.config.public_url.scheme);
        let origin = visit.host.as_ref().map(|host| format!("{scheme}://{host}"));
        let origin = origin.unwrap_or_else(|| self.inner.config.notebook_origin(visit.id));
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SEE_OTHER;
        let headers = response.headers_mut();
        headers.extend(HeaderValue::from_str(&(origin + &visit.target())).ok().map(|to| (header::LOCATION, to)));
        headers.extend(session.set_cookie().map(|cookie| (header::SET_COOKIE, cookie)));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response
    }

    /// Passes a request on, and its answer back.
    async fn pass(&self, request: Request<Body>, admitted: &Admitted) -> Response<Body> {
        let visit = &admitted.visit;
        let Some(start) = self.inner.upstream.enter(visit.id, admitted.session) else {
            return ended().respond(&visit.manner);
        };
        let result = if visit.upgrade {
            self.upgrade(request, admitted, &start).await
        } else {
            if people::is_work(request.method(), &visit.path, visit.navigates) {
                self.inner.routes.person_worked(visit.id);
            }
            let upward = self.upward(request, admitted);
            match upward {
                Ok(request) => self.inner.upstream.send(&start, request).await.map(|r| {
                    let traffic = self.inner.traffic.clone();
                    downward(r, admitted).map(|body| Body::new(Counted::down(body, traffic)))
                }),
                Err(refusal) => return Page::new("This request cannot be passed on", refusal).respond(&visit.manner),
            }
        };
        result.unwrap_or_else(|error| failed(&error, &start, visit.id).respond(&visit.manner))
    }

    async fn upgrade(
        &self,
        mut request: Request<Body>,
        admitted: &Admitted,
        start: &Arc<Start>,
    ) -> Result<Response<Body>, UpstreamError> {
        let visitor = hyper::upgrade::on(&mut request);
        let request = match self.upward(request.map(|_| Body::empty()), admitted) {
            Ok(request) => request,
            Err(refusal) => {
                return Ok(Page::new("This request cannot be passed on", refusal).respond(&admitted.visit.manner));
            }
        };
        let mut response = self.inner.upstream.send_alone(start, request).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let ear = self.ear(&admitted.visit);
            let server = hyper::upgrade::on(&mut response);
            self.inner.tunnels.spawn(visitor, server, start.ended().clone(), ear, self.inner.traffic.clone());
        }
        Ok(downward(response, admitted))
    }

    /// What listens for a person's work on a socket; `None` where it could not be told from the page's own.
    fn ear(&self, visit: &Visit) -> Option<Ear> {
        let channel = Channel::at(&visit.path)?;
        let (routes, id) = (self.inner.routes.clone(), visit.id);
        Some(Box::new(move |beginning| {
            if channel.is_work(beginning) {
                routes.person_worked(id);
            }
        }))
    }

    /// The request for the notebook server.
    fn upward(&self, request: Request<Body>, admitted: &Admitted) -> Result<Request<Body>, Refusal> {
        let (parts, body) = request.into_parts();
        let visit = &admitted.visit;
        let target = PathAndQuery::try_from(visit.target())
            .map_err(|_| Refusal::new(Code::BadRequest, "the path must be a valid one"))?;
        let up = Up {
            visit,
            route: &admitted.route,
            scheme: visit.scheme.unwrap_or(self.inner.config.public_url.scheme),
            from: parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|from| from.0.ip()),
            own_origin: origin::is_own(&parts, visit, &self.inner.config),
        };
        let mut request = Request::new(Body::new(Counted::up(body, self.inner.traffic.clone())));
        *request.method_mut() = parts.method;
        *request.uri_mut() = Uri::from(target);
        *request.headers_mut() = headers::upward(parts.headers, &up);
        Ok(request)
    }
}

/// The notebook server's answer, for the visitor.
fn downward(response: Response<hyper::body::Incoming>, admitted: &Admitted) -> Response<Body> {
    let (parts, body) = response.into_parts();
    let switching = parts.status == StatusCode::SWITCHING_PROTOCOLS;
    if switching && !admitted.visit.upgrade {
        let refusal = Refusal::new(Code::BadGateway, "the notebook server changed the protocol unasked");
        return Page::new("The notebook does not answer", refusal).respond(&admitted.visit.manner);
    }
    let mut response = Response::new(if switching { Body::empty() } else { Body::new(body) });
    *response.status_mut() = parts.status;
    *response.headers_mut() = headers::downward(parts.headers, &admitted.visit, &admitted.route);
    if switching {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    response
}

/// Ends what belongs to starts that are over, whenever a route or the standing of an owner has changed.
async fn watch(upstream: Weak<Upstream>, mut routes: watch::Receiver<u64>, mut standings: watch::Receiver<u64>) {
    loop {
        let changed = tokio::select! {
            changed = routes.changed() => changed,
            changed = standings.changed() => changed,
        };
        let Some(upstream) = upstream.upgrade().filter(|_| changed.is_ok()) else { return };
        upstream.sweep();
    }
}

/// What a notebook does instead of serving. Only for those who showed its token.
fn not_serving(route: &Route) -> Page<'_> {
    let reason = route.fail_reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let advice = match route.status {
        status if comes_up(status) => "; it opens as soon as it serves",
        Status::Stopped => "; start it to use it",
        _ => "",
    };
    let message = format!("notebook `{}` is {}{advice}{reason}", route.name, route.status);
    let next = if comes_up(route.status) { Next::Wait } else { Next::Nothing };
    let title = format!("{} is {}", route.name, words(route.status));
    Page::new(title, Refusal::new(Code::NotServing, message)).steps(&route.progress).next(next)
}

const fn words(status: Status) -> &'static str {
    match status {
        Status::Init | Status::Creating | Status::Starting => "starting",
        Status::Running | Status::Snapshotting => "running",
        Status::Stopping => "stopping",
        Status::Stopped => "stopped",
        Status::Deleting | Status::Deleted => "being deleted",
        Status::CreateFailed | Status::StartFailed => "not started",
        Status::DeleteFailed => "not deleted",
        Status::Error => "broken",
        Status::Frozen => "frozen",
    }
}

fn ended() -> Page<'static> {
    let refusal = Refusal::new(Code::NotServing, "the notebook was stopped or started again meanwhile");
    Page::new("The notebook was stopped", refusal).next(Next::Wait)
}

/// A server that cannot be reached, although its notebook runs: it has just ended, or hangs.
fn failed(error: &UpstreamError, start: &Start, id: NotebookId) -> Page<'static> {
    if start.ended().is_cancelled() {
        return ended();
    }
    tracing::warn!(notebook_id = %id, error = %error, "notebook {id} does not answer");
    let refusal =
        Refusal::new(Code::BadGateway, "the notebook server does not answer; it may be about to be restarted");
    Page::new("The notebook does not answer", refusal).next(Next::Wait)
}
