//! Looking at every world there is.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use super::canonical::Key;
use super::laws::Law;
use super::moves::{Manners, Move, Way};
use super::trace::tell;
use super::world::{StepFn, World};
use crate::lifecycle::{Policy, RestartMode, RestartPolicy};

/// What was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Explored {
    /// Worlds that differ.
    pub(crate) worlds: usize,
    /// Moves made in them.
    pub(crate) moves: usize,
    /// The most moves that the shortest way to a world takes.
    pub(crate) depth: usize,
    /// The most moves that a server needs to get where it should be once its environment behaves.
    pub(crate) way_home: usize,
}

/// A way to a world in which a law is broken: the shortest there is.
#[derive(Clone, Debug)]
pub(crate) struct Counterexample {
    /// Which of the worlds it begins in.
    pub(crate) root: usize,
    /// The moves; the last one breaks the law.
    pub(crate) moves: Vec<Move>,
    /// From this move on the environment behaves.
    pub(crate) behaves_from: Option<usize>,
    /// The law.
    pub(crate) law: Law,
}

/// Rules with times so short that the worlds can be counted, and yet all different in what they are
/// compared with. Seconds are the steps of the model's clock.
pub(crate) fn short_times() -> Policy {
    let seconds = Duration::from_secs;
    Policy {
        restart: RestartPolicy {
            mode: RestartMode::Always,
            initial_delay: seconds(1),
            max_delay: seconds(4),
            reset_after: seconds(4),
            max_failures: 3,
            failure_window: seconds(6),
            half_open_after: seconds(3),
        },
        max_startup_time: seconds(3),
        drain_timeout: seconds(2),
        stop_timeout: seconds(2),
    }
}

/// Rules with longer times, and more room between them.
pub(crate) fn longer_times() -> Policy {
    let seconds = Duration::from_secs;
    Policy {
        restart: RestartPolicy {
            mode: RestartMode::Always,
            initial_delay: seconds(1),
            max_delay: seconds(8),
            reset_after: seconds(10),
            max_failures: 4,
            failure_window: seconds(15),
            half_open_after: seconds(7),
        },
        max_startup_time: seconds(5),
        drain_timeout: seconds(4),
        stop_timeout: seconds(3),
    }
}

/// Where every server begins.
pub(crate) fn roots(policy: &Policy) -> [World; 3] {
    [
        World::new(policy.clone()),
        World::with_survivor(policy.clone(), false),
        World::with_survivor(policy.clone(), true),
    ]
}

/// How a world was found, and where it goes when its environment behaves.
struct Node {
    /// Absent for the worlds that are begun with.
    found: Option<(usize, Move)>,
    depth: usize,
    ways: [Next; Manners::ALL.len()],
}

/// Where a world goes when its environment behaves.
#[derive(Clone, Copy)]
enum Next {
    Unknown,
    Home,
    World(usize),
}

struct Search<'a> {
    step: StepFn,
    roots: &'a [World],
    moves: Vec<Move>,
    known: HashMap<Key, usize>,
    nodes: Vec<Node>,
    next: VecDeque<(usize, World)>,
    made: usize,
}

/// Makes every move in every world that can be reached from `roots`.
pub(crate) fn explore(step: StepFn, roots: &[World]) -> Result<Explored, Counterexample> {
    let mut search = Search {
        step,
        roots,
        moves: Move::all(),
        known: HashMap::new(),
        nodes: Vec::new(),
        next: VecDeque::new(),
        made: 0,
    };
    for root in roots {
        search.find(root.clone(), None);
    }
    while let Some((index, world)) = search.next.pop_front() {
        search.expand(index, &world)?;
    }
    let way_home = search.ways_home()?;
    Ok(Explored {
        worlds: search.nodes.len(),
        moves: search.made,
        depth: search.nodes.last().map_or(0, |node| node.depth),
        way_home,
    })
}

