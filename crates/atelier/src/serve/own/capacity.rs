//! What the machine has, what of it is promised and held, and why a flavor is sold out: for what pools leave of it, and for
//! each pool.

use atelier_core::flavor::Flavor;
use atelier_core::gpu::{FlavorGpus, GpuKind};
use atelier_engine::{Offer, OfferedFlavor};
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Map, Value, json};

use super::Own;
use super::call::{Call, Refused};

pub(super) fn routes() -> Router<Own> {
    Router::new().route("/atelier/v1/{project_id}/capacity", get(capacity))
}

async fn capacity(State(own): State<Own>, call: Call) -> Result<Json<Value>, Refused> {
    call.administrator()?;
    let host = own.engine.capacity();
    let offers = own.engine.offers().await.map_err(call.refused())?;
    let (mut of_public, mut pools) = (Map::new(), Vec::new());
    for offer in &offers {
        let mut shown = share(offer);
        match &offer.pool {
            None => of_public = shown,
            Some(pool) => {
                shown.insert("id".to_owned(), json!(pool.id));
                shown.insert("name".to_owned(), json!(pool.name));
                pools.push(shown);
            }
        }
    }
    let mut answer = json!({
        "machine": {"cpu_millis": host.cpu_millis, "memory_bytes": host.memory_bytes},
        "overcommit": {"cpu": host.cpu_overcommit, "memory": host.memory_overcommit},
        "memory_available_bytes": own.engine.memory_available().await,
        "memory_floor_bytes": host.memory_floor(),
        "gpus": offers.first().map(gpus).unwrap_or_default(),
        "pools": pools,
    });
    answer.as_object_mut().into_iter().for_each(|answer| answer.append(&mut of_public));
    Ok(Json(answer))
}

/// The GPUs of the machine, which are not shared out: every offer tells the same.
fn gpus(offer: &Offer) -> Vec<Value> {
    let kind = |kind: &GpuKind| {
        let free = offer.gpus.free(&offer.held_gpus, Some(&kind.name));
        json!({"type": kind.name, "memory_bytes": kind.memory_bytes, "count": kind.count, "free": free})
    };
    offer.gpus.kinds().iter().map(kind).collect()
}

/// What notebooks of one share may hold, and do.
fn share(offer: &Offer) -> Map<String, Value> {
    let pair = |cpu_millis: u64, memory_bytes: u64| json!({"cpu_millis": cpu_millis, "memory_bytes": memory_bytes});
    let flavor = |offered: &OfferedFlavor| {
        json!({
            "id": offered.flavor.id,
            "room_for": room_for(offer, &offered.flavor),
            "sold_out": offered.sold_out,
            "why": why(offer, &offered.flavor),
        })
    };
    let (promised, free) = (offer.capacity.promised(), offer.capacity.free(offer.held));
    let members = [
        ("share", pair(offer.capacity.cpu_millis, offer.capacity.memory_bytes)),
        ("promised", pair(promised.cpu_millis, promised.memory_bytes)),
        ("held", pair(offer.held.cpu_millis, offer.held.memory_bytes)),
        ("free", pair(free.cpu_millis, free.memory_bytes)),
        ("flavors", offer.flavors.iter().map(flavor).collect()),
    ];
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// How many more notebooks of this flavor there is room for now.
fn room_for(offer: &Offer, flavor: &Flavor) -> u64 {
    if offer.short || offer.capacity.is_too_small_for(flavor) {
        return 0;
    }
    let free = offer.capacity.free(offer.held);
    let cpu = free.cpu_millis.checked_div(flavor.cpu_millis.into());
    let memory = free.memory_bytes.checked_div(flavor.memory_bytes());
    let gpus = flavor.gpus.as_ref().map(|gpus| free_gpus(offer, gpus) / gpus.count);
    [cpu, memory, gpus.map(u64::from)].into_iter().flatten().min().unwrap_or(u64::MAX)
}

fn free_gpus(offer: &Offer, wanted: &FlavorGpus) -> u32 {
    offer.gpus.free(&offer.held_gpus, wanted.kind.as_deref())
}

/// Why there is room for none.
fn why(offer: &Offer, flavor: &Flavor) -> Option<&'static str> {
    let free = offer.capacity.free(offer.held);
    if offer.capacity.is_too_small_for(flavor) {
        Some("the machine, or the share of it, is smaller than this flavor")
    } else if offer.short {
        Some("less than a tenth of the machine's memory is available")
    } else if u64::from(flavor.cpu_millis) > free.cpu_millis {
        Some("every CPU that may be promised is")
    } else if flavor.memory_bytes() > free.memory_bytes {
        Some("all memory that may be promised is")
    } else if offer.gpus.are_too_few_for(flavor.gpus.as_ref()) {
        Some("the machine has fewer GPUs of this kind")
    } else if !offer.gpus.fit(&offer.held_gpus, flavor.gpus.as_ref()) {
        Some("too few GPUs of this kind are free")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use atelier_core::flavor::{Capacity, Held};
    use atelier_core::gpu::{Gpus, HeldGpus};

    use super::*;

    fn offer(cpu_millis: u64, memory_bytes: u64, short: bool) -> Offer {
        let capacity = Capacity { cpu_millis: 2000, memory_bytes: 16 << 30, cpu_overcommit: 2, memory_overcommit: 1 };
        let held = Held { cpu_millis, memory_bytes };
        let gpus = Gpus::of([("A".to_owned(), 1), ("A".to_owned(), 1), ("B".to_owned(), 1)]);
        let held_gpus = HeldGpus::from_iter([(None, 1), (Some("B".to_owned()), 1)]);
        Offer { pool: None, capacity, held, gpus, held_gpus, flavors: Vec::new(), short }
    }

    #[test]
    fn a_flavor_without_room_says_why_and_agrees_with_the_capacity() {
        let [two, eight, _, small, _] = &Flavor::defaults()[..] else { panic!("other flavors") };
        let with = |count, kind| Flavor { gpus: FlavorGpus::of(count, kind), ..small.clone() };
        for (offer, flavor, many, word) in [
            (offer(0, 0, false), two, 2, None),
            (offer(0, 0, false), eight, 0, Some("smaller")),
            (offer(0, 0, true), two, 0, Some("tenth")),
            (offer(3000, 0, false), two, 0, Some("CPU")),
            (offer(3000, 0, false), small, 2, None),
            (offer(0, 16 << 30, false), small, 0, Some("memory")),
            (offer(0, 0, false), &with(1, None), 1, None),
            (offer(0, 0, false), &with(2, Some("A")), 0, Some("free")),
            (offer(0, 0, false), &with(1, Some("B")), 0, Some("free")),
            (offer(0, 0, false), &with(3, None), 0, Some("fewer")),
        ] {
            assert_eq!(room_for(&offer, flavor), many, "{}", flavor.id);
            let said = why(&offer, flavor);
            assert!(said.is_some() == word.is_some() && said.unwrap_or("").contains(word.unwrap_or("")), "{said:?}");
            assert_eq!(said.is_none(), offer.has_room_for(flavor));
        }
    }
}
