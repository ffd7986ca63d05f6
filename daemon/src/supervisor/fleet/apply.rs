//! Applying a configuration to the fleet.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::owner::{Fleet, Member, tell};
use super::{AskError, Mode, Outcome, Pending, Request, Stops};
use crate::lifecycle::{Event, StopReason};
use crate::memory::{Demand, Source};
use crate::name::ServerName;
use crate::plan::{self, Current, Definition, Difference, Method, Step, StepAction};
use crate::supervisor::record::Record;
use crate::supervisor::seat::{Numbers, Seat};
use crate::supervisor::server::{self, Command, Place};
use crate::supervisor::stopped::Stop;

impl Fleet {
    pub(super) fn apply(
        &mut self,
        mut definitions: BTreeMap<ServerName, Definition>,
        mode: Mode,
        stops: Stops,
    ) -> Result<Outcome, AskError> {
        self.check_open()?;
        self.check_room(self.members.keys())?;
        self.keep_found_models(&mut definitions);
        if mode == Mode::Rollback {
            self.want_as_before();
        }
        let mut steps = self.plan(&definitions, mode);
        if stops == Stops::Forgotten {
            self.plan_starts(&mut steps, &definitions);
        }
        let missing = missing_models(&steps, &definitions);
        let refused = mode == Mode::Reload && !missing.is_empty();
        if mode == Mode::Plan || refused {
            return Ok(Outcome {
                steps,
                missing,
                pending: Vec::new(),
            });
        }
        if stops == Stops::Forgotten {
            self.forget_stops(&definitions);
        }
        self.reserve_ports(&definitions);
        self.reserve_for_survivors(&definitions);
        self.expect(&steps, mode);
        self.expect_reservations(&steps, &definitions);
        let mut pending = Vec::new();
        for step in &steps {
            let definition = definitions.remove(&step.server).map(Arc::new);
            if let Some(done) = self.carry_out(step, definition) {
                pending.push(Pending {
                    server: step.server.clone(),
                    done,
                    touched: step.action.touches_a_process(),
                });
            }
        }
        if mode == Mode::Start {
            self.end_strangers();
        }
        self.stopped_file.remember(self.stopped.clone());
        Ok(Outcome {
            steps,
            missing,
            pending,
        })
    }

    /// A model that was found, and cannot be found now, is no edit: what runs goes on running. A server
    /// that is changed otherwise needs its model.
    fn keep_found_models(&self, definitions: &mut BTreeMap<ServerName, Definition>) {
        for (name, definition) in definitions {
            let Some(member) = self.members.get(name) else {
                continue;
            };
            let old = &member.definition;
            let is_lost = definition.launch.model.file.is_err() && old.launch.model.file.is_ok();
            if !is_lost {
                continue;
            }
            match plan::compare(old, definition, self.port_of(name)) {
                Difference::None | Difference::Live(_) => {
                    let file = &mut definition.launch.model.file;
                    file.clone_from(&old.launch.model.file);
                }
                Difference::Launch(_) => {}
            }
        }
    }

    /// The port that a server has now.
    fn port_of(&self, name: &ServerName) -> Option<u16> {
        let endpoint = self.context.board.row(name)?.endpoint?;
        Some(endpoint.port())
    }

    fn plan(&self, definitions: &BTreeMap<ServerName, Definition>, mode: Mode) -> Vec<Step> {
        let current = self
            .defined()
            .map(|(name, member)| {
                let current = Current {
                    definition: &member.definition,
                    wanted: self.is_wanted(name, member),
                    held_back: self.stopped.contains_key(name),
                    port: self.port_of(name),
                };
                (name.clone(), current)
            })
            .collect();
        let remembered = |name: &ServerName| self.stopped.contains_key(name);
        let mut steps = plan::plan(&current, definitions, remembered);
        for step in &mut steps {
            let definition = definitions.get(&step.server);
            if step.action == StepAction::Replace
                && let Some(definition) = definition
            {
                step.method = Some(self.method(definition, mode));
            }
            if mode == Mode::Rollback && self.ran_before(step) {
                step.action = StepAction::Start;
            }
        }
        steps
    }

    /// Servers that an operator stopped are started again by the activation of their profile.
    fn plan_starts(&self, steps: &mut [Step], definitions: &BTreeMap<ServerName, Definition>) {
        let starts = |name: &ServerName| definitions.get(name).is_some_and(|d| d.autostart);
        for step in steps {
            let rests = match step.action {
                StepAction::Keep | StepAction::Live | StepAction::Define => true,
                StepAction::Replace | StepAction::Start | StepAction::Stop => false,
            };
            if rests && self.stopped.contains_key(&step.server) && starts(&step.server) {
                step.action = StepAction::Start;
                let why = "an operator stopped it; its profile is activated";
                step.reasons.push(why.to_owned());
            }
        }
    }

