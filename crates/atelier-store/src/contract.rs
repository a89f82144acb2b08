//! The tests that every engine has to pass: the half about notebooks.
//!
//! A case is a function that is given an empty store, uses nothing but the store's interface, and panics where a
//! promise is broken. [`notebook_store_contract!`](crate::notebook_store_contract) makes a test of each:
//!
//! ```text
//! async fn empty_store() -> (MyStore, Guard) { /* the guard removes what is left */ }
//!
//! atelier_store::notebook_store_contract!(empty_store);
//! ```
//!
//! Where the interface leaves a choice, the cases pin it down for all engines:
//!
//! * A writer who lost, or writes to what is gone, is told that before any condition is asked.
//! * "Oldest first" means in the order of first being committed, also within one millisecond.
//! * Names sort by code point, and the text that they are searched for has no special characters.
//! * An event has its id for itself: a second one of that id fails its whole commit.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests, but compiled for other crates and so not as tests"
)]

mod commits;
mod conditions;
mod histories;
mod lists;
mod sample;
mod shared_volumes;
mod trash;

pub use commits::*;
pub use conditions::*;
pub use histories::*;
pub use lists::*;
pub use shared_volumes::*;
pub use trash::*;

/// Makes a test of every case about notebooks. The argument names an async function without parameters that answers
/// an empty store and whatever has to live as long as the store does.
#[macro_export]
macro_rules! notebook_store_contract {
    ($empty_store:path) => {
        $crate::notebook_store_contract! { @cases $empty_store:
            a_notebook_reads_back_as_it_was_written
            secrets_read_back_after_every_write
            an_insert_of_an_existing_id_is_lost
            an_update_raises_the_generation
            a_stale_update_is_lost_and_changes_nothing
            what_is_not_there_is_missing
            a_removal_goes_by_generation_and_keeps_the_history
            a_commit_that_fails_in_its_last_part_leaves_nothing
            a_commit_without_a_notebook_writes_the_rest
            of_many_updates_of_one_generation_one_is_written
            a_store_that_works_says_so
            many_creates_at_once_end_exactly_at_the_quota
            the_quota_counts_one_owner_in_one_project
            many_creates_at_once_end_exactly_at_the_capacity
            a_name_that_shall_be_free_is_taken_once
            a_notebook_does_not_stand_in_its_own_way
            only_one_of_a_feature_is_written_for_each_owner
            held_is_what_holds_compute
            parts_hold_apart
            many_starts_at_once_end_exactly_at_the_gpus
            many_creates_at_once_end_exactly_at_the_quota_of_their_pool
            losing_is_told_before_conditions
            a_list_follows_each_filter
            a_list_searches_every_text_and_every_tag
            ties_go_by_the_further_keys
            a_name_is_searched_for_literally
            lists_are_sorted_by_each_key_in_both_directions
            pages_add_up_to_the_whole
            all_ids_are_listed_with_their_statuses
            lease_ends_are_those_of_running_notebooks
            every_notebook_is_shown_once_with_its_secrets
            every_notebook_stands_somewhere
            a_list_follows_every_change_at_once
            tags_in_use_are_those_of_the_project_s_notebooks
            what_is_held_follows_every_change
            an_operation_reads_back_and_is_overwritten_in_place
            unfinished_operations_are_those_that_have_not_ended
            operations_of_a_notebook_come_oldest_first
            operations_are_listed_newest_first_by_each_filter
            events_come_oldest_first_and_after_the_given_one
            events_of_a_project_go_by_owner_and_outlive_notebooks
            only_old_history_of_what_is_gone_is_pruned
            what_is_remembered_is_what_was_last_kept_under_the_name
            what_is_set_aside_is_in_the_trash_only
            the_trash_is_listed_by_each_condition
            what_rests_in_the_trash_is_restored_once
            what_leaves_the_trash_is_not_restored
            the_trash_follows_the_clock
            a_shared_volume_is_there_as_long_as_a_notebook_is
            notebooks_of_one_workspace_share_one_volume
            a_volume_that_nobody_has_any_more_is_not_used_anew
        }
    };
    (@cases $empty_store:path: $($case:ident)*) => {$(
        #[tokio::test]
        async fn $case() {
            let (store, _guard) = $empty_store().await;
            $crate::contract::$case(&store).await;
        }
    )*};
}
