//! `atelier doctor` on this machine: it looks, tells, and leaves nothing behind.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;

use serde_json::{Value, json};

/// What a probe could have left: folders of its own, loop devices on them, mounts, control groups.
fn traces(scratch: &std::path::Path) -> BTreeSet<String> {
    let mark = scratch.display().to_string();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found: BTreeSet<_> = mounts.lines().filter(|line| line.contains(&mark)).map(str::to_owned).collect();
    for device in std::fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        let backing = std::fs::read_to_string(device.path().join("loop/backing_file")).unwrap_or_default();
        found.extend(backing.contains(&mark).then_some(backing));
    }
    for entry in std::fs::read_dir(scratch).into_iter().flatten().flatten() {
        found.insert(entry.path().display().to_string());
    }
    found
}

#[test]
fn the_report_is_whole_and_nothing_is_left_of_it() {
    let scratch = tempfile::tempdir().unwrap();
    let data = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_atelier"))
        .args(["doctor", "--output", "json", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(data.path().join("data"))
        .env("TMPDIR", scratch.path())
        .env("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
        .output()
        .unwrap();
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = findings.as_array().unwrap();
    let state = |topic: &str| {
        let found = findings.iter().find(|finding| finding["topic"] == topic);
        found.map(|finding| finding["state"].as_str().unwrap().to_owned())
    };
    for topic in [
        "rights",
        "control groups",
        "overlay",
        "volumes: XFS on a loop device",
        "shifted ids: layers of an overlay",
        "shifted ids: data folder",
        "firewall",
        "kernel's log",
        "FUSE",
        "clock",
        "wall clock and boot",
        "package sources",
        "layout of the data folder",
        "database",
        "image",
    ] {
        assert!(state(topic).is_some(), "{topic}");
    }
    assert_eq!((state("address").as_deref(), state("data folder").as_deref()), (Some("ok"), Some("ok")));
    for finding in findings {
        let whole = finding["state"] == "ok" || (finding["cost"] != "" && finding["cure"] != "");
        assert!(whole, "{finding}");
    }
    let failed = findings.iter().any(|finding| finding["state"] == "failure");
    assert_eq!(output.status.code(), Some(i32::from(failed)));
    assert_eq!(traces(scratch.path()), BTreeSet::new());
    assert!(!data.path().join("data").exists());
}

/// As on a machine whose kernel lacks a module.
#[test]
fn a_firewall_that_cannot_be_is_told_in_the_words_of_its_program() {
    let folder = tempfile::tempdir().unwrap();
    let nft = folder.path().join("nft");
    std::fs::write(&nft, "#!/bin/sh\ncat > /dev/null\necho 'Error: no such thing' >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&nft, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::join_paths(
        std::iter::once(folder.path().to_owned()).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let output = Command::new(env!("CARGO_BIN_EXE_atelier"))
        .args(["doctor", "--output", "json", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(folder.path().join("data"))
        .env("PATH", path.unwrap())
        .output()
        .unwrap();
    let findings: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let firewall = findings.iter().find(|finding| finding["topic"] == "firewall").unwrap();
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        assert_eq!((&firewall["state"], &firewall["found"]), (&json!("failure"), &json!("nft: Error: no such thing")));
    } else {
        assert_eq!(firewall["state"], "unknown");
    }
}
