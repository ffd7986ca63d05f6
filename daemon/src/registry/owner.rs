//! The owner of the registry.
//!
//! A look at the scan paths runs beside the owner, so it always answers; what a look brought is
//! merged into what is known by then. Whoever asks for a scan gets one that began after he asked;
//! those that wait together share it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;

use super::admission::Admission;
use super::choose::choose;
use super::find::{Found, NotFound};
use super::handle::{QUEUE, RegistryConfig, RegistryError, RegistryHandle, Request, Wanted};
use super::look::{Header, Look, SeenFile};
use super::merge::{Input, Merged, Models, merge};
use super::model::{Model, OverridesChange, ScanReport, Snapshot};
use super::problems::problems;
use super::scan::{Earlier, KnownFile, ReadFacts, Scanned, Scanner};
use super::store::{self, Stored};
use super::watches::Watches;
use super::writer::{Writer, Written};
use crate::blocking::blocking;
use crate::files::Hints;

/// How long files must be left alone before they are looked at.
const QUIET: Duration = Duration::from_millis(100);

/// How long that is waited for at the most.
const LATEST: Duration = Duration::from_secs(1);

/// How often to look where no events come from.
const LOOK_ANYWAY: Duration = Duration::from_secs(60);

/// How often to look where every change should cause an event.
const LOOK_SELDOM: Duration = Duration::from_secs(600);

struct Owner {
    config: watch::Receiver<RegistryConfig>,
    scanner: Scanner,
    watches: Watches,
    earlier: Arc<Earlier>,
    excluded: BTreeSet<PathBuf>,
    /// What was wrong at the last scan.
    problems: Vec<String>,
    published: watch::Sender<Arc<Snapshot>>,
    scans: watch::Sender<u64>,
    writer: Writer,
    written: watch::Receiver<Written>,
    under_way: Option<JoinHandle<Scanned>>,
    /// Who waits for the scan that is under way.
    served: Vec<Wanted>,
    /// Who waits for the next one.
    waiting: Vec<Wanted>,
    /// Files may have changed: since when, and when to look.
    hinted: Option<(Instant, Instant)>,
    /// When to look without a hint.
    next_look: Instant,
}

/// Starts the owner with what its file says.
pub(super) async fn spawn(
    config: RegistryConfig,
    hints: Hints,
    read: Arc<ReadFacts>,
) -> RegistryHandle {
    let (file, tiers) = (config.file.clone(), config.tiers);
    let (stored, refusal) = match blocking(move || store::read(&file, &tiers)).await {
        Ok(Ok(stored)) => (stored.unwrap_or_default(), None),
        Ok(Err(newer)) => (Stored::default(), Some(newer.to_string())),
        Err(error) => (Stored::default(), Some(error.to_string())),
    };
    if let Some(refusal) = &refusal {
        tracing::warn!("{refusal}; what is known of the models is kept in memory only");
    }
    let writer = Writer::spawn(config.file.clone(), refusal);
    let snapshot = Snapshot {
        revision: 1,
        scanned_at: stored.scanned_at,
        models: stored.models,
        problems: writer.written().borrow().problem.iter().cloned().collect(),
        scan_paths: paths(&config),
        unsettled: BTreeSet::new(),
        names: OnceLock::new(),
    };
    let (requests, inbox) = mpsc::channel(QUEUE);
    let (config, followed) = watch::channel(config);
    let (published, snapshot) = watch::channel(Arc::new(snapshot));
    let (scans, scanned) = watch::channel(0);
    let written = writer.written();
    let owner = Owner {
        config: followed,
        scanner: Scanner::new(read),
        watches: Watches::new(hints),
        earlier: Arc::new(Earlier {
            known: stored.files,
            settling: HashMap::new(),
        }),
        excluded: stored.excluded,
        problems: Vec::new(),
        published,
        scans,
        written: written.clone(),
        writer,
        under_way: None,
        served: Vec::new(),
        waiting: Vec::new(),
        hinted: None,
        next_look: Instant::now(),
    };
    tokio::spawn(owner.run(inbox));
    RegistryHandle {
        requests,
        config: Arc::new(config),
        snapshot,
        scans: scanned,
        written,
    }
}

fn paths(config: &RegistryConfig) -> Vec<PathBuf> {
    let paths = config.scan_paths.iter();
    paths.map(|scan| scan.path.clone()).collect()
}

impl Owner {
    async fn run(mut self, mut inbox: mpsc::Receiver<Request>) {
        loop {
            let is_due = self.under_way.is_none();
            let hinted = self.hinted.map(|(_, look)| look);
            let next_look = hinted.map_or(self.next_look, |look| look.min(self.next_look));
            // Each arm is cancel-safe: a request or a hint that was not taken is still there, and
            // the look under way goes on.
            tokio::select! {
                request = inbox.recv() => match request {
                    Some(request) => self.serve(request),
                    None => return,
                },
                Ok(()) = self.config.changed() => self.next_look = Instant::now(),
                Ok(()) = self.written.changed() => self.republish(),
                scanned = end_of(&mut self.under_way) => self.take_in(scanned),
                () = self.watches.changed() => self.hint(Instant::now()),
                () = tokio::time::sleep_until(next_look), if is_due => self.look(),
            }
        }
    }

