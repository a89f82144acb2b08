//! Who goes first on a processor that several notebooks want: one that has thought before one that has computed for long.
//!
//! A notebook that takes one CPU for seconds, or all that it may have where that is less, gets a low weight until it has
//! rested. What it has the kernel do counts several times ([`cgroup::KERNEL_COUNTS`]). It loses nothing by the low weight
//! while nobody else wants the same processor. Where somebody does, a short cell does not share the processor with what has
//! run for an hour; and those who all compute for long get equal parts.
//!
//! Where more want to compute than there are processors, each gets less than it wants. There its fair part is what it is
//! measured by, and one of low weight that gets next to nothing has not rested for as long as it stands in the queue.
//!
//! A server that was killed may have left low weights behind: a container that is seen for the first time gets the usual
//! one.

use std::fs;
use std::io;
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::cgroup::{self, CgroupTree, Weight};
use crate::live::{Live, LiveOnes};
use crate::place::Places;

/// The pause between two looks.
const PERIOD: Duration = Duration::from_secs(1);
/// After so long without computing, half is left of what counts against a notebook.
const HALF_LIFE: Duration = Duration::from_secs(3);
/// The part above which a notebook computes for long: reached after 4 s of all that counts.
const MUCH: f64 = 0.6;
/// The part below which it has rested: reached after 5.2 s of nothing, where one CPU was taken before.
const LITTLE: f64 = 0.3;
/// What counts as all, in CPUs, where a notebook may have more: most programs use one processor, and are in others' way
/// there.
const ALL: f64 = 1.0;
/// How many times all of that one look may count: who takes several processors is in more people's way.
const MOST: f64 = 4.0;
/// While all notebooks together take less than this part of one CPU, none of them is in another's way.
const QUIET: f64 = 0.25;
/// The part of the machine above which its notebooks have to wait for one another.
const FULL: f64 = 0.9;
/// Who takes more than this part of a CPU wants some.
const WANTS: f64 = 0.05;

/// How much a notebook takes of what counts as all; the last seconds count most.
#[derive(Debug, PartialEq)]
struct Load {
    mean: f64,
    weight: Weight,
}

impl Load {
    const NONE: Self = Self { mean: 0.0, weight: Weight::Usual };

    /// The weight after `elapsed` more, in which it has taken so many CPUs, and all that counts were `all`. `waits` says
    /// whether it still wants more than it gets.
    fn after(&mut self, elapsed: Duration, took: f64, all: f64, waits: impl FnOnce() -> bool) -> Weight {
        if all > 0.0 {
            let kept = 0.5_f64.powf(elapsed.as_secs_f64() / HALF_LIFE.as_secs_f64());
            self.mean = self.mean * kept + (took / all).min(MOST) * (1.0 - kept);
        }
        if self.mean > MUCH {
            self.weight = Weight::Low;
        } else if self.mean < LITTLE && self.weight == Weight::Low && !waits() {
            self.weight = Weight::Usual;
        }
        self.weight
    }
}

/// What is known of one container; nothing before it was looked at.
#[derive(Debug, Default)]
pub(crate) struct Priority(Option<Known>);

#[derive(Debug)]
struct Known {
    /// What it may have, in thousandths of a CPU.
    cpu_millis: u32,
    at: Instant,
    /// The work that it had done then.
    used: Duration,
    load: Load,
    /// What the kernel was told.
    told: Weight,
}

/// What a container took between two looks.
struct Taken {
    elapsed: Duration,
    /// In CPUs.
    took: f64,
}

impl Priority {
    /// Whether a look can change anything.
    fn is_due(&self, quiet: bool) -> bool {
        !quiet || self.0.as_ref().is_none_or(|known| known.told == Weight::Low)
    }

    /// What the container took since the last look; at the first one its group gets the usual weight.
    fn look(&mut self, tree: &dyn CgroupTree, cgroup: &str, now: Instant) -> io::Result<Option<Taken>> {
        let used = tree.work(cgroup)?;
        let Some(known) = &mut self.0 else {
            let cpu_millis = tree.cpu_millis(cgroup)?;
            tree.weigh(cgroup, cpu_millis, Weight::Usual)?;
            self.0 = Some(Known { cpu_millis, at: now, used, load: Load::NONE, told: Weight::Usual });
            return Ok(None);
        };
        let (elapsed, more) = (now.saturating_duration_since(known.at), used.saturating_sub(known.used));
        (known.at, known.used) = (now, used);
        let took = if elapsed.is_zero() { 0.0 } else { more.as_secs_f64() / elapsed.as_secs_f64() };
        Ok(Some(Taken { elapsed, took }))
    }

