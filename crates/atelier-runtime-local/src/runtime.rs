//! The runtime: the calls of the contract, each under its notebook's lock. What they do to volumes is in `volumes`.
//!
//! A call may be dropped at any point. What it had running is then killed (launchers and programs die with their
//! futures; what asks for interfaces of the network does so to its end), and what it had made is found by the next call for
//! the same notebook, because everything has its fixed place and name. Two things go on between two calls: the forks of a
//! container's first notebook server and of what forks its kernels. They belong to the container ([`Live`]) and are waited
//! for by the call that starts it.

mod volumes;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use atelier_core::filling::Filling;
use atelier_core::flavor::Capacity;
use atelier_core::gpu::Gpus;
use atelier_core::hook::Moment;
use atelier_core::id::{ImageId, NotebookId, VolumeId};
use atelier_core::image::BUILT_IN;
use atelier_core::volume::ShareUri;
use atelier_init::protocol::{Answer, Command, StartServer, State};
use atelier_runtime::{
    AtUri, Connection, Exec, ExecSpec, HookEnd, HookRun, InstanceSpec, Lost, Memory, Observed, OutOfMemory, Reporter,
    Runtime, RuntimeError, RuntimeKind, Share, SharedStorage, Silent, Usage, Victim, Way,
};
use tokio::time::sleep;

use crate::cgroup::{self, CgroupTree, Limits};
use crate::claims::Claims;
use crate::config::{DiskLimits, LocalConfig};
use crate::control::Init;
use crate::gpu::{self, Cards, Equipment};
use crate::groups::Groups;
use crate::kernel_log::{Cause, KernelLog, Kill};
use crate::launch::{LaunchSpec, Launchers, launch};
use crate::live::{Live, LiveOnes};
use crate::locks::Locks;
use crate::network::{self, Network, Seat};
use crate::place::{Place, Places};
use crate::priority::{Looks, Priorities};
use crate::process::{Handle, Process, boot_id};
use crate::record::Record;
use crate::server::{self, Readiness};
use crate::slot::{self, Slots};
use crate::source::{ImageSource, ReadyImage};
use crate::volume::Template;
use crate::zygote::{Destination, Fork, Zygotes};
use crate::{exec, file, foreground, hook, host, kernels, process, processes, sweep};

/// How long a notebook server may take to end by itself.
const GRACE: Duration = Duration::from_secs(10);
/// How long what was killed may take to end.
const KILLED_LIMIT: Duration = Duration::from_secs(5);
/// How long an init may take to listen.
const INIT_LIMIT: Duration = Duration::from_secs(10);
/// The pause before the kernel's log is read again that could not be read.
const KERNEL_LOG_AGAIN: Duration = Duration::from_secs(5);
/// The pause before an init is asked again that has let go of who waits for a hook.
const HOOK_AGAIN: Duration = Duration::from_millis(200);
/// How long a notebook server may take to its first answer.
const SERVER_LIMIT: Duration = Duration::from_secs(110);

/// Notebooks as containers on this machine.
pub struct LocalRuntime {
    config: LocalConfig,
    places: Places,
    launchers: Launchers,
    slots: Slots,
    cards: Cards,
    tree: Arc<dyn CgroupTree>,
    network: Network,
    images: Arc<dyn ImageSource>,
    init: PathBuf,
    zygotes: Zygotes,
    live: Arc<LiveOnes>,
    priorities: OnceLock<Priorities>,
    locks: Locks<NotebookId>,
    share_locks: Locks<VolumeId>,
    kernel_log: OnceLock<Option<KernelLog>>,
}

fn transient(what: &str) -> impl FnOnce(io::Error) -> RuntimeError {
    let what = what.to_owned();
    move |e| RuntimeError::Transient(format!("{what}: {e}"))
}

