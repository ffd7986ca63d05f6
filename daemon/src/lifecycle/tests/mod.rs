//! The lifecycle in words: one server in the model's world, by hand.

mod commands;
mod exploration;
mod failures;
mod mutants;
mod requests;
mod walks;

use std::time::Duration;

use super::model::moves::{Ask, Fault, Manners, Message, Move, Way};
use super::model::trace::tell;
use super::model::world::World;
use super::*;

/// A world in which a test makes the moves. The laws are checked after each.
struct Scene {
    begin: World,
    world: World,
    moves: Vec<Move>,
}

impl Scene {
    fn of(world: World) -> Self {
        Self {
            begin: world.clone(),
            world,
            moves: Vec::new(),
        }
    }

    /// A server that was asked to run, with these rules.
    fn started_with(policy: Policy) -> Self {
        let mut scene = Self::of(World::new(policy));
        scene.ask(Ask::Start);
        scene
    }

    fn started() -> Self {
        Self::started_with(Policy::default())
    }

    /// A server whose process has been made.
    fn loading() -> Self {
        let mut scene = Self::started();
        scene.tell(Message::Turn);
        scene.tell(Message::Spawned);
        scene
    }

    fn ready() -> Self {
        let mut scene = Self::loading();
        scene.tell(Message::Healthy);
        assert_eq!(scene.public(), PublicState::Ready);
        scene
    }

    fn play(&mut self, next: Move) {
        assert!(next.is_possible(&self.world), "{next:?} is not possible");
        self.moves.push(next);
        if let Err(law) = self.world.play(step, next) {
            panic!("{}", self.story(law));
        }
    }

    /// What has happened, and the law that was broken.
    fn story(&self, law: model::laws::Law) -> String {
        tell(self.begin.clone(), step, &self.moves, None, law)
    }

    fn ask(&mut self, ask: Ask) {
        self.play(Move::Ask(ask));
    }

    fn tell(&mut self, message: Message) {
        self.play(Move::Tell(message));
    }

    /// Time passes; the timer fires if it is due at the end of it.
    fn pass(&mut self, time: Duration) {
        self.play(Move::Pass(time));
        if self.world.is_due() {
            self.tell(Message::Timer);
        }
    }

    /// Waits for the deadline.
    fn sleep(&mut self) {
        let due = self.world.state.deadline().expect("there is a deadline");
        self.pass(due.since(self.world.now));
    }

    /// It is made, and fails before it is ready.
    fn fail_to_start(&mut self) {
        self.tell(Message::Turn);
        self.tell(Message::Spawned);
        self.end(Fault::Crash);
    }

    /// The process ends, and the rest of its tree with it.
    fn end(&mut self, fault: Fault) {
        self.tell(Message::Exited(fault));
        self.tell(Message::Gone);
    }

    /// Everything that is under way comes to its end, and nothing goes wrong.
    fn behave(&mut self) {
        for _ in 0..1_000 {
            match Manners::Good.way(&self.world) {
                Way::Home => return,
                Way::On(next) => self.play(next),
                Way::Lost => break,
            }
        }
        panic!("{}", self.story(model::laws::Law::ComesHome));
    }

    fn public(&self) -> PublicState {
        self.world.state.view().state
    }

    fn restarts(&self) -> u32 {
        self.world.state.history.restarts()
    }

    /// Where it is, and by which incarnation.
    fn incarnation(&self) -> (PublicState, u64) {
        (self.public(), self.world.state.incarnation)
    }
}
