//! Domain things in the shapes of the wire.

use atelier_core::flavor::{CustomSpec, Flavor};
use atelier_core::gpu::{FlavorGpus, GpuKind};
use atelier_core::id::NotebookId;
use atelier_core::image::Image;
use atelier_core::lease::Lease;
use atelier_core::notebook::{Notebook, Owner};
use atelier_core::operation::{StepRecord, StepState};
use atelier_core::pool::InPool;
use atelier_core::status::Status;
use atelier_core::tags::Tags;
use atelier_core::volume::{MOUNT_PATH, Volume};
use atelier_engine::OfferedFlavor;
use atelier_wire as wire;
use secrecy::ExposeSecret;
use serde_json::Number;

use crate::NotebookAddress;
use crate::v1::hooks;

const NOTEBOOK: &str = "NOTEBOOK";

/// A notebook, with everything that applies to it in its status.
pub(crate) fn notebook(notebook: &Notebook, address: &NotebookAddress) -> wire::Notebook {
    let status = notebook.status();
    let running = status == Status::Running;
    let url = notebook.ever_ran.then(|| address.url_of(notebook.id));
    let endpoint = url.clone().filter(|_| running).map(endpoint);
    wire::Notebook {
        id: notebook.id.to_string(),
        name: notebook.name.clone(),
        description: notebook.description.clone(),
        status: status.to_string(),
        fail_reason: notebook.fail_reason.clone().filter(|_| status.is_failed()),
        feature: notebook.feature.to_string(),
        tags: tags(&notebook.tags),
        flavor: notebook.flavor.id.clone(),
        custom_spec: notebook.flavor.custom_spec().map(custom_spec),
        pool: notebook.pool.as_ref().map(pool),
        image: image_name(&notebook.image),
        lease: lease(notebook.lease),
        volume: Some(volume(&notebook.volume)),
        hooks: hooks::shown(&notebook.hooks),
        endpoints: endpoint.into_iter().collect(),
        url,
        token: Some(notebook.token.expose_secret().to_owned()),
        action_progress: action_progress(notebook),
        billing_items: billing_items(status).iter().map(|item| (*item).to_owned()).collect(),
        user: Some(user(&notebook.owner)),
        user_id: Some(notebook.owner.user_id.to_string()),
        workspace_id: notebook.workspace_id.clone(),
        create_at: notebook.create_at.as_millis(),
        update_at: notebook.update_at.as_millis(),
    }
}

fn pool(pool: &InPool) -> wire::Pool {
    wire::Pool { id: pool.id.clone(), name: pool.name.clone() }
}

fn custom_spec(spec: CustomSpec) -> wire::NotebookCustomSpec {
    let cpu = Number::from_f64(f64::from(spec.cpu_millis) / 1000.0);
    wire::NotebookCustomSpec {
        cpu: cpu.unwrap_or_else(|| spec.cpu_millis.div_ceil(1000).into()),
        memory: spec.memory_mib.into(),
        arch: Some(arch().to_owned()),
        category: Some(CPU.to_owned()),
    }
}

/// What is charged for compute.
pub(crate) const COMPUTE: &str = "COMPUTE";

/// What a notebook is charged for in a status: only one that runs holds compute, and volumes are not charged.
pub(crate) fn billing_items(status: Status) -> &'static [&'static str] {
    if status == Status::Running { &[COMPUTE] } else { &[] }
}

fn tags(tags: &Tags) -> Vec<wire::Tag> {
    tags.iter().map(|(key, value)| wire::Tag { key: key.to_owned(), value: Some(value.to_owned()) }).collect()
}

/// A lease.
pub(crate) fn lease(lease: Lease) -> wire::Lease {
    wire::Lease {
        create_at: lease.create_at().as_millis(),
        update_at: lease.update_at().as_millis(),
        duration: lease.duration_ms(),
        enable: lease.is_enabled(),
        kind: lease.kind().to_string(),
    }
}

fn endpoint(uri: String) -> wire::EndpointRes {
    wire::EndpointRes {
        service: NOTEBOOK.to_owned(),
        dev_service: Some(NOTEBOOK.to_owned()),
        uri,
        key_pair_names: Vec::new(),
        ssh_keys: Vec::new(),
        allowed_access_ips: Vec::new(),
    }
}

/// Only while the notebook is on its way to RUNNING.
fn action_progress(notebook: &Notebook) -> Option<Vec<wire::JobProgress>> {
    let under_way = matches!(notebook.status(), Status::Init | Status::Creating | Status::Starting);
    let steps = || notebook.progress.iter().filter_map(|step| progress(notebook.id, step)).collect();
    (under_way && !notebook.progress.is_empty()).then(steps)
}

fn progress(id: NotebookId, step: &StepRecord) -> Option<wire::JobProgress> {
    let number = step.name.progress_number()?;
    let description = match &step.note {
        Some(note) if step.state == StepState::Began => format!("{}: {note}", step.name.description()),
        _ => step.name.description().to_owned(),
    };
    Some(wire::JobProgress {
        notebook_id: Some(id.to_string()),
        step: number,
        status: step.state.progress_word().to_owned(),
        step_description: description.clone(),
        description,
    })
}