impl LocalRuntime {
    /// Opens the runtime on a data folder and adopts the containers that run already.
    pub fn open(config: LocalConfig, images: Arc<dyn ImageSource>) -> Result<Arc<Self>, RuntimeError> {
        if !rustix::process::geteuid().is_root() {
            return Err(RuntimeError::Permanent("the local runtime needs root".into()));
        }
        if let Err(e) = host::raise_shared_counts(Path::new("/proc/sys")) {
            tracing::warn!("one notebook could use up what the whole machine has: {e}");
        }
        let places = Places::open(&config.data_dir, &config.run_dir).map_err(transient("the run folder"))?;
        let tree = cgroup::detect().map_err(transient("control groups"))?;
        if config.disk != DiskLimits::default() && !tree.limits_disks() {
            return Err(RuntimeError::Permanent(
                "this machine's control groups cannot limit disks (`io`, `blkio`)".into(),
            ));
        }
        let template = Template::new(places.template(), u64::from(config.layer_gib) << 30);
        let template = template.map_err(transient("the template of layers"))?;
        let runtime = Self {
            slots: Slots::new(Claims::of_folder(config.run_dir.join("slots")), config.uid_base),
            cards: Cards::open(Claims::of_folder(config.run_dir.join("gpus")), config.nvml.clone())
                .map_err(transient("the GPUs"))?,
            tree: tree.into(),
            network: Network::new(config.network.clone()),
            init: host::install_init(places.run()).map_err(transient("the init"))?,
            zygotes: Zygotes::new(config.zygote, config.launcher.clone(), places.run()),
            live: Arc::default(),
            priorities: OnceLock::new(),
            launchers: Launchers::new(config.launcher.clone(), template, config.zygote),
            locks: Locks::default(),
            share_locks: Locks::default(),
            kernel_log: OnceLock::new(),
            images,
            places,
            config,
        };
        for id in runtime.known().map_err(transient("the notebooks"))? {
            runtime.adopt(id)?;
        }
        Ok(Arc::new(runtime))
    }

    /// The kernel's log, from the first time on that it is asked for.
    fn kernel_log(&self) -> Option<&KernelLog> {
        let open = || {
            let why = "no event will say that memory ran out, because the kernel's log cannot be read";
            KernelLog::open().inspect_err(|e| tracing::warn!("{why}: {e}")).ok()
        };
        self.kernel_log.get_or_init(open).as_ref()
    }

    /// Returns when notebooks of the last image that was asked for start without their command line; the error says why
    /// they do not.
    pub async fn zygote(&self) -> Result<(), String> {
        self.zygotes.settled().await
    }

