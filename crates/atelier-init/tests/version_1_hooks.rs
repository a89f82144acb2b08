//! The lines of version 1 of the control protocol that tell of hooks, byte for byte. As those of `version_1.rs` they are
//! never edited. An init of before them refuses the commands, and names no hooks in its answers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by them")]

use atelier_init::protocol::{Answer, Command, Hook, HookEnded, LogLimits, Request, RunHook, StartServer, State};

const RUN: &str = concat!(
    r#"{"version":1,"command":"run-hook","name":"pre_start","limit_ms":600000,"argv":["/bin/sh","-c","true"],"env":[],"#,
    r#""cwd":"/home/ma-user/work","uid":1000,"gid":100,"filters":[],"oom_score_adj":500,"#,
    r#""log":{"file_bytes":1048576,"files":3}}"#,
);
const TOLD: &str = r#"{"version":1,"command":"hook-told","name":"pre_start"}"#;
const ANSWER: &str = concat!(
    r#"{"version":1,"state":{"state":"empty"},"hooks":[{"name":"running"},{"name":"ended","ended":"#,
    r#"{"status":768,"over_limit":false,"millis":7,"said":"no\n","told":true}},{"name":"never ran","ended":"#,
    r#"{"over_limit":false,"millis":0,"said":"no such file","told":false}}]}"#,
);

fn requests() -> [(&'static str, Request); 2] {
    let program = StartServer {
        argv: ["/bin/sh", "-c", "true"].map(str::to_owned).into(),
        env: Vec::new(),
        cwd: "/home/ma-user/work".into(),
        uid: 1000,
        gid: 100,
        secret: None,
        filters: Vec::new(),
        oom_score_adj: 500,
        log: LogLimits { file_bytes: 1_048_576, files: 3 },
    };
    let run = RunHook { name: "pre_start".into(), limit_ms: 600_000, program };
    let told = Command::HookTold { name: "pre_start".into() };
    [(RUN, Request::new(Command::RunHook(Box::new(run)))), (TOLD, Request::new(told))]
}

fn answer() -> Answer {
    let ended =
        |status, millis, said: &str, told| HookEnded { status, over_limit: false, millis, said: said.to_owned(), told };
    let hook = |name: &str, ended| Hook { name: name.to_owned(), ended };
    let hooks = vec![
        hook("running", None),
        hook("ended", Some(ended(Some(3 << 8), 7, "no\n", true))),
        hook("never ran", Some(ended(None, 0, "no such file", false))),
    ];
    Answer { version: 1, error: None, state: State::Empty, hooks, answers_syncs: false }
}

#[test]
fn this_release_writes_these_very_lines_and_understands_them() {
    for (line, request) in requests() {
        assert_eq!(serde_json::to_string(&request).unwrap(), line);
        let read: Request = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), line, "a field was not read");
    }
    assert_eq!(serde_json::to_string(&answer()).unwrap(), ANSWER);
    let read: Answer = serde_json::from_str(ANSWER).unwrap();
    assert_eq!((read.state, read.hooks), (State::Empty, answer().hooks));
}
