//! The one writer.
//!
//! `SQLite` lets one connection write at a time. Instead of letting writers meet at its lock, every write of the process
//! is queued to one task that owns the one writing connection. A write is a *job*: a closure that gets the connection
//! inside a transaction and answers a value or an error.
//!
//! **Group commit.** Most of a durable write is the wait for the disk, and one wait serves any number of jobs. The
//! task therefore takes all jobs that queued up while it was busy, runs each in a savepoint of its own inside one
//! transaction, commits once, and only then answers them all:
//!
//! * A job that fails is rolled back to its savepoint; the others stay. (A job that is alone needs none.)
//! * A job sees what the jobs before it wrote, as if they had committed already.
//! * When the transaction itself fails (begin, savepoint or commit), *every* job of the group gets an error, also one
//!   that wrote nothing: what it read may never have been committed. The connection is then opened anew, so that no
//!   state of a half-failed transaction lives on.
//!
//! **A full disk** is such a failure: `SQLite` ends the transaction, nothing of it is kept, everybody in the group is told
//! ([`StoreError::Full`]), and the next group is tried as if nothing had happened. The log keeps some megabytes of the
//! disk for itself ([`Reserve`]), so that what frees space can still be written when others have filled it.
//!
//! A job must pass on the errors of its statements: `SQLite` may have rolled back the whole transaction, and a statement
//! after that would stand alone. The one exception is the error that a script ends itself with (`script`): it takes back
//! nothing, and a job that knows that nothing was written before it may go on.

use std::future::Future;
use std::pin::Pin;

use atelier_store::StoreError;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use crate::failed;
use crate::reserve::Reserve;

/// What a job does; boxed, because it borrows the connection.
pub(crate) type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'c>>;

/// Jobs that may wait before callers have to.
const QUEUE: usize = 1024;
/// Jobs that share one commit at most, so that the first of them does not wait for all the world.
const GROUP: usize = 128;

/// Savepoints by statements of our own: sqlx's are two meetings with the connection's thread each, and a trip there costs
/// more than what a job does. One trip keeps what a job has done and begins the next one.
const BEGIN_JOB: &str = "savepoint job";
const NEXT_JOB: &str = "release job; savepoint job";
/// The savepoint is still there afterwards, for the next job.
const UNDO_JOB: &str = "rollback to job";

/// The way to the writer.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Message>,
}

enum Message {
    Write(Box<dyn Job>),
    Close(oneshot::Sender<()>),
}

impl Writer {
    /// Starts the task that owns `connection`. It ends when the writer is closed or dropped.
    pub(crate) fn start(connection: SqliteConnection, options: SqliteConnectOptions, reserve: Reserve) -> Self {
        let (queue, messages) = mpsc::channel(QUEUE);
        tokio::spawn(Desk { connection: Some(connection), options, reserve }.serve(messages));
        Self { queue }
    }

    /// Runs `work` in a transaction; it is on disk when this answers `Ok`. `then` is shown the answer when it is on disk,
    /// before anybody else and in the order of the commits.
    ///
    /// A caller who stops waiting does not undo the work.
    pub(crate) async fn write_then<T, F, G>(&self, work: F, then: G) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static,
        G: FnOnce(&T) + Send + 'static,
    {
        let (answer, outcome) = oneshot::channel();
        let job = Pending { work: Some(work), then, outcome: None, answer };
        self.queue.send(Message::Write(Box::new(job))).await.map_err(|_| closed())?;
        outcome.await.map_err(|_| closed())?
    }

    /// Lets the queued jobs end, folds the log into the database file and closes the connection.
    pub(crate) async fn close(&self) {
        let (answer, done) = oneshot::channel();
        if self.queue.send(Message::Close(answer)).await.is_ok() {
            let _ = done.await;
        }
    }
}

fn closed() -> StoreError {
    StoreError::Engine("the store is closed".into())
}

/// A job of any answer.
trait Job: Send {
    /// Does the work; `true` when its writes are to be kept.
    fn run<'c>(&'c mut self, connection: &'c mut SqliteConnection) -> Pin<Box<dyn Future<Output = bool> + Send + 'c>>;

    /// What the work itself failed with.
    fn trouble(&self) -> Option<&StoreError>;

