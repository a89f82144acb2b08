//! Idle leases: what keeps a notebook running, what does not, and what is said of it.

use std::time::Duration;

use atelier_core::activity::{Kernel, Terminal, Verdict};
use atelier_core::caller::Actor;
use atelier_runtime::{GpuUsage, Usage};
use secrecy::SecretString;

use super::*;
use crate::{Asked, Asker};

const MINUTE: i64 = 60_000;
/// As often as the engine itself looks.
const PERIOD: i64 = 30_000;

/// A notebook server that says what the test tells it to.
struct Server {
    says: Mutex<Asked>,
    asked: AtomicU64,
    silent: AtomicBool,
}

impl Server {
    fn says(&self, kernels: &[(&str, &str)], terminals: &[&str]) {
        let kernel = |(state, mark): &(&str, &str)| Kernel {
            id: "8f3a0000".into(),
            state: (*state).into(),
            mark: (*mark).into(),
        };
        let terminal = |mark: &&str| Terminal { name: "1".into(), mark: (*mark).into() };
        *self.says.lock().unwrap() = Asked {
            kernels: Ok(kernels.iter().map(kernel).collect()),
            terminals: Ok(terminals.iter().map(terminal).collect()),
        };
    }
}

#[async_trait]
impl Asker for Server {
    async fn ask(&self, _id: NotebookId, _secret: &SecretString) -> Asked {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.silent.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.says.lock().unwrap().clone()
    }
}

/// A running notebook with an idle lease of one hour, and its server.
struct Idle {
    world: World,
    server: Arc<Server>,
    id: NotebookId,
}

impl Idle {
    async fn new() -> Self {
        let world = World::new().await;
        let says = Mutex::new(Asked::nothing("unset"));
        let server = Arc::new(Server { says, asked: AtomicU64::new(0), silent: AtomicBool::new(false) });
        server.says(&[], &[]);
        world.engine.ask_with(server.clone());
        let wish = CreateNotebook { lease_kind: LeaseKind::Idle, ..World::wish("nb") };
        let id = world.engine.create(&World::caller('a'), "r1", wish).await.unwrap().id;
        world.reaches(id, Status::Running).await;
        Self { world, server, id }
    }

    /// Lets time pass as it does: with a look every so often. It stands still when the lease is over, so that what
    /// happens then happens then.
    async fn pass(&self, ms: i64) {
        let mut left = ms;
        while left > 0 {
            let now = self.world.time.advance(left.min(PERIOD));
            left -= PERIOD;
            self.world.engine.look_around().await;
            if self.world.show(self.id).await.lease.is_over(now) {
                return;
            }
        }
    }

    async fn runs(&self) -> bool {
        self.world.engine.reconcile().await;
        self.world.show(self.id).await.status() == Status::Running
    }

    /// Why the notebook was stopped, and how long after its creation.
    async fn stopped(&self) -> (String, i64) {
        self.world.reaches(self.id, Status::Stopped).await;
        let events = self.world.store.events(self.id, None, 100).await.unwrap();
        let asked = events.into_iter().find(|e| e.what == "stop.asked").unwrap();
        assert_eq!(asked.origin.actor, Actor::Lease);
        (asked.why, asked.at.as_millis() - START)
    }

    async fn verdict(&self) -> Verdict {
        self.world.engine.activity(&World::caller('a'), self.id).await.unwrap().report.verdict
    }
}

#[tokio::test]
async fn an_idle_notebook_stops_after_its_grant_and_says_why_with_the_figures() {
    let idle = Idle::new().await;
    idle.pass(HOUR - PERIOD).await;
    assert!(idle.runs().await);
    idle.pass(PERIOD).await;
    let (why, after) = idle.stopped().await;
    assert_eq!(after, HOUR);
    for part in ["idle for 3600000 ms", "3600000 ms were granted, type IDLE", "kernels: none", "cpu: 0 thousandths"] {
        assert!(why.contains(part), "{part}: {why}");
    }
}

#[tokio::test]
async fn a_silent_running_cell_keeps_its_notebook_and_its_end_begins_the_hour() {
    let idle = Idle::new().await;
    idle.server.says(&[("busy", "m")], &[]);
    idle.pass(5 * HOUR).await;
    assert!(idle.runs().await);
    let shown = idle.world.show(idle.id).await;
    assert_eq!(shown.lease.duration_ms(), 6 * HOUR, "the end that is shown follows");
    assert_eq!(shown.lease.update_at().as_millis(), START, "activity is no write of the lease");
    let Verdict::Active(reasons) = idle.verdict().await else { panic!("not active") };
    assert_eq!(reasons, ["kernel 8f3a0000 is busy"]);

    idle.server.says(&[("idle", "n")], &[]);
    idle.pass(HOUR).await;
    assert!(idle.runs().await, "the look that saw it end counts");
    idle.pass(PERIOD).await;
    assert_eq!(idle.stopped().await.1, 6 * HOUR + PERIOD);
}

