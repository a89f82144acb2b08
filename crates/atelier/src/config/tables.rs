//! Lists of tables, such as `[[flavors]]`: each replaces the built-in one as a whole.

use std::collections::{BTreeMap, BTreeSet};

use super::layer::{Raw, Source};
use super::reader::{Mistake, Reader};
use crate::nearest::nearest;

/// What a list is called, what an item of it is called, and the keys of an item.
pub(super) struct List {
    pub(super) name: &'static str,
    pub(super) item: &'static str,
    pub(super) keys: &'static [&'static str],
}

impl List {
    /// The items, each read by `read` and named by `name_of`; nothing when no layer has the list.
    pub(super) fn read<T>(
        &self,
        reader: &mut Reader,
        read: impl Fn(&mut Fields<'_>) -> Option<T>,
        name_of: impl Fn(&T) -> &str,
    ) -> Option<Vec<T>> {
        let entry = reader.entry(self.name)?;
        let mut mistakes = Vec::new();
        let items = match &entry.raw {
            Raw::List(items) if !items.is_empty() => items
                .iter()
                .filter_map(|(raw, line)| self.item(raw, &at(&entry.source, *line), &read, &mut mistakes))
                .collect(),
            _ => {
                let message = format!("`{0}` must be a list of one or more `[[{0}]]` tables", self.name);
                mistakes.push(mistake(&entry.source, message));
                Vec::new()
            }
        };
        refuse_twins(&items, name_of, &format!("`{}`", self.name), &entry.source, &mut mistakes);
        for mistake in mistakes {
            reader.add(mistake);
        }
        Some(items)
    }

    fn item<T>(
        &self,
        raw: &Raw,
        source: &Source,
        read: impl Fn(&mut Fields<'_>) -> Option<T>,
        mistakes: &mut Vec<Mistake>,
    ) -> Option<T> {
        let Raw::Table(table) = raw else {
            mistakes.push(mistake(source, format!("an item of `{}` must be a table, not {raw}", self.name)));
            return None;
        };
        let before = mistakes.len();
        self.refuse_unknown(table, source, mistakes);
        let item = read(&mut Fields { list: self, table, source, mistakes });
        item.filter(|_| mistakes.len() == before)
    }

    fn refuse_unknown(&self, table: &BTreeMap<String, (Raw, usize)>, source: &Source, mistakes: &mut Vec<Mistake>) {
        for (key, (_, line)) in table.iter().filter(|(key, _)| !self.keys.contains(&key.as_str())) {
            let hint = nearest(key, self.keys.iter().copied()).map(|meant| format!("did you mean `{meant}`?"));
            let message = format!("unknown key `{key}` in `{}`", self.name);
            mistakes.push(Mistake { source: at(source, *line), message, hint });
        }
    }
}

/// Nothing may be in a list twice.
fn refuse_twins<T>(
    items: &[T],
    name_of: impl Fn(&T) -> &str,
    list: &str,
    source: &Source,
    mistakes: &mut Vec<Mistake>,
) {
    let mut seen = BTreeSet::new();
    for twin in items.iter().map(name_of).filter(|name| !seen.insert(*name)) {
        mistakes.push(mistake(source, format!("{list} must not hold `{twin}` twice")));
    }
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

/// The keys of one item.
pub(super) struct Fields<'a> {
    list: &'a List,
    table: &'a BTreeMap<String, (Raw, usize)>,
    source: &'a Source,
    mistakes: &'a mut Vec<Mistake>,
}

impl Fields<'_> {
    pub(super) fn take<T>(&mut self, key: &str, wanted: &str, parse: impl Fn(&Raw) -> Option<T>) -> Option<T> {
        let item = self.list.item;
        let Some((raw, line)) = self.table.get(key) else {
            let message = format!("`{key}` of a {item} is missing; it must be {wanted}");
            self.mistakes.push(mistake(self.source, message));
            return None;
        };
        let value = parse(raw);
        if value.is_none() {
            let message = format!("`{key}` of a {item} must be {wanted}, not {raw}");
            self.mistakes.push(mistake(&at(self.source, *line), message));
        }
        value
    }

    pub(super) fn take_or<T>(
        &mut self,
        key: &str,
        default: T,
        wanted: &str,
        parse: impl Fn(&Raw) -> Option<T>,
    ) -> Option<T> {
        if self.table.contains_key(key) { self.take(key, wanted, parse) } else { Some(default) }
    }

    /// The items of a list, none when it is absent: each is a text that `named` knows, or a table with the keys of
    /// `list`, which `read` reads. No two may have one name, which `name_of` says.
    pub(super) fn list<T>(
        &mut self,
        key: &str,
        list: &List,
        named: impl Fn(&str) -> Result<T, String>,
        read: impl Fn(&mut Fields<'_>) -> Option<T>,
        name_of: impl Fn(&T) -> &str,
    ) -> Option<Vec<T>> {
        let Some((raw, line)) = self.table.get(key) else { return Some(Vec::new()) };
        let Raw::List(items) = raw else {
            let message = format!("`{key}` of a {} must be a list, not {raw}", self.list.item);
            self.mistakes.push(mistake(&at(self.source, *line), message));
            return None;
        };
        let mut read_item = |(raw, line): &(Raw, usize)| match raw {
            Raw::Text(text) => {
                named(text).map_err(|said| self.mistakes.push(mistake(&at(self.source, *line), said))).ok()
            }
            raw @ Raw::Table(_) => list.item(raw, &at(self.source, *line), &read, self.mistakes),
            raw => {
                let message = format!("an item of `{key}` must be a text or a table, not {raw}");
                self.mistakes.push(mistake(&at(self.source, *line), message));
                None
            }
        };
        let read: Vec<_> = items.iter().filter_map(&mut read_item).collect();
        let named = format!("`{key}` of a {}", self.list.item);
        refuse_twins(&read, name_of, &named, &at(self.source, *line), self.mistakes);
        (read.len() == items.len()).then_some(read)
    }

    /// What is wrong with a key, beside its form.
    pub(super) fn refuse(&mut self, key: &str, message: String) {
        let source = self.table.get(key).map_or_else(|| self.source.clone(), |(_, line)| at(self.source, *line));
        self.mistakes.push(mistake(&source, message));
    }
}