    /// Gives the container's group the weight that it should have. `part` is what each may have of a machine that is full.
    fn settle(&mut self, tree: &dyn CgroupTree, cgroup: &str, taken: &Taken, part: Option<f64>) -> io::Result<()> {
        let Some(known) = &mut self.0 else { return Ok(()) };
        let all = part.unwrap_or(ALL).min(ALL).min(f64::from(known.cpu_millis) / 1000.0);
        let waits = || part.is_some() && cgroup::processes(tree, cgroup).is_ok_and(|all| all.into_iter().any(runs));
        let weight = known.load.after(taken.elapsed, taken.took, all, waits);
        known.tell(tree, cgroup, weight)
    }

    /// The group has the usual weight afterwards, whoever looks after it then.
    fn forget(&mut self, tree: &dyn CgroupTree, cgroup: &str) -> io::Result<()> {
        self.0.take().map_or(Ok(()), |mut known| known.tell(tree, cgroup, Weight::Usual))
    }
}

impl Known {
    fn tell(&mut self, tree: &dyn CgroupTree, cgroup: &str, weight: Weight) -> io::Result<()> {
        if weight != self.told {
            tree.weigh(cgroup, self.cpu_millis, weight)?;
            tracing::debug!("the weight of group `{cgroup}` is {weight:?} from now on");
            self.told = weight;
        }
        Ok(())
    }
}

/// Whether a thread of the process runs or waits for a processor.
fn runs(pid: i32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let state = |stat: String| stat.rsplit_once(')').is_some_and(|(_, after)| after.starts_with(" R"));
    threads.into_iter().any(|thread| fs::read_to_string(thread.path().join("stat")).is_ok_and(state))
}

/// What looks after the weights of all containers. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Priorities {
    ending: CancellationToken,
    keeping: Mutex<Option<JoinHandle<()>>>,
}

impl Priorities {
    /// Looks after them from here on.
    pub(crate) fn keep(mut looks: Looks) -> Self {
        let ending = CancellationToken::new();
        let ended = ending.clone();
        let keeping = tokio::spawn(async move {
            let mut ticks = interval(PERIOD);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                let last = tokio::select! {
                    _ = ticks.tick() => false,
                    () = ended.cancelled() => true,
                };
                // A file of the kernel's may let its reader wait.
                let look = move || {
                    if last {
                        looks.forget();
                    } else {
                        looks.look(Instant::now());
                    }
                    looks
                };
                match tokio::task::spawn_blocking(look).await {
                    Ok(after) if !last => looks = after,
                    _ => return,
                }
            }
        });
        Self { ending, keeping: Mutex::new(Some(keeping)) }
    }

    /// Every container has its usual weight afterwards, and none changes any more.
    pub(crate) async fn end(&self) {
        self.ending.cancel();
        let keeping = self.keeping.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(keeping) = keeping {
            let _ = keeping.await;
        }
    }
}

impl Drop for Priorities {
    fn drop(&mut self) {
        self.ending.cancel();
    }
}

/// All containers, and what they have taken.
pub(crate) struct Looks {
    tree: Arc<dyn CgroupTree>,
    places: Places,
    live: Arc<LiveOnes>,
    /// The processors of the machine.
    cpus: f64,
    /// What all together had taken at the last look.
    last: Option<(Instant, Duration)>,
    /// Somebody was told already that it does not work.
    warned: bool,
}

