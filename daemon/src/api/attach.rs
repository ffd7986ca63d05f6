//! One gateway, from its first word to the end of its stream.
//!
//! Both directions go on at their own pace: what the gateway says is written down as it comes, and what
//! it has to be told is made when it takes it. A route is told before the drain of its incarnation, so
//! a gateway knows where the next request goes before it has to let go.

use std::time::Duration;

use jiff::Timestamp;
use magi_proto::v1;
use magi_proto::v1::attach_request::Message as Said;
use magi_proto::v1::attach_response::Message as Told;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::{Status, Streaming};

use super::reader::{Gone, Reader};
use super::routes::Routes;
use super::{Api, errors};
use crate::name::ServerName;
use crate::supervisor::gateways::{Attachment, Ear, Gateway, Order, Use};
use crate::text::one_line;

/// How long a gateway may take to say who it is.
const FIRST_WORD: Duration = Duration::from_secs(10);

/// The shortest time between two messages with routes. A drain does not wait for it.
const PACE: Duration = Duration::from_millis(20);

/// Addresses that are kept.
const ADDRESSES: usize = 16;

/// Serves a gateway until it is gone, or magid ends.
pub(super) async fn run(
    api: Api,
    mut said: Streaming<v1::AttachRequest>,
    mut reader: Reader<v1::AttachResponse>,
) {
    let gateway = match first_word(&mut said).await {
        Ok(gateway) => gateway,
        Err(why) => return reader.refuse(why),
    };
    let addresses = gateway.addresses.join(", ");
    let (id, pid) = (gateway.id.clone(), gateway.pid);
    tracing::info!("gateway {id} (pid {pid}) at {addresses} is attached");
    let attachment = api.context.gateways.attach(gateway);
    let ear = attachment.ear();
    let mut ending = api.ending.clone();
    // Whichever ends first ends it all, so what is lost with the others does not matter.
    tokio::select! {
        why = listen(&api, &mut said, &ear) => {
            if let Err(why) = why {
                reader.refuse(why);
            }
        }
        _ = tell(&api, attachment, &mut reader) => {}
        _ = ending.wait_for(|ending| *ending) => reader.refuse(errors::shutting_down()),
    }
    tracing::info!("gateway {id} (pid {pid}) is not attached any more");
}

async fn first_word(said: &mut Streaming<v1::AttachRequest>) -> Result<Gateway, Status> {
    let not_said = || errors::invalid("cannot attach a gateway that does not say `hello` first");
    let first = timeout(FIRST_WORD, said.message()).await;
    let first = first.map_err(|_elapsed| not_said())??;
    let Some(Said::Hello(hello)) = first.and_then(|first| first.message) else {
        return Err(not_said());
    };
    let addresses = hello.addresses.iter().take(ADDRESSES);
    Ok(Gateway {
        id: one_line(&hello.gateway_id),
        version: one_line(&hello.version),
        pid: hello.pid,
        addresses: addresses.map(|address| one_line(address)).collect(),
        attached_at: Timestamp::now(),
    })
}

/// Writes down what the gateway says, until it says no more.
async fn listen(
    api: &Api,
    said: &mut Streaming<v1::AttachRequest>,
    ear: &Ear,
) -> Result<(), Status> {
    while let Some(said) = said.message().await? {
        match said.message {
            Some(Said::Activity(activity)) => {
                if let Ok(server) = ServerName::new(&activity.server) {
                    ear.activity(&server, use_of(&activity));
                }
            }
            Some(Said::Drained(v1::Drained {
                server,
                incarnation,
            })) => {
                if let Ok(server) = ServerName::new(&server) {
                    ear.drained(&(server, incarnation));
                }
            }
            Some(Said::Busy(v1::Busy {
                server,
                incarnation,
            })) => {
                if let Ok(server) = ServerName::new(&server) {
                    ear.busy(&(server, incarnation));
                }
            }
            Some(Said::Finished(finished)) => api.requests.record(finished),
            Some(Said::Hello(_)) => {
                return Err(errors::invalid("cannot take a second `hello`"));
            }
            // Something that a later gateway says.
            None => {}
        }
    }
    Ok(())
}

fn use_of(activity: &v1::Activity) -> Use {
    let last_used = activity.last_used.as_ref();
    let nanos = |at: &prost_types::Timestamp| Timestamp::new(at.seconds, at.nanos).ok();
    Use {
        in_flight: activity.in_flight,
        waiting: activity.waiting,
        last_used: last_used.and_then(nanos),
        tokens_per_second: activity.tokens_per_second.filter(|rate| rate.is_finite()),
    }
}

/// Tells the gateway of every change of the routes, and what to let go of.
async fn tell(
    api: &Api,
    mut attachment: Attachment,
    reader: &mut Reader<v1::AttachResponse>,
) -> Result<(), Gone> {
    let mut board = api.context.board.subscribe();
    let mut models = api.registry.subscribe();
    let mut talk = api.context.gateways.talk();
    let mut routes = Routes::default();
    loop {
        // Marked as seen before it is looked at, so that what changes meanwhile is looked at again.
        board.mark_unchanged();
        talk.mark_unchanged();
        // The orders first: the routes are then at least as new, and are sent before them.
        let Some(orders) = attachment.orders() else {
            return Err(Gone);
        };
        let known = models.borrow_and_update().clone();
        if let Some(change) = routes.change(&api.context.board.read(), &known) {
            send(reader, Told::Routes(change)).await?;
        }
        for order in orders {
            send(reader, order_of(order)).await?;
        }
        let next = Instant::now() + PACE;
        let routes_changed = async {
            sleep_until(next).await;
            // Both only wait for something that stays true.
            tokio::select! {
                changed = board.changed() => changed,
                changed = models.changed() => changed,
            }
        };
        // All arms are cancel-safe: each only waits for something that stays true.
        tokio::select! {
            changed = routes_changed => changed.map_err(|_| Gone)?,
            changed = talk.changed() => changed.map_err(|_| Gone)?,
            () = reader.closed() => return Err(Gone),
        }
    }
}

fn order_of(order: Order) -> Told {
    match order {
        Order::Drain {
            about: (server, incarnation),
            only_if_idle,
        } => Told::Drain(v1::Drain {
            server: server.to_string(),
            incarnation,
            only_if_idle,
        }),
        Order::Over((server, incarnation)) => Told::DrainOver(v1::DrainOver {
            server: server.to_string(),
            incarnation,
        }),
    }
}

async fn send(reader: &mut Reader<v1::AttachResponse>, told: Told) -> Result<(), Gone> {
    let message = Some(told);
    reader.send(v1::AttachResponse { message }).await
}
