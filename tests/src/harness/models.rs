//! Waiting for models.

use std::fs;

use magi_proto::v1::{ListModelsRequest, ListModelsResponse, Model};
use tokio::time::{sleep, timeout};

use super::fleet::{Fleet, LOOK};
use super::wait::DEADLINE;

impl Fleet {
    /// Waits until the models satisfy `wanted`, and gives them as they are then.
    pub async fn wait_models(
        &mut self,
        what: &str,
        wanted: impl Fn(&ListModelsResponse) -> bool,
    ) -> ListModelsResponse {
        let mut service = self.models();
        let look = async {
            loop {
                let models = service.list_models(ListModelsRequest::default()).await?;
                let models = models.into_inner();
                if wanted(&models) {
                    return Ok(models);
                }
                sleep(LOOK).await;
            }
        };
        let looked: Result<Result<_, tonic::Status>, _> = timeout(DEADLINE, look).await;
        match looked {
            Ok(Ok(models)) => models,
            Ok(Err(status)) => self.fail(&format!("{what}: {status}")).await,
            Err(_) => {
                let shown = self.magictl(&["models"]).await;
                self.fail(&format!("it never came: {what}\n{shown:#?}"))
                    .await
            }
        }
    }

    /// Waits until there is a model with this id, whose files are there.
    pub async fn model(&mut self, id: &str) -> Model {
        let there = |model: &&Model| model.id == id && model.available;
        let models = self
            .wait_models(&format!("the model {id} is there"), |models| {
                models.models.iter().any(|model| there(&model))
            })
            .await;
        let mut models = models.models.into_iter();
        models
            .find(|model| there(&model))
            .expect("it was there when it was looked at")
    }

    /// Lets files look as if nobody had touched them for long, so that nobody waits for whoever
    /// writes them.
    ///
    /// # Panics
    ///
    /// If one is not there.
    pub fn settle(&self, folder: &str) {
        let entries = fs::read_dir(self.path(folder)).expect("the folder is there");
        for entry in entries.flatten() {
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            if let (true, Ok(file)) = (is_file, fs::File::options().write(true).open(entry.path()))
            {
                file.set_modified(std::time::UNIX_EPOCH)
                    .expect("a file of ours takes a time");
            }
        }
    }
}
