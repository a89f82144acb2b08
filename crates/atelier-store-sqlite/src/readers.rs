//! The readers.
//!
//! A few read-only connections, each behind a lock of its own. sqlx's own pool is not used: it tests a connection and
//! starts a task whenever one is given back, which costs more than a read of one row does, and its timeouts follow the
//! clock of the tokio runtime, which tests may have stopped.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, SqliteConnection};
use tokio::sync::{Mutex, MutexGuard};

/// The read-only connections.
#[derive(Debug)]
pub(crate) struct Readers {
    connections: Vec<Mutex<SqliteConnection>>,
    turn: AtomicUsize,
}

impl Readers {
    /// Opens as many readers as the machine can use at once.
    pub(crate) async fn open(options: &SqliteConnectOptions) -> Result<Self, sqlx::Error> {
        let count = std::thread::available_parallelism().map_or(2, NonZero::get).clamp(2, 8);
        let mut connections = Vec::with_capacity(count);
        for _ in 0..count {
            connections.push(Mutex::new(options.connect().await?));
        }
        Ok(Self { connections, turn: AtomicUsize::new(0) })
    }

    /// A free reader, or a place in the queue of one.
    pub(crate) async fn get(&self) -> MutexGuard<'_, SqliteConnection> {
        if let Some(free) = self.connections.iter().find_map(|c| c.try_lock().ok()) {
            return free;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        self.connections[turn].lock().await
    }
}
