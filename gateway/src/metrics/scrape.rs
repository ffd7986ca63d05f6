//! One scrape: everything that is counted, as Prometheus reads it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use magi_proto::v1;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::happenings::Happening;
use super::timing::Timing;
use super::upstream::Sample;
use super::{Metrics, Outcome};
use crate::table::{Link, Server, Table};

/// The states of a server, each with its word.
const STATES: [(v1::ServerState, &str); 7] = [
    (v1::ServerState::Stopped, "stopped"),
    (v1::ServerState::Starting, "starting"),
    (v1::ServerState::Ready, "ready"),
    (v1::ServerState::Draining, "draining"),
    (v1::ServerState::Stopping, "stopping"),
    (v1::ServerState::Backoff, "backoff"),
    (v1::ServerState::Failed, "failed"),
];

/// What a scrape is made of.
#[derive(Debug)]
pub(super) struct Scrape {
    pub(super) metrics: Arc<Metrics>,
    pub(super) table: Arc<Table>,
    /// The servers as magid sees them. Empty while it is away.
    pub(super) servers: Vec<v1::Server>,
    /// What the servers tell themselves.
    pub(super) upstream: BTreeMap<String, Arc<[Sample]>>,
}

/// Labels of one number: those of its server, and its own.
type Labels<'a> = Vec<(&'a str, &'a str)>;

impl Scrape {
    /// The whole answer.
    pub(super) fn write(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut answer = String::new();
        text::encode(&mut answer, &registry)?;
        Ok(answer)
    }

    fn requests(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = counter(encoder, "magi_requests", "Requests that ended.")?;
        for (labels, server) in self.servers() {
            let numbers = server.traffic.counts.requests();
            for (outcome, number) in Outcome::ALL.iter().zip(numbers) {
                let labels = with(&labels, "outcome", outcome.word());
                count(&mut family, &labels, number)?;
            }
        }
        let help = "Requests that ended before it was clear which server they were for.";
        let mut family = counter(encoder, "magi_refusals", help)?;
        for (reason, number) in self.metrics.refusals() {
            count(&mut family, &vec![("reason", reason.as_str())], number)?;
        }
        self.count_each(
            encoder,
            "magi_prompt_tokens",
            "Tokens of prompts, as servers tell.",
            |server| server.traffic.counts.token_counts().0,
        )?;
        self.count_each(
            encoder,
            "magi_tokens",
            "Tokens of answers, as servers tell.",
            |server| server.traffic.counts.token_counts().1,
        )?;
        self.timings(encoder)
    }

