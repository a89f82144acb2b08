//! What lists are made from: of every notebook the few things that lists filter and sort by, in memory.
//!
//! A page of a hundred thousand notebooks, in any order, under any filter, with the number of all that match, is a
//! walk over a hundred thousand rows for the database, whatever its indexes are: the parts of a name that people search
//! for have one letter, and a total has to be counted. Here the same walk goes over some megabytes in order, and takes
//! about a millisecond. The rows of the page itself are then read by their ids.
//!
//! # Never stale
//!
//! The writer tells of every commit ([`Listing::put`], [`Listing::remove`]) after it is on disk and before it is
//! answered, in the order of the commits. So a list shows what was answered before it was asked for. The rows are read
//! a moment later and may be newer; whoever reads them compares ([`Line::still_stands`]), and asks again where a row has
//! left its place meanwhile.
//!
//! # Form
//!
//! Each owner has a *shelf*: the lines in a slab, and three orders over it (by creation, by change, by name) as sorted
//! vectors of places. A change moves four bytes for each line behind it, which for a hundred thousand lines takes some
//! microseconds; in return a page without a filter is a slice of such a vector, and one with a filter is one pass over
//! the slab, and one over the vector.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use atelier_core::feature::Feature;
use atelier_core::id::{ImageId, NotebookId};
use atelier_core::notebook::Notebook;
use atelier_core::pool::InPool;
use atelier_core::status::Status;
use atelier_core::tags::Tags;
use atelier_store::{NotebookFilter, NotebookQuery, Searched, SortKey};

/// What lists know of a notebook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) id: NotebookId,
    pub(crate) generation: u64,
    pub(crate) create_at: i64,
    pub(crate) update_at: i64,
    pub(crate) name: Box<str>,
    pub(crate) description: Box<str>,
    pub(crate) tags: Tags,
    // What many lines have in common is one text for all of them.
    pub(crate) workspace_id: Arc<str>,
    pub(crate) user_name: Arc<str>,
    pub(crate) flavor_id: Arc<str>,
    pub(crate) image_swr_path: Arc<str>,
    pub(crate) pool: Option<Arc<InPool>>,
    pub(crate) image_id: ImageId,
    pub(crate) feature: Feature,
    pub(crate) status: Status,
}

impl Line {
    /// The line of a notebook, and whose it is.
    pub(crate) fn of(notebook: &Notebook) -> (Owner, Self) {
        let owner =
            Owner { project_id: notebook.project_id.as_str().into(), user_id: notebook.owner.user_id.as_str().into() };
        let line = Self {
            id: notebook.id,
            generation: notebook.generation,
            create_at: notebook.create_at.as_millis(),
            update_at: notebook.update_at.as_millis(),
            name: notebook.name.as_str().into(),
            description: notebook.description.as_str().into(),
            tags: notebook.tags.clone(),
            workspace_id: notebook.workspace_id.as_str().into(),
            user_name: notebook.owner.user_name.as_str().into(),
            flavor_id: notebook.flavor.id.as_str().into(),
            image_swr_path: notebook.image.swr_path.as_str().into(),
            pool: notebook.pool.clone().map(Arc::new),
            image_id: notebook.image.id,
            feature: notebook.feature,
            status: notebook.status(),
        };
        (owner, line)
    }

    /// Whether a row that was read after this line would be listed in the same place by the same query.
    pub(crate) fn still_stands(&self, now: &Self, query: &NotebookQuery) -> bool {
        self.generation == now.generation
            || (compare(query, self, now) == Ordering::Equal && Wanted::of(&query.filter).matches(now))
    }

    fn text(&self, which: Searched) -> Option<&str> {
        match which {
            Searched::Name => Some(&self.name),
            Searched::Description => Some(&self.description),
            Searched::Flavor => Some(&self.flavor_id),
            Searched::SwrPath => Some(&self.image_swr_path),
            Searched::UserName => Some(&self.user_name),
            Searched::PoolName => self.pool.as_ref().map(|pool| pool.name.as_str()),
        }
    }
}

/// Whose shelf a line lies on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Owner {
    pub(crate) project_id: Box<str>,
    pub(crate) user_id: Box<str>,
}

impl Owner {
    pub(crate) fn is_asked_for_by(&self, query: &NotebookQuery) -> bool {
        *self.project_id == *query.project_id.as_str()
            && query.user_id.as_ref().is_none_or(|user_id| *self.user_id == *user_id.as_str())
    }
}

