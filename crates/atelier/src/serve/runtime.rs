//! The runtime that the configuration names, and where its images come from.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use atelier_core::flavor::Capacity;
use atelier_core::id::ImageId;
use atelier_runtime::simulated::{NoFaults, SimulatedRuntime};
use atelier_runtime::{Reporter, Runtime, RuntimeKind};
use atelier_runtime_local::image::{HostSettings, ImageConfig, ImageStore};
use atelier_runtime_local::{LocalConfig, LocalRuntime, NetworkConfig};

use crate::config::Config;
use crate::failure::Failure;

/// The machine that the simulated runtime pretends to have.
const PRETENDED: Capacity =
    Capacity { cpu_millis: 1_024_000, memory_bytes: 4 << 40, cpu_overcommit: 1, memory_overcommit: 1 };

/// What makes images when somebody asks for it by name.
#[async_trait]
pub(super) trait Maker: Send + Sync {
    /// The image is there afterwards. A failure of an earlier making is forgotten.
    async fn make(&self, image: ImageId, reporter: &dyn Reporter) -> Result<(), String>;
}

/// A runtime and the maker of its images.
pub(super) struct Opened {
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) maker: Arc<dyn Maker>,
}

/// Opens the runtime on a data folder. What runs there already is adopted.
pub(super) fn open(config: &Config, folder: &Path) -> Result<Opened, Failure> {
    match config.runtime {
        RuntimeKind::Simulated => simulated(config, folder),
        RuntimeKind::Local => local(config, folder),
    }
}

fn simulated(config: &Config, folder: &Path) -> Result<Opened, Failure> {
    tracing::warn!("the simulated runtime pretends: no notebook really runs");
    let runtime = SimulatedRuntime::open(&folder.join("simulated"), PRETENDED, Arc::new(NoFaults))
        .map_err(|e| Failure::new(format!("the simulated runtime: {e}")))?;
    let runtime = Arc::new(runtime.with_roots(config.roots.clone()));
    Ok(Opened { runtime: runtime.clone(), maker: Arc::new(Pretender(runtime)) })
}

fn local(config: &Config, folder: &Path) -> Result<Opened, Failure> {
    let images = Arc::new(ImageStore::open(image_config(config)));
    let runtime = LocalRuntime::open(local_config(config, folder), images.clone()).map_err(|e| {
        Failure::new(format!("the local runtime: {e}"))
            .hint("the local runtime needs root; `--runtime simulated` tries the API without it")
    })?;
    Ok(Opened { runtime, maker: Arc::new(ImageMaker(images)) })
}

fn local_config(config: &Config, folder: &Path) -> LocalConfig {
    let local = &config.local;
    LocalConfig {
        uid_base: local.uid_base,
        environment: local.environment.clone().into_iter().collect(),
        ca_bundle: local.ca_file.clone(),
        disk: local.disk,
        roots: config.roots.clone(),
        network: NetworkConfig {
            egress: local.egress,
            closed: local.closed_networks.clone(),
            name_servers: local.dns.clone(),
        },
        zygote: local.zygote,
        nvml: local.nvml.clone(),
        ..LocalConfig::new(folder.to_owned())
    }
}

/// What this machine says of package indexes, proxies and certificates; what is configured goes over it.
pub(crate) fn image_config(config: &Config) -> ImageConfig {
    let mut settings = HostSettings::detect();
    let configured = |name: &str| config.local.environment.get(name).cloned();
    let told = HostSettings::read(&configured, &[]);
    settings.index.read_environment(&configured);
    settings.proxy.http = told.proxy.http.or(settings.proxy.http);
    settings.proxy.https = told.proxy.https.or(settings.proxy.https);
    settings.proxy.no_proxy = told.proxy.no_proxy.or(settings.proxy.no_proxy);
    settings.ca_bundle = config.local.ca_file.clone().or(told.ca_bundle).or(settings.ca_bundle);
    settings.share_credentials = config.image.share_credentials;
    for what in settings.withheld() {
        tracing::warn!("notebooks do not get a setting of this machine: {what}");
    }
    ImageConfig { cache_dir: config.local.cache_dir.clone(), settings, sources: config.image.sources.clone() }
}

struct Pretender(Arc<SimulatedRuntime>);

#[async_trait]
impl Maker for Pretender {
    async fn make(&self, image: ImageId, reporter: &dyn Reporter) -> Result<(), String> {
        self.0.prepare_image(image, reporter).await.map_err(|e| e.to_string())
    }
}

struct ImageMaker(Arc<ImageStore>);

#[async_trait]
impl Maker for ImageMaker {
    async fn make(&self, image: ImageId, reporter: &dyn Reporter) -> Result<(), String> {
        if image != atelier_core::image::BUILT_IN {
            return Err(format!("only the built-in image is made here, not `{image}`"));
        }
        self.0.rebuild(reporter).await.map(drop).map_err(|e| e.to_string())
    }
}
