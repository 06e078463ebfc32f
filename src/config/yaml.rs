//! YAML text to a tree of nodes with places.
//!
//! Built on the parser's events and not on its loader, because the loader keeps neither
//! the place of an alias nor the first of two equal keys, recurses, and expands aliases
//! without a bound. A document is bounded in depth, nodes and bytes after expansion, so
//! that no text of [`super::files::MAX_BYTES`] can cost more than a fixed amount of memory.

use std::borrow::Cow;
use std::collections::BTreeMap;

use saphyr::Scalar as YamlScalar;
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};
use serde_json::{Number, Value};

use super::finding::Finding;
use super::place::Place;
use super::tree::{Data, Entry, Map, Node, Scalar};

const MAX_DEPTH: usize = 64;
const MAX_NODES: usize = 200_000;
const MAX_EXPANDED_BYTES: usize = 16 << 20;

/// Reads one document. `None` where there is none, or where an error ends the reading;
/// what is wrong without ending it is pushed and the reading goes on.
pub(crate) fn parse(
    text: &str,
    place: &dyn Fn(Span) -> Place,
    findings: &mut Vec<Finding>,
) -> Option<Node> {
    let mut builder = Builder {
        place,
        findings,
        stack: Vec::new(),
        anchors: BTreeMap::new(),
        root: None,
        nodes: 0,
        bytes: 0,
    };
    match builder.run(text) {
        Ok(()) => builder.root,
        Err(finding) => {
            builder.findings.push(*finding);
            None
        }
    }
}

struct Builder<'a> {
    place: &'a dyn Fn(Span) -> Place,
    findings: &'a mut Vec<Finding>,
    stack: Vec<Frame>,
    anchors: BTreeMap<usize, Anchored>,
    root: Option<Node>,
    nodes: usize,
    bytes: usize,
}

/// A list or map that is not yet closed.
struct Frame {
    open: Open,
    place: Place,
    anchor: usize,
}

enum Open {
    List(Vec<Node>),
    Map {
        map: Map,
        /// The key whose value comes next.
        key: Option<Key>,
        /// What `<<` brought in: below the map's own keys.
        merged: Vec<Map>,
    },
}

struct Key {
    name: String,
    place: Place,
    /// An error was told: the value is read and dropped.
    refused: bool,
}

struct Anchored {
    node: Node,
    size: Size,
}

#[derive(Clone, Copy, Default)]
struct Size {
    nodes: usize,
    bytes: usize,
    depth: usize,
}

type Fatal = Box<Finding>;

