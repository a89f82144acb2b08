//! The legacy API over the same notebooks: its printed examples, its rules, and the other API beside it.

use atelier_core::status::Status;
use serde_json::{Value, json};

use crate::answers::wish;
use crate::house::{House, NOON, Reply};

const HOUR_MS: i64 = 3_600_000;

pub(crate) struct Both {
    pub(crate) house: House,
    pub(crate) token: String,
}

impl Both {
    pub(crate) async fn open() -> Self {
        let house = House::open().await;
        let token = house.project_token().await;
        Self { house, token }
    }

    /// A call of the legacy API: `rest` follows `/demanager/instances`.
    pub(crate) async fn legacy(&self, method: &str, rest: &str, body: Value) -> Reply {
        let target = format!("{}/demanager/instances{rest}", self.house.base());
        self.house.call(&self.token, method, &target, &body).await
    }

    /// A call of the other one: `rest` follows `/notebooks`.
    pub(crate) async fn v1(&self, method: &str, rest: &str, body: Value) -> Reply {
        self.house.call(&self.token, method, &format!("{}/notebooks{rest}", self.house.base()), &body).await
    }

    pub(crate) async fn create(&self, changes: Value) -> Reply {
        let mut body = json!({
            "name": "one", "profile_id": "Multi-Engine 1.0 (python3)-cpu", "flavor": "atelier.cpu.small",
            "spec": {"storage": {"type": "evs"}},
        });
        for (key, value) in changes.as_object().unwrap() {
            body[key] = value.clone();
        }
        self.legacy("POST", "", body).await
    }

    /// A new instance that runs, by its notebook's id.
    async fn running(&self, changes: Value) -> String {
        let made = self.create(changes).await;
        assert_eq!(made.status, 200, "{}", made.body);
        let id = bare(&made);
        self.house.let_one_start();
        self.house.reaches(&id, Status::Running).await;
        id
    }

    async fn act(&self, id: &str, action: &str) -> Reply {
        self.legacy("POST", &format!("/DE-{id}/action"), json!({"action": action})).await
    }

    async fn stopped(&self, changes: Value) -> String {
        let id = self.running(changes).await;
        assert_eq!(self.act(&id, "stop").await.status, 200);
        self.house.reaches(&id, Status::Stopped).await;
        id
    }

    async fn shown(&self, id: &str) -> Value {
        self.legacy("GET", &format!("/DE-{id}"), Value::Null).await.body
    }

    async fn auto_stop(&self, id: &str) -> Value {
        self.shown(id).await["spec"]["auto_stop"].clone()
    }
}

/// The notebook's id in an answer of the legacy API.
pub(crate) fn bare(reply: &Reply) -> String {
    reply.body["id"].as_str().unwrap().strip_prefix("DE-").unwrap().to_owned()
}

fn code(reply: &Reply) -> (u16, &str) {
    assert_eq!(reply.body["error_message"], reply.body["error_msg"], "{}", reply.body);
    (reply.status.as_u16(), reply.code())
}

/// The answer that the contract's page on updates prints.
fn printed() -> Value {
    json!({
        "ai_project": {"id": "default-ai-project"}, "creation_timestamp": "1594887749962",
        "description": "update notebook", "flavor": "modelarts.bm.gpu.v100NV32",
        "flavor_details": {
            "name": "modelarts.bm.gpu.v100NV32", "params": {"CPU": 8, "memory": "64GiB"}, "status": "onSale",
            "type": "GPU",
        },
        "id": "DE-7d558ef8-c73d-11ea-964c-0255ac100033", "latest_update_timestamp": "1594888143062",
        "name": "notebook-c6fd",
        "profile": {
            "de_type": "Notebook", "description": "multi engine, gpu, python 3.6 for notebook", "flavor_type": "GPU",
            "id": "Python3-gpu", "name": "Python3",
            "provision": {
                "annotations": {
                    "category": "Multi-Engine (Recommend)", "flavor": "modelarts.vm.gpu.p100", "type": "system",
                },
                "spec": {
                    "engine": "CCE",
                    "params": {
                        "annotations": null, "image_name": "mul-kernel-gpu-cuda-cp36", "image_tag": "2.0.5-B003",
                        "namespace": "atelier",
                    },
                },
                "type": "Docker",
            },
        },
        "spec": {
            "annotations": {"target_domain": "https://xxx", "url": "https://xxx"},
            "auto_stop": {
                "duration": 3600, "enable": true, "prompt": true, "remain_time": 3266,
                "stop_timestamp": 1_594_891_408_723_i64,
            },
            "extend_params": null, "failed_reasons": null, "repository": null,
            "storage": {
                "location": {"path": "/home/ma-user/work", "volume_size": 5, "volume_unit": "GB"}, "type": "evs",
            },
        },
        "status": "RUNNING", "user": {"id": "15dda26361214ca2a5953917d2f48ffb", "name": "ops_dev_env"},
        "workspace": {"id": "0"},
    })
}

