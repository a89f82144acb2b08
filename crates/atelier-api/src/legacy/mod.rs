//! The legacy API: `/v1/{project_id}/demanager/instances`, another way to speak of the same notebooks.
//!
//! An *instance* is a notebook. Its id is `DE-` and the notebook's, both ways and without a table, so what one API makes
//! the other shows, starts, stops and deletes. What differs is said in one module each:
//!
//! * [`status`]: its words for where an instance is, and its codes for what cannot be done there;
//! * [`profiles`]: its names for images;
//! * [`auto_stop`]: its automatic stop, in seconds;
//! * [`create`], [`list`]: what its requests may say; [`shape`]: how its answers look.
//!
//! Its refusals have a body of their own, which the door writes ([`crate::answer::Family`]).

pub(crate) mod auto_stop;
pub(crate) mod create;
pub(crate) mod instances;
pub(crate) mod list;
pub(crate) mod profiles;
pub(crate) mod shape;
pub(crate) mod status;

use atelier_core::id::NotebookId;
use atelier_core::refusal::{Code, Refusal};

const PREFIX: &str = "DE-";

/// The id of the instance that a notebook is.
pub(crate) fn instance_id(id: NotebookId) -> String {
    format!("{PREFIX}{id}")
}

/// The notebook that an instance is. The bare id is understood, too: the contract's own examples use it in paths.
pub(crate) fn notebook_id(instance: &str) -> Option<NotebookId> {
    let head = instance.get(..PREFIX.len()).filter(|head| head.eq_ignore_ascii_case(PREFIX));
    instance[head.map_or(0, str::len)..].parse().ok()
}

/// There is no such instance, or it is not the caller's. A name is no id: clients go on to the list then. The sentence is
/// the contract's, to the letter, because there is an example of this very answer.
pub(crate) fn no_instance() -> Refusal {
    Refusal::new(Code::NoInstance, "The instance does not exist.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_lead_both_ways() {
        let id: NotebookId = "7d558ef8-c73d-11ea-964c-0255ac100033".parse().unwrap();
        assert_eq!(instance_id(id), "DE-7d558ef8-c73d-11ea-964c-0255ac100033");
        for text in [instance_id(id), id.to_string(), format!("de-{}", id.to_string().to_uppercase())] {
            assert_eq!(notebook_id(&text), Some(id), "{text}");
        }
        for text in ["", "DE", "DE-", "D", "ü-7d558ef8", "notebook-c6fd", "DE-DE-7d558ef8-c73d-11ea-964c-0255ac100033"]
        {
            assert_eq!(notebook_id(text), None, "{text}");
        }
    }
}
