//! The server, assembled: data folder, store, identity, runtime, engine, gateway and API behind one door.
//!
//! Order matters. The folder is locked before anything in it is read; the address is taken before anything is resumed,
//! so that a server that cannot listen changes nothing; the first administrator's file is on disk before the store
//! knows of them; and nothing is accepted before everything stands. At the end, the other way round: the door closes,
//! what is in flight gets its time, the engine ends its tasks, and the gateway leaves its sockets at the very last, so that
//! whoever comes back finds the next server as soon as may be. Notebooks run on throughout.

mod administrator;
mod door;
mod front;
mod in_hand;
mod log_tail;
mod own;
mod proxies;
mod retention;
mod runtime;
mod scraper_door;
mod seeing;
mod speech;
mod throttle;
mod tls;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use atelier_api::{ApiConfig, ApiState, NotebookAddress};
use atelier_core::observe::Watcher;
use atelier_core::{Clock, Entropy, SystemClock, Timestamp};
use atelier_engine::{Engine, EngineConfig};
use atelier_gateway::{Gateway, GatewayConfig, HostNames, NotebookAsker, Notebooks, PublicUrl, Scheme};
use atelier_iam::{Iam, IamConfig};
use atelier_store_sqlite::{Sealer, SqliteStore};
use rand::RngCore as _;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub(crate) use self::runtime::image_config;
pub(crate) use self::tls::{CA_FILE, provider};

use self::front::{Front, Parts};
use self::proxies::Proxies;
use self::seeing::{AuditDesk, Ears, Metrics, Receiver, Scrape, Seeing, Tracer};
use self::throttle::Throttle;
use self::tls::{Names, Tls};
use crate::backup::make::make;
use crate::backup::{DATABASE, MASTER_KEY};
use crate::client::Reach;
use crate::config::{self, Config};
use crate::failure::Failure;
use crate::folder::DataFolder;

/// How long the end waits for the database, on a disk that may hang.
const CLOSING: std::time::Duration = std::time::Duration::from_secs(5);

