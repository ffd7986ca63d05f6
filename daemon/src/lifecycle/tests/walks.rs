//! Long ways through the worlds of the real times.

use proptest::prelude::*;

use super::*;
use crate::lifecycle::model::laws::Law;

/// What decides the next move: the kind of it, which of that kind, and for how long.
type Choice = (u8, u16, u32);

/// A move of the chosen kind: mostly what the environment was asked to tell, since whatever is asked
/// of a server makes it begin anew.
fn choose(all: &[Move], world: &World, (kind, which, milliseconds): Choice) -> Move {
    let is_of_kind = |next: &Move| match next {
        Move::Ask(_) => kind < 12,
        Move::Late(..) => (12..24).contains(&kind),
        Move::Tell(_) => (24..200).contains(&kind),
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
    let any = Duration::from_millis(u64::from(milliseconds % 100_000));
    match world.state.deadline() {
        Some(due) if which % 4 != 0 => Move::Pass(due.since(world.now)),
        Some(_) | None => Move::Pass(any),
    }
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
        survivor: bool,
    ) {
        let policy = Policy::default();
        let mut scene = Scene::of(match survivor {
            true => World::with_survivor(policy),
            false => World::new(policy),
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
