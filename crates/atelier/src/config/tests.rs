//! What the configuration takes and refuses, as a whole.

use atelier_core::gpu::FlavorGpus;
use atelier_runtime_local::DiskLimits;

use super::*;

fn places() -> Places {
    Places { default_data_dir: "/d".into(), default_cache_dir: "/c".into(), ..Places::default() }
}

fn with_environment(variables: &[(&str, &str)]) -> Places {
    let environment = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Places { environment, ..places() }
}

fn with_file(folder: &tempfile::TempDir, text: &str) -> Places {
    let path = folder.path().join("a.toml");
    std::fs::write(&path, text).unwrap();
    Places { file: Some(path), ..places() }
}

/// Every key that the program reads, by asking it.
fn known_keys() -> Vec<String> {
    let mut reader = Reader::default();
    sections::server(&mut reader, Path::new("/d"));
    sections::tls(&mut reader);
    sections::runtime(&mut reader);
    sections::local(&mut reader, Path::new("/c"));
    sections::image(&mut reader);
    sections::volumes(&mut reader);
    roots::read(&mut reader, &[]);
    sections::lease(&mut reader);
    sections::idle(&mut reader);
    sections::hooks(&mut reader);
    sections::restart(&mut reader);
    sections::quota(&mut reader);
    sections::limits(&mut reader);
    sections::retention(&mut reader);
    sections::iam(&mut reader);
    seeing::read(&mut reader);
    flavors::read(&mut reader);
    profiles::read(&mut reader);
    pools::read(&mut reader, &[]);
    reader.known().iter().cloned().chain(["gateway.domain".to_owned()]).collect()
}

#[test]
fn the_default_file_says_exactly_what_the_defaults_are() {
    let folder = tempfile::tempdir().unwrap();
    let from_file = load(&with_file(&folder, DEFAULT_FILE)).unwrap();
    assert_eq!(from_file, load(&places()).unwrap());
}

#[test]
fn the_default_file_shows_every_key_in_its_section() {
    let mut section = String::new();
    let mut shown = std::collections::BTreeSet::new();
    for line in DEFAULT_FILE.lines() {
        if let Some(name) = line.trim_start_matches("# ").strip_prefix('[') {
            section = name.trim_matches(|c| c == '[' || c == ']').to_owned();
            shown.insert(section.clone());
        } else if let Some((key, _)) = line.trim_start_matches("# ").split_once(" = ") {
            shown.insert(format!("{section}.{key}"));
        }
    }
    for key in known_keys() {
        assert!(shown.contains(&key), "`{key}` is not in the default file");
    }
}

#[test]
fn flags_beat_the_environment_which_beats_the_file_which_beats_the_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[quota]\nnotebooks_per_user = 1\n[lease]\nmax_ms = 7200000\n[iam]\nregion = \"file\"\n";
    let mut places = with_file(&folder, text);
    places.environment = vec![
        ("ATELIER_QUOTA__NOTEBOOKS_PER_USER".into(), "2".into()),
        ("ATELIER_SERVER__LISTEN".into(), "127.0.0.1:2".into()),
    ];
    places.set_flag("server.listen", "--listen", Some("127.0.0.1:3".into()));
    let config = load(&places).unwrap();
    assert_eq!(config.server.listen.port(), 3);
    assert_eq!(config.notebooks_per_user, 2);
    assert_eq!((config.lease.max_ms, config.lease.min_ms), (7_200_000, 3_600_000));
    assert_eq!(config.iam.region, "file");
}

#[test]
fn the_file_in_the_data_folder_is_read_when_no_other_is_given() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(FILE_NAME), "[iam]\ntoken_hours = 5\n").unwrap();
    let mut places = places();
    places.set_flag("server.data_dir", "--data-dir", Some(folder.path().display().to_string()));
    assert_eq!(load(&places).unwrap().iam.token_hours, 5);
}

