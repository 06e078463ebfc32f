//! The font that figures are measured and painted with. A machine that measures has often
//! no font at all; Arimo has the widths of Arial and Helvetica, so an SVG that is shown
//! with one of those keeps its layout.

use std::sync::LazyLock;

use ttf_parser::{Face, GlyphId, OutlineBuilder};

static REGULAR: &[u8] = include_bytes!("font/Arimo-Regular.ttf");
static BOLD: &[u8] = include_bytes!("font/Arimo-Bold.ttf");

/// As an SVG names it, with what stands in where it is missing.
pub const FAMILY: &str = "Arimo, 'Liberation Sans', Arial, Helvetica, sans-serif";

static FACES: LazyLock<[Option<Face<'static>>; 2]> =
    LazyLock::new(|| [REGULAR, BOLD].map(|bytes| Face::parse(bytes, 0).ok()));

fn face(bold: bool) -> Option<&'static Face<'static>> {
    FACES[usize::from(bold)].as_ref()
}

/// Width of a text, in units of its size's.
pub fn width(text: &str, size: f64, bold: bool) -> f64 {
    let Some(face) = face(bold) else {
        return 0.5 * size * text.chars().count() as f64;
    };
    let advance = |c| f64::from(face.glyph_hor_advance(glyph(face, c)).unwrap_or(0));
    text.chars().map(advance).sum::<f64>() * size / f64::from(face.units_per_em())
}

/// A sign that the font lacks is its box.
fn glyph(face: &Face<'_>, c: char) -> GlyphId {
    face.glyph_index(c).unwrap_or(GlyphId(0))
}

/// Gives the outline of every glyph of a text, with its place and the scale from the
/// font's units.
pub fn outline(
    text: &str,
    size: f64,
    bold: bool,
    mut each: impl FnMut(&mut dyn FnMut(&mut dyn OutlineBuilder), f64, f64),
) {
    let Some(face) = face(bold) else { return };
    let scale = size / f64::from(face.units_per_em());
    let mut x = 0.0;
    for c in text.chars() {
        let id = glyph(face, c);
        each(
            &mut |builder| {
                face.outline_glyph(id, builder);
            },
            x,
            scale,
        );
        x += f64::from(face.glyph_hor_advance(id).unwrap_or(0)) * scale;
    }
}

#[cfg(test)]
mod tests {
    use super::{face, width};

    #[test]
    fn both_faces_read_and_have_the_signs_that_figures_use() {
        for bold in [false, true] {
            let face = face(bold).expect("the font reads");
            for sign in "Aß±µ·×–−′°₀₂…≈∆ΣΩжé".chars() {
                assert!(face.glyph_index(sign).is_some(), "{sign}");
            }
        }
        assert!(width("WWW", 10.0, true) > width("iii", 10.0, true));
        // As Arial: a figure is 0.556 of the size.
        assert!((width("0000", 10.0, false) - 22.24).abs() < 0.1);
    }
}