/// A server that stands, and accepts as soon as it is run.
pub(crate) struct Server {
    config: Config,
    address: SocketAddr,
    listener: TcpListener,
    front: Front,
    engine: Engine,
    store: Arc<SqliteStore>,
    gateway: Gateway,
    tls: Option<Tls>,
    reach: Reach,
    reload: Arc<Notify>,
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

/// What a server listens on.
pub(crate) enum Door {
    /// A socket that it opens at `server.listen`.
    Own,
    /// One that was open before it came and stays when it goes; `server.listen` is not looked at.
    Handed(std::net::TcpListener),
}

impl Server {
    /// Assembles a server. `master_key` is the value of `ATELIER_MASTER_KEY`.
    pub(crate) async fn open(
        config: Config,
        master_key: Option<SecretString>,
        announce: Announce,
        door: Door,
    ) -> Result<Self, Failure> {
        let clock = Arc::new(SystemClock);
        let mut folder = DataFolder::open(&config.server.data_dir, own_pid(), clock.now()).map_err(of_folder)?;
        let listener = match door {
            Door::Own => listen(config.server.listen).await?,
            Door::Handed(socket) => TcpListener::from_std(socket)?,
        };
        let address = listener.local_addr()?;
        let public: PublicUrl = public_url(&config, address).parse().map_err(|e| broken("server.public_url", e))?;
        let entropy: Arc<dyn Entropy> = Arc::new(ThreadEntropy);
        before_opening(&folder, master_key.as_ref(), clock.now()).await?;
        let names = Names::of(&config.domain, &public.host, Some(address.ip()));
        let tls = Tls::open(&config.tls, folder.path(), names, clock.clone(), entropy.clone())
            .map_err(|e| broken("TLS", e))?;
        let reach = reach(&config, &public, address, tls.as_ref().and_then(Tls::ca_certificate));
        let (metrics, tracer) = sight(&config, &clock, &entropy)?;
        let watcher = Watcher::new(Arc::new(Ears { metrics: metrics.clone(), tracer: tracer.clone() }));
        let sealer = Sealer::load_or_create(folder.path(), master_key.as_ref(), entropy.clone())
            .map_err(|e| broken("the master key", e))?;
        let store = SqliteStore::open(&folder.path().join(DATABASE), sealer).await;
        let store = Arc::new(store.map_err(|e| broken("the database", e))?.watched_by(watcher.clone()));
        let iam = Iam::open(store.clone(), clock.clone(), entropy.clone(), iam_config(&config)).await;
        let iam = Arc::new(iam.map_err(|e| broken("identity", e))?);
        let ca_certificate = reach.ca_certificate.as_deref();
        administrator::ensure(&iam, folder.path(), &public.to_string(), ca_certificate, announce).await?;
        let opened = runtime::open(&config, folder.path())?;
        let engine_config = EngineConfig { watcher, ..engine_config(&config) };
        let engine = Engine::open(engine_config, store.clone(), opened.runtime, clock.clone(), entropy.clone()).await;
        let engine = engine.map_err(|e| broken("the engine", e))?;
        engine.ask_with(Arc::new(NotebookAsker::new(engine.runtime().clone())));
        folder.announce(&reach).map_err(of_folder)?;
        let stop = CancellationToken::new();
        retention::begin(store.clone(), config.retention.history_days, stop.clone());
        let scraper = match config.seeing.metrics_listen {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let pruning = seeing::audit::prune(store.clone(), clock.clone(), config.seeing.audit_keep_days, stop.clone());
        tokio::spawn(pruning);
        let site = Site { config: &config, public, address };
        let gateway = site.gateway(&engine, &iam);
        let leaving = gateway.clone();
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
        let seeing = Seeing {
            metrics: metrics.clone(),
            audit: AuditDesk::new(store.clone(), metrics, clock),
            tracer: tracer.clone(),
        };
        let front = site.front(own, entropy, gateway, throttle, seeing);
        let scraper = scraper.map(|listener| (listener, scrape));
        let reload = Arc::new(Notify::new());
        Ok(Self {
            config,
            address,
            listener,
            front,
            engine,
            store,
            gateway: leaving,
            scraper,
            tracer,
            tls,
            reach,
            reload,
            stop,
            _folder: folder,
        })
    }

    /// Where it listens, as an address for clients on this machine.
    pub(crate) fn local_url(&self) -> String {
        local_url(&self.config, self.address)
    }

    /// How clients on this machine reach it.
    pub(crate) fn reach(&self) -> Reach {
        self.reach.clone()
    }

    /// What makes it look at its certificates again.
    pub(crate) fn reload(&self) -> Arc<Notify> {
        self.reload.clone()
    }

    /// What stops it: it drains as soon as this is cancelled.
    pub(crate) fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Accepts until it is stopped, then drains.
    pub(crate) async fn run(self) {
        self.store.inspect_the_rest();
        tracing::info!(address = %self.address, runtime = %self.config.runtime, "accepting on {}", self.address);
        if let Some((listener, scrape)) = self.scraper {
            tokio::spawn(self.stop.clone().run_until_cancelled_owned(scraper_door::serve(listener, scrape)));
        }
        let runtime = self.engine.runtime().clone();
        tokio::spawn({
            let runtime = runtime.clone();
            async move { runtime.begin().await }
        });
        let acceptor = self.tls.as_ref().map(Tls::acceptor).transpose();
        match acceptor {
            Ok(acceptor) => {
                let keeping = self.tls.map(|tls| tls.keep(Arc::new(SystemClock), self.reload, self.stop.clone()));
                let keeping = keeping.map(tokio::spawn);
                door::serve(self.listener, acceptor, self.front, &self.config.limits, self.stop).await;
                drop(keeping);
            }
            Err(e) => tracing::error!("TLS cannot be spoken: {e}"),
        }
        self.engine.shut_down().await;
        runtime.close().await;
        if let Some(tracer) = self.tracer {
            tracer.flush().await;
        }
        self.gateway.leave().await;
        // Afterwards the file alone is the whole database: whoever copies it then has everything.
        if tokio::time::timeout(CLOSING, self.store.close()).await.is_err() {
            tracing::warn!("the database could not be closed in time; nothing of it is lost");
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
            proxies: Proxies {
                trusted: self.config.server.trusted_proxies.clone(),
                header: self.config.server.proxy_header,
            },
            entropy,
            seeing,
        })
    }

