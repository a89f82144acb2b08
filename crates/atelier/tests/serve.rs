//! The program as its users meet it: the server as a process, the command line beside it. Everything waits for events
//! (a line on stderr, an answer of the API, the end of a process), never for time.

#[expect(clippy::unwrap_used, clippy::panic, reason = "what goes wrong here fails the test")]
mod e2e;

use std::os::unix::fs::PermissionsExt as _;

use e2e::{Server, atelier, json_of, stderr_of, stdout_of};
use serde_json::Value;

#[test]
fn the_first_start_writes_exactly_what_the_administrator_needs() {
    let server = Server::start(&[]);
    let admin = server.admin();
    let keys: Vec<_> = admin.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "endpoint",
            "region",
            "domain_name",
            "domain_id",
            "user_name",
            "user_id",
            "password",
            "project_name",
            "project_id",
            "access_key",
            "secret_key",
        ]
    );
    assert_eq!(admin["endpoint"], server.url());
    assert_eq!((&admin["user_name"], &admin["project_name"]), (&"admin".into(), &"local".into()));
    assert_eq!(server.mode("admin.json"), 0o600);
    assert_eq!(server.mode("."), 0o700);
}

#[test]
fn a_notebook_lives_from_create_to_delete_by_the_command_line() {
    let server = Server::start(&[]);
    let created = json_of(&server.cli(&["notebook", "create", "one", "--volume", "6", "-o", "json"]));
    assert_eq!((&created["status"], &created["volume"]["capacity"]), (&"RUNNING".into(), &6.into()));
    let id = created["id"].as_str().unwrap();
    let listed = json_of(&server.cli(&["notebook", "list", "-o", "json"]));
    assert_eq!(listed[0]["id"], id);
    let renewed = json_of(&server.cli(&["notebook", "renew", "one", "--duration", "2h", "-o", "json"]));
    let left = renewed["duration"].as_i64().unwrap()
        - (renewed["update_at"].as_i64().unwrap() - renewed["create_at"].as_i64().unwrap());
    assert_eq!(left, 7_200_000);
    let opened = stdout_of(&server.cli(&["notebook", "open", "one"]));
    assert!(opened.starts_with(&format!("http://{id}.localhost:")) && opened.contains("/lab?token="), "{opened}");
    assert_eq!(json_of(&server.cli(&["notebook", "stop", id, "-o", "json"]))["status"], "STOPPED");
    assert_eq!(json_of(&server.cli(&["notebook", "start", "one", "-o", "json"]))["status"], "RUNNING");
    let history = json_of(&server.cli(&["notebook", "events", "one", "-o", "json"]));
    let what: Vec<_> = history.as_array().unwrap().iter().filter_map(|event| event["what"].as_str()).collect();
    assert!(what.contains(&"create.asked") && what.contains(&"stop.asked"), "{what:?}");
    stdout_of(&server.cli(&["notebook", "delete", "one", "--yes"]));
    let gone = server.cli(&["notebook", "show", id]);
    assert!(!gone.status.success());
    assert!(stderr_of(&gone).contains("ModelArts.6404") && stderr_of(&gone).contains("\nrequest: "));
}

#[test]
fn progress_goes_to_stderr_and_the_quiet_see_none() {
    let server = Server::start(&[]);
    let loud = server.cli(&["notebook", "create", "one"]);
    assert!(stdout_of(&loud).starts_with("name:"));
    for step in ["1/4 prepare storage", "2/4 prepare compute", "3/4 configure the network", "4/4 initialize"] {
        assert!(stderr_of(&loud).contains(step), "{}", stderr_of(&loud));
    }
    let quiet = server.cli(&["notebook", "create", "two", "--quiet", "--no-wait", "-o", "json"]);
    assert_eq!(json_of(&quiet)["action_progress"].as_array().map(Vec::len), Some(4));
    assert_eq!(stderr_of(&quiet), "");
}

