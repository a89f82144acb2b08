//! Shares of the machine: what notebooks in a pool may hold and be, and what all others may.
//!
//! They are fixed when the engine is opened. A notebook whose pool is not among them any more keeps what it holds, for as
//! long as it holds it, of the public share; it cannot be started, because nothing is set aside for it.

use std::sync::Arc;

use atelier_core::flavor::{CUSTOM, Capacity, CustomSpec, Flavor, Held};
use atelier_core::gpu::{GpuKind, Gpus, HeldGpus};
use atelier_core::notebook::Notebook;
use atelier_core::pool::{self, InPool, Part, Pool, TooLarge};
use atelier_core::refusal::{Code, Refusal};
use atelier_store::{Condition, StoreError};

use crate::Engine;
use crate::write::hidden;

/// How large a notebook is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Size {
    /// As a flavor on offer, by its id.
    Flavor(String),
    /// As it says itself; only in pools.
    Custom(CustomSpec),
}

impl Size {
    /// Whether a notebook of this flavor has this size.
    pub(crate) fn is(&self, flavor: &Flavor) -> bool {
        match self {
            Self::Flavor(id) => *id == flavor.id,
            Self::Custom(spec) => Some(*spec) == flavor.custom_spec(),
        }
    }

    /// The field of a request that says it.
    pub(crate) const fn field(&self) -> &'static str {
        match self {
            Self::Flavor(_) => "flavor",
            Self::Custom(_) => "custom_spec",
        }
    }
}

/// One share.
#[derive(Debug)]
pub(crate) struct Share {
    /// `None`: the public one.
    pub(crate) pool: Option<Pool>,
    pub(crate) capacity: Capacity,
    pub(crate) flavors: Vec<Flavor>,
    part: Part,
}

impl Share {
    /// There is room for this flavor, which the notebook that is written has: in this share, and among the GPUs of the
    /// machine.
    pub(crate) fn has_room(&self, flavor: &Flavor, gpus: &Gpus) -> impl Iterator<Item = Condition> + use<> {
        let has_gpus = flavor.gpus.is_some().then(|| Condition::HasGpus(gpus.clone()));
        [Condition::Fits(self.capacity, self.part.clone())].into_iter().chain(has_gpus)
    }

    /// No room will ever be found for this flavor here.
    pub(crate) fn is_too_small_for(&self, flavor: &Flavor, gpus: &Gpus) -> bool {
        self.capacity.is_too_small_for(flavor) || gpus.are_too_few_for(flavor.gpus.as_ref())
    }

    /// This flavor, for a notebook that is to run now: with the kind of its GPUs by its name, also where the flavor leaves
    /// it open. What is meant by that may be another kind tomorrow, what a notebook holds may not. What the configuration says
    /// of the flavor now counts, and where that is gone, what the notebook had, as long as there is any of it.
    pub(crate) fn with_kind(&self, mut flavor: Flavor, gpus: &Gpus) -> Flavor {
        let known = self.flavors.iter().find(|known| known.id == flavor.id).and_then(|known| known.gpus.as_ref());
        if let Some(wanted) = &mut flavor.gpus {
            let named = match known {
                Some(known) => known.kind.clone(),
                None => wanted.kind.take().filter(|name| gpus.kind(Some(name)).is_some()),
            };
            wanted.kind = named.or_else(|| gpus.kind(None).map(|kind| kind.name.clone()));
        }
        flavor
    }

    /// What a notebook in it keeps of it.
    pub(crate) fn in_pool(&self) -> Option<InPool> {
        self.pool.as_ref().map(Pool::in_pool)
    }

    /// The flavor of a new notebook of this size.
    pub(crate) fn flavor(&self, size: &Size) -> Result<Flavor, Refusal> {
        match size {
            Size::Flavor(id) => self.flavors.iter().find(|flavor| flavor.id == *id).cloned().ok_or_else(|| {
                let whose = self.pool.as_ref().map(|pool| format!(" in pool `{}`", pool.id)).unwrap_or_default();
                let message = format!("flavor `{id}` does not exist{whose}; there are {}", names(&self.flavors));
                Refusal::new(Code::UnknownFlavor, message)
            }),
            Size::Custom(spec) => self.custom(*spec),
        }
    }

