//! Who goes first on a processor that several notebooks want: one that has thought before one that has computed for long.
//!
//! A notebook that takes one CPU for seconds, or all that it may have where that is less, gets a low weight until it has
//! rested. What it has the kernel do counts several times ([`cgroup::KERNEL_COUNTS`](crate::cgroup::KERNEL_COUNTS)). It loses nothing by that while nobody else wants the same processor. Where somebody does, a short cell does not
//! share the processor with what has run for an hour; and those who all compute for long share it by their CPUs.
//!
//! A server that was killed may have left low weights behind: a container that is seen for the first time gets the usual
//! one.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::cgroup::{CgroupTree, Weight};
use crate::live::LiveOnes;
use crate::place::Places;

/// The pause between two looks.
const PERIOD: Duration = Duration::from_secs(1);
/// After so long without computing, half is left of what counts against a notebook.
const HALF_LIFE: Duration = Duration::from_secs(3);
/// The part above which a notebook computes for long: reached after 4 s of all that counts.
const MUCH: f64 = 0.6;
/// The part below which it has rested: reached after 5.2 s of nothing, at most.
const LITTLE: f64 = 0.3;
/// What counts as all, in thousandths of a CPU, where a notebook may have more: most programs use one processor, and are
/// in others' way there.
const MOST_MILLIS: u32 = 1000;
/// While all notebooks together take less than this part of one CPU, none of them is in another's way.
const QUIET: f64 = 0.25;

/// How much a notebook takes of one CPU, or of what it may have where that is less; the last seconds count most.
#[derive(Debug, PartialEq)]
struct Load {
    mean: f64,
    weight: Weight,
}

impl Load {
    const NONE: Self = Self { mean: 0.0, weight: Weight::Usual };

