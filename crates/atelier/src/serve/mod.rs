//! The server, assembled: data folder, store, identity, runtime, engine, gateway and API behind one door.
//!
//! Order matters. The folder is locked before anything in it is read; the address is taken before anything is resumed,
//! so that a server that cannot listen changes nothing; the first administrator's file is on disk before the store
//! knows of them; and nothing is accepted before everything stands. At the end, the other way round: the door closes,
//! what is in flight gets its time, the engine ends its tasks. Notebooks run on throughout.

mod administrator;
mod door;
mod front;
mod log_tail;
mod own;
mod runtime;
mod scraper_door;
mod seeing;
mod throttle;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use atelier_api::{ApiConfig, ApiState, NotebookAddress};
use atelier_core::observe::Watcher;
use atelier_core::{Clock, Entropy, SystemClock};
use atelier_engine::{Engine, EngineConfig};
use atelier_gateway::{Gateway, GatewayConfig, HostNames, PublicUrl};
use atelier_iam::{Iam, IamConfig};
use atelier_store_sqlite::{Sealer, SqliteStore};
use rand::RngCore as _;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::front::{Front, Parts};
use self::seeing::{AuditDesk, Ears, Metrics, Receiver, Scrape, Seeing, Tracer};
use self::throttle::Throttle;
use crate::config::Config;
use crate::failure::Failure;
use crate::folder::DataFolder;

/// The name of the database in the data folder.
const DATABASE: &str = "atelier.db";

/// A server that stands, and accepts as soon as it is run.
pub(crate) struct Server {
    config: Config,
    address: SocketAddr,
    listener: TcpListener,
    front: Front,
    engine: Engine,
    scraper: Option<(TcpListener, Arc<Scrape>)>,
    tracer: Option<Arc<Tracer>>,
    stop: CancellationToken,
    _folder: DataFolder,
}

/// Whether admin.json is told where the server listens now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Announce {
    /// Yes: clients on this machine find it there.
    Yes,
    /// No: this server is here for a moment only.
    No,
}

impl Server {
    /// Assembles a server. `master_key` is the value of `ATELIER_MASTER_KEY`.
    pub(crate) async fn open(
        config: Config,
        master_key: Option<SecretString>,
        announce: Announce,
    ) -> Result<Self, Failure> {
        let clock = Arc::new(SystemClock);
        let mut folder = DataFolder::open(&config.server.data_dir, own_pid(), clock.now()).map_err(of_folder)?;
        let listener = listen(config.server.listen).await?;
        let address = listener.local_addr()?;
        let public: PublicUrl = public_url(&config, address).parse().map_err(|e| broken("server.public_url", e))?;
        let entropy: Arc<dyn Entropy> = Arc::new(ThreadEntropy);
        let (metrics, tracer) = sight(&config, &clock, &entropy)?;
        let watcher = Watcher::new(Arc::new(Ears { metrics: metrics.clone(), tracer: tracer.clone() }));
        let sealer = Sealer::load_or_create(folder.path(), master_key.as_ref(), entropy.clone())
            .map_err(|e| broken("the master key", e))?;
        let store = SqliteStore::open(&folder.path().join(DATABASE), sealer).await;
        let store = Arc::new(store.map_err(|e| broken("the database", e))?.watched_by(watcher.clone()));
        let iam = Iam::open(store.clone(), clock.clone(), entropy.clone(), iam_config(&config)).await;
        let iam = Arc::new(iam.map_err(|e| broken("identity", e))?);
        administrator::ensure(&iam, folder.path(), &public.to_string(), announce).await?;
        let opened = runtime::open(&config, folder.path())?;
        let engine_config = EngineConfig { watcher, ..engine_config(&config) };
        let engine = Engine::open(engine_config, store.clone(), opened.runtime, clock.clone(), entropy.clone()).await;
        let engine = engine.map_err(|e| broken("the engine", e))?;
        folder.announce(&local_url(address)).map_err(of_folder)?;
        let stop = CancellationToken::new();
        let scraper = match config.seeing.metrics_listen {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let pruning = seeing::audit::prune(store.clone(), clock.clone(), config.seeing.audit_keep_days, stop.clone());
        tokio::spawn(pruning);
        let site = Site { config: &config, public, address };
        let gateway = site.gateway(&engine);
        let throttle = Arc::new(Throttle::new(config.limits.requests_per_second, clock.clone()));
        let scrape = Arc::new(Scrape {
            metrics: metrics.clone(),
            engine: engine.clone(),
            iam: iam.clone(),
            gateway: gateway.clone(),
            throttle: throttle.clone(),
            clock: clock.clone(),
            folder: folder.path().to_owned(),
        });
        let own = own::Own {
            engine: engine.clone(),
            iam,
            maker: opened.maker,
            audit: store.clone(),
            metrics: metrics.clone(),
            scrape: scrape.clone(),
            stop: stop.clone(),
        };
        let seeing =
            Seeing { metrics: metrics.clone(), audit: AuditDesk::new(store, metrics, clock), tracer: tracer.clone() };
        let front = site.front(own, entropy, gateway, throttle, seeing);
        let scraper = scraper.map(|listener| (listener, scrape));
        Ok(Self { config, address, listener, front, engine, scraper, tracer, stop, _folder: folder })
    }

    /// Where it listens, as an address for clients on this machine.
    pub(crate) fn local_url(&self) -> String {
        local_url(self.address)
    }

    /// What stops it: it drains as soon as this is cancelled.
    pub(crate) fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Accepts until it is stopped, then drains.
    pub(crate) async fn run(self) {
        tracing::info!(address = %self.address, runtime = %self.config.runtime, "accepting on {}", self.address);
        if let Some((listener, scrape)) = self.scraper {
            tokio::spawn(self.stop.clone().run_until_cancelled_owned(scraper_door::serve(listener, scrape)));
        }
        door::serve(self.listener, self.front, &self.config.limits, self.stop).await;
        self.engine.shut_down().await;
        if let Some(tracer) = self.tracer {
            tracer.flush().await;
        }
        tracing::info!("stopped; notebooks run on");
    }
}

/// What the parts that face clients have to know.
struct Site<'a> {
    config: &'a Config,
    public: PublicUrl,
    address: SocketAddr,
}

