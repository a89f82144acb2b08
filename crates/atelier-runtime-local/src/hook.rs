//! Hooks in a container: how they are started, and what its init says of them.
//!
//! A hook is a child of the init, made as a notebook server is that starts by its command line: the same user, the same
//! filters, the same environment, and no secret. The init knows which hooks it has begun, and how they ended, for as long as
//! the container lives; nothing is kept of them elsewhere.

use std::io;
use std::path::Path;

use atelier_core::hook::{Action, Moment};
use atelier_init::protocol::{self, Answer, Command, HookEnded, RunHook, StartServer};
use atelier_runtime::{Fate, HookEnd, HookRun};

use crate::control::Init;

/// The shell where the image names none.
const SHELL: &str = "/bin/sh";

/// What the init is told. `like` is how the notebook server is started, without its secret.
pub(crate) fn command(hook: &HookRun, like: StartServer) -> Command {
    let argv = match &hook.action {
        Action::Script(path) => vec![path.clone()],
        Action::Command(text) => {
            let shell = like.env.iter().find(|(name, _)| name == "SHELL").map_or(SHELL, |(_, shell)| shell);
            vec![shell.to_owned(), "-c".into(), text.clone()]
        }
    };
    let program = StartServer { argv, ..like };
    let limit_ms = u64::try_from(hook.limit.as_millis()).unwrap_or(u64::MAX);
    Command::RunHook(Box::new(RunHook { name: hook.moment.as_str().into(), limit_ms, program }))
}

/// What an answer says of the hook of this moment: `None` when it was not begun.
pub(crate) fn found(moment: Moment, answer: Answer) -> Option<protocol::Hook> {
    answer.hooks.into_iter().find(|hook| hook.name == moment.as_str())
}

/// Waits on one connection until the hook has ended; `None` when it was not begun.
pub(crate) async fn end(shared: &Path, moment: Moment) -> io::Result<Option<HookEnd>> {
    let mut init = Init::connect(shared).await?;
    let mut answer = init.ask(Command::Watch).await?;
    loop {
        match found(moment, answer) {
            None => return Ok(None),
            Some(protocol::Hook { ended: Some(ended), .. }) => return Ok(Some(outcome(ended))),
            Some(_) => answer = init.next().await?,
        }
    }
}

fn outcome(ended: HookEnded) -> HookEnd {
    let fate = match ended.status {
        None => Fate::NotStarted,
        Some(_) if ended.over_limit => Fate::OverLimit,
        Some(status) => match status & 0x7f {
            0 => Fate::Status((status >> 8) & 0xff),
            signal => Fate::Signal(signal),
        },
    };
    HookEnd { fate, millis: ended.millis, said: ended.said, told: ended.told }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use atelier_init::protocol::LogLimits;

    use super::*;

    fn run(action: Action) -> RunHook {
        let server = StartServer {
            argv: vec!["/python".into()],
            env: vec![("SHELL".into(), "/bin/zsh".into())],
            cwd: "/".into(),
            uid: 1000,
            gid: 100,
            secret: None,
            filters: vec!["06".into()],
            oom_score_adj: 500,
            log: LogLimits { file_bytes: 1, files: 1 },
        };
        let hook = HookRun { moment: Moment::PreStart, action, limit: Duration::from_secs(7) };
        match command(&hook, server) {
            Command::RunHook(run) => *run,
            _ => panic!("another command"),
        }
    }

    #[test]
    fn a_hook_is_what_the_server_is_but_for_its_command_line() {
        let hook = run(Action::Command("echo 1".into()));
        assert_eq!((hook.name.as_str(), hook.limit_ms), ("pre_start", 7000));
        assert_eq!(hook.program.argv, ["/bin/zsh", "-c", "echo 1"]);
        assert_eq!(hook.program.env, [("SHELL".to_owned(), "/bin/zsh".to_owned())]);
        assert_eq!((hook.program.uid, hook.program.filters.len()), (1000, 1));
        assert_eq!(run(Action::Script("/a b".into())).program.argv, ["/a b"]);
    }

    #[test]
    fn an_end_is_read_from_the_wait_status() {
        let fate = |status, over_limit| {
            outcome(HookEnded { status, over_limit, millis: 0, said: String::new(), told: false }).fate
        };
        assert_eq!(fate(Some(0), false), Fate::Status(0));
        assert_eq!(fate(Some(3 << 8), false), Fate::Status(3));
        assert_eq!(fate(Some(9), false), Fate::Signal(9));
        assert_eq!(fate(Some(9), true), Fate::OverLimit);
        assert_eq!(fate(None, false), Fate::NotStarted);
    }
}