#[test]
fn a_volume_is_not_destroyed_without_being_asked_for() {
    let server = Server::start(&[]);
    server.cli(&["notebook", "create", "precious"]);
    let refused = server.cli(&["notebook", "delete", "precious"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr_of(&refused).contains("5 GiB") && stderr_of(&refused).contains("hint: --yes"));
    assert_eq!(json_of(&server.cli(&["notebook", "show", "precious", "-o", "json"]))["status"], "RUNNING");
}

#[test]
fn a_name_that_two_notebooks_have_is_refused_and_a_mistyped_one_is_hinted_at() {
    let server = Server::start(&[]);
    server.cli(&["notebook", "create", "twin"]);
    server.cli(&["notebook", "create", "twin"]);
    let ambiguous = server.cli(&["notebook", "stop", "twin"]);
    assert!(stderr_of(&ambiguous).contains("2 notebooks are called `twin`"), "{}", stderr_of(&ambiguous));
    let mistyped = server.cli(&["notebook", "stop", "twni"]);
    assert!(stderr_of(&mistyped).contains("hint: did you mean `twin`?"), "{}", stderr_of(&mistyped));
}

#[test]
fn a_restart_keeps_everything_and_notebooks_run_through_it() {
    let mut server = Server::start(&[]);
    let before = json_of(&server.cli(&["notebook", "create", "one", "-o", "json"]));
    let admin = server.admin();
    assert_eq!(server.stop(), Some(0));
    server.restart();
    let after = json_of(&server.cli(&["notebook", "show", "one", "-o", "json"]));
    for field in ["id", "status", "token", "lease", "create_at", "update_at"] {
        assert_eq!(before[field], after[field], "{field}");
    }
    let mut now = server.admin();
    assert_eq!(now["endpoint"], server.url());
    now["endpoint"] = admin["endpoint"].clone();
    assert_eq!(now, admin, "only the address may change");
}

#[test]
fn a_second_server_on_the_same_folder_is_refused_and_told_of_the_first() {
    let server = Server::start(&[]);
    let second = atelier(
        &server.home(),
        &["serve", "--runtime", "simulated", "--listen", ":0", "--data-dir", &server.data_dir()],
    );
    assert_eq!(second.status.code(), Some(1));
    let told = stderr_of(&second);
    assert!(told.contains(&format!("process {}, since ", server.pid())) && told.contains("UTC"), "{told}");
    assert!(!told.contains("listening on"));
}

#[test]
fn every_mistake_of_the_configuration_is_told_before_a_port_is_bound() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.toml");
    std::fs::write(&file, "[server]\nlisen = \"x\"\n[lease]\nmin_ms = -1\n").unwrap();
    let file = file.display().to_string();
    let data = folder.path().join("data").display().to_string();
    for command in [&["serve"][..], &["config", "check"], &["up"], &["down"]] {
        let line = [command, &["--config", &file, "--data-dir", &data, "--runtime", "docker"]].concat();
        let ended = atelier(folder.path(), &line);
        assert_eq!(ended.status.code(), Some(1), "{command:?}");
        let told = stderr_of(&ended);
        for part in
            ["3 mistakes", "bad.toml:2: unknown key", "did you mean `server.listen`?", "bad.toml:4", "--runtime"]
        {
            assert!(told.contains(part), "{command:?}: {told}");
        }
        assert!(!told.contains("listening on") && !folder.path().join("data").exists());
    }
}