/// What a page holds, and how many there are on all pages.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) lines: Vec<Line>,
    pub(crate) total: u64,
}

/// All lines.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    shelves: RwLock<Shelves>,
}

#[derive(Debug, Default)]
struct Shelves {
    /// Shelf and place of each line.
    places: HashMap<NotebookId, (u32, u32)>,
    by_owner: HashMap<Owner, u32>,
    all: Vec<Shelf>,
    /// Texts that many lines have in common.
    words: HashSet<Arc<str>>,
    /// The same of pools.
    pools: HashSet<Arc<InPool>>,
}

/// The orders that are kept. Lists by another key, or by several, are sorted each time.
const KEYS: [SortKey; 3] = [SortKey::CreateAt, SortKey::UpdateAt, SortKey::Name];

#[derive(Debug)]
struct Shelf {
    project_id: Box<str>,
    slab: Vec<Option<Line>>,
    free: Vec<u32>,
    /// The places of the slab, sorted by each of [`KEYS`].
    orders: [Vec<u32>; 3],
}

impl Listing {
    /// A line as it was just committed, in its owner's place.
    pub(crate) fn put(&self, owner: Owner, line: Line) {
        let mut shelves = self.write();
        shelves.remove(line.id);
        shelves.insert(owner, line);
    }

    /// What was just removed.
    pub(crate) fn remove(&self, id: NotebookId) {
        self.write().remove(id);
    }

    /// Takes over some of what is kept when the store is opened. In no order before [`Listing::sort`].
    pub(crate) fn fill(&self, lines: impl IntoIterator<Item = (Owner, Line)>) {
        let mut shelves = self.write();
        for (owner, line) in lines {
            shelves.keep(owner, line);
        }
    }

    /// Puts what it was filled with in order, once and not line by line.
    pub(crate) fn sort(&self) {
        self.write().all.iter_mut().for_each(Shelf::sort);
    }

    /// The page that `query` asks for.
    pub(crate) fn page(&self, query: &NotebookQuery) -> Listed {
        self.read().page(query)
    }

    /// The tags on the lines of a project, or of one workspace in it: each key with all of its values.
    pub(crate) fn tag_values(
        &self,
        project_id: &str,
        workspace_id: Option<&str>,
    ) -> BTreeMap<String, BTreeSet<String>> {
        let shelves = self.read();
        let lines = shelves.all.iter().filter(|shelf| *shelf.project_id == *project_id).flat_map(Shelf::lines);
        let lines = lines.filter(|line| workspace_id.is_none_or(|workspace_id| *line.workspace_id == *workspace_id));
        let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (key, value) in lines.flat_map(|line| line.tags.iter()) {
            values.entry(key.to_owned()).or_default().insert(value.to_owned());
        }
        values
    }

    /// How many lines a page of this query may have to walk over.
    pub(crate) fn weight(&self, query: &NotebookQuery) -> usize {
        self.read().of(query).map(Shelf::len).sum()
    }

