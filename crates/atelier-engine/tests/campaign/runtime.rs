//! The simulated runtime behind a wall of faults.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use atelier_core::filling::Filling;
use atelier_core::flavor::Capacity;
use atelier_core::gpu::Gpus;
use atelier_core::hook::Moment;
use atelier_core::id::{ImageId, NotebookId, VolumeId};
use atelier_core::volume::ShareUri;
use atelier_runtime::simulated::SimulatedRuntime;
use atelier_runtime::{
    AtUri, Connection, Exec, ExecSpec, HookEnd, HookRun, InstanceSpec, Lost, Observed, Process, Reporter, Runtime,
    RuntimeError, RuntimeKind, SharedStorage, Silent, Usage, Way,
};

use crate::hand::hold_on;
use crate::injector::Injector;
use crate::plan::{Call, Deed};

/// What the engine takes for its runtime.
pub(crate) struct FaultyRuntime {
    pub(crate) inner: Arc<SimulatedRuntime>,
    pub(crate) injector: Arc<Injector>,
}

impl FaultyRuntime {
    /// Lets `act` happen, or not, or later.
    async fn through<T: Send + 'static>(
        &self,
        call: Call,
        act: impl Future<Output = Result<T, RuntimeError>> + Send + 'static,
    ) -> Result<T, RuntimeError> {
        self.injector.gate().await;
        let answer = match self.injector.at_call(call) {
            None => act.await,
            Some(Deed::Transient) => Err(transient()),
            Some(Deed::Permanent) => Err(permanent()),
            Some(Deed::Delay(ms)) => {
                tokio::time::sleep(Duration::from_millis(ms.into())).await;
                act.await
            }
            Some(Deed::Hang) => std::future::pending().await,
            Some(Deed::Stuck(ms)) => {
                hold_on();
                tokio::time::sleep(Duration::from_millis(ms.into())).await;
                act.await
            }
            Some(Deed::LostReply) => act.await.and_then(|_| Err(transient())),
            Some(Deed::LostReplyForGood) => act.await.and_then(|_| Err(permanent())),
            Some(Deed::DieBefore) => self.injector.die().await,
            Some(Deed::DieAfter) => {
                let _ = act.await;
                self.injector.die().await
            }
        };
        self.injector.gate().await;
        answer
    }
}

fn transient() -> RuntimeError {
    RuntimeError::Transient("injected, and may pass".into())
}

fn permanent() -> RuntimeError {
    RuntimeError::Permanent("injected, for good".into())
}

#[async_trait]
impl Runtime for FaultyRuntime {
    fn kind(&self) -> RuntimeKind {
        self.inner.kind()
    }

    async fn boot_id(&self) -> Result<String, RuntimeError> {
        let inner = self.inner.clone();
        self.through(Call::BootId, async move { inner.boot_id().await }).await
    }

    async fn capacity(&self) -> Result<Capacity, RuntimeError> {
        let inner = self.inner.clone();
        self.through(Call::Capacity, async move { inner.capacity().await }).await
    }

    async fn gpus(&self) -> Gpus {
        self.inner.gpus().await
    }

    async fn memory_available(&self) -> Result<u64, RuntimeError> {
        let inner = self.inner.clone();
        self.through(Call::MemoryAvailable, async move { inner.memory_available().await }).await
    }

    async fn image_size(&self, image: ImageId) -> Result<Option<u64>, RuntimeError> {
        let inner = self.inner.clone();
        self.through(Call::ImageSize, async move { inner.image_size(image).await }).await
    }

    async fn prepare_image(&self, image: ImageId, reporter: &dyn Reporter) -> Result<(), RuntimeError> {
        reporter.report("the image is prepared");
        let inner = self.inner.clone();
        self.through(Call::PrepareImage, async move { inner.prepare_image(image, &Silent).await }).await
    }

    async fn prepare_storage(&self, spec: &InstanceSpec) -> Result<(), RuntimeError> {
        let (inner, spec) = (self.inner.clone(), spec.clone());
        self.through(Call::PrepareStorage, async move { inner.prepare_storage(&spec).await }).await
    }

    async fn grow_storage(&self, spec: &InstanceSpec) -> Result<(), RuntimeError> {
        let (inner, spec) = (self.inner.clone(), spec.clone());
        self.through(Call::GrowStorage, async move { inner.grow_storage(&spec).await }).await
    }