impl Looks {
    pub(crate) fn new(tree: &Arc<dyn CgroupTree>, places: &Places, live: &Arc<LiveOnes>) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, NonZero::get);
        let cpus = u32::try_from(cpus).map_or(f64::MAX, f64::from);
        Self { tree: Arc::clone(tree), places: places.clone(), live: Arc::clone(live), cpus, last: None, warned: false }
    }

    fn look(&mut self, now: Instant) {
        let quiet = self.is_quiet(now);
        let mut taken = Vec::new();
        for (id, live) in self.live.list() {
            let mut priority = live.priority();
            if !priority.is_due(quiet) {
                continue;
            }
            let cgroup = self.places.of(id).cgroup;
            let looked = priority.look(&*self.tree, &cgroup, now);
            drop(priority);
            match looked {
                Ok(Some(more)) => taken.push((live, cgroup, more)),
                Ok(None) => {}
                Err(e) => self.fails(&live, &cgroup, &e),
            }
        }
        let part = self.part(taken.iter().map(|(_, _, more)| more.took));
        for (live, cgroup, more) in taken {
            let settled = live.priority().settle(&*self.tree, &cgroup, &more, part);
            if let Err(e) = settled {
                self.fails(&live, &cgroup, &e);
            }
        }
    }

    /// What each who wants to compute may have, in CPUs, where they fill the machine.
    fn part(&self, took: impl Iterator<Item = f64> + Clone) -> Option<f64> {
        let full = took.clone().sum::<f64>() > self.cpus * FULL;
        let many = u32::try_from(took.filter(|took| *took > WANTS).count()).unwrap_or(u32::MAX);
        full.then(|| self.cpus / f64::from(many.max(1)))
    }

    /// One that has ended meanwhile has no group.
    fn fails(&mut self, live: &Live, cgroup: &str, why: &io::Error) {
        if !self.warned && live.first.lives().unwrap_or(false) {
            self.warned = true;
            tracing::warn!("short cells do not go before long ones on a busy processor: group `{cgroup}`: {why}");
        }
    }

    fn forget(&mut self) {
        for (id, live) in self.live.list() {
            let cgroup = self.places.of(id).cgroup;
            let forgotten = live.priority().forget(&*self.tree, &cgroup);
            if let Err(e) = forgotten {
                self.fails(&live, &cgroup, &e);
            }
        }
    }

    /// Whether so little was taken since the last look that it does not matter whose it was.
    fn is_quiet(&mut self, now: Instant) -> bool {
        // There is no group of all before the first notebook.
        let Ok(taken) = self.tree.work_of_all() else { return false };
        let Some((at, before)) = self.last.replace((now, taken)) else { return false };
        taken.saturating_sub(before).as_secs_f64() < now.saturating_duration_since(at).as_secs_f64() * QUIET
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::cgroup::{self, Limits};
    use crate::config::DiskLimits;
    use crate::groups::Groups;
    use crate::process::Handle;

    const SECOND: Duration = Duration::from_secs(1);

    /// So many seconds in each of which it takes this part of what counts.
    fn after(load: &mut Load, seconds: u32, part: f64, all: f64) -> Vec<Weight> {
        (0..seconds).map(|_| load.after(SECOND, part * all, all, || false)).collect()
    }

    #[test]
    fn who_computes_for_long_is_low_until_it_has_rested() {
        for all in [0.1, 1.0] {
            let mut load = Load::NONE;
            assert_eq!(after(&mut load, 3, 1.0, all), [Weight::Usual; 3]);
            assert_eq!(after(&mut load, 60, 1.0, all)[1..], [Weight::Low; 59]);
            assert_eq!(after(&mut load, 5, 0.0, all), [Weight::Low; 5]);
            assert_eq!(after(&mut load, 3, 0.0, all), [Weight::Usual; 3]);
        }
    }

    #[test]
    fn who_takes_several_processors_is_low_sooner_and_longer() {
        let mut load = Load::NONE;
        assert_eq!(after(&mut load, 60, 9.0, 1.0), [Weight::Low; 60]);
        assert_eq!(after(&mut load, 11, 0.0, 1.0), [Weight::Low; 11]);
        assert_eq!(after(&mut load, 2, 0.0, 1.0)[1], Weight::Usual);
    }

    #[test]
    fn who_waits_has_not_rested() {
        let mut load = Load::NONE;
        after(&mut load, 10, 1.0, 1.0);
        for _ in 0..100 {
            assert_eq!(load.after(SECOND, 0.0, 1.0, || true), Weight::Low);
        }
        assert_eq!(load.after(SECOND, 0.0, 1.0, || false), Weight::Usual);
    }

    #[test]
    fn in_between_it_stays_what_it_is() {
        let mut load = Load::NONE;
        assert_eq!(after(&mut load, 100, 0.5, 1.0), [Weight::Usual; 100]);
        after(&mut load, 10, 1.0, 1.0);
        assert_eq!(after(&mut load, 100, 0.5, 1.0), [Weight::Low; 100]);
    }

    #[test]
    fn a_cell_now_and_then_is_never_low() {
        let mut load = Load::NONE;
        for _ in 0..100 {
            // Two seconds of computing, then ten of thinking.
            assert_eq!(after(&mut load, 2, 1.0, 1.0), [Weight::Usual; 2]);
            after(&mut load, 10, 0.0, 1.0);
        }
    }

    #[test]
    fn how_often_it_is_looked_at_changes_nothing() {
        let (mut often, mut once) = (Load::NONE, Load::NONE);
        after(&mut often, 4, 0.8, 1.0);
        once.after(4 * SECOND, 0.8, 1.0, || false);
        assert!((often.mean - once.mean).abs() < 1e-9, "{often:?}, {once:?}");
        assert_eq!(often.weight, once.weight);
        // What it did in an hour that nobody looked at says nothing of now.
        once.after(3600 * SECOND, 0.01, 1.0, || false);
        assert!(once.mean < 0.02, "{once:?}");
        let before = once.mean;
        once.after(Duration::ZERO, 1.0, 1.0, || false);
        assert!((once.mean - before).abs() < 1e-9, "{once:?}");
    }

    const ID: &str = "0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a10";

    /// One container of two CPUs, with the files of its group in a folder.
    struct Bed {
        live: Arc<LiveOnes>,
        looks: Looks,
        now: Instant,
        /// What it takes in a second, and has taken.
        rate: Duration,
        used: Duration,
        /// All of that is what the kernel did.
        in_kernel: bool,
        folder: tempfile::TempDir,
    }

    impl Bed {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let places = Places::open(folder.path(), folder.path()).unwrap();
            let live = Arc::<LiveOnes>::default();
            let tree: Arc<dyn CgroupTree> = cgroup::below(folder.path()).into();
            let looks = Looks { cpus: 2.0, ..Looks::new(&tree, &places, &live) };
            let bed = Self {
                live,
                looks,
                now: Instant::now(),
                rate: Duration::ZERO,
                used: 77 * SECOND,
                in_kernel: false,
                folder,
            };
            let limits = Limits { cpu_millis: 2000, memory_bytes: 1 << 30, pids: 7, disk: DiskLimits::default() };
            bed.looks.tree.create(&bed.cgroup(), &limits).unwrap();
            bed.adopt();
            bed
        }

        fn cgroup(&self) -> String {
            self.looks.places.of(ID.parse().unwrap()).cgroup
        }

        fn file(&self, controller: &str, name: &str) -> PathBuf {
            self.folder.path().join(controller).join(cgroup::PARENT).join(self.cgroup()).join(name)
        }

        fn shares(&self) -> PathBuf {
            self.file("cpu", "cpu.shares")
        }

        /// As a server does that has just begun. The container's first process is this one.
        fn adopt(&self) {
            self.adopt_with(std::process::id(), || {});
        }

        fn adopt_with(&self, pid: u32, then: impl FnOnce()) {
            let pid = pid.cast_signed();
            let first = Handle::of(pid).unwrap().unwrap();
            then();
            let place = self.looks.places.of(ID.parse().unwrap());
            self.live.add(pid, first, Groups { tree: Arc::clone(&self.looks.tree), place }, 0);
        }

        /// A second more; what it has taken is the same as what all have taken.
        fn computes(&mut self) {
            self.now += SECOND;
            self.used += self.rate;
            let used = self.used.as_nanos().to_string();
            let all = self.folder.path().join("cpuacct").join(cgroup::PARENT);
            for folder in [&self.file("cpuacct", ""), &all] {
                fs::write(folder.join("cpuacct.usage"), &used).unwrap();
                if self.in_kernel {
                    fs::write(folder.join("cpuacct.usage_sys"), &used).unwrap();
                }
            }
        }

        fn look(&mut self, times: u32) {
            for _ in 0..times {
                self.computes();
                self.looks.look(self.now);
            }
        }

        /// What was written since the last time.
        fn written(&self) -> Option<String> {
            let text = fs::read_to_string(self.shares()).ok()?;
            fs::remove_file(self.shares()).unwrap();
            Some(text)
        }
    }

    const USUAL: Option<&str> = Some("1024");
    const LOW: Option<&str> = Some("51");

    #[tokio::test]
    async fn who_computes_on_gets_the_low_weight_once_and_the_usual_one_back() {
        let mut bed = Bed::new();
        bed.rate = SECOND;
        bed.look(4);
        assert_eq!(bed.written().as_deref(), USUAL);
        bed.look(2);
        assert_eq!(bed.written().as_deref(), LOW);
        bed.look(20);
        assert_eq!(bed.written(), None);
        // It rests, and nobody else computes either.
        bed.rate = Duration::ZERO;
        bed.look(5);
        assert_eq!(bed.written(), None);
        bed.look(2);
        assert_eq!(bed.written().as_deref(), USUAL);
    }

    #[tokio::test]
    async fn what_the_kernel_does_for_it_counts_more() {
        let mut bed = Bed::new();
        bed.rate = SECOND / 5;
        bed.look(20);
        assert_eq!(bed.written().as_deref(), USUAL);
        let mut bed = Bed::new();
        (bed.rate, bed.in_kernel) = (SECOND / 5, true);
        bed.look(20);
        assert_eq!(bed.written().as_deref(), LOW);
    }

    #[tokio::test]
    async fn a_quiet_machine_is_not_looked_at_one_by_one() {
        let mut bed = Bed::new();
        bed.rate = SECOND / 5;
        bed.look(2);
        assert_eq!(bed.written().as_deref(), USUAL);
        // Whoever looks is told that this is no number.
        let look = |bed: &mut Bed| {
            bed.computes();
            fs::write(bed.file("cpuacct", "cpuacct.usage"), "").unwrap();
            bed.looks.look(bed.now);
        };
        look(&mut bed);
        assert!(!bed.looks.warned);
        bed.rate = SECOND;
        look(&mut bed);
        assert!(bed.looks.warned);
    }

    #[tokio::test]
    async fn what_another_server_has_left_behind_is_undone() {
        let mut bed = Bed::new();
        bed.rate = SECOND;
        bed.look(10);
        assert_eq!(bed.written().as_deref(), LOW);
        bed.rate = Duration::ZERO;
        bed.adopt();
        bed.look(1);
        assert_eq!(bed.written().as_deref(), USUAL);
    }

    #[tokio::test]
    async fn a_weight_that_cannot_be_written_is_tried_again() {
        let mut bed = Bed::new();
        fs::create_dir(bed.shares()).unwrap();
        bed.look(3);
        assert!(bed.looks.warned);
        fs::remove_dir(bed.shares()).unwrap();
        bed.look(1);
        assert_eq!(bed.written().as_deref(), USUAL);
    }

    #[tokio::test]
    async fn a_container_that_has_ended_is_no_error() {
        let mut bed = Bed::new();
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        bed.adopt_with(ended.id(), || assert!(ended.wait().unwrap().success()));
        bed.computes();
        fs::remove_dir_all(bed.file("cpuacct", "")).unwrap();
        bed.looks.look(bed.now);
        assert!(!bed.looks.warned);
        bed.adopt();
        bed.looks.look(bed.now);
        assert!(bed.looks.warned);
    }

    #[tokio::test(start_paused = true)]
    async fn it_goes_on_once_a_second_until_it_is_ended() {
        let mut bed = Bed::new();
        bed.rate = SECOND;
        bed.computes();
        let looks = || Looks { cpus: 2.0, ..Looks::new(&bed.looks.tree, &bed.looks.places, &bed.live) };
        let priorities = Priorities::keep(looks());
        // Between two looks.
        tokio::time::sleep(SECOND / 2).await;
        assert_eq!(bed.written().as_deref(), USUAL);
        for _ in 0..10 {
            bed.computes();
            tokio::time::sleep(SECOND).await;
        }
        assert_eq!(bed.written().as_deref(), LOW);
        priorities.end().await;
        assert_eq!(bed.written().as_deref(), USUAL);
        bed.adopt();
        tokio::time::sleep(10 * SECOND).await;
        assert_eq!(bed.written(), None);
    }

    #[tokio::test]
    async fn where_more_compute_than_there_are_processors_a_fair_part_is_all() {
        let looks = Bed::new().looks;
        let part = |took: &[f64]| looks.part(took.iter().copied());
        assert_eq!(part(&[0.5, 0.5, 0.5]), None);
        assert_eq!(part(&[1.0, 1.0, 0.01]), Some(1.0));
        assert_eq!(part(&[0.5, 0.5, 0.5, 0.5, 0.0]), Some(0.5));
        // Each of eight on two processors computes for long, though it gets a quarter of one.
        let mut load = Load::NONE;
        assert_eq!(after(&mut load, 60, 1.0, 0.25)[4..], [Weight::Low; 56]);
    }

    #[test]
    fn a_thread_that_computes_is_seen() {
        let pid = std::process::id().cast_signed();
        assert!(runs(pid), "this one does");
        let mut sleeps = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let sleeping = sleeps.id().cast_signed();
        let until = std::time::Instant::now() + Duration::from_secs(20);
        while runs(sleeping) {
            assert!(std::time::Instant::now() < until, "it does not fall asleep");
            std::thread::yield_now();
        }
        sleeps.kill().unwrap();
        sleeps.wait().unwrap();
        assert!(!runs(sleeping));
    }
}
