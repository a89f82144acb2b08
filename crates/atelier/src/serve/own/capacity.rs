//! What the machine has, what of it is promised and held, and why a flavor is sold out.

use atelier_core::Refusal;
use atelier_core::flavor::{Capacity, Flavor, Held};
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::Own;
use super::call::{Call, Refused};

pub(super) fn routes() -> Router<Own> {
    Router::new().route("/atelier/v1/{project_id}/capacity", get(capacity))
}

async fn capacity(State(own): State<Own>, call: Call) -> Result<Json<Value>, Refused> {
    call.administrator()?;
    let (held, host) = own.engine.room().await.map_err(|error| {
        tracing::error!("{error}");
        call.refused()(Refusal::internal())
    })?;
    let available = own.engine.runtime().memory_available().await.ok();
    let flavors = own.engine.flavors().await.map_err(call.refused())?;
    let room = Room { host, held, available };
    Ok(Json(json!({
        "machine": {"cpu_millis": host.cpu_millis, "memory_bytes": host.memory_bytes},
        "overcommit": {"cpu": host.cpu_overcommit, "memory": host.memory_overcommit},
        "promised": {"cpu_millis": room.cpu(), "memory_bytes": room.memory()},
        "held": {"cpu_millis": held.cpu_millis, "memory_bytes": held.memory_bytes},
        "free": {
            "cpu_millis": room.cpu().saturating_sub(held.cpu_millis),
            "memory_bytes": room.memory().saturating_sub(held.memory_bytes),
        },
        "memory_available_bytes": available,
        "memory_floor_bytes": host.memory_bytes / 10,
        "flavors": flavors.iter().map(|offered| json!({
            "id": offered.flavor.id,
            "room_for": room.for_flavor(&offered.flavor),
            "sold_out": offered.sold_out,
            "why": room.why(&offered.flavor),
        })).collect::<Vec<_>>(),
    })))
}

struct Room {
    host: Capacity,
    held: Held,
    available: Option<u64>,
}

impl Room {
    fn cpu(&self) -> u64 {
        self.host.cpu_millis * u64::from(self.host.cpu_overcommit)
    }

    fn memory(&self) -> u64 {
        self.host.memory_bytes * u64::from(self.host.memory_overcommit)
    }

    fn is_short(&self) -> bool {
        self.available.is_some_and(|bytes| bytes < self.host.memory_bytes / 10)
    }

    /// How many more notebooks of this flavor there is room for now.
    fn for_flavor(&self, flavor: &Flavor) -> u64 {
        if self.is_short() || self.host.is_too_small_for(flavor) {
            return 0;
        }
        let cpu = self.cpu().saturating_sub(self.held.cpu_millis).checked_div(flavor.cpu_millis.into());
        let memory = self.memory().saturating_sub(self.held.memory_bytes).checked_div(flavor.memory_bytes());
        cpu.unwrap_or(u64::MAX).min(memory.unwrap_or(u64::MAX))
    }

    /// Why there is room for none.
    fn why(&self, flavor: &Flavor) -> Option<&'static str> {
        if self.host.is_too_small_for(flavor) {
            Some("the machine is smaller than this flavor")
        } else if self.is_short() {
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

    fn room(cpu_held: u64, memory_held: u64, available: u64) -> Room {
        let host = Capacity { cpu_millis: 2000, memory_bytes: 16 << 30, cpu_overcommit: 2, memory_overcommit: 1 };
        let held = Held { cpu_millis: cpu_held, memory_bytes: memory_held };
        Room { host, held, available: Some(available) }
    }

    #[test]
    fn a_flavor_without_room_says_why_and_agrees_with_the_capacity() {
        let [two, eight, _, small] = &Flavor::defaults()[..] else { panic!("other flavors") };
        for (room, flavor, many, why) in [
            (room(0, 0, 9 << 30), two, 2, None),
            (room(0, 0, 9 << 30), eight, 0, Some("smaller")),
            (room(0, 0, 1 << 30), two, 0, Some("tenth")),
            (room(3000, 0, 9 << 30), two, 0, Some("CPU")),
            (room(3000, 0, 9 << 30), small, 2, None),
            (room(0, 16 << 30, 9 << 30), small, 0, Some("memory")),
        ] {
            assert_eq!(room.for_flavor(flavor), many, "{}", flavor.id);
            let said = room.why(flavor);
            assert!(said.is_some() == why.is_some() && said.unwrap_or("").contains(why.unwrap_or("")), "{said:?}");
            assert_eq!(said.is_none(), room.host.fits(room.held, flavor) && !room.is_short());
        }
    }
}