    async fn discard_storage(&self, id: NotebookId) -> Result<(), RuntimeError> {
        let inner = self.inner.clone();
        self.through(Call::DiscardStorage, async move { inner.discard_storage(id).await }).await
    }

    async fn prepare_compute(&self, spec: &InstanceSpec) -> Result<(), RuntimeError> {
        let (inner, spec) = (self.inner.clone(), spec.clone());
        self.through(Call::PrepareCompute, async move { inner.prepare_compute(&spec).await }).await
    }

    async fn configure_network(&self, spec: &InstanceSpec) -> Result<(), RuntimeError> {
        let (inner, spec) = (self.inner.clone(), spec.clone());
        self.through(Call::ConfigureNetwork, async move { inner.configure_network(&spec).await }).await
    }

    async fn begin_hook(&self, spec: &InstanceSpec, hook: &HookRun) -> Result<(), RuntimeError> {
        let (inner, spec, hook) = (self.inner.clone(), spec.clone(), hook.clone());
        self.through(Call::BeginHook, async move { inner.begin_hook(&spec, &hook).await }).await
    }

    async fn hook_end(&self, id: NotebookId, moment: Moment) -> Result<HookEnd, RuntimeError> {
        let inner = self.inner.clone();
        self.through(Call::HookEnd, async move { inner.hook_end(id, moment).await }).await
    }

    async fn hook_told(&self, id: NotebookId, moment: Moment) -> Result<(), RuntimeError> {
        let inner = self.inner.clone();
        self.through(Call::HookTold, async move { inner.hook_told(id, moment).await }).await
    }

    async fn initialize(&self, spec: &InstanceSpec) -> Result<Way, RuntimeError> {
        let (inner, spec) = (self.inner.clone(), spec.clone());
        self.through(Call::Initialize, async move { inner.initialize(&spec).await }).await
    }

    async fn stop(&self, id: NotebookId) -> Result<(), RuntimeError> {
        let inner = self.inner.clone();
        self.through(Call::Stop, async move { inner.stop(id).await }).await
    }

    async fn remove(&self, id: NotebookId) -> Result<(), RuntimeError> {
        let inner = self.inner.clone();
        self.through(Call::Remove, async move { inner.remove(id).await }).await
    }

    async fn observe(&self, id: NotebookId) -> Result<Observed, RuntimeError> {
        let inner = self.inner.clone();
        self.through(Call::Observe, async move { inner.observe(id).await }).await
    }

    async fn usage(&self, id: NotebookId) -> Result<Usage, RuntimeError> {
        self.inner.usage(id).await
    }

    async fn processes(&self, id: NotebookId) -> Result<Vec<Process>, RuntimeError> {
        self.inner.processes(id).await
    }

    async fn filling(&self, id: NotebookId) -> Result<Filling, RuntimeError> {
        self.inner.filling(id).await
    }

    async fn list(&self) -> Result<Vec<NotebookId>, RuntimeError> {
        let inner = self.inner.clone();
        self.through(Call::List, async move { inner.list().await }).await
    }

    async fn set_aside(&self, id: NotebookId) -> Result<Option<String>, RuntimeError> {
        let inner = self.inner.clone();
        self.through(Call::SetAside, async move { inner.set_aside(id).await }).await
    }

    async fn lost(&self) -> Result<Vec<Lost>, RuntimeError> {
        self.inner.lost().await
    }

    async fn shares(&self) -> Result<Vec<SharedStorage>, RuntimeError> {
        let inner = self.inner.clone();
        self.through(Call::Shares, async move { inner.shares().await }).await
    }

    async fn remove_share(&self, id: VolumeId) -> Result<(), RuntimeError> {
        let inner = self.inner.clone();
        self.through(Call::RemoveShare, async move { inner.remove_share(id).await }).await
    }

    async fn at_uri(&self, uri: &ShareUri) -> Result<AtUri, RuntimeError> {
        self.inner.at_uri(uri).await
    }

    async fn connect(&self, id: NotebookId) -> Result<Box<dyn Connection>, RuntimeError> {
        self.inner.connect(id).await
    }

    async fn exec(&self, id: NotebookId, spec: ExecSpec) -> Result<Exec, RuntimeError> {
        self.inner.exec(id, spec).await
    }

    fn log_file(&self, id: NotebookId) -> Option<PathBuf> {
        self.inner.log_file(id)
    }

    async fn changed(&self) {
        self.inner.changed().await;
    }
}