/// Every member that the example has, with a value of the same JSON type. (It has a GPU; the members that say which are
/// left out of it above.)
fn assert_like(example: &Value, answer: &Value, path: &str) {
    match (example, answer) {
        (Value::Object(members), Value::Object(found)) => {
            for (name, member) in members {
                let at = format!("{path}.{name}");
                assert_like(member, found.get(name).unwrap_or_else(|| panic!("{at} is missing")), &at);
            }
        }
        (example, answer) => assert_eq!(kind(example), kind(answer), "{path}: {answer}"),
    }
}

fn kind(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    }
}

#[tokio::test]
async fn the_three_printed_examples_are_answered_as_printed() {
    let both = Both::open().await;
    let auto_stop = json!({"enable": true, "duration": 3600});
    let spec = json!({"storage": {"type": "evs"}, "auto_stop": auto_stop});
    let id = both.running(json!({"name": "notebook-c6fd", "spec": spec})).await;
    both.house.time.advance(334_000);
    let path = format!("/DE-{id}");
    let updated = both.legacy("PUT", &path, json!({"description": "This is for test."})).await;
    assert_like(&printed(), &updated.body, "");
    assert_eq!((updated.status.as_u16(), &updated.body["description"]), (200, &json!("This is for test.")));
    assert_eq!(updated.body["spec"]["auto_stop"]["remain_time"], 3266);
    assert!(updated.body.get("error_code").is_none());

    assert_eq!(both.act(&id, "stop").await.body, json!({"current_status": "STOPPING", "previous_state": "RUNNING"}));
    both.house.reaches(&id, Status::Stopped).await;
    let started = both.act(&id, "start").await;
    assert_eq!(started.body, json!({"current_status": "STARTING", "previous_state": "STOPPED"}));

    let nobody = "/6fa459ea-ee8a-3ca4-894e-db77e160355e";
    for (method, rest, body) in [
        ("POST", "/action", json!({"action": "start"})),
        ("PUT", "", json!({"description": "This is for test."})),
        ("GET", "", Value::Null),
        ("DELETE", "", Value::Null),
        ("GET", "/token", Value::Null),
    ] {
        let refused = both.legacy(method, &format!("{nobody}{rest}"), body).await;
        assert_eq!(refused.body["error_message"], "The instance does not exist.", "{method} {rest}");
        assert_eq!(code(&refused), (404, "ModelArts.6309"));
    }
}

#[tokio::test]
async fn what_one_api_makes_the_other_shows_and_manages() {
    let both = Both::open().await;
    let id = both.running(json!({})).await;
    let seen = both.v1("GET", &format!("/{id}"), Value::Null).await.body;
    assert_eq!((&seen["status"], &seen["name"]), (&json!("RUNNING"), &json!("one")));
    assert_eq!(seen["lease"]["enable"], false, "without a word there is no automatic stop");
    let token = both.legacy("GET", &format!("/DE-{id}/token"), Value::Null).await;
    assert_eq!(token.body, json!({"token": seen["token"]}));
    assert_eq!(both.shown(&id).await["spec"]["annotations"]["url"], seen["url"]);
    assert_eq!(both.v1("POST", &format!("/{id}/stop"), Value::Null).await.status, 200);
    both.house.reaches(&id, Status::Stopped).await;
    assert_eq!(code(&both.legacy("GET", &format!("/DE-{id}/token"), Value::Null).await), (400, "ModelArts.6327"));

    let volume = json!({"category": "EVS", "ownership": "MANAGED", "capacity": 7});
    let body = wish(json!({"name": "two", "volume": volume}));
    let other = both.v1("POST", "", body).await.body["id"].as_str().unwrap().to_owned();
    let shown = both.shown(&other).await;
    assert_eq!(
        (&shown["status"], &shown["profile"]["id"]),
        (&json!("CREATING"), &json!("Multi-Engine 1.0 (python3)-cpu"))
    );
    assert_eq!(shown["spec"]["storage"]["location"]["volume_size"], 7);
    let listed = both.legacy("GET", "?de_type=Notebook", Value::Null).await.body;
    let names: Vec<_> = listed["instances"].as_array().unwrap().iter().map(|i| i["name"].clone()).collect();
    assert_eq!((names, &listed["total_count"]), (vec![json!("one"), json!("two")], &json!(2)));

    assert_eq!(
        both.legacy("DELETE", &format!("/{id}"), Value::Null).await.body,
        json!({"instance_id": format!("DE-{id}")})
    );
    assert_eq!(both.v1("DELETE", &format!("/{other}"), Value::Null).await.status, 200);
}

