//! The part of version 1 of the control protocol that runs commands, byte for byte. The rules of `version_1.rs` hold.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use atelier_init::protocol::{Command, Ended, Exec, ExecEnd, Request, VERSION};

const EXEC: &str = concat!(
    r#"{"version":1,"command":"exec","argv":["ls","-l"],"env":[["HOME","/home/ma-user"]],"cwd":"/home/ma-user/work","#,
    r#""uid":1000,"gid":100,"filters":["06000000"],"oom_score_adj":500,"terminal":true}"#,
);
const END_INPUT: &str = r#"{"version":1,"command":"end-input"}"#;
const END: &str = r#"{"version":1,"ended":{"code":2,"status":512,"when":1687656452470}}"#;

fn command() -> Exec {
    Exec {
        argv: vec!["ls".into(), "-l".into()],
        env: vec![("HOME".into(), "/home/ma-user".into())],
        cwd: "/home/ma-user/work".into(),
        uid: 1000,
        gid: 100,
        filters: vec!["06000000".into()],
        oom_score_adj: 500,
        terminal: true,
    }
}

#[test]
fn these_lines_are_written_and_understood() {
    for (line, request) in
        [(EXEC, Request::new(Command::Exec(Box::new(command())))), (END_INPUT, Request::new(Command::EndInput))]
    {
        assert_eq!(serde_json::to_string(&request).unwrap(), line);
        let read: Request = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), line);
    }
    let end = ExecEnd { version: VERSION, ended: Ended { code: 2, status: 512, when: 1_687_656_452_470 } };
    assert_eq!(serde_json::to_string(&end).unwrap(), END);
    assert_eq!(serde_json::from_str::<ExecEnd>(END).unwrap(), end);
}
