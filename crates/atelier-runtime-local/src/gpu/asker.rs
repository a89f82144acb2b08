//! The thread that asks the driver of the GPUs, and what it was told last.
//!
//! A driver that is sick may not answer for minutes. So one thread of its own does all the asking, and nobody waits for it
//! longer than they like to. However many want to know something, at most one look and one other question are under way:
//! who comes meanwhile waits for the same look, or in turn, and no crowd gathers that a driver has to answer when it is well
//! again, and nobody waits for any more.
//!
//! A look is good for some seconds. After that it is history: who wants to know waits for another one, so that what was
//! plugged in, lost or installed meanwhile is found without a restart.

use std::io;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use atelier_runtime::GpuUsage;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::{Found, NoGpus};

/// How long a look is good for.
const FRESH: Duration = Duration::from_secs(10);
/// How long an answer is waited for by who can do without.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// What a look came to.
pub(super) type Outcome = Result<Found, NoGpus>;

/// Who can be asked, however long it takes.
pub(super) trait Driver: Send + 'static {
    fn look(&mut self) -> Outcome;

    /// What goes on in the GPU of this id; `None` where nothing is said.
    fn usage(&mut self, id: &str) -> Option<GpuUsage>;
}

enum Question {
    Look,
    /// What goes on in the GPUs of these ids. The next one is asked when the permit is given back.
    Usage(Vec<String>, oneshot::Sender<Vec<GpuUsage>>, OwnedSemaphorePermit),
}

/// What was found so far.
#[derive(Debug, Default)]
struct Latest {
    /// How many looks have ended.
    looks: u64,
    /// What the last one came to.
    outcome: Option<Outcome>,
}

/// The last look that was asked for.
#[derive(Debug)]
struct Asked {
    /// How many there were up to it.
    looks: u64,
    at: Instant,
}

/// Who asks.
#[derive(Debug)]
pub(super) struct Asker {
    questions: mpsc::Sender<Question>,
    latest: watch::Receiver<Latest>,
    asked: Mutex<Asked>,
    usage: Arc<Semaphore>,
    fresh: Duration,
}

impl Asker {
    /// Begins with a look.
    pub(super) fn open(driver: impl Driver) -> io::Result<Self> {
        let (questions, heard) = mpsc::channel();
        let (tell, latest) = watch::channel(Latest::default());
        std::thread::Builder::new().name("nvml".into()).spawn(move || answer(driver, &heard, &tell))?;
        let first = Asked { looks: 1, at: Instant::now() };
        let usage = Arc::new(Semaphore::new(1));
        let new = Self { questions, latest, asked: Mutex::new(first), usage, fresh: FRESH };
        new.ask(Question::Look);
        Ok(new)
    }

    /// When nobody asks any more, whoever waits is told so by the end of the channel that the answer comes through.
    fn ask(&self, question: Question) {
        let _ = self.questions.send(question);
    }

    /// What there is now, by a look that is not old; what there was before, where the driver does not say it within
    /// `limit`.
    pub(super) async fn known(&self, limit: Duration) -> Outcome {
        let late = self.looked(limit).await;
        self.last().unwrap_or_else(|| late.and(Err(silent())))
    }

    /// What there is now, and nothing older: an error where the driver does not say it within `limit`.
    pub(super) async fn now(&self, limit: Duration) -> Outcome {
        self.looked(limit).await?;
        self.last().unwrap_or_else(|| Err(silent()))
    }

    fn last(&self) -> Option<Outcome> {
        self.latest.borrow().outcome.clone()
    }

    /// Returns when there was a look that is not old. `limit` counts from when that look was asked for: for a driver that
    /// hangs, each waits less than the one before, and in the end nobody does.
    async fn looked(&self, limit: Duration) -> Result<(), NoGpus> {
        let Some(Asked { looks, at }) = self.under_way() else { return Ok(()) };
        let mut latest = self.latest.clone();
        let ended = latest.wait_for(|latest| latest.looks >= looks);
        match tokio::time::timeout_at((at + limit).into(), ended).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(silent()),
        }
    }

    /// The look that is under way, which is another one if the last was long ago; `None` when that was not.
    fn under_way(&self) -> Option<Asked> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if self.latest.borrow().looks == asked.looks {
            if asked.at.elapsed() < self.fresh {
                return None;
            }
            *asked = Asked { looks: asked.looks + 1, at: Instant::now() };
            self.ask(Question::Look);
        }
        Some(Asked { ..*asked })
    }

    /// What goes on in the GPUs of these ids; nothing is known where the driver does not say it within `limit`.
    pub(super) async fn usage(&self, ids: Vec<String>, limit: Duration) -> Vec<GpuUsage> {
        let nothing = ids.iter().map(|id| unknown(id)).collect();
        let answered = async {
            let permit = Arc::clone(&self.usage).acquire_owned().await.ok()?;
            let (answer, answered) = oneshot::channel();
            self.ask(Question::Usage(ids, answer, permit));
            answered.await.ok()
        };
        tokio::time::timeout(limit, answered).await.ok().flatten().unwrap_or(nothing)
    }
}

fn silent() -> NoGpus {
    NoGpus::Trouble("the driver of the GPUs does not answer".into())
}

fn unknown(id: &str) -> GpuUsage {
    GpuUsage { kind: id.to_owned(), busy_percent: None, memory_used: None, memory: None }
}

