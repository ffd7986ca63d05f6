//! Applying a configuration to the fleet.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::owner::{Fleet, Member, tell};
use super::{AskError, Mode, Outcome, Pending, Request};
use crate::lifecycle::{Event, StopReason};
use crate::name::ServerName;
use crate::plan::{self, Current, Definition, Step, StepAction};
use crate::supervisor::record::Record;
use crate::supervisor::server::{self, Command};

impl Fleet {
    pub(super) fn apply(
        &mut self,
        mut definitions: BTreeMap<ServerName, Definition>,
        mode: Mode,
    ) -> Result<Outcome, AskError> {
        self.check_open()?;
        self.check_room(self.members.keys())?;
        self.keep_found_models(&mut definitions);
        let steps = self.plan(&definitions);
        let missing = missing_models(&steps, &definitions);
        let refused = mode == Mode::Reload && !missing.is_empty();
        if mode == Mode::Plan || refused {
            return Ok(Outcome {
                steps,
                missing,
                pending: Vec::new(),
            });
        }
        self.reserve_ports(&definitions);
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

    /// A model that was found, and cannot be found now, is no edit: what runs goes on running.
    fn keep_found_models(&self, definitions: &mut BTreeMap<ServerName, Definition>) {
        for (name, definition) in definitions {
            let Some(member) = self.members.get(name) else {
                continue;
            };
            let (old, new) = (
                &member.definition.launch.model,
                &mut definition.launch.model,
            );
            if new.file.is_err() && old.file.is_ok() && old.written == new.written {
                new.file.clone_from(&old.file);
            }
        }
    }

    fn plan(&self, definitions: &BTreeMap<ServerName, Definition>) -> Vec<Step> {
        let current = self
            .defined()
            .map(|(name, member)| {
                let row = self.context.board.row(name);
                let endpoint = row.and_then(|row| row.endpoint);
                let current = Current {
                    definition: &member.definition,
                    wanted: member.wanted,
                    held_back: self.stopped.contains(name),
                    port: endpoint.map(|endpoint| endpoint.port()),
                };
                (name.clone(), current)
            })
            .collect();
        plan::plan(&current, definitions, |name| self.stopped.contains(name))
    }

    fn reserve_ports(&self, definitions: &BTreeMap<ServerName, Definition>) {
        let fixed = definitions
            .iter()
            .filter_map(|(name, definition)| Some((definition.launch.port?, name.clone())))
            .collect();
        self.context.ports.reserve(fixed);
    }

    fn carry_out(
        &mut self,
        step: &Step,
        definition: Option<Arc<Definition>>,
    ) -> Option<oneshot::Receiver<()>> {
        let Some(definition) = definition else {
            return self.remove(&step.server);
        };
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
        let record = self.records.get(&name).cloned();
        let record = record.unwrap_or_else(|| Record::new(&name));
        let survivor = self.survivors.remove(&name);
        let handle = server::spawn(self.context.clone(), definition.clone(), record, survivor);
        let member = Member {
            handle,
            definition,
            wanted: false,
            removed: None,
        };
        if self.stopped.contains(&name) {
            // So that its state says who stopped it.
            tell(
                &member,
                Command::Ask(Event::Stop(StopReason::Requested), None),
            );
        }
        self.members.insert(name, member);
    }

    fn remove(&mut self, name: &ServerName) -> Option<oneshot::Receiver<()>> {
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
            self.members.remove(name);
            self.context.board.remove(name);
        }
    }

    /// Ends survivors of servers that are no longer defined.
    fn end_strangers(&mut self) {
        for (name, survivor) in std::mem::take(&mut self.survivors) {
            let definition = Arc::new(server::undefined(&name));
            self.survivors.insert(name.clone(), survivor);
            self.define(definition, false);
            self.remove(&name);
        }
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
