use super::keys::Shape;
use super::tree::{Data, Node};

/// Lays one layer over another: sections key by key, everything else replaced. Nothing
/// (`null`) over a value takes it back to its default.
pub(crate) fn merge(base: &mut Node, over: Node, shape: &Shape) {
    let both = base.as_map().is_some() && over.as_map().is_some();
    if !both || !(shape.merges() || same_variant(base, &over, shape)) {
        *base = over;
        return;
    }
    let Data::Map(over) = over.data else { return };
    let Some(map) = base.as_map_mut() else { return };
    for (key, entry) in over {
        match map.get_mut(&key) {
            Some(below) => {
                merge(&mut below.node, entry.node, shape.below(&key));
                below.key = entry.key;
            }
            None => {
                map.insert(key, entry);
            }
        }
    }
}

/// Whether the later layer changes a detail of the same variant (`min` of a uniform
/// distribution), rather than choosing another one.
fn same_variant(base: &Node, over: &Node, shape: &Shape) -> bool {
    match shape {
        Shape::OneOf(shapes) => shapes.iter().any(|shape| same_variant(base, over, shape)),
        Shape::Tagged { tag, .. } => {
            let name = |node: &Node| Some(node.get(&[tag.as_str()])?.as_scalar()?.text.clone());
            match (name(base), name(over)) {
                (_, None) => true,
                (base, over) => base == over,
            }
        }
        _ => false,
    }
}
