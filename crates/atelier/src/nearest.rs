//! The nearest known word to a mistyped one, for hints.

/// The word of `known` that `typed` was most likely meant to be; `None` when none is close.
///
/// Close means: at most one change in three letters, so that `lisen` finds `listen` and `foo` finds nothing.
pub(crate) fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|word| (distance(typed, word), word))
        .filter(|(changes, word)| *changes * 3 <= word.chars().count().max(3))
        .min_by_key(|(changes, _)| *changes)
        .map(|(_, word)| word)
}

/// How many letters must be inserted, removed, replaced or swapped with their neighbour to make `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &y) in b.iter().enumerate() {
            let replaced = last[j] + usize::from(x != y);
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && x == b[j - 1] && a[i - 1] == y {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 4] = ["server.listen", "server.data_dir", "lease.min_ms", "lease.max_ms"];

    #[test]
    fn a_typing_error_finds_its_key() {
        assert_eq!(nearest("server.lisen", KEYS), Some("server.listen"));
        assert_eq!(nearest("server.lsiten", KEYS), Some("server.listen"));
        assert_eq!(nearest("lease.maxms", KEYS), Some("lease.max_ms"));
        assert_eq!(nearest("servr.data-dir", KEYS), Some("server.data_dir"));
    }

    #[test]
    fn what_resembles_nothing_finds_nothing() {
        assert_eq!(nearest("database.url", KEYS), None);
        assert_eq!(nearest("", KEYS), None);
    }

    #[test]
    fn swapped_neighbours_count_as_one_change() {
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
