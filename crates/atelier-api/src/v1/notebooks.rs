//! `CreateNotebook`, `ListNotebooks`, `ListAllNotebooks`, `ShowNotebook`, `DeleteNotebook`, `StartNotebook`, `StopNotebook`.

use atelier_core::feature::Feature;
use atelier_core::id::UserId;
use atelier_core::notebook::Notebook;
use atelier_core::refusal::Refusal;
use atelier_core::status::Status;
use atelier_engine::ListNotebooks;
use atelier_store::{NotebookPage, SortKey};
use atelier_wire as wire;
use axum::Json;
use axum::extract::State;

use crate::Api;
use crate::answer::Answer;
use crate::call::Call;
use crate::page::{Paging, Window};
use crate::query::Query;
use crate::shape;
use crate::v1::{create, lease};

/// Make a notebook and start it. The answer shows it in the status CREATING; ask until it is RUNNING.
#[utoipa::path(
    post, path = "/v1/{project_id}/notebooks", operation_id = "CreateNotebook", tag = "notebooks",
    params(("project_id" = String, Path)),
    request_body(content = wire::NotebookCreateRequest, example = json!({
        "name": "my-notebook",
        "flavor": "atelier.cpu.small",
        "image_id": "e1a07296-22a8-4f05-8bc8-e936c8e54090",
        "volume": {"category": "EVS", "ownership": "MANAGED", "capacity": 5},
        "lease": {"type": "TIMING", "duration": 3_600_000, "enable": true},
    })),
    responses((status = 200, body = wire::Notebook), (status = "default", body = wire::ApiError)),
)]
pub(crate) async fn create(State(api): State<Api>, call: Call) -> Answer<wire::Notebook> {
    let new = create::parse(&call.body, &api.engine.grants())?;
    let notebook = api.engine.create(&call.caller, &call.request_id, new).await?;
    Ok(Json(shape::notebook(&notebook, &api.config.notebooks)))
}

/// Show one notebook.
#[utoipa::path(
    get, path = "/v1/{project_id}/notebooks/{id}", operation_id = "ShowNotebook", tag = "notebooks",
    params(("project_id" = String, Path), ("id" = String, Path, format = "uuid")),
    responses((status = 200, body = wire::Notebook), (status = "default", body = wire::ApiError)),
)]
pub(crate) async fn show(State(api): State<Api>, call: Call) -> Answer<wire::Notebook> {
    let notebook = api.engine.show(&call.caller, call.notebook()?).await?;
    Ok(Json(shape::notebook(&notebook, &api.config.notebooks)))
}

/// Delete a notebook with its volume, whatever it is doing. The answer shows it in the status DELETING; ask until it is
/// not found.
#[utoipa::path(
    delete, path = "/v1/{project_id}/notebooks/{id}", operation_id = "DeleteNotebook", tag = "notebooks",
    params(("project_id" = String, Path), ("id" = String, Path, format = "uuid")),
    responses((status = 200, body = wire::Notebook), (status = "default", body = wire::ApiError)),
)]
pub(crate) async fn delete(State(api): State<Api>, call: Call) -> Answer<wire::Notebook> {
    let notebook = api.engine.delete(&call.caller, &call.request_id, call.notebook()?).await?;
    Ok(Json(shape::notebook(&notebook, &api.config.notebooks)))
}

/// Start a stopped notebook. The answer shows it in the status STARTING.
#[utoipa::path(
    post, path = "/v1/{project_id}/notebooks/{id}/start", operation_id = "StartNotebook", tag = "notebooks",
    params(
        ("project_id" = String, Path), ("id" = String, Path, format = "uuid"),
        ("duration" = Option<i64>, Query, description = "milliseconds to run, or -1; absent or 0: as the last time"),
        ("type" = Option<String>, Query, description = "TIMING or IDLE; absent: as the last time"),
    ),
    responses((status = 200, body = wire::Notebook), (status = "default", body = wire::ApiError)),
)]
pub(crate) async fn start(State(api): State<Api>, call: Call) -> Answer<wire::Notebook> {
    let id = call.notebook()?;
    let (grant, kind) = lease::parse_start(&call.query, &api.engine.grants())?;
    let notebook = api.engine.start(&call.caller, &call.request_id, id, grant, kind).await?;
    Ok(Json(shape::notebook(&notebook, &api.config.notebooks)))
}

/// Stop a running notebook; its volume is kept. The answer shows it in the status STOPPING.
#[utoipa::path(
    post, path = "/v1/{project_id}/notebooks/{id}/stop", operation_id = "StopNotebook", tag = "notebooks",
    params(("project_id" = String, Path), ("id" = String, Path, format = "uuid")),
    responses((status = 200, body = wire::Notebook), (status = "default", body = wire::ApiError)),
)]
pub(crate) async fn stop(State(api): State<Api>, call: Call) -> Answer<wire::Notebook> {
    let notebook = api.engine.stop(&call.caller, &call.request_id, call.notebook()?).await?;
    Ok(Json(shape::notebook(&notebook, &api.config.notebooks)))
}

