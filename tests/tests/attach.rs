//! What magid and a gateway say to each other. The gateway is played by the test.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use magi_proto::connect;
use magi_proto::v1::attach_request::Message as Said;
use magi_proto::v1::attach_response::Message as Told;
use magi_proto::v1::gateway_service_client::GatewayServiceClient;
use magi_proto::v1::server_service_client::ServerServiceClient;
use magi_proto::v1::{
    Activity, AttachRequest, AttachResponse, Busy, Drain, Drained, FinishedRequest,
    FinishedRequests, Hello, ListServersRequest, Route, ServerState, StopServersRequest,
    WatchRequestsRequest,
};
use magi_tests::harness::{Fleet, Server, chat, chat_with, llama_server};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};
use tonic_types::StatusExt;

/// How long magid may take to say something.
const DEADLINE: Duration = Duration::from_secs(20);

/// A gateway, as magid sees it.
struct Gateway {
    say: mpsc::Sender<AttachRequest>,
    told: Streaming<AttachResponse>,
}

impl Gateway {
    async fn open(fleet: &Fleet) -> Self {
        let channel = connect(Some(&fleet.socket())).await.unwrap();
        let (say, said) = mpsc::channel(16);
        let told = GatewayServiceClient::new(channel)
            .attach(ReceiverStream::new(said))
            .await
            .unwrap()
            .into_inner();
        Self { say, told }
    }

    async fn attach(fleet: &Fleet) -> Self {
        let gateway = Self::open(fleet).await;
        gateway
            .say(Said::Hello(Hello {
                gateway_id: "test".to_owned(),
                version: "0".to_owned(),
                pid: std::process::id(),
                addresses: vec!["http://127.0.0.1:1".to_owned()],
            }))
            .await;
        gateway
    }

    async fn say(&self, message: Said) {
        let message = Some(message);
        self.say.send(AttachRequest { message }).await.unwrap();
    }

    async fn next(&mut self) -> Told {
        let message = timeout(DEADLINE, self.told.message()).await;
        let message = message.expect("magid says something").unwrap();
        message.unwrap().message.unwrap()
    }

    /// The newest route of a server that satisfies `wanted`. Nothing else may be told meanwhile.
    async fn route(&mut self, server: &str, wanted: impl Fn(&Route) -> bool) -> Route {
        loop {
            let Told::Routes(routes) = self.next().await else {
                panic!("it was told something else than routes");
            };
            let mut routes = routes.routes.into_iter();
            let route = routes.find(|route| route.server == server && wanted(route));
            if let Some(route) = route {
                return route;
            }
        }
    }

    /// The next drain, and the last route of the server before it.
    async fn drain(&mut self) -> (Drain, Option<Route>) {
        let mut last = None;
        loop {
            match self.next().await {
                Told::Routes(routes) => last = routes.routes.into_iter().last().or(last),
                Told::Drain(drain) => return (drain, last),
                Told::DrainOver(over) => panic!("there was no drain to be over: {over:?}"),
            }
        }
    }

    async fn drained(&self, drain: &Drain) {
        let Drain {
            server,
            incarnation,
            ..
        } = drain.clone();
        self.say(Said::Drained(Drained {
            server,
            incarnation,
        }))
        .await;
    }

    async fn in_flight(&self, server: &str, in_flight: u32) {
        self.say(Said::Activity(Activity {
            server: server.to_owned(),
            incarnation: Some(1),
            in_flight,
            tokens_per_second: Some(12.5),
            ..Activity::default()
        }))
        .await;
    }
}

fn is_ready(route: &Route) -> bool {
    route.state() == ServerState::Ready
}

async fn fleet() -> Fleet {
    let mut fleet = Fleet::new();
    fleet.save(&[Server::faulty("alpha").set("aliases", vec!["first"])]);
    fleet.start().await;
    fleet.ready("alpha").await;
    fleet
}

