//! The task that makes room.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::look::{Asked, View};
use super::{Progress, Serial, Told, Wanted};
use crate::eviction::{self, Holder, Holders, Room as Decided, Standing};
use crate::lifecycle::{PublicState, StopReason};
use crate::memory::{Account, Ledger, Shortage};
use crate::name::ServerName;
use crate::supervisor::context::Context;
use crate::supervisor::events::{Happening, Kind};
use crate::supervisor::fleet::FleetHandle;

/// How long a server that was in use is left alone, unless gateways tell that this has changed: what
/// comes to its port directly they do not know. The next times twice as long each, up to the longest.
const AGAIN: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(60);

/// The most servers of which `explain` tells why they make no room.
const EXPLAINED: usize = 20;

/// An incarnation that was told to make room.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Victim {
    server: ServerName,
    account: Account,
    incarnation: u64,
}

/// Who wants room, and what of that matters now.
type Asking<'a> = (&'a Wanted, &'a eviction::Want);

struct Task {
    context: Arc<Context>,
    fleet: FleetHandle,
    /// By account and incarnation.
    asked: BTreeMap<(Account, u64), Asked>,
    /// Each ends when its server has stopped, or has refused.
    stops: JoinSet<Victim>,
}

/// Starts the task that makes room.
pub fn spawn(context: Arc<Context>, fleet: FleetHandle) {
    let task = Task {
        context,
        fleet,
        asked: BTreeMap::new(),
        stops: JoinSet::new(),
    };
    tokio::spawn(task.run());
}

impl Task {
    async fn run(mut self) {
        let mut wanted = self.context.room.wanted.subscribe();
        loop {
            // The sender is in the context.
            if wanted.wait_for(|all| !all.is_empty()).await.is_err() {
                return;
            }
            self.make_room_while_wanted(&mut wanted).await;
            self.asked
                .retain(|_, asked| matches!(asked, Asked::Open { .. }));
        }
    }

    async fn make_room_while_wanted(
        &mut self,
        wanted: &mut watch::Receiver<BTreeMap<Serial, Wanted>>,
    ) {
        let mut board = self.context.board.subscribe();
        let mut uses = self.context.gateways.uses();
        let mut memory = self.context.memory.changes();
        loop {
            let all = wanted.borrow_and_update().clone();
            if all.is_empty() {
                return;
            }
            board.mark_unchanged();
            uses.mark_unchanged();
            memory.mark_unchanged();
            let again = self.decide(&all);
            let timer = async {
                match again {
                    Some(again) => sleep_until(again).await,
                    None => std::future::pending().await,
                }
            };
            // Each is cancel-safe: what changed stays changed, and what ended stays in its set. The
            // senders are in the context, and outlive this.
            tokio::select! {
                _ = wanted.changed() => {}
                _ = board.changed() => {}
                _ = uses.changed() => {}
                _ = memory.changed() => {}
                Some(Ok(victim)) = self.stops.join_next() => self.answered(&victim),
                () = timer => {}
            }
        }
    }

