//! The lines of version 1 of the control protocol that tell of calls of `sync`, byte for byte. As those of `version_1.rs` they
//! are never edited. An init of before them refuses the command, and does not say that it answers calls.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by them")]

use atelier_init::protocol::{Answer, Command, Request, State};

const ANSWER: &str = r#"{"version":1,"command":"answer-syncs"}"#;
const ANSWERS: &str = r#"{"version":1,"state":{"state":"empty"},"answers_syncs":true}"#;
const OF_BEFORE: &str = r#"{"version":1,"state":{"state":"empty"}}"#;

#[test]
fn this_release_writes_these_very_lines_and_understands_them() {
    assert_eq!(serde_json::to_string(&Request::new(Command::AnswerSyncs)).unwrap(), ANSWER);
    let read: Request = serde_json::from_str(ANSWER).unwrap();
    assert!(matches!(read.command, Command::AnswerSyncs));
    let answer = Answer { version: 1, error: None, state: State::Empty, hooks: Vec::new(), answers_syncs: true };
    assert_eq!(serde_json::to_string(&answer).unwrap(), ANSWERS);
    let answers = |line| serde_json::from_str::<Answer>(line).unwrap().answers_syncs;
    assert!(answers(ANSWERS));
    assert!(!answers(OF_BEFORE));
}