/// List the caller's own notebooks.
#[utoipa::path(
    get, path = "/v1/{project_id}/notebooks", operation_id = "ListNotebooks", tag = "notebooks",
    params(
        ("project_id" = String, Path),
        ("name" = Option<String>, Query, description = "a part of the name"),
        ("status" = Option<String>, Query),
        ("feature" = Option<String>, Query, description = "NOTEBOOK or DEFAULT; NOTEBOOK when absent"),
        ("workspace_id" = Option<String>, Query, description = "0"),
        ("workspaceId" = Option<String>, Query, description = "the same"),
        ("sort_key" = Option<String>, Query, description = "create_at, update_at or name"),
        ("sort_dir" = Option<String>, Query, description = "ASC or DESC"),
        ("limit" = Option<u32>, Query, description = "1 to 1000; 10 when absent"),
        ("offset" = Option<u32>, Query, description = "records to skip"),
    ),
    responses((status = 200, body = wire::NotebookPage), (status = "default", body = wire::ApiError)),
)]
pub(crate) async fn list(State(api): State<Api>, call: Call) -> Answer<wire::NotebookPage> {
    call.query.refuse("owner")?;
    let wanted = Wanted::of(&call.query)?;
    let page = api.engine.list(&call.caller, wanted.query).await?;
    Ok(Json(page_of(&api, &call, wanted.window, &page)))
}

/// List everybody's notebooks in the project. For users who hold the role `admin` in it. What opens a notebook stands
/// only in the caller's own ones.
#[utoipa::path(
    get, path = "/v1/{project_id}/notebooks/all", operation_id = "ListAllNotebooks", tag = "notebooks",
    params(
        ("project_id" = String, Path),
        ("owner" = Option<String>, Query, description = "the id of a user: only theirs"),
        ("name" = Option<String>, Query, description = "a part of the name"),
        ("status" = Option<String>, Query),
        ("feature" = Option<String>, Query, description = "NOTEBOOK or DEFAULT; NOTEBOOK when absent"),
        ("workspace_id" = Option<String>, Query, description = "0"),
        ("workspaceId" = Option<String>, Query, description = "the same"),
        ("sort_key" = Option<String>, Query, description = "create_at, update_at or name"),
        ("sort_dir" = Option<String>, Query, description = "ASC or DESC"),
        ("limit" = Option<u32>, Query, description = "1 to 1000; 10 when absent"),
        ("offset" = Option<u32>, Query, description = "records to skip"),
    ),
    responses((status = 200, body = wire::NotebookPage), (status = "default", body = wire::ApiError)),
)]
pub(crate) async fn list_all(State(api): State<Api>, call: Call) -> Answer<wire::NotebookPage> {
    call.administrator()?;
    let wanted = Wanted::of(&call.query)?;
    let page = api.engine.list_all(&call.caller, owner(&call.query)?, wanted.query).await?;
    Ok(Json(page_of(&api, &call, wanted.window, &page)))
}

fn owner(query: &Query) -> Result<Option<UserId>, Refusal> {
    let parsed =
        |text: &str| text.parse().map_err(|_| Refusal::bad_query("owner", "32 hexadecimal digits, lower case"));
    query.text("owner")?.map(parsed).transpose()
}

fn page_of(api: &Api, call: &Call, window: Window, page: &NotebookPage) -> wire::NotebookPage {
    let shown = |notebook: &Notebook| {
        let token_is_theirs = notebook.owner.user_id != call.caller.user_id;
        let shown = shape::notebook(notebook, &api.config.notebooks);
        if token_is_theirs { wire::Notebook { token: None, ..shown } } else { shown }
    };
    let data = page.items.iter().map(shown).collect();
    let Paging { current, pages, size } = window.paging(page.total);
    wire::NotebookPage { current, data, pages, size, total: page.total }
}

/// Records on a page when nothing is said.
const DEFAULT_LIMIT: u32 = 10;

/// Parameters of the contract that this server does not offer.
const NOT_OFFERED: [&str; 11] = [
    "pool_id",
    "flavor",
    "image_id",
    "id",
    "billing",
    "tags",
    "swr_path",
    "pool_name",
    "description",
    "ip",
    "username",
];

const SORT_KEYS: [(&str, SortKey); 5] = [
    ("create_at", SortKey::CreateAt),
    ("update_at", SortKey::UpdateAt),
    ("name", SortKey::Name),
    ("createTime", SortKey::CreateAt),
    ("updateTime", SortKey::UpdateAt),
];

/// What a list was asked for.
struct Wanted {
    window: Window,
    query: ListNotebooks,
}

impl Wanted {
    fn of(query: &Query) -> Result<Self, Refusal> {
        let window = Window::of(query, Some(DEFAULT_LIMIT))?;
        let name_contains = query.short_text("name", atelier_core::limits::MAX_NAME_CHARS)?.map(str::to_owned);
        let status = status(query)?;
        let feature = query.word("feature", &Feature::ALL.map(Feature::as_str))?;
        let feature = feature.and_then(|word| word.parse().ok()).unwrap_or_default();
        let sort_key = query.sort_key(&SORT_KEYS)?.unwrap_or(SortKey::CreateAt);
        let descending = query.descending()?;
        NOT_OFFERED.iter().try_for_each(|name| query.refuse(name))?;
        query.workspace()?;
        let list = ListNotebooks {
            name_contains,
            status,
            workspace_id: "0".to_owned(),
            feature: Some(feature),
            sort_key,
            descending,
            offset: window.offset,
            limit: window.limit.unwrap_or(DEFAULT_LIMIT),
        };
        Ok(Self { window, query: list })
    }
}

fn status(query: &Query) -> Result<Option<Status>, Refusal> {
    let words = Status::ALL.map(Status::as_str);
    Ok(query.word("status", &words)?.and_then(|word| word.parse().ok()))
}
