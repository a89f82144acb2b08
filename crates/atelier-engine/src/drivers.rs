//! Which notebooks are driven: one task for each at most, and a way to break off what it does.
//!
//! A task that ends in any way, also by a panic, gives its place up, so that another one can be started
//! ([`mod@crate::watchdog`]).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atelier_core::Timestamp;
use atelier_core::id::NotebookId;
use tokio_util::sync::CancellationToken;

/// The tasks that drive notebooks.
#[derive(Default)]
pub(crate) struct Drivers(Mutex<HashMap<NotebookId, Driver>>);

struct Driver {
    /// Since when it drives.
    since: Timestamp,
    /// Breaks off the step under way.
    interrupt: CancellationToken,
    /// Somebody wants the task to look again before it ends.
    again: bool,
}

impl Drivers {
    fn map(&self) -> MutexGuard<'_, HashMap<NotebookId, Driver>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of a new task; `None` when there is one, which will look again.
    pub(crate) fn enter(self: &Arc<Self>, id: NotebookId, since: Timestamp) -> Option<Place> {
        let mut map = self.map();
        if let Some(driver) = map.get_mut(&id) {
            driver.again = true;
            return None;
        }
        map.insert(id, Driver { since, interrupt: CancellationToken::new(), again: false });
        drop(map);
        Some(Place { drivers: Arc::clone(self), id, given_up: false })
    }

    /// Since when a task drives this notebook; `None` when none does.
    pub(crate) fn since(&self, id: NotebookId) -> Option<Timestamp> {
        self.map().get(&id).map(|driver| driver.since)
    }

    /// Breaks off the step under way.
    pub(crate) fn interrupt(&self, id: NotebookId) {
        if let Some(driver) = self.map().get(&id) {
            driver.interrupt.cancel();
        }
    }

    /// A fresh way to interrupt the operation that begins now.
    pub(crate) fn fresh_interrupt(&self, id: NotebookId) -> CancellationToken {
        let token = CancellationToken::new();
        if let Some(driver) = self.map().get_mut(&id) {
            driver.interrupt = token.clone();
        }
        token
    }
}

/// The place of a task that drives a notebook; free again when it is dropped.
pub(crate) struct Place {
    drivers: Arc<Drivers>,
    id: NotebookId,
    given_up: bool,
}

impl Place {
    /// True when the task may end, and then the place is free; false when it was asked to look again.
    pub(crate) fn leave(&mut self) -> bool {
        let mut map = self.drivers.map();
        if let Some(driver) = map.get_mut(&self.id)
            && driver.again
        {
            driver.again = false;
            return false;
        }
        map.remove(&self.id);
        self.given_up = true;
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A place that was given up may be another task's by now.
        if !self.given_up {
            self.drivers.map().remove(&self.id);
        }
    }
}
