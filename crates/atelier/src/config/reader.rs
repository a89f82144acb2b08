//! Reads typed values out of layers and collects every mistake on the way.
//!
//! A key exists because somebody reads it: what nobody has read at the end is an unknown key. So the list of keys can
//! never disagree with what the program takes. A wrong value never stops the reading; its default stands in until the
//! mistakes are reported together, and then nothing of it is used.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::layer::{Entry, Layer, Raw, Source, variable_of};
use crate::nearest::nearest;

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// Where.
    pub source: Source,
    /// What, naming the key and what would be accepted.
    pub message: String,
    /// What was probably meant.
    pub hint: Option<String>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.message)?;
        self.hint.iter().try_for_each(|hint| write!(f, "\n    hint: {hint}"))
    }
}

/// The layers joined, and what was found out about them.
#[derive(Debug, Default)]
pub(super) struct Reader {
    entries: Layer,
    known: BTreeSet<String>,
    mistakes: Vec<Mistake>,
}

impl Reader {
    /// A reader of these layers; a later one overrides an earlier one, key by key.
    pub(super) fn over(layers: impl IntoIterator<Item = Layer>) -> Self {
        Self { entries: layers.into_iter().flatten().collect(), ..Self::default() }
    }

    /// The value of `key`, or `default` where it is not set. `wanted` completes "must be …".
    pub(super) fn read<T>(&mut self, key: &str, default: T, wanted: &str, parse: impl Fn(&Raw) -> Option<T>) -> T {
        self.known.insert(key.to_owned());
        let Some(entry) = self.entries.get(key) else { return default };
        if let Some(value) = parse(&entry.raw) {
            return value;
        }
        let message = format!("`{key}` must be {wanted}, not {}", entry.raw);
        self.mistakes.push(Mistake { source: entry.source.clone(), message, hint: None });
        default
    }

    /// The values of every key in the table `table`. Texts only; they may be secrets, so a mistake never shows one.
    pub(super) fn read_table(
        &mut self,
        table: &str,
        wanted: &str,
        allowed: impl Fn(&str) -> bool,
    ) -> BTreeMap<String, String> {
        let prefix = format!("{table}.");
        let mut values = BTreeMap::new();
        for (key, entry) in self.entries.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix)) {
            self.known.insert(key.clone());
            match &entry.raw {
                Raw::Bare(text) | Raw::Text(text) if allowed(&key[prefix.len()..]) => {
                    values.insert(key[prefix.len()..].to_owned(), text.clone());
                }
                _ => self.mistakes.push(Mistake {
                    source: entry.source.clone(),
                    message: format!("`{key}` must be {wanted}"),
                    hint: None,
                }),
            }
        }
        values
    }

    /// The value of `key` as it was written, for keys with a structure of their own.
    pub(super) fn entry(&mut self, key: &str) -> Option<Entry> {
        self.known.insert(key.to_owned());
        self.entries.get(key).cloned()
    }

    /// Where `key` was written, if anywhere.
    pub(super) fn source_of(&self, key: &str) -> Option<&Source> {
        self.entries.get(key).map(|entry| &entry.source)
    }

    /// Blames the first of `keys` that was set for a rule that spans several keys.
    pub(super) fn blame(&mut self, keys: &[&str], message: String) {
        if let Some(source) = keys.iter().find_map(|key| self.source_of(key)).cloned() {
            self.mistakes.push(Mistake { source, message, hint: None });
        }
    }

    /// Adds a mistake that was found elsewhere.
    pub(super) fn add(&mut self, mistake: Mistake) {
        self.mistakes.push(mistake);
    }

    /// Ends the reading: every mistake, unknown keys included, in the order of the places where they were made.
    pub(super) fn into_mistakes(mut self) -> Vec<Mistake> {
        for (key, entry) in &self.entries {
            if !self.known.contains(key) {
                self.mistakes.push(unknown(key, &entry.source, &self.known));
            }
        }
        self.mistakes.sort_by_key(|mistake| place(&mistake.source));
        self.mistakes
    }

    /// The keys that were asked for.
    #[cfg(test)]
    pub(crate) fn known(&self) -> &BTreeSet<String> {
        &self.known
    }
}

fn unknown(key: &str, source: &Source, known: &BTreeSet<String>) -> Mistake {
    let meant = nearest(key, known.iter().map(String::as_str));
    let hint = meant.map(|meant| match source {
        Source::Variable(_) => format!("did you mean {}?", variable_of(meant)),
        Source::File(..) | Source::Flag(_) => format!("did you mean `{meant}`?"),
    });
    Mistake { source: source.clone(), message: format!("unknown key `{key}`"), hint }
}

fn place(source: &Source) -> (u8, String, usize) {
    match source {
        Source::File(path, line) => (0, path.display().to_string(), *line),
        Source::Variable(name) => (1, name.clone(), 0),
        Source::Flag(flag) => (2, (*flag).to_owned(), 0),
    }
}
