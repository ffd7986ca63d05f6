//! `magictl models [list|show|rescan|set|create|delete]`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use jiff::tz::TimeZone;
use magi_proto::v1;
use magi_proto::v1::{
    CreateModelRequest, DeleteModelRequest, GetModelRequest, ListModelsRequest, ModelTier,
    RescanModelsRequest, SetModelRequest,
};
use tonic::Status;

use super::waiting::{self, Audience};
use crate::cli::Format;
use crate::client::{Client, read};
use crate::failure::{ExitStatus, Failure};
use crate::output::text::printable;
use crate::output::{Output, models, narrate};
use crate::view::{Model, Models, Scan};

/// What about models.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct ModelsArgs {
    #[command(subcommand)]
    command: Option<ModelsCommand>,
    #[command(flatten)]
    list: ListArgs,
}

impl ModelsArgs {
    /// Whether magid need not run.
    fn works_alone(&self) -> bool {
        matches!(self.command, Some(ModelsCommand::Rescan))
    }
}

/// The verbs of models.
#[derive(Debug, Subcommand)]
enum ModelsCommand {
    /// Lists models
    List(ListArgs),
    /// Shows everything about one model
    Show(NameArgs),
    /// Looks for models now
    Rescan,
    /// Overrides what was found out about a model
    Set(SetArgs),
    /// Adds a file, also one that was deleted from the registry before
    Create(CreateArgs),
    /// Forgets a model, and keeps its file
    Delete(NameArgs),
}

/// Which models.
#[derive(Debug, Args)]
struct ListArgs {
    /// Only those of this tier
    #[arg(long, value_enum)]
    tier: Option<Tier>,
    /// Only those that are enabled
    #[arg(long)]
    enabled: bool,
}

/// Which model.
#[derive(Debug, Args)]
struct NameArgs {
    /// Id, file name or path
    #[arg(value_name = "ID")]
    model: String,
}

/// Which model, and what to say of it.
#[derive(Debug, Args)]
struct SetArgs {
    #[command(flatten)]
    name: NameArgs,
    #[command(flatten)]
    facts: FactsArgs,
}

/// What to say of a model.
#[derive(Clone, Copy, Debug, Args)]
#[group(required = true, multiple = true)]
struct FactsArgs {
    /// Its tier; auto: as it was found
    #[arg(long, value_enum)]
    tier: Option<TierOrAuto>,
    /// Whether it thinks before it answers; auto: as it was found
    #[arg(long, value_enum)]
    thinking: Option<Switch>,
    /// Whether profiles may select it; auto: as it was found
    #[arg(long, value_enum)]
    enabled: Option<Switch>,
}