    /// Puts off the look until files are left alone, but not for long.
    fn hint(&mut self, now: Instant) {
        let first = self.hinted.map_or(now, |(first, _)| first);
        self.hinted = Some((first, (now + QUIET).min(first + LATEST)));
    }

    fn serve(&mut self, request: Request) {
        match request {
            // Nobody may have waited for the answers.
            Request::Set(name, change, reply) => drop(reply.send(self.set(&name, &change))),
            Request::Delete(name, reply) => drop(reply.send(self.delete(&name))),
            Request::Scan(wanted) if self.waiting.len() >= QUEUE => wanted.refuse(),
            Request::Scan(wanted) => {
                self.waiting.push(wanted);
                self.next_look = Instant::now();
            }
        }
    }

    /// Begins a scan.
    fn look(&mut self) {
        let config = self.config.borrow_and_update().clone();
        let scan = self.scanner.scan(&config.scan_paths, self.earlier.clone());
        self.served.append(&mut self.waiting);
        self.hinted = None;
        self.next_look = Instant::now() + LOOK_SELDOM;
        self.under_way = Some(tokio::spawn(scan));
    }

    /// Takes in what a scan brought, and answers those who waited for it.
    fn take_in(&mut self, scanned: Result<Scanned, JoinError>) {
        self.under_way = None;
        let served = std::mem::take(&mut self.served);
        let scanned = match scanned {
            Ok(scanned) => scanned,
            Err(error) => {
                self.next_look = Instant::now() + LOOK_ANYWAY;
                return tracing::error!("cannot look for models: {error}");
            }
        };
        let snapshot = self.published.borrow().clone();
        let known = &snapshot.models;
        let paths: HashSet<&Path> = known.values().map(|model| model.path.as_path()).collect();
        let sighting = choose(&scanned.looks, |path| paths.contains(path));
        let mut admission = Admission::new(known, &scanned.looks, &sighting, &mut self.excluded);
        let admitted: Vec<_> = served
            .into_iter()
            .map(|wanted| admission.admit(wanted))
            .collect();
        let chosen = admission.chosen;
        let left = sighting.left.clone();
        let mut merged = merge(Input {
            known,
            looks: &scanned.looks,
            sighting,
            device: &|path| self.earlier.known.get(path).map(|file| file.device),
            excluded: &self.excluded,
            chosen: &chosen,
            tiers: &self.config.borrow().tiers,
            scanned_at: snapshot.scanned_at,
            now: Timestamp::now(),
        });
        let has_new_folders = self.watches.follow(&scanned.looks);
        self.schedule(&scanned, &merged, has_new_folders);
        self.problems = problems(&scanned.looks, &merged.held, &left);
        self.problems.extend(self.watches.problem());
        merged.report.problems.clone_from(&self.problems);
        let report = Arc::new(std::mem::take(&mut merged.report));
        let number = self.keep(scanned, merged, &report);
        self.scans.send_modify(|scans| *scans += 1);
        for admitted in admitted {
            admitted.answer(&report, &self.published.borrow().models, number);
        }
    }

    /// When to look again.
    fn schedule(&mut self, scanned: &Scanned, merged: &Merged, has_new_folders: bool) {
        let now = Instant::now();
        let is_blocked = |look: &Look| !look.is_missing && !look.blocked.is_empty();
        let may_miss = scanned
            .looks
            .iter()
            .any(|look| look.is_remote || is_blocked(look))
            || !merged.held.is_empty()
            || self.watches.problem().is_some();
        let anyway = if may_miss { LOOK_ANYWAY } else { LOOK_SELDOM };
        let settling = scanned
            .settling
            .values()
            .map(|settling| settling.look_again);
        let soon = has_new_folders.then_some(now + QUIET);
        let looks = settling.chain(soon).chain([now + anyway]);
        self.next_look = looks.fold(self.next_look, Instant::min);
    }

    /// Remembers and publishes what a scan brought. Returns the number of the newest state to be
    /// written.
    fn keep(&mut self, scanned: Scanned, merged: Merged, report: &ScanReport) -> u64 {
        let known = self.known_files(&scanned.looks, &merged.models);
        let has_new_files = !Arc::ptr_eq(&known, &self.earlier.known);
        self.excluded = merged.excluded;
        self.earlier = Arc::new(Earlier {
            known,
            settling: scanned.settling,
        });
        self.publish(merged.models, Some(Timestamp::now()), merged.is_news);
        if merged.is_news {
            tracing::info!(
                total = report.total,
                added = report.added.len(),
                removed = report.removed.len(),
                changed = report.changed.len(),
                "the models changed"
            );
        }
        match merged.is_news || has_new_files {
            true => self.save(),
            false => self.writer.newest(),
        }
    }

