//! `atelier notebook top`: what running notebooks use, once or again and again.
//!
//! The server tells how much processor time each has taken in all. A share of it is what was taken between two looks, so
//! there are always two.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::{Context, lookup};
use crate::args::{Format, Top};
use crate::client::Client;
use crate::failure::Failure;
use crate::printer::plain;
use crate::tables::{aligned, table};

/// Between the first two looks, and between those after them.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_secs(2);
/// Moves a terminal's cursor to its beginning, and clears what is behind it.
const HOME: &str = "\u{1b}[H";
const CLEAR_BEHIND: &str = "\u{1b}[J";
/// The longest command that is shown.
const MOST_SHOWN: usize = 60;

/// Runs the command.
pub(crate) async fn run(context: &Context, args: Top) -> Result<(), Failure> {
    let client = Client::connect(&args.connection, &context.surroundings).await?;
    let questions = questions(&client, &args).await?;
    let goes_on = !args.once && context.printer.format() == Format::Table && std::io::stdout().is_terminal();
    let mut before = look(&client, &questions).await?;
    let mut pause = FIRST_PAUSE;
    loop {
        tokio::time::sleep(pause).await;
        let now = look(&client, &questions).await?;
        let shown = with_rates(&before, &now);
        if !goes_on {
            return context.printer.result(&shown.clone().into(), || page(&shown, args.all));
        }
        // Line by line, so that nothing flickers.
        let lines = page(&shown, args.all).replace('\n', "\u{1b}[K\n");
        context.printer.bytes(format!("{HOME}{lines}{CLEAR_BEHIND}").as_bytes())?;
        (before, pause) = (now, PAUSE);
    }
}

/// The paths that answer what was asked.
async fn questions(client: &Client, args: &Top) -> Result<Vec<String>, Failure> {
    if args.notebooks.is_empty() {
        return Ok(vec![format!("/usage?all={}", args.all)]);
    }
    let mut questions = Vec::new();
    for notebook in &args.notebooks {
        let found = lookup::notebook(client, notebook).await?;
        questions.push(format!("/notebooks/{}/usage", found["id"].as_str().unwrap_or_default()));
    }
    Ok(questions)
}

async fn look(client: &Client, questions: &[String]) -> Result<Vec<Value>, Failure> {
    let mut records = Vec::new();
    for question in questions {
        match client.own(Method::GET, question).await? {
            Value::Object(mut answer) if answer.contains_key("usage") => {
                records.extend(answer["usage"].as_array_mut().map(std::mem::take).unwrap_or_default());
            }
            record => records.push(record),
        }
    }
    Ok(records)
}

/// The records of `now`, each with the share of a processor that was taken since `before`, in thousandths.
fn with_rates(before: &[Value], now: &[Value]) -> Vec<Value> {
    let earlier: HashMap<_, _> = before.iter().map(|record| (record["notebook_id"].as_str(), record)).collect();
    let rated = now.iter().map(|now| {
        let mut record = now.clone();
        let Some(earlier) = earlier.get(&now["notebook_id"].as_str()) else { return record };
        let millis = now["at"].as_i64().unwrap_or_default() - earlier["at"].as_i64().unwrap_or_default();
        record["cpu_millis"] = rate(earlier, now, millis);
        let processes: HashMap<_, _> = list(earlier).iter().map(|process| (process["pid"].as_i64(), process)).collect();
        for process in record.get_mut("running").and_then(Value::as_array_mut).into_iter().flatten() {
            let earlier = processes.get(&process["pid"].as_i64()).map_or(Value::Null, |found| (*found).clone());
            process["cpu_millis"] = rate(&earlier, process, millis);
        }
        record
    });
    rated.collect()
}

/// What began after the first look has taken all of its time since; null when its time went back: it is another one.
fn rate(earlier: &Value, now: &Value, millis: i64) -> Value {
    let since = earlier["cpu_micros"].as_u64().unwrap_or(0);
    let taken = now["cpu_micros"].as_u64().and_then(|now| now.checked_sub(since));
    match (taken, u64::try_from(millis)) {
        (Some(micros), Ok(millis @ 1..)) => json!(micros / millis),
        _ => Value::Null,
    }
}

fn list(record: &Value) -> &[Value] {
    record["running"].as_array().map_or(&[], Vec::as_slice)
}

/// What people see.
fn page(records: &[Value], owners: bool) -> String {
    match records {
        [] => "no notebook runs".into(),
        [one] if one["running"].is_array() => format!("{}\n{}", notebooks(records, owners), processes(one)),
        several => notebooks(several, owners),
    }
}