#[test]
fn a_file_that_was_asked_for_must_be_there() {
    let mistakes = load(&Places { file: Some("/nowhere/a.toml".into()), ..places() }).unwrap_err();
    assert_eq!(mistakes.len(), 1);
    assert!(mistakes[0].to_string().contains("/nowhere/a.toml"), "{}", mistakes[0]);
}

#[test]
fn every_mistake_of_every_layer_is_reported_at_once_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[server]\nlisen = \"x\"\nlog_format = \"xml\"\n[lease]\nmin_ms = 10\nmax_ms = 5\n\
                [[flavors]]\nid = \"a b\"\ncpu_milis = 5\nmemory_mib = 1\n";
    let mut places = with_file(&folder, text);
    places.environment = vec![
        ("ATELIER_QUOTA__NOTEBOOKS_PER_USR".into(), "3".into()),
        ("ATELIER_LIMITS__CONNECTIONS".into(), "many".into()),
    ];
    places.set_flag("runtime.kind", "--runtime", Some("docker".into()));
    let mistakes = load(&places).unwrap_err();
    let told: Vec<_> =
        mistakes.iter().map(|m| m.to_string().replace(&folder.path().display().to_string(), "")).collect();
    assert_eq!(
        told,
        [
            "/a.toml:2: unknown key `server.lisen`\n    hint: did you mean `server.listen`?",
            "/a.toml:3: `server.log_format` must be `text` or `json`, not \"xml\"",
            "/a.toml:5: `lease.min_ms` (10) must not be larger than `lease.max_ms` (5)",
            "/a.toml:7: `cpu_millis` of a flavor is missing; it must be thousandths of a CPU, 10 to 1024000",
            "/a.toml:8: `id` of a flavor must be 1 to 64 letters, digits, `.`, `-` or `_`, not \"a b\"",
            "/a.toml:9: unknown key `cpu_milis` in `flavors`\n    hint: did you mean `cpu_millis`?",
            "/a.toml:10: `memory_mib` of a flavor must be a number of MiB, 64 to 67108864, not 1",
            "environment variable ATELIER_LIMITS__CONNECTIONS: `limits.connections` must be a whole number, 8 to 1000000, not \"many\"",
            "environment variable ATELIER_QUOTA__NOTEBOOKS_PER_USR: unknown key `quota.notebooks_per_usr`\n    hint: did you mean ATELIER_QUOTA__NOTEBOOKS_PER_USER?",
            "--runtime: `runtime.kind` must be `local` or `simulated`, not \"docker\"",
        ]
    );
}