fn volume(volume: &Volume) -> wire::VolumeRes {
    let uri = volume.uri().map(|uri| uri.as_str().to_owned());
    wire::VolumeRes {
        category: volume.category().to_owned(),
        ownership: volume.ownership().to_owned(),
        capacity: volume.capacity_gib(),
        // What is given back is what was sent; of the others nobody needs it.
        id: uri.is_some().then(|| volume.id.to_string()),
        uri,
        mount_path: MOUNT_PATH.to_owned(),
        read_only: false,
        status: volume.growing_to_gib().map(|_| "RESIZING".to_owned()),
    }
}

fn user(owner: &Owner) -> wire::User {
    wire::User {
        id: owner.user_id.to_string(),
        name: owner.user_name.clone(),
        domain: Some(wire::Domain { id: owner.domain_id.to_string(), name: owner.domain_name.clone() }),
    }
}

/// An image as a notebook shows it: what names it.
fn image_name(image: &Image) -> wire::Image {
    wire::Image {
        id: image.id.to_string(),
        name: image.name.clone(),
        swr_path: image.swr_path.clone(),
        kind: BUILD_IN.to_owned(),
        description: Some(image.description.clone()),
        tag: Some(image.tag.clone()),
        ..wire::Image::default()
    }
}

/// The kind of every image that this server has.
pub(crate) const BUILD_IN: &str = "BUILD_IN";
/// What every image of this server is meant for.
pub(crate) const SERVICE_TYPE: &str = "COMMON";

/// An image as lists show it.
pub(crate) fn image(image: &Image) -> wire::Image {
    wire::Image {
        namespace: Some(image.namespace.clone()),
        arch: Some(arch().to_owned()),
        dev_services: vec![NOTEBOOK.to_owned()],
        resource_categories: vec![CPU.to_owned(), GPU.to_owned()],
        service_type: Some(SERVICE_TYPE.to_owned()),
        status: Some("ACTIVE".to_owned()),
        size: image.size_bytes,
        show_name: Some(image.name.clone()),
        show_tag: Some(image.tag.clone()),
        workspace_id: Some("0".to_owned()),
        ..image_name(image)
    }
}

/// The kind of processor of a flavor without GPUs, and of one with.
pub(crate) const CPU: &str = "CPU";
pub(crate) const GPU: &str = "GPU";

/// The kind of processor of a flavor.
pub(crate) const fn category(flavor: &Flavor) -> &'static str {
    if flavor.gpus.is_some() { GPU } else { CPU }
}

/// The processor of the machine: its notebooks have no other. The contract's words are the compiler's.
pub(crate) const fn arch() -> &'static str {
    std::env::consts::ARCH
}

/// A flavor.
pub(crate) fn flavor(offered: &OfferedFlavor) -> wire::NotebookFlavor {
    let flavor = &offered.flavor;
    wire::NotebookFlavor {
        id: flavor.id.clone(),
        name: flavor.id.clone(),
        description: flavor.description.clone(),
        arch: arch().to_owned(),
        category: category(flavor).to_owned(),
        feature: NOTEBOOK.to_owned(),
        vcpus: flavor.vcpus(),
        memory: flavor.memory_kib(),
        free: flavor.free,
        sold_out: offered.sold_out,
        storages: ["EVS", "EFS"].map(str::to_owned).into(),
        billing: Some(wire::BillingInfo { code: flavor.id.clone(), unit_num: 1 }),
        gpu: flavor.gpus.as_ref().map(|gpus| gpu(gpus, offered.gpu_kind.as_ref())),
    }
}

fn gpu(gpus: &FlavorGpus, kind: Option<&GpuKind>) -> wire::GpuInfo {
    wire::GpuInfo {
        gpu: gpus.count.get().into(),
        gpu_memory: kind.map(|kind| gibibytes(kind.memory_bytes)),
        kind: kind.map(|kind| kind.name.clone()).or_else(|| gpus.kind.clone()),
    }
}

/// As products are called by their memory: a driver keeps a little of it for itself.
fn gibibytes(bytes: u64) -> String {
    format!("{}GiB", bytes.saturating_add(1 << 29) >> 30)
}

/// A flavor as clusters show it, where memory is a text.
pub(crate) fn cluster_flavor(offered: &OfferedFlavor) -> wire::ClusterFlavor {
    let shown = flavor(offered);
    wire::ClusterFlavor {
        id: shown.id,
        name: shown.name,
        description: shown.description,
        arch: shown.arch,
        category: shown.category,
        feature: shown.feature,
        vcpus: shown.vcpus,
        memory: shown.memory.to_string(),
        free: shown.free,
        sold_out: shown.sold_out,
        storages: shown.storages,
        billing: shown.billing,
        gpu: shown.gpu,
    }
}