#[tokio::test]
async fn a_gateway_is_told_where_servers_are() {
    let mut fleet = fleet().await;
    let mut gateway = Gateway::attach(&fleet).await;
    let Told::Routes(first) = gateway.next().await else {
        panic!("routes come first");
    };
    assert!(first.snapshot);
    let [route] = &first.routes[..] else {
        panic!("not one route: {first:?}");
    };
    let alpha = fleet.ready("alpha").await;
    assert_eq!(route.endpoint, alpha.endpoint);
    assert_eq!(route.incarnation, alpha.incarnation);
    assert_eq!(route.aliases, ["first"]);
    assert_eq!(route.max_in_flight, 4);

    fleet.save(&[Server::faulty("alpha"), Server::faulty("beta")]);
    fleet.magictl(&["reload"]).await.expect_code(0);
    let beta = gateway.route("beta", is_ready).await;
    assert!(beta.endpoint.is_some());
    let status = fleet.status().await;
    assert_eq!(status.gateways[0].id, "test");
}

#[tokio::test]
async fn nobody_is_attached_without_a_hello() {
    let fleet = fleet().await;
    let mut gateway = Gateway::open(&fleet).await;
    gateway.in_flight("alpha", 1).await;
    let refused = gateway.told.message().await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let reason = refused.get_details_error_info().unwrap().reason;
    assert_eq!(reason, "invalid-argument");
}

#[tokio::test]
async fn no_server_is_stopped_under_a_request_of_a_gateway() {
    let mut fleet = fleet().await;
    let mut gateway = Gateway::attach(&fleet).await;
    gateway.route("alpha", is_ready).await;
    let stop = fleet.magictl_command(&["stop", "alpha"]).spawn().unwrap();
    let (drain, route) = gateway.drain().await;
    assert_eq!(
        (drain.server.as_str(), drain.incarnation, drain.only_if_idle),
        ("alpha", 1, false)
    );
    // It knew before that requests that come now have to wait.
    assert_eq!(route.unwrap().state(), ServerState::Draining);
    // As long as it likes.
    let held = fleet.state("alpha", ServerState::Draining).await;
    assert!(held.pid.is_some());
    gateway.drained(&drain).await;
    fleet.state("alpha", ServerState::Stopped).await;
    assert!(stop.wait_with_output().await.unwrap().status.success());
}

#[tokio::test]
async fn a_gateway_is_told_that_a_stop_is_called_off() {
    let fleet = fleet().await;
    let mut gateway = Gateway::attach(&fleet).await;
    gateway.route("alpha", is_ready).await;
    fleet
        .magictl(&["stop", "alpha", "--no-wait"])
        .await
        .expect_code(0);
    let (drain, _) = gateway.drain().await;
    fleet.magictl(&["start", "alpha"]).await.expect_code(0);
    let route = gateway.route("alpha", is_ready).await;
    assert_eq!(route.incarnation, Some(drain.incarnation));
    let over = gateway.next().await;
    assert!(
        matches!(&over, Told::DrainOver(over) if over.incarnation == drain.incarnation),
        "{over:?}"
    );
}

#[tokio::test]
async fn a_gateway_that_is_gone_holds_up_nobody() {
    let mut fleet = fleet().await;
    let mut gateway = Gateway::attach(&fleet).await;
    gateway.route("alpha", is_ready).await;
    gateway.in_flight("alpha", 3).await;
    let status = fleet
        .wait_status("three requests are in flight", |status| {
            status.servers[0].in_flight == Some(3)
        })
        .await;
    assert_eq!(status.servers[0].tokens_per_second, Some(12.5));
    drop(gateway);
    fleet.magictl(&["stop", "alpha"]).await.expect_code(0);
    fleet.state("alpha", ServerState::Stopped).await;
    let status = fleet.status().await;
    assert!(status.gateways.is_empty());
    assert_eq!(status.servers[0].in_flight, None);
}

