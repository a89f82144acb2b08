//! What the grammar takes.

use clap::CommandFactory;

use super::*;

#[test]
fn the_grammar_is_consistent() {
    Arguments::command().debug_assert();
}

#[test]
fn hooks_are_named_together_and_are_a_change_by_themselves() {
    let parses =
        |line: &[&str]| Arguments::try_parse_from(["atelier", "notebook"].iter().chain(line)).map_err(|e| e.kind());
    assert!(parses(&["create", "x", "--pre-start", "a", "--post-start", "b", "--hook-mode", "async"]).is_ok());
    assert!(parses(&["update", "x", "--post-start", "b"]).is_ok());
    assert!(parses(&["update", "x", "--no-hooks"]).is_ok());
    let missing = clap::error::ErrorKind::MissingRequiredArgument;
    assert_eq!(parses(&["update", "x", "--hook-mode", "async"]).err(), Some(missing));
    assert!(parses(&["update", "x", "--no-hooks", "--post-start", "b"]).is_err());
}

#[test]
fn the_last_of_wait_and_no_wait_counts() {
    let waits = |flags: &[&str]| {
        let line = ["atelier", "notebook", "stop", "x"].iter().chain(flags);
        let Command::Notebook(NotebookCommand::Stop(stop)) = Arguments::parse_from(line).command else {
            panic!("not a stop")
        };
        !stop.waiting.no_wait || stop.waiting.wait
    };
    assert!(waits(&[]) && waits(&["--wait"]) && waits(&["--no-wait", "--wait"]));
    assert!(!waits(&["--no-wait"]));
}

#[test]
fn a_command_for_a_notebook_stands_behind_two_dashes() {
    let exec = |words: &[&str]| {
        let line = ["atelier", "notebook", "exec", "nb"].iter().chain(words);
        match Arguments::try_parse_from(line).map(|arguments| arguments.command) {
            Ok(Command::Notebook(NotebookCommand::Exec(exec))) => Ok(exec),
            Ok(_) => panic!("not an exec"),
            Err(e) => Err(e.to_string()),
        }
    };
    let plain = exec(&["--", "ls", "-t", "--", "x"]).unwrap();
    assert_eq!((plain.tty, plain.command.join(" ").as_str()), (Tty::Auto, "ls -t -- x"));
    let full = exec(&["-t", "-w", "sub", "-e", "A=b=c", "--env", "D=", "--", "sh"]).unwrap();
    assert_eq!((full.tty, full.workdir.as_deref()), (Tty::Always, Some("sub")));
    assert_eq!(full.env, [("A".into(), "b=c".into()), ("D".into(), String::new())]);
    assert_eq!(exec(&["--tty=never", "--", "sh"]).unwrap().tty, Tty::Never);
    for wrong in [&["ls"][..], &[], &["--"], &["-e", "A", "--", "ls"], &["-e", "=b", "--", "ls"]] {
        assert!(exec(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn never_and_minus_one_are_the_same_grant() {
    for word in ["never", "-1"] {
        let line = ["atelier", "notebook", "renew", "x", "--duration", word];
        let Command::Notebook(NotebookCommand::Renew(renew)) = Arguments::parse_from(line).command else {
            panic!("not a renewal")
        };
        assert_eq!(renew.duration, -1);
    }
}
