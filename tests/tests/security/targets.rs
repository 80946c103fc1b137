//! What it is done to: no spelling of a path takes a call out of the record.

use crate::fixture::Fixture;
use crate::group::InCode;

pub const IN_CODE: &[InCode] = &[];

/// Two templates that a lenient reader confuses, and two that fit equally.
const DOCUMENT: &str = "openapi: 3.0.3
info: {title: orders, version: '1'}
paths:
  /v1/users/{id}: {post: {operationId: changeUser}}
  /v1/users/me/keys: {post: {operationId: makeKey}}
  /v1/teams/{team}: {post: {operationId: changeTeam}}
  /v1/teams/{name}: {post: {operationId: renameTeam}}
";

/// Everything about health is ignored, orders are recorded with answers.
const CONFIG: &str = "openapi: [openapi.yaml]
audit:
  ignore: ['/health*', '/health/**']
  rules: [{match: {paths: [/v1/orders]}, level: request_response}]
";

pub fn start() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("openapi.yaml"), DOCUMENT).unwrap();
    Fixture::start_in(dir, CONFIG)
}