#[tokio::test]
async fn the_way_to_a_successor_is_told_before_its_predecessor_is_drained() {
    let mut fleet = fleet().await;
    let mut gateway = Gateway::attach(&fleet).await;
    gateway.route("alpha", is_ready).await;
    fleet.save(&[Server::faulty("alpha").set("ctx_size", 2048)]);
    fleet.magictl(&["reload"]).await.expect_code(0);
    let (drain, route) = gateway.drain().await;
    assert_eq!(drain.incarnation, 1);
    let route = route.unwrap();
    assert_eq!((route.incarnation, is_ready(&route)), (Some(2), true));
    gateway.drained(&drain).await;
    fleet
        .event("the predecessor is stopped", |event| {
            event.incarnation == Some(1) && event.kind == "server-exited"
        })
        .await;
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_changes_nothing() {
    let mut fleet = fleet().await;
    let mut gateway = Gateway::attach(&fleet).await;
    gateway.route("alpha", is_ready).await;
    for (server, incarnation) in [("alpha", 1), ("nobody", 7), ("not a name", 0)] {
        let server = server.to_owned();
        gateway
            .say(Said::Busy(Busy {
                server: server.clone(),
                incarnation,
            }))
            .await;
        gateway
            .say(Said::Drained(Drained {
                server,
                incarnation,
            }))
            .await;
    }
    fleet
        .magictl(&["stop", "alpha", "--no-wait"])
        .await
        .expect_code(0);
    let (drain, _) = gateway.drain().await;
    gateway.drained(&drain).await;
    fleet.state("alpha", ServerState::Stopped).await;
}

#[tokio::test]
async fn magid_ends_while_a_gateway_is_attached() {
    let mut fleet = fleet().await;
    let mut gateway = Gateway::attach(&fleet).await;
    gateway.route("alpha", is_ready).await;
    fleet.signal(nix::sys::signal::Signal::SIGTERM);
    let (drain, _) = gateway.drain().await;
    gateway.drained(&drain).await;
    assert!(fleet.ended().await.success());
    fleet.wait_no_processes().await;
}

#[tokio::test]
async fn finished_requests_are_told_to_who_watches_them() {
    let fleet = fleet().await;
    let gateway = Gateway::attach(&fleet).await;
    let finished = |id: &str| {
        Said::Finished(FinishedRequests {
            requests: vec![FinishedRequest {
                id: id.to_owned(),
                server: "alpha".to_owned(),
                status: 200,
                ..FinishedRequest::default()
            }],
            missed: 0,
        })
    };
    let channel = connect(Some(&fleet.socket())).await.unwrap();
    let mut watch = GatewayServiceClient::new(channel)
        .watch_requests(WatchRequestsRequest {
            follow: true,
            server: "alpha".to_owned(),
        })
        .await
        .unwrap()
        .into_inner();
    for id in ["one", "two"] {
        gateway.say(finished(id)).await;
        let message = timeout(DEADLINE, watch.message()).await.unwrap();
        assert_eq!(message.unwrap().unwrap().requests[0].id, id);
    }
}

#[tokio::test]
async fn gateway_sock_serves_and_reads_and_changes_nothing() {
    let mut fleet = fleet().await;
    let socket = fleet.path("run/gateway.sock");
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let channel = connect(Some(&socket)).await.unwrap();
    let mut servers = ServerServiceClient::new(channel);
    let stop = || StopServersRequest {
        names: vec!["alpha".to_owned()],
        wait: true,
        ..StopServersRequest::default()
    };
    let list = servers.list_servers(ListServersRequest::default()).await;
    assert_eq!(list.unwrap().into_inner().servers.len(), 1);
    let denied = servers.stop_servers(stop()).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    let reason = denied.get_details_error_info().unwrap().reason;
    assert_eq!(reason, "control-denied");
    let line = "write `gateway = \"administer\"` under [control] in ";
    assert!(denied.message().contains(line), "{}", denied.message());
    assert!(denied.message().contains("magid.toml"));
    fleet.ready("alpha").await;
    // The key counts from the next request on.
    fleet.set("control.gateway", "administer");
    fleet.magictl(&["reload"]).await.expect_code(0);
    servers.stop_servers(stop()).await.unwrap();
    fleet.state("alpha", ServerState::Stopped).await;
}

#[tokio::test]
async fn a_key_is_told_to_gateways_and_shown_nowhere() {
    let mut fleet = Fleet::new();
    fleet.set("llama_server.api_key", "auto");
    fleet.save(&[Server::faulty("alpha")]);
    fleet.start().await;
    let alpha = fleet.ready("alpha").await;
    let mut gateway = Gateway::attach(&fleet).await;
    let route = gateway.route("alpha", is_ready).await;
    let key = route.api_key.expect("a gateway is told the key");
    let environment = format!("/proc/{}/environ", alpha.pid.unwrap());
    let environment = std::fs::read_to_string(environment).unwrap();
    assert!(environment.contains(&format!("LLAMA_API_KEY={key}")));
    for command in [
        &["explain", "alpha"][..],
        &["status", "-o", "json"],
        &["events"],
        &["logs", "alpha"],
    ] {
        let shown = fleet.magictl(command).await.expect_code(0).all();
        assert!(!shown.contains(&key), "{command:?}: {shown}");
    }
    let mut folders = vec![fleet.dir().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else if let Ok(bytes) = std::fs::read(entry.path()) {
                let text = String::from_utf8_lossy(&bytes);
                assert!(!text.contains(&key), "{}", entry.path().display());
            }
        }
    }
}

