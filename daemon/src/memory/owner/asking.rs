//! Asking the programs beside llama-server.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use super::Shared;
use crate::blocking::blocking;
use crate::memory::devices;
use crate::memory::fit;
use crate::memory::inputs::{Assessed, Inputs};
use crate::memory::run::printed_by;

impl Shared {
    /// Looks at the files, and has its llama-server tell its devices, if it did not yet and they matter.
    pub(super) async fn assess(self: &Arc<Self>, inputs: Inputs) -> Assessed {
        let again = inputs.clone();
        let assessed = match blocking(move || Assessed::of(inputs)).await {
            Ok(assessed) => assessed,
            // It fails only while the runtime shuts down.
            Err(_) => Assessed::of(again),
        };
        if assessed.may_use_devices() && !self.state().knows_engine(&assessed.engine) {
            self.ask_for_devices(&assessed).await;
        }
        assessed
    }

    /// Asks in a task of its own: a program that was started is seen to its end, whoever waits for it.
    async fn ask_for_devices(self: &Arc<Self>, assessed: &Assessed) {
        let (shared, assessed) = (self.clone(), assessed.clone());
        let _ = tokio::spawn(async move { shared.learn_devices(&assessed).await }).await;
    }

    async fn learn_devices(&self, assessed: &Assessed) {
        let _turn = self.turn.acquire().await;
        // Another one may have asked while we waited for our turn.
        if self.state().knows_engine(&assessed.engine) {
            return;
        }
        let Inputs { engine, env, .. } = &assessed.inputs;
        let args = vec![OsString::from("--list-devices")];
        let told = match printed_by(engine, args, env.clone(), &self.ending).await {
            Ok(text) => devices::parse(&text),
            Err(error) => {
                tracing::debug!("cannot tell the devices of {}: {error}", engine.display());
                None
            }
        };
        self.state().engine_told(assessed.engine.clone(), told);
    }

    /// Has llama-fit-params tell what a server needs, if it is not known. In a task of its own, like
    /// the question for devices.
    pub(super) async fn ask_for_fit(self: &Arc<Self>, assessed: &Assessed) {
        let Some(program) = assessed.fit.clone() else {
            return;
        };
        let (shared, assessed) = (self.clone(), assessed.clone());
        let _ = tokio::spawn(async move { shared.learn_fit(&program, &assessed).await }).await;
    }

    async fn learn_fit(&self, program: &Path, assessed: &Assessed) {
        let _turn = self.turn.acquire().await;
        if !self.state().wants_fit(assessed) {
            return;
        }
        let Inputs {
            model,
            arguments,
            env,
            ..
        } = &assessed.inputs;
        let Some(model) = model.first() else { return };
        let told = match fit::breakdown(program, model, arguments, env, &self.ending).await {
            Ok(breakdown) => Some(breakdown),
            Err(error) => {
                tracing::debug!(model = %model.display(), "cannot tell what it needs: {error}");
                None
            }
        };
        let news = self.state().fit_told(&assessed.key, told);
        if let Some(estimates) = news {
            self.file.write(&estimates);
        }
    }
}
