//! Version 1 of the control protocol, byte for byte.
//!
//! Inits that speak it run in notebooks for as long as their users let them, so every later release must understand these
//! lines. They are never edited. A change of what is written needs a new version, and a file like this one of its own;
//! then only [`every_line_is_understood`] stays here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by them")]

use atelier_init::protocol::{Answer, Command, Ended, LogLimits, Request, StartServer, State, VERSION};

const START: &str = concat!(
    r#"{"version":1,"command":"start-server","argv":["/opt/server","--port=0"],"env":[["HOME","/home/ma-user"]],"#,
    r#""cwd":"/home/ma-user/work","uid":1000,"gid":100,"secret":"s3cr3t","filters":["06000000"],"#,
    r#""oom_score_adj":500,"log":{"file_bytes":1048576,"files":3}}"#,
);
const START_WITHOUT_SECRET: &str = concat!(
    r#"{"version":1,"command":"start-server","argv":[],"env":[],"cwd":"/","uid":0,"gid":0,"filters":[],"#,
    r#""oom_score_adj":0,"log":{"file_bytes":1,"files":1}}"#,
);
const STOP: &str = r#"{"version":1,"command":"stop","grace_ms":10000}"#;
const STATUS: &str = r#"{"version":1,"command":"status"}"#;
const WATCH: &str = r#"{"version":1,"command":"watch"}"#;
const EMPTY: &str = r#"{"version":1,"state":{"state":"empty"}}"#;
const RUNNING: &str = r#"{"version":1,"state":{"state":"running","pid":7}}"#;
const ENDED: &str = r#"{"version":1,"state":{"state":"ended","code":137,"status":9,"when":1687656452470}}"#;
const REFUSED: &str = r#"{"version":1,"error":"a server runs already","state":{"state":"running","pid":7}}"#;
/// What the exit file holds.
const EXIT: &str = r#"{"code":137,"status":9,"when":1687656452470}"#;

fn ended() -> Ended {
    Ended { code: 137, status: 9, when: 1_687_656_452_470 }
}

fn starts() -> [StartServer; 2] {
    [
        StartServer {
            argv: vec!["/opt/server".into(), "--port=0".into()],
            env: vec![("HOME".into(), "/home/ma-user".into())],
            cwd: "/home/ma-user/work".into(),
            uid: 1000,
            gid: 100,
            secret: Some("s3cr3t".into()),
            filters: vec!["06000000".into()],
            oom_score_adj: 500,
            log: LogLimits { file_bytes: 1_048_576, files: 3 },
        },
        StartServer {
            argv: Vec::new(),
            env: Vec::new(),
            cwd: "/".into(),
            uid: 0,
            gid: 0,
            secret: None,
            filters: Vec::new(),
            oom_score_adj: 0,
            log: LogLimits { file_bytes: 1, files: 1 },
        },
    ]
}

fn requests() -> Vec<(&'static str, Request)> {
    let [full, bare] = starts();
    vec![
        (START, Request::new(Command::StartServer(Box::new(full)))),
        (START_WITHOUT_SECRET, Request::new(Command::StartServer(Box::new(bare)))),
        (STOP, Request::new(Command::Stop { grace_ms: 10_000 })),
        (STATUS, Request::new(Command::Status)),
        (WATCH, Request::new(Command::Watch)),
    ]
}

fn answers() -> Vec<(&'static str, Answer)> {
    let answer = |error, state| Answer { version: VERSION, error, state, hooks: Vec::new(), answers_syncs: false };
    vec![
        (EMPTY, answer(None, State::Empty)),
        (RUNNING, answer(None, State::Running { pid: 7 })),
        (ENDED, answer(None, State::Ended(ended()))),
        (REFUSED, answer(Some("a server runs already".into()), State::Running { pid: 7 })),
    ]
}

#[test]
fn this_release_writes_these_very_lines() {
    assert_eq!(VERSION, 1, "a new version has lines of its own: see the top of this file");
    for (line, request) in requests() {
        assert_eq!(serde_json::to_string(&request).unwrap(), line);
    }
    for (line, answer) in answers() {
        assert_eq!(serde_json::to_string(&answer).unwrap(), line);
    }
    assert_eq!(serde_json::to_string(&ended()).unwrap(), EXIT);
}

#[test]
fn every_line_is_understood() {
    for (line, request) in requests() {
        let read: Request = serde_json::from_str(line).unwrap();
        assert_eq!(read.version, 1);
        // Told apart by all that they carry: a field that was not read would be missing here.
        let shown = |request: &Request| serde_json::to_value(&request.command).unwrap();
        assert_eq!(shown(&read), shown(&request));
    }
    for (line, answer) in answers() {
        let read: Answer = serde_json::from_str(line).unwrap();
        assert_eq!((read.version, &read.error, &read.state), (1, &answer.error, &answer.state));
    }
    assert_eq!(serde_json::from_str::<Ended>(EXIT).unwrap(), ended());
}