impl Builder<'_> {
    fn run(&mut self, text: &str) -> Result<(), Fatal> {
        let mut parser = Parser::new_from_str(text);
        let mut documents = 0;
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| self.not_yaml(&error))?;
            match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        return Err(self.fatal(
                            span,
                            "several-documents",
                            "a second YAML document begins here",
                            "Keep one document a file: remove the `---`, or split the file.",
                        ));
                    }
                }
                Event::Scalar(text, style, anchor, tag) => {
                    self.scalar(text, style, anchor, tag, span)?;
                }
                Event::SequenceStart(anchor, tag) => {
                    self.tagged(tag.as_deref(), "seq", span);
                    self.open(Open::List(Vec::new()), anchor, span)?;
                }
                Event::MappingStart(anchor, tag) => {
                    self.tagged(tag.as_deref(), "map", span);
                    let map = Open::Map {
                        map: Map::new(),
                        key: None,
                        merged: Vec::new(),
                    };
                    self.open(map, anchor, span)?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.close(span)?,
                Event::Alias(id) => self.alias(id, span)?,
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            }
        }
        Ok(())
    }

    fn fatal(
        &self,
        span: Span,
        code: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Fatal {
        Box::new(Finding::error(code, &(self.place)(span), message, remedy))
    }

    fn not_yaml(&self, error: &ScanError) -> Fatal {
        let info = error.info();
        let remedy = if info.contains("tab") {
            "Indent with spaces: YAML does not allow tabs there."
        } else {
            "Check indentation, quotes and brackets here and on the line before; \
             a text with `: ` or ` #` in it needs quotes."
        };
        self.fatal(
            Span::empty(*error.marker()),
            "not-yaml",
            format!("this is not valid YAML: {info}"),
            remedy,
        )
    }

    /// Counts a node before it is kept.
    fn count(&mut self, size: Size, span: Span) -> Result<(), Fatal> {
        self.nodes = self.nodes.saturating_add(size.nodes);
        self.bytes = self.bytes.saturating_add(size.bytes);
        if self.nodes > MAX_NODES || self.bytes > MAX_EXPANDED_BYTES {
            return Err(self.fatal(
                span,
                "too-large",
                format!(
                    "the document is too large: with its aliases expanded it has more than \
                     {MAX_NODES} values or {} MiB of text",
                    MAX_EXPANDED_BYTES >> 20
                ),
                "Keep prompts in a file of their own (`prompts.path`), and use fewer aliases.",
            ));
        }
        if self.stack.len() + size.depth > MAX_DEPTH {
            return Err(self.fatal(
                span,
                "too-deep",
                format!("values are nested more than {MAX_DEPTH} levels deep"),
                "No key of lem lies deeper than four levels: flatten this.",
            ));
        }
        Ok(())
    }

    fn scalar(
        &mut self,
        text: Cow<'_, str>,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<Cow<'_, Tag>>,
        span: Span,
    ) -> Result<(), Fatal> {
        let size = Size {
            nodes: 1,
            bytes: text.len(),
            depth: 1,
        };
        self.count(size, span)?;
        let place = (self.place)(span);
        let as_key = matches!(
            self.stack.last(),
            Some(Frame {
                open: Open::Map { key: None, .. },
                ..
            })
        );
        let value = self.value(&text, style, tag, span);
        let node = Node {
            data: Data::Scalar(Scalar {
                value,
                text: text.as_ref().into(),
            }),
            place,
        };
        if anchor > 0 {
            let node = node.clone();
            self.anchors.insert(anchor, Anchored { node, size });
        }
        if as_key {
            self.key(text.into_owned(), style, span);
            return Ok(());
        }
        self.add(node, span);
        Ok(())
    }

    fn value(
        &mut self,
        text: &str,
        style: ScalarStyle,
        tag: Option<Cow<'_, Tag>>,
        span: Span,
    ) -> Value {
        let plain = style == ScalarStyle::Plain && tag.is_none();
        // The scalar type of the library ends at i64; seeds go on to u64.
        if plain && let Ok(number) = text.parse::<u64>() {
            return number.into();
        }
        let shown = tag.as_ref().map(|tag| tag.to_string());
        let core = tag.as_ref().is_none_or(|tag| tag.is_yaml_core_schema());
        let parsed = core
            .then(|| YamlScalar::parse_from_cow_and_metadata(text.into(), style, tag.as_ref()))
            .flatten();
        match parsed {
            Some(YamlScalar::Null) => Value::Null,
            Some(YamlScalar::Boolean(value)) => value.into(),
            Some(YamlScalar::Integer(value)) => value.into(),
            // Infinity and NaN have no place in JSON: they stay text, and no number takes them.
            Some(YamlScalar::FloatingPoint(value)) => Number::from_f64(value.into_inner())
                .map_or_else(|| Value::String(text.to_owned()), Value::Number),
            Some(YamlScalar::String(value)) => Value::String(value.into_owned()),
            None => {
                self.bad_tag(&shown.unwrap_or_default(), span);
                Value::Null
            }
        }
    }

    fn tagged(&mut self, tag: Option<&Tag>, suffix: &str, span: Span) {
        if let Some(tag) = tag
            && !(tag.is_yaml_core_schema() && tag.suffix == suffix)
        {
            self.bad_tag(&tag.to_string(), span);
        }
    }

    fn bad_tag(&mut self, tag: &str, span: Span) {
        self.findings.push(Finding::error(
            "tag",
            &(self.place)(span),
            format!("the YAML tag `{tag}` does not fit here"),
            "Remove it: lem uses plain YAML without tags.",
        ));
    }

    fn key(&mut self, name: String, style: ScalarStyle, span: Span) {
        let place = (self.place)(span);
        let Some(Frame {
            open: Open::Map { map, key, .. },
            ..
        }) = self.stack.last_mut()
        else {
            return;
        };
        let first = map.get(&name);
        if let Some(first) = first {
            self.findings.push(
                Finding::error(
                    "duplicate-key",
                    &place,
                    format!("the key `{}` stands twice in one section", cut(&name)),
                    "Remove one of the two.",
                )
                .related("first here", &first.key),
            );
        }
        *key = Some(Key {
            refused: first.is_some(),
            // A quoted `<<` is a key like any other.
            name: if name == "<<" && style != ScalarStyle::Plain {
                "\"<<\"".into()
            } else {
                name
            },
            place,
        });
    }

    fn open(&mut self, open: Open, anchor: usize, span: Span) -> Result<(), Fatal> {
        let size = Size {
            nodes: 1,
            bytes: 0,
            depth: 1,
        };
        self.count(size, span)?;
        if let Some(Frame {
            open: Open::Map { key: None, .. },
            ..
        }) = self.stack.last()
        {
            return Err(self.fatal(
                span,
                "key",
                "a key is a list or a section",
                "Keys are words: put quotes around it if it is meant as text.",
            ));
        }
        self.stack.push(Frame {
            open,
            place: (self.place)(span),
            anchor,
        });
        Ok(())
    }

    fn close(&mut self, span: Span) -> Result<(), Fatal> {
        let Some(frame) = self.stack.pop() else {
            return Ok(());
        };
        let data = match frame.open {
            Open::List(items) => Data::List(items),
            Open::Map {
                mut map, merged, ..
            } => {
                for (name, entry) in merged.into_iter().flatten() {
                    map.entry(name).or_insert(entry);
                }
                Data::Map(map)
            }
        };
        let node = Node {
            data,
            place: frame.place,
        };
        if frame.anchor > 0 {
            let size = measure(&node);
            self.count(size, span)?;
            let node = node.clone();
            self.anchors.insert(frame.anchor, Anchored { node, size });
        }
        self.add(node, span);
        Ok(())
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<(), Fatal> {
        let Some(anchored) = self.anchors.get(&id) else {
            return Err(self.fatal(
                span,
                "alias",
                "an alias refers to the value that it is itself a part of",
                "Write the value out.",
            ));
        };
        let (mut node, size) = (anchored.node.clone(), anchored.size);
        self.count(size, span)?;
        if let Some(Frame {
            open: Open::Map { key: None, .. },
            ..
        }) = self.stack.last()
        {
            return Err(self.fatal(
                span,
                "key",
                "an alias stands where a key belongs",
                "Write the key out.",
            ));
        }
        if matches!(node.data, Data::Scalar(_)) {
            node.place = (self.place)(span);
        }
        self.add(node, span);
        Ok(())
    }

    /// Puts a finished node where it belongs.
    fn add(&mut self, node: Node, span: Span) {
        match self.stack.last_mut().map(|frame| &mut frame.open) {
            None => self.root = Some(node),
            Some(Open::List(items)) => items.push(node),
            Some(Open::Map { map, key, merged }) => {
                let Some(key) = key.take() else { return };
                if key.refused {
                    return;
                }
                if key.name == "<<" {
                    let nodes = match node.data {
                        Data::List(items) => items,
                        data => vec![Node {
                            data,
                            place: node.place,
                        }],
                    };
                    for node in nodes {
                        match node.data {
                            Data::Map(map) => merged.push(map),
                            _ => self.findings.push(Finding::error(
                                "merge-key",
                                &(self.place)(span),
                                "`<<` takes an alias of a section, or a list of them",
                                "Write `<<: *name`, where `&name` marks a section above.",
                            )),
                        }
                    }
                    return;
                }
                map.insert(
                    key.name,
                    Entry {
                        key: key.place,
                        node,
                    },
                );
            }
        }
    }
}

fn measure(node: &Node) -> Size {
    let (items, bytes): (Vec<Size>, usize) = match &node.data {
        Data::Scalar(scalar) => (Vec::new(), scalar.text.len()),
        Data::List(items) => (items.iter().map(measure).collect(), 0),
        Data::Map(map) => (
            map.values().map(|entry| measure(&entry.node)).collect(),
            map.keys().map(String::len).sum(),
        ),
    };
    items.iter().fold(
        Size {
            nodes: 1,
            bytes,
            depth: 1 + items.iter().map(|size| size.depth).max().unwrap_or(0),
        },
        |sum, size| Size {
            nodes: sum.nodes.saturating_add(size.nodes),
            bytes: sum.bytes.saturating_add(size.bytes),
            depth: sum.depth,
        },
    )
}

/// A name as an error shows it.
pub(crate) fn cut(name: &str) -> String {
    const MOST: usize = 60;
    let clean: String = name
        .chars()
        .take(MOST)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if name.chars().nth(MOST).is_some() {
        format!("{clean}…")
    } else {
        clean
    }
}

/// Line and column, both from 1, and length of a span that ends on the same line.
pub(crate) fn position(span: Span) -> (usize, usize, usize) {
    let (start, end): (Marker, Marker) = (span.start, span.end);
    let length = if end.line() == start.line() {
        end.col().saturating_sub(start.col())
    } else {
        1
    };
    (start.line(), start.col() + 1, length)
}

/// One value of a variable or of `--set`.
pub(crate) fn parse_value(text: &str, place: &Place, findings: &mut Vec<Finding>) -> Option<Node> {
    let before = findings.len();
    let node = parse(text, &|_| place.clone(), findings);
    if node.is_none() && findings.len() == before {
        return Some(Node::scalar(Value::Null, "", place.clone()));
    }
    node
}