    /// A size of its own, within the pool.
    pub(crate) fn custom(&self, spec: CustomSpec) -> Result<Flavor, Refusal> {
        let Some(pool) = &self.pool else {
            let message = "`custom_spec` is for notebooks in a pool: give its `pool_id`, or a `flavor` instead";
            return Err(Refusal::new(Code::BadValue, message));
        };
        if u64::from(spec.cpu_millis) > pool.cpu_millis {
            let all = format!("at most {}, all CPUs of pool `{}`", cpus(pool.cpu_millis), pool.id);
            return Err(Refusal::bad_value("custom_spec.cpu", &all));
        }
        if spec.memory_mib > pool.memory_mib {
            let all = format!("at most {} MiB, all memory of pool `{}`", pool.memory_mib, pool.id);
            return Err(Refusal::bad_value("custom_spec.memory", &all));
        }
        Ok(spec.flavor())
    }
}

fn cpus(millis: u64) -> String {
    let text = format!("{}.{:03}", millis / 1000, millis % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The ids of flavors, for people.
pub(crate) fn names<'f>(flavors: impl IntoIterator<Item = &'f Flavor>) -> String {
    let ids: Vec<_> = flavors.into_iter().map(|flavor| format!("`{}`", flavor.id)).collect();
    if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
}

/// All shares, the public one first.
pub(crate) struct Shares(Vec<Arc<Share>>);

impl Shares {
    /// Shares out a machine.
    pub(crate) fn of(machine: Capacity, flavors: Vec<Flavor>, pools: Vec<Pool>) -> Result<Self, TooLarge> {
        let ids: Vec<_> = pools.iter().map(|pool| pool.id.clone()).collect();
        let capacity = pool::public(machine, &pools)?;
        let public = Share { pool: None, capacity, flavors, part: Part::Besides(ids.into()) };
        let dedicated = pools.into_iter().map(|pool| Share {
            capacity: pool.capacity(machine),
            flavors: pool.flavors.clone(),
            part: Part::Pool(pool.id.as_str().into()),
            pool: Some(pool),
        });
        Ok(Self(std::iter::once(public).chain(dedicated).map(Arc::new).collect()))
    }

    fn find(&self, pool_id: Option<&str>) -> Option<&Arc<Share>> {
        self.0.iter().find(|share| share.pool.as_ref().map(|pool| pool.id.as_str()) == pool_id)
    }

    /// The share that a new notebook asks for.
    pub(crate) fn asked(&self, pool_id: Option<&str>) -> Result<&Arc<Share>, Refusal> {
        self.find(pool_id).ok_or_else(|| {
            let shown: String = pool_id.unwrap_or_default().chars().take(64).collect();
            let message = format!("`pool_id`: pool `{shown}` does not exist; see ListAuthoringClusters");
            Refusal::new(Code::BadValue, message)
        })
    }

    /// The share of a notebook, unless its pool is not there any more.
    pub(crate) fn of_notebook(&self, notebook: &Notebook) -> Option<&Arc<Share>> {
        self.find(notebook.pool_id())
    }
}

/// The refusal to start a notebook whose pool is not there any more.
pub(crate) fn pool_is_gone(notebook: &Notebook) -> Refusal {
    let pool = notebook.pool_id().unwrap_or_default();
    let message = format!("pool `{pool}` of the notebook is not there any more, and with it what was set aside for it");
    Refusal::new(Code::NoCapacity, message)
}

/// A flavor on offer.
#[derive(Clone, Debug)]
pub struct OfferedFlavor {
    /// The flavor.
    pub flavor: Flavor,
    /// No notebook of it can be made now.
    pub sold_out: bool,
    /// The kind of its GPUs, where it has some and the machine has the kind.
    pub gpu_kind: Option<GpuKind>,
}

/// What a share offers at a moment.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The pool; `None` is the public share.
    pub pool: Option<InPool>,
    /// The share.
    pub capacity: Capacity,
    /// What is held of it.
    pub held: Held,
    /// The GPUs of the machine, which are not shared out.
    pub gpus: Gpus,
    /// What all notebooks of the machine hold of them.
    pub held_gpus: HeldGpus,
    /// Its flavors, also those that are sold out; where the machine has no GPU, only those without.
    pub flavors: Vec<OfferedFlavor>,
    /// The host has too little memory available for anything to be started.
    pub short: bool,
}