    /// What is known of files now: of those that were seen, and of those of models that were not. If that
    /// is what was known, it is not made anew.
    fn known_files(&self, looks: &[Look], models: &Models) -> Arc<HashMap<PathBuf, KnownFile>> {
        let files = || looks.iter().flat_map(|look| &look.files);
        let is_known = |file: &SeenFile| {
            let known = self.earlier.known.get(&file.path);
            known.is_some_and(|known| known.is(file))
        };
        let all_there = models.values().all(|model| model.is_available());
        if all_there && files().count() == self.earlier.known.len() && files().all(is_known) {
            return self.earlier.known.clone();
        }
        let mut known = HashMap::new();
        for file in files() {
            let header = match &file.header {
                Header::Facts(facts) => Ok(facts.clone()),
                Header::Broken(why) => Err(why.clone()),
                Header::Unsettled => continue,
            };
            let file_now = KnownFile {
                stamp: file.stamp,
                device: file.place.device,
                header,
            };
            known.insert(file.path.clone(), file_now);
        }
        for model in models.values() {
            for path in model.files.iter().chain(&model.mmproj) {
                let Some(file) = self.earlier.known.get(path) else {
                    continue;
                };
                if !known.contains_key(path) {
                    known.insert(path.clone(), file.clone());
                }
            }
        }
        Arc::new(known)
    }

    fn publish(&mut self, models: Models, scanned_at: Option<Timestamp>, is_news: bool) {
        let unwritten = self.written.borrow().problem.clone();
        let problems: Vec<_> = self.problems.iter().cloned().chain(unwritten).collect();
        let scan_paths = paths(&self.config.borrow());
        let unsettled = self.earlier.settling.keys().cloned().collect();
        self.published.send_if_modified(|snapshot| {
            let is_news = is_news
                || problems != snapshot.problems
                || scan_paths != snapshot.scan_paths
                || unsettled != snapshot.unsettled
                || scanned_at.is_some() != snapshot.scanned_at.is_some();
            let new = problems
                .iter()
                .filter(|line| !snapshot.problems.contains(line));
            new.for_each(|line| tracing::warn!("{line}"));
            *snapshot = Arc::new(Snapshot {
                revision: snapshot.revision + u64::from(is_news),
                scanned_at,
                models,
                problems,
                scan_paths,
                unsettled,
                names: OnceLock::new(),
            });
            is_news
        });
    }

    /// Publishes whether the file can be written.
    fn republish(&mut self) {
        let snapshot = self.published.borrow().clone();
        self.publish(snapshot.models.clone(), snapshot.scanned_at, false);
    }

    fn save(&self) -> u64 {
        let snapshot = self.published.borrow().clone();
        self.writer.write(Stored {
            scanned_at: snapshot.scanned_at,
            models: snapshot.models.clone(),
            excluded: self.excluded.clone(),
            files: self.earlier.known.clone(),
        })
    }

    fn set(
        &mut self,
        name: &str,
        change: &OverridesChange,
    ) -> Result<(Arc<Model>, u64), RegistryError> {
        let mut model = Model::clone(&*self.find(name)?);
        model.overrides = model.overrides.with(change);
        let model = Arc::new(model);
        let snapshot = self.published.borrow().clone();
        let mut models = snapshot.models.clone();
        models.insert(model.id.clone(), model.clone());
        self.publish(models, snapshot.scanned_at, true);
        Ok((model, self.save()))
    }

    fn delete(&mut self, name: &str) -> Result<u64, RegistryError> {
        let model = self.find(name)?;
        let snapshot = self.published.borrow().clone();
        let mut models = snapshot.models.clone();
        models.remove(&model.id);
        self.excluded.insert(model.path.clone());
        self.publish(models, snapshot.scanned_at, true);
        Ok(self.save())
    }

    fn find(&self, name: &str) -> Result<Arc<Model>, NotFound> {
        let snapshot = self.published.borrow().clone();
        match snapshot.find(name, Path::new("/"))? {
            Found::Model(model) => Ok(model),
            Found::Path(_) => Err(NotFound::NoSuchModel {
                name: name.to_owned(),
                near: Vec::new(),
                searched: snapshot.scan_paths.clone(),
            }),
        }
    }
}

/// Waits for the end of a scan; for ever if there is none.
async fn end_of(under_way: &mut Option<JoinHandle<Scanned>>) -> Result<Scanned, JoinError> {
    match under_way {
        Some(scan) => scan.await,
        None => std::future::pending().await,
    }
}
