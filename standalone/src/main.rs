//! `sidelog-standalone`: the command line of everything in one process.

use clap::{Args, Parser, Subcommand};
use sidelog::config::{self, Config, Options};
use sidelog::exit::{BAD_CONFIG, UNAVAILABLE};
use sidelog::reload::Origin;
use sidelog_standalone::engine::child;
use sidelog_standalone::run::{self, Standalone};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(
    name = "sidelog-standalone",
    version,
    about = "Sidecar, journal and ClickHouse in one process, in front of an unmodified service",
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves the embedded ClickHouse until stdin closes.
    #[command(hide = true)]
    Engine(child::ChildArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The YAML configuration; its kafka and clickhouse servers are not used.
    #[arg(long, value_name = "FILE", required_unless_present = "upstream")]
    config: Option<PathBuf>,
    /// Without a configuration: the service, `http://host:port`.
    #[arg(long, value_name = "URL", conflicts_with = "config")]
    upstream: Option<String>,
    /// Without a configuration: the service's OpenAPI document. May be repeated.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    openapi: Vec<PathBuf>,
    /// Without a configuration: where clients connect.
    #[arg(long, value_name = "ADDR", conflicts_with = "config")]
    listen: Option<SocketAddr>,
    /// Without a configuration: the directory for everything kept.
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    data: Option<PathBuf>,
    /// The engine library, where it is not in its usual place.
    #[arg(long, value_name = "FILE", env = "SIDELOG_ENGINE_LIB")]
    engine_lib: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::Engine(args)) => ExitCode::from(u8::try_from(child::run(&args)).unwrap_or(u8::MAX)),
        None => start(cli.run),
    }
}

fn start(args: RunArgs) -> ExitCode {
    sidelog::tide::keep_little();
    let mut config = match load(&args) {
        Ok(config) => config,
        Err(code) => return code,
    };
    sidelog::logging::init();
    run::adapt(&mut config);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no threads: {error}");
            return ExitCode::from(UNAVAILABLE);
        }
    };
    let origin = Origin { path: args.config, env: |name| std::env::var(name).ok(), adapt: run::adapt };
    let code = runtime.block_on(async move { tokio::spawn(serve(config, origin, args.engine_lib)).await });
    code.unwrap_or(ExitCode::FAILURE)
}

fn load(args: &RunArgs) -> Result<Config, ExitCode> {
    let loaded = match &args.config {
        Some(path) => config::load(path, &|name| std::env::var(name).ok()),
        None => config::defaults_for(&Options {
            upstream: args.upstream.as_deref(),
            openapi: &args.openapi,
            listen: args.listen,
            data: args.data.as_deref(),
        }),
    };
    let (config, problems) = match loaded {
        Ok((config, warnings)) => (Some(config), warnings),
        Err(problems) => (None, problems),
    };
    for problem in problems {
        eprintln!("{problem}");
    }
    config.ok_or(ExitCode::from(BAD_CONFIG))
}

async fn serve(config: Config, origin: Origin, library: Option<PathBuf>) -> ExitCode {
    let mut standalone = match Standalone::start(&config, library).await {
        Ok(standalone) => standalone,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(UNAVAILABLE);
        }
    };
    standalone.follow(config, origin);
    println!("{}", standalone.ready_line());
    // What reading the documents took.
    tokio::task::spawn_blocking(sidelog::tide::give_back);
    let broken = tokio::select! {
        () = sidelog::signals::stop() => false,
        () = standalone.broken() => true,
    };
    if broken {
        tracing::error!("the engine or the consumer ended by itself; stopping");
    }
    match standalone.stop().await {
        Ok(()) if !broken => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