#[test]
fn every_key_can_be_set_from_the_environment() {
    let environment = [
        ("ATELIER_SERVER__DATA_DIR", "/x"),
        ("ATELIER_SERVER__LISTEN", "[::1]:9"),
        ("ATELIER_SERVER__PUBLIC_URL", "https://a.example"),
        ("ATELIER_SERVER__TRUSTED_PROXIES", "127.0.0.1,fd00::/8"),
        ("ATELIER_SERVER__PROXY_HEADER", "forwarded"),
        ("ATELIER_TLS__CERTIFICATE", "/c.pem"),
        ("ATELIER_TLS__KEY", "/k.pem"),
        ("ATELIER_SERVER__LOG_FORMAT", "json"),
        ("ATELIER_SERVER__LOG_LEVEL", "warn,atelier_engine=debug"),
        ("ATELIER_GATEWAY__DOMAIN", "nb.example"),
        ("ATELIER_RUNTIME__KIND", "simulated"),
        ("ATELIER_LOCAL__CPU_OVERCOMMIT", "2"),
        ("ATELIER_LOCAL__MEMORY_OVERCOMMIT", "3"),
        ("ATELIER_LOCAL__CACHE_DIR", "/y"),
        ("ATELIER_LOCAL__DISK_READ_MIB", "4"),
        ("ATELIER_LOCAL__DISK_WRITE_MIB", "3"),
        ("ATELIER_LOCAL__DISK_READ_OPERATIONS", "20"),
        ("ATELIER_LOCAL__DISK_WRITE_OPERATIONS", "10"),
        ("ATELIER_LOCAL__EGRESS", "false"),
        ("ATELIER_LOCAL__ZYGOTE", "false"),
        ("ATELIER_LOCAL__CLOSED_NETWORKS", "10.0.0.0/8,192.168.0.0/16"),
        ("ATELIER_LOCAL__DNS", "9.9.9.9"),
        ("ATELIER_LOCAL__UID_BASE", "131072"),
        ("ATELIER_LOCAL__CA_FILE", "/ca.pem"),
        ("ATELIER_LOCAL__NVML", "/opt/libnvidia-ml.so.1"),
        ("ATELIER_LOCAL__ENVIRONMENT__HTTPS_PROXY", "http://p"),
        ("ATELIER_IMAGE__SOURCES", "deb http://mirror.example stable main"),
        ("ATELIER_IMAGE__SHARE_CREDENTIALS", "true"),
        ("ATELIER_LEASE__MIN_MS", "1"),
        ("ATELIER_LEASE__MAX_MS", "9"),
        ("ATELIER_LEASE__DEFAULT_MS", "5"),
        ("ATELIER_IDLE__LOOK_SECONDS", "1"),
        ("ATELIER_IDLE__CPU_WINDOW_SECONDS", "2"),
        ("ATELIER_IDLE__CPU_MARGIN_MILLIS", "5"),
        ("ATELIER_IDLE__CPU_BASELINE_MOST_MILLIS", "6"),
        ("ATELIER_IDLE__UNKNOWN_CEILING_SECONDS", "7"),
        ("ATELIER_IDLE__STARTING_MOST_SECONDS", "8"),
        ("ATELIER_HOOKS__LIMIT_SECONDS", "50"),
        ("ATELIER_RESTART__MOST", "2"),
        ("ATELIER_VOLUMES__TRASH_HOURS", "48"),
        ("ATELIER_RESTART__WITHIN_SECONDS", "60"),
        ("ATELIER_QUOTA__NOTEBOOKS_PER_USER", "4"),
        ("ATELIER_LIMITS__REQUESTS_PER_SECOND", "6"),
        ("ATELIER_LIMITS__CONNECTIONS", "70"),
        ("ATELIER_LIMITS__HEAD_SECONDS", "8"),
        ("ATELIER_LIMITS__DRAIN_SECONDS", "9"),
        ("ATELIER_LIMITS__COMMANDS_PER_NOTEBOOK", "3"),
        ("ATELIER_IAM__REGION", "eu"),
        ("ATELIER_IAM__TOKEN_HOURS", "2"),
        ("ATELIER_METRICS__LISTEN", "127.0.0.1:9464"),
        ("ATELIER_TRACES__ENDPOINT", "http://127.0.0.1:4318"),
        ("ATELIER_TRACES__HEADERS__AUTHORIZATION", "Bearer b"),
        ("ATELIER_AUDIT__KEEP_DAYS", "3"),
        ("ATELIER_RETENTION__HISTORY_DAYS", "30"),
        ("ATELIER_SERVER__DISK_RESERVE_MIB", "77"),
        ("ATELIER_VOLUMES__SHARED_GIB", "70"),
    ];
    let covered: Vec<_> = environment.iter().map(|(name, _)| *name).collect();
    for key in
        known_keys().iter().filter(|key| !matches!(key.as_str(), "flavors" | "profiles" | "pools" | "volumes.roots"))
    {
        assert!(covered.contains(&layer::variable_of(key).as_str()), "no row for `{key}`");
    }
    let config = load(&with_environment(&environment)).unwrap();
    let defaults = load(&places()).unwrap();
    assert_eq!(config.local.closed_networks, ["10.0.0.0/8", "192.168.0.0/16"]);
    assert_eq!(config.local.environment["HTTPS_PROXY"], "http://p");
    let disk = config.local.disk;
    let limits = [disk.read_bytes, disk.write_bytes, disk.read_operations, disk.write_operations];
    assert_eq!(limits.map(|limit| limit.unwrap().get()), [4 << 20, 3 << 20, 20, 10]);
    assert_eq!(defaults.local.disk, DiskLimits::default(), "no limit");
    assert_eq!(config.seeing.traces_headers["authorization"], "Bearer b");
    assert!(!format!("{config:?}").contains("Bearer b"), "a credential is shown");
    assert_ne!(config.seeing, defaults.seeing);
    assert_eq!(config.lease, GrantRange { min_ms: 1, max_ms: 9, default_ms: 5 });
    assert_eq!((config.domain.as_str(), config.runtime), ("nb.example", RuntimeKind::Simulated));
    assert_ne!(config.server, defaults.server);
    assert_ne!(config.limits, defaults.limits);
    assert_ne!(config.iam, defaults.iam);
    for (name, _) in environment {
        let without: Vec<_> = environment.iter().copied().filter(|(other, _)| *other != name).collect();
        if let Ok(other) = load(&with_environment(&without)) {
            assert_ne!(other, config, "{name} changes nothing");
        }
    }
}