/// Answers until nobody can ask any more. What a look came to is written into the log when it is something else than before.
fn answer(mut driver: impl Driver, asked: &mpsc::Receiver<Question>, tell: &watch::Sender<Latest>) {
    while let Ok(question) = asked.recv() {
        match question {
            Question::Look => {
                let outcome = driver.look();
                if tell.borrow().outcome.as_ref() != Some(&outcome) {
                    log(&outcome);
                }
                tell.send_modify(|latest| *latest = Latest { looks: latest.looks + 1, outcome: Some(outcome) });
            }
            Question::Usage(ids, answer, _permit) => {
                let used = ids.iter().map(|id| driver.usage(id).unwrap_or_else(|| unknown(id)));
                let _ = answer.send(used.collect());
            }
        }
    }
}

fn log(outcome: &Outcome) {
    match outcome {
        Ok(found) => {
            let names: Vec<_> = found.gpus.iter().map(|gpu| format!("{} ({})", gpu.name, gpu.uuid)).collect();
            tracing::info!("{} GPUs, driver {}: {}", found.gpus.len(), found.version, names.join(", "));
            found.left_out.iter().for_each(|why| tracing::warn!("{why}"));
            if let Err(e) = &found.driver {
                tracing::warn!("notebooks cannot be given GPUs: {e}");
            }
        }
        Err(NoGpus::NoDriver(why)) => tracing::info!("no GPUs: {why}"),
        Err(NoGpus::Trouble(why)) => tracing::warn!("no GPUs: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A driver that is well as long as it is told what to say, and hangs otherwise.
    struct Told(mpsc::Receiver<&'static str>, mpsc::Sender<&'static str>);

    impl Told {
        fn says(&self, question: &'static str) -> Result<&'static str, NoGpus> {
            let _ = self.1.send(question);
            self.0.recv().map_err(|_| NoGpus::NoDriver("told no more".into()))
        }
    }

    impl Driver for Told {
        fn look(&mut self) -> Outcome {
            let version = self.says("look")?.to_owned();
            Ok(Found { version, gpus: Vec::new(), left_out: Vec::new(), driver: Err("no files".into()) })
        }

        fn usage(&mut self, _: &str) -> Option<GpuUsage> {
            self.says("usage").ok().map(unknown)
        }
    }

    /// One who asks such a driver, and for whom every look is old; what the driver is to say, and what it was asked.
    fn asker() -> (Asker, mpsc::Sender<&'static str>, mpsc::Receiver<&'static str>) {
        let ((say, told), (tell, questions)) = (mpsc::channel(), mpsc::channel());
        (Asker { fresh: Duration::ZERO, ..Asker::open(Told(told, tell)).unwrap() }, say, questions)
    }

    /// Longer than any test takes.
    const LONG: Duration = Duration::from_mins(10);
    /// No time at all: whoever has to wait is late.
    const NONE: Duration = Duration::ZERO;

    fn version(outcome: Outcome) -> String {
        outcome.map_or_else(|why| why.to_string(), |found| found.version)
    }

    /// Who waits does so before the driver says it.
    async fn says(
        say: &mpsc::Sender<&'static str>,
        word: &'static str,
        waits: impl Future<Output = Outcome>,
    ) -> String {
        version(tokio::join!(biased; waits, async { say.send(word).unwrap() }).0)
    }

    #[tokio::test]
    async fn an_old_look_is_not_what_there_is_now() {
        let (asker, say, _questions) = asker();
        assert_eq!(says(&say, "one", asker.known(LONG)).await, "one");
        assert_eq!(says(&say, "two", asker.known(LONG)).await, "two", "not the former answer");
        assert_eq!(says(&say, "three", asker.now(LONG)).await, "three");
        let asker = Asker { fresh: LONG, ..asker };
        assert_eq!(
            (version(asker.now(NONE).await), version(asker.known(NONE).await)),
            ("three".into(), "three".into())
        );
    }

    #[tokio::test]
    async fn a_driver_that_hangs_is_asked_once_and_its_former_answer_is_taken_where_it_will_do() {
        let (asker, say, questions) = asker();
        assert_eq!(asker.known(NONE).await, Err(silent()), "nothing was found yet");
        assert_eq!(says(&say, "one", asker.now(LONG)).await, "one");
        for _ in 0..5 {
            assert_eq!(version(asker.known(NONE).await), "one");
            assert_eq!(asker.now(NONE).await, Err(silent()), "nothing is given on the word of long ago");
        }
        let both = async {
            let (one, other) = tokio::join!(asker.now(LONG), asker.now(LONG));
            assert_eq!(one, other);
            one
        };
        assert_eq!(says(&say, "two", both).await, "two");
        drop((asker, say));
        assert_eq!(questions.iter().collect::<Vec<_>>(), ["look", "look"], "however many wanted to know");
    }

    #[tokio::test]
    async fn questions_about_usage_do_not_gather() {
        let (asker, say, questions) = asker();
        let asker = Asker { fresh: LONG, ..asker };
        say.send("one").unwrap();
        for _ in 0..5 {
            assert_eq!(asker.usage(vec!["GPU-1".into()], NONE).await, [unknown("GPU-1")]);
        }
        drop((asker, say));
        assert_eq!(questions.iter().collect::<Vec<_>>(), ["look", "usage"]);
    }

    #[tokio::test]
    async fn what_the_driver_says_of_a_gpu_is_told() {
        let (asker, say, _questions) = asker();
        for word in ["one", "busy", "idle"] {
            say.send(word).unwrap();
        }
        let both = tokio::join!(asker.usage(vec!["GPU-1".into()], LONG), asker.usage(vec!["GPU-2".into()], LONG));
        assert_eq!(both, (vec![unknown("busy")], vec![unknown("idle")]));
    }
}