    /// Forgets what operators stopped. What was held, and is not started now, takes requests again.
    fn forget_stops(&mut self, definitions: &BTreeMap<ServerName, Definition>) {
        for name in definitions.keys() {
            if self.stopped.remove(name) == Some(Stop::Held)
                && let Some(member) = self.members.get(name)
            {
                let stop = Event::Stop(StopReason::NotAutostarted);
                tell(member, Command::Ask(stop, None));
            }
        }
    }

    fn reserve_ports(&self, definitions: &BTreeMap<ServerName, Definition>) {
        let fixed = definitions
            .iter()
            .filter_map(|(name, definition)| Some((definition.launch.port?, name.clone())))
            .collect();
        self.context.ports.reserve(fixed);
    }

    /// What an earlier magid left running has memory before anything else is given any. It keeps its
    /// place for what comes after it, so that has at least what the next incarnation needs.
    fn reserve_for_survivors(&mut self, definitions: &BTreeMap<ServerName, Definition>) {
        for (seat, survivor) in &mut self.survivors {
            let need = definitions
                .get(&seat.server)
                .and_then(|definition| definition.need.clone());
            let mut demand = need.unwrap_or(Demand {
                ram: 0,
                devices: BTreeMap::new(),
                source: Source::Observed,
            });
            demand.ram = demand.ram.max(survivor.resident);
            let reserved = self.context.memory.adopt(server::account(seat), demand);
            survivor.reserved = Some(reserved);
        }
    }

    /// Servers that start together are given memory by their priority, whichever asks first.
    fn expect_reservations(&self, steps: &[Step], definitions: &BTreeMap<ServerName, Definition>) {
        // One that has a process yet asks when that is gone, and nobody knows when that will be.
        let has_process = |name: &ServerName| {
            let row = self.context.board.row(name);
            row.is_some_and(|row| row.pid.is_some())
                || self.survivors.keys().any(|seat| seat.server == *name)
        };
        let starting = steps.iter().filter(|step| match step.action {
            StepAction::Start | StepAction::Replace => !has_process(&step.server),
            StepAction::Keep | StepAction::Live | StepAction::Stop | StepAction::Define => false,
        });
        let accounts = starting.filter_map(|step| {
            let definition = definitions.get(&step.server)?;
            let seat = match self.members.get(&step.server) {
                Some(member) => member.seat.clone(),
                None => self.seat_for(&step.server),
            };
            Some((server::account(&seat), definition.priority))
        });
        let accounts: Vec<_> = accounts.collect();
        if !accounts.is_empty() {
            self.context.memory.expect(accounts);
        }
    }

    fn carry_out(
        &mut self,
        step: &Step,
        definition: Option<Arc<Definition>>,
    ) -> Option<oneshot::Receiver<()>> {
        let Some(definition) = definition else {
            return self.remove(&step.server);
        };
        if step.method == Some(Method::BlueGreen) {
            return self.prepare(definition);
        }
        self.drop_successor(&step.server);
        let starts = step.action == StepAction::Start;
        let replaces = match step.action {
            StepAction::Replace | StepAction::Define | StepAction::Start => true,
            StepAction::Keep | StepAction::Live | StepAction::Stop => false,
        };
        let (done, finished) = oneshot::channel();
        self.define(definition, replaces);
        let member = self.members.get_mut(&step.server)?;
        if starts {
            member.wanted = true;
            tell(member, Command::Ask(Event::Start, Some(done)));
        } else {
            // Asks nothing: it has only to tell when the replacement is there, or what an earlier
            // configuration began.
            tell(member, Command::Notify(done));
        }
        Some(finished)
    }

