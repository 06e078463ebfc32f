//! Plans that cannot work are refused before anything is sent.

use crate::body::{check_extra, same_kind};
use crate::{Job, Load, Plan, Prompt, Target, TargetError};

pub fn plan(target: &Target, plan: &Plan) -> Result<(), TargetError> {
    let (Load::Closed {
        concurrency: places,
    }
    | Load::Users { users: places }) = plan.load
    else {
        return jobs(target, plan);
    };
    if places == 0 {
        return Err(TargetError::new(
            "no request may be in flight (a concurrency of 0)",
            "Allow at least one",
        ));
    }
    jobs(target, plan)
}

fn jobs(target: &Target, plan: &Plan) -> Result<(), TargetError> {
    let mut followed = vec![false; plan.jobs.len()];
    for (i, job) in plan.jobs.iter().enumerate() {
        one(target, job).map_err(|e| at(i, e))?;
        let Some(after) = job.after else {
            continue;
        };
        let Some(before) = plan.jobs.get(after.job).filter(|_| after.job < i) else {
            return Err(at(
                i,
                TargetError::new(
                    format!(
                        "it follows request {}, which does not come before it",
                        after.job
                    ),
                    "Let it follow an earlier one",
                ),
            ));
        };
        if !same_kind(target.api, &before.prompt, &job.prompt) {
            return Err(at(
                i,
                TargetError::new(
                    "its prompt is of another kind than that of the request that it follows",
                    "Use text, or token ids, throughout a conversation",
                ),
            ));
        }
        if matches!(job.prompt, Prompt::Tokens(_)) && !(target.features.token_ids && target.stream)
        {
            return Err(at(
                i,
                TargetError::new(
                    "it goes on from an answer in token ids, and this server does not tell them",
                    "Use text, or a server that streams token ids",
                ),
            ));
        }
        if std::mem::replace(&mut followed[after.job], true)
            && matches!(plan.load, Load::Users { .. })
        {
            return Err(at(
                i,
                TargetError::new(
                    format!(
                        "two requests follow request {}: no user can send both",
                        after.job
                    ),
                    "Let one follow the other, or start a conversation of its own",
                ),
            ));
        }
    }
    Ok(())
}

fn one(target: &Target, job: &Job) -> Result<(), TargetError> {
    match job.prompt {
        Prompt::Tokens(_) if !target.api.takes_token_ids() => {
            return Err(TargetError::new(
                "its prompt is in token ids, which this API does not take",
                "Use text, or the completions API",
            ));
        }
        Prompt::Messages(_) if !target.api.is_chat() => {
            return Err(TargetError::new(
                "its prompt is in messages, which this API does not take",
                "Use text, or the chat API",
            ));
        }
        _ => {}
    }
    if job.max_tokens == 0 {
        return Err(TargetError::new(
            "it asks for no token",
            "Ask for at least one: without a first token there is no time to it",
        ));
    }
    job.extra_body.as_deref().map_or(Ok(()), check_extra)
}

fn at(job: usize, error: TargetError) -> TargetError {
    TargetError::new(format!("request {job}: {}", error.what), error.remedy)
}