    /// Answers, once the fate of the transaction is known.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Pending<T, F, G> {
    work: Option<F>,
    then: G,
    outcome: Option<Result<T, StoreError>>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F, G> Job for Pending<T, F, G>
where
    T: Send + 'static,
    F: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static,
    G: FnOnce(&T) + Send + 'static,
{
    fn run<'c>(&'c mut self, connection: &'c mut SqliteConnection) -> Pin<Box<dyn Future<Output = bool> + Send + 'c>> {
        Box::pin(async move {
            if let Some(work) = self.work.take() {
                self.outcome = Some(work(connection).await);
            }
            matches!(self.outcome, Some(Ok(_)))
        })
    }

    fn trouble(&self) -> Option<&StoreError> {
        self.outcome.as_ref().and_then(|outcome| outcome.as_ref().err())
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let answer = match (self.outcome, committed) {
            (Some(Err(own)), _) => Err(own),
            (_, Err(shared)) => Err(shared),
            (Some(Ok(value)), Ok(())) => {
                (self.then)(&value);
                Ok(value)
            }
            (None, Ok(())) => Err(closed()),
        };
        // Whoever asked may have stopped waiting; what was written stays written.
        let _ = self.answer.send(answer);
    }
}

/// Where the jobs are done.
struct Desk {
    connection: Option<SqliteConnection>,
    options: SqliteConnectOptions,
    reserve: Reserve,
}

impl Desk {
    async fn serve(mut self, mut messages: mpsc::Receiver<Message>) {
        let mut waiting = Vec::with_capacity(GROUP);
        let mut closing = Vec::new();
        while messages.recv_many(&mut waiting, GROUP).await > 0 {
            let mut jobs = Vec::with_capacity(waiting.len());
            for message in waiting.drain(..) {
                match message {
                    Message::Write(job) => jobs.push(job),
                    Message::Close(answer) => {
                        messages.close();
                        closing.push(answer);
                    }
                }
            }
            self.serve_group(jobs).await;
        }
        self.leave().await;
        for answer in closing {
            let _ = answer.send(());
        }
    }

    async fn serve_group(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        if jobs.is_empty() {
            return;
        }
        let committed = self.run_group(&mut jobs).await.map_err(|error| cause(&jobs, failed(error)));
        match &committed {
            Ok(()) => self.reserve.keep(),
            Err(error) => {
                tracing::error!(%error, jobs = jobs.len(), "a transaction failed");
                self.forget_connection().await;
            }
        }
        for job in jobs {
            job.answer(committed.clone());
        }
    }

    async fn run_group(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), sqlx::Error> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            empty => empty.insert(self.options.connect().await?),
        };
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        if let [only] = jobs {
            return if only.run(&mut transaction).await {
                transaction.commit().await
            } else {
                transaction.rollback().await
            };
        }
        let mut next = BEGIN_JOB;
        for job in jobs {
            sqlx::query(next).execute(&mut *transaction).await?;
            next = if job.run(&mut transaction).await { NEXT_JOB } else { UNDO_JOB };
        }
        if next == UNDO_JOB {
            sqlx::query(UNDO_JOB).execute(&mut *transaction).await?;
        }
        // Which keeps the last job's savepoint too.
        transaction.commit().await
    }

    async fn forget_connection(&mut self) {
        if let Some(connection) = self.connection.take() {
            let _ = connection.close().await;
        }
    }

    /// Without this the next start would find the last changes in the log and take them over from there; nothing
    /// would be lost, but a copy of the database file alone would be old.
    async fn leave(mut self) {
        if let Some(connection) = &mut self.connection {
            let folded = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut *connection).await;
            if let Err(error) = folded.map_err(failed) {
                tracing::warn!(%error, "the log could not be folded into the database file");
            }
            self.reserve.keep_again();
        }
        self.forget_connection().await;
    }
}

/// What to tell everybody in a group. When the disk is full in the middle of a job, `SQLite` ends the transaction, and the
/// group fails for want of it: the job knows the cause.
fn cause(jobs: &[Box<dyn Job>], error: StoreError) -> StoreError {
    let of_the_disk = |error: &&StoreError| matches!(error, StoreError::Full(_) | StoreError::Disk(_));
    jobs.iter().filter_map(|job| job.trouble()).find(of_the_disk).cloned().unwrap_or(error)
}

#[cfg(test)]
mod tests {
    //! What one test queues before it first waits is one group: the writer runs on the test's own thread.

    use std::sync::Arc;

    use super::*;
    use crate::{Sealer, SqliteStore};

    struct Zeros;

    impl atelier_core::Entropy for Zeros {
        fn fill(&self, out: &mut [u8]) {
            out.fill(0);
        }
    }

    async fn store() -> (SqliteStore, tempfile::TempDir) {
        let folder = tempfile::TempDir::new().unwrap();
        let sealer = Sealer::new(&[1; 32], Arc::new(Zeros));
        (SqliteStore::open(&folder.path().join("atelier.db"), sealer).await.unwrap(), folder)
    }

