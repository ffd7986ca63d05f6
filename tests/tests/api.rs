//! The API itself, as any gRPC client meets it.

use std::os::unix::fs::PermissionsExt;

use magi_proto::connect;
use magi_proto::v1::{StartServersRequest, StopServersRequest, TailLogsRequest};
use magi_tests::harness::{Fleet, Server};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_types::StatusExt;

async fn fleet() -> Fleet {
    let mut fleet = Fleet::new();
    fleet.save(&[Server::faulty("alpha")]);
    fleet.start().await;
    fleet.ready("alpha").await;
    fleet
}

#[tokio::test]
async fn health_and_reflection_are_on() {
    let fleet = fleet().await;
    let channel = connect(Some(&fleet.socket())).await.unwrap();
    let service = "magi.v1.ServerService".to_owned();
    let health = HealthClient::new(channel.clone())
        .check(HealthCheckRequest { service })
        .await;
    assert_eq!(health.unwrap().into_inner().status, 1);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(tokio_stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("no list: {answer:?}");
    };
    let names: Vec<_> = list
        .service
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    assert!(names.contains(&"magi.v1.DaemonService"), "{names:?}");
}

#[tokio::test]
async fn errors_carry_a_stable_reason() {
    let fleet = fleet().await;
    let reason = |status: &tonic::Status| status.get_details_error_info().unwrap().reason;
    let unknown = StartServersRequest {
        names: vec!["alhpa".to_owned()],
        ..StartServersRequest::default()
    };
    let error = fleet.servers().start_servers(unknown).await.unwrap_err();
    assert_eq!(
        (error.code(), reason(&error).as_str()),
        (Code::NotFound, "no-such-server")
    );
    assert!(error.message().contains("alpha"), "{error:?}");
    let nobody = fleet
        .servers()
        .stop_servers(StopServersRequest::default())
        .await
        .unwrap_err();
    assert_eq!(reason(&nobody), "invalid-argument");
    let generation = StopServersRequest {
        all: true,
        expected_generation: Some(3),
        ..StopServersRequest::default()
    };
    let error = fleet.servers().stop_servers(generation).await.unwrap_err();
    assert_eq!(
        (error.code(), reason(&error).as_str()),
        (Code::Aborted, "generation-changed")
    );
}

#[tokio::test]
async fn the_socket_is_for_its_owner_and_group() {
    let fleet = fleet().await;
    let mode = std::fs::metadata(fleet.socket())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o660);
}

#[tokio::test]
async fn open_streams_do_not_keep_magid_from_ending() {
    let mut fleet = fleet().await;
    let tail = TailLogsRequest {
        name: "alpha".to_owned(),
        follow: true,
        ..TailLogsRequest::default()
    };
    let mut lines = fleet.servers().tail_logs(tail).await.unwrap().into_inner();
    lines.message().await.unwrap();
    let mut watch = fleet
        .servers()
        .watch_servers(magi_proto::v1::WatchServersRequest {})
        .await
        .unwrap()
        .into_inner();
    watch.message().await.unwrap();
    assert!(fleet.terminate().await.success());
}

#[tokio::test]
async fn a_follower_sees_the_next_incarnation() {
    let fleet = fleet().await;
    let tail = TailLogsRequest {
        name: "alpha".to_owned(),
        follow: true,
        ..TailLogsRequest::default()
    };
    let mut lines = fleet.servers().tail_logs(tail).await.unwrap().into_inner();
    assert_eq!(lines.message().await.unwrap().unwrap().incarnation, 1);
    fleet.magictl(&["restart", "alpha"]).await.expect_code(0);
    let search = async {
        while let Some(message) = lines.message().await.unwrap() {
            if message.incarnation == 2 && !message.lines.is_empty() {
                return;
            }
        }
        panic!("the stream ended");
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), search)
        .await
        .unwrap();
}

/// The output of a server that floods, followed and not read.
#[tokio::test]
async fn a_stalled_reader_is_let_go_and_told_why_when_he_reads_on() {
    let mut fleet = Fleet::new();
    fleet.save(&[Server::faulty("alpha").fault("flood=20MiB")]);
    fleet.start().await;
    fleet.ready("alpha").await;
    let tail = TailLogsRequest {
        name: "alpha".to_owned(),
        follow: true,
        ..TailLogsRequest::default()
    };
    let mut lines = fleet.servers().tail_logs(tail).await.unwrap().into_inner();
    while !fleet.output().contains("was let go") {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let end = loop {
        match lines.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended without a reason"),
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), Code::ResourceExhausted);
    let details = end.get_details_error_info().unwrap();
    assert_eq!(details.reason, "reader-too-slow");
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused() {
    let fleet = fleet().await;
    let request = StartServersRequest {
        names: vec!["x".repeat(300 << 10)],
        ..StartServersRequest::default()
    };
    let error = fleet.servers().start_servers(request).await.unwrap_err();
    assert_eq!(error.code(), Code::OutOfRange);
    fleet.magictl(&["status"]).await.expect_code(0);
}