#[tokio::test]
async fn a_program_in_a_terminal_keeps_its_notebook() {
    let idle = Idle::new().await;
    let usage = |foreground: &[&str]| Usage {
        cpu: Duration::ZERO,
        foreground: foreground.iter().map(|name| (*name).to_owned()).collect(),
        ..Usage::default()
    };
    idle.world.runtime.pretend(idle.id, usage(&["python"]));
    idle.pass(2 * HOUR).await;
    assert!(idle.runs().await);
    idle.world.runtime.pretend(idle.id, usage(&[]));
    idle.pass(HOUR).await;
    assert_eq!(idle.stopped().await.1, 3 * HOUR);
}

#[tokio::test]
async fn processor_time_keeps_a_notebook_whatever_its_server_says() {
    let idle = Idle::new().await;
    for n in 1..=240_u64 {
        let cpu = Duration::from_secs(3 * n);
        idle.world.runtime.pretend(idle.id, Usage { cpu, ..Usage::default() });
        idle.pass(PERIOD).await;
    }
    assert!(idle.runs().await, "a tenth of a CPU for two hours");
    let Verdict::Active(reasons) = idle.verdict().await else { panic!("not active") };
    assert!(reasons[0].contains("100 thousandths of a CPU"), "{reasons:?}");
}

#[tokio::test]
async fn a_busy_gpu_keeps_its_notebook_and_one_that_says_nothing_is_unknown() {
    let idle = Idle::new().await;
    let busy = |busy_percent| Usage {
        gpus: vec![GpuUsage { kind: "A".into(), busy_percent, memory_used: None, memory: None }],
        ..Usage::default()
    };
    idle.world.runtime.pretend(idle.id, busy(Some(40)));
    idle.pass(2 * HOUR).await;
    assert!(idle.runs().await);
    assert_eq!(idle.verdict().await, Verdict::Active(vec!["a GPU is busy for 40 % of the time".into()]));
    idle.world.runtime.pretend(idle.id, busy(None));
    idle.pass(PERIOD).await;
    assert!(matches!(idle.verdict().await, Verdict::Unknown(why) if why[0].starts_with("gpu: ")));
    idle.world.runtime.pretend(idle.id, busy(Some(1)));
    idle.pass(HOUR + PERIOD).await;
    assert!(idle.stopped().await.0.contains("gpu: busy for 1 % of the time (active above 1 %"));
}

#[tokio::test]
async fn people_keep_a_notebook_and_their_last_moment_counts_to_the_millisecond() {
    let idle = Idle::new().await;
    idle.pass(HOUR / 2).await;
    idle.world.time.advance(1234);
    idle.world.engine.person_worked(idle.id);
    let lease = idle.world.show(idle.id).await.lease;
    assert_eq!(lease.duration_ms(), HOUR / 2 + 1234 + HOUR, "at once, without a look");
    idle.pass(HOUR - 2000).await;
    assert!(idle.runs().await);
    idle.world.time.advance(1999);
    assert!(idle.runs().await);
    idle.world.time.advance(1);
    assert_eq!(idle.stopped().await.1, HOUR / 2 + 1234 + HOUR);
}

/// The limit of a question is measured by the engine's clock, to the millisecond.
#[tokio::test]
async fn a_server_that_never_answers_is_given_up_when_its_time_is_over() {
    let idle = Idle::new().await;
    idle.server.silent.store(true, Ordering::SeqCst);
    let (engine, id) = (idle.world.engine.clone(), idle.id);
    let looking = tokio::spawn(async move { engine.activity(&World::caller('a'), id).await.unwrap().report.verdict });
    while idle.server.asked.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    idle.world.time.advance(4_999);
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert!(!looking.is_finished());
    idle.world.time.advance(1);
    let Verdict::Unknown(why) = looking.await.unwrap() else { panic!("known") };
    assert!(why.concat().contains("does not answer in time"), "{why:?}");
}

#[tokio::test]
async fn what_cannot_be_asked_is_not_idle_up_to_the_ceiling() {
    let idle = Idle::new().await;
    idle.pass(10 * MINUTE).await;
    *idle.server.says.lock().unwrap() = Asked::nothing("no answer");
    idle.pass(2 * HOUR).await;
    let (why, after) = idle.stopped().await;
    // Unknown from the first look that could not ask, for half an hour, and an hour of grant.
    assert_eq!(after, 10 * MINUTE + PERIOD + 30 * MINUTE + HOUR);
    assert!(why.contains("not known: kernels: no answer"), "{why}");
    let events = idle.world.events(idle.id).await;
    let told: Vec<_> = events.iter().filter(|what| what.starts_with("activity.")).collect();
    assert_eq!(told, ["activity.unknown", "activity.unknown-ceiling"]);
}

#[tokio::test]
async fn a_runtime_that_cannot_be_asked_is_not_idle_either() {
    let idle = Idle::new().await;
    idle.world.script.fails(Call::Usage, 100, RuntimeError::Transient);
    idle.pass(MINUTE).await;
    let Verdict::Unknown(why) = idle.verdict().await else { panic!("known") };
    assert_eq!(why, ["terminals: injected", "cpu: injected", "gpu: injected"]);
}