#[test]
fn values_of_the_environment_table_are_never_shown() {
    let places = with_environment(&[("ATELIER_LOCAL__ENVIRONMENT__1BAD", "http://u:hunter2@proxy")]);
    let told = load(&places).unwrap_err()[0].to_string();
    assert!(told.contains("ATELIER_LOCAL__ENVIRONMENT__1BAD") && !told.contains("hunter2"), "{told}");
    let places = with_environment(&[("ATELIER_LOCAL__ENVIRONMENT__P", "hunter2")]);
    assert!(!format!("{:?}", load(&places).unwrap()).contains("hunter2"));
}

#[test]
fn a_default_lease_that_nobody_wrote_follows_the_range() {
    let config =
        load(&with_environment(&[("ATELIER_LEASE__MIN_MS", "1000"), ("ATELIER_LEASE__MAX_MS", "2000")])).unwrap();
    assert_eq!(config.lease.default_ms, 2000);
    let mistakes = load(&with_environment(&[("ATELIER_LEASE__DEFAULT_MS", "5")])).unwrap_err();
    assert!(mistakes[0].message.contains("3600000 to 259200000"), "{mistakes:?}");
}

#[test]
fn a_level_that_is_none_is_refused_and_a_filter_is_taken() {
    for (level, fits) in [("info", true), ("infos", false), ("warn,atelier_api=trace", true), ("", false)] {
        let loaded = load(&with_environment(&[("ATELIER_SERVER__LOG_LEVEL", level)]));
        assert_eq!(loaded.is_ok(), fits, "{level}");
    }
}

#[test]
fn tls_has_a_certificate_with_its_key_or_makes_both() {
    let tls = |variables: &[(&str, &str)]| load(&with_environment(variables)).map(|config| config.tls);
    let (certificate, key) = ("ATELIER_TLS__CERTIFICATE", "ATELIER_TLS__KEY");
    assert_eq!(tls(&[]).unwrap(), Tls::Off);
    assert_eq!(tls(&[(certificate, "self-made")]).unwrap(), Tls::SelfMade);
    let files = Tls::Files { certificate: "/c".into(), key: "/k".into() };
    assert_eq!(tls(&[(certificate, "/c"), (key, "/k")]).unwrap(), files);
    for wrong in [
        &[(certificate, "/c")][..],
        &[(key, "/k")],
        &[(certificate, "self-made"), (key, "/k")],
        &[(certificate, "c"), (key, "/k")],
    ] {
        assert_eq!(tls(wrong).unwrap_err().len(), 1, "{wrong:?}");
    }
}

