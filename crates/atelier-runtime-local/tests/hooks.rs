//! Hooks in real containers: as whom they run, what they see, and what is left of them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod bed;

use std::fs;
use std::time::{Duration, Instant};

use atelier_core::hook::{Action, Moment};
use atelier_runtime::contract::{Upto, bring, new_spec};
use atelier_runtime::{Fate, HookEnd, HookRun, InstanceSpec, Runtime, RuntimeError};
use bed::Machine;
use bed::processes::{has_no_rights, kill, running, the_only};
use secrecy::ExposeSecret as _;

const LONG: Duration = Duration::from_mins(1);

async fn begin(runtime: &dyn Runtime, spec: &InstanceSpec, moment: Moment, action: Action, limit: Duration) {
    runtime.begin_hook(spec, &HookRun { moment, action, limit }).await.unwrap();
}

fn command(text: &str) -> Action {
    Action::Command(text.to_owned())
}

/// Runs a hook in a fresh container, and says how it ended.
async fn run(runtime: &dyn Runtime, spec: &InstanceSpec, action: Action, limit: Duration) -> HookEnd {
    runtime.stop(spec.notebook).await.unwrap();
    bring(runtime, spec, Upto::Network).await;
    begin(runtime, spec, Moment::PreStart, action, limit).await;
    runtime.hook_end(spec.notebook, Moment::PreStart).await.unwrap()
}

fn log(runtime: &dyn Runtime, spec: &InstanceSpec) -> String {
    fs::read_to_string(runtime.log_file(spec.notebook).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(as_root), ignore = "needs root")]
async fn a_hook_is_the_notebook_s_user_and_sees_no_secret() {
    let machine = Machine::new();
    let runtime = machine.runtime();
    let spec = new_spec();
    let look = "
        echo me $(id -u):$(id -g) in $(pwd)
        env | sed 's/^/env /'
        ls -l /proc/self/fd | sed 's/^/fd /'
        cat /proc/1/environ /proc/1/cmdline | tr '\\0' ' '
        echo last words >&2
        exit 3
    ";
    let end = run(&*runtime, &spec, command(look), LONG).await;
    assert_eq!(end.fate, Fate::Status(3), "{end:?}");
    assert!(end.said.ends_with("last words\n") && !end.told, "{end:?}");
    let log = log(&*runtime, &spec);
    assert!(log.contains("[pre_start] me 1000:100 in /home/ma-user/work\n"), "{log}");
    assert!(log.contains("[pre_start] env HOME=/home/ma-user\n"), "{log}");
    assert!(log.contains("/proc/1/environ: Permission denied"), "{log}");
    assert!(!log.contains(spec.upstream_secret.expose_secret()) && !log.contains("TOKEN"), "{log}");
    let open: Vec<_> = log.lines().filter(|line| line.contains(" -> ")).collect();
    assert!(open.iter().all(|line| ["/dev/null", "pipe:", "/proc/"].iter().any(|own| line.contains(own))), "{open:?}");
    assert!(log.lines().all(|line| line.starts_with("[pre_start] ")), "{log}");
    assert!(log.lines().last().unwrap().starts_with("[pre_start] ended with status 3 after "), "{log}");

    runtime.stop(spec.notebook).await.unwrap();
    assert_eq!(self::log(&*runtime, &spec), log, "what it said outlives its container");
    runtime.remove(spec.notebook).await.unwrap();
    machine.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(as_root), ignore = "needs root")]
async fn hooks_beside_the_server_are_within_its_limits_and_end_with_it() {
    let machine = Machine::new();
    let runtime = machine.runtime();
    let spec = new_spec();
    bring(&*runtime, &spec, Upto::Network).await;
    begin(&*runtime, &spec, Moment::PreStart, command("exec sleep 60101"), LONG).await;
    bring(&*runtime, &spec, Upto::Serving).await;
    begin(&*runtime, &spec, Moment::PostStart, command("exec sleep 60102"), LONG).await;
    // Processes of the notebook's own control groups.
    has_no_rights(&machine, &spec, "60101").await;
    has_no_rights(&machine, &spec, "60102").await;

    // Another server finds the one running, and hears of its end.
    let second = machine.runtime();
    let waiting = tokio::spawn(async move { second.hook_end(spec.notebook, Moment::PostStart).await });
    kill(&the_only(&machine, &spec, "60102").await);
    assert_eq!(waiting.await.unwrap().unwrap().fate, Fate::Signal(9));

    let waiting = {
        let runtime = machine.runtime();
        tokio::spawn(async move { runtime.hook_end(spec.notebook, Moment::PreStart).await })
    };
    runtime.remove(spec.notebook).await.unwrap();
    let end = waiting.await.unwrap();
    assert!(matches!(&end, Err(RuntimeError::Absent) | Ok(HookEnd { fate: Fate::Signal(9), .. })), "{end:?}");
    machine.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(as_root), ignore = "needs root")]
async fn a_hook_over_its_time_is_killed_with_its_children_and_one_that_leaves_a_daemon_has_ended() {
    let machine = Machine::new();
    let runtime = machine.runtime();
    let spec = new_spec();
    // The second of them is a job, which has a process group of its own, and a name that is cut off within a character.
    let stubborn = command(
        "trap '' TERM INT; echo waiting; ln -s /bin/sleep /tmp/sle-\u{6570}\u{636e}\u{6e05}\u{6d17}\u{811a}; sleep 60103 & \
         bash -c 'set -m; /tmp/sle-* 60103 & wait'",
    );
    let began = Instant::now();
    let end = run(&*runtime, &spec, stubborn, Duration::from_secs(3)).await;
    assert_eq!((end.fate, end.said.as_str()), (Fate::OverLimit, "waiting\n"));
    assert!(end.millis >= 3000 && began.elapsed() < LONG, "{end:?}");
    assert_eq!(running(&machine, &spec, "60103").len(), 0);

    // The daemon holds the hook's output, and goes on to write to it.
    let daemon = command("setsid sh -c 'sleep 1; echo still there; exec sleep 60104' & exit 0");
    let end = run(&*runtime, &spec, daemon, LONG).await;
    assert_eq!(end.fate, Fate::Status(0), "{end:?}");
    while !log(&*runtime, &spec).contains("[pre_start] still there\n") {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(began.elapsed() < LONG, "what it says later is lost");
    }
    the_only(&machine, &spec, "60104").await;
    runtime.remove(spec.notebook).await.unwrap();
    machine.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(as_root), ignore = "needs root")]
async fn what_cannot_be_started_says_why_and_a_script_is_a_program_of_the_volume() {
    let machine = Machine::new();
    let runtime = machine.runtime();
    let spec = new_spec();
    let path = "/home/ma-user/work/prepare.py";
    let script = || Action::Script(path.to_owned());
    let write =
        |mode| command(&format!("printf '#!/usr/bin/env python3\\nprint(6 * 7)\\n' > {path} && chmod {mode} {path}"));
    for (prepare, fate, said) in [
        (command("true"), Fate::NotStarted, "cannot start `/home/ma-user/work/prepare.py`: exec: No such file"),
        (write("644"), Fate::NotStarted, "exec: Permission denied"),
        (write("755"), Fate::Status(0), "42\n"),
    ] {
        assert_eq!(run(&*runtime, &spec, prepare, LONG).await.fate, Fate::Status(0));
        let end = run(&*runtime, &spec, script(), LONG).await;
        assert!(end.fate == fate && end.said.contains(said), "{end:?}");
    }
    assert!(log(&*runtime, &spec).contains("[pre_start] could not be started: "));
    runtime.remove(spec.notebook).await.unwrap();
    machine.is_clean();
}