    /// The weight after `elapsed` more, in which it has used so much and could have used so many thousandths of a CPU.
    fn after(&mut self, elapsed: Duration, used: Duration, cpu_millis: u32) -> Weight {
        let may = elapsed.as_secs_f64() * f64::from(cpu_millis.min(MOST_MILLIS)) / 1000.0;
        if may > 0.0 {
            let kept = 0.5_f64.powf(elapsed.as_secs_f64() / HALF_LIFE.as_secs_f64());
            self.mean = self.mean * kept + (used.as_secs_f64() / may).min(1.0) * (1.0 - kept);
        }
        if self.mean > MUCH {
            self.weight = Weight::Low;
        } else if self.mean < LITTLE {
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
    cpu_millis: u32,
    at: Instant,
    /// The work that it had done then.
    used: Duration,
    load: Load,
    /// What the kernel was told.
    told: Weight,
}

impl Priority {
    /// Whether a look can change anything.
    fn is_due(&self, quiet: bool) -> bool {
        !quiet || self.0.as_ref().is_none_or(|known| known.told == Weight::Low)
    }

    /// Gives the container's group the weight that it should have at this moment.
    fn look(&mut self, tree: &dyn CgroupTree, cgroup: &str, now: Instant) -> io::Result<()> {
        let used = tree.work(cgroup)?;
        let Some(known) = &mut self.0 else {
            let cpu_millis = tree.cpu_millis(cgroup)?;
            tree.weigh(cgroup, cpu_millis, Weight::Usual)?;
            self.0 = Some(Known { cpu_millis, at: now, used, load: Load::NONE, told: Weight::Usual });
            return Ok(());
        };
        let (elapsed, more) = (now.saturating_duration_since(known.at), used.saturating_sub(known.used));
        (known.at, known.used) = (now, used);
        let weight = known.load.after(elapsed, more, known.cpu_millis);
        if weight != known.told {
            tree.weigh(cgroup, known.cpu_millis, weight)?;
            tracing::debug!("the weight of group `{cgroup}` is {weight:?} from now on");
            known.told = weight;
        }
        Ok(())
    }
}

/// What looks after the weights of all containers. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Priorities(JoinHandle<()>);

impl Priorities {
    /// Looks after them from here on.
    pub(crate) fn keep(tree: Arc<dyn CgroupTree>, places: Places, live: Arc<LiveOnes>) -> Self {
        let mut looks = Looks { tree, places, live, last: None, warned: false };
        Self(tokio::spawn(async move {
            let mut ticks = interval(PERIOD);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                // A file of the kernel's may let its reader wait.
                let look = move || {
                    looks.look(Instant::now());
                    looks
                };
                match tokio::task::spawn_blocking(look).await {
                    Ok(after) => looks = after,
                    Err(_) => return,
                }
            }
        }))
    }

    /// Changes no weight any more.
    pub(crate) fn end(&self) {
        self.0.abort();
    }
}

impl Drop for Priorities {
    fn drop(&mut self) {
        self.end();
    }
}

struct Looks {
    tree: Arc<dyn CgroupTree>,
    places: Places,
    live: Arc<LiveOnes>,
    /// What all together had taken at the last look.
    last: Option<(Instant, Duration)>,
    /// Somebody was told already that it does not work.
    warned: bool,
}

impl Looks {
    fn look(&mut self, now: Instant) {
        let quiet = self.is_quiet(now);
        for (id, live) in self.live.list() {
            let mut priority = live.priority();
            if !priority.is_due(quiet) {
                continue;
            }
            let looked = priority.look(&*self.tree, &self.places.of(id).cgroup, now);
            // One that has ended meanwhile has no group.
            if let Err(e) = looked
                && !self.warned
                && live.first.lives().unwrap_or(false)
            {
                self.warned = true;
                tracing::warn!(notebook = %id, "short cells do not go before long ones on a busy processor: {e}");
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

    use atelier_core::id::NotebookId;

    use super::*;
    use crate::cgroup::{self, Limits};
    use crate::config::DiskLimits;
    use crate::groups::Groups;
    use crate::process::Handle;

    const SECOND: Duration = Duration::from_secs(1);

    fn after(load: &mut Load, seconds: u32, part: f64, cpu_millis: u32) -> Vec<Weight> {
        let used = SECOND.mul_f64(part * f64::from(cpu_millis.min(1000)) / 1000.0);
        (0..seconds).map(|_| load.after(SECOND, used, cpu_millis)).collect()
    }

    #[test]
    fn who_computes_for_long_is_low_until_it_has_rested() {
        // One processor of sixteen counts as all of one.
        for cpu_millis in [100, 1000, 16_000] {
            let mut load = Load::NONE;
            assert_eq!(after(&mut load, 3, 1.0, cpu_millis), [Weight::Usual; 3]);
            assert_eq!(after(&mut load, 60, 1.0, cpu_millis)[1..], [Weight::Low; 59]);
            assert_eq!(after(&mut load, 5, 0.0, cpu_millis), [Weight::Low; 5]);
            assert_eq!(after(&mut load, 3, 0.0, cpu_millis), [Weight::Usual; 3]);
        }
    }

    #[test]
    fn in_between_it_stays_what_it_is() {
        let mut load = Load::NONE;
        assert_eq!(after(&mut load, 100, 0.5, 2000), [Weight::Usual; 100]);
        after(&mut load, 10, 1.0, 2000);
        assert_eq!(after(&mut load, 100, 0.5, 2000), [Weight::Low; 100]);
    }

    #[test]
    fn a_cell_now_and_then_is_never_low() {
        let mut load = Load::NONE;
        for _ in 0..100 {
            // Two seconds of computing, then ten of thinking.
            assert_eq!(after(&mut load, 2, 1.0, 1000), [Weight::Usual; 2]);
            after(&mut load, 10, 0.0, 1000);
        }
    }

    #[test]
    fn how_often_it_is_looked_at_changes_nothing() {
        let (mut often, mut once) = (Load::NONE, Load::NONE);
        after(&mut often, 4, 0.8, 1000);
        once.after(4 * SECOND, SECOND.mul_f64(3.2), 1000);
        assert!((often.mean - once.mean).abs() < 1e-9, "{often:?}, {once:?}");
        assert_eq!(often.weight, once.weight);
        // What it did in an hour that nobody looked at says nothing of now.
        once.after(3600 * SECOND, 36 * SECOND, 1000);
        assert!(once.mean < 0.02, "{once:?}");
        let before = once.mean;
        once.after(Duration::ZERO, SECOND, 1000);
        // More than all is all: the kernel lets a period begin with what was left of the last one.
        once.after(SECOND, 9 * SECOND, 1000);
        assert!(once.mean > before && once.mean < 0.25, "{once:?}");
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
            let tree = cgroup::below(folder.path()).into();
            let looks = Looks { tree, places, live: Arc::clone(&live), last: None, warned: false };
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
            let (tree, name) = (Arc::clone(&self.looks.tree), self.cgroup());
            let run = self.folder.path().to_owned();
            let groups = Groups { tree, name, shared: run.join("shared"), run };
            self.live.add(ID.parse::<NotebookId>().unwrap(), pid, first, groups, 0);
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
        bed.rate = 2 * SECOND;
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
        bed.rate = 2 * SECOND;
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
        bed.rate = 2 * SECOND;
        bed.computes();
        let (tree, places) = (Arc::clone(&bed.looks.tree), bed.looks.places.clone());
        let priorities = Priorities::keep(tree, places, Arc::clone(&bed.live));
        // Between two looks.
        tokio::time::sleep(SECOND / 2).await;
        assert_eq!(bed.written().as_deref(), USUAL);
        for _ in 0..10 {
            bed.computes();
            tokio::time::sleep(SECOND).await;
        }
        assert_eq!(bed.written().as_deref(), LOW);
        drop(priorities);
        bed.adopt();
        tokio::time::sleep(10 * SECOND).await;
        assert_eq!(bed.written(), None);
    }
}
