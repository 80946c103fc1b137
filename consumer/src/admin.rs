//! The commands of whoever administers the log, each with its own arguments: access, erasure, retention.

use crate::{fail, with_config};
use clap::Args;
use sidelog::config::{Config, Secret, read_bounded, read_pseudonym_key};
use sidelog::exit::{BAD_CONFIG, UNAVAILABLE, USAGE};
use sidelog::pseudonym::Pseudonyms;
use sidelog_consumer::access::{self, Access, ReadLimits};
use sidelog_consumer::archive::{Archive, ArchiveError};
use sidelog_consumer::erase::{EraseError, Erasure, SHORTEST, Target};
use sidelog_consumer::retention::{self, Expiry, RetentionError};
use sidelog_consumer::store::{Store, StoreError, StoreOptions};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Which ClickHouse, and as whom.
#[derive(Debug, Args)]
pub struct Admin {
    /// The YAML configuration, the same as the sidecar's.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Another user of ClickHouse than the one in the configuration.
    #[arg(long = "as", value_name = "USER")]
    as_user: Option<String>,
    /// A file with that user's password.
    #[arg(long, value_name = "FILE", requires = "as_user")]
    password_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct RetentionArgs {
    #[command(flatten)]
    admin: Admin,
    /// Show what would go, change nothing.
    #[arg(long)]
    dry_run: bool,
    /// As if it were this time (RFC 3339), to see what will go when.
    #[arg(long, value_name = "TIME")]
    now: Option<jiff::Timestamp>,
    /// Minutes to wait until the server has done it.
    #[arg(long, value_name = "MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_080))]
    patience: u32,
}

#[derive(Debug, Args)]
pub struct RestoreArgs {
    #[command(flatten)]
    admin: Admin,
    /// Only this month, for example 202610. Without it: everything.
    #[arg(long, value_name = "YYYYMM")]
    month: Option<u32>,
    /// Show what is in the archive, change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Minutes to wait until the server has done it.
    #[arg(long, value_name = "MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_080))]
    patience: u32,
}

fn minutes(minutes: u32) -> Duration {
    Duration::from_secs(u64::from(minutes) * 60)
}

/// Why a command did not do what it should.
#[derive(Debug)]
enum Failed {
    Store(StoreError),
    Erase(EraseError),
    Retention(RetentionError),
    /// Exit code and message.
    Input(u8, String),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<EraseError> for Failed {
    fn from(error: EraseError) -> Self {
        Self::Erase(error)
    }
}

impl From<RetentionError> for Failed {
    fn from(error: RetentionError) -> Self {
        Self::Retention(error)
    }
}

impl From<ArchiveError> for Failed {
    fn from(error: ArchiveError) -> Self {
        Self::Retention(error.into())
    }
}

#[derive(Debug, Args)]
pub struct AccessArgs {
    #[command(flatten)]
    admin: Admin,
    /// Print the SQL that would run, and run nothing.
    #[arg(long)]
    plan: bool,
}

#[derive(Debug, Args)]
pub struct GrantArgs {
    #[command(flatten)]
    admin: Admin,
    /// The tenant, as in the column `tenant`.
    #[arg(long)]
    tenant: String,
    /// A user of ClickHouse.
    #[arg(long, value_name = "NAME")]
    user: String,
}

#[derive(Debug, Args)]
#[group(id = "target", required = true, multiple = false, args = ["tenant", "actor", "subject"])]
pub struct EraseArgs {
    #[command(flatten)]
    admin: Admin,
    /// Everything of a tenant. `-`: the value is the first line of stdin, here and below.
    #[arg(long)]
    tenant: Option<String>,
    /// All that this actor (by id) did, and that was done on its behalf.
    #[arg(long)]
    actor: Option<String>,
    /// Every event in which this text stands, in whatever spelling: paths, parameters, bodies, ….
    #[arg(long)]
    subject: Option<String>,
    /// Keep the events, without the person.
    #[arg(long, conflicts_with = "tenant")]
    anonymise: bool,
    /// Show what would go, change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Minutes to wait until the server has done it.
    #[arg(long, value_name = "MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_080))]
    patience: u32,
}

impl Admin {
    /// Reads the configuration and runs a command on its store.
    fn run(
        &self,
        runtime: &Runtime,
        command: impl AsyncFnOnce(&Config, &Store) -> Result<ExitCode, Failed>,
    ) -> ExitCode {
        with_config(&self.config, |config| {
            let mut options = StoreOptions::from(&config.clickhouse);
            if let Some(user) = &self.as_user {
                options.user.clone_from(user);
                options.password = None;
            }
            if let Some(file) = &self.password_file {
                match read_bounded(file).map(String::from_utf8) {
                    Ok(Ok(text)) => options.password = Some(Secret(text.trim_end().to_owned())),
                    Ok(Err(_)) => return fail(USAGE, &format!("{} is not UTF-8", file.display())),
                    Err(why) => return fail(USAGE, &format!("cannot read {}: {why}", file.display())),
                }
            }
            let store = Store::new(&options);
            let result = runtime.block_on(command(&config, &store));
            result.unwrap_or_else(|failed| {
                let at = format!("(at {}, as {})", config.clickhouse.url, options.user);
                match failed {
                    Failed::Store(error) => fail(UNAVAILABLE, &format!("{error} {at}")),
                    Failed::Erase(error) => fail(UNAVAILABLE, &format!("{error} {at}")),
                    Failed::Retention(error) => fail(UNAVAILABLE, &format!("{error} {at}")),
                    Failed::Input(code, message) => fail(code, &message),
                }
            })
        })
    }
}

pub fn access(runtime: &Runtime, args: &AccessArgs) -> ExitCode {
    args.admin.run(runtime, async |config, store| {
        let limits = ReadLimits::from(&config.clickhouse.readers);
        if args.plan {
            for statement in Access::new(store.place()).statements(&limits) {
                println!("{statement};");
            }
        } else {
            access::set_up(store, &limits).await?;
            let roles: Vec<_> = Access::new(store.place()).roles().into_iter().map(|r| r.name).collect();
            println!("roles are up to date: {}", roles.join(", "));
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// With `may` false: revoke.
pub fn grant(runtime: &Runtime, args: &GrantArgs, may: bool) -> ExitCode {
    args.admin.run(runtime, async |_, store| {
        access::allow(store, &args.tenant, &args.user, may).await?;
        if may {
            store.execute(&Access::new(store.place()).join(&args.user)).await?;
        }
        let tenants = access::tenants_of(store, &args.user).await?;
        match tenants.as_slice() {
            [] => println!("{} sees no tenant", args.user),
            tenants => println!("{} sees {}", args.user, tenants.join(", ")),
        }
        Ok(ExitCode::SUCCESS)
    })
}

impl EraseArgs {
    fn target(&self) -> Result<Target, Failed> {
        let value = |given: &str| match given {
            "-" => {
                let mut line = String::new();
                let read = std::io::stdin().read_line(&mut line);
                read.map_err(|error| Failed::Input(USAGE, format!("cannot read stdin: {error}")))?;
                Ok(line.trim_end_matches(['\r', '\n']).to_owned())
            }
            given => Ok::<_, Failed>(given.to_owned()),
        };
        let target = match (&self.tenant, &self.actor, &self.subject) {
            (Some(tenant), _, _) => Target::Tenant(value(tenant)?),
            (_, Some(actor), _) => Target::Actor(value(actor)?),
            (_, _, subject) => Target::Subject(value(subject.as_deref().unwrap_or_default())?),
        };
        let shortest = if matches!(target, Target::Subject(_)) { SHORTEST } else { 1 };
        if target.value().len() < shortest {
            let message =
                format!("a {} of fewer than {shortest} characters is in nearly every event", target.kind());
            return Err(Failed::Input(USAGE, message));
        }
        Ok(target)
    }
}

fn pseudonyms(config: &Config) -> Result<Pseudonyms, Failed> {
    let Some(file) = &config.redact.pseudonym_key_file else {
        let message = "redact.pseudonym_key_file is not set: the receipt names whom it is about by a digest \
                       under that key, and by nothing else";
        return Err(Failed::Input(BAD_CONFIG, message.into()));
    };
    match read_pseudonym_key(file) {
        Ok(key) => Ok(Pseudonyms::new(&key)),
        Err(why) => Err(Failed::Input(BAD_CONFIG, format!("cannot read {}: {why}", file.display()))),
    }
}

pub fn erase(runtime: &Runtime, args: &EraseArgs) -> ExitCode {
    args.admin.run(runtime, async |config, store| {
        let (target, pseudonyms) = (args.target()?, pseudonyms(config)?);
        let patience = minutes(args.patience);
        let archive = archive(config)?;
        let erasure = Erasure {
            store,
            target: &target,
            pseudonyms: &pseudonyms,
            anonymise: args.anonymise,
            archive: archive.as_ref(),
            patience,
        };
        println!("found {}", erasure.find().await?);
        if args.dry_run {
            return Ok(ExitCode::SUCCESS);
        }
        match erasure.run().await? {
            None => println!("nothing to erase"),
            Some(receipt) => println!(
                "{}{} {} records, {} dead letters, {} archived rows; receipt {}, digest {}",
                if receipt.resumed { "resumed: " } else { "" },
                if args.anonymise { "anonymised" } else { "erased" },
                receipt.records,
                receipt.dead_letters,
                receipt.archived,
                receipt.id,
                erasure.digest()
            ),
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The archive that the configuration names.
fn archive(config: &Config) -> Result<Option<Archive>, Failed> {
    Ok(config.retention.archive.as_deref().map(Archive::open).transpose()?)
}

pub fn retention(runtime: &Runtime, args: &RetentionArgs) -> ExitCode {
    args.admin.run(runtime, async |config, store| {
        let archive = archive(config)?;
        let expiry = Expiry {
            store,
            policy: &config.retention,
            now: args.now.unwrap_or_else(jiff::Timestamp::now),
            archive: archive.as_ref(),
            patience: minutes(args.patience),
        };
        if args.dry_run {
            let due = expiry.find().await?;
            due.iter().for_each(|due| println!("{due}"));
            if due.is_empty() {
                println!("nothing is due");
            }
            return Ok(ExitCode::SUCCESS);
        }
        let done = expiry.run().await?;
        done.due.iter().for_each(|due| println!("{due}"));
        done.files.iter().for_each(|entry| println!("archived {} rows to {}", entry.rows, entry.file));
        println!(
            "removed {} rows ({} parts as a whole), {} dead letters, {} losses",
            done.due.iter().map(|due| due.expired).sum::<u64>(),
            done.dropped_parts,
            done.dead_letters,
            done.losses
        );
        Ok(ExitCode::SUCCESS)
    })
}

pub fn restore(runtime: &Runtime, args: &RestoreArgs) -> ExitCode {
    args.admin.run(runtime, async |config, store| {
        let Some(archive) = archive(config)? else {
            return Err(Failed::Input(
                BAD_CONFIG,
                "retention.archive is not set: there is nothing to restore".into(),
            ));
        };
        for entry in archive.entries()? {
            if args.month.is_some_and(|month| month != entry.month) {
                continue;
            }
            if args.dry_run {
                println!(
                    "{}: {} rows, {} bytes, written {}",
                    entry.file, entry.rows, entry.bytes, entry.created
                );
            } else {
                let rows = retention::restore(store, &archive, &entry, minutes(args.patience)).await?;
                println!("{}: {rows} of {} rows restored", entry.file, entry.rows);
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}
