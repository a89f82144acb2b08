//! `ListAuthoringClusters`, `ShowCluster`, `ListFeatures`: where notebooks can run, and how many.
//!
//! What pools leave of the machine is the one MANAGED cluster; each pool is a DEDICATED one. All are for everybody.

use atelier_core::pool;
use atelier_core::refusal::{Code, Refusal};
use atelier_engine::Offer;
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

const MANAGED: &str = "MANAGED";
const DEDICATED: &str = "DEDICATED";
const NOTEBOOK: &str = "NOTEBOOK";
const DEFAULT_LIMIT: u32 = 1000;

/// List where notebooks can run: MANAGED is what pools leave of the machine, DEDICATED are the pools.
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
    let mut clusters = clusters(&api, &call).await?;
    clusters.retain(|cluster| wanted.kind == Some(cluster.kind.as_str()));
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
    let wanted = call.param("cluster_id");
    let found = clusters(&api, &call).await?.into_iter().find(|cluster| cluster.logic_cluster_id == wanted);
    let cluster = found.ok_or_else(|| {
        let shown: String = wanted.chars().take(64).collect();
        Refusal::new(Code::NotFound, format!("cluster `{shown}` does not exist; see ListAuthoringClusters"))
    })?;
    Ok(Json(cluster))
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

/// All of them, the public one first.
async fn clusters(api: &Api, call: &Call) -> Result<Vec<wire::Cluster>, Refusal> {
    Ok(api.engine.offers().await?.iter().map(|offer| cluster(offer, call)).collect())
}

fn cluster(offer: &Offer, call: &Call) -> wire::Cluster {
    let pool_id = offer.pool.as_ref().map(|pool| pool.id.clone());
    wire::Cluster {
        logic_cluster_id: pool_id.clone().unwrap_or_else(|| pool::PUBLIC.to_owned()),
        kind: if pool_id.is_some() { DEDICATED } else { MANAGED }.to_owned(),
        pool_id,
        status: "ACTIVE".to_owned(),
        resource_categories: category(offer).to_owned(),
        workspace_id: "0".to_owned(),
        project_id: call.caller.project_id.to_string(),
        domain_id: call.caller.domain_id.to_string(),
        flavors: offer.flavors.iter().map(shape::cluster_flavor).collect(),
        is_allow_root: false,
    }
}

/// The contract has one word for all flavors of a cluster.
fn category(offer: &Offer) -> &'static str {
    let mut categories = offer.flavors.iter().map(|offered| shape::category(&offered.flavor));
    categories.find(|category| *category == shape::GPU).unwrap_or(shape::CPU)
}

#[derive(Debug)]
struct Wanted {
    window: Window,
    /// The type that is asked for; none where the scope is not notebooks, because there is nothing for that.
    kind: Option<&'static str>,
}

impl Wanted {
    fn of(query: &Query) -> Result<Self, Refusal> {
        let window = Window::from_none(query, DEFAULT_LIMIT)?;
        let kind = query.word("type", &[MANAGED, DEDICATED])?;
        let kind = kind.ok_or_else(|| Refusal::bad_query("type", "MANAGED or DEDICATED; it is required"))?;
        let scope = query.word("scope", &[NOTEBOOK, "TRAIN", "INFER"])?.unwrap_or(NOTEBOOK);
        query.workspace()?;
        Ok(Self { window, kind: Some(kind).filter(|_| scope == NOTEBOOK) })
    }
}
