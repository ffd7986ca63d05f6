//! Many streams at once.

use magi_tests::harness::{Call, Gateway, Reply, Resources, raise_descriptor_limit};
use serde_json::json;
use tokio::task::JoinSet;

/// The memory of the gateway while so many streams are open, in MiB.
pub(super) async fn memory_of(gateway: &Gateway, streams: usize) -> f64 {
    raise_descriptor_limit();
    let body = json!({ "model": "slow", "prompt": "hi", "max_tokens": 1000, "stream": true });
    let call = Call::post("/v1/completions", &body);
    let mut opening = JoinSet::new();
    for _ in 0..streams {
        let (call, url) = (call.clone(), gateway.url());
        opening.spawn(async move {
            let mut reply = call.send(&url).await.expect("it is answered");
            reply.next().await.expect("the stream goes on");
            reply
        });
    }
    let open: Vec<Reply> = opening.join_all().await;
    let memory = Resources::of(gateway.pid()).mebibytes();
    drop(open);
    memory
}
