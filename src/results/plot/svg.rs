//! A canvas as SVG 1.1: text stays text, so that a figure can be edited and searched.

use std::fmt::Write as _;

use super::canvas::{Anchor, Canvas, Colour, Shape, Text};
use super::font::FAMILY;

/// Units of the canvas in a millimetre.
const PER_MM: f64 = 4.0;

pub fn write(canvas: &Canvas) -> String {
    let (width, height) = (canvas.width, canvas.height);
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}mm\" height=\"{}mm\" \
         viewBox=\"0 0 {} {}\" role=\"img\" font-family=\"{FAMILY}\">",
        number(width / PER_MM),
        number(height / PER_MM),
        number(width),
        number(height),
    );
    let _ = writeln!(out, "<title>{}</title>", escaped(&canvas.title));
    let _ = writeln!(out, "<desc>{}</desc>", escaped(&canvas.description));
    let _ = writeln!(
        out,
        "<rect width=\"{}\" height=\"{}\" fill=\"#ffffff\"/>",
        number(width),
        number(height)
    );
    for shape in &canvas.shapes {
        match shape {
            Shape::Rects {
                rects,
                colour,
                opacity,
            } => {
                let mut path = String::new();
                for [x, y, w, h] in rects {
                    let (x, y, w, h) = (number(*x), number(*y), number(*w), number(*h));
                    let _ = write!(path, "M{x} {y}h{w}v{h}h-{w}z");
                }
                let faint = match *opacity < 1.0 {
                    true => format!(" fill-opacity=\"{}\"", number(*opacity)),
                    false => String::new(),
                };
                let fill = hex(*colour);
                let _ = writeln!(out, "<path d=\"{path}\" fill=\"{fill}\"{faint}/>");
            }
            Shape::Lines {
                lines,
                colour,
                width,
                dash,
            } => {
                let mut path = String::new();
                for line in lines {
                    for (i, (x, y)) in line.iter().enumerate() {
                        let to = if i == 0 { 'M' } else { 'L' };
                        let _ = write!(path, "{to}{} {}", number(*x), number(*y));
                    }
                }
                let dash = dash.map_or_else(String::new, |(on, off)| {
                    format!(" stroke-dasharray=\"{} {}\"", number(on), number(off))
                });
                let _ = writeln!(
                    out,
                    "<path d=\"{path}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" \
                     stroke-linejoin=\"round\"{dash}/>",
                    hex(*colour),
                    number(*width),
                );
            }
            Shape::Text(text) => write_text(&mut out, text),
        }
    }
    out.push_str("</svg>\n");
    out
}

fn write_text(out: &mut String, text: &Text) {
    let (x, y) = (number(text.x), number(text.y));
    let anchor = match text.anchor {
        Anchor::Start => "",
        Anchor::Middle => " text-anchor=\"middle\"",
        Anchor::End => " text-anchor=\"end\"",
    };
    let bold = if text.bold {
        " font-weight=\"bold\""
    } else {
        ""
    };
    let turned = match text.upright {
        true => format!(" transform=\"rotate(-90 {x} {y})\""),
        false => String::new(),
    };
    let _ = writeln!(
        out,
        "<text x=\"{x}\" y=\"{y}\" font-size=\"{}\" fill=\"{}\"{anchor}{bold}{turned}>{}</text>",
        number(text.size),
        hex(text.colour),
        escaped(&text.text),
    );
}

fn hex(Colour(r, g, b): Colour) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// Two decimals, a 200th of a millimetre, without zeros that say nothing.
fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" {
        "0".into()
    } else {
        text.into()
    }
}

/// Names of models and runs come from outside. What XML cannot hold is left out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' | '\r' => out.push(' '),
            c if c.is_control() || ('\u{fffe}'..='\u{ffff}').contains(&c) => {}
            c => out.push(c),
        }
    }
    out
}