#[test]
fn a_foreign_host_is_answered_421_and_every_answer_has_a_request_id() {
    let server = Server::start(&[]);
    let answer = server.raw("GET /v3 HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
    assert!(answer.contains("APIG.0201"), "{answer}");
    let host = server.url().replace("http://", "");
    for path in ["/healthz", "/readyz", "/v3", "/no/such/path", "/atelier/no", "/notebook/x", "/v1/p/notebooks"] {
        let answer = server.raw(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
        assert!(answer.to_lowercase().contains("\r\nx-request-id: "), "{path}: {answer}");
        assert!(!answer.starts_with("HTTP/1.1 5"), "{path}: {answer}");
    }
}

#[test]
fn what_only_atelier_has_is_closed_without_credentials_and_for_other_projects() {
    let server = Server::start(&[]);
    let notebook = json_of(&server.cli(&["notebook", "create", "one", "-o", "json"]));
    let id = notebook["id"].as_str().unwrap();
    let token = stdout_of(&server.cli(&["token"]));
    let (host, project) =
        (server.url().replace("http://", ""), server.admin()["project_id"].as_str().unwrap().to_owned());
    let asked = |project: &str, path: &str, header: &str| {
        let method = if path.ends_with("build") { "POST" } else { "GET" };
        server.raw(&format!(
            "{method} /atelier/v1/{project}/{path} HTTP/1.1\r\nHost: {host}\r\n{header}Content-Length: 0\r\nConnection: close\r\n\r\n"
        ))
    };
    let right = format!("X-Auth-Token: {}\r\n", token.trim());
    for path in ["logs", "events", "activity"]
        .map(|what| format!("notebooks/{id}/{what}"))
        .into_iter()
        .chain([format!("images/{id}/build")])
    {
        assert!(asked(&project, &path, "").starts_with("HTTP/1.1 401 "), "{path}");
        assert!(asked(&project, &path, "X-Auth-Token: forged\r\n").starts_with("HTTP/1.1 401 "), "{path}");
        assert!(asked(&"0".repeat(32), &path, &right).starts_with("HTTP/1.1 403 "), "{path}");
    }
    assert!(asked(&project, &format!("notebooks/{id}/events"), &right).starts_with("HTTP/1.1 200 "));
    assert!(asked(&project, &format!("images/{id}/build"), &right).starts_with("HTTP/1.1 404 "));
    assert!(asked(&project, "notebooks/none/events", &right).starts_with("HTTP/1.1 404 "));
}

#[test]
fn no_secret_is_ever_logged_and_every_line_names_the_runtime() {
    let mut server = Server::start(&[("ATELIER_SERVER__LOG_LEVEL", "trace"), ("ATELIER_SERVER__LOG_FORMAT", "json")]);
    let notebook = json_of(&server.cli(&["notebook", "create", "one", "-o", "json"]));
    let token = stdout_of(&server.cli(&["token"])).trim().to_owned();
    let host = format!("{}.localhost:{}", notebook["id"].as_str().unwrap(), server.port());
    let shown = notebook["token"].as_str().unwrap();
    server.raw(&format!("GET /lab?token={shown} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
    server.cli(&["notebook", "stop", "one"]);
    assert_eq!(server.stop(), Some(0));
    let (admin, log) = (server.admin(), server.log());
    let secrets = [admin["password"].as_str().unwrap(), admin["secret_key"].as_str().unwrap(), &token, shown];
    for secret in secrets {
        assert!(!log.contains(secret), "a secret of {} letters is in the log", secret.len());
    }
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert!(lines.len() > 10, "{log}");
    assert!(lines.iter().all(|line| line["runtime"] == "simulated"), "{log}");
}

#[test]
fn sigterm_lets_the_request_in_flight_end() {
    let mut server = Server::start(&[]);
    let body = r#"{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"x"}}}}}"#;
    let head = "POST /v3/auth/tokens HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\n";
    let mut half = server.begin(&format!("{head}Content-Length: {}\r\n\r\n", body.len()));
    // The server asks for the body: from now on the request is in flight.
    half.expect("HTTP/1.1 100 Continue\r\n\r\n");
    server.terminate();
    server.wait_for("draining");
    let answer = half.finish(body);
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn a_caller_who_asks_too_often_is_told_to_wait_and_the_command_line_does() {
    let server = Server::start(&[("ATELIER_LIMITS__REQUESTS_PER_SECOND", "2")]);
    let host = server.url().replace("http://", "");
    let request = format!("GET /v3 HTTP/1.1\r\nHost: {host}\r\nX-Auth-Token: me\r\nConnection: close\r\n\r\n");
    let answers: Vec<_> = (0..20).map(|_| server.raw(&request)).collect();
    let refused = answers.iter().find(|answer| answer.starts_with("HTTP/1.1 429 ")).unwrap();
    assert!(refused.contains("APIG.0308") && refused.to_lowercase().contains("retry-after: 1"), "{refused}");
    for _ in 0..4 {
        assert!(server.cli(&["flavor", "list"]).status.success());
    }
}

#[test]
fn a_login_is_remembered_without_the_password() {
    let server = Server::start(&[]);
    let admin = server.admin();
    let home = tempfile::tempdir().unwrap();
    let password = admin["password"].as_str().unwrap();
    let line = ["login", "--endpoint", &server.url(), "--user", "admin", "--password-stdin"];
    let logged_in = e2e::atelier_with(home.path(), &line, &[], &format!("{password}\n"));
    assert!(logged_in.status.success(), "{}", stderr_of(&logged_in));
    let kept = std::fs::read_to_string(home.path().join("config/atelier/login.json")).unwrap();
    assert!(!kept.contains(password));
    assert!(stdout_of(&atelier(home.path(), &["flavor", "list"])).contains("atelier.cpu.small"));
    let wrong = e2e::atelier_with(home.path(), &line, &[], "wrong\n");
    assert_eq!(wrong.status.code(), Some(1));
    assert!(stderr_of(&wrong).contains("hint:"), "{}", stderr_of(&wrong));
}

#[test]
fn a_dead_token_is_renewed_where_there_is_a_password() {
    let server = Server::start(&[]);
    server.cli(&["flavor", "list"]);
    let kept = server.home().join("config/atelier/token.json");
    let mut token: Value = serde_json::from_slice(&std::fs::read(&kept).unwrap()).unwrap();
    token["token"] = "dead".into();
    std::fs::write(&kept, token.to_string()).unwrap();
    assert!(server.cli(&["flavor", "list"]).status.success());
    token = serde_json::from_slice(&std::fs::read(&kept).unwrap()).unwrap();
    assert_ne!(token["token"], "dead");
}

#[test]
fn up_shows_hello_and_leaves_it_running_and_down_stops_it_without_a_server() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data").display().to_string();
    let settings = ["--data-dir", &data, "--listen", "127.0.0.1:0", "--runtime", "simulated"];
    let mut first = e2e::Up::start(home.path(), &settings);
    assert!(first.url().contains(".localhost:") && first.url().contains("/lab?token="), "{}", first.url());
    // A second one uses the server of the first and does not stay.
    let second = atelier(home.path(), &[&["up"], &settings[..]].concat());
    assert_eq!(stdout_of(&second).trim(), first.url());
    let (code, told) = first.interrupt();
    assert_eq!(code, Some(0));
    assert!(told.contains("`hello` runs on") && told.contains("atelier down"), "{told}");
    let down = atelier(home.path(), &[&["down"], &settings[..]].concat());
    assert!(down.status.success(), "{}", stderr_of(&down));
    assert!(stderr_of(&down).contains("`hello` is stopped; its volume is kept"), "{}", stderr_of(&down));
    let again = atelier(home.path(), &[&["down"], &settings[..]].concat());
    assert!(again.status.success() && stderr_of(&again).contains("STOPPED"), "{}", stderr_of(&again));
    let mut third = e2e::Up::start(home.path(), &settings);
    assert_ne!(third.url(), first.url(), "a start makes a new token");
    // It is stopped while the server of `up` runs, which says what it leaves.
    assert!(atelier(home.path(), &[&["down"], &settings[..]].concat()).status.success());
    let (code, told) = third.interrupt();
    assert_eq!(code, Some(0));
    assert!(told.contains("`hello` does not run") && !told.contains("atelier down"), "{told}");
}

#[test]
fn down_without_anything_there_makes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let line = ["down", "--data-dir", &data.display().to_string(), "--runtime", "simulated"].map(str::to_owned);
    let ended = atelier(home.path(), &line.each_ref().map(String::as_str));
    assert!(ended.status.success() && !data.exists());
}

#[test]
fn results_that_nobody_reads_are_no_failure() {
    let home = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = e2e::command(home.path(), &["config", "default"]);
    let status = command.stdout(writer).status().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn the_default_file_is_a_right_configuration() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("a.toml");
    std::fs::write(&file, stdout_of(&atelier(home.path(), &["config", "default"]))).unwrap();
    let checked = atelier(home.path(), &["config", "check", "--config", &file.display().to_string()]);
    assert!(checked.status.success(), "{}", stderr_of(&checked));
}

#[test]
fn completion_is_made_for_every_shell_and_mistakes_of_use_end_with_2() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        assert!(stdout_of(&atelier(home.path(), &["completion", shell])).contains("notebook"), "{shell}");
    }
    assert_eq!(atelier(home.path(), &["notebook", "frobnicate"]).status.code(), Some(2));
}

#[test]
fn without_a_server_the_command_line_says_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let unknown = atelier(home.path(), &["notebook", "list"]);
    assert!(stderr_of(&unknown).contains("hint: `atelier up`"), "{}", stderr_of(&unknown));
    let closed = atelier(home.path(), &["flavor", "list", "--endpoint", "http://127.0.0.1:9", "--token", "t"]);
    assert_eq!(closed.status.code(), Some(1));
    assert!(stderr_of(&closed).contains("does the server run?"), "{}", stderr_of(&closed));
}