#[tokio::test]
async fn an_automatic_stop_applies_to_every_start_and_a_change_waits_for_the_next() {
    let both = Both::open().await;
    let spec = json!({"storage": {"type": "evs"}, "auto_stop": {"enable": true, "duration": 3600, "prompt": false}});
    let id = both.running(json!({"spec": spec})).await;
    let ends = NOON.as_millis() + HOUR_MS;
    let running = |duration, left| json!({"enable": true, "duration": duration, "prompt": false, "stop_timestamp": ends, "remain_time": left});
    assert_eq!(both.auto_stop(&id).await, running(3600, 3600));

    both.house.time.advance(600_000);
    let path = format!("/DE-{id}");
    let beside = json!({"auto_stop": {"enable": true, "duration": 7200}});
    assert_eq!(both.legacy("PUT", &path, beside).await.body["spec"]["auto_stop"], running(7200, 3000));
    let lease = both.v1("GET", &format!("/{id}/lease"), Value::Null).await.body;
    assert_eq!(lease["duration"], HOUR_MS, "the present run ends as it would have");

    both.act(&id, "stop").await;
    both.house.reaches(&id, Status::Stopped).await;
    assert_eq!(both.auto_stop(&id).await, json!({"enable": true, "duration": 7200, "prompt": false}));
    both.act(&id, "start").await;
    both.house.let_one_start();
    both.house.reaches(&id, Status::Running).await;
    let auto_stop = both.auto_stop(&id).await;
    assert_eq!((&auto_stop["duration"], &auto_stop["remain_time"]), (&json!(7200), &json!(7200)));

    let off = json!({"spec": {"auto_stop": {"enable": false, "prompt": true}}});
    let off = both.legacy("PUT", &path, off).await.body["spec"]["auto_stop"].clone();
    assert_eq!((&off["enable"], &off["prompt"], off.get("duration")), (&json!(false), &json!(true), None));
    assert_eq!(off["remain_time"], 7200, "the present run still ends");
}

#[tokio::test]
async fn each_status_refuses_with_its_code_and_nothing_happens() {
    let both = Both::open().await;
    let id = bare(&both.create(json!({})).await);
    let delete = async || both.legacy("DELETE", &format!("/DE-{id}"), Value::Null).await;
    for refused in [both.act(&id, "start").await, both.act(&id, "stop").await, delete().await] {
        assert_eq!(code(&refused), (400, "ModelArts.6306"), "CREATING");
    }
    both.house.let_one_start();
    both.house.reaches(&id, Status::Running).await;
    assert_eq!(code(&both.act(&id, "start").await), (400, "ModelArts.6305"));
    assert_eq!(code(&delete().await), (400, "ModelArts.6304"));
    assert_eq!(both.shown(&id).await["status"], "RUNNING");
    both.act(&id, "stop").await;
    both.house.reaches(&id, Status::Stopped).await;
    assert_eq!(code(&both.act(&id, "stop").await), (400, "ModelArts.6307"));
    assert_eq!(both.shown(&id).await["status"], "STOPPED");
    assert_eq!(delete().await.status, 200);
}