impl Offer {
    /// Whether the notebook holds of this share, or would if it ran.
    pub fn is_of(&self, notebook: &Notebook) -> bool {
        self.pool.as_ref().map(|pool| pool.id.as_str()) == notebook.pool_id()
    }

    /// Whether a notebook of this flavor, which somebody has already, could be started in it if it held nothing now.
    pub fn sells(&self, flavor: &Flavor) -> bool {
        let known = flavor.id == CUSTOM || self.flavors.iter().any(|offered| offered.flavor.id == flavor.id);
        known && self.has_room_for(flavor)
    }

    /// Whether one more notebook of this flavor could be made or started now.
    pub fn has_room_for(&self, flavor: &Flavor) -> bool {
        !self.short && self.capacity.fits(self.held, flavor) && self.gpus.fit(&self.held_gpus, flavor.gpus.as_ref())
    }

    fn offered(&self, flavor: &Flavor) -> OfferedFlavor {
        let gpus = flavor.gpus.as_ref();
        let gpu_kind = gpus.and_then(|gpus| self.gpus.kind(gpus.kind.as_deref())).cloned();
        OfferedFlavor { flavor: flavor.clone(), sold_out: !self.has_room_for(flavor), gpu_kind }
    }
}

impl Engine {
    /// What every share offers, the public one first.
    pub async fn offers(&self) -> Result<Vec<Offer>, Refusal> {
        let short = self.memory_is_short().await;
        let mut offers = Vec::new();
        let gpus = self.gpu_room().await.map_err(|e| hidden(&e))?;
        for share in &self.inner.shares.0 {
            offers.push(self.offer(share, short, &gpus).await.map_err(|e| hidden(&e))?);
        }
        Ok(offers)
    }

    /// The flavors for notebooks in no pool, and which of them are sold out.
    pub async fn flavors(&self) -> Result<Vec<OfferedFlavor>, Refusal> {
        let share = self.inner.shares.asked(None)?;
        let gpus = self.gpu_room().await.map_err(|e| hidden(&e))?;
        Ok(self.offer(share, self.memory_is_short().await, &gpus).await.map_err(|e| hidden(&e))?.flavors)
    }

    /// What a notebook's share offers; nothing where its pool is not there any more.
    pub async fn offer_to(&self, notebook: &Notebook) -> Result<Option<Offer>, Refusal> {
        let Some(share) = self.inner.shares.of_notebook(notebook) else { return Ok(None) };
        let gpus = self.gpu_room().await.map_err(|e| hidden(&e))?;
        self.offer(share, self.memory_is_short().await, &gpus).await.map(Some).map_err(|e| hidden(&e))
    }

    async fn offer(&self, share: &Share, short: bool, gpus: &(HeldGpus, Gpus)) -> Result<Offer, StoreError> {
        let (held, capacity) = (self.inner.store.held(&share.part).await?, share.capacity);
        let (held_gpus, gpus) = gpus.clone();
        let mut offer = Offer { pool: share.in_pool(), capacity, held, gpus, held_gpus, flavors: Vec::new(), short };
        let listed = share.flavors.iter().filter(|flavor| flavor.gpus.is_none() || !offer.gpus.is_empty());
        offer.flavors = listed.map(|flavor| offer.offered(flavor)).collect();
        Ok(offer)
    }

    /// The GPUs of the machine, as far as they are known now.
    pub(crate) async fn gpus(&self) -> Gpus {
        self.inner.runtime.gpus().await
    }

    /// The same, as far as a notebook of this flavor has to know of them: who needs none does not wait for their driver.
    pub(crate) async fn gpus_for(&self, flavor: &Flavor) -> Gpus {
        if flavor.gpus.is_some() { self.gpus().await } else { Gpus::default() }
    }

    /// The GPUs that all notebooks hold, and those that there are to hold.
    pub async fn gpu_room(&self) -> Result<(HeldGpus, Gpus), StoreError> {
        Ok((self.inner.store.held_gpus().await?, self.gpus().await))
    }
}
