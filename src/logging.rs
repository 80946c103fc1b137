//! Where the program's own log goes: stderr, text on a terminal and JSON elsewhere, `RUST_LOG` to
//! choose what. Never bodies, header values or credentials.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Call once, early.
pub fn init() {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .from_env_lossy()
        // pingora logs every accept failure by itself; its debug lines hold peer data.
        .add_directive(directive("pingora_core=warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second call, from tests or an embedding program, keeps the first subscriber.
    let _ = if std::io::stderr().is_terminal() { log.try_init() } else { log.json().try_init() };
}

fn directive(text: &str) -> tracing_subscriber::filter::Directive {
    text.parse().unwrap_or_else(|_| LevelFilter::INFO.into())
}