/// The contract's reasons of a failure carry a code: that of a fault of the service.
#[tokio::test]
async fn an_instance_that_failed_says_why() {
    let both = Both::open().await;
    let id = bare(&both.create(json!({})).await);
    assert!(both.shown(&id).await["spec"]["failed_reasons"].is_null());
    both.house.gate.break_starts();
    both.house.reaches(&id, Status::StartFailed).await;
    let shown = both.shown(&id).await;
    assert_eq!(
        (&shown["status"], &shown["spec"]["failed_reasons"]["code"]),
        (&json!("START_FAILED"), &json!("ModelArts.6361"))
    );
    let why = shown["spec"]["failed_reasons"]["message"].as_str().unwrap();
    assert!(why.contains("the server did not come up"), "{why}");
    assert_eq!(both.act(&id, "start").await.status, 200, "it can be started again");
}

#[tokio::test]
async fn names_are_taken_once_here_and_a_name_is_no_id() {
    let both = Both::open().await;
    let id = both.stopped(json!({})).await;
    assert_eq!(code(&both.create(json!({})).await), (400, "ModelArts.6301"));
    // The other API has no such rule, and what it makes counts here.
    let body = wish(json!({"name": "two"}));
    for _ in 0..2 {
        assert_eq!(both.v1("POST", "", body.clone()).await.status, 200);
    }
    assert_eq!(code(&both.create(json!({"name": "two"})).await), (400, "ModelArts.6301"));
    assert_eq!(code(&both.legacy("GET", "/one?de_type=Notebook", Value::Null).await), (404, "ModelArts.6309"));
    for spelling in [id.clone(), format!("DE-{id}"), format!("de-{}", id.to_uppercase())] {
        let shown = both.legacy("GET", &format!("/{spelling}"), Value::Null).await;
        assert_eq!((shown.status.as_u16(), shown.body["id"].as_str()), (200, Some(format!("DE-{id}").as_str())));
    }
}

#[tokio::test]
async fn lists_are_filtered_sorted_and_cut() {
    let both = Both::open().await;
    let b = both.running(json!({"name": "b"})).await;
    both.house.time.advance(1000);
    both.stopped(json!({"name": "a"})).await;
    both.house.time.advance(1000);
    both.create(json!({"name": "c"})).await;
    let names = async |query: &str| {
        let listed = both.legacy("GET", &format!("?de_type=Notebook{query}"), Value::Null).await;
        assert_eq!(listed.status, 200, "{query}: {}", listed.body);
        let names = listed.body["instances"].as_array().unwrap().iter().map(|i| i["name"].as_str().unwrap().to_owned());
        (names.collect::<String>(), listed.body["total_count"].as_u64().unwrap())
    };
    for (query, expected, total) in [
        ("", "abc", 3),
        ("&order=desc", "cba", 3),
        ("&sortby=creation_timestamp", "bac", 3),
        ("&sortby=creation_timestamp&order=desc&limit=2", "ca", 3),
        ("&offset=1&limit=1", "b", 3),
        ("&offset=1&limit=0", "bc", 3),
        ("&status=RUNNING", "b", 1),
        ("&status=stopped", "a", 1),
        ("&status=CREATING", "c", 1),
        ("&status=RESIZING", "", 0),
        ("&show_self=True&workspace_id=0&provision_type=Docker", "abc", 3),
        ("&show_self=false", "abc", 3),
        ("&ai_project=default-ai-project", "abc", 3),
        ("&ai_project_id=another", "", 0),
        ("&pool_id=another", "", 0),
    ] {
        assert_eq!(names(query).await, (expected.to_owned(), total), "{query}");
    }
    both.v1("DELETE", &format!("/{b}"), Value::Null).await;
    assert!(!names("").await.0.contains('b'), "what is being deleted is not listed");
}

#[tokio::test]
async fn instances_of_others_are_shown_to_administrators_only() {
    let both = Both::open().await;
    both.create(json!({})).await;
    let house = &both.house;
    let member = house.token(&json!({"project": {"id": house.other_project.to_string()}})).await;
    let target = format!("/v1/{}/demanager/instances?de_type=Notebook&show_self=false", house.other_project);
    let refused = house.call(&member, "GET", &target, &Value::Null).await;
    assert_eq!(code(&refused), (403, "ModelArts.0112"));
}
