//! `atelier notebook …`: create, list, show, update, tag, start, stop, renew, events.

use atelier_core::feature::Feature;
use atelier_core::lease::LeaseKind;
use atelier_core::{Clock, SystemClock};
use atelier_wire::{
    CustomHooks, Lease, LeaseReq, Notebook, NotebookCreateRequest, NotebookCustomSpec, NotebookFlavor,
    RunCodeLabRequest, VolumeReq,
};
use reqwest::Method;
use serde_json::{Number, Value};

use super::{
    Context, catalogue, change, cp, delete, encoded, exec, hooks, logs, lookup, open, record, top, user, wait, why,
};
use crate::args::{Create, Events, List, NotebookCommand, One, Renew, Start, Stop};
use crate::client::Client;
use crate::failure::Failure;
use crate::{tables, times};

/// Runs one of the commands.
pub(crate) async fn run(context: &Context, command: NotebookCommand) -> Result<(), Failure> {
    match command {
        NotebookCommand::Create(args) => create(context, args).await,
        NotebookCommand::List(args) => list(context, args).await,
        NotebookCommand::Show(args) => show(context, args).await,
        NotebookCommand::Update(args) => change::update(context, args).await,
        NotebookCommand::Tag(args) => change::tag(context, args).await,
        NotebookCommand::Start(args) => start(context, args).await,
        NotebookCommand::Stop(args) => stop(context, args).await,
        NotebookCommand::Delete(args) => delete::run(context, args).await,
        NotebookCommand::Renew(args) => renew(context, args).await,
        NotebookCommand::Open(args) => open::run(context, args).await,
        NotebookCommand::Lab(args) => open::lab(context, args).await,
        NotebookCommand::Logs(args) => logs::run(context, args).await,
        NotebookCommand::Exec(args) => exec::run(context, args).await,
        NotebookCommand::Cp(args) => cp::run(context, args).await,
        NotebookCommand::Top(args) => top::run(context, args).await,
        NotebookCommand::Events(args) => events(context, args).await,
        NotebookCommand::Why(args) => why::run(context, args).await,
        NotebookCommand::Revoke(args) => revoke(context, args).await,
    }
}

async fn create(context: &Context, args: Create) -> Result<(), Failure> {
    let client = Client::connect(&args.connection, &context.surroundings).await?;
    let has_own = !args.shared && args.uri.is_none();
    let volume = if has_own { own_volume(args.volume) } else { common_volume(args.uri, args.volume_id) };
    let wish = Wish {
        name: args.name,
        description: args.description,
        flavor: args.flavor,
        custom_spec: custom_spec(args.cpus, args.memory),
        pool: args.pool,
        image: args.image,
        volume,
        duration: args.duration,
        idle: args.idle,
        hooks: hooks::wanted(&args.hooks, None)?,
    };
    let mut notebook = make(&client, wish).await?;
    if !args.waiting.no_wait {
        notebook = wait::until_running(&client, context.printer, notebook).await?;
    }
    report(context, &notebook)
}

/// A size that a notebook says itself.
pub(crate) fn custom_spec(cpus: Option<Number>, memory: Option<u64>) -> Option<NotebookCustomSpec> {
    Some(NotebookCustomSpec { cpu: cpus?, memory: memory?.into(), arch: None, category: None })
}

/// A volume of the notebook's own.
pub(crate) fn own_volume(gib: u32) -> VolumeReq {
    let (category, ownership) = ("EVS".into(), "MANAGED".into());
    VolumeReq { category, ownership, capacity: Some(gib), ..VolumeReq::default() }
}

/// A volume that several notebooks can have: the shared one, or that at an address.
fn common_volume(uri: Option<String>, id: Option<String>) -> VolumeReq {
    let ownership = if uri.is_some() { "DEDICATED" } else { "MANAGED" };
    VolumeReq { category: "EFS".into(), ownership: ownership.into(), capacity: None, uri, id }
}

/// The type of a lease that ends with idleness.
const IDLE: &str = LeaseKind::Idle.as_str();

/// What a new notebook should be.
#[derive(Debug, Default)]
pub(crate) struct Wish {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Its flavor; one that fits when it is not named.
    pub flavor: Option<String>,
    /// Its size in place of a flavor.
    pub custom_spec: Option<NotebookCustomSpec>,
    /// The pool that it is in, by its id.
    pub pool: Option<String>,
    /// Its image, by id or name; the built-in one when it is not named.
    pub image: Option<String>,
    /// Its volume.
    pub volume: VolumeReq,
    /// Milliseconds to run, −1 for ever.
    pub duration: Option<i64>,
    /// Count them from the last activity.
    pub idle: bool,
    /// What is run in it at each start.
    pub hooks: Option<CustomHooks>,
}

