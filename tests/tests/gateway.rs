//! The gateway from outside: real servers behind it, plain HTTP before it.
#![allow(missing_docs)]

use magi_tests::harness::{Fleet, Gateway, Server, chat_with};

/// A fleet of faulty servers without a fault, all of which are ready, with a gateway.
async fn fleet(names: &[&str]) -> (Fleet, Gateway) {
    let mut fleet = Fleet::new();
    let servers: Vec<_> = names.iter().map(|name| Server::faulty(name)).collect();
    fleet.save(&servers);
    fleet.start().await;
    fleet.all_ready(names.len()).await;
    let gateway = Gateway::start(&fleet).await;
    (fleet, gateway)
}

#[tokio::test]
async fn a_request_goes_to_the_server_that_it_names() {
    let (_fleet, gateway) = fleet(&["alpha", "beta"]).await;
    for name in ["alpha", "beta"] {
        let said = chat_with(&gateway.url(), name).await.unwrap();
        assert!(said.contains(name), "{said}");
    }
}
