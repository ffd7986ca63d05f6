//! What a reload, an activation and a rollback have in common.

use std::collections::BTreeSet;

use magi_proto::v1;
use tonic::Status;

use super::memory::{Weighed, weigh_plan};
use super::{Api, convert, errors};
use crate::name::ServerName;
use crate::reload::{Conclusion, Order, Verdict};

impl Api {
    /// Applies something, and with `wait` answers when each server that was touched is ready, stopped or
    /// failed.
    pub(super) async fn apply(
        &self,
        order: Order,
        wait: bool,
    ) -> Result<v1::ReloadResponse, Status> {
        let (answer, _) = self.apply_with_differing_keys(order, wait).await?;
        Ok(answer)
    }

    /// The same, with the keys of magid.toml that were different in the generation that is gone back to.
    pub(super) async fn apply_with_differing_keys(
        &self,
        order: Order,
        wait: bool,
    ) -> Result<(v1::ReloadResponse, Vec<String>), Status> {
        let rows = self
            .context
            .board
            .read()
            .rows
            .into_values()
            .map(|(_, row)| row);
        let before = Weighed::now(&self.context.memory.snapshot(), rows);
        let verdict = self.reload.apply(order).await.map_err(errors::reload)?;
        let steps = verdict.steps.iter();
        let touched = steps.filter(|step| step.action.touches_a_process());
        let mut touched: BTreeSet<ServerName> = touched.map(|step| step.server.clone()).collect();
        let mut decided = convert::decision(verdict.decision);
        let mut vetoes = Vec::new();
        if wait {
            if let Conclusion::Vetoed(by) = self.conclusion(&verdict).await? {
                decided = v1::ReloadVerdict::Vetoed;
                touched.extend(by.iter().map(|veto| veto.server.clone()));
                vetoes = convert::vetoes(&by);
            }
            self.wait_for(self.fleet.transitions().await).await?;
        }
        let mut fleet = self.context.board.read();
        fleet.rows.retain(|name, _| touched.contains(name));
        let mut answer = v1::ReloadResponse {
            verdict: decided.into(),
            steps: verdict.steps.iter().map(convert::step).collect(),
            errors: convert::diagnostics(&verdict.errors),
            warnings: convert::diagnostics(&verdict.warnings),
            overridden: verdict.overridden.clone(),
            needs_restart: verdict.needs_restart.clone(),
            servers: self.measured(fleet).await,
            profile: verdict.profile.clone(),
            generation: self.reload.status().generation,
            vetoes,
            ..v1::ReloadResponse::default()
        };
        weigh_plan(&mut answer, &verdict, &before);
        Ok((answer, verdict.differing_keys))
    }

    /// What becomes of a change, unless magid ends before.
    async fn conclusion(&self, verdict: &Verdict) -> Result<Conclusion, Status> {
        let mut ending = self.ending.clone();
        // Both arms are cancel-safe: they only wait.
        tokio::select! {
            conclusion = verdict.concluded() => conclusion.map_err(errors::ask),
            _ = ending.wait_for(|ending| *ending) => Err(errors::shutting_down()),
        }
    }
}