/// Asks the server for a new notebook; its record, on its way.
pub(crate) async fn make(client: &Client, wish: Wish) -> Result<Value, Failure> {
    let flavor = match wish.flavor {
        None if wish.custom_spec.is_none() => Some(fitting_flavor(client, wish.pool.as_deref()).await?),
        flavor => flavor,
    };
    let image_id = match &wish.image {
        Some(image) => lookup::image(client, image).await?,
        None => atelier_core::image::BUILT_IN.to_string(),
    };
    let request = NotebookCreateRequest {
        name: wish.name,
        description: wish.description,
        flavor,
        custom_spec: wish.custom_spec,
        pool_id: wish.pool,
        image_id,
        volume: wish.volume,
        hooks: wish.hooks,
        duration: wish.duration.filter(|_| !wish.idle),
        lease: wish.idle.then(|| LeaseReq { duration: wish.duration, kind: Some(IDLE.into()), enable: None }),
        ..NotebookCreateRequest::default()
    };
    let body = serde_json::to_value(request).map_err(|e| Failure::new(e.to_string()))?;
    client.call(Method::POST, "/notebooks", Some(&body)).await.map_err(hinted)
}

/// The caller's free instance, made or started where that was needed; its record, perhaps on its way.
pub(crate) async fn ask_lab(client: &Client, image: Option<&str>) -> Result<Value, Failure> {
    let image_id = match image {
        Some(image) => Some(lookup::image(client, image).await?),
        None => None,
    };
    let body = serde_json::to_value(RunCodeLabRequest { image_id }).map_err(|e| Failure::new(e.to_string()))?;
    client.call(Method::POST, "/notebooks/open", Some(&body)).await.map_err(hinted)
}

/// What to do when no notebook can be made.
fn hinted(failure: Failure) -> Failure {
    match failure.code.as_deref() {
        Some("ModelArts.6323" | "ModelArts.6716") => {
            failure.hint("`atelier flavor list` shows what is available, with --pool what is in a pool")
        }
        Some("ModelArts.0113") => failure.hint("`atelier notebook delete NAME` makes room"),
        _ => failure,
    }
}

async fn fitting_flavor(client: &Client, pool: Option<&str>) -> Result<String, Failure> {
    let flavors: Vec<NotebookFlavor> = record(&catalogue::flavors(client, pool).await?)?;
    let none = || match pool.filter(|_| flavors.is_empty()) {
        Some(pool) => Failure::new(format!("pool `{pool}` has no flavors")).hint("say the size: --cpus and --memory"),
        None => Failure::new("no flavor is available now").hint("stop a notebook to make room"),
    };
    choose_flavor(&flavors).ok_or_else(none)
}

/// The largest flavor that is available, up to two CPUs; failing that, the smallest. GPUs are for those who ask for them.
fn choose_flavor(flavors: &[NotebookFlavor]) -> Option<String> {
    let available = || flavors.iter().filter(|flavor| !flavor.sold_out && flavor.gpu.is_none());
    let usual = available().filter(|flavor| flavor.vcpus <= 2).max_by_key(|flavor| (flavor.vcpus, flavor.memory));
    usual.or_else(|| available().min_by_key(|flavor| flavor.memory)).map(|flavor| flavor.id.clone())
}

pub(crate) fn report(context: &Context, notebook: &Value) -> Result<(), Failure> {
    let shown: Notebook = record(notebook)?;
    context.printer.result(notebook, || tables::notebook(&shown, SystemClock.now()))
}

async fn list(context: &Context, args: List) -> Result<(), Failure> {
    let client = Client::connect(&args.connection, &context.surroundings).await?;
    let notebooks = records(&client, &question(&client, &args).await?).await?;
    let shown = notebooks.iter().map(record).collect::<Result<Vec<Notebook>, _>>()?;
    let table = || match shown.as_slice() {
        [] => none_of(&args).to_owned(),
        _ if args.all => tables::everybodys_notebooks(&shown, SystemClock.now()),
        _ => tables::notebooks(&shown, SystemClock.now()),
    };
    context.printer.result(&notebooks.into(), table)
}

/// The path that answers it, without its window.
async fn question(client: &Client, args: &List) -> Result<String, Failure> {
    let owner = match &args.owner {
        Some(name) => Some(user::id_of(client, name).await?),
        None => None,
    };
    let feature = args.free.then(|| Feature::Free.to_string());
    let filters =
        [("name", args.name.clone()), ("status", args.status.clone()), ("owner", owner), ("feature", feature)];
    let filters = filters.into_iter().filter_map(|(name, value)| Some(format!("&{name}={}", encoded(&value?))));
    let whose = if args.all { "/notebooks/all" } else { "/notebooks" };
    Ok(format!("{whose}?limit={}{}", lookup::PAGE, filters.collect::<String>()))
}

/// All records that answer it, page by page.
async fn records(client: &Client, question: &str) -> Result<Vec<Value>, Failure> {
    let mut records = Vec::new();
    loop {
        let answer = client.get(&format!("{question}&offset={}", records.len())).await?;
        let page = answer["data"].as_array().cloned().unwrap_or_default();
        let is_last = page.len() < lookup::PAGE;
        records.extend(page);
        if is_last {
            return Ok(records);
        }
    }
}