    // Nothing that is done under the lock can stop halfway.
    fn read(&self) -> RwLockReadGuard<'_, Shelves> {
        self.shelves.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Shelves> {
        self.shelves.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelves {
    fn shelf(&mut self, owner: Owner) -> u32 {
        let next = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        let project_id = owner.project_id.clone();
        let at = *self.by_owner.entry(owner).or_insert(next);
        if at == next {
            self.all.push(Shelf { project_id, slab: Vec::new(), free: Vec::new(), orders: Default::default() });
        }
        at
    }

    fn insert(&mut self, owner: Owner, line: Line) {
        let (at, place) = self.keep(owner, line);
        self.all[at as usize].enter(place);
    }

    /// Puts a line into its owner's slab, and into no order yet.
    fn keep(&mut self, owner: Owner, mut line: Line) -> (u32, u32) {
        let shared = [&mut line.workspace_id, &mut line.user_name, &mut line.flavor_id, &mut line.image_swr_path];
        for text in shared {
            *text = interned(&mut self.words, text);
        }
        if let Some(pool) = &mut line.pool {
            *pool = interned(&mut self.pools, pool);
        }
        let at = self.shelf(owner);
        let (id, place) = (line.id, self.all[at as usize].keep(line));
        self.places.insert(id, (at, place));
        (at, place)
    }

    fn remove(&mut self, id: NotebookId) {
        if let Some((at, place)) = self.places.remove(&id) {
            self.all[at as usize].remove(place);
        }
    }

    /// The shelves that a query looks at.
    fn of<'s>(&'s self, query: &'s NotebookQuery) -> impl Iterator<Item = &'s Shelf> {
        let one = query.user_id.as_ref().map(|user_id| {
            let owner = Owner { project_id: query.project_id.as_str().into(), user_id: user_id.as_str().into() };
            self.by_owner.get(&owner).map(|at| &self.all[*at as usize])
        });
        let all = one.is_none().then(|| self.all.iter().filter(|s| *s.project_id == *query.project_id.as_str()));
        one.flatten().into_iter().chain(all.into_iter().flatten())
    }

    fn page(&self, query: &NotebookQuery) -> Listed {
        let mut shelves = self.of(query);
        let (first, second) = (shelves.next(), shelves.next());
        match (first, second) {
            (None, _) => Listed { lines: Vec::new(), total: 0 },
            (Some(only), None) => only.page(query),
            // Several owners' lines are sorted together each time: only people who run a server ask for them.
            _ => sorted_page(self.of(query).flat_map(Shelf::lines), query),
        }
    }
}

/// The one of its equals that is known, which `one` is from now on where there is none.
fn interned<T: Eq + Hash + ?Sized>(known: &mut HashSet<Arc<T>>, one: &Arc<T>) -> Arc<T> {
    if let Some(known) = known.get(one) {
        return known.clone();
    }
    known.insert(one.clone());
    one.clone()
}

/// A page of lines that are in no order yet.
fn sorted_page<'l>(lines: impl Iterator<Item = &'l Line>, query: &NotebookQuery) -> Listed {
    let wanted = Wanted::of(&query.filter);
    let mut lines: Vec<_> = lines.filter(|line| wanted.matches(line)).collect();
    lines.sort_unstable_by(|one, other| compare(query, one, other));
    if query.descending {
        lines.reverse();
    }
    let total = lines.len() as u64;
    Listed { lines: lines.into_iter().skip(offset(query)).take(limit(query)).cloned().collect(), total }
}

impl Shelf {
    fn len(&self) -> usize {
        self.orders[0].len()
    }

    fn lines(&self) -> impl Iterator<Item = &Line> {
        self.slab.iter().flatten()
    }

    /// The line in a place that is in an order.
    fn compare(slab: &[Option<Line>], key: SortKey, one: u32, other: u32) -> Ordering {
        match (&slab[one as usize], &slab[other as usize]) {
            (Some(one), Some(other)) => by(key, one, other).then(one.id.cmp(&other.id)),
            (one, other) => one.is_some().cmp(&other.is_some()),
        }
    }

    /// Puts a line into the slab, and into no order yet.
    fn keep(&mut self, line: Line) -> u32 {
        if let Some(place) = self.free.pop() {
            self.slab[place as usize] = Some(line);
            return place;
        }
        self.slab.push(Some(line));
        u32::try_from(self.slab.len() - 1).unwrap_or(u32::MAX)
    }

    fn enter(&mut self, place: u32) {
        for (key, order) in KEYS.into_iter().zip(&mut self.orders) {
            let at = order.partition_point(|other| Self::compare(&self.slab, key, *other, place) == Ordering::Less);
            order.insert(at, place);
        }
    }

    fn remove(&mut self, place: u32) {
        for (key, order) in KEYS.into_iter().zip(&mut self.orders) {
            let at = order.partition_point(|other| Self::compare(&self.slab, key, *other, place) == Ordering::Less);
            if order.get(at) == Some(&place) {
                order.remove(at);
            }
        }
        self.slab[place as usize] = None;
        self.free.push(place);
    }

    fn sort(&mut self) {
        for (key, order) in KEYS.into_iter().zip(&mut self.orders) {
            order.clear();
            order.extend((0_u32..).zip(&self.slab).filter(|(_, line)| line.is_some()).map(|(place, _)| place));
            order.sort_unstable_by(|one, other| Self::compare(&self.slab, key, *one, *other));
        }
    }

