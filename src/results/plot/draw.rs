//! A picture on a page as wide as a two-column paper: 180 mm, with text of 7 to 9 points.

use super::bands::shades;
use super::canvas::{Anchor, Canvas, Colour, Style, palette};
use super::font;
use super::panels::{Panel, Role, Series};
use super::picture::{Picture, Stretch, What};
use super::scale::Scale;
use super::tokens::Tokens;
use crate::analysis::Window;

const WIDTH: f64 = 720.0;
const LEFT: f64 = 50.0;
const TITLE: f64 = 13.0;
const TEXT: f64 = 10.5;
const SMALL: f64 = 9.0;
/// From one line of text to the next.
const LEADING: f64 = 1.3;
const POWER_HEIGHT: f64 = 230.0;
const PANEL_HEIGHT: f64 = 78.0;
/// Between two panels.
const GUTTER: f64 = 14.0;
const PREFILL: f64 = 0.42;
const DECODE: f64 = 0.26;

pub fn draw(picture: &Picture) -> Canvas {
    let mut page = Page {
        canvas: Canvas {
            width: WIDTH,
            title: picture.title.clone(),
            description: [picture.facts.join(" "), picture.notes.join(" ")].join(" "),
            ..Canvas::default()
        },
        right: match picture.idle.is_empty() || picture.power.is_empty() {
            true => WIDTH - 14.0,
            false => WIDTH - 70.0,
        },
        y: 20.0,
        picture,
    };
    page.head();
    page.legend();
    page.names();
    let top = page.y;
    if !picture.power.is_empty() {
        page.power();
    }
    for panel in &picture.panels {
        page.panel(panel);
    }
    if let Some(tokens) = &picture.tokens {
        page.tokens(tokens);
    }
    page.time_axis(top);
    page.notes();
    page.canvas.height = page.y;
    page.canvas
}

struct Page<'a> {
    canvas: Canvas,
    /// Where the panels end.
    right: f64,
    /// How far down the page is filled.
    y: f64,
    picture: &'a Picture,
}