#[tokio::test]
async fn a_survivor_is_not_ended_under_a_request_of_a_gateway() {
    let mut fleet = fleet().await;
    let before = fleet.ready("alpha").await;
    let mut gateway = Gateway::attach(&fleet).await;
    gateway.route("alpha", is_ready).await;
    let remembers = || std::fs::read_to_string(fleet.path("state/gateways.json"));
    while !remembers().is_ok_and(|text| text.contains("test")) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    fleet.kill().await;
    drop(gateway);
    fleet.start().await;
    let mut gateway = Gateway::attach(&fleet).await;
    let (drain, route) = gateway.drain().await;
    assert_eq!(drain.incarnation, 1);
    let route = route.unwrap();
    assert_eq!(route.state(), ServerState::Draining);
    assert_eq!(
        (route.reason.as_str(), route.endpoint),
        ("survived", before.endpoint.clone())
    );
    let held = fleet.state("alpha", ServerState::Draining).await;
    assert_eq!(held.pid, before.pid);
    gateway.drained(&drain).await;
    let after = fleet.ready_again(&before).await;
    assert_ne!(after.pid, before.pid);
}

#[tokio::test]
async fn a_gateway_that_does_not_come_back_is_waited_for_but_not_for_long() {
    let mut fleet = fleet().await;
    let before = fleet.ready("alpha").await;
    let mut gateway = Gateway::attach(&fleet).await;
    gateway.route("alpha", is_ready).await;
    let remembers = || std::fs::read_to_string(fleet.path("state/gateways.json"));
    while !remembers().is_ok_and(|text| text.contains("test")) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    fleet.kill().await;
    drop(gateway);
    fleet.start().await;
    fleet.ready_again(&before).await;
}

#[tokio::test]
async fn a_server_with_a_key_answers_nobody_but_gateways() {
    let Some(program) = llama_server() else {
        return;
    };
    let mut fleet = Fleet::new();
    fleet.set("llama_server.api_key", "auto");
    fleet.save(&[Server::real("alpha", &program).set("ctx_size", 1024)]);
    fleet.start().await;
    let alpha = fleet.ready("alpha").await;
    let gateway = magi_tests::harness::Gateway::start(&fleet).await;
    let said = chat_with(&gateway.url(), "alpha").await.unwrap();
    assert!(said.contains("alpha"), "{said}");
    let refused = chat(&alpha.endpoint.clone().unwrap()).await.unwrap_err();
    assert!(refused.to_string().contains("401"), "{refused}");
    // magid itself asks with the key whether anything is in flight.
    fleet.magictl(&["stop", "alpha"]).await.expect_code(0);
    let stopped = fleet.state("alpha", ServerState::Stopped).await;
    let exit = stopped.last_exit.unwrap();
    assert_eq!((exit.class.as_str(), exit.signal), ("requested", None));
}
