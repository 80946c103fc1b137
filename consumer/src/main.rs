//! `sidelog-consumer`: the command line, and the exit codes.

mod admin;

use clap::{Args, Parser, Subcommand};
use prometheus_client::registry::Registry;
use sidelog::config::{self, Config};
use sidelog::exit::{BAD_CONFIG, UNAVAILABLE};
use sidelog::signals;
use sidelog_consumer::dedup::Bounds;
use sidelog_consumer::metrics::Metrics;
use sidelog_consumer::source::Limits;
use sidelog_consumer::source::kafka::{KafkaOptions, KafkaSource};
use sidelog_consumer::store::{Store, StoreOptions};
use sidelog_consumer::{migrate, pipeline, serve, verify};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use uuid::Uuid;

/// Moves audit events from Kafka to ClickHouse, each exactly once.
#[derive(Debug, Parser)]
#[command(
    name = "sidelog-consumer",
    version,
    about,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make or update the tables, then exit.
    Migrate {
        /// The YAML configuration, the same as the sidecar's.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Print the SQL that would run, and run nothing.
        #[arg(long)]
        plan: bool,
    },
    /// Compare the numbers that producers gave their records with what is stored; tell what is missing.
    Verify {
        /// The YAML configuration, the same as the sidecar's.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Only this producer.
        #[arg(long, value_name = "UUID")]
        producer: Option<Uuid>,
    },
    /// Make or update the roles, the readers' limits and the tenants' views.
    Access(admin::AccessArgs),
    /// Let a user read a tenant's rows.
    Grant(admin::GrantArgs),
    /// Let a user no longer read a tenant's rows.
    Revoke(admin::GrantArgs),
    /// Forget a tenant, an actor, or whatever a text stands in.
    Erase(admin::EraseArgs),
    /// Remove what has expired, after it was archived where that is asked for.
    Retention(admin::RetentionArgs),
    /// Bring archived events back.
    Restore(admin::RestoreArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The YAML configuration, the same as the sidecar's.
    // Optional to the type, because a subcommand has its own.
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    /// Where /healthz, /readyz and /metrics answer.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:15092")]
    metrics_listen: SocketAddr,
    /// Rows put together for one insert.
    #[arg(long, value_name = "ROWS", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=500_000))]
    batch_rows: u32,
    /// Bytes of one insert, as columns in memory.
    #[arg(long, value_name = "BYTES", default_value_t = 48 << 20, value_parser = clap::value_parser!(u32).range(1024..=1 << 30))]
    batch_bytes: u32,
    /// Milliseconds that a record waits for others, at most twice: to be read with them, to be inserted.
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    batch_age_ms: u32,
    /// Inserts under way at once; the next is put together meanwhile.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    batches_in_flight: u8,
    /// Producers remembered; the others are asked about again.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    producers: u32,
    /// Seconds that a missing record may be late before it counts as a gap.
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    gap_after_s: u32,
    /// Leave the tables alone; `sidelog-consumer migrate` made them.
    #[arg(long)]
    no_migrate: bool,
}

impl RunArgs {
    /// Of an insert.
    fn insert(&self) -> Limits {
        Limits {
            rows: self.batch_rows as usize,
            bytes: self.batch_bytes as usize,
            age: Duration::from_millis(self.batch_age_ms.into()),
        }
    }

    /// Of what is read at once.
    fn read(&self) -> Limits {
        let (insert, most) = (self.insert(), Limits::default());
        Limits { rows: insert.rows.min(most.rows), bytes: insert.bytes.min(most.bytes), age: insert.age }
    }

