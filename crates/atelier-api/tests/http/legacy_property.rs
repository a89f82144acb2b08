//! Random calls of either API, and after each of them both show the same.

use atelier_core::status::Status;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::answers::wish;
use crate::legacy::{Both, bare};

/// What must be so, by the calls alone.
#[derive(Clone, Debug)]
struct Expected {
    id: String,
    name: String,
    description: String,
    running: bool,
    /// Seconds of the next start's lease; `None`: no automatic stop.
    seconds: Option<i64>,
}

struct Walk {
    both: Both,
    dice: StdRng,
    expected: Vec<Expected>,
}

impl Walk {
    async fn step(&mut self) {
        match self.dice.random_range(0..7) {
            0 | 1 if self.expected.len() < 4 => self.create().await,
            _ if self.expected.is_empty() => self.create().await,
            0..=2 => self.start().await,
            3 => self.stop().await,
            4 => self.delete().await,
            5 => self.renew().await,
            _ => self.update().await,
        }
    }

    fn coin(&mut self) -> bool {
        self.dice.random()
    }

    fn seconds(&mut self) -> i64 {
        self.dice.random_range(3600..=86_400)
    }

    fn one(&mut self) -> usize {
        self.dice.random_range(0..self.expected.len())
    }

    async fn create(&mut self) {
        let name = format!("nb-{}", self.dice.random_range(0..6));
        let seconds = self.coin().then_some(self.seconds());
        let taken = self.expected.iter().any(|other| other.name == name);
        let id = if self.coin() {
            let auto_stop = seconds.map_or(json!({"enable": false}), |s| json!({"enable": true, "duration": s}));
            let spec = json!({"storage": {"type": "evs"}, "auto_stop": auto_stop});
            let made = self.both.create(json!({"name": name, "spec": spec})).await;
            if taken {
                assert_eq!(made.code(), "ModelArts.6301", "{}", made.body);
                return;
            }
            bare(&made)
        } else {
            let body = wish(json!({"name": name, "duration": seconds.map_or(-1, |s| s * 1000)}));
            self.both.v1("POST", "", body).await.body["id"].as_str().unwrap().to_owned()
        };
        self.runs(&id).await;
        self.expected.push(Expected { id, name, description: String::new(), running: true, seconds });
    }

    async fn runs(&self, id: &str) {
        self.both.house.let_one_start();
        self.both.house.reaches(id, Status::Running).await;
    }

    async fn start(&mut self) {
        let (at, by_legacy) = (self.one(), self.coin());
        let Expected { id, running, .. } = self.expected[at].clone();
        let (reply, refusal) = if by_legacy {
            (self.both.legacy("POST", &format!("/DE-{id}/action"), json!({"action": "start"})).await, "ModelArts.6305")
        } else {
            (self.both.v1("POST", &format!("/{id}/start"), Value::Null).await, "ModelArts.6357")
        };
        if running {
            assert_eq!(reply.code(), refusal);
        } else {
            assert_eq!(reply.status, 200, "{}", reply.body);
            self.runs(&id).await;
            self.expected[at].running = true;
        }
    }

    async fn stop(&mut self) {
        let (at, by_legacy) = (self.one(), self.coin());
        let Expected { id, running, .. } = self.expected[at].clone();
        let (reply, refusal) = if by_legacy {
            (self.both.legacy("POST", &format!("/DE-{id}/action"), json!({"action": "stop"})).await, "ModelArts.6307")
        } else {
            (self.both.v1("POST", &format!("/{id}/stop"), Value::Null).await, "ModelArts.6357")
        };
        if running {
            assert_eq!(reply.status, 200, "{}", reply.body);
            self.both.house.reaches(&id, Status::Stopped).await;
            self.expected[at].running = false;
        } else {
            assert_eq!(reply.code(), refusal);
        }
    }

    async fn delete(&mut self) {
        let (at, by_legacy) = (self.one(), self.coin());
        let Expected { id, running, .. } = self.expected[at].clone();
        let reply = if by_legacy {
            self.both.legacy("DELETE", &format!("/DE-{id}"), Value::Null).await
        } else {
            self.both.v1("DELETE", &format!("/{id}"), Value::Null).await
        };
        if by_legacy && running {
            assert_eq!(reply.code(), "ModelArts.6304");
            return;
        }
        assert_eq!(reply.status, 200, "{}", reply.body);
        self.both.house.is_gone(&id).await;
        self.expected.remove(at);
        assert_eq!(self.both.legacy("GET", &format!("/{id}"), Value::Null).await.code(), "ModelArts.6309");
        assert_eq!(self.both.v1("GET", &format!("/{id}"), Value::Null).await.code(), "ModelArts.6404");
    }

