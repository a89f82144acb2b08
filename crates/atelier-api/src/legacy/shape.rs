//! Notebooks in the shapes of the legacy API.

use std::collections::BTreeMap;

use atelier_core::Timestamp;
use atelier_core::lease::{Grant, Lease};
use atelier_core::notebook::Notebook;
use atelier_core::pool::InPool;
use atelier_core::refusal::Code;
use atelier_core::status::Status;
use atelier_core::volume::MOUNT_PATH;
use atelier_engine::Offer;
use atelier_wire::legacy as wire;

use crate::legacy::profiles::{self, Profile};
use crate::legacy::{create, instance_id, list, status};
use crate::{NotebookAddress, shape};

/// What answers are made with, beside the notebook itself.
pub(crate) struct Surroundings<'a> {
    pub(crate) address: &'a NotebookAddress,
    pub(crate) profiles: &'a [Profile],
    /// What is on offer in the shares of the machine that the notebooks are in, and perhaps in others.
    pub(crate) offers: &'a [Offer],
    pub(crate) now: Timestamp,
}

/// A notebook as an instance.
pub(crate) fn instance(notebook: &Notebook, with: &Surroundings<'_>) -> wire::LegacyInstance {
    let profile_id = notebook.legacy.profile_id.as_deref();
    wire::LegacyInstance {
        id: instance_id(notebook.id),
        name: notebook.name.clone(),
        description: notebook.description.clone(),
        status: status::word(notebook.status()).to_owned(),
        creation_timestamp: notebook.create_at.as_millis().to_string(),
        latest_update_timestamp: notebook.update_at.as_millis().to_string(),
        profile: profiles::shown(with.profiles, profile_id, &notebook.image, &notebook.flavor),
        flavor: notebook.flavor.id.clone(),
        flavor_details: Some(flavor(notebook, with.offers)),
        spec: wire::LegacyNotebookSpec {
            storage: storage(notebook),
            extend_storage: None,
            auto_stop: auto_stop(notebook, with.now),
            annotations: annotations(notebook, with.address),
            failed_reasons: failed_reasons(notebook),
            extend_params: None,
            repository: None,
        },
        pool: notebook.pool.as_ref().map(pool),
        workspace: wire::LegacyRef { id: notebook.workspace_id.clone() },
        ai_project: Some(wire::LegacyRef { id: list::AI_PROJECT.to_owned() }),
        user: wire::LegacyUser { id: notebook.owner.user_id.to_string(), name: notebook.owner.user_name.clone() },
    }
}

fn pool(pool: &InPool) -> wire::LegacyPool {
    let (id, name) = (pool.id.clone(), Some(pool.name.clone()));
    wire::LegacyPool { id, name, kind: Some(create::USER_DEFINED.to_owned()) }
}

/// A flavor that its share of the machine no longer offers can be started no more: it is sold out.
fn flavor(notebook: &Notebook, offers: &[Offer]) -> wire::LegacyFlavorDetails {
    let flavor = &notebook.flavor;
    let on_sale = offers.iter().any(|offer| offer.is_of(notebook) && offer.sells(flavor));
    wire::LegacyFlavorDetails {
        name: flavor.id.clone(),
        status: if on_sale { "onSale" } else { "soldOut" }.to_owned(),
        kind: shape::category(flavor).to_owned(),
        // What this API can make.
        storage_list: vec![EVS.to_owned()],
        is_permitted: true,
        params: [("CPU".to_owned(), flavor.vcpus().into()), ("memory".to_owned(), memory(flavor.memory_mib).into())]
            .into(),
        promo_type: if flavor.free { "Free" } else { "NoDiscount" }.to_owned(),
        store_time: -1,
        billing_flavor: flavor.id.clone(),
        billing_params: 1,
    }
}

fn memory(mib: u64) -> String {
    if mib.is_multiple_of(1024) { format!("{}GiB", mib / 1024) } else { format!("{mib}MiB") }
}

const EVS: &str = "evs";

fn storage(notebook: &Notebook) -> wire::LegacyStorage {
    let location = wire::LegacyLocation {
        path: Some(MOUNT_PATH.trim_end_matches('/').to_owned()),
        volume_size: notebook.volume.capacity_gib(),
        volume_unit: Some("GB".to_owned()),
    };
    wire::LegacyStorage { kind: notebook.volume.category().to_lowercase(), location: Some(location) }
}

/// Whether and how long are those of the next start; when and how soon are those of the present run.
fn auto_stop(notebook: &Notebook, now: Timestamp) -> wire::LegacyAutoStop {
    let duration = match notebook.start_terms().grant {
        Grant::Never => None,
        Grant::Millis(ms) => Some(ms / 1000),
    };
    let runs = matches!(notebook.status(), Status::Running | Status::Snapshotting);
    let lease = Some(notebook.lease).filter(|_| runs);
    wire::LegacyAutoStop {
        enable: duration.is_some(),
        duration,
        prompt: notebook.legacy.prompt,
        stop_timestamp: lease.and_then(Lease::expiry).map(Timestamp::as_millis),
        remain_time: lease.and_then(|lease| lease.remaining_ms(now)).map(|ms| ms / 1000),
    }
}

/// Where it opens, with the token of `ShowDevEnvironInstanceToken`.
fn annotations(notebook: &Notebook, address: &NotebookAddress) -> Option<BTreeMap<String, String>> {
    let url = notebook.ever_ran.then(|| address.url_of(notebook.id))?;
    let target_domain = url.trim_end_matches("/lab").to_owned();
    Some([("target_domain".to_owned(), target_domain), ("url".to_owned(), url)].into())
}

fn failed_reasons(notebook: &Notebook) -> Option<wire::LegacyFailedReasons> {
    let message = notebook.fail_reason.clone().filter(|_| notebook.status().is_failed())?;
    Some(wire::LegacyFailedReasons { code: Code::InternalFault.as_str().to_owned(), message, detail: BTreeMap::new() })
}