    fn options(&self) -> pipeline::Options {
        let bounds = Bounds {
            producers: self.producers as usize,
            patience: Duration::from_secs(self.gap_after_s.into()),
        };
        pipeline::Options {
            bounds,
            insert: self.insert(),
            in_flight: self.batches_in_flight.into(),
            migrate: !self.no_migrate,
            ..pipeline::Options::default()
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    sidelog::logging::init();
    sidelog::tide::keep_little();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(UNAVAILABLE, &format!("no threads: {error}")),
    };
    let args = cli.run;
    match (cli.command, &args.config) {
        (Some(Command::Migrate { config, plan }), _) => {
            with_config(&config, |config| runtime.block_on(run_migrate(&config, plan)))
        }
        (Some(Command::Verify { config, producer }), _) => {
            with_config(&config, |config| runtime.block_on(run_verify(&config, producer)))
        }
        (Some(Command::Access(args)), _) => admin::access(&runtime, &args),
        (Some(Command::Grant(args)), _) => admin::grant(&runtime, &args, true),
        (Some(Command::Revoke(args)), _) => admin::grant(&runtime, &args, false),
        (Some(Command::Erase(args)), _) => admin::erase(&runtime, &args),
        (Some(Command::Retention(args)), _) => admin::retention(&runtime, &args),
        (Some(Command::Restore(args)), _) => admin::restore(&runtime, &args),
        (None, Some(file)) => with_config(file, |config| runtime.block_on(run(&config, &args))),
        // clap has asked for --config already.
        (None, None) => ExitCode::from(2),
    }
}

fn fail(code: u8, message: &str) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::from(code)
}

/// Loads the configuration; prints what is wrong with it.
fn with_config(file: &Path, then: impl FnOnce(Config) -> ExitCode) -> ExitCode {
    let environment = |name: &str| std::env::var(name).ok();
    let (problems, config) = match config::load(file, &environment) {
        Ok((config, warnings)) => (warnings, Some(config)),
        Err(problems) => (problems, None),
    };
    for problem in problems {
        eprintln!("{problem}");
    }
    config.map_or(ExitCode::from(BAD_CONFIG), then)
}

async fn run_migrate(config: &Config, plan: bool) -> ExitCode {
    let store = Store::new(&StoreOptions::from(&config.clickhouse));
    let result = if plan { migrate::pending(&store).await } else { migrate::migrate(&store).await };
    let migrations = match result {
        Ok(migrations) => migrations,
        Err(error) => return fail(UNAVAILABLE, &format!("{error} (at {})", config.clickhouse.url)),
    };
    if plan {
        for migration in &migrations {
            for statement in migration.statements(store.place()) {
                println!("-- {}\n{statement};\n", migration.name);
            }
        }
    } else {
        for migration in &migrations {
            println!("applied {}", migration.name);
        }
    }
    if migrations.is_empty() {
        println!("nothing to do");
    }
    ExitCode::SUCCESS
}

/// Exit code 1: something is missing that no loss explains, or doubled.
async fn run_verify(config: &Config, producer: Option<Uuid>) -> ExitCode {
    let store = Store::new(&StoreOptions::from(&config.clickhouse));
    match verify::verify(&store, producer).await {
        Ok(report) => {
            print!("{report}");
            if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
        Err(error) => fail(UNAVAILABLE, &format!("{error} (at {})", config.clickhouse.url)),
    }
}

async fn run(config: &Config, args: &RunArgs) -> ExitCode {
    let Some(kafka) = &config.kafka else {
        return fail(BAD_CONFIG, "kafka.brokers is not set: there is nothing to consume");
    };
    let mut registry = Registry::default();
    let metrics = Arc::new(Metrics::register(&mut registry));
    let listener = match TcpListener::bind(args.metrics_listen).await {
        Ok(listener) => listener,
        Err(error) => {
            return fail(UNAVAILABLE, &format!("cannot listen on {}: {error}", args.metrics_listen));
        }
    };
    let address = listener.local_addr().unwrap_or(args.metrics_listen);
    let source = match KafkaSource::open(&KafkaOptions::new(kafka, args.read()), Arc::clone(&metrics)) {
        Ok(source) => source,
        Err(error) => return fail(BAD_CONFIG, &error.to_string()),
    };
    tokio::spawn(serve::serve(listener, Arc::new(registry), Arc::clone(&metrics)));
    let (stop, shutdown) = watch::channel(false);
    tokio::spawn(async move {
        signals::stop().await;
        tracing::info!("stopping");
        let _ = stop.send(true);
        // The sender lives on: its end would also mean stop.
        std::future::pending::<()>().await;
    });
    println!("sidelog-consumer ready metrics={address}");
    let store = Store::new(&StoreOptions::from(&config.clickhouse));
    match pipeline::run(source, store, args.options(), metrics, shutdown).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(UNAVAILABLE, &error.to_string()),
    }
}