    async fn statement(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), StoreError> {
        sqlx::query(sql).execute(connection).await.map(drop).map_err(failed)
    }

    async fn write(store: &SqliteStore, sql: &'static [&'static str]) -> Result<(), StoreError> {
        store
            .write(move |connection| {
                Box::pin(async move {
                    for sql in sql {
                        statement(connection, sql).await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    async fn names(store: &SqliteStore) -> Vec<String> {
        let sql = "select name from meta where name like 'test-%' order by name";
        sqlx::query_scalar(sql).fetch_all(&mut *store.reader().await).await.unwrap()
    }

    const ONE: &str = "insert into meta values ('test-1', x'00')";
    const TWO: &str = "insert into meta values ('test-2', x'00')";
    const THREE: &str = "insert into meta values ('test-3', x'00')";

    #[tokio::test]
    async fn a_job_that_fails_is_undone_alone() {
        let (store, _folder) = store().await;
        let (one, two, three) = tokio::join!(
            write(&store, &[ONE]),
            write(&store, &[TWO, "insert into nowhere values (1)"]),
            write(&store, &[THREE]),
        );
        one.and(three).unwrap();
        assert!(two.unwrap_err().to_string().contains("nowhere"));
        assert_eq!(names(&store).await, ["test-1", "test-3"]);
    }

    #[tokio::test]
    async fn a_job_sees_what_the_jobs_before_it_wrote() {
        let (store, _folder) = store().await;
        let (one, again) = tokio::join!(write(&store, &[ONE]), write(&store, &[ONE]));
        one.unwrap();
        assert!(again.unwrap_err().to_string().contains("meta.name"), "the second meets the first");
        assert_eq!(names(&store).await, ["test-1"]);
    }

    /// `SQLite` ends the whole transaction by itself when a disk is full, for instance. Nobody in the group may then be
    /// told that a write is kept, and the next group finds a sound connection.
    #[tokio::test]
    async fn when_the_transaction_is_gone_everybody_is_told_and_the_writer_goes_on() {
        let (store, _folder) = store().await;
        let (one, two, three) =
            tokio::join!(write(&store, &[ONE]), write(&store, &["rollback"]), write(&store, &[THREE]),);
        for outcome in [one, two, three] {
            outcome.unwrap_err();
        }
        assert_eq!(names(&store).await, [""; 0]);
        write(&store, &[TWO]).await.unwrap();
        assert_eq!(names(&store).await, ["test-2"]);
    }

    /// As on a full disk, which `SQLite` tells of in the same way: all of the group learn the cause, nothing is kept, and
    /// the writer goes on when there is room.
    #[tokio::test]
    async fn a_lack_of_room_is_named_to_the_whole_group_and_passes() {
        const LARGE: &str = "insert into meta values ('test-large', zeroblob(1000000))";
        let (store, _folder) = store().await;
        write(&store, &["pragma max_page_count = 1"]).await.unwrap();
        let (one, two, three) = tokio::join!(write(&store, &[ONE]), write(&store, &[LARGE]), write(&store, &[THREE]));
        for outcome in [one, two, three] {
            assert!(matches!(outcome, Err(StoreError::Full(_))), "{outcome:?}");
        }
        assert_eq!(names(&store).await, [""; 0]);
        // The limit was that of the connection, which the writer has given up.
        write(&store, &[TWO, LARGE]).await.unwrap();
        assert_eq!(names(&store).await, ["test-2", "test-large"]);
    }

    #[tokio::test]
    async fn what_follows_a_commit_happens_before_its_answer_and_not_without_it() {
        let (store, _folder) = store().await;
        let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
        let put = |name: &'static str, sql: &'static str| {
            let seen = seen.clone();
            store.writer.write_then(
                move |connection| Box::pin(async move { statement(connection, sql).await.map(|()| name) }),
                move |name| seen.lock().unwrap().push(*name),
            )
        };
        let (one, two, three) =
            tokio::join!(put("one", ONE), put("two", "insert into nowhere values (1)"), put("three", THREE));
        assert!(one.is_ok() && two.is_err() && three.is_ok());
        assert_eq!(*seen.lock().unwrap(), ["one", "three"]);
        let (four, gone) = tokio::join!(put("four", TWO), put("gone", "rollback"));
        assert!(four.is_err() && gone.is_err());
        assert_eq!(*seen.lock().unwrap(), ["one", "three"]);
    }

    #[tokio::test]
    async fn closing_lets_queued_jobs_end() {
        let (store, _folder) = store().await;
        let (one, ()) = tokio::join!(write(&store, &[ONE]), store.close());
        one.unwrap();
        assert_eq!(names(&store).await, ["test-1"]);
    }
}