fn notebooks(records: &[Value], owners: bool) -> String {
    let headings =
        ["NAME", "CPU", "OF ITS LIMIT", "MEMORY", "LIMIT", "PEAK", "PROCESSES", "GPUS", "VOLUME", "INODES", "ID"];
    let headings: Vec<_> = owners.then_some("OWNER").into_iter().chain(headings).collect();
    let mut rows = table(&headings);
    let word = |record: &Value, name: &str| plain(record[name].as_str().unwrap_or("-"));
    for record in records {
        let memory = |name: &str| bytes(&record["memory"][name]);
        let cells = [
            word(record, "name"),
            cores(&record["cpu_millis"]),
            share(&record["cpu_millis"], &record["cpu_limit_millis"]),
            memory("used"),
            memory("limit"),
            memory("peak"),
            record["processes"].to_string(),
            gpus(&record["gpus"]),
            percent(&record["volume"]["bytes_percent"]),
            percent(&record["volume"]["inodes_percent"]),
            word(record, "notebook_id"),
        ];
        rows.add_row(owners.then(|| word(record, "owner")).into_iter().chain(cells));
    }
    let first = usize::from(owners) + 1;
    aligned(rows, &(first..first + 9).collect::<Vec<_>>())
}

fn processes(record: &Value) -> String {
    let mut sorted: Vec<_> = list(record).iter().collect();
    sorted.sort_by_key(|process| std::cmp::Reverse((process["cpu_millis"].as_u64(), process["memory"].as_u64())));
    let mut rows = table(&["PID", "CPU", "MEMORY", "COMMAND"]);
    for process in sorted {
        let command = plain(process["command"].as_str().unwrap_or_default());
        rows.add_row([
            process["pid"].to_string(),
            cores(&process["cpu_millis"]),
            bytes(&process["memory"]),
            command.chars().take(MOST_SHOWN).collect(),
        ]);
    }
    aligned(rows, &[0, 1, 2])
}

fn cores(millis: &Value) -> String {
    millis.as_u64().map_or_else(|| "-".into(), |millis| format!("{}.{:02}", millis / 1000, millis % 1000 / 10))
}

fn share(millis: &Value, limit: &Value) -> String {
    match (millis.as_u64(), limit.as_u64()) {
        (Some(millis), Some(limit @ 1..)) => format!("{} %", millis * 100 / limit),
        _ => "-".into(),
    }
}

fn percent(value: &Value) -> String {
    value.as_u64().map_or_else(|| "-".into(), |percent| format!("{percent} %"))
}

/// How busy each GPU is.
fn gpus(gpus: &Value) -> String {
    let busy: Vec<_> = gpus.as_array().into_iter().flatten().map(|gpu| percent(&gpu["busy_percent"])).collect();
    if busy.is_empty() { "-".into() } else { busy.join(", ") }
}

fn bytes(value: &Value) -> String {
    value.as_u64().map_or_else(|| "-".into(), |bytes| format!("{} MiB", bytes >> 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, at: i64, cpu_micros: u64) -> Value {
        json!({
            "notebook_id": id, "name": "a", "owner": "ada", "at": at, "cpu_micros": cpu_micros, "cpu_limit_millis": 2000,
            "memory": {"used": 100_u64 << 20, "limit": 512_u64 << 20, "peak": null}, "processes": 3,
            "gpus": [{"busy_percent": 97}, {"busy_percent": null}],
            "volume": {"bytes_percent": 12, "inodes_percent": 0},
        })
    }

    #[test]
    fn a_share_is_what_was_taken_between_two_looks() {
        let shown = with_rates(&[record("1", 1000, 0)], &[record("1", 3000, 1_000_000), record("2", 3000, 7)]);
        assert_eq!(shown[0]["cpu_millis"], 500);
        assert_eq!(shown[1]["cpu_millis"], Value::Null);
        assert_eq!(shown[1].get("running"), None);
        let again = with_rates(&[record("1", 1000, 9)], &[record("1", 3000, 7)]);
        assert_eq!(again[0]["cpu_millis"], Value::Null, "a notebook that began anew has no rate yet");
        let wanted = "\
NAME   CPU  OF ITS LIMIT   MEMORY    LIMIT  PEAK  PROCESSES     GPUS  VOLUME  INODES  ID
a     0.50          25 %  100 MiB  512 MiB     -          3  97 %, -    12 %     0 %  1
";
        assert_eq!(page(&shown[..1], false), wanted);
    }

    #[test]
    fn processes_that_take_most_come_first_and_say_nothing_to_the_terminal() {
        let process = |pid: i64, micros: u64, command: &str| json!({"pid": pid, "cpu_micros": micros, "memory": 0, "command": command});
        let (mut before, mut now) = (record("1", 0, 0), record("1", 1000, 0));
        before["running"] = json!([process(1, 5, "init"), process(9, 0, "python")]);
        now["running"] =
            json!([process(1, 5, "init"), process(9, 900_000, "py\u{1b}[2Jthon"), process(10, 100_000, "new")]);
        let shown = page(&with_rates(&[before], &[now]), false);
        let order: Vec<_> = ["  9  0.90", " 10  0.10", "  1  0.00"].map(|text| shown.find(text).unwrap()).into();
        assert!(order.is_sorted() && shown.contains("py?[2Jthon"), "{shown}");
    }
}
