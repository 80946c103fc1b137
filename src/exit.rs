//! Exit codes of every Sidelog program, after sysexits.h. 0 is success.

/// What was asked cannot be understood; clap uses the same.
pub const USAGE: u8 = 2;
/// `EX_CONFIG`: the configuration or a document in it is wrong.
pub const BAD_CONFIG: u8 = 78;
/// `EX_UNAVAILABLE`: something needed (a port, a directory, a server) is not there.
pub const UNAVAILABLE: u8 = 69;
