//! Which server a request means.
//!
//! A name is that of a server, an alias, or the id of a model, in this order. A request that names none
//! means the default; without one, the only server there is. What a caller may not use is not told of
//! either: neither as the only one nor as one with a similar name.

use std::sync::Arc;

use super::{Link, Server, Table};
use crate::refusal::{Reason, Refusal};

/// So like a name is one that was probably meant.
const SIMILAR: f64 = 0.75;

/// So many names are told.
const MAX_TOLD: usize = 20;

/// So many similar names are told.
const MAX_SIMILAR: usize = 3;

/// So much of an unknown name is repeated and compared, in characters.
const MAX_ASKED: usize = 100;

impl Table {
    /// The server that a request means which asks for `asked`. An empty name is none.
    ///
    /// # Errors
    ///
    /// There is no such server, the caller may not use it, or it is not clear which one is meant.
    pub fn resolve(
        &self,
        asked: Option<&str>,
        default: &str,
        may_use: impl Fn(&Server) -> bool,
    ) -> Result<&Arc<Server>, Refusal> {
        let is_name = |name: &&str| !name.is_empty();
        let Some(name) = asked.filter(is_name).or(Some(default).filter(is_name)) else {
            return self.only(may_use);
        };
        match self.find(name) {
            Some(server) if may_use(server) => Ok(server),
            Some(_) => Err(Refusal::new(
                Reason::KeyModel,
                format!("this key may not use the model \"{}\"", told(name)),
            )),
            None => Err(self.unknown(name, may_use)),
        }
    }

    fn only(&self, may_use: impl Fn(&Server) -> bool) -> Result<&Arc<Server>, Refusal> {
        let mut usable = self.servers.values().filter(|server| may_use(server));
        match (usable.next(), usable.next()) {
            (Some(only), None) => Ok(only),
            (Some(_), Some(_)) => Err(Refusal::new(
                Reason::ModelRequired,
                format!("the request names no `model`; {}", self.list(may_use)),
            )),
            (None, _) => Err(self.none()),
        }
    }

    fn unknown(&self, name: &str, may_use: impl Fn(&Server) -> bool) -> Refusal {
        if !self.servers.values().any(|server| may_use(server)) {
            return self.none();
        }
        let help = match &*self.similar(name, &may_use) {
            [] => self.list(may_use),
            similar => format!("did you mean {}?", similar.join(" or ")),
        };
        let name = told(name);
        Refusal::new(
            Reason::NoSuchModel,
            format!("no model is called \"{name}\"; {help}"),
        )
    }

    /// There is no server at all.
    fn none(&self) -> Refusal {
        match self.link {
            // It was never told what there is.
            Link::Lost => Refusal::magid_away(),
            Link::Up => Refusal::new(
                Reason::NoSuchModel,
                "there is no model yet; `magictl status` tells why",
            ),
        }
    }

    /// The names of servers that can be used.
    fn list(&self, may_use: impl Fn(&Server) -> bool) -> String {
        let usable = self.servers.iter().filter(|(_, server)| may_use(server));
        let mut names: Vec<&str> = usable.map(|(name, _)| &**name).collect();
        let more = names.len().saturating_sub(MAX_TOLD);
        names.truncate(MAX_TOLD);
        let names = names.join(", ");
        match more {
            0 => format!("there are: {names}"),
            more => format!("there are: {names}, and {more} more"),
        }
    }

    /// The names that are most like an unknown one.
    fn similar(&self, name: &str, may_use: &impl Fn(&Server) -> bool) -> Vec<&str> {
        let name = told(name).to_lowercase();
        let usable = self.names.iter().filter(|(_, server)| may_use(server));
        let rate = |known: &str| strsim::jaro_winkler(&known.to_lowercase(), &name);
        let mut rated: Vec<_> = usable
            .map(|(known, _)| (rate(known), &**known))
            .filter(|(likeness, _)| *likeness >= SIMILAR)
            .collect();
        rated.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        rated.truncate(MAX_SIMILAR);
        rated.into_iter().map(|(_, known)| known).collect()
    }
}