    /// Everything of which there is a folder or a cgroup.
    fn known(&self) -> io::Result<Vec<NotebookId>> {
        let prefix = format!("{}-", self.places.mark());
        let groups = cgroup::list(&*self.tree, &prefix)?;
        let mut names = file::names(self.places.notebooks())?;
        names.extend(file::names(self.places.run())?);
        names.extend(groups.iter().filter_map(|g| g.strip_prefix(&prefix)).map(str::to_owned));
        let mut ids: Vec<NotebookId> = names.iter().filter_map(|n| n.parse().ok()).collect();
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// The notebook's container, when it runs.
    fn adopt(&self, id: NotebookId) -> Result<Option<Arc<Live>>, RuntimeError> {
        if let Some(live) = self.live.get(id) {
            let lives = live.first.lives().map_err(transient("the container"))?;
            return Ok(lives.then_some(live));
        }
        let place = self.places.of(id);
        let record = Record::load(&place.state()).map_err(transient("the record"))?;
        let Some((process, uid_base)) = record.and_then(|r| Some((r.first?, r.uid_base))) else { return Ok(None) };
        let first = process.open(&place.cgroup).map_err(transient("the container"))?;
        Ok(first.map(|first| self.live.add(process.pid, first, self.groups(&place), uid_base)))
    }

    fn groups(&self, place: &Place) -> Groups {
        Groups { tree: Arc::clone(&self.tree), place: place.clone() }
    }

    fn present(&self, id: NotebookId) -> Result<Arc<Live>, RuntimeError> {
        self.adopt(id)?.ok_or(RuntimeError::Absent)
    }

    fn record(place: &Place) -> Result<Record, RuntimeError> {
        Record::load(&place.state()).map_err(transient("the record"))?.ok_or(RuntimeError::Absent)
    }

    /// An image, and its zygotes sooner or later.
    async fn image(&self, id: ImageId, reporter: &dyn Reporter) -> Result<ReadyImage, RuntimeError> {
        let image = self.images.ensure(id, reporter).await?;
        self.zygotes.want(&image, || server::without_secret(&self.config, &image.server, &image.environment))?;
        Ok(image)
    }

    /// Makes the container; nothing of the notebook runs when this is called.
    async fn create(&self, spec: &InstanceSpec, place: &Place) -> Result<(), RuntimeError> {
        let image = self.image(spec.image, &Silent).await?;
        if !place.volume().exists() {
            return Err(RuntimeError::Permanent("the volume is not there".into()));
        }
        let equipment = match &spec.gpus {
            Some(wanted) => self.cards.claim(&place.kept, wanted).await?,
            None => Equipment::default(),
        };
        let mut record = self.begin(spec, place, &image).map_err(transient("the instance's folders"))?;
        let limits = Limits {
            cpu_millis: spec.cpu_millis,
            memory_bytes: spec.memory_bytes,
            pids: self.config.pids,
            disk: self.config.disk,
        };
        self.tree.create(&place.cgroup, &limits).map_err(transient("limits"))?;
        self.tree.allow_devices(&place.cgroup, &equipment.nodes).map_err(transient("devices"))?;
        let launched = LaunchSpec { equipment, ..self.launch_spec(spec, place, &record, image)? };
        let pid = launch(&self.launchers, &launched).await?;
        let first = Handle::of(pid).map_err(transient("the container"))?;
        let first = first.ok_or_else(|| RuntimeError::Transient("the container ended at once".into()))?;
        record.first = Some(Process::of(pid).map_err(transient("the container"))?);
        record.save(&place.state()).map_err(transient("the record"))?;
        let live = self.live.add(pid, first, self.groups(place), record.uid_base);
        self.state(&live, place).await?;
        self.begin_ahead(spec, &record, place, &live).await;
        Ok(())
    }

    /// Reserves what the instance needs and writes it down.
    fn begin(&self, spec: &InstanceSpec, place: &Place, image: &ReadyImage) -> io::Result<Record> {
        let slot = self.slots.claim(&place.kept)?;
        let base = self.slots.uid_base(slot);
        let address = slot::address(slot);
        let mut record = Record::new(slot, base, address, image.clone());
        if spec.gpus.is_some() {
            gpu::tell_of_driver(&mut record.environment);
        }
        record.save(&place.state())?;
        // The log and the exit file are written by the container's root, whose id on disk is 0.
        file::folder(&place.log_folder(), 0o755)?;
        let etc = place.shared().join("etc");
        file::folder(&place.run, 0o711)?;
        file::folder(&place.shared(), 0o755)?;
        file::folder(&etc, 0o755)?;
        file::replace(&etc.join("resolv.conf"), self.network.resolv_conf().as_bytes(), 0o644)?;
        file::replace(&etc.join("hostname"), format!("{}\n", host::NAME).as_bytes(), 0o644)?;
        file::replace(&etc.join("hosts"), host::hosts(address).as_bytes(), 0o644)?;
        if let Some(bundle) = &self.config.ca_bundle {
            file::replace(&etc.join("ca-bundle.crt"), &std::fs::read(bundle)?, 0o644)?;
        }
        Ok(record)
    }

    fn launch_spec(
        &self,
        spec: &InstanceSpec,
        place: &Place,
        record: &Record,
        image: ReadyImage,
    ) -> Result<LaunchSpec, RuntimeError> {
        let over = |name: &str| (format!("etc/{name}"), format!("/etc/{name}"));
        Ok(LaunchSpec {
            name: spec.notebook.to_string(),
            hostname: host::NAME.into(),
            entry: self.tree.entry(&place.cgroup),
            throttles: self.tree.throttles(&place.cgroup, &self.config.disk),
            uid_base: record.uid_base,
            lowers: image.layers,
            layer: place.layer(),
            volume: place.volume(),
            work: self.work(spec)?,
            log: place.log_folder(),
            run: place.run.clone(),
            init: self.init.clone(),
            shared_memory: spec.memory_bytes / 2,
            files: ["resolv.conf", "hostname", "hosts"].map(over).into(),
            equipment: Equipment::default(),
        })
    }

    /// What the init says; waits until it listens.
    async fn state(&self, live: &Live, place: &Place) -> Result<State, RuntimeError> {
        let until = Instant::now() + INIT_LIMIT;
        let mut pause = Duration::from_millis(1);
        loop {
            let answer = async { Init::connect(&place.shared()).await?.ask(Command::Status).await }.await;
            match answer {
                Ok(answer) => return Ok(answer.state),
                Err(_) if !live.first.lives().map_err(transient("the container"))? => {
                    return Err(RuntimeError::Transient("the container ended at once".into()));
                }
                Err(e) if Instant::now() > until => return Err(transient("the init does not answer")(e)),
                Err(_) => sleep(pause).await,
            }
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    async fn tell(place: &Place, command: Command, limit: Duration) -> Result<Answer, RuntimeError> {
        let talk = async { Init::connect(&place.shared()).await?.ask_within(command, limit).await };
        talk.await.map_err(transient("the init does not answer"))
    }

    /// Starts the notebook server, unless a fork has begun it (`ahead` is how that ended), and waits for its first answer.
    async fn bring_up(
        &self,
        spec: &InstanceSpec,
        place: &Place,
        live: &Live,
        ahead: Option<Result<(), String>>,
    ) -> Result<(Way, Readiness), RuntimeError> {
        let record = Self::record(place)?;
        let plan = server::plan(&self.config, &record, &spec.upstream_secret)?;
        let forked = match ahead {
            Some(ended) => ended,
            None => self.fork_server(&plan, &record, place, live).await,
        };
        let way = match forked {
            Ok(()) => Way::Forked,
            Err(why) => Self::start_server(plan, place, why).await?,
        };
        Ok((way, self.await_all(spec, &record, place, live).await?))
    }

    /// Waits for the first answer, and until the kernels are forked: the server finds out when it starts one.
    async fn await_all(
        &self,
        spec: &InstanceSpec,
        record: &Record,
        place: &Place,
        live: &Live,
    ) -> Result<Readiness, RuntimeError> {
        tokio::join!(self.await_ready(spec, place, live), self.fork_kernels(record, place, live)).0
    }

    /// Has the notebook server and what forks its kernels begin in a container that nothing has run in, so that there is no
    /// file of its user's that they would read: they answer at sockets, and need no network for that.
    async fn begin_ahead(&self, spec: &InstanceSpec, record: &Record, place: &Place, live: &Live) {
        if spec.hook_first {
            return;
        }
        let Ok(plan) = server::plan(&self.config, record, &spec.upstream_secret) else { return };
        // Where there is no zygote, whoever starts the server learns it.
        if let Ok(fork) = self.server_fork(&plan, record, place, live) {
            live.server.begin(fork.run()).await;
        }
        if let Ok(fork) = self.kernels_fork(record, place, live) {
            live.forking.begin(fork.run()).await;
        }
    }

    /// Waits for what was killed, but not for long: what answers in its place would be taken for what comes next.
    async fn alone(&self, place: &Place) {
        let until = Instant::now() + KILLED_LIMIT;
        while cgroup::processes(&*self.tree, &place.cgroup).is_ok_and(|all| all.len() > 1) && Instant::now() < until {
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// Has the container fork its kernels itself, unless it does. Where it cannot, they are started.
    async fn fork_kernels(&self, record: &Record, place: &Place, live: &Live) {
        let forked = match live.forking.ended().await {
            // Not once more: a child that was given up may arrive all the same.
            Some(ended) => ended,
            None => async { self.kernels_fork(record, place, live)?.run().await }.await,
        };
        if let Err(why) = forked {
            tracing::debug!(notebook = %place.id, "kernels of notebook {} are started: {why}", place.id);
        }
    }

    /// The way for a forked child.
    fn way_into(&self, place: &Place, live: &Live) -> Result<Destination, String> {
        let unreachable = |e: io::Error| format!("the container cannot be entered: {e}");
        Ok(Destination {
            init: live.first.duplicate().map_err(unreachable)?,
            groups: self.tree.entry(&place.cgroup).open().map_err(unreachable)?,
        })
    }

    /// By its command line, because of `why`.
    async fn start_server(plan: StartServer, place: &Place, why: String) -> Result<Way, RuntimeError> {
        let command = Command::StartServer(Box::new(plan));
        let answer = Self::tell(place, command, Duration::from_secs(10)).await?;
        match answer.error {
            None => Ok(Way::CommandLine { why: Some(why) }),
            // A child that was given up has arrived all the same.
            Some(_) if matches!(answer.state, State::Running { .. }) => Ok(Way::Forked),
            Some(why) => Err(RuntimeError::Permanent(format!("the notebook server could not be started: {why}"))),
        }
    }

    /// The error says why the server has to be started by its command line.
    async fn fork_server(&self, plan: &StartServer, record: &Record, place: &Place, live: &Live) -> Result<(), String> {
        self.server_fork(plan, record, place, live)?.run().await
    }

    fn server_fork(&self, plan: &StartServer, record: &Record, place: &Place, live: &Live) -> Result<Fork, String> {
        let to = self.way_into(place, live)?;
        self.zygotes.server_fork(&record.layers, plan, record.server.len(), &server::socket(), to)
    }

    fn kernels_fork(&self, record: &Record, place: &Place, live: &Live) -> Result<Fork, String> {
        let plan = server::without_secret(&self.config, &record.server, &record.environment);
        let plan = plan.map_err(|e| e.to_string())?;
        self.zygotes.kernels_fork(&record.layers, &plan, self.way_into(place, live)?)
    }

    /// Waits for the first answer; ends early when the server does.
    async fn await_ready(&self, spec: &InstanceSpec, place: &Place, live: &Live) -> Result<Readiness, RuntimeError> {
        let until = Instant::now() + SERVER_LIMIT;
        let mut pause = Duration::from_millis(5);
        loop {
            match server::ask(live.pid, &live.first, &spec.upstream_secret).await {
                Readiness::NotYet => {}
                answered => return Ok(answered),
            }
            if let State::Ended(ended) = self.state(live, place).await? {
                return Err(RuntimeError::Permanent(format!("{} before it answered", ended.reason())));
            }
            if Instant::now() > until {
                return Err(RuntimeError::Transient("the notebook server does not answer".into()));
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(40));
        }
    }

    /// Remembers which processes are kernels. Not knowing costs an event its best word, and nothing else.
    async fn look_at_kernels(&self, id: NotebookId, live: &Live) {
        if !live.is_due() {
            return;
        }
        let (tree, cgroup) = (Arc::clone(&self.tree), self.places.of(id).cgroup);
        let looking =
            tokio::task::spawn_blocking(move || cgroup::processes(&*tree, &cgroup).map(|all| kernels::among(&all)));
        if let Ok(Ok(kernels)) = looking.await {
            live.remember(kernels);
        }
    }

    /// What the kernel says of an instance that runs, and that may end while it is being asked.
    async fn asked<T: Send + 'static>(
        &self,
        id: NotebookId,
        what: &str,
        ask: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, RuntimeError> {
        let answer = tokio::task::spawn_blocking(ask).await.map_err(io::Error::other).flatten();
        self.present(id)?;
        answer.map_err(transient(what))
    }

    /// What was killed, if it was a notebook's.
    fn whose(&self, kill: Kill) -> Option<OutOfMemory> {
        let (notebook, live) = self.live.of_user(kill.uid)?;
        let kernel = live.kernel(kill.pid).or_else(|| kernels::by_name(&kill.name).map(str::to_owned));
        let victim = match kernel {
            Some(kernel) => Victim::Kernel(kernel),
            None => Victim::Process { name: kill.name, pid: process::inner_number(kill.pid) },
        };
        let place = self.places.of(notebook);
        let of_kernel = |path: &String| cgroup::kernels::named(path, &place.cgroup);
        let (whose, counted) = match &kill.cause {
            Cause::Machine => (Share::Machine, Some(place.cgroup.clone())),
            // Of many kills at once the log names the processes alone.
            Cause::Group(None) => (Share::Notebook, None),
            Cause::Group(Some(path)) => match of_kernel(path) {
                Some(group) => (Share::Kernel, Some(group)),
                None if path.ends_with(&place.cgroup) => (Share::Notebook, Some(place.cgroup.clone())),
                // One above ours: this server runs within limits itself.
                None => (Share::Machine, Some(place.cgroup.clone())),
            },
        };
        let Memory { peak, limit, .. } = counted.map(|group| self.tree.memory(&group)).unwrap_or_default();
        Some(OutOfMemory { notebook, victim, held: kill.held, peak, limit, whose })
    }

    /// Ends everything that runs and removes everything that does not outlive a stop.
    async fn clear(&self, place: &Place) -> Result<(), RuntimeError> {
        let live = self.adopt(place.id)?;
        if let Some(live) = &live
            && live.first.lives().unwrap_or(false)
        {
            let grace_ms = u64::try_from(GRACE.as_millis()).unwrap_or(u64::MAX);
            let asked = Self::tell(place, Command::Stop { grace_ms }, GRACE + Duration::from_secs(2)).await;
            if let Err(e) = asked {
                tracing::debug!(notebook = %place.id, "notebook {} is stopped by force: {e}", place.id);
            }
        }
        self.live.forget(place.id);
        sweep::instance(place, &self.tree, &self.slots, &self.cards, live.map(|l| Arc::clone(&l.first))).await
    }
}

#[async_trait]
impl Runtime for LocalRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Local
    }

    async fn begin(&self) {
        self.priorities.get_or_init(|| Priorities::keep(Looks::new(&self.tree, &self.places, &self.live)));
        if self.config.zygote
            && self.images.size(BUILT_IN).await.is_some()
            && let Err(e) = self.image(BUILT_IN, &Silent).await
        {
            tracing::warn!("no zygote is made before the first notebook: {e}");
        }
    }

    async fn close(&self) {
        if let Some(priorities) = self.priorities.get() {
            priorities.end().await;
        }
        self.launchers.close().await;
        self.zygotes.close().await;
    }

    async fn boot_id(&self) -> Result<String, RuntimeError> {
        boot_id().map_err(transient("the machine's boot"))
    }

    async fn capacity(&self) -> Result<Capacity, RuntimeError> {
        host::capacity().map_err(transient("the machine's size"))
    }

    async fn gpus(&self) -> Gpus {
        self.cards.there().await
    }

    async fn memory_available(&self) -> Result<u64, RuntimeError> {
        host::memory("MemAvailable").map_err(transient("the machine's memory"))
    }

    async fn image_size(&self, image: ImageId) -> Result<Option<u64>, RuntimeError> {
        Ok(self.images.size(image).await)
    }

    async fn prepare_image(&self, image: ImageId, reporter: &dyn Reporter) -> Result<(), RuntimeError> {
        self.image(image, reporter).await.map(drop)
    }

    async fn prepare_storage(&self, spec: &InstanceSpec) -> Result<(), RuntimeError> {
        self.prepare_volumes(spec).await
    }

    async fn grow_storage(&self, spec: &InstanceSpec) -> Result<(), RuntimeError> {
        self.grow_volume(spec).await
    }

    async fn discard_storage(&self, id: NotebookId) -> Result<(), RuntimeError> {
        self.remove(id).await
    }

    async fn prepare_compute(&self, spec: &InstanceSpec) -> Result<(), RuntimeError> {
        let _lock = self.locks.take(spec.notebook).await;
        let place = self.places.of(spec.notebook);
        if let Some(live) = self.adopt(spec.notebook)? {
            return self.state(&live, &place).await.map(drop);
        }
        self.clear(&place).await?;
        self.create(spec, &place).await
    }

    async fn configure_network(&self, spec: &InstanceSpec) -> Result<(), RuntimeError> {
        let _lock = self.locks.take(spec.notebook).await;
        let place = self.places.of(spec.notebook);
        let live = self.present(spec.notebook)?;
        let mut record = Self::record(&place)?;
        if record.networked && network::is_attached(record.slot) {
            return Ok(());
        }
        let seat = Seat { slot: record.slot, address: record.address };
        let first = live.first.duplicate().map_err(transient("the container"))?;
        self.network.attach(seat, first).await?;
        record.networked = true;
        record.save(&place.state()).map_err(transient("the record"))
    }

    async fn begin_hook(&self, spec: &InstanceSpec, hook: &HookRun) -> Result<(), RuntimeError> {
        let _lock = self.locks.take(spec.notebook).await;
        let place = self.places.of(spec.notebook);
        self.present(spec.notebook)?;
        let record = Self::record(&place)?;
        let like = server::without_secret(&self.config, &record.server, &record.environment)?;
        let answer = Self::tell(&place, hook::command(hook, like), Duration::from_secs(10)).await?;
        match answer.error {
            None => Ok(()),
            Some(why) => Err(RuntimeError::Permanent(format!("the hook could not be begun: {why}"))),
        }
    }

    async fn hook_end(&self, id: NotebookId, moment: Moment) -> Result<HookEnd, RuntimeError> {
        let live = self.present(id)?;
        let shared = self.places.of(id).shared();
        while live.first.lives().map_err(transient("the container"))? {
            match hook::end(&shared, moment).await {
                Ok(end) => return end.ok_or(RuntimeError::Absent),
                // It may have ended, or let go of who has waited longest.
                Err(_) => sleep(HOOK_AGAIN).await,
            }
        }
        Err(RuntimeError::Absent)
    }

    async fn hook_told(&self, id: NotebookId, moment: Moment) -> Result<(), RuntimeError> {
        self.present(id)?;
        let told = Command::HookTold { name: moment.as_str().into() };
        Self::tell(&self.places.of(id), told, Duration::from_secs(5)).await.map(drop)
    }

    async fn initialize(&self, spec: &InstanceSpec) -> Result<Way, RuntimeError> {
        let _lock = self.locks.take(spec.notebook).await;
        let place = self.places.of(spec.notebook);
        let live = self.present(spec.notebook)?;
        let ahead = live.server.ended().await;
        let (way, ready) = match self.state(&live, &place).await? {
            State::Running { .. } if ahead.is_none() => {
                (Way::Already, self.await_all(spec, &Self::record(&place)?, &place, &live).await?)
            }
            _ => self.bring_up(spec, &place, &live, ahead).await?,
        };
        if ready == Readiness::Ready {
            self.launchers.provide();
            return Ok(way);
        }
        // It runs from an earlier attempt, with another secret.
        Self::tell(&place, Command::Stop { grace_ms: 2000 }, GRACE).await?;
        self.alone(&place).await;
        match self.bring_up(spec, &place, &live, None).await? {
            (way, Readiness::Ready) => Ok(way),
            _ => Err(RuntimeError::Permanent("the notebook server does not accept its own secret".into())),
        }
    }

    async fn stop(&self, id: NotebookId) -> Result<(), RuntimeError> {
        let _lock = self.locks.take(id).await;
        self.clear(&self.places.of(id)).await
    }

    async fn remove(&self, id: NotebookId) -> Result<(), RuntimeError> {
        let _lock = self.locks.take(id).await;
        let place = self.places.of(id);
        self.clear(&place).await?;
        sweep::folder(&place.lost).await?;
        sweep::folder(&place.kept).await
    }

    async fn set_aside(&self, id: NotebookId) -> Result<Option<String>, RuntimeError> {
        self.set_volume_aside(id).await
    }

    async fn lost(&self) -> Result<Vec<Lost>, RuntimeError> {
        self.lost_volumes()
    }

    async fn shares(&self) -> Result<Vec<SharedStorage>, RuntimeError> {
        self.shared_volumes()
    }

    async fn remove_share(&self, id: VolumeId) -> Result<(), RuntimeError> {
        self.remove_shared_volume(id).await
    }

    async fn at_uri(&self, uri: &ShareUri) -> Result<AtUri, RuntimeError> {
        self.look_at(uri)
    }

    async fn observe(&self, id: NotebookId) -> Result<Observed, RuntimeError> {
        let Some(live) = self.adopt(id)? else { return Ok(Observed::Absent) };
        let state = match self.state(&live, &self.places.of(id)).await {
            Ok(state) => state,
            // It ended while it was being asked.
            Err(_) if !live.first.lives().map_err(transient("the container"))? => return Ok(Observed::Absent),
            Err(e) => return Err(e),
        };
        self.look_at_kernels(id, &live).await;
        Ok(match state {
            State::Empty => Observed::Idle { ended: None },
            State::Ended(ended) => Observed::Idle { ended: Some(ended.reason()) },
            State::Running { .. } => Observed::Serving,
        })
    }

    async fn usage(&self, id: NotebookId) -> Result<Usage, RuntimeError> {
        self.present(id)?;
        let (tree, place, claimed) = (Arc::clone(&self.tree), self.places.of(id), self.cards.claimed());
        let ask = move || {
            let cgroup = place.cgroup;
            let processes = cgroup::processes(&*tree, &cgroup)?;
            let usage = Usage {
                cpu: tree.cpu_time(&cgroup)?,
                foreground: foreground::programs(&processes)?,
                memory: tree.memory(&cgroup),
                processes: processes.len() as u64,
                gpus: Vec::new(),
            };
            Ok((usage, claimed.of(&place.kept)?))
        };
        let (usage, gpus) = self.asked(id, "what it uses", ask).await?;
        Ok(Usage { gpus: self.cards.usage(gpus).await, ..usage })
    }

    async fn processes(&self, id: NotebookId) -> Result<Vec<atelier_runtime::Process>, RuntimeError> {
        self.present(id)?;
        let (tree, cgroup) = (Arc::clone(&self.tree), self.places.of(id).cgroup);
        let ask = move || cgroup::processes(&*tree, &cgroup).map(|all| processes::shown(&all));
        self.asked(id, "its processes", ask).await
    }

    async fn filling(&self, id: NotebookId) -> Result<Filling, RuntimeError> {
        self.volume_filling(id).await
    }

    async fn list(&self) -> Result<Vec<NotebookId>, RuntimeError> {
        self.known().map_err(transient("the notebooks"))
    }

    async fn connect(&self, id: NotebookId) -> Result<Box<dyn Connection>, RuntimeError> {
        let live = self.present(id)?;
        match server::connect(live.pid, &live.first).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                Err(RuntimeError::Absent)
            }
            Err(e) => Err(transient("the notebook server")(e)),
        }
    }

    async fn exec(&self, id: NotebookId, spec: ExecSpec) -> Result<Exec, RuntimeError> {
        let live = self.present(id)?;
        let place = self.places.of(id);
        exec::start(&self.config, &Self::record(&place)?, &place, &live, spec).await
    }

    fn log_file(&self, id: NotebookId) -> Option<PathBuf> {
        Some(self.places.of(id).log_file())
    }

    async fn out_of_memory(&self) -> OutOfMemory {
        loop {
            let Some(log) = self.kernel_log() else { std::future::pending().await };
            match log.kill().await {
                Ok(kill) => {
                    if let Some(told) = self.whose(kill) {
                        return told;
                    }
                }
                Err(e) => {
                    tracing::warn!("the kernel's log cannot be read: {e}");
                    sleep(KERNEL_LOG_AGAIN).await;
                }
            }
        }
    }

    async fn changed(&self) {
        self.live.changed().await;
    }
}