    /// Decides for all, and sets going what follows. When to decide again, if nothing changes before.
    fn decide(&mut self, all: &BTreeMap<Serial, Wanted>) -> Option<Instant> {
        // Of one account the newest counts.
        let by_account: BTreeMap<_, _> = all.values().map(|w| (w.account.clone(), w)).collect();
        let wants = by_account.iter();
        let wants: BTreeMap<_, _> = wants
            .map(|(account, wanted)| (account.clone(), self.want(wanted)))
            .collect();
        let ledger = self.context.memory.ledger();
        let holders = self.holders(&ledger);
        let mut soonest = None::<Duration>;
        for (account, decided) in eviction::decide(&ledger, &wants, &holders) {
            let asking = (by_account[&account], &wants[&account]);
            let is_coming = match &decided {
                Decided::Coming | Decided::Stop { .. } => true,
                Decided::Soon { .. } | Decided::Later { .. } | Decided::Nobody { .. } => false,
            };
            self.context.memory.favour(&account, is_coming);
            match decided {
                Decided::Coming => tell_coming(asking.0),
                Decided::Stop { shortage, victims } => {
                    self.stop(asking, &shortage, &victims, &holders, &ledger);
                }
                Decided::Soon { shortage, after } => {
                    soonest = soonest.into_iter().chain([after]).min();
                    let sentence = format!("{shortage}; others got ready only now");
                    self.tell(asking, Progress::Making(sentence.into()), &holders);
                }
                Decided::Later { shortage, after } => {
                    soonest = soonest.into_iter().chain([after]).min();
                    let sentence = eviction::waiting_for_turn(&shortage).into();
                    self.tell(asking, Progress::Nobody(sentence), &holders);
                }
                Decided::Nobody { shortage } => {
                    let sentence = eviction::waiting(&shortage).into();
                    self.tell(asking, Progress::Nobody(sentence), &holders);
                }
            }
        }
        let left_alone = self.asked.values().filter_map(|asked| match asked {
            Asked::InUse { until, .. } => Some(*until),
            Asked::Open { .. } => None,
        });
        let soonest = soonest.map(|after| Instant::now() + after);
        let now = Instant::now();
        left_alone.filter(|until| *until > now).chain(soonest).min()
    }

    /// What a server wants, by its definition as it is now.
    fn want(&self, wanted: &Wanted) -> eviction::Want {
        let row = self.context.board.row(&wanted.server);
        let definition = row.map(|row| row.definition.clone());
        eviction::Want {
            beside: wanted.want.beside.clone(),
            priority: definition.as_ref().map_or(0, |is| is.priority),
            waited: wanted.want.since.elapsed(),
            is_awaited: self.is_awaited(wanted),
            swap_after: definition.and_then(|is| is.traffic.swap_after),
        }
    }

    /// Whether anybody waits for a server: requests at a gateway, or an operator, who named it.
    fn is_awaited(&self, wanted: &Wanted) -> bool {
        let is_named = wanted.want.beside.contains(&wanted.server);
        is_named || self.context.gateways.use_of(&wanted.server).waiting > 0
    }

    fn holders(&self, ledger: &Ledger) -> Holders {
        let (fleet, uses) = (self.context.board.read(), self.context.gateways.uses());
        let view = View {
            fleet: &fleet,
            uses: &uses.borrow(),
            asked: &self.asked,
            now: (Timestamp::now(), Instant::now()),
        };
        view.holders(ledger)
    }

    /// Has these stopped: those that are idle if they are, and those that are in use as they are.
    fn stop(
        &mut self,
        asking: Asking<'_>,
        shortage: &Shortage,
        victims: &[Account],
        holders: &Holders,
        ledger: &Ledger,
    ) {
        let named = victims
            .iter()
            .filter_map(|victim| Some((holders.get(victim)?, ledger.granted().get(victim))));
        let sentence = eviction::making(shortage, named);
        let spared: Holders = holders
            .iter()
            .filter(|(account, _)| !victims.contains(account))
            .map(|(account, holder)| (account.clone(), holder.clone()))
            .collect();
        self.tell(asking, Progress::Making(sentence.into()), &spared);
        for account in victims {
            if let Some(holder) = holders.get(account) {
                let has = ledger.granted().get(account);
                let sentence = eviction::made_by(holder, has, asking.0.server.as_str(), shortage);
                match holder.is_in_use() {
                    false => self.stop_one(holder, account, StopReason::Evicted, sentence),
                    true => {
                        let patience = eviction::patience(asking.1);
                        let sentence = format!("{sentence}; {patience}");
                        self.stop_one(holder, account, StopReason::Swapped, sentence);
                    }
                }
            }
        }
    }

