//! Room on the disk: what is refused before the disk is full.
//!
//! A notebook's volume and its own layer are sparse files on the disk of the store: they take room while people work,
//! long after a creation was accepted. So a part of the disk is kept back. Below it nothing is begun that needs more
//! (a creation, a start), while everything that gives room back, or needs next to none, goes on: stop, delete, renew.

use atelier_core::refusal::{Code, Refusal};

use crate::Engine;
use crate::write::hidden;

const MIB: u64 = 1024 * 1024;

const AFTER_REBOOT: &str = "the machine was rebooted, and the data disk is too full to write what follows from it: nothing is \
    created or started until notebooks are deleted or the disk is enlarged";

impl Engine {
    /// What is wrong with the disk as far as new work is concerned, as a sentence for people; `None` when it has room,
    /// or when nobody can say.
    pub async fn shortage(&self) -> Option<String> {
        if self.inner.aftermath.is_pending() {
            return Some(AFTER_REBOOT.into());
        }
        match self.inner.store.room().await {
            Ok(room) => room.and_then(|room| shortage(&room, self.inner.config.disk_reserve_bytes)),
            Err(error) => {
                tracing::warn!("the room on the data disk is not known: {error}");
                None
            }
        }
    }

    /// That the disk has less room than is kept back, for people; `None` also when nobody can say.
    pub(crate) async fn lacks_room(&self) -> Option<String> {
        let room = self.inner.store.room().await.ok().flatten()?;
        fullness(&room, self.inner.config.disk_reserve_bytes)
    }

    /// Refuses with `code` while the disk has less room than is kept back.
    pub(crate) async fn needs_room(&self, code: Code) -> Result<(), Refusal> {
        if self.inner.aftermath.is_pending() {
            return Err(Refusal::new(code, AFTER_REBOOT));
        }
        let room = self.inner.store.room().await.map_err(|e| hidden(&e))?;
        match room.and_then(|room| shortage(&room, self.inner.config.disk_reserve_bytes)) {
            None => Ok(()),
            Some(why) => Err(Refusal::new(code, why)),
        }
    }
}

fn shortage(room: &atelier_store::Room, reserve: u64) -> Option<String> {
    let full = fullness(room, reserve)?;
    Some(format!("{full}; nothing is created or started until notebooks are deleted or the disk is enlarged"))
}

/// The fact alone.
fn fullness(room: &atelier_store::Room, reserve: u64) -> Option<String> {
    (room.free_bytes < reserve).then(|| {
        let (left, kept) = (room.free_bytes / MIB, reserve / MIB);
        format!(
            "the data disk is nearly full: {left} MiB are left, and {kept} MiB are kept back (`server.disk_reserve_mib`)"
        )
    })
}

#[cfg(test)]
mod tests {
    use atelier_store::Room;

    use super::*;

    #[test]
    fn the_reserve_itself_is_room_enough() {
        let room = |free_bytes| Room { path: "/d".into(), free_bytes };
        assert_eq!(shortage(&room(10 * MIB), 10 * MIB), None);
        assert_eq!(shortage(&room(0), 0), None);
        let why = shortage(&room(10 * MIB - 1), 10 * MIB).unwrap();
        assert!(why.contains("9 MiB are left") && why.contains("10 MiB are kept back"), "{why}");
    }
}
