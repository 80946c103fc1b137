//! The commands of whoever administers the log: access now, each with its own arguments.

use crate::{fail, with_config};
use clap::Args;
use sidelog::config::{Config, Secret, read_bounded};
use sidelog::exit::{UNAVAILABLE, USAGE};
use sidelog_consumer::access::{self, Access, ReadLimits};
use sidelog_consumer::store::{Store, StoreError, StoreOptions};
use std::path::PathBuf;
use std::process::ExitCode;
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

impl Admin {
    /// Reads the configuration and runs a command on its store.
    fn run(
        &self,
        runtime: &Runtime,
        command: impl AsyncFnOnce(&Config, &Store) -> Result<ExitCode, StoreError>,
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
            result.unwrap_or_else(|error| {
                fail(UNAVAILABLE, &format!("{error} (at {}, as {})", config.clickhouse.url, options.user))
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
