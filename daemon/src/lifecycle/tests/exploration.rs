//! Every world there is.

use crate::lifecycle::model::explore::{explore, longer_times, roots, short_times};
use crate::lifecycle::step;

#[test]
fn no_law_is_broken_in_any_world_and_every_server_ends_where_it_should_be() {
    let is_full = std::env::var("MAGI_FULL").is_ok_and(|value| value == "1");
    let times = if is_full {
        longer_times()
    } else {
        short_times()
    };
    let roots = roots(&times);
    let explored =
        explore(step, &roots).unwrap_or_else(|found| panic!("{}", found.tell(&roots, step)));
    println!(
        "lifecycle: {} worlds and {} moves, all there are; the farthest {} moves away; at most {} \
         moves to where it should be",
        explored.worlds, explored.moves, explored.depth, explored.way_home
    );
    // A model that lost its moves would break no law either.
    assert!(explored.worlds > 10_000, "{explored:?}");
}