    fn define(&mut self, definition: Arc<Definition>, replace: bool) {
        if let Some(member) = self.members.get_mut(&definition.name) {
            let came_back = member.removed.take().is_some();
            if came_back {
                member.wanted = false;
            }
            if *member.definition != *definition || came_back {
                let same_launch = member.definition.launch == definition.launch;
                let replace = replace && !(came_back && same_launch);
                member.definition = definition.clone();
                tell(
                    member,
                    Command::Define {
                        definition,
                        replace,
                    },
                );
            }
            return;
        }
        let name = definition.name.clone();
        let seat = self.seat_for(&name);
        let (numbers, record) = self.past(&seat);
        self.context.board.promote(&seat);
        let place = Place {
            seat: seat.clone(),
            numbers: numbers.clone(),
            record,
            survivor: self.survivors.remove(&seat),
        };
        let handle = server::spawn(self.context.clone(), definition.clone(), place);
        let member = Member {
            handle,
            seat,
            numbers,
            definition,
            successor: None,
            wanted: false,
            removed: None,
        };
        if let Some(stop) = self.stopped.get(&name) {
            // So that its state says who stopped it.
            tell(&member, Command::Ask(Event::Stop(stop.reason()), None));
        }
        self.members.insert(name, member);
    }

    /// Where a server sits that has no seat: where something of it runs yet, so that it starts when that
    /// is gone, but not where something is on its way out already.
    fn seat_for(&self, name: &ServerName) -> Seat {
        let mut inherited = self.survivors.keys();
        let inherited = inherited.find(|seat| seat.server == *name).cloned();
        let free = || Seat::free(name, |seat| self.retired.contains_key(seat));
        let seat = inherited.or_else(free);
        seat.unwrap_or_else(|| Seat::first(name.clone()))
    }

    fn remove(&mut self, name: &ServerName) -> Option<oneshot::Receiver<()>> {
        self.drop_successor(name);
        self.removals += 1;
        let removal = self.removals;
        let member = self.members.get_mut(name)?;
        member.removed = Some(removal);
        member.wanted = false;
        self.stopped.remove(name);
        let (done, finished) = oneshot::channel();
        tell(
            member,
            Command::Ask(Event::Stop(StopReason::Removed), Some(done)),
        );
        let (forgotten, told) = oneshot::channel();
        let (requests, name) = (self.requests.clone(), name.clone());
        tokio::spawn(async move {
            let _ = finished.await;
            if let Some(requests) = requests.upgrade() {
                let _ = requests.send(Request::Forget(name, removal)).await;
            }
            drop(forgotten);
        });
        Some(told)
    }

    /// Lets go of a server that was removed and is stopped, unless it came back meanwhile.
    pub(super) fn forget(&mut self, name: &ServerName, removal: u64) {
        if self
            .members
            .get(name)
            .is_some_and(|member| member.removed == Some(removal))
        {
            let numbers = self.members.remove(name).map(|member| member.numbers);
            self.remember_numbers(name, numbers.map_or(0, |numbers| numbers.last()));
            self.context.board.remove(name);
        }
    }

    /// Ends survivors of servers that are no longer defined, and those that sat beside one that is.
    fn end_strangers(&mut self) {
        for (seat, survivor) in std::mem::take(&mut self.survivors) {
            let name = &seat.server;
            if self.members.contains_key(name) {
                self.end_survivor(seat, survivor);
                continue;
            }
            let name = name.clone();
            self.survivors.insert(seat, survivor);
            self.define(Arc::new(server::undefined(&name)), false);
            self.remove(&name);
        }
    }

    /// What is known of the incarnations of a server that is defined now.
    fn past(&self, seat: &Seat) -> (Numbers, Record) {
        let of_server = self
            .records
            .iter()
            .filter(|(other, _)| other.server == seat.server);
        let newest = of_server.max_by_key(|(_, record)| record.incarnation);
        let mut record = self.records.get(seat).cloned();
        let record = record.get_or_insert_with(|| Record::new(seat));
        // The port that it had last, wherever it sat then, is the one that its clients know.
        record.port = newest.and_then(|(_, record)| record.port);
        let last = newest.map_or(0, |(_, record)| record.incarnation);
        (Numbers::after(last), record.clone())
    }

    /// So that a server that comes back goes on counting.
    fn remember_numbers(&mut self, name: &ServerName, last: u64) {
        let seat = Seat::first(name.clone());
        let record = self.records.entry(seat.clone());
        let record = record.or_insert_with(|| Record::new(&seat));
        record.incarnation = record.incarnation.max(last);
    }
}

fn missing_models(
    steps: &[Step],
    definitions: &BTreeMap<ServerName, Definition>,
) -> Vec<(ServerName, String)> {
    steps
        .iter()
        .filter(|step| match step.action {
            StepAction::Start | StepAction::Replace | StepAction::Define => true,
            StepAction::Keep | StepAction::Live | StepAction::Stop => false,
        })
        .filter_map(|step| {
            let definition = definitions.get(&step.server)?;
            let why = definition.launch.model.file.as_ref().err()?;
            Some((step.server.clone(), why.clone()))
        })
        .collect()
}