#[test]
fn keys_are_managed_by_the_command_line() {
    let server = Server::start(&[]);
    let made = json_of(&server.cli(&["key", "create", "--description", "a laptop", "-o", "json"]));
    let key = made["access"].as_str().unwrap();
    assert_eq!(made["secret"].as_str().map(str::len), Some(40));
    let listed = stdout_of(&server.cli(&["key", "list"]));
    assert!(listed.contains(key) && listed.contains("a laptop") && !listed.contains(made["secret"].as_str().unwrap()));
    let full = server.cli(&["key", "create"]);
    assert!(stderr_of(&full).contains("ModelArts.0118") && stderr_of(&full).contains("hint: `atelier key delete"));
    assert!(stdout_of(&server.cli(&["key", "disable", key])).contains("is inactive"));
    assert!(stdout_of(&server.cli(&["key", "enable", key])).contains("is active"));
    stdout_of(&server.cli(&["key", "delete", key]));
    assert!(stderr_of(&server.cli(&["key", "delete", key])).contains("ModelArts.6404"));
}

#[test]
fn key_pairs_are_managed_by_the_command_line_and_private_halves_stay_private() {
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (private, public) = (path("laptop.pem"), path("id.pub"));
    let made =
        server.cli(&["keypair", "create", "laptop", "--file", &private, "--description", "my own", "-o", "json"]);
    let record = json_of(&made);
    assert_eq!(record["private_key_file"], private.as_str());
    assert!(!stdout_of(&made).contains("BEGIN") && !stderr_of(&made).contains("BEGIN"));
    let kept = std::fs::read_to_string(&private).unwrap();
    assert!(kept.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----"));
    assert_eq!(std::fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o600);

    let over = server.cli(&["keypair", "create", "other", "--file", &private]);
    assert!(!over.status.success() && stderr_of(&over).contains("exists already"), "{}", stderr_of(&over));
    assert_eq!(std::fs::read_to_string(&private).unwrap(), kept);
    let taken = server.cli(&["keypair", "create", "laptop", "--file", &path("twice.pem")]);
    assert!(stderr_of(&taken).contains("ModelArts.6301"), "{}", stderr_of(&taken));
    assert!(!folder.path().join("twice.pem").exists(), "no file for a pair that was not made");

    std::fs::write(&public, record["public_key"].as_str().unwrap()).unwrap();
    stdout_of(&server.cli(&["keypair", "create", "copy", "--import", &public]));
    let listed = stdout_of(&server.cli(&["keypair", "list"]));
    assert!(listed.contains("laptop") && listed.contains("copy") && !listed.contains("other"), "{listed}");
    let shown = stdout_of(&server.cli(&["keypair", "show", "laptop"]));
    assert!(shown.contains("my own") && shown.contains(record["fingerprint"].as_str().unwrap()), "{shown}");
    stdout_of(&server.cli(&["keypair", "delete", "laptop", "copy"]));
    assert!(stdout_of(&server.cli(&["keypair", "list"])).contains("no key pairs"));
    assert!(stderr_of(&server.cli(&["keypair", "show", "laptop"])).contains("ModelArts.6404"));
}

#[test]
fn users_are_managed_by_the_command_line_and_log_in_and_out() {
    let server = Server::start(&[]);
    let made = json_of(&server.cli(&["user", "create", "ada", "-o", "json"]));
    let password = made["password"].as_str().unwrap();
    let home = tempfile::tempdir().unwrap();
    let log_in = |password: &str| {
        let line = ["login", "--endpoint", &server.url(), "--user", "ada", "--password-stdin"];
        e2e::atelier_with(home.path(), &line, &[], &format!("{password}\n"))
    };
    assert!(log_in(password).status.success());
    let ada = |line: &[&str]| atelier(home.path(), line);
    assert!(ada(&["notebook", "create", "adas"]).status.success());
    assert!(stderr_of(&ada(&["user", "list"])).contains("role `admin`"));
    let token = json_of(&ada(&["token", "-o", "json"]))["token"].as_str().unwrap().to_owned();
    assert!(stderr_of(&ada(&["logout"])).contains("logged out of"));
    let with_token = ["flavor", "list", "--endpoint", &server.url(), "--token", &token];
    assert!(
        stderr_of(&ada(&with_token)).contains("401") || !ada(&with_token).status.success(),
        "the token is worth nothing"
    );
    assert!(!ada(&["notebook", "list"]).status.success() && !home.path().join("config/atelier/login.json").exists());
    assert!(log_in(password).status.success());
    assert!(stdout_of(&server.cli(&["user", "disable", "ada"])).contains("switched off"));
    assert!(stdout_of(&server.cli(&["user", "list"])).contains("off"));
    assert!(stderr_of(&ada(&["notebook", "list"])).contains("ModelArts.0203"), "her token went with her");
    server.cli(&["user", "enable", "ada"]);
    let line = ["user", "password", "ada", "--password-stdin", "--data-dir", &server.data_dir()];
    assert!(e2e::atelier_with(&server.home(), &line, &[], "another one\n").status.success());
    assert!(!log_in(password).status.success());
    assert!(log_in("another one").status.success());
    let changed =
        e2e::atelier_with(home.path(), &["user", "password", "--password-stdin"], &[], "another one\nher own one\n");
    assert!(changed.status.success(), "{}", stderr_of(&changed));
    assert!(log_in("her own one").status.success());
    let mistyped = server.cli(&["user", "disable", "adda"]);
    assert!(stderr_of(&mistyped).contains("hint: did you mean `ada`?"), "{}", stderr_of(&mistyped));
}

#[test]
fn administrators_list_everybodys_notebooks_and_others_only_their_own() {
    let server = Server::start(&[]);
    let made = json_of(&server.cli(&["user", "create", "ada", "-o", "json"]));
    let home = tempfile::tempdir().unwrap();
    let line = ["login", "--endpoint", &server.url(), "--user", "ada", "--password-stdin"];
    let password = format!("{}\n", made["password"].as_str().unwrap());
    assert!(e2e::atelier_with(home.path(), &line, &[], &password).status.success());
    let ada = |line: &[&str]| atelier(home.path(), line);
    stdout_of(&ada(&["notebook", "create", "hers", "--no-wait"]));
    stdout_of(&server.cli(&["notebook", "create", "mine", "--no-wait"]));

    let names = |line: &[&str]| {
        let listed = json_of(&server.cli(&[&["notebook", "list", "-o", "json"], line].concat()));
        let mut names: Vec<_> =
            listed.as_array().unwrap().iter().map(|notebook| notebook["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&[]), ["mine"]);
    assert_eq!(names(&["--all"]), ["hers", "mine"]);
    assert_eq!(names(&["--all", "--name", "her"]), ["hers"]);
    assert_eq!(names(&["--owner", "ada"]), ["hers"]);
    assert_eq!(names(&["--owner", "ada", "--name", "mine"]), [""; 0]);
    let table = stdout_of(&server.cli(&["notebook", "list", "--all"]));
    for (owner, name) in [("OWNER", "NAME"), ("ada", "hers"), ("admin", "mine")] {
        let is_row = |line: &str| line.split_whitespace().take(2).eq([owner, name]);
        assert!(table.lines().any(is_row), "{owner} {name}: {table}");
    }
    for line in [&["--all"][..], &["--owner", "admin"]] {
        let refused = ada(&[&["notebook", "list"], line].concat());
        assert!(!refused.status.success() && stderr_of(&refused).contains("role `admin`"), "{}", stderr_of(&refused));
    }
    let mistyped = server.cli(&["notebook", "list", "--owner", "adda"]);
    assert!(stderr_of(&mistyped).contains("hint: did you mean `ada`?"), "{}", stderr_of(&mistyped));
}

#[test]
fn the_free_instance_is_made_found_and_started_again_by_one_command() {
    let server = Server::start(&[]);
    assert!(stdout_of(&server.cli(&["notebook", "list", "--free"])).contains("atelier notebook lab"));
    let opened = stdout_of(&server.cli(&["notebook", "lab"]));
    assert!(opened.contains(".localhost:") && opened.contains("/lab?token="), "{opened}");
    assert_eq!(stdout_of(&server.cli(&["notebook", "lab"])), opened, "it is there already");

    let listed = json_of(&server.cli(&["notebook", "list", "--free", "-o", "json"]));
    let (id, name) = (listed[0]["id"].as_str().unwrap(), listed[0]["name"].as_str().unwrap());
    assert!(opened.starts_with(&format!("http://{id}.")) && listed[0]["feature"] == "DEFAULT", "{listed}");
    assert!(stdout_of(&server.cli(&["notebook", "list"])).contains("atelier notebook create NAME"));
    let quota = json_of(&server.cli(&["feature", "list", "-o", "json"]));
    assert_eq!((&quota[0]["name"], &quota[0]["used"]), (&"NOTEBOOK".into(), &1.into()));
    assert!(stdout_of(&server.cli(&["feature", "list"])).contains("QUOTA"));

    let mistyped = server.cli(&["notebook", "stop", &format!("{name}x")]);
    assert!(stderr_of(&mistyped).contains(&format!("hint: did you mean `{name}`?")), "{}", stderr_of(&mistyped));
    assert_eq!(json_of(&server.cli(&["notebook", "stop", name, "-o", "json"]))["status"], "STOPPED");
    let again = json_of(&server.cli(&["notebook", "lab", "-o", "json"]));
    assert!(again["url"].as_str().unwrap().starts_with(&format!("http://{id}.")), "{again}");
    assert_ne!(again["url"], opened.trim(), "a start makes a new token");
    let other = server.cli(&["notebook", "lab", "--image", "0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a10"]);
    assert!(!other.status.success() && stderr_of(&other).contains("ModelArts.6797"), "{}", stderr_of(&other));
}

#[test]
fn a_revoked_notebook_has_a_new_token_and_its_history_says_so() {
    let server = Server::start(&[]);
    let before = json_of(&server.cli(&["notebook", "create", "one", "-o", "json"]));
    assert!(stdout_of(&server.cli(&["notebook", "revoke", "one"])).contains("atelier notebook open one"));
    let after = json_of(&server.cli(&["notebook", "show", "one", "-o", "json"]));
    assert_ne!(before["token"], after["token"]);
    assert_eq!((&after["status"], &before["update_at"]), (&"RUNNING".into(), &after["update_at"]));
    assert!(stdout_of(&server.cli(&["notebook", "events", "one"])).contains("token.replaced"));
    let host = format!("{}.localhost:{}", before["id"].as_str().unwrap(), server.port());
    let visit = |token: &Value| {
        let token = token.as_str().unwrap();
        server.raw(&format!(
            "GET /api HTTP/1.1\r\nHost: {host}\r\nAuthorization: token {token}\r\nConnection: close\r\n\r\n"
        ))
    };
    assert!(visit(&before["token"]).starts_with("HTTP/1.1 403 "));
    assert!(!visit(&after["token"]).starts_with("HTTP/1.1 403 "));
}

#[test]
fn operations_and_capacity_are_shown_and_a_failed_one_is_asked_for_again() {
    let server = Server::start(&[]);
    let before = json_of(&server.cli(&["capacity", "-o", "json"]));
    let id = json_of(&server.cli(&["notebook", "create", "one", "-o", "json"]))["id"].clone();
    let held = json_of(&server.cli(&["capacity", "-o", "json"]));
    let cpus = |shown: &Value| shown["held"]["cpu_millis"].as_u64().unwrap();
    assert!(cpus(&held) > cpus(&before));
    assert!(stdout_of(&server.cli(&["capacity"])).contains("ROOM FOR"));

    let listed = json_of(&server.cli(&["operations", "list", "--notebook", "one", "-o", "json"]));
    assert_eq!((&listed[0]["kind"], &listed[0]["state"]), (&"create".into(), &"done".into()));
    assert_eq!(listed[0]["notebook_id"], id);
    let operation = listed[0]["id"].as_str().unwrap();
    let shown = stdout_of(&server.cli(&["operations", "show", operation]));
    assert!(shown.contains("prepare storage: done, begun 1 times"), "{shown}");
    for verb in ["cancel", "retry"] {
        let refused = server.cli(&["operations", verb, operation]);
        assert!(stderr_of(&refused).contains("the operation is done"), "{}", stderr_of(&refused));
    }
    let wrong = server.cli(&["operations", "list", "--state", "stuck"]);
    assert!(stderr_of(&wrong).contains("`running`, `undoing`"), "{}", stderr_of(&wrong));
    assert_eq!(stdout_of(&server.cli(&["operations", "orphans"])).trim(), "no orphans");
}

#[test]
fn a_pool_of_the_configuration_takes_notebooks_and_one_too_large_is_told() {
    let mut server = Server::start(&[("ATELIER_LOCAL__CPU_OVERCOMMIT", "1")]);
    let file = server.home().join("data/atelier.toml");
    let pool = |cpu_millis: u32| {
        format!(
            "[[pools]]\nid = \"team-a\"\nname = \"Team A\"\ncpu_millis = {cpu_millis}\nmemory_mib = 1024\n\
             flavors = [\"atelier.cpu.small\"]\n"
        )
    };
    assert_eq!(server.stop(), Some(0));
    std::fs::write(&file, pool(500)).unwrap();
    server.restart();
    let of = |line: &[&str]| json_of(&server.cli(&[line, &["-o", "json"]].concat()));
    let created = of(&["notebook", "create", "one", "--pool", "team-a"]);
    assert_eq!((&created["pool"]["name"], &created["flavor"]), (&"Team A".into(), &"atelier.cpu.small".into()));
    assert!(stdout_of(&server.cli(&["notebook", "show", "one"])).contains("team-a (Team A)"));
    let flavors = of(&["flavor", "list", "--pool", "team-a"]);
    assert_eq!((&flavors[0]["id"], &flavors[0]["sold_out"]), (&"atelier.cpu.small".into(), &true.into()));
    assert_eq!((&flavors[0]["memory"], flavors.as_array().unwrap().len()), (&(512 * 1024).into(), 1));
    let capacity = of(&["capacity"]);
    let held = |share: &Value| share["held"]["cpu_millis"].as_u64().unwrap();
    assert_eq!((held(&capacity), held(&capacity["pools"][0])), (0, 500));
    let machine = capacity["machine"]["cpu_millis"].as_u64().unwrap();
    assert_eq!(capacity["share"]["cpu_millis"], machine - 500);
    assert!(stdout_of(&server.cli(&["capacity"])).contains("pool team-a"));
    assert!(!server.cli(&["notebook", "create", "two", "--pool", "team-a"]).status.success());
    stdout_of(&server.cli(&["notebook", "create", "two"]));
    assert_eq!(of(&["notebook", "stop", "one"])["status"], "STOPPED");
    let sized = of(&["notebook", "update", "one", "--cpus", "0.45", "--memory", "700"]);
    assert_eq!((&sized["custom_spec"]["cpu"], &sized["custom_spec"]["memory"]), (&0.45.into(), &700.into()));
    let new = ["notebook", "create", "three", "--pool", "team-a", "--cpus", "0.5", "--memory", "600"];
    assert_eq!(of(&new)["custom_spec"]["cpu"], 0.5);
    assert!(stdout_of(&server.cli(&["notebook", "show", "three"])).contains("0.5 CPUs, 600 MiB"));
    let without = server.cli(&["notebook", "create", "four", "--cpus", "0.5", "--memory", "600"]);
    assert!(stderr_of(&without).contains("--pool"), "{}", stderr_of(&without));

    assert_eq!(server.stop(), Some(0));
    let twin = pool(1_000_000).replace("team-a", "team-b");
    std::fs::write(&file, pool(1_000_000) + &twin).unwrap();
    let refused = atelier(&server.home(), &["serve", "--listen", "127.0.0.1:0", "--runtime", "simulated"]);
    assert!(
        stderr_of(&refused).contains("the `pools` together ask for `cpu_millis` 2000000"),
        "{}",
        stderr_of(&refused)
    );
}
