//! What can be known of a receiver without leaving anything there.

use lem_record::{Check, CheckOutcome};
use serde_json::Value;

use super::config::{ADDRESS_REMEDY, WRITE_PATH};
use super::sender::Sender;
use crate::service::failed;

pub(super) async fn check(sender: &Sender) -> Check {
    let mut check = Check::default();
    let reply = match sender.post_nothing().await {
        Ok(reply) => reply,
        Err(error) => {
            failed(&mut check, "reachable", error, ADDRESS_REMEDY);
            return check;
        }
    };
    // one without samples is refused by some, after it was let in and understood
    let understood = reply.is_success() || reply.status == 400;
    if !understood {
        failed(
            &mut check,
            "remote write",
            sender.client.error(&reply),
            ADDRESS_REMEDY,
        );
        return check;
    }
    let ok = |detail: String| CheckOutcome::Ok { detail };
    check.push(
        "remote write",
        ok(format!(
            "answers {} to a request without samples",
            reply.status
        )),
    );
    check.push("protocol", ok(sender.speaks().to_owned()));
    match about(sender, "buildinfo").await {
        Some(about) => {
            let version = about["data"]["version"].as_str().unwrap_or("unknown");
            check.push("version", ok(format!("Prometheus {version}")));
            check.push("age of samples", window(sender).await);
        }
        None => check.push(
            "version",
            CheckOutcome::Unknown {
                why: "this receiver does not tell what it is".to_owned(),
            },
        ),
    }
    check
}

async fn window(sender: &Sender) -> CheckOutcome {
    let config = about(sender, "config").await;
    let yaml = config
        .as_ref()
        .and_then(|config| config["data"]["yaml"].as_str());
    let Some(yaml) = yaml else {
        return CheckOutcome::Unknown {
            why: "this receiver does not show its configuration".to_owned(),
        };
    };
    let window = yaml
        .lines()
        .find_map(|line| line.trim().strip_prefix("out_of_order_time_window:"));
    CheckOutcome::Ok {
        detail: match window.map(str::trim) {
            Some(window) if window != "0s" => format!("takes those of the last {window}"),
            _ => "takes those of about the last hour; `storage.tsdb.out_of_order_time_window` in its configuration lets runs of before in".to_owned(),
        },
    }
}

/// A page of Prometheus' own, beside the one that is written to.
async fn about(sender: &Sender, page: &str) -> Option<Value> {
    if sender.path != WRITE_PATH {
        return None;
    }
    let page = format!("/api/v1/status/{page}");
    let reply = sender.client.get(&page).send().await.ok()?;
    reply.is_success().then(|| reply.json().ok()).flatten()
}
