//! `lem results plot`: a run's power over time, with its phases, idle levels, temperature
//! and token times, as a figure for a paper (SVG, PNG) and in the terminal.
//!
//! ```text
//! RunData + Analysis ─► Picture (what is to be seen) ─► Canvas (shapes) ─► SVG · PNG
//!                                                    └► text
//! ```
//!
//! [`Picture`] decides what is shown and knows no paper; [`draw`] lays it out and knows no
//! file format; [`svg`] and [`png`] know nothing of measurements. All of it is pure: the
//! same log gives the same bytes.

mod bands;
mod canvas;
mod draw;
mod font;
mod panels;
mod picture;
mod png;
mod scale;
mod svg;
mod terminal;
#[cfg(test)]
mod tests;
mod tokens;
mod words;

pub use picture::{Options, Picture, Span, What};

use crate::analysis::{RunData, analyse};

/// What is drawn of a run; says why where there is nothing to draw.
pub fn picture(data: &RunData, options: &Options) -> Result<Picture, String> {
    Picture::of(data, &analyse(data), options)
}

/// A figure as SVG: text stays text.
pub fn svg(picture: &Picture) -> String {
    svg::write(&draw::draw(picture))
}

/// A figure as PNG, so many pixels wide.
pub fn png(picture: &Picture, width: u32) -> Result<Vec<u8>, String> {
    png::write(&draw::draw(picture), width)
}

/// A figure in so many columns of text.
pub fn text(picture: &Picture, columns: usize) -> String {
    terminal::write(picture, columns)
}