impl Site<'_> {
    fn front(
        &self,
        own: own::Own,
        entropy: Arc<dyn Entropy>,
        gateway: Gateway,
        throttle: Arc<Throttle>,
        seeing: Seeing,
    ) -> Front {
        let gateway_config = self.gateway_config();
        if !gateway_config.browsers_keep_cookies() {
            tracing::warn!(
                "browsers keep the gateway's cookie only over https or below localhost: set `server.public_url`"
            );
        }
        let state = ApiState { engine: own.engine.clone(), iam: own.iam.clone(), entropy: entropy.clone() };
        Front::new(Parts {
            names: HostNames::new(&gateway_config),
            gateway,
            api: atelier_api::router(state, self.api()),
            own: own::router(own),
            throttle,
            entropy,
            seeing,
        })
    }

    fn gateway(&self, engine: &Engine) -> Gateway {
        Gateway::new(self.gateway_config(), Arc::new(engine.clone()))
    }

    fn gateway_config(&self) -> GatewayConfig {
        let address = if self.address.ip().is_unspecified() { Vec::new() } else { vec![self.address.to_string()] };
        let port = vec![format!("localhost:{}", self.address.port())];
        GatewayConfig {
            domain: self.config.domain.clone(),
            public_url: self.public.clone(),
            api_hosts: [address, port].concat(),
        }
    }

    fn api(&self) -> ApiConfig {
        ApiConfig {
            public_url: self.public.to_string(),
            notebooks: NotebookAddress {
                scheme: self.public.scheme.as_str().to_owned(),
                domain: self.config.domain.clone(),
                port: self.public.port,
            },
            region: self.config.iam.region.clone(),
            hosts: Vec::new(),
        }
    }
}

/// Figures, and spans where somebody wants them.
fn sight(
    config: &Config,
    clock: &Arc<SystemClock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<(Arc<Metrics>, Option<Arc<Tracer>>), Failure> {
    let runtime = config.runtime.as_str();
    let metrics = Arc::new(Metrics::new(runtime, clock.now()));
    let Some(endpoint) = config.seeing.traces_endpoint.clone() else { return Ok((metrics, None)) };
    let receiver = Receiver { endpoint, headers: config.seeing.traces_headers.clone(), runtime };
    let tracer = Tracer::start(receiver, metrics.clone(), clock.clone(), entropy.clone());
    Ok((metrics, Some(tracer.map_err(|e| broken("`traces.endpoint`", e))?)))
}

fn engine_config(config: &Config) -> EngineConfig {
    EngineConfig {
        grants: config.lease,
        notebooks_per_user: config.notebooks_per_user,
        flavors: config.flavors.clone(),
        cpu_overcommit: config.local.cpu_overcommit,
        memory_overcommit: config.local.memory_overcommit,
        ..EngineConfig::default()
    }
}

fn iam_config(config: &Config) -> IamConfig {
    let token_life_ms = i64::from(config.iam.token_hours) * 60 * 60 * 1000;
    IamConfig { token_life_ms, ..IamConfig::new(config.iam.region.clone()) }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|e| {
        let failure = Failure::new(format!("cannot listen on {address}: {e}"));
        match e.kind() {
            std::io::ErrorKind::AddrInUse => {
                failure.hint("another program listens there; --listen takes another address")
            }
            _ => failure,
        }
    })
}

/// What clients are told: what was configured, else where the server really listens.
fn public_url(config: &Config, address: SocketAddr) -> String {
    config.server.public_url.clone().unwrap_or_else(|| local_url(address))
}

fn local_url(address: SocketAddr) -> String {
    format!("http://{}", reachable(address))
}

/// An address that can be connected to: the unspecified one cannot, loopback stands in for it.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn own_pid() -> i32 {
    std::process::id().cast_signed()
}

fn broken(what: &str, error: impl std::fmt::Display) -> Failure {
    Failure::new(format!("{what}: {error}"))
}

fn of_folder(error: crate::folder::FolderError) -> Failure {
    use crate::folder::FolderError as E;
    let failure = Failure::new(error.to_string());
    match error {
        E::Held { .. } => failure.hint("stop it first, or name another folder with --data-dir"),
        E::Newer { .. } => failure.hint("run the newer version of atelier that wrote it"),
        E::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            failure.hint("run as its owner, or name another folder with --data-dir")
        }
        E::Foreign { .. } | E::Damaged { .. } | E::Io { .. } => failure,
    }
}

/// The generator of this thread, seeded by the kernel.
struct ThreadEntropy;

impl Entropy for ThreadEntropy {
    fn fill(&self, out: &mut [u8]) {
        rand::rng().fill_bytes(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_sent_where_they_can_connect() {
        for (listened, told) in [("0.0.0.0:80", "127.0.0.1:80"), ("[::]:1", "[::1]:1"), ("192.0.2.1:2", "192.0.2.1:2")]
        {
            assert_eq!(reachable(listened.parse().unwrap()).to_string(), told);
        }
    }
}
