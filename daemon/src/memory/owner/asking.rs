//! Asking the programs beside llama-server.

use std::ffi::OsString;

use super::Shared;
use crate::blocking::blocking;
use crate::memory::devices;
use crate::memory::fit;
use crate::memory::inputs::{Assessed, Inputs};
use crate::memory::run::printed_by;

impl Shared {
    /// Looks at the files, and has its llama-server tell its devices, if it did not yet and they matter.
    pub(super) async fn assess(&self, inputs: Inputs) -> Assessed {
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

    async fn ask_for_devices(&self, assessed: &Assessed) {
        let _turn = self.turn.acquire().await;
        // Another one may have asked while we waited for our turn.
        if self.state().knows_engine(&assessed.engine) {
            return;
        }
        let Inputs { engine, env, .. } = &assessed.inputs;
        let args = vec![OsString::from("--list-devices")];
        let told = match printed_by(engine, args, env.clone()).await {
            Ok(text) => devices::parse(&text),
            Err(error) => {
                tracing::debug!("cannot tell the devices of {}: {error}", engine.display());
                None
            }
        };
        self.state().engine_told(assessed.engine.clone(), told);
    }

    /// Has llama-fit-params tell what a server needs, if it is not known.
    pub(super) async fn ask_for_fit(&self, assessed: &Assessed) {
        let Some(program) = &assessed.fit else { return };
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
        let told = match fit::breakdown(program, model, arguments, env).await {
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
