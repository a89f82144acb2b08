//! `atelier audit`: who changed what, and whether the record of it is whole.

use atelier_core::{Clock as _, SystemClock};
use atelier_wire::Notebook;
use reqwest::Method;
use serde_json::Value;

use super::{Context, encoded, lookup, record};
use crate::args::{AuditCommand, AuditList, Connection};
use crate::client::Client;
use crate::failure::Failure;
use crate::times;

/// As many as the server answers at once.
const PAGE: u32 = 1000;

/// Runs one of the commands.
pub(crate) async fn run(context: &Context, command: AuditCommand) -> Result<(), Failure> {
    match command {
        AuditCommand::List(args) => list(context, args).await,
        AuditCommand::Verify(connection) => verify(context, &connection).await,
    }
}

async fn list(context: &Context, args: AuditList) -> Result<(), Failure> {
    let client = Client::connect(&args.connection, &context.surroundings).await?;
    let filters = filters(&client, &args).await?;
    let (mut records, mut before): (Vec<Value>, Option<u64>) = (Vec::new(), None);
    loop {
        let left = args.limit.saturating_sub(u32::try_from(records.len()).unwrap_or(u32::MAX));
        if left == 0 {
            break;
        }
        let page = before.map(|seq| format!("&before={seq}")).unwrap_or_default();
        let path = format!("/audit?limit={}{filters}{page}", left.min(PAGE));
        let answer = client.own(Method::GET, &path).await?;
        records.extend(answer["records"].as_array().into_iter().flatten().cloned());
        before = answer["next"].as_u64();
        if before.is_none() {
            break;
        }
    }
    let records = Value::from(records);
    let lines = || records.as_array().into_iter().flatten().map(|record| line(record) + "\n").collect();
    context.printer.result(&records, lines)
}

async fn filters(client: &Client, args: &AuditList) -> Result<String, Failure> {
    let now = SystemClock.now();
    let notebook = match &args.notebook {
        // One that is gone has no name any more, but its records.
        Some(id) if id.parse::<atelier_core::id::NotebookId>().is_ok() => Some(id.clone()),
        Some(name) => Some(record::<Notebook>(&lookup::notebook(client, name).await?)?.id),
        None => None,
    };
    let moment = |moment: Option<times::Moment>| moment.map(|moment| moment.before(now).to_string());
    let filters = [
        ("user", args.by.clone()),
        ("notebook", notebook),
        ("operation", args.operation.clone()),
        ("from", moment(args.since)),
        ("until", moment(args.until)),
    ];
    let filters = filters.into_iter().filter_map(|(name, value)| Some(format!("&{name}={}", encoded(&value?))));
    Ok(filters.collect())
}

fn line(record: &Value) -> String {
    let text = |name: &str| record[name].as_str().unwrap_or("-").to_owned();
    let at = times::point(record["at"].as_i64().unwrap_or_default());
    let changes: Vec<_> = record["changes"].as_array().into_iter().flatten().map(change).collect();
    let about = record["notebook_id"].as_str().or(record["target"].as_str()).unwrap_or_default();
    let result = record["code"].as_str().map_or_else(|| record["status"].to_string(), str::to_owned);
    format!(
        "{at}  {}  {} ({})  from {}  {about}  {result}  {}",
        text("operation"),
        text("user_name"),
        text("credential"),
        text("address"),
        changes.join(", ")
    )
}

fn change(change: &Value) -> String {
    let field = change["field"].as_str().unwrap_or_default();
    let after = change["after"].as_str().unwrap_or("nothing");
    match change["before"].as_str() {
        Some(before) => format!("{field}: {before} → {after}"),
        None => format!("{field}: {after}"),
    }
}

async fn verify(context: &Context, connection: &Connection) -> Result<(), Failure> {
    let client = Client::connect(connection, &context.surroundings).await?;
    let verdict = client.own(Method::GET, "/audit/verify").await?;
    context.printer.result(&verdict, || {
        let head = &verdict["head"];
        let hash = head["hash"].as_str().unwrap_or("-");
        format!("{} records; the newest is {} with the hash {hash}", verdict["records"], head["seq"])
    })?;
    if verdict["whole"] == true {
        return Ok(());
    }
    let broken = &verdict["broken"];
    let why = broken["why"].as_str().unwrap_or_default();
    Err(Failure::new(format!("the audit is broken at record {}: {why}", broken["seq"])))
}
