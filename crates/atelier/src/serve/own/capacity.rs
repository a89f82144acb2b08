//! What the machine has, what of it is promised and held, and why a flavor is sold out: for what pools leave of it, and for
//! each pool.

use atelier_core::Refusal;
use atelier_core::flavor::{Capacity, Flavor, Held};
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
    let (_, host) = own.engine.room().await.map_err(|error| {
        tracing::error!("{error}");
        call.refused()(Refusal::internal())
    })?;
    let available = own.engine.runtime().memory_available().await.ok();
    let floor = host.memory_bytes / 10;
    let offers = own.engine.offers().await.map_err(call.refused())?;
    let is_short = available.is_some_and(|bytes| bytes < floor);
    let (mut of_public, mut pools) = (Map::new(), Vec::new());
    for offer in &offers {
        let mut shown = share(offer, is_short);
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
        "memory_available_bytes": available,
        "memory_floor_bytes": floor,
        "pools": pools,
    });
    answer.as_object_mut().into_iter().for_each(|answer| answer.append(&mut of_public));
    Ok(Json(answer))
}

/// What notebooks of one share may hold, and do.
fn share(offer: &Offer, is_short: bool) -> Map<String, Value> {
    let room = Room { share: offer.capacity, held: offer.held, is_short };
    let pair = |cpu_millis: u64, memory_bytes: u64| json!({"cpu_millis": cpu_millis, "memory_bytes": memory_bytes});
    let flavor = |offered: &OfferedFlavor| {
        json!({
            "id": offered.flavor.id,
            "room_for": room.for_flavor(&offered.flavor),
            "sold_out": offered.sold_out,
            "why": room.why(&offered.flavor),
        })
    };
    let (cpu, memory) = (room.cpu(), room.memory());
    let members = [
        ("share", pair(offer.capacity.cpu_millis, offer.capacity.memory_bytes)),
        ("promised", pair(cpu, memory)),
        ("held", pair(offer.held.cpu_millis, offer.held.memory_bytes)),
        ("free", pair(cpu.saturating_sub(offer.held.cpu_millis), memory.saturating_sub(offer.held.memory_bytes))),
        ("flavors", offer.flavors.iter().map(flavor).collect()),
    ];
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

struct Room {
    share: Capacity,
    held: Held,
    /// Less than a tenth of the machine's memory is available.
    is_short: bool,
}

impl Room {
    fn cpu(&self) -> u64 {
        self.share.cpu_millis * u64::from(self.share.cpu_overcommit)
    }

    fn memory(&self) -> u64 {
        self.share.memory_bytes * u64::from(self.share.memory_overcommit)
    }

    /// How many more notebooks of this flavor there is room for now.
    fn for_flavor(&self, flavor: &Flavor) -> u64 {
        if self.is_short || self.share.is_too_small_for(flavor) {
            return 0;
        }
        let cpu = self.cpu().saturating_sub(self.held.cpu_millis).checked_div(flavor.cpu_millis.into());
        let memory = self.memory().saturating_sub(self.held.memory_bytes).checked_div(flavor.memory_bytes());
        cpu.unwrap_or(u64::MAX).min(memory.unwrap_or(u64::MAX))
    }

    /// Why there is room for none.
    fn why(&self, flavor: &Flavor) -> Option<&'static str> {
        if self.share.is_too_small_for(flavor) {
            Some("the machine, or the share of it, is smaller than this flavor")
        } else if self.is_short {
            Some("less than a tenth of the machine's memory is available")
        } else if self.held.cpu_millis + u64::from(flavor.cpu_millis) > self.cpu() {
            Some("every CPU that may be promised is")
        } else if self.held.memory_bytes + flavor.memory_bytes() > self.memory() {
            Some("all memory that may be promised is")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(cpu_held: u64, memory_held: u64, is_short: bool) -> Room {
        let share = Capacity { cpu_millis: 2000, memory_bytes: 16 << 30, cpu_overcommit: 2, memory_overcommit: 1 };
        let held = Held { cpu_millis: cpu_held, memory_bytes: memory_held };
        Room { share, held, is_short }
    }

    #[test]
    fn a_flavor_without_room_says_why_and_agrees_with_the_capacity() {
        let [two, eight, _, small] = &Flavor::defaults()[..] else { panic!("other flavors") };
        for (room, flavor, many, why) in [
            (room(0, 0, false), two, 2, None),
            (room(0, 0, false), eight, 0, Some("smaller")),
            (room(0, 0, true), two, 0, Some("tenth")),
            (room(3000, 0, false), two, 0, Some("CPU")),
            (room(3000, 0, false), small, 2, None),
            (room(0, 16 << 30, false), small, 0, Some("memory")),
        ] {
            assert_eq!(room.for_flavor(flavor), many, "{}", flavor.id);
            let said = room.why(flavor);
            assert!(said.is_some() == why.is_some() && said.unwrap_or("").contains(why.unwrap_or("")), "{said:?}");
            assert_eq!(said.is_none(), room.share.fits(room.held, flavor) && !room.is_short);
        }
    }
}
