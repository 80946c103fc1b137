//! libFuzzer's entry: feeds the target that the variable `TARGET` names. `TARGET=list` prints all;
//! `SEEDS=DIR` writes the target's first inputs there.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sidelog_fuzz::TARGETS;
use std::path::Path;
use std::sync::LazyLock;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|target| target.name == name);
    let target = found.unwrap_or_else(|| panic!("TARGET must be one of those that TARGET=list prints"));
    if let Some(dir) = std::env::var_os("SEEDS") {
        for (at, seed) in target.seeds.iter().enumerate() {
            std::fs::write(Path::new(&dir).join(format!("seed-{at}")), seed).expect("SEEDS is a directory");
        }
    }
    target.run
});

fuzz_target!(
    init: {
        if std::env::var("TARGET").is_ok_and(|name| name == "list") {
            TARGETS.iter().for_each(|target| println!("{}", target.name));
            #[expect(clippy::disallowed_methods, reason = "libFuzzer's main offers no other way out")]
            std::process::exit(0);
        }
        LazyLock::force(&TARGET);
    },
    |data: &[u8]| TARGET(data)
);