impl Page<'_> {
    fn head(&mut self) {
        let bold = Style::new(TITLE).bold();
        for line in wrapped(&self.picture.title, WIDTH - LEFT - 14.0, TITLE, true) {
            self.canvas.text(LEFT, self.y, line, bold);
            self.y += TITLE * LEADING;
        }
        for fact in &self.picture.facts {
            for line in wrapped(fact, WIDTH - LEFT - 14.0, TEXT, false) {
                self.canvas.text(LEFT, self.y, line, Style::new(TEXT));
                self.y += TEXT * LEADING;
            }
        }
        self.y += 4.0;
    }

    fn legend(&mut self) {
        let picture = self.picture;
        let mut items: Vec<(Swatch, String)> = Vec::new();
        for series in &picture.power {
            items.push((Swatch::Line(colour(series.role)), series.name.clone()));
        }
        for (windows, colour, opacity, name) in [
            (&picture.prefill, palette::PREFILL, PREFILL, "prefill"),
            (&picture.decode, palette::DECODE, DECODE, "decode"),
        ] {
            if !windows.is_empty() {
                items.push((Swatch::Box(colour, opacity), name.to_owned()));
            }
        }
        if !picture.power.is_empty() && !picture.idle.is_empty() {
            let levels = picture.idle.iter();
            let levels: Vec<String> = levels
                .map(|i| format!("{} {}", i.name, i.meaning))
                .collect();
            items.push((Swatch::Dashes, levels.join(", ")));
        }
        if !picture.throttled.is_empty() {
            let swatch = Swatch::Box(palette::THROTTLED, 1.0);
            items.push((swatch, "clock held down".to_owned()));
        }
        let mut x = LEFT;
        for (swatch, name) in items {
            let width = 24.0 + font::width(&name, TEXT, false) + 14.0;
            if x > LEFT && x + width > WIDTH - 14.0 {
                x = LEFT;
                self.y += TEXT * LEADING;
            }
            let middle = self.y - TEXT * 0.34;
            match swatch {
                Swatch::Line(colour) => {
                    self.canvas
                        .line((x, middle), (x + 18.0, middle), colour, 1.6);
                }
                Swatch::Dashes => {
                    let line = vec![vec![(x, middle), (x + 18.0, middle)]];
                    self.canvas
                        .lines(line, palette::IDLE, 1.2, Some((4.0, 2.5)));
                }
                Swatch::Box(colour, opacity) => {
                    let rect = [x, middle - 4.5, 18.0, 9.0];
                    self.canvas.rect(rect, colour, opacity);
                }
            }
            self.canvas.text(x + 23.0, self.y, name, Style::new(TEXT));
            x += width;
        }
        self.y += 8.0;
    }

    fn x(&self) -> Scale {
        let (start, end) = (self.picture.span.start_ns, self.picture.span.end_ns);
        let (low, high) = (self.picture.seconds(start), self.picture.seconds(end));
        Scale::exact(low, high, 8, LEFT, self.right)
    }

    fn x_of(&self, t_ns: u64) -> f64 {
        self.x().within(self.picture.seconds(t_ns))
    }

    fn rects(&self, stretches: &[(u64, u64)], top: f64, height: f64) -> Vec<[f64; 4]> {
        let x = self.x();
        let place = |t| x.within(self.picture.seconds(t));
        let rect = |(start, end): &(u64, u64)| {
            let left = place(*start);
            // A sliver is still to be seen.
            [left, top, (place(*end) - left).max(0.15), height]
        };
        stretches.iter().map(rect).collect()
    }

    fn bands(&mut self, windows: &[Window], top: f64, height: f64, colour: Colour, opacity: f64) {
        let strips = (self.right - LEFT) as usize;
        for shade in shades(windows, self.picture.span, strips) {
            let rects = self.rects(&shade.stretches, top, height);
            self.canvas.rects(rects, colour, opacity * shade.share);
        }
    }

    /// Grey stretches and phase bands behind a panel.
    fn backdrop(&mut self, top: f64, height: f64) {
        let picture = self.picture;
        let around: Vec<(u64, u64)> = picture
            .around
            .iter()
            .map(|s| (s.window.start_ns, s.window.end_ns))
            .collect();
        let rects = self.rects(&around, top, height);
        self.canvas.rects(rects, palette::GRID, 0.6);
        self.bands(&picture.prefill, top, height, palette::PREFILL, PREFILL);
        self.bands(&picture.decode, top, height, palette::DECODE, DECODE);
    }

    fn frame(&mut self, scale: &Scale, top: f64, height: f64, label: &str, ticks: bool) {
        let bottom = top + height;
        if ticks {
            for tick in scale.ticks() {
                let y = scale.place(tick);
                self.canvas
                    .line((LEFT - 4.0, y), (LEFT, y), palette::INK, 0.8);
                let style = Style::new(TEXT).anchor(Anchor::End);
                let text = scale.label(tick);
                self.canvas.text(LEFT - 7.0, y + TEXT * 0.35, text, style);
            }
        }
        self.canvas
            .line((LEFT, top), (LEFT, bottom), palette::INK, 0.8);
        self.canvas
            .line((LEFT, bottom), (self.right, bottom), palette::INK, 0.8);
        let style = Style::new(TEXT).anchor(Anchor::Middle).upright();
        self.canvas.text(13.0, top + height / 2.0, label, style);
    }

    fn grid(&mut self, scale: &Scale) {
        let line = |tick: &f64| {
            let y = scale.place(*tick);
            vec![(LEFT, y), (self.right, y)]
        };
        let inner = scale.ticks().into_iter().filter(|t| *t > scale.low);
        let lines: Vec<_> = inner.map(|t| line(&t)).collect();
        self.canvas.lines(lines, palette::GRID, 0.5, None);
    }

    fn curve(&mut self, series: &Series, y: &Scale, width: f64) {
        let x = self.x();
        let mut lines: Vec<Vec<(f64, f64)>> = vec![Vec::new()];
        for (t, value) in &series.points {
            match value {
                Some(value) => {
                    let point = (x.place(self.picture.seconds(*t)), y.within(*value));
                    if let Some(line) = lines.last_mut() {
                        line.push(point);
                    }
                }
                None => lines.push(Vec::new()),
            }
        }
        lines.retain(|line| line.len() > 1);
        self.canvas.lines(lines, colour(series.role), width, None);
    }

    fn power(&mut self) {
        let picture = self.picture;
        let (top, height) = (self.y, POWER_HEIGHT);
        let peaks = picture.power.iter().filter_map(|s| Some(s.range()?.1));
        let peak = peaks
            .chain(picture.idle.iter().map(|i| i.watts))
            .fold(0.0, f64::max);
        let y = Scale::around(0.0, peak * 1.03, 6, top + height, top);
        self.backdrop(top, height);
        self.grid(&y);
        for idle in &picture.idle {
            let at = y.within(idle.watts);
            let line = vec![vec![(LEFT, at), (self.right, at)]];
            self.canvas
                .lines(line, palette::IDLE, 1.2, Some((4.0, 2.5)));
        }
        let throttled: Vec<(u64, u64)> = picture
            .throttled
            .iter()
            .map(|w| (w.start_ns, w.end_ns))
            .collect();
        let rects = self.rects(&throttled, top, 3.0);
        self.canvas.rects(rects, palette::THROTTLED, 1.0);
        // The sum is drawn last, over its parts.
        for series in picture.power.iter().skip(1) {
            self.curve(series, &y, 0.8);
        }
        if let Some(total) = picture.power.first() {
            self.curve(total, &y, 1.1);
        }
        self.frame(&y, top, height, "Power (W)", true);
        self.idle_names(&y, top, height);
        self.y = top + height + GUTTER;
    }

    /// Names over stretches that are wide enough for them.
    fn names(&mut self) {
        let picture = self.picture;
        let mut all: Vec<&Stretch> = picture.around.iter().chain(&picture.cycles).collect();
        all.sort_by_key(|stretch| stretch.window);
        self.y += SMALL + 1.0;
        let mut free = LEFT;
        for stretch in all {
            let left = self.x_of(stretch.window.start_ns);
            let right = self.x_of(stretch.window.end_ns);
            let long = match stretch.counted {
                true => stretch.name.clone(),
                false => format!("{}, cut off", stretch.name),
            };
            // Where its name has no room, a cycle's number may have.
            let number = stretch.name.strip_prefix("cycle ").unwrap_or(&long);
            let fits = |name: &str| font::width(name, SMALL, false) <= right - left;
            let name = match fits(&long) {
                true => long.clone(),
                false => number.to_owned(),
            };
            let width = font::width(&name, SMALL, false);
            let middle = (left + right) / 2.0;
            if width > right - left || middle - width / 2.0 < free {
                continue;
            }
            free = middle + width / 2.0 + 4.0;
            let style = Style::new(SMALL)
                .colour(palette::SOFT)
                .anchor(Anchor::Middle);
            self.canvas.text(middle, self.y, name, style);
        }
        self.y += 4.0;
    }

    /// Beside their lines, pushed apart where they would lie on one another.
    fn idle_names(&mut self, y: &Scale, top: f64, height: f64) {
        let mut names: Vec<(f64, String)> = self
            .picture
            .idle
            .iter()
            .map(|idle| {
                let text = format!("{} {:.1} W", idle.name, idle.watts);
                (y.within(idle.watts), text.replace('-', "−"))
            })
            .collect();
        names.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut lowest = top + height;
        for (at, text) in names {
            let place = at.min(lowest);
            lowest = place - SMALL * 1.15;
            let style = Style::new(SMALL).colour(palette::SOFT);
            let y = place + SMALL * 0.35;
            self.canvas.text(self.right + 5.0, y, text, style);
        }
    }

    fn panel(&mut self, panel: &Panel) {
        let (top, height) = (self.y, PANEL_HEIGHT);
        let ranges = || panel.series.iter().filter_map(Series::range);
        let low = ranges().map(|r| r.0).fold(f64::INFINITY, f64::min);
        let high = ranges().map(|r| r.1).fold(f64::NEG_INFINITY, f64::max);
        let y = match panel.what {
            What::Utilization => Scale::around(0.0, high.max(100.0), 3, top + height, top),
            What::Memory => Scale::around(0.0, high, 3, top + height, top),
            _ => Scale::around(low, high, 3, top + height, top),
        };
        self.backdrop(top, height);
        self.grid(&y);
        let alone = panel.series.len() == 1;
        for series in &panel.series {
            let mut series = series.clone();
            if alone && panel.what == What::Temperature {
                self.curve_in(&series, &y, palette::WARM);
                continue;
            }
            if alone {
                series.role = Role::Total;
            }
            self.curve(&series, &y, 1.0);
        }
        self.frame(&y, top, height, &panel.label, true);
        self.series_names(panel, top);
        self.y = top + height + GUTTER;
    }

    fn curve_in(&mut self, series: &Series, y: &Scale, colour: Colour) {
        self.curve(series, y, 1.0);
        if let Some(super::canvas::Shape::Lines { colour: own, .. }) = self.canvas.shapes.last_mut()
        {
            *own = colour;
        }
    }

    /// Which line is whose, above the panel at its right.
    fn series_names(&mut self, panel: &Panel, top: f64) {
        let mut x = self.right - 4.0;
        let alone = panel.series.len() == 1;
        for series in panel.series.iter().rev() {
            let colour = match (alone, panel.what) {
                (true, What::Temperature) => palette::WARM,
                (true, _) => palette::POWER,
                (false, _) => colour(series.role),
            };
            let style = Style::new(SMALL).colour(colour).anchor(Anchor::End);
            self.canvas.text(x, top - 3.0, series.name.clone(), style);
            x -= font::width(&series.name, SMALL, false) + 10.0;
        }
    }

    fn tokens(&mut self, tokens: &Tokens) {
        let top = self.y;
        match tokens {
            Tokens::Rate(rate) => {
                let height = PANEL_HEIGHT;
                let high = rate.iter().map(|(_, v)| *v).fold(0.0, f64::max);
                let y = Scale::around(0.0, high, 3, top + height, top);
                self.backdrop(top, height);
                self.grid(&y);
                let series = Series {
                    name: String::new(),
                    role: Role::Total,
                    points: rate.iter().map(|(t, v)| (*t, Some(*v))).collect(),
                };
                self.curve(&series, &y, 1.0);
                self.frame(&y, top, height, "Tokens/s", true);
                self.y = top + height + GUTTER;
            }
            Tokens::Lanes {
                stories,
                lanes,
                single,
            } => {
                let lane = (150.0 / (*lanes).max(1) as f64).clamp(4.5, 15.0);
                let height = (lane * *lanes as f64 + 8.0).max(44.0);
                let lane = (height - 8.0) / (*lanes).max(1) as f64;
                let lane = lane.min(22.0);
                let bar = lane * 0.66;
                let (mut waits, mut bars, mut ticks) = (Vec::new(), Vec::new(), Vec::new());
                for story in stories {
                    let upper = top + 4.0 + story.lane as f64 * lane + (lane - bar) / 2.0;
                    let Some(first) = story.token_ns.first() else {
                        continue;
                    };
                    let (start, first, end) = (
                        self.x_of(story.start_ns),
                        self.x_of(*first),
                        self.x_of(story.end_ns),
                    );
                    waits.push([start, upper, (first - start).max(0.15), bar]);
                    bars.push([first, upper, (end - first).max(0.15), bar]);
                    let spacing = (end - first) / story.token_ns.len().max(1) as f64;
                    if spacing >= 1.3 {
                        let x = self.x();
                        let inside = story.token_ns.iter().filter(|t| {
                            (self.picture.span.start_ns..=self.picture.span.end_ns).contains(*t)
                        });
                        ticks.extend(inside.map(|t| {
                            let at = x.place(self.picture.seconds(*t));
                            vec![(at, upper), (at, upper + bar)]
                        }));
                    }
                }
                self.canvas.rects(waits, palette::PREFILL, 0.85);
                self.canvas.rects(bars, palette::DECODE, 0.55);
                self.canvas.lines(ticks, palette::POWER, 0.55, None);
                let y = Scale::exact(0.0, 1.0, 1, top + height, top);
                let label = if *single { "Tokens" } else { "Chunks" };
                self.frame(&y, top, height, label, false);
                self.y = top + height + GUTTER;
            }
        }
    }

    fn time_axis(&mut self, top: f64) {
        let picture = self.picture;
        let x = self.x();
        let bottom = self.y - GUTTER;
        let mut edges: Vec<f64> = picture
            .cycles
            .iter()
            .flat_map(|c| [c.window.start_ns, c.window.end_ns])
            .map(|t| self.x_of(t))
            .collect();
        // Lines that touch are one; a hundred of them are a wall.
        edges.dedup_by(|a, b| (*a - *b).abs() < 1.5);
        if edges.len() <= 60 {
            let line = |at: f64| vec![(at, top), (at, bottom)];
            let lines = edges.into_iter().map(line).collect();
            self.canvas
                .lines(lines, palette::SOFT, 0.5, Some((1.5, 2.0)));
        }
        for tick in x.ticks() {
            let at = x.place(tick);
            self.canvas
                .line((at, bottom), (at, bottom + 4.0), palette::INK, 0.8);
            let style = Style::new(TEXT).anchor(Anchor::Middle);
            self.canvas
                .text(at, bottom + 5.0 + TEXT, x.label(tick), style);
        }
        let style = Style::new(TEXT).anchor(Anchor::Middle);
        let middle = (LEFT + self.right) / 2.0;
        let y = bottom + 9.0 + TEXT * 2.2;
        self.canvas
            .text(middle, y, picture.time_label.clone(), style);
        self.y = y + 16.0;
    }

    fn notes(&mut self) {
        let style = Style::new(SMALL).colour(palette::SOFT);
        for note in &self.picture.notes {
            for line in wrapped(note, WIDTH - LEFT - 14.0, SMALL, false) {
                self.canvas.text(LEFT, self.y, line, style);
                self.y += SMALL * LEADING;
            }
        }
        self.y += 2.0;
    }
}

enum Swatch {
    Line(Colour),
    Dashes,
    Box(Colour, f64),
}

fn colour(role: Role) -> Colour {
    match role {
        Role::Total => palette::POWER,
        Role::Device(i) => palette::DEVICES[i % palette::DEVICES.len()],
    }
}

/// Lines of at most so much width, broken at spaces; a longer word stands alone.
fn wrapped(text: &str, width: f64, size: f64, bold: bool) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    // Not at a no-break space.
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if let Some(line) = lines.last_mut() {
            let longer = format!("{line} {word}");
            if font::width(&longer, size, bold) <= width {
                *line = longer;
                continue;
            }
        }
        lines.push(word.to_owned());
    }
    lines
}
