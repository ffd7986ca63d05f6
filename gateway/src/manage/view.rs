//! magid's answers as JSON: as magictl prints them, see [`magi_view`].
//!
//! Beside some names stand those that the systems had which this API takes the place of: `status` beside
//! `state`, `modelId` beside `id`.

use std::borrow::Cow;
use std::ops::Deref;

use magi_proto::v1;
use serde::Serialize;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

pub(super) use magi_view::{
    Action, Config, Diagnostic, Event, FinishedRequest, Gateway, LogLine, Logs, Profile,
    ProfileText, Scan, State, Step, Tier, Verdict, Veto, all, non_empty, timestamp,
};

/// One server.
pub(super) type Server = Also<magi_view::Server, InOlderWords>;
/// One model of the registry.
pub(super) type Model = Also<magi_view::Model, ByOlderName>;
/// Everything that is known of a server.
pub(super) type Explanation = magi_view::Explanation<Server>;

/// What magictl prints, with more members. It is described as one object, by the name of what is printed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Also<T, M> {
    #[serde(flatten)]
    pub(super) printed: T,
    #[serde(flatten)]
    more: M,
}

impl<T, M> Deref for Also<T, M> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.printed
    }
}

impl<T: PartialSchema, M: PartialSchema> PartialSchema for Also<T, M> {
    fn schema() -> RefOr<Schema> {
        let mut printed = T::schema();
        if let RefOr::T(Schema::Object(object)) = &mut printed
            && let RefOr::T(Schema::Object(more)) = M::schema()
        {
            object.properties.extend(more.properties);
            object.required.extend(more.required);
        }
        printed
    }
}

impl<T: ToSchema, M: ToSchema> ToSchema for Also<T, M> {
    fn name() -> Cow<'static, str> {
        T::name()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        T::schemas(schemas);
        M::schemas(schemas);
    }
}

/// What else a server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct InOlderWords {
    /// The same in the words of the earlier systems: `running` is `ready`.
    pub(super) status: Status,
}

impl From<v1::Server> for Server {
    fn from(server: v1::Server) -> Self {
        let printed = magi_view::Server::from(server);
        let status = printed.state.into();
        Self {
            printed,
            more: InOlderWords { status },
        }
    }
}

/// What else a model has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ByOlderName {
    /// The same as `id`.
    model_id: String,
}

impl From<v1::Model> for Model {
    fn from(model: v1::Model) -> Self {
        let model_id = model.id.clone();
        Self {
            printed: model.into(),
            more: ByOlderName { model_id },
        }
    }
}

/// The state of a server in the words of the earlier systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// It has no process.
    Stopped,
    /// It loads its model.
    Starting,
    /// It answers.
    Running,
    /// It ends.
    Stopping,
    /// It failed. It may be started again by a timer.
    Failed,
    /// One that a newer magid has.
    Unknown,
}

impl From<State> for Status {
    fn from(state: State) -> Self {
        match state {
            State::Stopped => Self::Stopped,
            State::Starting => Self::Starting,
            State::Ready => Self::Running,
            State::Draining | State::Stopping => Self::Stopping,
            State::Backoff | State::Failed => Self::Failed,
            State::Unknown => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The names of the members that `value` has, and of those that are described.
    fn members<T: Serialize + PartialSchema>(value: &T) -> [Vec<String>; 2] {
        let names = |object: &Value| object.as_object().unwrap().keys().cloned().collect();
        let described = json!(T::schema());
        [names(&json!(value)), names(&described["properties"])]
    }

    #[test]
    fn a_server_and_a_model_have_the_members_that_are_described() {
        let [server, described] = members(&Server::from(v1::Server::default()));
        assert_eq!(server, described);
        assert!(server.contains(&"status".to_owned()));
        let [model, described] = members(&Model::from(v1::Model::default()));
        assert_eq!(model, described);
        assert!(model.contains(&"modelId".to_owned()));
    }
}
