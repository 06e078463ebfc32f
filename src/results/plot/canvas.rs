//! Shapes on a page, in units of a quarter of a millimetre, from the upper left corner.

/// Red, green, blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour(pub u8, pub u8, pub u8);

/// Told apart also by readers who do not see red and green, and on a grey printer.
pub mod palette {
    use super::Colour;

    pub const INK: Colour = Colour(34, 34, 34);
    pub const SOFT: Colour = Colour(105, 105, 105);
    pub const GRID: Colour = Colour(226, 226, 226);
    pub const POWER: Colour = Colour(20, 60, 105);
    pub const PREFILL: Colour = Colour(230, 140, 20);
    pub const DECODE: Colour = Colour(86, 160, 215);
    pub const IDLE: Colour = Colour(140, 140, 140);
    pub const WARM: Colour = Colour(176, 48, 38);
    pub const THROTTLED: Colour = Colour(200, 30, 60);
    /// Of single devices, in order.
    pub const DEVICES: [Colour; 8] = [
        Colour(0, 128, 96),
        Colour(170, 70, 140),
        Colour(190, 120, 0),
        Colour(90, 90, 170),
        Colour(60, 150, 160),
        Colour(150, 90, 60),
        Colour(110, 130, 30),
        Colour(120, 60, 60),
    ];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Rectangles of one colour: left, top, width, height.
    Rects {
        rects: Vec<[f64; 4]>,
        colour: Colour,
        opacity: f64,
    },
    /// Unbroken lines of one colour.
    Lines {
        lines: Vec<Vec<(f64, f64)>>,
        colour: Colour,
        width: f64,
        /// Lengths of dash and gap.
        dash: Option<(f64, f64)>,
    },
    Text(Text),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Text {
    pub x: f64,
    /// Of the baseline.
    pub y: f64,
    pub text: String,
    pub size: f64,
    pub colour: Colour,
    pub anchor: Anchor,
    pub bold: bool,
    /// A quarter turn against the clock.
    pub upright: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Canvas {
    pub width: f64,
    pub height: f64,
    /// For readers who do not see the figure.
    pub title: String,
    pub description: String,
    pub shapes: Vec<Shape>,
}

impl Canvas {
    pub fn rect(&mut self, rect: [f64; 4], colour: Colour, opacity: f64) {
        self.rects(vec![rect], colour, opacity);
    }

    pub fn rects(&mut self, rects: Vec<[f64; 4]>, colour: Colour, opacity: f64) {
        if !rects.is_empty() {
            self.shapes.push(Shape::Rects {
                rects,
                colour,
                opacity,
            });
        }
    }

    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: Colour, width: f64) {
        self.lines(vec![vec![from, to]], colour, width, None);
    }

    pub fn lines(
        &mut self,
        lines: Vec<Vec<(f64, f64)>>,
        colour: Colour,
        width: f64,
        dash: Option<(f64, f64)>,
    ) {
        if !lines.is_empty() {
            self.shapes.push(Shape::Lines {
                lines,
                colour,
                width,
                dash,
            });
        }
    }

    pub fn text(&mut self, x: f64, y: f64, text: impl Into<String>, style: Style) {
        self.shapes.push(Shape::Text(Text {
            x,
            y,
            text: text.into(),
            size: style.size,
            colour: style.colour,
            anchor: style.anchor,
            bold: style.bold,
            upright: style.upright,
        }));
    }
}

/// How a text looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Style {
    pub size: f64,
    pub colour: Colour,
    pub anchor: Anchor,
    pub bold: bool,
    pub upright: bool,
}

impl Style {
    pub const fn new(size: f64) -> Self {
        Self {
            size,
            colour: palette::INK,
            anchor: Anchor::Start,
            bold: false,
            upright: false,
        }
    }

    pub const fn colour(mut self, colour: Colour) -> Self {
        self.colour = colour;
        self
    }

    pub const fn anchor(mut self, anchor: Anchor) -> Self {
        self.anchor = anchor;
        self
    }

    pub const fn bold(mut self) -> Self {
        self.bold = true;
        self
    }

    pub const fn upright(mut self) -> Self {
        self.upright = true;
        self
    }
}