/// Which file.
#[derive(Debug, Args)]
struct CreateArgs {
    /// A GGUF file inside a scan path
    path: PathBuf,
    /// The id it is to have [default: made from the name of the file]
    #[arg(long, value_name = "ID")]
    name: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Tier {
    Fast,
    Balanced,
    Powerful,
}

impl From<Tier> for ModelTier {
    fn from(tier: Tier) -> Self {
        match tier {
            Tier::Fast => Self::Fast,
            Tier::Balanced => Self::Balanced,
            Tier::Powerful => Self::Powerful,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TierOrAuto {
    Fast,
    Balanced,
    Powerful,
    Auto,
}

impl TierOrAuto {
    /// Absent: as it was found.
    fn tier(self) -> Option<ModelTier> {
        match self {
            Self::Fast => Some(ModelTier::Fast),
            Self::Balanced => Some(ModelTier::Balanced),
            Self::Powerful => Some(ModelTier::Powerful),
            Self::Auto => None,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Switch {
    True,
    False,
    Auto,
}

impl Switch {
    /// Absent: as it was found.
    fn value(self) -> Option<bool> {
        match self {
            Self::True => Some(true),
            Self::False => Some(false),
            Self::Auto => None,
        }
    }
}

/// Runs the verb. `rescan` works without a magid, too: what it finds is there for the next one.
pub(crate) async fn run(
    socket: Option<&Path>,
    args: ModelsArgs,
    output: Output,
) -> Result<ExitStatus, Failure> {
    let client = match Client::connect(socket).await {
        Err(failure) if socket.is_none() && args.works_alone() => {
            return rescan_alone(failure.into(), output).await;
        }
        client => &client?,
    };
    match args.command.unwrap_or(ModelsCommand::List(args.list)) {
        ModelsCommand::List(args) => list(client, &args, output).await?,
        ModelsCommand::Show(args) => show(client, &args.model, output).await?,
        ModelsCommand::Rescan => rescan(client, output).await?,
        ModelsCommand::Set(args) => set(client, args, output).await?,
        ModelsCommand::Create(args) => create(client, args, output).await?,
        ModelsCommand::Delete(args) => delete(client, &args.model).await?,
    }
    Ok(ExitStatus::Done)
}

async fn list(client: &Client, args: &ListArgs, output: Output) -> Result<(), Failure> {
    let tier = args.tier.map_or(ModelTier::Unspecified, ModelTier::from);
    let request = ListModelsRequest {
        tier: tier.into(),
        only_enabled: args.enabled,
    };
    let answer = client.models().list_models(read(request)).await?;
    let shown = Models::from(answer.into_inner());
    match output.format {
        Format::Json => output.document(&shown)?,
        Format::Jsonl => output.objects(&shown.models)?,
        Format::Table if shown.models.is_empty() => narrate(format_args!(
            "there are no such models; GGUF files under scan_paths appear by themselves"
        )),
        Format::Table => {
            let (table, width) = (models::table(&shown.models), output.size().0);
            output.lines(&table.render(width, output.colours))?;
            if models::has_marks(&shown.models) {
                narrate(format_args!("{}", models::LEGEND));
            }
            let left_out = table.left_out(width).join(", ");
            if !left_out.is_empty() {
                narrate(format_args!(
                    "no room for {left_out}: see `magictl models show ID`"
                ));
            }
        }
    }
    tell_problems(&shown.problems);
    Ok(())
}

async fn show(client: &Client, model: &str, output: Output) -> Result<(), Failure> {
    let request = GetModelRequest {
        model: reference(model)?,
    };
    let answer = client.models().get_model(read(request)).await?;
    print(answer.into_inner().model, output)
}

async fn rescan(client: &Client, output: Output) -> Result<(), Failure> {
    narrate(format_args!("looking for models"));
    let mut service = client.models();
    // A first scan of a slow disk takes as long as it takes.
    let request = service.rescan_models(RescanModelsRequest {});
    let scan = Scan::from(waiting::narrated(client, Audience::All, request).await?);
    print_scan(&scan, output)
}

/// Looks where the magid of this environment would, if there is none to ask.
async fn rescan_alone(unreached: Failure, output: Output) -> Result<ExitStatus, Failure> {
    if unreached.exit_status() != ExitStatus::Unreachable {
        return Err(unreached);
    }
    narrate(format_args!("no magid runs: looking for models without it"));
    let (report, unwritten) = magid::daemon::rescan(&std::env::vars().collect()).await?;
    print_scan(&Scan::from(report), output)?;
    match unwritten {
        None => Ok(ExitStatus::Done),
        Some(why) => {
            narrate(format_args!("{}", printable(&why)));
            Ok(ExitStatus::Failed)
        }
    }
}

fn print_scan(scan: &Scan, output: Output) -> Result<(), Failure> {
    match output.format {
        Format::Json => output.document(scan)?,
        Format::Jsonl => output.objects([scan])?,
        Format::Table => output.lines(&found(scan))?,
    }
    tell_problems(&scan.problems);
    Ok(())
}

/// A line per model that is news, and the count of all.
fn found(scan: &Scan) -> Vec<String> {
    let news = [
        ("added", &scan.added),
        ("changed", &scan.changed),
        ("removed", &scan.removed),
    ];
    let news = news
        .iter()
        .flat_map(|(what, ids)| ids.iter().map(move |id| format!("{what:<9}{id}")));
    let mut lines: Vec<String> = news.map(|line| printable(&line)).collect();
    lines.push(match scan.total {
        1 => "1 model".to_owned(),
        total => format!("{total} models"),
    });
    lines
}

async fn set(client: &Client, args: SetArgs, output: Output) -> Result<(), Failure> {
    let tier = args.facts.tier.map(TierOrAuto::tier);
    let thinking = args.facts.thinking.map(Switch::value);
    let enabled = args.facts.enabled.map(Switch::value);
    let reset = [
        (tier == Some(None)).then_some("tier"),
        (thinking == Some(None)).then_some("thinking"),
        (enabled == Some(None)).then_some("enabled"),
    ];
    let request = SetModelRequest {
        model: reference(&args.name.model)?,
        tier: tier.flatten().map(i32::from),
        thinking: thinking.flatten(),
        enabled: enabled.flatten(),
        reset: reset.into_iter().flatten().map(str::to_owned).collect(),
    };
    let answer = client.models().set_model(request).await?.into_inner();
    print(answer.model, output)?;
    tell_unwritten(answer.unwritten);
    Ok(())
}

async fn create(client: &Client, args: CreateArgs, output: Output) -> Result<(), Failure> {
    let request = CreateModelRequest {
        path: absolute(&args.path)?,
        name: args.name,
    };
    let answer = client.models().create_model(request).await?.into_inner();
    print(answer.model, output)?;
    tell_unwritten(answer.unwritten);
    Ok(())
}

async fn delete(client: &Client, model: &str) -> Result<(), Failure> {
    let request = DeleteModelRequest {
        model: reference(model)?,
    };
    let answer = client.models().delete_model(request).await?;
    narrate(format_args!(
        "{} is forgotten; its file stays",
        printable(model)
    ));
    tell_unwritten(answer.into_inner().unwritten);
    Ok(())
}

fn print(model: Option<v1::Model>, output: Output) -> Result<(), Failure> {
    let model = model.ok_or_else(|| Status::internal("the answer has no model"))?;
    let model = Model::from(model);
    match output.format {
        Format::Json => output.document(&model),
        Format::Jsonl => output.objects([&model]),
        Format::Table => output.lines(&models::facts(&model, output.colours, &TimeZone::system())),
    }
}

fn tell_problems(problems: &[String]) {
    for problem in problems {
        narrate(format_args!("{}", printable(problem)));
    }
}

/// Says why what was done would be lost if magid ended.
fn tell_unwritten(why: Option<String>) {
    if let Some(why) = why {
        narrate(format_args!(
            "this counts only as long as magid runs: {}",
            printable(&why)
        ));
    }
}

/// How magid is to be asked for a model: a path that is relative to here is not so for magid.
fn reference(model: &str) -> Result<String, Failure> {
    match model.starts_with("./") || model.starts_with("../") {
        true => absolute(Path::new(model)),
        false => Ok(model.to_owned()),
    }
}

fn absolute(path: &Path) -> Result<String, Failure> {
    let input = |source| Failure::Input {
        what: path.display().to_string(),
        source,
    };
    let absolute = std::path::absolute(path).map_err(input)?;
    absolute.into_os_string().into_string().map_err(|_| {
        input(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            "the path is not UTF-8",
        ))
    })
}