    fn gateway(&self, engine: &Engine, iam: &Arc<Iam>) -> Gateway {
        let notebooks = Notebooks { engine: engine.clone(), iam: iam.clone() };
        Gateway::new(self.gateway_config(), Arc::new(notebooks))
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
            profiles: self.config.profiles.clone(),
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
        pools: config.pools.clone(),
        cpu_overcommit: config.local.cpu_overcommit,
        memory_overcommit: config.local.memory_overcommit,
        disk_reserve_bytes: config.server.disk_reserve_mib * 1024 * 1024,
        trash_ms: config.volumes.trash_ms,
        shared_gib: config.volumes.shared_gib,
        hook_limit: config.hook_limit,
        commands_per_notebook: config.limits.commands_per_notebook,
        restarts: config.restart,
        activity: config.idle,
        ..EngineConfig::default()
    }
}

/// A database that was lost is not made anew, and one that is about to be changed by a newer version is backed up.
async fn before_opening(folder: &DataFolder, master_key: Option<&SecretString>, now: Timestamp) -> Result<(), Failure> {
    let database = folder.path().join(DATABASE);
    if !atelier_store_sqlite::is_there(&database) {
        return folder.refuse_without_database().map_err(of_folder);
    }
    let key = folder.path().join(MASTER_KEY);
    if master_key.is_none() && !key.exists() {
        return Err(Failure::new(format!(
            "{} is missing: the secrets in the database are sealed with it",
            key.display()
        ))
        .hint("put it back, set `ATELIER_MASTER_KEY`, or restore a backup with `atelier restore`"));
    }
    if atelier_store_sqlite::is_older(&database).await.map_err(|e| broken("the database", e))? {
        let to = folder.path().join("backups").join(format!("before-upgrade-{}", now.as_millis()));
        make(folder.path(), &to, master_key, now).await?;
        tracing::info!(backup = %to.display(), "this version changes the database: backed up to {}", to.display());
    }
    Ok(())
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
    config.server.public_url.clone().unwrap_or_else(|| local_url(config, address))
}

fn local_url(config: &Config, address: SocketAddr) -> String {
    let scheme = if config.tls == config::Tls::Off { Scheme::Http } else { Scheme::Https };
    format!("{scheme}://{}", reachable(address))
}

/// How clients on this machine connect. A certificate from elsewhere is for the public name, hardly for an address of
/// this machine, so they go by that name, but to the address where the server listens.
fn reach(config: &Config, public: &PublicUrl, address: SocketAddr, ca_certificate: Option<String>) -> Reach {
    match config.tls {
        config::Tls::Files { .. } => Reach {
            url: format!("{}://{}:{}", Scheme::Https, public.host, address.port()),
            at: Some(reachable(address).ip()),
            ca_certificate,
        },
        config::Tls::Off | config::Tls::SelfMade => Reach { url: local_url(config, address), at: None, ca_certificate },
    }
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

pub(crate) fn of_folder(error: crate::folder::FolderError) -> Failure {
    use crate::folder::FolderError as E;
    let failure = Failure::new(error.to_string());
    match error {
        E::Held { .. } => failure.hint("stop it first, or name another folder with --data-dir"),
        E::NoDatabase { .. } => {
            failure.hint("`atelier restore` puts a backup back; to start with nothing, move the folder away first")
        }
        E::Newer { .. } => failure.hint("run the newer version of atelier that wrote it"),
        E::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            failure.hint("run as its owner, or name another folder with --data-dir")
        }
        E::Foreign { .. } | E::Damaged { .. } | E::Io { .. } => failure,
    }
}

/// The generator of this thread, seeded by the kernel.
pub(crate) struct ThreadEntropy;

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