    /// A renewal by the other API counts for the starts to come, too.
    async fn renew(&mut self) {
        let (at, seconds) = (self.one(), self.seconds());
        let id = self.expected[at].id.clone();
        let reply = self.both.v1("PATCH", &format!("/{id}/lease"), json!({"duration": seconds * 1000})).await;
        if self.expected[at].running {
            assert_eq!(reply.status, 200, "{}", reply.body);
            self.expected[at].seconds = Some(seconds);
        } else {
            assert_eq!(reply.code(), "ModelArts.6327");
        }
    }

    async fn update(&mut self) {
        let (at, seconds) = (self.one(), self.coin().then_some(self.seconds()));
        let description = format!("said {}", self.dice.random_range(0..9));
        let auto_stop = seconds.map_or(json!({"enable": false}), |s| json!({"enable": true, "duration": s}));
        let body = json!({"description": description, "spec": {"auto_stop": auto_stop}});
        let id = self.expected[at].id.clone();
        assert_eq!(self.both.legacy("PUT", &format!("/DE-{id}"), body).await.status, 200);
        (self.expected[at].description, self.expected[at].seconds) = (description, seconds);
    }

    /// Both APIs show what is expected, and the same.
    async fn check(&self) {
        for expected in &self.expected {
            let id = &expected.id;
            let v1 = self.both.v1("GET", &format!("/{id}"), Value::Null).await.body;
            let legacy = self.both.legacy("GET", &format!("/DE-{id}"), Value::Null).await.body;
            let status = if expected.running { "RUNNING" } else { "STOPPED" };
            for shown in [&v1, &legacy] {
                assert_eq!((&shown["name"], &shown["status"]), (&json!(expected.name), &json!(status)), "{shown}");
                assert_eq!((&shown["description"], &shown["flavor"]), (&json!(expected.description), &v1["flavor"]));
            }
            for (text, number) in [("creation_timestamp", "create_at"), ("latest_update_timestamp", "update_at")] {
                assert_eq!(legacy[text], v1[number].to_string(), "{text}");
            }
            assert_eq!(legacy["spec"]["storage"]["location"]["volume_size"], v1["volume"]["capacity"]);
            assert_eq!((&legacy["user"]["id"], &legacy["workspace"]["id"]), (&v1["user_id"], &v1["workspace_id"]));
            Self::check_stop(expected, &v1, &legacy["spec"]["auto_stop"]);
            let token = self.both.legacy("GET", &format!("/{id}/token"), Value::Null).await.body;
            assert_eq!(token.get("token"), v1.get("token").filter(|_| expected.running), "{token}");
        }
        let listed = self.both.legacy("GET", "?de_type=Notebook&sortby=creation_timestamp", Value::Null).await.body;
        let other = self.both.v1("GET", "?sort_dir=ASC&limit=50", Value::Null).await.body;
        let ids = |list: &Value| {
            list.as_array().unwrap().iter().map(|n| n["id"].as_str().unwrap().replace("DE-", "")).collect::<Vec<_>>()
        };
        assert_eq!(ids(&listed["instances"]), ids(&other["data"]));
        assert_eq!((&listed["total_count"], ids(&other["data"]).len()), (&other["total"], self.expected.len()));
    }

    /// The present run ends when the other API's lease does; the next has what was last asked for, by whatever call.
    fn check_stop(expected: &Expected, v1: &Value, auto_stop: &Value) {
        assert_eq!(auto_stop["enable"], expected.seconds.is_some(), "{expected:?} {auto_stop}");
        assert_eq!(auto_stop.get("duration"), expected.seconds.map(|s| json!(s)).as_ref(), "{expected:?}");
        let (lease, ends) = (&v1["lease"], expected.running && v1["lease"]["enable"] == true);
        let end = || lease["create_at"].as_i64().unwrap() + lease["duration"].as_i64().unwrap();
        assert_eq!(auto_stop.get("stop_timestamp"), ends.then(|| json!(end())).as_ref(), "{lease}");
        assert_eq!(auto_stop.get("remain_time").is_some(), ends);
    }
}

#[tokio::test]
async fn both_apis_show_the_same_after_every_call() {
    for seed in [1, 7, 42] {
        let both = Both::open().await;
        let mut walk = Walk { both, dice: StdRng::seed_from_u64(seed), expected: Vec::new() };
        for _ in 0..50 {
            walk.step().await;
            walk.both.house.time.advance(1000);
            walk.check().await;
        }
    }
}
