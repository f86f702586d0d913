//! What every store must do, whatever it is made of. Each check is a function over `&dyn Store`
//! that gets an empty store of its own.
//!
//! To put another store through all of them:
//!
//! ```ignore
//! async fn make() -> (Guard, impl Store) { … }   // an empty one; the guard is dropped after it
//! store_conformance!(mongo, crate::mongo::make);
//! ```

pub(crate) mod attempt;
pub(crate) mod board;
pub(crate) mod campaign;
pub(crate) mod claim;
pub(crate) mod corrupt;
pub(crate) mod cost;
pub(crate) mod intent;
pub(crate) mod lead;
pub(crate) mod record;
pub(crate) mod recording;

use dialfleet_engine::port::store::{Answer, Page};

/// Runs every check against stores that `$make` makes, as tests under the module `$name`.
macro_rules! store_conformance {
    ($name:ident, $make:path) => {
        store_conformance! { @ $name, $make;
            campaign {
                inserted_once
                read_in_order_with_gaps
                text_of_any_kind_survives
                listed_newest_first_in_pages
                changed_only_in_the_expected_generation
                a_change_leaves_the_rest_alone
                waking_keeps_the_earlier_time_and_counts
                due_wakes_are_claimed_once_until_the_lease_ends
                concurrent_wake_claims_share_the_campaigns
                a_wake_is_settled_only_if_nobody_woke_it_since
                finished_only_if_nobody_woke_it_since
                waking_and_finishing_at_once_lose_no_wake
                listed_by_state_after_an_id
            }
            lead {
                inserted_once_per_reference_and_phone
                redelivered_rows_are_recognised
                a_batch_is_answered_row_by_row
                vars_of_any_kind_survive_every_write
                read_in_order_with_gaps
                projected_once_and_in_order
                concurrent_projections_count_once
                final_leads_stay_final
                listed_by_id_in_pages
                counted_by_state_and_outcome
                the_next_due_time_is_the_earliest
            }
            claim {
                claimed_by_priority_then_by_due_time
                only_due_and_ready_ones_are_claimed
                a_claim_marks_its_lead
                one_batch_claims_distinct_leads
                concurrent_claimers_get_distinct_leads
                released_only_by_the_claim_that_holds_it
                renewed_only_by_the_claim_that_holds_it
                stale_claims_come_oldest_first
            }
            intent {
                stored_as_it_was_written
                an_attempt_exists_once
                a_slot_holds_one_call_until_it_is_freed
                a_phone_is_rung_once_until_its_cool_off_ends
                ended_attempts_hold_nothing
                a_batch_is_answered_item_by_item
                concurrent_intents_for_a_slot_have_one_winner
                concurrent_intents_for_a_phone_have_one_winner
                a_channel_holds_one_call_until_its_slot_is_freed
                concurrent_intents_for_a_channel_have_one_winner
                the_next_leg_takes_its_channel_or_is_not_written
            }
            cost {
                added_up_by_carrier_currency_and_whether_open
                added_up_for_each_lead
                the_due_ones_come_earliest_first
            }
            attempt {
                saved_only_over_the_version_that_was_read
                concurrent_saves_have_one_winner
                the_newest_is_by_number_not_by_text
                found_by_any_call_of_any_leg
                a_slot_is_taken_back_only_if_it_is_free
                due_checks_come_earliest_first
                due_commands_come_oldest_first
                slots_are_listed_and_counted
                live_ones_are_listed_by_slot
                live_ones_are_found_by_phone
                live_ones_are_found_by_current_carrier
                listed_newest_first_in_pages
                listed_by_filter
            }
            record {
                callbacks_are_stored_once
                callbacks_are_deleted_by_age
                do_not_call_lists_are_by_tenant
                imports_are_read_and_listed
                tallies_replace_their_own_batch
                an_import_ends_once
                an_incomplete_import_can_still_be_done
                row_errors_are_one_per_line
                heartbeats_come_and_go
                the_first_key_wins
                concurrent_first_boots_agree_on_the_key
                a_duty_has_one_holder_at_a_time
                concurrent_candidates_for_a_duty_have_one_winner
                the_clock_goes_forward
                made_up_cursors_are_refused
                a_cursor_belongs_to_its_list
            }
            recording {
                one_announced_twice_is_one
                saved_only_over_the_version_that_was_read
                due_ones_come_earliest_first
                listed_newest_first_by_filter
                transcripts_are_replaced_found_and_deleted
            }
            corrupt {
                attempts_are_passed_over
                leads_are_passed_over
                campaigns_are_passed_over
                records_are_passed_over
            }
            board {
                notes_are_written_over_the_version_before
                concurrent_writers_of_a_note_have_one_winner
                notes_are_listed_by_the_beginning_of_their_key
            }
        }
    };
    (@ $name:ident, $make:path; $($area:ident { $($check:ident)* })*) => {
        mod $name {
            $(mod $area {
                $(
                    #[tokio::test]
                    async fn $check() {
                        let (_guard, store) = $make().await;
                        $crate::store::$area::$check(&store).await;
                    }
                )*
            })*
        }
    };
}
pub(crate) use store_conformance;

/// Reads a list to its end, `size` items at a time, and checks the size of every page.
pub(crate) async fn all_pages<T, F>(
    size: usize,
    mut next: impl FnMut(Option<String>) -> F,
) -> Vec<T>
where
    F: Future<Output = Answer<Page<T>>>,
{
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let page = next(cursor).await.unwrap();
        assert!(page.items.len() <= size);
        let full = page.items.len() == size;
        all.extend(page.items);
        cursor = page.cursor;
        match &cursor {
            Some(_) => assert!(full, "only the last page is short"),
            None => return all,
        }
    }
}