impl Search<'_> {
    /// The number of a world, which is put on the list if it is new.
    fn find(&mut self, world: World, found: Option<(usize, Move)>) -> usize {
        let new = self.nodes.len();
        let index = *self.known.entry(Key::of(&world)).or_insert(new);
        if index == new {
            self.nodes.push(Node {
                found,
                depth: found.map_or(0, |(from, _)| self.nodes[from].depth + 1),
                ways: [Next::Unknown; Manners::ALL.len()],
            });
            self.next.push_back((index, world));
        }
        index
    }

    fn expand(&mut self, index: usize, world: &World) -> Result<(), Counterexample> {
        let ways = Manners::ALL.map(|manners| manners.way(world));
        for (place, way) in ways.iter().enumerate() {
            match way {
                Way::Home => self.nodes[index].ways[place] = Next::Home,
                Way::On(_) => {}
                Way::Lost => return Err(self.counterexample(index, None, Law::ComesHome)),
            }
        }
        for which in 0..self.moves.len() {
            let next = self.moves[which];
            if !next.is_possible(world) {
                continue;
            }
            self.made += 1;
            let mut after = world.clone();
            if let Err(law) = after.play(self.step, next) {
                return Err(self.counterexample(index, Some(next), law));
            }
            // It has changed nothing.
            if matches!(next, Move::Late(..)) {
                continue;
            }
            let found = self.find(after, Some((index, next)));
            for (place, way) in ways.iter().enumerate() {
                if *way == Way::On(next) {
                    self.nodes[index].ways[place] = Next::World(found);
                }
            }
        }
        Ok(())
    }

    /// The longest way home of all. Each world has one way on when its environment behaves: it has to
    /// end at home, and must not lead back to where it was.
    fn ways_home(&self) -> Result<usize, Counterexample> {
        let mut longest = 0;
        for place in 0..Manners::ALL.len() {
            let mut lengths: Vec<Option<usize>> = vec![None; self.nodes.len()];
            for start in 0..self.nodes.len() {
                longest = longest.max(self.way_home(start, place, &mut lengths)?);
            }
        }
        Ok(longest)
    }

    fn way_home(
        &self,
        start: usize,
        place: usize,
        lengths: &mut [Option<usize>],
    ) -> Result<usize, Counterexample> {
        let mut path = Vec::new();
        let mut at = start;
        let mut length = loop {
            if let Some(length) = lengths[at] {
                break length;
            }
            let next = match self.nodes[at].ways[place] {
                Next::World(next) if path.len() < self.nodes.len() => next,
                Next::World(_) | Next::Unknown => return Err(self.circle(start, place)),
                Next::Home => {
                    lengths[at] = Some(0);
                    break 0;
                }
            };
            path.push(at);
            at = next;
        };
        for passed in path.into_iter().rev() {
            length += 1;
            lengths[passed] = Some(length);
        }
        Ok(length)
    }

    /// The shortest way to a world, and the move that breaks the law there.
    fn counterexample(&self, index: usize, last: Option<Move>, law: Law) -> Counterexample {
        let mut moves: Vec<Move> = last.into_iter().collect();
        let mut at = index;
        while let Some((from, by)) = self.nodes[at].found {
            moves.push(by);
            at = from;
        }
        moves.reverse();
        Counterexample {
            root: at,
            moves,
            behaves_from: None,
            law,
        }
    }

    /// The story of a world from which a well-behaved environment goes round in a circle.
    fn circle(&self, start: usize, place: usize) -> Counterexample {
        let mut story = self.counterexample(start, None, Law::ComesHome);
        let behaves_from = story.moves.len();
        let mut world = self.roots[story.root].clone();
        for next in &story.moves {
            let _ = world.play(self.step, *next);
        }
        let mut seen = HashSet::new();
        while seen.insert(Key::of(&world))
            && let Way::On(by) = Manners::ALL[place].way(&world)
        {
            let _ = world.play(self.step, by);
            story.moves.push(by);
        }
        story.behaves_from = Some(behaves_from);
        story
    }
}

impl Counterexample {
    /// The story, for people.
    pub(crate) fn tell(&self, roots: &[World], step: StepFn) -> String {
        let root = roots[self.root].clone();
        tell(root, step, &self.moves, self.behaves_from, self.law)
    }
}
