//! `ListAuthoringClusters`, `ShowCluster`, `ListFeatures`: where notebooks can run, and how many.
//!
//! The machine itself is the one MANAGED cluster, for everybody. There is no pool, so none is DEDICATED.

use atelier_core::refusal::{Code, Refusal};
use atelier_wire as wire;
use axum::Json;
use axum::extract::State;

use crate::Api;
use crate::answer::Answer;
use crate::call::Call;
use crate::fields::word_in;
use crate::page::{Paging, Window};
use crate::query::Query;
use crate::shape;

/// The id of the machine as a cluster.
const PUBLIC: &str = "public";
const NOTEBOOK: &str = "NOTEBOOK";
const DEFAULT_LIMIT: u32 = 1000;

/// List where notebooks can run: MANAGED is the machine itself, DEDICATED are pools.
#[utoipa::path(
    get, path = "/v1/{project_id}/authoring/clusters", operation_id = "ListAuthoringClusters", tag = "clusters",
    params(
        ("project_id" = String, Path),
        ("type" = String, Query, description = "MANAGED or DEDICATED"),
        ("scope" = Option<String>, Query, description = "NOTEBOOK, TRAIN or INFER; NOTEBOOK when absent"),
        ("workspace_id" = Option<String>, Query, description = "0"),
        ("limit" = Option<u32>, Query, description = "0 to 1000; 1000 when absent"),
        ("offset" = Option<u32>, Query, description = "records to skip"),
    ),
    responses((status = 200, body = wire::ClusterPage), (status = "default", body = wire::ApiError)),
)]
pub(crate) async fn list(State(api): State<Api>, call: Call) -> Answer<wire::ClusterPage> {
    let wanted = Wanted::of(&call.query)?;
    let clusters = if wanted.public { vec![public(&api, &call).await?] } else { Vec::new() };
    let total = clusters.len() as u64;
    let Paging { current, pages, size } = wanted.window.paging(total);
    Ok(Json(wire::ClusterPage { current, data: wanted.window.cut(clusters), pages, size, total }))
}

/// Show one place where notebooks can run.
#[utoipa::path(
    get, path = "/v1/{project_id}/authoring/clusters/{cluster_id}", operation_id = "ShowCluster", tag = "clusters",
    params(("project_id" = String, Path), ("cluster_id" = String, Path)),
    responses((status = 200, body = wire::Cluster), (status = "default", body = wire::ApiError)),
)]
pub(crate) async fn show(State(api): State<Api>, call: Call) -> Answer<wire::Cluster> {
    match call.param("cluster_id") {
        PUBLIC => Ok(Json(public(&api, &call).await?)),
        other => {
            let shown: String = other.chars().take(64).collect();
            let message = format!("cluster `{shown}` does not exist; see ListAuthoringClusters");
            Err(Refusal::new(Code::NotFound, message).into())
        }
    }
}

/// Show how many notebooks the caller may have in the project, and has.
#[utoipa::path(
    get, path = "/v1/{project_id}/authoring/features/{feature}", operation_id = "ListFeatures", tag = "clusters",
    params(("project_id" = String, Path), ("feature" = String, Path, description = "NOTEBOOK")),
    responses((status = 200, body = wire::FeatureQuota), (status = "default", body = wire::ApiError)),
)]
pub(crate) async fn features(State(api): State<Api>, call: Call) -> Answer<wire::FeatureQuota> {
    let asked = call.param("feature");
    if word_in(asked, &[NOTEBOOK]).is_none() {
        let shown: String = asked.chars().take(64).collect();
        return Err(Refusal::new(Code::NotFound, format!("feature `{shown}` does not exist; there is NOTEBOOK")).into());
    }
    let (quota, used) = api.engine.quota(&call.caller).await?;
    let user_id = call.caller.user_id.to_string();
    Ok(Json(wire::FeatureQuota { name: NOTEBOOK.to_owned(), enabled: true, quota, used, user_id }))
}

/// The machine itself.
async fn public(api: &Api, call: &Call) -> Result<wire::Cluster, Refusal> {
    let offered = api.engine.flavors().await?;
    Ok(wire::Cluster {
        logic_cluster_id: PUBLIC.to_owned(),
        pool_id: None,
        status: "ACTIVE".to_owned(),
        kind: "MANAGED".to_owned(),
        resource_categories: shape::CPU.to_owned(),
        workspace_id: "0".to_owned(),
        project_id: call.caller.project_id.to_string(),
        domain_id: call.caller.domain_id.to_string(),
        flavors: offered.iter().map(shape::cluster_flavor).collect(),
        is_allow_root: false,
    })
}

#[derive(Debug)]
struct Wanted {
    window: Window,
    /// Whether the machine itself is asked for: it is MANAGED, and for notebooks only.
    public: bool,
}

impl Wanted {
    fn of(query: &Query) -> Result<Self, Refusal> {
        let window = Window::from_none(query, DEFAULT_LIMIT)?;
        let kind = query.word("type", &["MANAGED", "DEDICATED"])?;
        let kind = kind.ok_or_else(|| Refusal::bad_query("type", "MANAGED or DEDICATED; it is required"))?;
        let scope = query.word("scope", &[NOTEBOOK, "TRAIN", "INFER"])?.unwrap_or(NOTEBOOK);
        query.workspace()?;
        Ok(Self { window, public: kind == "MANAGED" && scope == NOTEBOOK })
    }
}
