//! A reset by either side reaches the other as a reset, over plain TCP.

use crate::POST;
use crate::world::World;
use harness::origin::{End, Origin, PATIENCE, Peer, Step};
use sidelog_event::Outcome;

#[test]
fn a_clients_reset_reaches_the_service() {
    let origin = Origin::start().unwrap();
    let world = World::new().start(&format!("upstream: http://{}\n", origin.addr()));
    for script in [
        // In the middle of an upload, and while the answer is awaited.
        vec![
            Step::Send(POST.replace("3\r\n", "9\r\n").into()),
            Step::Pause(std::time::Duration::from_millis(100)),
            Step::Reset,
        ],
        vec![Step::Send(POST.into()), Step::Pause(std::time::Duration::from_millis(100)), Step::Reset],
    ] {
        origin.play(vec![Step::Bytes(POST.len()), Step::End]);
        Peer::converse(world.traffic(), &script);
        assert_eq!(origin.finished()[0].end, End::Reset);
    }
    let events = world.events();
    let aborted = events
        .iter()
        .filter(|e| e.error.as_deref() == Some("client_reset") && e.outcome == Outcome::Aborted)
        .count();
    assert_eq!((events.len(), aborted), (2, 2), "{events:#?}");
}

#[test]
fn a_services_reset_reaches_the_client() {
    let origin = Origin::start().unwrap();
    let world = World::new().start(&format!("upstream: http://{}\n", origin.addr()));
    for answer in ["", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"] {
        origin.play(vec![
            Step::Bytes(POST.len()),
            Step::Send(answer.into()),
            Step::Pause(std::time::Duration::from_millis(100)),
            Step::Reset,
        ]);
        let mut client = Peer::connect(world.traffic()).unwrap();
        client.send(POST.as_bytes()).unwrap();
        client.wait(PATIENCE, |r| r.end != End::Open);
        let record = client.finish();
        assert_eq!((record.end, record.received), (End::Reset, answer.as_bytes().to_vec()));
        origin.finished();
    }
    let events = world.events();
    assert!(events.iter().all(|e| e.error.as_deref() == Some("upstream_reset")), "{events:#?}");
    assert_eq!(events.len(), 2);
}

/// The answer is whole: what becomes of the upload need not take it from the client.
#[test]
fn an_answer_that_a_reset_follows_arrives_whole() {
    let origin = Origin::start().unwrap();
    let world = World::new().start(&format!("upstream: http://{}\n", origin.addr()));
    origin.play(vec![
        Step::Bytes(POST.len()),
        Step::Send(crate::OK.into()),
        Step::Pause(std::time::Duration::from_millis(100)),
        Step::Reset,
    ]);
    let mut client = Peer::connect(world.traffic()).unwrap();
    client.send(POST.replace("3\r\n", "9\r\n").as_bytes()).unwrap();
    client.wait(PATIENCE, |r| r.end != End::Open);
    let record = client.finish();
    assert_eq!((record.end, record.received), (End::Eof, crate::OK.as_bytes().to_vec()));
}