    fn page(&self, query: &NotebookQuery) -> Listed {
        let kept = KEYS.iter().position(|key| query.then_by.is_empty() && *key == query.sort_key);
        let Some(order) = kept.map(|at| &self.orders[at]) else { return sorted_page(self.lines(), query) };
        let wanted = Wanted::of(&query.filter);
        let matched: Vec<bool> =
            self.slab.iter().map(|line| line.as_ref().is_some_and(|line| wanted.matches(line))).collect();
        let total = matched.iter().filter(|is| **is).count();
        let take = |places: &mut dyn Iterator<Item = &u32>| {
            let matching = places.filter(|place| matched[**place as usize]);
            let page = matching.skip(offset(query)).take(limit(query));
            page.filter_map(|place| self.slab[*place as usize].clone()).collect()
        };
        let past = offset(query) >= total || limit(query) == 0;
        let lines = match (past, query.descending) {
            (true, _) => Vec::new(),
            (_, true) => take(&mut order.iter().rev()),
            (_, false) => take(&mut order.iter()),
        };
        Listed { lines, total: total as u64 }
    }
}

fn offset(query: &NotebookQuery) -> usize {
    usize::try_from(query.offset).unwrap_or(usize::MAX)
}

fn limit(query: &NotebookQuery) -> usize {
    usize::try_from(query.limit).unwrap_or(usize::MAX)
}

fn by(key: SortKey, one: &Line, other: &Line) -> Ordering {
    match key {
        SortKey::CreateAt => one.create_at.cmp(&other.create_at),
        SortKey::UpdateAt => one.update_at.cmp(&other.update_at),
        SortKey::Name => one.name.cmp(&other.name),
        SortKey::Status => one.status.as_str().cmp(other.status.as_str()),
        SortKey::Flavor => one.flavor_id.cmp(&other.flavor_id),
    }
}

/// The order of a query, upwards; the last ties go by id.
fn compare(query: &NotebookQuery, one: &Line, other: &Line) -> Ordering {
    let further = query.then_by.iter().fold(Ordering::Equal, |order, key| order.then_with(|| by(*key, one, other)));
    by(query.sort_key, one, other).then(further).then_with(|| one.id.cmp(&other.id))
}

/// A filter, ready for many lines.
struct Wanted<'q> {
    filter: &'q NotebookFilter,
    contains: Vec<(Searched, memchr::memmem::Finder<'q>)>,
}

impl<'q> Wanted<'q> {
    fn of(filter: &'q NotebookFilter) -> Self {
        let finder = |(which, part): &'q (Searched, String)| (*which, memchr::memmem::Finder::new(part));
        Self { filter, contains: filter.contains.iter().map(finder).collect() }
    }

