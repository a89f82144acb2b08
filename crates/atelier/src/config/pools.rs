//! `[[pools]]`: shares of the machine that are set aside.
//!
//! A pool's flavors are those of `[[flavors]]`, by their ids, or its own. An id means one size everywhere, so that a list of
//! several pools' flavors is no riddle. Whether all pools together fit into the machine is found out where the machine is
//! known, when the server starts.

use std::cell::RefCell;

use atelier_core::flavor::Flavor;
use atelier_core::pool::{self, Pool};

use super::layer::Raw;
use super::reader::Reader;
use super::tables::{Fields, List};
use super::{flavors, kinds};

const POOLS: List = List {
    name: "pools",
    item: "pool",
    keys: &["id", "name", "cpu_millis", "memory_mib", "flavors", "notebooks_per_user"],
};
/// The longest name, in characters.
const MOST_NAME: usize = 64;

pub(super) fn read(reader: &mut Reader, flavors: &[Flavor]) -> Vec<Pool> {
    let known = RefCell::new(flavors.to_vec());
    POOLS.read(reader, |fields| pool(fields, &known), |pool| &pool.id).unwrap_or_default()
}

fn pool(fields: &mut Fields<'_>, known: &RefCell<Vec<Flavor>>) -> Option<Pool> {
    let id = fields.take("id", &format!("{}; not `{}`", pool::ID_FORM, pool::PUBLIC), id);
    let wanted = format!("a text of at most {MOST_NAME} characters");
    let name = fields.take_or("name", id.clone().unwrap_or_default(), &wanted, kinds::line(MOST_NAME));
    let (cpu_millis, memory_mib) = flavors::size(fields);
    let quota = |raw: &Raw| kinds::integer(1..=1_000_000)(raw).map(Some);
    let notebooks_per_user = fields.take_or("notebooks_per_user", None, "a whole number, 1 to 1000000", quota);
    let (named, own) = (|id: &str| listed(id, known), |fields: &mut Fields<'_>| own(fields, known));
    let flavors = fields.list("flavors", &flavors::FLAVORS, named, own, |flavor| &flavor.id);
    let (cpu_millis, memory_mib, flavors) = (cpu_millis?, memory_mib?, flavors?);
    let pool = Pool { id: id?, name: name?, cpu_millis, memory_mib, flavors, notebooks_per_user: notebooks_per_user? };
    for flavor in &pool.flavors {
        if !has_room_for(&pool, flavor) {
            fields.refuse("flavors", format!("flavor `{}` is larger than pool `{}`", flavor.id, pool.id));
        }
    }
    Some(pool)
}

fn id(raw: &Raw) -> Option<String> {
    kinds::text(raw).filter(|text| pool::is_id(text) && text != pool::PUBLIC)
}

fn has_room_for(pool: &Pool, flavor: &Flavor) -> bool {
    u64::from(flavor.cpu_millis) <= pool.cpu_millis && flavor.memory_mib <= pool.memory_mib
}

/// The flavor of this id, of `[[flavors]]` or of a pool before this one.
fn listed(id: &str, known: &RefCell<Vec<Flavor>>) -> Result<Flavor, String> {
    let known = known.borrow();
    known.iter().find(|flavor| flavor.id == id).cloned().ok_or_else(|| {
        let ids: Vec<_> = known.iter().map(|flavor| format!("`{}`", flavor.id)).collect();
        format!("flavor `{id}` of a pool does not exist; there are {}, or a table that says what it is", ids.join(", "))
    })
}

fn own(fields: &mut Fields<'_>, known: &RefCell<Vec<Flavor>>) -> Option<Flavor> {
    let flavor = flavors::flavor(fields)?;
    let mut known = known.borrow_mut();
    match known.iter().find(|one| one.id == flavor.id) {
        Some(one) if *one != flavor => {
            let message =
                format!("flavor `{}` is something else already; take another `id`, or only name it", flavor.id);
            fields.refuse("id", message);
        }
        Some(_) => {}
        None => known.push(flavor.clone()),
    }
    Some(flavor)
}
