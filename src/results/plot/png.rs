//! A canvas as PNG, painted with the font that lem carries.

use tiny_skia::{
    Color, FillRule, LineJoin, Paint, Path, PathBuilder, Pixmap, Rect, Stroke, StrokeDash,
    Transform,
};
use ttf_parser::OutlineBuilder;

use super::canvas::{Anchor, Canvas, Colour, Shape, Text};
use super::font;

/// Wider is no figure, and takes gigabytes.
const MAX_WIDTH: u32 = 16_384;

pub fn write(canvas: &Canvas, width: u32) -> Result<Vec<u8>, String> {
    let width = width.clamp(64, MAX_WIDTH);
    let scale = f64::from(width) / canvas.width;
    let height = (canvas.height * scale).round().clamp(1.0, 32_768.0) as u32;
    let mut page = Pixmap::new(width, height).ok_or("the figure has no extent")?;
    page.fill(Color::WHITE);
    let to_page = Transform::from_scale(scale as f32, scale as f32);
    for shape in &canvas.shapes {
        paint(&mut page, shape, to_page);
    }
    page.encode_png()
        .map_err(|error| format!("the figure cannot be encoded: {error}"))
}

fn paint(page: &mut Pixmap, shape: &Shape, to_page: Transform) {
    match shape {
        Shape::Rects {
            rects,
            colour,
            opacity,
        } => {
            let mut path = PathBuilder::new();
            for [x, y, w, h] in rects {
                let rect = Rect::from_xywh(*x as f32, *y as f32, *w as f32, *h as f32);
                if let Some(rect) = rect {
                    path.push_rect(rect);
                }
            }
            fill(page, path.finish(), *colour, *opacity, to_page);
        }
        Shape::Lines {
            lines,
            colour,
            width,
            dash,
        } => {
            let mut path = PathBuilder::new();
            for line in lines {
                for (i, (x, y)) in line.iter().enumerate() {
                    match i {
                        0 => path.move_to(*x as f32, *y as f32),
                        _ => path.line_to(*x as f32, *y as f32),
                    }
                }
            }
            let stroke = Stroke {
                width: *width as f32,
                line_join: LineJoin::Round,
                dash: dash.and_then(|(on, off)| StrokeDash::new(vec![on as f32, off as f32], 0.0)),
                ..Stroke::default()
            };
            if let Some(path) = path.finish() {
                page.stroke_path(&path, &ink(*colour, 1.0), &stroke, to_page, None);
            }
        }
        Shape::Text(text) => paint_text(page, text, to_page),
    }
}

fn paint_text(page: &mut Pixmap, text: &Text, to_page: Transform) {
    let width = font::width(&text.text, text.size, text.bold);
    let before = match text.anchor {
        Anchor::Start => 0.0,
        Anchor::Middle => width / 2.0,
        Anchor::End => width,
    };
    let turn = if text.upright { -90.0 } else { 0.0 };
    let place = to_page
        .pre_concat(Transform::from_translate(text.x as f32, text.y as f32))
        .pre_concat(Transform::from_rotate(turn))
        .pre_concat(Transform::from_translate(-before as f32, 0.0));
    let mut path = PathBuilder::new();
    font::outline(&text.text, text.size, text.bold, |draw, x, scale| {
        draw(&mut Pen {
            path: &mut path,
            x: x as f32,
            scale: scale as f32,
        });
    });
    fill(page, path.finish(), text.colour, 1.0, place);
}

fn fill(page: &mut Pixmap, path: Option<Path>, colour: Colour, opacity: f64, place: Transform) {
    if let Some(path) = path {
        page.fill_path(&path, &ink(colour, opacity), FillRule::Winding, place, None);
    }
}

fn ink(Colour(r, g, b): Colour, opacity: f64) -> Paint<'static> {
    let mut paint = Paint::default();
    let alpha = (255.0 * opacity.clamp(0.0, 1.0)).round() as u8;
    paint.set_color_rgba8(r, g, b, alpha);
    paint.anti_alias = true;
    paint
}

/// From the font's outlines, which go up, to the page's, which go down.
struct Pen<'a> {
    path: &'a mut PathBuilder,
    x: f32,
    scale: f32,
}

impl Pen<'_> {
    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        (self.x + x * self.scale, -y * self.scale)
    }
}

impl OutlineBuilder for Pen<'_> {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.at(x1, y1), self.at(x, y));
        self.path.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.at(x1, y1), self.at(x2, y2), self.at(x, y));
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}
