//! The checks in which the other end misbehaves.

use std::time::Duration;

use lem_record::ExportError;

use super::Subject;
use super::checks::{Bench, remote};
use super::walk::{Pace, Progress, Walk};
use crate::{Fault, Response, Rule};

/// As many places in the conversation each fault strikes.
const PLACES: usize = 8;
/// A hang costs its whole time-out.
const HANGING_PLACES: usize = 3;

fn places(requests: usize, most: usize) -> impl Iterator<Item = usize> {
    let step = requests.div_ceil(most).max(1);
    (0..requests).step_by(step)
}

/// Each fault strikes one request, early, late and between; the sink must ask to
/// try again, and in the end nothing may be missing or double.
pub(super) async fn transient<S: Subject>(bench: &Bench<'_, S>) -> Result<(), String> {
    let answer = |status: u16| Fault::Answer(Response::text(status, "scripted trouble"));
    let empty_ok = Fault::Answer(Response::bytes(503, b"<html>\xff\0".to_vec()));
    let faults = [
        answer(408),
        answer(429),
        answer(500),
        answer(502),
        answer(503),
        answer(504),
        empty_ok,
        Fault::Close,
        Fault::HalfClose,
        Fault::CloseAfter(20),
        Fault::TruncateBody(0),
        Fault::TruncateBody(1),
        Fault::Garbage(b"\x16\x03\x01 this is not HTTP\r\n\r\n".to_vec()),
        Fault::Hang,
    ];
    for fault in faults {
        let hangs = matches!(fault, Fault::Hang);
        let most = if hangs { HANGING_PLACES } else { PLACES };
        for place in places(bench.requests, most) {
            for applied in [false, true] {
                let subject = bench.subject();
                let rule = Rule::new(fault.clone()).skip(place).times(1);
                if let Some(server) = subject.server() {
                    server.script(if applied { rule.applied() } else { rule });
                }
                let call_timeout = Duration::from_millis(if hangs { 1_000 } else { 20_000 });
                let pace = Pace {
                    call_timeout,
                    patience: 4,
                    ..Pace::default()
                };
                let when = format!(
                    "with {fault:?} at request {place} ({} the work was done)",
                    if applied { "after" } else { "before" }
                );
                bench
                    .walk(&subject, Progress::default(), pace)
                    .await
                    .map_err(|why| format!("{when}: {why}"))?;
                bench.same(&subject, &when).await?;
            }
        }
    }
    Ok(())
}

/// The time that the other end names gets through to delivery.
pub(super) async fn retry_after<S: Subject>(bench: &Bench<'_, S>) -> Result<(), String> {
    for status in [429, 503] {
        for place in places(bench.requests, PLACES) {
            let subject = bench.subject();
            let busy = Response::text(status, "busy").header("retry-after", "7");
            if let Some(server) = subject.server() {
                server.script(Rule::new(Fault::Answer(busy)).skip(place).times(1));
            }
            let mut walk = Walk::default();
            let pace = Pace {
                patience: 1,
                ..Pace::default()
            };
            let done = walk.go(&|| subject.exporter(), &bench.golden, pace).await;
            bench.heard(&walk.said);
            done.map_err(|why| format!("{status} with Retry-After at request {place}: {why}"))?;
            let told = walk.errors.iter().any(|error| {
                matches!(error, ExportError::Retry { after: Some(after), .. } if after.as_secs() == 7)
            });
            if !told {
                return Err(format!(
                    "{status} with Retry-After: 7 at request {place} became {:?}",
                    walk.errors
                ));
            }
        }
    }
    Ok(())
}

/// Nobody listens at first; then somebody does.
pub(super) async fn refused<S: Subject>(bench: &Bench<'_, S>) -> Result<(), String> {
    let subject = bench.subject();
    let Some(server) = subject.server() else {
        return Ok(());
    };
    server.go_down();
    let mut walk = Walk::default();
    let done = walk
        .go(&|| subject.exporter(), &bench.golden, Pace::default())
        .await;
    bench.heard(&walk.said);
    if done.is_ok() {
        return Err("it delivers to a port that is closed".to_owned());
    }
    if !matches!(walk.errors.as_slice(), [ExportError::Retry { .. }]) {
        return Err(format!(
            "a closed port should be tried again later, not {:?}",
            walk.errors
        ));
    }
    server.come_up();
    bench.walk(&subject, walk.progress, Pace::default()).await?;
    bench
        .same(&subject, "after the port was closed at first")
        .await
}

