//! `[[flavors]]`: the sizes of notebooks, a list that replaces the built-in one as a whole.

use std::collections::{BTreeMap, BTreeSet};

use atelier_core::flavor::Flavor;

use super::kinds;
use super::layer::{Raw, Source};
use super::reader::{Mistake, Reader};
use crate::nearest::nearest;

const KEYS: [&str; 5] = ["id", "description", "cpu_millis", "memory_mib", "free"];

pub(super) fn read(reader: &mut Reader) -> Vec<Flavor> {
    let Some(entry) = reader.entry("flavors") else { return Flavor::defaults() };
    let mut mistakes = Vec::new();
    let flavors = match &entry.raw {
        Raw::List(items) if !items.is_empty() => {
            items.iter().filter_map(|(raw, line)| flavor(raw, &at(&entry.source, *line), &mut mistakes)).collect()
        }
        _ => {
            mistakes
                .push(mistake(&entry.source, "`flavors` must be a list of one or more `[[flavors]]` tables".into()));
            Vec::new()
        }
    };
    refuse_twins(&flavors, &entry.source, &mut mistakes);
    for mistake in mistakes {
        reader.add(mistake);
    }
    flavors
}

fn at(source: &Source, line: usize) -> Source {
    match source {
        Source::File(path, _) => Source::File(path.clone(), line),
        other => other.clone(),
    }
}

fn mistake(source: &Source, message: String) -> Mistake {
    Mistake { source: source.clone(), message, hint: None }
}

fn refuse_twins(flavors: &[Flavor], source: &Source, mistakes: &mut Vec<Mistake>) {
    let mut seen = BTreeSet::new();
    for flavor in flavors.iter().filter(|flavor| !seen.insert(&flavor.id)) {
        mistakes.push(mistake(source, format!("`flavors` must not hold `{}` twice", flavor.id)));
    }
}

fn flavor(raw: &Raw, source: &Source, mistakes: &mut Vec<Mistake>) -> Option<Flavor> {
    let Raw::Table(table) = raw else {
        mistakes.push(mistake(source, format!("an item of `flavors` must be a table, not {raw}")));
        return None;
    };
    let before = mistakes.len();
    refuse_unknown(table, source, mistakes);
    let mut fields = Fields { table, source, mistakes };
    let id = fields.take("id", "1 to 64 letters, digits, `.`, `-` or `_`", id);
    let description = fields.take_or("description", String::new(), "a text", kinds::text);
    let cpu_millis = fields.take("cpu_millis", "thousandths of a CPU, 10 to 1024000", kinds::integer(10..=1_024_000));
    let memory_mib = fields.take("memory_mib", "a number of MiB, 64 to 67108864", kinds::integer(64..=67_108_864));
    let free = fields.take_or("free", false, "true or false", kinds::boolean);
    let flavor =
        Flavor { id: id?, description: description?, cpu_millis: cpu_millis?, memory_mib: memory_mib?, free: free? };
    (mistakes.len() == before).then_some(flavor)
}

fn refuse_unknown(table: &BTreeMap<String, (Raw, usize)>, source: &Source, mistakes: &mut Vec<Mistake>) {
    for (key, (_, line)) in table.iter().filter(|(key, _)| !KEYS.contains(&key.as_str())) {
        let hint = nearest(key, KEYS).map(|meant| format!("did you mean `{meant}`?"));
        let message = format!("unknown key `{key}` in `flavors`");
        mistakes.push(Mistake { source: at(source, *line), message, hint });
    }
}

struct Fields<'a> {
    table: &'a BTreeMap<String, (Raw, usize)>,
    source: &'a Source,
    mistakes: &'a mut Vec<Mistake>,
}

impl Fields<'_> {
    fn take<T>(&mut self, key: &str, wanted: &str, parse: impl Fn(&Raw) -> Option<T>) -> Option<T> {
        let Some((raw, line)) = self.table.get(key) else {
            self.mistakes.push(mistake(self.source, format!("`{key}` of a flavor is missing; it must be {wanted}")));
            return None;
        };
        let value = parse(raw);
        if value.is_none() {
            let message = format!("`{key}` of a flavor must be {wanted}, not {raw}");
            self.mistakes.push(mistake(&at(self.source, *line), message));
        }
        value
    }

    fn take_or<T>(&mut self, key: &str, default: T, wanted: &str, parse: impl Fn(&Raw) -> Option<T>) -> Option<T> {
        if self.table.contains_key(key) { self.take(key, wanted, parse) } else { Some(default) }
    }
}

fn id(raw: &Raw) -> Option<String> {
    kinds::text(raw).filter(|text| {
        text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
    })
}
