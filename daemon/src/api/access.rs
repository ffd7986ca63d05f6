//! What may be done over which socket.
//!
//! Whoever may open magid.sock may do everything. gateway.sock is for gateways, which talk to anybody:
//! over it only what it takes to serve requests is done, and what changes nothing, unless `[control]
//! gateway` says more. The key is looked at for each request, so a change of it counts at once.

use std::future::ready;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::watch;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::errors;
use crate::config::GatewayRights;
use crate::supervisor::context::Rules;

/// What a method does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// It serves requests.
    Serves,
    /// It changes nothing.
    Reads,
    /// It changes something.
    Changes,
}

/// What each method of `magi.v1` does.
#[rustfmt::skip]
const METHODS: &[(&str, Effect)] = &[
    ("DaemonService/GetStatus", Effect::Reads),
    ("DaemonService/GetVersion", Effect::Reads),
    ("DaemonService/Reload", Effect::Changes),
    ("DaemonService/Stop", Effect::Changes),
    ("DaemonService/WatchEvents", Effect::Reads),
    ("GatewayService/Attach", Effect::Serves),
    ("GatewayService/EnsureReady", Effect::Serves),
    ("GatewayService/WatchRequests", Effect::Reads),
    ("GenerationService/DiffGenerations", Effect::Reads),
    ("GenerationService/GetGeneration", Effect::Reads),
    ("GenerationService/ListGenerations", Effect::Reads),
    ("GenerationService/PruneGenerations", Effect::Changes),
    ("GenerationService/RestoreFiles", Effect::Changes),
    ("GenerationService/Rollback", Effect::Changes),
    ("GenerationService/VerifyGenerations", Effect::Reads),
    ("ModelService/CreateModel", Effect::Changes),
    ("ModelService/DeleteModel", Effect::Changes),
    ("ModelService/GetModel", Effect::Reads),
    ("ModelService/ListModels", Effect::Reads),
    ("ModelService/RescanModels", Effect::Changes),
    ("ModelService/SetModel", Effect::Changes),
    ("ProfileService/ActivateProfile", Effect::Changes),
    ("ProfileService/CreateProfile", Effect::Changes),
    ("ProfileService/DeleteProfile", Effect::Changes),
    ("ProfileService/GetProfile", Effect::Reads),
    ("ProfileService/ListProfiles", Effect::Reads),
    ("ServerService/ExplainServer", Effect::Reads),
    ("ServerService/ListServers", Effect::Reads),
    ("ServerService/RestartServers", Effect::Changes),
    ("ServerService/StartServers", Effect::Changes),
    ("ServerService/StopServers", Effect::Changes),
    ("ServerService/TailLogs", Effect::Reads),
    ("ServerService/WatchServers", Effect::Reads),
];

/// The package that the table is about. Others are health and reflection, which change nothing.
const PACKAGE: &str = "magi.v1.";

/// Whose socket a request came over.
#[derive(Clone, Debug)]
pub enum Access {
    /// That of operators: everything may be done.
    Control,
    /// That of gateways.
    Gateway {
        /// What they may do.
        rules: watch::Receiver<Rules>,
        /// The file that says so.
        config_file: PathBuf,
    },
}

impl Access {
    /// Why what is at this path may not be done. None: it may.
    fn refusal(&self, path: &str) -> Option<Status> {
        let Self::Gateway { rules, config_file } = self else {
            return None;
        };
        let method = path.trim_start_matches('/').strip_prefix(PACKAGE)?;
        let rights = rules.borrow().gateway;
        match rights {
            GatewayRights::Administer => None,
            GatewayRights::Serve => match effect(method) {
                Effect::Serves | Effect::Reads => None,
                Effect::Changes => Some(errors::status(
                    Code::PermissionDenied,
                    "control-denied",
                    format!(
                        "cannot do that over gateway.sock: gateways may serve requests and read; \
                         to permit it, write `gateway = \"administer\"` under [control] in {}",
                        config_file.display()
                    ),
                )),
            },
        }
    }
}

/// Of a method that is not known the worst is assumed.
fn effect(method: &str) -> Effect {
    let found = METHODS.iter().find(|(name, _)| *name == method);
    found.map_or(Effect::Changes, |(_, effect)| *effect)
}

impl<S> Layer<S> for Access {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded {
            access: self.clone(),
            inner,
        }
    }
}

/// A service of which only that is done which may be done.
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    access: Access,
    inner: S,
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match self.access.refusal(request.uri().path()) {
            Some(status) => Box::pin(ready(Ok(status.into_http()))),
            None => Box::pin(self.inner.call(request)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn every_method_of_every_service_is_in_the_table() {
        let set = FileDescriptorSet::decode(magi_proto::FILE_DESCRIPTOR_SET).unwrap();
        let files = set.file.iter().filter(|file| file.package() == "magi.v1");
        let services = files.flat_map(|file| &file.service);
        let methods: BTreeSet<String> = services
            .flat_map(|service| {
                let methods = service.method.iter();
                methods.map(|method| format!("{}/{}", service.name(), method.name()))
            })
            .collect();
        let table = METHODS.iter().map(|(name, _)| (*name).to_owned());
        assert_eq!(table.collect::<BTreeSet<_>>(), methods);
        assert_eq!(METHODS.len(), methods.len());
    }

    #[test]
    fn a_method_that_nobody_knows_is_taken_for_a_change() {
        assert_eq!(effect("ServerService/Explode"), Effect::Changes);
    }
}
