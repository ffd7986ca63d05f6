//! A model of everything around the lifecycle, to check the transition function against.
//!
//! A [`world::World`] is the state of one server together with an abstract environment: the shell's effects
//! that are under way, the process and its tree, and what has to be remembered to judge the server by
//! ([`world`]). A [`moves::Move`] is one thing that can happen there: something is asked, the environment
//! tells something, a message comes too late, or time passes ([`moves`]). The environment does whatever
//! the shell allows, in any order: a process may load, hang, crash, obey or ignore every signal.
//!
//! [`explore::explore`] plays all moves in all worlds, breadth first, until there are no new ones. Worlds from
//! which the same things follow are one: times are taken relative to now and only as far as they
//! matter, and incarnations have no numbers ([`canonical`]). With times of a few seconds so few are left
//! that all of them can be looked at.
//!
//! Each change and each world is judged by the laws ([`laws`]). At last, from every world, the
//! environment behaves for ever after, and the server has to come to where it should be
//! ([`moves::Manners`]). What breaks a law is told as the shortest story that leads to it ([`trace`]).

pub(crate) mod canonical;
pub(crate) mod explore;
pub(crate) mod laws;
pub(crate) mod moves;
pub(crate) mod trace;
pub(crate) mod world;
