use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("atelier-archive-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn copy(from: &Path, to: &Path) -> (io::Result<bool>, Vec<String>) {
    let (mut stream, mut said) = (Vec::new(), Vec::new());
    let mut say = |path: &Path, why: &str| said.push(format!("{}: {why}", path.display()));
    let sent = send(from, &mut stream, &mut say).unwrap();
    let received = receive(stream.as_slice(), to, &mut say).map(|whole| whole && sent);
    (received, said)
}

/// A stream by hand: kind, path, target or content.
fn stream(records: &[(Kind, &str, &str)], end: bool) -> Vec<u8> {
    let mut stream = BEGINNING.to_vec();
    for (kind, path, more) in records {
        let target = if *kind == Kind::Link { more } else { "" };
        let record = Record { kind: *kind, mode: 0o7777, path: path.into(), target: target.into(), ..Record::end() };
        record.write(&mut stream).unwrap();
        if *kind == Kind::File {
            pieces(&mut more.as_bytes(), &mut stream).unwrap().unwrap();
        }
    }
    if end {
        Record::end().write(&mut stream).unwrap();
    }
    stream
}

fn nothing_said(_: &Path, why: &str) {
    panic!("{why}");
}

#[test]
fn a_folder_arrives_as_it_was() {
    let base = folder("whole");
    let from = base.join("from");
    fs::create_dir_all(from.join("sub/empty")).unwrap();
    fs::write(from.join("sub/run.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(from.join("sub/run.sh"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::write(from.join("large"), vec![7; MOST_PIECE * 2 + 1]).unwrap();
    symlink("../large", from.join("sub/up")).unwrap();
    fs::set_permissions(from.join("sub"), fs::Permissions::from_mode(0o555)).unwrap();
    let (done, said) = copy(&from, &base.join("to"));
    assert!(done.unwrap() && said.is_empty(), "{said:?}");
    let to = base.join("to");
    assert_eq!(fs::read(to.join("large")).unwrap(), fs::read(from.join("large")).unwrap());
    assert_eq!(fs::read_link(to.join("sub/up")).unwrap(), Path::new("../large"));
    let (script, sub) = (fs::metadata(to.join("sub/run.sh")).unwrap(), fs::metadata(to.join("sub")).unwrap());
    assert_eq!((script.mode() & 0o7777, sub.mode() & 0o7777), (0o751, 0o555));
    assert_eq!(script.mtime_nsec(), fs::metadata(from.join("sub/run.sh")).unwrap().mtime_nsec());
    // Once more over itself, with a file that has changed.
    fs::write(from.join("large"), "small").unwrap();
    assert!(copy(&from, &to).0.unwrap());
    assert_eq!(fs::read(to.join("large")).unwrap(), b"small");
    fs::remove_dir_all(base).unwrap();
}

#[test]
fn a_hostile_stream_writes_nothing_elsewhere() {
    let base = folder("hostile");
    let outside = base.join("outside");
    fs::write(&outside, "untouched").unwrap();
    fs::create_dir(base.join("elsewhere")).unwrap();
    for (number, records) in [
        &[(Kind::File, "../outside", "x")][..],
        &[(Kind::Folder, "", ""), (Kind::File, "../../outside", "x")],
        &[(Kind::Folder, "", ""), (Kind::File, "a/../../outside", "x")],
        &[(Kind::File, "/outside", "x")],
        &[(Kind::Folder, "", ""), (Kind::File, "./a//b", "x")],
        &[(Kind::Folder, "", ""), (Kind::Link, "l", "../elsewhere"), (Kind::File, "l/x", "x")],
        &[(Kind::Folder, "", ""), (Kind::Folder, "d", ""), (Kind::Link, "l", "d"), (Kind::File, "l/x", "x")],
        &[(Kind::Link, "", "elsewhere"), (Kind::File, "x", "x")],
        &[(Kind::File, "", "x"), (Kind::File, "a", "x")],
    ]
    .iter()
    .enumerate()
    {
        let to = base.join(format!("to{number}"));
        let done = receive(stream(records, true).as_slice(), &to, &mut |_, _| ());
        assert!(done.is_err(), "{records:?}");
        assert_eq!(fs::read(&outside).unwrap(), b"untouched");
        assert_eq!(fs::read_dir(base.join("elsewhere")).unwrap().count(), 0, "{records:?}");
    }
    // Links that were there before are not followed either, and a link in a file's place is replaced by the file.
    let to = base.join("to");
    fs::create_dir(&to).unwrap();
    symlink(base.join("elsewhere"), to.join("l")).unwrap();
    let into = stream(&[(Kind::Folder, "", ""), (Kind::File, "l/x", "x")], true);
    assert!(receive(into.as_slice(), &to, &mut nothing_said).unwrap_err().to_string().contains("not followed"));
    symlink(&outside, to.join("f")).unwrap();
    let over = stream(&[(Kind::Folder, "", ""), (Kind::File, "f", "new")], true);
    assert!(receive(over.as_slice(), &to, &mut nothing_said).unwrap());
    assert_eq!((fs::read(&outside).unwrap(), fs::read(to.join("f")).unwrap()), (b"untouched".into(), b"new".into()));
    assert_eq!(fs::metadata(to.join("f")).unwrap().mode() & 0o7777, 0o777);
    fs::remove_dir_all(base).unwrap();
}

#[test]
fn links_that_lead_out_are_left_out_and_said() {
    for (path, target, stays) in [
        ("l", "a", true),
        ("d/l", "../a", true),
        ("d/l", "../../a", false),
        ("l", "..", false),
        ("l", "/etc/passwd", false),
        ("d/e/l", "x/../..", false),
        ("d/l", "./a", false),
        ("l", "", false),
        ("", "a", false),
    ] {
        assert_eq!(stays_within(Path::new(path), Path::new(target)), stays, "{path} -> {target}");
    }
    let base = folder("links");
    let from = base.join("from");
    fs::create_dir(&from).unwrap();
    symlink("/etc/passwd", from.join("trap")).unwrap();
    let (done, said) = copy(&from, &base.join("to"));
    assert!(!done.unwrap() && said.len() == 1 && said[0].starts_with("to/trap: it is a link"), "{said:?}");
    assert!(fs::symlink_metadata(base.join("to/trap")).is_err());
    fs::remove_dir_all(base).unwrap();
}

#[test]
fn half_a_file_never_has_its_name() {
    let base = folder("half");
    let whole = stream(&[(Kind::Folder, "", ""), (Kind::File, "a", "1234"), (Kind::File, "b", "5678")], true);
    for length in 0..whole.len() {
        let to = base.join(format!("to{length}"));
        let error = receive(&whole[..length], &to, &mut nothing_said).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{error}");
        for (name, text) in [("a", "1234"), ("b", "5678")] {
            assert!(fs::read_to_string(to.join(name)).map_or(true, |read| read == text));
        }
        let left = fs::read_dir(&to).into_iter().flatten().flatten().filter(|e| e.path().extension().is_some());
        assert_eq!(left.count(), 0);
    }
    let mut given_up = stream(&[(Kind::File, "", "1234")], false);
    given_up.truncate(given_up.len() - 4);
    given_up.extend(BROKEN.to_be_bytes());
    assert!(receive(given_up.as_slice(), &base.join("f"), &mut nothing_said).is_err());
    assert!(!base.join("f").exists());
    fs::remove_dir_all(base).unwrap();
}

#[test]
fn what_is_no_file_is_left_out_and_bytes_alone_are_one() {
    let base = folder("kinds");
    let from = base.join("from");
    fs::create_dir(&from).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap();
    let (done, said) = copy(&from, &base.join("to"));
    assert!(!done.unwrap() && said.len() == 1, "{said:?}");
    let (mut sent, mut back) = (Vec::new(), Vec::new());
    send_bytes(&b"bytes"[..], &mut sent).unwrap();
    receive_bytes(sent.as_slice(), &mut back).unwrap();
    assert_eq!(back, b"bytes");
    assert!(receive(sent.as_slice(), &base.join("file"), &mut nothing_said).unwrap());
    assert_eq!(fs::read(base.join("file")).unwrap(), b"bytes");
    assert!(receive_bytes(&sent[..sent.len() - 1], &mut back).is_err());
    assert_eq!(place(&base, Some("x".as_ref())).unwrap(), base.join("x"));
    assert_eq!(place(&base.join("new"), Some("x".as_ref())).unwrap(), base.join("new"));
    assert!(place(&base, None).is_err() && place(&base.join("new/"), None).is_err());
    fs::remove_dir_all(base).unwrap();
}
