//! `lem results list`: the runs of a folder.

use crate::cli::ListArgs;
use crate::command::{Failure, say, show};
use crate::results::grid::{Grid, GridFormat};
use crate::results::query::{self, Query, QueryError};

const COLUMNS: &[&str] = &[
    "run_id",
    "name",
    "status",
    "model_name",
    "backend",
    "num_cycles",
    "throughput.total_tokens_per_sec",
    "energy_per_output_token_j",
    "owed",
];
const NEWEST_FIRST: &str = "started:desc";

pub fn list(args: &ListArgs) -> Result<(), Failure> {
    let folder = super::runs_folder(args.dir.as_deref())?;
    let mut index = super::open(&folder)?;
    let or = |given: &[String], default: &[&str]| -> Vec<String> {
        if given.is_empty() {
            default.iter().map(|name| (*name).to_owned()).collect()
        } else {
            given.to_vec()
        }
    };
    let query = Query {
        filters: args.filter.clone(),
        sort: or(&args.sort, &[NEWEST_FIRST]),
        columns: or(&args.columns, COLUMNS),
        limit: args.limit,
    };
    let answer = query::ask(&mut index, &query).map_err(|error| match error {
        QueryError::Wrong(why) => Failure::usage(why),
        QueryError::Io(_) => Failure::failed(error.to_string()),
    })?;
    for note in &answer.notes {
        say(&format!("note: {note}"));
    }
    let grid = Grid {
        title: "Runs".into(),
        columns: answer.columns,
        rows: answer.hits.into_iter().map(|hit| hit.values).collect(),
    };
    show(&grid.render(args.format));
    if args.format == GridFormat::Table {
        let shown = grid.rows.len();
        let of = if answer.matched == answer.runs {
            format!("{} runs", answer.runs)
        } else {
            format!("{} of {} runs", answer.matched, answer.runs)
        };
        let cut = if shown < answer.matched {
            format!("; {shown} shown")
        } else {
            String::new()
        };
        say(&format!("{of} in {}{cut}", folder.display()));
    }
    if answer.unreadable > 0 {
        say(&format!(
            "warning: {} runs cannot be read; lem results list --filter problem~. --columns folder,problem says why",
            answer.unreadable
        ));
    }
    Ok(())
}
