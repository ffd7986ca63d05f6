//! Long ways through the worlds of the real times.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::lifecycle::model::canonical::Key;
use crate::lifecycle::model::explore::short_times;
use crate::lifecycle::model::laws::Law;

/// What decides the next move: the kind of it, which of that kind, and for how long.
type Choice = (u8, u16, u32);

/// A move of the chosen kind: mostly what the environment was asked to tell, since whatever is asked
/// of a server makes it begin anew.
fn choose(all: &[Move], world: &World, (kind, which, milliseconds): Choice) -> Move {
    let asks = kind < 4 || is_at_rest(world);
    let is_of_kind = |next: &Move| match next {
        Move::Ask(_) => asks,
        Move::Late(..) => !asks && kind < 20,
        Move::Tell(_) => !asks && (20..200).contains(&kind),
        Move::Pass(_) => false,
    };
    let possible: Vec<Move> = all
        .iter()
        .copied()
        .filter(|next| is_of_kind(next) && next.is_possible(world))
        .collect();
    if let Some(chosen) = possible.get(usize::from(which) % possible.len().max(1)) {
        return *chosen;
    }
    match world.state.deadline() {
        Some(due) if which % 4 != 0 => Move::Pass(due.since(world.now)),
        Some(_) | None => Move::Pass(Duration::from_millis(u64::from(milliseconds % 100_000))),
    }
}

/// Whether nothing will happen unless it is asked for.
fn is_at_rest(world: &World) -> bool {
    let may_be_told = |message: &Message| message.is_awaited(world);
    world.state.deadline().is_none() && !Message::ALL.iter().any(may_be_told)
}

/// Follows a well-behaved environment home.
fn follow_home(mut world: World, manners: Manners) -> Result<(), Law> {
    for _ in 0..10_000 {
        match manners.way(&world) {
            Way::Home => return Ok(()),
            Way::On(next) => world.play(step, next)?,
            Way::Lost => break,
        }
    }
    Err(Law::ComesHome)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_law_is_broken_on_any_long_way(
        choices in proptest::collection::vec(any::<Choice>(), 1_000),
        survivor: Option<bool>,
    ) {
        let policy = Policy::default();
        let mut scene = Scene::of(match survivor {
            Some(drains) => World::with_survivor(policy, drains),
            None => World::new(policy),
        });
        let all = Move::all();
        for choice in choices {
            let next = choose(&all, &scene.world, choice);
            scene.play(next);
        }
        for manners in Manners::ALL {
            if let Err(law) = follow_home(scene.world.clone(), manners) {
                panic!("{}", scene.story(law));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    /// Else the exploration would take worlds for known that are not.
    #[test]
    fn worlds_that_count_as_one_have_the_same_future(
        choices in proptest::collection::vec(any::<Choice>(), 1_000),
    ) {
        let mut world = World::new(short_times());
        let all = Move::all();
        let mut futures: HashMap<Key, Vec<Option<Key>>> = HashMap::new();
        for choice in choices {
            let next = match choose(&all, &world, choice) {
                Move::Pass(time) => Move::Pass(Duration::from_secs(time.as_secs().min(20))),
                other => other,
            };
            world.play(step, next).unwrap();
            let future: Vec<_> = all.iter().map(|next| future(&world, *next)).collect();
            let known = futures.entry(Key::of(&world)).or_insert_with(|| future.clone());
            prop_assert_eq!(&*known, &future);
        }
    }
}

/// What a world becomes by a move that is possible there.
fn future(world: &World, next: Move) -> Option<Key> {
    let mut after = world.clone();
    next.is_possible(world).then(|| {
        after.play(step, next).unwrap();
        Key::of(&after)
    })
}