    fn matches(&self, line: &Line) -> bool {
        let filter = self.filter;
        filter.status.is_none_or(|status| line.status == status)
            && filter.feature.is_none_or(|feature| line.feature == feature)
            && filter.workspace_id.as_deref().is_none_or(|workspace_id| *line.workspace_id == *workspace_id)
            && filter.image_id.is_none_or(|image_id| line.image_id == image_id)
            && filter.id.is_none_or(|id| line.id == id)
            && filter.pool_id.as_deref().is_none_or(|pool_id| line.pool.as_ref().is_some_and(|pool| pool.id == pool_id))
            && self
                .contains
                .iter()
                .all(|(which, part)| line.text(*which).is_some_and(|text| part.find(text.as_bytes()).is_some()))
            && filter.tags.iter().all(|(key, value)| line.tags.get(key) == Some(value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use atelier_core::id::{ProjectId, UserId};

    use super::*;

    fn id(n: u128) -> NotebookId {
        NotebookId::from_uuid(uuid::Uuid::from_u128(n))
    }

    fn owner(c: char) -> Owner {
        Owner { project_id: "1".repeat(32).into(), user_id: c.to_string().repeat(32).into() }
    }

    /// Names, creations and changes in three different orders, with ties.
    fn line(n: u128) -> Line {
        let i = i64::try_from(n).unwrap();
        Line {
            id: id(n),
            generation: 0,
            create_at: i % 7,
            update_at: -i,
            name: format!("nb-{}", i * 37 % 11).into(),
            description: "".into(),
            tags: Tags::none(),
            workspace_id: "0".into(),
            user_name: "someone".into(),
            flavor_id: "small".into(),
            image_swr_path: "local/image:1".into(),
            pool: None,
            image_id: atelier_core::image::BUILT_IN,
            feature: Feature::ALL[usize::try_from(n % 2).unwrap()],
            status: Status::ALL[usize::try_from(n % 3).unwrap()],
        }
    }

    fn query(user: Option<char>) -> NotebookQuery {
        let hex = |c: char| c.to_string().repeat(32);
        NotebookQuery {
            user_id: user.map(|c| hex(c).parse::<UserId>().unwrap()),
            ..NotebookQuery::all_of(hex('1').parse::<ProjectId>().unwrap())
        }
    }

    /// What a listing must answer, the slow and plain way.
    fn expected(lines: &[Line], query: &NotebookQuery) -> (Vec<NotebookId>, u64) {
        let mut found: Vec<_> = lines.iter().filter(|line| Wanted::of(&query.filter).matches(line)).collect();
        found.sort_by(|one, other| compare(query, one, other));
        if query.descending {
            found.reverse();
        }
        let total = found.len() as u64;
        (found.into_iter().map(|line| line.id).skip(offset(query)).take(limit(query)).collect(), total)
    }

    fn assert_listed(listing: &Listing, lines: &[Line], user: Option<char>) {
        for sort_key in SortKey::ALL {
            for (descending, status, name, offset, limit) in [
                (false, None, None, 0, 1000),
                (true, None, None, 3, 4),
                (false, Some(Status::Init), None, 1, 5),
                (true, None, Some("b-1"), 0, 3),
                (false, Some(Status::Creating), Some("7"), 0, 9),
                (false, None, Some("none"), 0, 9),
                (false, None, None, 5000, 9),
            ] {
                let contains = name.map(|part| (Searched::Name, part.to_owned())).into_iter().collect();
                let feature = descending.then_some(Feature::Notebook);
                let filter = NotebookFilter { status, feature, contains, ..NotebookFilter::NONE };
                let then_by = if limit == 9 { vec![SortKey::Status, SortKey::Name] } else { Vec::new() };
                let query = NotebookQuery { filter, sort_key, then_by, descending, offset, limit, ..query(user) };
                let listed = listing.page(&query);
                let ids: Vec<_> = listed.lines.iter().map(|line| line.id).collect();
                assert_eq!((ids, listed.total), expected(lines, &query), "{query:?}");
            }
        }
    }

    /// Filled, or put line by line, or changed and removed on the way: the answers are those of the plain way.
    #[test]
    fn a_listing_answers_as_a_plain_search_does() {
        let (filled, put) = (Listing::default(), Listing::default());
        let mut lines: Vec<_> = (0..200).map(line).collect();
        for some in lines.chunks(70) {
            filled.fill(some.iter().map(|line| (owner('a'), line.clone())));
        }
        filled.sort();
        for line in lines.iter().rev() {
            put.put(owner('a'), line.clone());
        }
        for round in 0..3 {
            for listing in [&filled, &put] {
                assert_listed(listing, &lines, Some('a'));
                assert_listed(listing, &lines, None);
                for line in lines.iter().filter(|line| line.id.as_uuid().as_u128() % 5 == round) {
                    listing.remove(line.id);
                }
            }
            lines.retain(|line| line.id.as_uuid().as_u128() % 5 != round);
            for line in &mut lines {
                line.update_at = line.update_at * 31 % 101;
                line.name = format!("{}-{round}", line.name).into();
                for listing in [&filled, &put] {
                    listing.put(owner('a'), line.clone());
                }
            }
        }
    }

    #[test]
    fn owners_are_apart_and_a_project_is_all_of_them() {
        let listing = Listing::default();
        let lines: Vec<_> = (0..60).map(line).collect();
        for (line, user) in lines.iter().zip(['a', 'b', 'c'].into_iter().cycle()) {
            listing.put(owner(user), line.clone());
        }
        let of_b: Vec<_> = lines.iter().skip(1).step_by(3).cloned().collect();
        assert_listed(&listing, &of_b, Some('b'));
        assert_listed(&listing, &lines, None);
        listing.put(owner('b'), lines[0].clone());
        assert_eq!(listing.page(&query(Some('a'))).total, 19);
        assert_eq!(listing.page(&query(Some('b'))).total, 21);
        assert_eq!(listing.weight(&query(Some('b'))), 21);
    }

    #[test]
    fn a_newer_row_stands_only_in_the_same_place() {
        let before = line(4);
        let newer = Line { generation: 9, ..before.clone() };
        let all = query(Some('a'));
        let changed = Line { update_at: 99, status: Status::Frozen, ..newer.clone() };
        assert!(before.still_stands(&newer, &all) && before.still_stands(&changed, &all));
        assert!(!before.still_stands(&changed, &NotebookQuery { sort_key: SortKey::UpdateAt, ..all.clone() }));
        let filter = NotebookFilter { status: Some(before.status), ..NotebookFilter::NONE };
        let of_status = NotebookQuery { filter, ..all };
        assert!(!before.still_stands(&changed, &of_status));
    }
}