    fn stop_one(
        &mut self,
        holder: &Holder,
        account: &Account,
        reason: StopReason,
        sentence: String,
    ) {
        let server = holder.server.clone();
        let row = self.context.board.row(&server);
        let incarnation = row.and_then(|row| row.incarnation).unwrap_or_default();
        self.note(&server, sentence.clone());
        self.context.events.record(Happening {
            kind: Kind::MakingRoom,
            server: Some((server.clone(), Some(incarnation))),
            states: None,
            reason: reason.code().to_owned(),
            message: sentence,
        });
        let key = (account.clone(), incarnation);
        let refusals = self.asked.get(&key).map_or(0, Asked::refusals);
        let is_order = !reason.is_only_if_idle();
        let open = Asked::Open { is_order, refusals };
        self.asked.insert(key, open);
        let victim = Victim {
            server: server.clone(),
            account: account.clone(),
            incarnation,
        };
        let fleet = self.fleet.clone();
        self.stops.spawn(async move {
            // One that cannot be told now is as good as one that is in use.
            if let Ok(stopped) = fleet.make_room(server, reason).await {
                let _ = stopped.await;
            }
            victim
        });
    }

    /// A server has stopped, or goes on serving.
    fn answered(&mut self, victim: &Victim) {
        let key = (victim.account.clone(), victim.incarnation);
        let row = self.context.board.row(&victim.server);
        let goes_on = row.is_some_and(|row| {
            row.view.state == PublicState::Ready && row.incarnation == Some(victim.incarnation)
        });
        if !goes_on {
            self.asked.remove(&key);
            return;
        }
        let asked = self.asked.get(&key);
        let refusals = asked.map_or(0, Asked::refusals);
        let again = AGAIN.saturating_mul(1 << refusals.min(8)).min(LONGEST);
        let in_use = Asked::InUse {
            is_order: asked.is_some_and(Asked::is_order),
            before: self.context.gateways.use_of(&victim.server),
            until: Instant::now() + again,
            refusals: refusals + 1,
        };
        self.asked.insert(key, in_use);
        self.note(&victim.server, "was to make room, and is in use".to_owned());
    }

    /// Tells how far it is with the room for a server, if that is news.
    fn tell(&self, (wanted, want): Asking<'_>, progress: Progress, kept: &Holders) {
        let sentence = match &progress {
            Progress::Making(sentence) | Progress::Nobody(sentence) => sentence.to_string(),
            Progress::Undecided => return,
        };
        let is_news = wanted.progress.send_if_modified(|told| {
            let differs = *told != progress;
            *told = progress;
            differs
        });
        let others = kept
            .values()
            .filter(|holder| holder.server != wanted.server);
        let spared = |holder: &&Holder| holder.standing != Standing::Leaving;
        let kept: Vec<_> = others.filter(spared).collect();
        for holder in kept.iter().filter(|_| is_news) {
            let why = eviction::kept(holder);
            self.note(
                &holder.server,
                format!("makes no room for {}: {why}", wanted.server),
            );
        }
        let mut lines = vec![at_this_time(&sentence), eviction::patience(want)];
        let named = kept.iter().take(EXPLAINED);
        lines.extend(
            named.map(|holder| format!("{} stays: {}", holder.server, eviction::kept(holder))),
        );
        if let more @ 1.. = kept.len().saturating_sub(EXPLAINED) {
            lines.push(format!("{more} more stay"));
        }
        self.change_told(&wanted.server, |told| told.for_it = lines);
    }

    /// Notes what was decided about a server making room.
    fn note(&self, server: &ServerName, sentence: String) {
        let line = at_this_time(&sentence);
        self.change_told(server, |told| told.by_it = Some(line));
    }

    fn change_told(&self, server: &ServerName, change: impl FnOnce(&mut Told)) {
        self.context.room.told.send_modify(|all| {
            if !all.contains_key(server) {
                // Servers that are gone are forgotten when there is a new one.
                let known: BTreeSet<_> = self.context.board.read().rows.into_keys().collect();
                all.retain(|server, _| known.contains(server));
            }
            change(all.entry(server.clone()).or_default());
        });
    }
}

/// Room gets free by itself, or by what was decided before.
fn tell_coming(wanted: &Wanted) {
    wanted.progress.send_if_modified(|told| match told {
        Progress::Making(_) => false,
        Progress::Undecided | Progress::Nobody(_) => {
            *told = Progress::Making("others are on their way out".into());
            true
        }
    });
}

fn at_this_time(sentence: &str) -> String {
    format!("{:.0}: {sentence}", Timestamp::now())
}