/// The other end refuses large bodies: what can be split is split, what cannot be is
/// rejected by name, and all the rest arrives.
pub(super) async fn too_large<S: Subject>(bench: &Bench<'_, S>) -> Result<(), String> {
    for share in [2, 10] {
        let subject = bench.subject();
        let Some(server) = subject.server() else {
            return Ok(());
        };
        let limit = bench.largest / share;
        let no = Response::text(413, "too large");
        server.script(Rule::new(Fault::Answer(no)).matching(move |r| r.body.len() > limit));
        let mut walk = Walk::default();
        let done = walk
            .go(&|| subject.exporter(), &bench.golden, Pace::default())
            .await;
        bench.heard(&walk.said);
        let when = format!("with bodies of at most {limit} bytes");
        done.map_err(|why| format!("{when}: {why}"))?;
        let there = remote(&subject).await;
        let lost = bench.control.iter().filter(|fact| !there.contains(fact));
        let lost: Vec<&String> = lost.collect();
        if walk.rejected == 0 && !lost.is_empty() {
            return Err(format!(
                "{when}, {} facts are lost and nothing was said of it: {:?}",
                lost.len(),
                lost.iter().take(3).collect::<Vec<_>>()
            ));
        }
        if 2 * lost.len() > bench.control.len() {
            return Err(format!(
                "{when}, {} of {} facts are lost",
                lost.len(),
                bench.control.len()
            ));
        }
    }
    Ok(())
}

/// The port speaks no TLS: told, with the address and what to do, and never endless.
pub(super) async fn no_tls<S: Subject>(bench: &Bench<'_, S>) -> Result<(), String> {
    let subject = bench.subject();
    let Some(server) = subject.server() else {
        return Ok(());
    };
    let url = server.url().replacen("http://", "https://", 1);
    let Some(exporter) = subject.exporter_at(&url) else {
        return Ok(());
    };
    let check = exporter.check().await;
    bench.heard(&[format!("{check:?}")]);
    if !check.failed() {
        return Err(format!("a port without TLS passes the check: {check:?}"));
    }
    let mut walk = Walk::default();
    let make = || subject.exporter_at(&url).expect("it was made before");
    let done = walk.go(&make, &bench.golden, Pace::default()).await;
    bench.heard(&walk.said);
    match done {
        Ok(()) => Err("it delivers to a port that speaks no TLS".to_owned()),
        Err(_) if walk.timeouts > 0 => Err("it waits for ever for TLS".to_owned()),
        Err(_) => Ok(()),
    }
}

/// Wrong credentials are not tried again and again; once mended, all arrives.
pub(super) async fn permanent<S: Subject>(bench: &Bench<'_, S>) -> Result<(), String> {
    for status in [401, 403] {
        for place in places(bench.requests, PLACES) {
            let subject = bench.subject();
            let Some(server) = subject.server() else {
                return Ok(());
            };
            let no = Response::text(status, "no");
            server.script(Rule::new(Fault::Answer(no)).skip(place));
            let mut walk = Walk::default();
            let _ = walk
                .go(&|| subject.exporter(), &bench.golden, Pace::default())
                .await;
            bench.heard(&walk.said);
            let remedied = walk.errors.iter().any(
                |error| matches!(error, ExportError::GiveUp { remedy, .. } if !remedy.is_empty()),
            );
            if !remedied {
                return Err(format!(
                    "{status} from request {place} on should end in GiveUp with a remedy, not {:?}",
                    walk.errors
                ));
            }
            server.clear_script();
            bench.walk(&subject, walk.progress, Pace::default()).await?;
            bench
                .same(&subject, &format!("after {status} from request {place} on"))
                .await?;
        }
    }
    Ok(())
}
