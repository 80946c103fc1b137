//! The command line: `proxy`, `check`, `explain`, `journal`, `schema`.

use clap::{Args, Parser, Subcommand, ValueEnum};
use sidelog::config::{self, Config, Problem, Severity};
use sidelog::exit::{BAD_CONFIG, UNAVAILABLE, USAGE};
use sidelog::journal_cmd::{self, RepairError};
use sidelog::proxy::Sidecar;
use sidelog::reload::Origin;
use sidelog::{check, explain};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "sidelog", version, about = "Records who did what, in front of an unmodified service")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Relay traffic and record it.
    Proxy(ConfigFile),
    /// Say everything that is wrong with a configuration and its OpenAPI documents.
    Check(CheckArgs),
    /// Say what would be recorded of a request, and why.
    Explain(Box<ExplainArgs>),
    /// Look into a journal directory, or mend it.
    #[command(subcommand)]
    Journal(JournalCommand),
    /// Print a JSON Schema.
    Schema { what: Schema },
}

#[derive(Args)]
struct ConfigFile {
    /// The YAML configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Args)]
struct CheckArgs {
    #[command(flatten)]
    file: ConfigFile,
    /// Text to stderr, or one JSON object to stdout.
    #[arg(long, value_enum, default_value_t = check::Format::Text)]
    format: check::Format,
    /// The same as `--format json`.
    #[arg(long)]
    json: bool,
    /// Warnings count as errors.
    #[arg(long, visible_alias = "strict")]
    deny_warnings: bool,
    /// Also look at what lies outside: the service, Kafka, ClickHouse, the journal's directory.
    #[arg(long)]
    online: bool,
}

#[derive(Args)]
struct ExplainArgs {
    /// The YAML configuration.
    #[arg(long, value_name = "FILE", required_unless_present = "openapi")]
    config: Option<PathBuf>,
    /// Use the defaults with this document instead of a configuration.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    openapi: Vec<PathBuf>,
    /// Answer many requests: one JSON object a line in, one a line out.
    ///
    /// In: `{"method": "POST", "target": "/v1/orders?x=1", "headers": {"Host": "…"}}`; `headers` may be
    /// left out. Out: `match` (matched, ambiguous, method_not_in_spec, unmatched), `method`, `template`
    /// (as in the document), `operation_id`, `path_params` (decoded), `alternatives`, `flags`, `rule`,
    /// `level`, `delivery`. A line that cannot be read is answered with `{"error": "line 7: …"}`, the
    /// others all the same; the exit status is then 2.
    #[arg(long, conflicts_with_all = ["method", "target", "headers"])]
    stdin: bool,
    /// A request header, `Name: value`. May be repeated.
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// The request's body: its text, or `@FILE`, or `@-` for standard input.
    #[arg(long, value_name = "BODY", conflicts_with = "stdin")]
    body: Option<String>,
    /// Shorthand for `-H 'Content-Type: …'`.
    #[arg(long, value_name = "TYPE", conflicts_with = "stdin")]
    content_type: Option<String>,
    /// The answer's status.
    #[arg(long, value_name = "STATUS", conflicts_with = "stdin", value_parser = clap::value_parser!(u16).range(100..=599))]
    status: Option<u16>,
    /// The answer's body, given like `--body`.
    #[arg(long, value_name = "BODY", conflicts_with = "stdin")]
    response_body: Option<String>,
    /// The answer's content type.
    #[arg(long, value_name = "TYPE", conflicts_with = "stdin")]
    response_type: Option<String>,
    /// One JSON object that tells everything, a line; with `--stdin`, for each line.
    #[arg(long)]
    json: bool,
    /// The address the request comes from.
    #[arg(long, default_value = "127.0.0.1")]
    peer: std::net::IpAddr,
    /// For example POST.
    #[arg(required_unless_present = "stdin")]
    method: Option<String>,
    /// Path and query as on the request line: `/v1/orders?dry_run=1`.
    #[arg(required_unless_present = "stdin")]
    target: Option<String>,
}

#[derive(Subcommand)]
enum JournalCommand {
    /// Say what it holds: records, backlog, open calls, damage, losses. Also while a sidecar uses it.
    Stat {
        #[command(flatten)]
        place: JournalPlace,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Print records as JSON lines, their content as it is stored.
    Dump {
        #[command(flatten)]
        place: JournalPlace,
        /// Of this boot only.
        #[arg(long)]
        boot: Option<u64>,
        /// From this number on.
        #[arg(long, value_name = "SEQ")]
        from: Option<u64>,
        /// Up to this number.
        #[arg(long, value_name = "SEQ")]
        to: Option<u64>,
        /// The calls that are open instead of records.
        #[arg(long, conflicts_with_all = ["boot", "from", "to"])]
        open_calls: bool,
    },
    /// Copy damage to quarantine, write damaged segments and a damaged cursor anew. Not while it is in use.
    Repair {
        #[command(flatten)]
        place: JournalPlace,
        /// Only say what would be done.
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct JournalPlace {
    /// The journal's directory.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// A configuration that names it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Schema {
    Config,
    Event,
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Proxy(args) => proxy(&args),
        Command::Check(args) => run_check(&args),
        Command::Explain(args) => run_explain(*args),
        Command::Journal(command) => journal(command),
        Command::Schema { what } => print_schema(what),
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Loads a configuration; on failure every problem has been printed.
fn load(path: &std::path::Path) -> Result<Config, ExitCode> {
    match config::load(path, &environment) {
        Ok((config, warnings)) => {
            print_problems(&warnings);
            Ok(config)
        }
        Err(problems) => {
            print_problems(&problems);
            Err(ExitCode::from(BAD_CONFIG))
        }
    }
}

fn print_problems(problems: &[Problem]) {
    for problem in problems {
        eprintln!("{problem}");
    }
}

fn proxy(args: &ConfigFile) -> ExitCode {
    sidelog::tide::keep_little();
    let config = match load(&args.config) {
        Ok(config) => config,
        Err(code) => return code,
    };
    sidelog::logging::init();
    if config.kafka.is_none() {
        tracing::warn!("no kafka brokers configured: events stay in the journal until it is full");
    }
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.enable_all().thread_name("relay");
    if config.relay.threads > 0 {
        runtime.worker_threads(config.relay.threads);
    }
    let runtime = match runtime.build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no threads: {error}");
            return ExitCode::from(UNAVAILABLE);
        }
    };
    // Spawned, so that the accept loop does not run on the main thread's scheduler.
    let origin = Origin { path: Some(args.config.clone()), env: environment, adapt: |_| () };
    let code = runtime.block_on(async move { tokio::spawn(serve(config, origin)).await });
    code.unwrap_or(ExitCode::FAILURE)
}

async fn serve(config: Config, origin: Origin) -> ExitCode {
    let mut sidecar = match Sidecar::start(&config).await {
        Ok(sidecar) => sidecar,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(UNAVAILABLE);
        }
    };
    sidecar.follow(config, origin);
    println!("sidelog ready traffic={} admin={} local={}", sidecar.traffic, sidecar.admin, sidecar.local);
    // What reading the documents took.
    tokio::task::spawn_blocking(sidelog::tide::give_back);
    sidelog::signals::stop().await;
    tracing::info!("draining");
    sidecar.drain().await;
    tracing::info!("stopped");
    ExitCode::SUCCESS
}

fn run_check(args: &CheckArgs) -> ExitCode {
    let (problems, summary) = check::run(&args.file.config, &environment, args.online);
    let format = if args.json { check::Format::Json } else { args.format };
    check::print(&problems, &summary, format);
    let bad = |p: &Problem| match p.severity {
        Severity::Error => true,
        Severity::Warning => args.deny_warnings,
        Severity::Note => false,
    };
    if problems.iter().any(bad) { ExitCode::from(BAD_CONFIG) } else { ExitCode::SUCCESS }
}

fn run_explain(args: ExplainArgs) -> ExitCode {
    let loaded = match &args.config {
        Some(path) => config::load(path, &environment),
        None => config::defaults_for(&config::Options { openapi: &args.openapi, ..Default::default() }),
    };
    let explainer = loaded.and_then(|(config, warnings)| {
        let (explainer, found) = explain::Explainer::new(&config, args.peer).map_err(|p| vec![p])?;
        let mut problems = check::documents_matter(warnings);
        // A document that cannot be used makes every answer wrong; an odd operation does not.
        problems.extend(found.into_iter().filter(|p| p.severity == Severity::Error));
        if problems.iter().any(|p| p.severity == Severity::Error) {
            return Err(problems);
        }
        print_problems(&problems);
        Ok(explainer)
    });
    let explainer = match explainer {
        Ok(explainer) => explainer,
        Err(problems) => {
            print_problems(&problems);
            return ExitCode::from(BAD_CONFIG);
        }
    };
    let request = asked(&args);
    let begun = std::time::Instant::now();
    let done = match (args.stdin, args.method, args.target) {
        (false, Some(method), Some(target)) => {
            let request = match request {
                Ok(parts) => explain::Request { method, target, ..parts },
                Err(told) => {
                    eprintln!("error: {told}");
                    return ExitCode::from(USAGE);
                }
            };
            let format = if args.json { explain::Format::Json } else { explain::Format::Text };
            explainer.one(&request, format, &mut io::stdout().lock()).map(|()| 0)
        }
        _ => explainer.bulk(io::stdin().lock(), io::BufWriter::new(io::stdout().lock()), args.json).map(
            |tally| {
                eprintln!("{}", tally.summary(begun.elapsed()));
                tally.unreadable
            },
        ),
    };
    match done {
        Ok(0) => ExitCode::SUCCESS,
        Ok(bad) => {
            eprintln!("error: {bad} of the lines could not be read; the answer to each says why");
            ExitCode::from(USAGE)
        }
        // The reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the options say of the request, but for method and target.
fn asked(args: &ExplainArgs) -> Result<explain::Request, String> {
    let mut headers = explain::parse_headers(&args.headers).ok_or("a header is written `Name: value`")?;
    headers.extend(args.content_type.iter().map(|t| ("Content-Type".to_owned(), t.clone())));
    let body = |text: &Option<String>| text.as_deref().map(read_body).transpose();
    let (request, answer) = (body(&args.body)?, body(&args.response_body)?);
    let told = args.status.is_some() || answer.is_some() || args.response_type.is_some();
    let response = told.then(|| explain::Response {
        status: args.status,
        content_type: args.response_type.clone().unwrap_or_default(),
        body: answer.unwrap_or_default(),
    });
    let bodies = explain::Bodies { request, response };
    Ok(explain::Request { headers, bodies, ..explain::Request::default() })
}

/// `@FILE`, `@-` or the text itself.
fn read_body(text: &str) -> Result<Vec<u8>, String> {
    match text.strip_prefix('@') {
        None => Ok(text.as_bytes().to_vec()),
        Some("-") => {
            let mut bytes = Vec::new();
            io::stdin().lock().read_to_end(&mut bytes).map_err(|e| format!("standard input: {e}"))?;
            Ok(bytes)
        }
        Some(file) => std::fs::read(file).map_err(|e| format!("cannot read `{file}`: {}", e.kind())),
    }
}

fn journal(command: JournalCommand) -> ExitCode {
    let (JournalCommand::Stat { place, .. }
    | JournalCommand::Dump { place, .. }
    | JournalCommand::Repair { place, .. }) = &command;
    let dir = match (&place.dir, &place.config) {
        (Some(dir), _) => dir.clone(),
        (None, Some(file)) => match load(file) {
            Ok(config) => config.journal.dir,
            Err(code) => return code,
        },
        (None, None) => return ExitCode::from(USAGE),
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let done = match command {
        JournalCommand::Stat { json, .. } => journal_cmd::stat(&dir, json, &mut out),
        JournalCommand::Dump { open_calls: true, .. } => journal_cmd::dump_open_calls(&dir, &mut out),
        JournalCommand::Dump { boot, from, to, .. } => {
            journal_cmd::dump(&dir, &journal_cmd::Selection { boot, from, to }, &mut out)
        }
        JournalCommand::Repair { dry_run, .. } => match journal_cmd::repair(&dir, dry_run, &mut out) {
            Err(RepairError::Journal(error)) => {
                eprintln!("error: {error}");
                return ExitCode::from(UNAVAILABLE);
            }
            Err(RepairError::Output(error)) => Err(error),
            Ok(()) => Ok(()),
        },
    };
    match done.and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: journal directory {}: {error}", dir.display());
            ExitCode::from(UNAVAILABLE)
        }
    }
}

fn print_schema(what: Schema) -> ExitCode {
    let schema = match what {
        Schema::Config => config::schema(),
        Schema::Event => schemars::schema_for!(sidelog_event::Envelope<'static>).to_value(),
    };
    let text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    match writeln!(io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