#[test]
fn a_flavor_has_gpus_of_a_kind_or_of_any() {
    let folder = tempfile::tempdir().unwrap();
    let gpus = |keys: &str| {
        let text = format!("[[flavors]]\nid = \"a\"\ncpu_millis = 500\nmemory_mib = 512\n{keys}\n");
        load(&with_file(&folder, &text)).map(|mut config| config.flavors.remove(0).gpus)
    };
    for (keys, wanted) in [
        ("", None),
        ("gpus = 0", None),
        ("gpus = 2", FlavorGpus::of(2, None)),
        ("gpus = 1\ngpu_type = \"NVIDIA L4\"", FlavorGpus::of(1, Some("NVIDIA L4"))),
    ] {
        assert_eq!(gpus(keys).unwrap(), wanted, "{keys}");
    }
    for wrong in ["gpus = -1", "gpus = 1025", "gpus = 0.5", "gpu_type = \"NVIDIA L4\"", "gpus = 1\ngpu_type = \"\""] {
        let mistakes = gpus(wrong).unwrap_err();
        assert!(mistakes.len() == 1 && mistakes[0].message.contains("of a flavor"), "{wrong}: {mistakes:?}");
    }
}

fn pools(text: &str) -> Result<Vec<Pool>, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let loaded = load(&with_file(&folder, text)).map(|config| config.pools);
    let place = folder.path().display().to_string();
    loaded.map_err(|mistakes| mistakes.iter().map(|one| one.to_string().replace(&place, "")).collect())
}

#[test]
fn pools_have_flavors_that_are_there_or_their_own() {
    assert_eq!(pools(""), Ok(Vec::new()));
    let text = "[[pools]]\nid = \"team-a\"\nname = \"Team A\"\ncpu_millis = 4000\nmemory_mib = 8192\n\
                notebooks_per_user = 3\nflavors = [\"modelarts.vm.cpu.2u\", {id = \"team.big\", cpu_millis = 4000, memory_mib = 4096}]\n\
                [[pools]]\nid = \"team-b\"\ncpu_millis = 5000\nmemory_mib = 8192\nflavors = [\"team.big\"]\n\
                [[pools]]\nid = \"bare\"\ncpu_millis = 10\nmemory_mib = 64\n\
                [[pools]]\nid = \"tables\"\ncpu_millis = 5000\nmemory_mib = 8192\n\
                [[pools.flavors]]\nid = \"team.big\"\ncpu_millis = 4000\nmemory_mib = 4096\n";
    let [a, b, bare, tables] = &pools(text).unwrap()[..] else { panic!("four pools") };
    let ids = |pool: &Pool| pool.flavors.iter().map(|flavor| flavor.id.clone()).collect::<Vec<_>>();
    assert_eq!((a.name.as_str(), a.cpu_millis, a.memory_mib, a.notebooks_per_user), ("Team A", 4000, 8192, Some(3)));
    assert_eq!(ids(a), ["modelarts.vm.cpu.2u", "team.big"]);
    assert_eq!((b.name.as_str(), ids(b), b.notebooks_per_user), ("team-b", vec!["team.big".to_owned()], None));
    assert_eq!((bare.flavors.is_empty(), &tables.flavors), (true, &b.flavors));
}

