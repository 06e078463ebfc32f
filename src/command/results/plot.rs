//! `lem results plot`: a figure of a run.

use std::path::Path;

use crate::cli::{PlotArgs, PlotWhat};
use crate::command::{Failure, say, show};
use crate::results::plot::{self, Options, Picture, Span, What};
use crate::results::store;

/// Where the terminal does not say how wide it is.
const COLUMNS: u16 = 100;

pub fn plot(args: &PlotArgs) -> Result<(), Failure> {
    let kinds: Vec<Kind> = args
        .out
        .iter()
        .map(|path| Kind::of(path))
        .collect::<Result<_, _>>()?;
    let data = store::load(&args.run).map_err(|error| Failure::failed(error.to_string()))?;
    let picture = plot::picture(&data, &options(args))
        .map_err(|why| Failure::failed(format!("{} cannot be drawn: {why}", args.run.display())))?;
    for (path, kind) in args.out.iter().zip(kinds) {
        write(path, kind, &picture, args.width)?;
        say(&format!("Wrote {}", path.display()));
    }
    if args.terminal || args.out.is_empty() {
        let width = comfy_table::Table::new().width().unwrap_or(COLUMNS);
        show(&plot::text(&picture, usize::from(width)));
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Kind {
    Svg,
    Png,
}

impl Kind {
    fn of(path: &Path) -> Result<Self, Failure> {
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        match extension.to_str() {
            Some("svg") => Ok(Self::Svg),
            Some("png") => Ok(Self::Png),
            _ => Err(Failure::usage(format!(
                "{} is neither a .svg nor a .png file. Give a name that ends in one of them",
                path.display()
            ))),
        }
    }
}

fn write(path: &Path, kind: Kind, picture: &Picture, width: u32) -> Result<(), Failure> {
    let bytes = match kind {
        Kind::Svg => plot::svg(picture).into_bytes(),
        Kind::Png => plot::png(picture, width).map_err(Failure::failed)?,
    };
    std::fs::write(path, bytes).map_err(|error| {
        Failure::failed(format!(
            "{} cannot be written: {error}. Choose another --out",
            path.display()
        ))
    })
}

fn options(args: &PlotArgs) -> Options {
    let span = match (args.cycle, args.whole) {
        (Some(index), _) => Span::Cycle(index),
        (None, true) => Span::Run,
        (None, false) => Span::Cycles,
    };
    let mut what: Vec<What> = args.what.iter().map(|what| of(*what)).collect();
    what.sort_unstable();
    what.dedup();
    Options { span, what }
}

const fn of(what: PlotWhat) -> What {
    match what {
        PlotWhat::Power => What::Power,
        PlotWhat::Devices => What::Devices,
        PlotWhat::Temperature => What::Temperature,
        PlotWhat::Utilization => What::Utilization,
        PlotWhat::Clock => What::Clock,
        PlotWhat::Memory => What::Memory,
        PlotWhat::Tokens => What::Tokens,
    }
}