#[tokio::test]
async fn nothing_ends_on_an_old_look() {
    let idle = Idle::new().await;
    idle.pass(HOUR - PERIOD).await;
    // Between the last look and the end of the lease a kernel begins to work.
    idle.server.says(&[("busy", "m")], &[]);
    idle.world.time.advance(PERIOD);
    assert!(idle.runs().await);
    assert_eq!(idle.world.show(idle.id).await.lease.duration_ms(), 2 * HOUR);
}

#[tokio::test]
async fn a_restart_stops_nothing_and_counts_as_activity() {
    let mut idle = Idle::new().await;
    idle.server.says(&[("busy", "m")], &[]);
    idle.pass(3 * HOUR).await;
    idle.world.engine.shut_down().await;
    // The store is not far behind: what is read without an engine, after a reboot, is right to a twentieth.
    let kept = idle.world.store.notebook(idle.id).await.unwrap().unwrap().lease;
    assert!(kept.duration_ms() > 4 * HOUR - HOUR / 20 - PERIOD, "{kept:?}");
    assert_eq!(kept.update_at().as_millis(), START);

    idle.world.time.advance(9 * HOUR);
    idle.world.restart().await;
    idle.server.says(&[], &[]);
    idle.world.engine.ask_with(idle.server.clone());
    assert!(idle.runs().await, "it may have computed while nobody looked");
    idle.pass(HOUR - PERIOD).await;
    assert!(idle.runs().await);
    idle.pass(PERIOD).await;
    assert_eq!(idle.stopped().await.1, 13 * HOUR);
}

#[tokio::test]
async fn a_renewal_writes_an_idle_lease_and_switches_between_kinds() {
    let idle = Idle::new().await;
    let caller = World::caller('a');
    idle.pass(HOUR / 2).await;
    let renew = async |kind| idle.world.engine.renew(&caller, "r", idle.id, Grant::Millis(HOUR), kind).await.unwrap();
    let lease = renew(LeaseKind::Idle).await;
    assert_eq!((lease.duration_ms(), lease.kind()), (HOUR / 2 + HOUR, LeaseKind::Idle));
    assert_eq!(lease.update_at().as_millis(), START + HOUR / 2);

    renew(LeaseKind::Timing).await;
    idle.server.says(&[("busy", "m")], &[]);
    idle.pass(HOUR).await;
    let (why, after) = idle.stopped().await;
    assert_eq!(after, HOUR / 2 + HOUR, "a timed lease ends however busy the notebook is");
    assert!(why.contains("type TIMING"), "{why}");

    // What was asked for the last time holds for the next start, which may ask for another.
    let started = idle.world.engine.start(&caller, "r", idle.id, None, Some(LeaseKind::Idle)).await.unwrap();
    assert_eq!((started.lease.kind(), started.lease.grant()), (LeaseKind::Idle, Grant::Millis(HOUR)));
    idle.world.reaches(idle.id, Status::Running).await;
    idle.pass(2 * HOUR).await;
    assert!(idle.runs().await);
}

#[tokio::test]
async fn a_timed_lease_is_never_looked_at_unless_somebody_asks() {
    let world = World::new().await;
    let server = Arc::new(Server {
        says: Mutex::new(Asked::nothing("unset")),
        asked: AtomicU64::new(0),
        silent: AtomicBool::new(false),
    });
    server.says(&[("busy", "m")], &["t"]);
    world.engine.ask_with(server.clone());
    let id = world.running().await;
    world.engine.look_around().await;
    assert_eq!(server.asked.load(Ordering::SeqCst), 0);

    let known = world.engine.activity(&World::caller('a'), id).await.unwrap();
    assert_eq!(known.report.verdict, Verdict::Active(vec!["kernel 8f3a0000 is busy".into()]));
    assert_eq!(known.lease.duration_ms(), HOUR, "its end stays where it is");
    world.engine.person_worked(id);
    world.time.advance(HOUR);
    world.reaches(id, Status::Stopped).await;
    let refusal = world.engine.activity(&World::caller('a'), id).await.unwrap_err();
    assert_eq!(refusal.code(), Code::NotRunning);
    let refusal = world.engine.activity(&World::caller('b'), id).await.unwrap_err();
    assert_eq!(refusal.code(), Code::NotFound);
}

#[tokio::test]
async fn without_anybody_who_asks_a_notebook_is_unknown_and_not_idle() {
    let world = World::new().await;
    let wish = CreateNotebook { lease_kind: LeaseKind::Idle, ..World::wish("nb") };
    let id = world.engine.create(&World::caller('a'), "r1", wish).await.unwrap().id;
    world.reaches(id, Status::Running).await;
    let known = world.engine.activity(&World::caller('a'), id).await.unwrap();
    let Verdict::Unknown(why) = known.report.verdict else { panic!("known") };
    assert!(why[0].contains("nobody asks notebook servers here"), "{why:?}");
}