#[test]
fn mistakes_in_pools_are_reported_with_their_lines() {
    let text = "[[pools]]\nid = \"public\"\ncpu_millis = 0\n\
                [[pools]]\nid = \"team-a\"\ncpu_millis = 1000\nmemory_mib = 8192\n\
                flavors = [\n \"modelarts.vm.cpu.3u\",\n {id = \"atelier.cpu.small\", cpu_millis = 10, memory_mib = 64},\n 7,\n]\n\
                [[pools]]\nid = \"team-b\"\ncpu_millis = 1000\nmemory_mib = 8192\nflavors = [\"modelarts.vm.cpu.2u\", \"atelier.cpu.small\", \"atelier.cpu.small\"]\nflavor = 1\n\
                [[pools]]\nid = \"team-c\"\ncpu_millis = 1000\nmemory_mib = 8192\nflavors = \"small\"\n\
                [[flavors]]\nid = \"custom.flavor.spec.code\"\ncpu_millis = 10\nmemory_mib = 64\n";
    let told = pools(&text.replace("[[flavors]]", "[[pools]]")).unwrap_err();
    let starts: Vec<_> = told.iter().map(|one| one.split([';', ',']).next().unwrap()).collect();
    assert_eq!(
        starts,
        [
            "/a.toml:1: `memory_mib` of a pool is missing",
            "/a.toml:2: `id` of a pool must be 4 to 64 of the letters a to z",
            "/a.toml:3: `cpu_millis` of a pool must be thousandths of a CPU",
            "/a.toml:9: flavor `modelarts.vm.cpu.3u` of a pool does not exist",
            "/a.toml:10: flavor `atelier.cpu.small` is something else already",
            "/a.toml:11: an item of `flavors` must be a text or a table",
            "/a.toml:17: `flavors` of a pool must not hold `atelier.cpu.small` twice",
            "/a.toml:17: flavor `modelarts.vm.cpu.2u` is larger than pool `team-b`",
            "/a.toml:18: unknown key `flavor` in `pools`\n    hint: did you mean `flavors`?",
            "/a.toml:23: `flavors` of a pool must be a list",
            "/a.toml:25: `id` of a pool must be 4 to 64 of the letters a to z",
        ]
    );
    let told = pools(text).unwrap_err();
    assert!(told.iter().any(|one| one.starts_with("/a.toml:25: `id` of a flavor must be")), "{told:#?}");
}

#[test]
fn a_root_is_a_folder_apart_from_atelier_s_own() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir_all(folder.path().join("nas")).unwrap();
    std::fs::create_dir_all(data.join("inside")).unwrap();
    std::os::unix::fs::symlink(&data, folder.path().join("link")).unwrap();
    let roots = |text: &str| {
        let data = toml::Value::from(data.to_str().unwrap());
        load(&with_file(&folder, &format!("[server]\ndata_dir = {data}\n{text}"))).map(|config| config.roots)
    };
    let root = |uri: &str, name: &str| {
        let path = toml::Value::from(folder.path().join(name).to_str().unwrap());
        format!("[[volumes.roots]]\nuri = \"{uri}\"\npath = {path}\n")
    };
    assert_eq!(roots(""), Ok(Vec::new()));
    let two = roots(&(root("nas.example.org:/export", "nas") + &root("nas:/other", "nas"))).unwrap();
    assert_eq!((two[0].uri.as_str(), &two[0].path), ("nas.example.org:/export", &folder.path().join("nas")));
    for (text, told) in [
        (root("nas:/a", "none"), "`path` of a root must be a folder that is there"),
        (root("nas:/a", "a.toml"), "`path` of a root must be a folder that is there"),
        (root("nas:/a", "data"), "must neither hold"),
        (root("nas:/a", "link/inside"), "must neither hold"),
        (root("nas:/a", ""), "must neither hold"),
        (root("nas:/a/../b", "nas"), "`uri` of a root must be `host:/path` without"),
        (root("nas:/a", "nas") + &root("nas:/a", "nas"), "must not hold `nas:/a` twice"),
        ("[[volumes.roots]]\nuri = \"nas:/a\"\n".to_owned(), "`path` of a root is missing"),
        ("[volumes]\nroots = 1\n".to_owned(), "`volumes.roots` must be a list"),
    ] {
        let mistakes = roots(&text).unwrap_err();
        assert!(mistakes.iter().any(|mistake| mistake.message.contains(told)), "{text}: {mistakes:?}");
    }
}
