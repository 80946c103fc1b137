//! HTTP/2, frame by frame.

use crate::group::Outcome;

pub fn extended_connect() -> Outcome {
    Err(vec!["todo".into()])
}
pub fn injection() -> Outcome {
    Err(vec!["todo".into()])
}
pub fn lengths() -> Outcome {
    Err(vec!["todo".into()])
}
pub fn two_authorities() -> Outcome {
    Err(vec!["todo".into()])
}
pub fn connection_fields() -> Outcome {
    Err(vec!["todo".into()])
}
pub fn reset_in_the_body() -> Outcome {
    Err(vec!["todo".into()])
}
pub fn rapid_reset() -> Outcome {
    Err(vec!["todo".into()])
}
pub fn grpc_unary() -> Outcome {
    Err(vec!["todo".into()])
}
pub fn grpc_stream() -> Outcome {
    Err(vec!["todo".into()])
}