/// A name that a client made up, fit for a message.
fn told(name: &str) -> String {
    name.chars()
        .take(MAX_ASKED)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use magi_proto::v1;

    use super::*;
    use crate::traffic::Traffic;

    fn table_of(servers: &[(&str, &[&str], &str)]) -> Table {
        let servers = servers.iter().map(|(name, aliases, model)| {
            let route = v1::Route {
                server: (*name).to_owned(),
                aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
                model_id: Some((*model).to_owned()),
                ..v1::Route::default()
            };
            let server = Server {
                route,
                current: None,
                traffic: Arc::new(Traffic::new()),
            };
            ((*name).to_owned(), Arc::new(server))
        });
        Table::new(Link::Up, BTreeMap::from_iter(servers))
    }

    fn three() -> Table {
        table_of(&[
            ("alpha", &["gpt-4o-mini", "beta"], "qwen2.5-0.5b"),
            ("beta", &["chat"], "alpha"),
            ("gamma", &[], "qwen2.5-7b"),
        ])
    }

    fn server(table: &Table, asked: Option<&str>, default: &str) -> Result<String, Refusal> {
        let server = table.resolve(asked, default, |_| true)?;
        Ok(server.route.server.clone())
    }

    #[test]
    fn a_name_is_a_server_then_an_alias_then_a_model() {
        let table = three();
        let found = |name| server(&table, Some(name), "").unwrap();
        assert_eq!(found("alpha"), "alpha");
        assert_eq!(found("beta"), "beta");
        assert_eq!(found("chat"), "beta");
        assert_eq!(found("gpt-4o-mini"), "alpha");
        assert_eq!(found("qwen2.5-7b"), "gamma");
    }

    #[test]
    fn without_a_name_the_default_is_meant_or_the_only_server() {
        let table = three();
        assert_eq!(server(&table, None, "chat").unwrap(), "beta");
        assert_eq!(server(&table, Some(""), "chat").unwrap(), "beta");
        assert_eq!(server(&table, Some("gamma"), "chat").unwrap(), "gamma");
        let one = table_of(&[("alpha", &["a", "b"], "m")]);
        assert_eq!(server(&one, None, "").unwrap(), "alpha");
    }

    #[test]
    fn a_request_that_could_mean_several_is_told_which() {
        let refusal = server(&three(), None, "").unwrap_err();
        assert_eq!(refusal.reason, Reason::ModelRequired);
        assert_eq!(
            refusal.message,
            "the request names no `model`; there are: alpha, beta, gamma"
        );
    }

    #[test]
    fn an_unknown_name_is_answered_with_similar_ones() {
        let refusal = server(&three(), Some("GPT-4o"), "").unwrap_err();
        assert_eq!(refusal.reason, Reason::NoSuchModel);
        assert_eq!(
            refusal.message,
            "no model is called \"GPT-4o\"; did you mean gpt-4o-mini?"
        );
        let refusal = server(&three(), Some("zzz"), "").unwrap_err();
        assert!(refusal.message.ends_with("there are: alpha, beta, gamma"));
    }

    #[test]
    fn what_a_caller_may_not_use_is_not_told_of() {
        let table = three();
        let may_use = |server: &Server| server.route.server == "gamma";
        let resolve = |asked| table.resolve(asked, "", may_use);
        assert_eq!(resolve(None).unwrap().route.server, "gamma");
        assert_eq!(resolve(Some("alpha")).unwrap_err().reason, Reason::KeyModel);
        let unknown = resolve(Some("alph")).unwrap_err();
        assert_eq!(
            unknown.message,
            "no model is called \"alph\"; there are: gamma"
        );
        let none = table.resolve(None, "", |_| false).unwrap_err();
        assert_eq!(none.reason, Reason::NoSuchModel);
    }

    #[test]
    fn before_magid_told_of_any_it_is_away() {
        let refusal = server(&Table::empty(), Some("alpha"), "").unwrap_err();
        assert_eq!(refusal.reason, Reason::MagidAway);
    }

    #[test]
    fn a_name_that_is_no_name_is_told_cut_and_clean() {
        let name = format!("a\n{}", "x".repeat(100_000));
        let refusal = server(&three(), Some(&name), "").unwrap_err();
        assert!(refusal.message.len() < 300);
        assert!(!refusal.message.contains('\n'));
    }
}