    fn timings(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        type Pick = fn(&Server) -> &Timing;
        let timings: [(&str, &str, Pick); 3] = [
            (
                "magi_request_duration_seconds",
                "From the coming of a request to its end.",
                |server| &server.traffic.counts.took,
            ),
            (
                "magi_queue_wait_seconds",
                "From the coming of a request until it was forwarded.",
                |server| &server.traffic.counts.waited,
            ),
            (
                "magi_time_to_first_byte_seconds",
                "From the coming of a request to the first byte of the answer's body.",
                |server| &server.traffic.counts.first_byte,
            ),
        ];
        for (name, help, timing) in timings {
            let kind = MetricType::Histogram;
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (labels, server) in self.servers() {
                timing(server).encode(&mut family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn now(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests that were forwarded and are not answered to their end.";
        self.tell_each(encoder, "magi_requests_in_flight", help, |server| {
            let current = server.current.as_ref();
            Some(f64::from(current.map_or(0, |current| current.in_flight())))
        })?;
        let help = "Requests that wait for a place or for a server to get ready.";
        self.tell_each(encoder, "magi_requests_waiting", help, |server| {
            Some(f64::from(server.traffic.waiting()))
        })?;
        let help = "Tokens per second of the answer that ended last.";
        self.tell_each(encoder, "magi_tokens_per_second", help, |server| {
            server.traffic.tokens_per_second()
        })?;
        let help = "1 for the state that a server is in.";
        let mut family = gauge(encoder, "magi_server_state", help)?;
        for (labels, server) in self.servers() {
            for (state, word) in STATES {
                let is_in = server.route.state() == state;
                let labels = with(&labels, "state", word);
                tell(&mut family, &labels, f64::from(u8::from(is_in)))?;
            }
        }
        let mut family = gauge(encoder, "magi_magid_up", "Whether magid is there.")?;
        let is_up = match self.table.link {
            Link::Up => 1.0,
            Link::Lost => 0.0,
        };
        family.encode_gauge(&is_up)
    }

    fn magid(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Automatic restarts since the last start that was asked for.";
        self.tell_known(encoder, "magi_server_restarts", help, |server| {
            Some(f64::from(server.restarts))
        })?;
        let help = "Main memory that a server has resident.";
        self.tell_known(encoder, "magi_server_memory_bytes", help, |server| {
            server.memory.map(|bytes| bytes as f64)
        })?;
        let help = "Main memory that is, or would be, reserved for a server.";
        self.tell_known(encoder, "magi_server_memory_needed_bytes", help, |server| {
            server.memory_needed.map(|bytes| bytes as f64)
        })?;
        let happenings = [
            (Happening::Load, "magi_loads", "", "Servers that got ready."),
            (
                Happening::Exit,
                "magi_exits",
                "class",
                "Processes that ended.",
            ),
            (
                Happening::Restart,
                "magi_restarts",
                "class",
                "Automatic restarts, by what ended the server before.",
            ),
            (
                Happening::Unload,
                "magi_unloads",
                "reason",
                "Servers that were stopped since nobody asked for them, or to make room.",
            ),
        ];
        for (happening, name, label, help) in happenings {
            let mut family = counter(encoder, name, help)?;
            for (labels, server) in self.servers() {
                let name = &server.route.server;
                for (value, number) in self.metrics.happenings.of(name, happening) {
                    let labels = match label {
                        "" => labels.clone(),
                        label => with(&labels, label, &value),
                    };
                    count(&mut family, &labels, number)?;
                }
            }
        }
        Ok(())
    }

    /// What the servers tell, each family with all servers in it.
    fn upstream(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut families: BTreeMap<&str, Vec<(&str, &Sample)>> = BTreeMap::new();
        for (server, samples) in &self.upstream {
            for sample in samples.iter() {
                families
                    .entry(&sample.name)
                    .or_default()
                    .push((server, sample));
            }
        }
        for (name, members) in families {
            let Some((_, first)) = members.first() else {
                continue;
            };
            let mut family = match first.is_counter {
                // The encoder adds it again.
                true => counter(encoder, name.trim_end_matches("_total"), &first.help)?,
                false => gauge(encoder, name, &first.help)?,
            };
            for (server, sample) in &members {
                let Some(server) = self.table.servers.get(*server) else {
                    continue;
                };
                let labels = labels(server);
                let mut member = family.encode_family(&labels)?;
                match first.is_counter {
                    true => {
                        member.encode_counter::<NoLabelSet, f64, f64>(&sample.value, None)?;
                    }
                    false => member.encode_gauge(&sample.value)?,
                }
            }
        }
        Ok(())
    }

    fn servers(&self) -> impl Iterator<Item = (Labels<'_>, &Server)> {
        let servers = self.table.servers.values();
        servers.map(|server| (labels(server), &**server))
    }

    fn count_each(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        number: impl Fn(&Server) -> u64,
    ) -> fmt::Result {
        let mut family = counter(encoder, name, help)?;
        for (labels, server) in self.servers() {
            count(&mut family, &labels, number(server))?;
        }
        Ok(())
    }

    fn tell_each(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        value: impl Fn(&Server) -> Option<f64>,
    ) -> fmt::Result {
        let mut family = gauge(encoder, name, help)?;
        for (labels, server) in self.servers() {
            if let Some(value) = value(server) {
                tell(&mut family, &labels, value)?;
            }
        }
        Ok(())
    }

    fn tell_known(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        value: impl Fn(&v1::Server) -> Option<f64>,
    ) -> fmt::Result {
        let mut family = gauge(encoder, name, help)?;
        for known in &self.servers {
            let server = self.table.servers.get(&known.name);
            if let (Some(server), Some(value)) = (server, value(known)) {
                tell(&mut family, &labels(server), value)?;
            }
        }
        Ok(())
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.requests(&mut encoder)?;
        self.now(&mut encoder)?;
        self.magid(&mut encoder)?;
        self.upstream(&mut encoder)
    }
}

fn labels(server: &Server) -> Labels<'_> {
    let model = server.route.model_id.as_deref();
    vec![
        ("server", server.route.server.as_str()),
        ("model", model.unwrap_or_default()),
    ]
}

fn with<'a>(labels: &Labels<'a>, name: &'a str, value: &'a str) -> Labels<'a> {
    let mut labels = labels.clone();
    labels.push((name, value));
    labels
}

fn counter<'a>(
    encoder: &'a mut DescriptorEncoder<'_>,
    name: &'a str,
    help: &str,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    encoder.encode_descriptor(name, help, None, MetricType::Counter)
}

fn gauge<'a>(
    encoder: &'a mut DescriptorEncoder<'_>,
    name: &'a str,
    help: &str,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)
}

fn count(family: &mut MetricEncoder<'_>, labels: &Labels<'_>, number: u64) -> fmt::Result {
    let mut member = family.encode_family(labels)?;
    member.encode_counter::<NoLabelSet, u64, f64>(&number, None)
}

fn tell(family: &mut MetricEncoder<'_>, labels: &Labels<'_>, value: f64) -> fmt::Result {
    family.encode_family(labels)?.encode_gauge(&value)
}