fn none_of(args: &List) -> &'static str {
    match args {
        List { all: true, .. } | List { owner: Some(_), .. } => "no notebooks",
        List { free: true, .. } => "no free instance; `atelier notebook lab` makes it",
        _ => "no notebooks; `atelier notebook create NAME` makes one",
    }
}

async fn show(context: &Context, args: One) -> Result<(), Failure> {
    let client = Client::connect(&args.connection, &context.surroundings).await?;
    report(context, &lookup::notebook(&client, &args.notebook).await?)
}

async fn start(context: &Context, args: Start) -> Result<(), Failure> {
    let client = Client::connect(&args.connection, &context.surroundings).await?;
    let found: Notebook = record(&lookup::notebook(&client, &args.notebook).await?)?;
    let mut notebook = ask_start(&client, &found.id, args.duration, args.idle).await?;
    if !args.waiting.no_wait {
        notebook = wait::until_running(&client, context.printer, notebook).await?;
    }
    report(context, &notebook)
}

/// Asks the server to start a notebook; its record, on its way.
pub(crate) async fn ask_start(client: &Client, id: &str, duration: Option<i64>, idle: bool) -> Result<Value, Failure> {
    let kind = if idle { IDLE } else { "" };
    let query = format!("?type={kind}&duration={}", duration.unwrap_or(0));
    client.call(Method::POST, &format!("/notebooks/{id}/start{query}"), None).await
}

async fn stop(context: &Context, args: Stop) -> Result<(), Failure> {
    let client = Client::connect(&args.connection, &context.surroundings).await?;
    let found: Notebook = record(&lookup::notebook(&client, &args.notebook).await?)?;
    let mut notebook = client.call(Method::POST, &format!("/notebooks/{}/stop", found.id), None).await?;
    if !args.waiting.no_wait {
        notebook = wait::until_stopped(&client, context.printer, notebook).await?;
    }
    report(context, &notebook)
}

async fn renew(context: &Context, args: Renew) -> Result<(), Failure> {
    let client = Client::connect(&args.connection, &context.surroundings).await?;
    let found: Notebook = record(&lookup::notebook(&client, &args.notebook).await?)?;
    let kind = args.idle.then(|| IDLE.to_owned());
    let wish = LeaseReq { duration: Some(args.duration), kind, enable: None };
    let body = serde_json::to_value(wish).map_err(|e| Failure::new(e.to_string()))?;
    let answer = client.call(Method::PATCH, &format!("/notebooks/{}/lease", found.id), Some(&body)).await;
    let answer = answer.map_err(|failure| match failure.code.as_deref() {
        Some("ModelArts.6327") => failure.hint(format!("start it first: atelier notebook start {}", found.name)),
        _ => failure,
    })?;
    let lease: Lease = record(&answer)?;
    let now = SystemClock.now();
    context.printer.result(&answer, || format!("`{}` stops by itself: {}", found.name, times::lease(&lease, now)))
}

async fn revoke(context: &Context, args: One) -> Result<(), Failure> {
    let client = Client::connect(&args.connection, &context.surroundings).await?;
    let found: Notebook = record(&lookup::notebook(&client, &args.notebook).await?)?;
    let answer = client.own(Method::POST, &format!("/notebooks/{}/token", found.id)).await?;
    context.printer.result(&answer, || {
        format!("`{0}` has a new token: `atelier notebook open {0}` prints its address", found.name)
    })
}

async fn events(context: &Context, args: One) -> Result<(), Failure> {
    let One { notebook, connection } = args;
    super::events::run(context, Events { notebook: Some(notebook), follow: false, after: None, connection }).await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn flavor(id: &str, vcpus: u32, memory: u64, sold_out: bool) -> NotebookFlavor {
        serde_json::from_value(json!({
            "id": id, "name": id, "description": "", "arch": "x86_64", "category": "CPU", "feature": "NOTEBOOK",
            "vcpus": vcpus, "memory": memory, "free": false, "sold_out": sold_out, "storages": ["EVS"],
        }))
        .unwrap()
    }

    #[test]
    fn the_largest_available_flavor_of_up_to_two_cpus_is_taken() {
        let mut offered = vec![
            flavor("two", 2, 8, false),
            flavor("eight", 8, 32, false),
            flavor("free", 2, 4, false),
            flavor("small", 1, 1, false),
        ];
        assert_eq!(choose_flavor(&offered).as_deref(), Some("two"));
        offered[0].sold_out = true;
        assert_eq!(choose_flavor(&offered).as_deref(), Some("free"));
        offered[2].sold_out = true;
        assert_eq!(choose_flavor(&offered).as_deref(), Some("small"));
        offered[3].sold_out = true;
        assert_eq!(choose_flavor(&offered).as_deref(), Some("eight"));
        offered[1].sold_out = true;
        offered.push(NotebookFlavor {
            gpu: Some(atelier_wire::GpuInfo { gpu: 1.into(), gpu_memory: None, kind: None }),
            ..flavor("gpu", 2, 8, false)
        });
        assert_eq!(choose_flavor(&offered), None);
    }
}
