//! What the engine's process may touch on disk, enforced by the kernel.
//!
//! In the embedded engine the SQL function `file('/any/path')` reads whatever the process may read,
//! and no grant or setting takes it away: `reader` could read `writer.password` or the key that
//! pseudonyms are made with. So the child gives up everything but its tables (Landlock, Linux 5.13
//! and later; elsewhere the parent warns that `reader` must be trusted with the files of this user).

use std::path::Path;

/// Printed by a child that could not be confined; the parent looks for it.
pub(super) const UNCONFINED: &str = "the engine is not confined to its data directory";

/// System files the engine reads: processors, memory, time zones, resolver.
#[cfg(target_os = "linux")]
const SYSTEM: [&str; 18] = [
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/mounts",
    "/proc/stat",
    "/proc/sys",
    "/proc/uptime",
    "/proc/vmstat",
    "/sys/block",
    "/sys/devices/system",
    "/sys/fs/cgroup",
    "/sys/kernel/mm",
    "/usr/share/zoneinfo",
    "/etc/localtime",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/resolv.conf",
];

/// Limits this thread, and all it will start, to `tables` (everything) and to `readable` and
/// [`SYSTEM`] (reading). Returns false where the kernel cannot.
#[cfg(target_os = "linux")]
pub(super) fn confine(tables: &Path, readable: &[&Path]) -> Result<bool, String> {
    use landlock::{
        ABI, Access, AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
    };
    // Up to truncation; the newer rights (devices, sockets) are of no use against `file()`.
    let abi = ABI::V3;
    let told = |e: landlock::RulesetError| format!("cannot confine the engine: {e}");
    let mut rules =
        Ruleset::default().handle_access(AccessFs::from_all(abi)).map_err(told)?.create().map_err(told)?;
    let devices = ["/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"];
    let everything = std::iter::once((tables, AccessFs::from_all(abi)));
    let devices = devices.iter().map(|p| (Path::new(*p), AccessFs::ReadFile | AccessFs::WriteFile));
    let reading = SYSTEM.iter().map(Path::new).chain(readable.iter().copied());
    let reading = reading.map(|p| (p, AccessFs::ReadFile | AccessFs::ReadDir));
    for (path, access) in everything.chain(devices).chain(reading) {
        // An absent system file needs no rule. Rights that make no sense for a file are dropped.
        let Ok(fd) = PathFd::new(path) else { continue };
        let access = if path.is_dir() { access } else { access & AccessFs::from_file(abi) };
        rules = rules.add_rule(PathBeneath::new(fd, access)).map_err(told)?;
    }
    let status = rules.restrict_self().map_err(told)?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn confine(_tables: &Path, _readable: &[&Path]) -> Result<bool, String> {
    Ok(false)
}
