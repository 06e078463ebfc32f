use proptest::prelude::*;

use super::*;

type Owned = (String, String, String);

fn own(event: SseEvent<'_>) -> Owned {
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    (text(event.name), text(event.data), text(event.id))
}

fn all(pieces: &[&[u8]]) -> Vec<Owned> {
    let mut sse = Sse::new(1 << 20);
    let mut events = Vec::new();
    for piece in pieces {
        sse.feed(piece, |event| events.push(own(event))).unwrap();
    }
    events
}

fn data(stream: &str) -> Vec<String> {
    all(&[stream.as_bytes()]).into_iter().map(|e| e.1).collect()
}

#[test]
fn examples_of_the_standard() {
    assert_eq!(data("data: YHOO\ndata: +2\ndata: 10\n\n"), ["YHOO\n+2\n10"]);
    let stream = ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n";
    let events = all(&[stream.as_bytes()]);
    let ids: Vec<_> = events.iter().map(|e| e.2.as_str()).collect();
    assert_eq!(ids, ["1", "", ""]);
    assert_eq!(events[2].1, " third event");
    // Two events with empty and newline data; the last one is not complete.
    assert_eq!(data("data\n\ndata\ndata\n\ndata:"), ["", "\n"]);
    assert_eq!(data("data:test\n\ndata: test\n\n"), ["test", "test"]);
}

#[test]
fn all_ends_of_line_and_a_mark_at_the_start() {
    assert_eq!(
        data("\u{feff}data: a\r\n\r\ndata: b\r\rdata: c\n\n"),
        ["a", "b", "c"]
    );
    assert_eq!(
        data("data: a\n\n\u{feff}data: b\n\n"),
        ["a"],
        "only one mark, only at the start"
    );
    assert_eq!(data("data: a\r\ndata: b\r\n\r\n"), ["a\nb"]);
}

#[test]
fn names_and_ids() {
    let mut sse = Sse::new(100);
    let mut events = Vec::new();
    let stream = b"event: error\ndata: x\nid: 7\nretry: 250\n\nevent: lost\n\nid: a\0b\nretry: 2x\ndata: y\n\n";
    sse.feed(stream, |event| events.push(own(event))).unwrap();
    let strings = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
    assert_eq!(events, [strings("error", "x", "7"), strings("", "y", "7")]);
}

#[test]
fn what_is_not_finished_is_no_event() {
    let mut sse = Sse::new(100);
    sse.feed(b"data: [DO", |_| panic!("no event yet")).unwrap();
    sse.feed(b"NE]\n", |_| panic!("no event yet")).unwrap();
    assert_eq!(sse.unfinished(), b"[DONE]");
}

#[test]
fn size_is_bounded_however_it_comes() {
    assert_eq!(
        Sse::new(10).feed(b"data: 0123456789\n", |_| {}),
        Err(TooLarge)
    );
    let mut sse = Sse::new(10);
    assert_eq!(
        (0..100).find_map(|_| sse.feed(b"x", |_| {}).err()),
        Some(TooLarge)
    );
    let mut sse = Sse::new(10);
    assert_eq!(
        (0..100).find_map(|_| sse.feed(b"data\n", |_| {}).err()),
        Some(TooLarge)
    );
}

/// The standard's own algorithm on the whole text, written without regard to speed.
fn reference(stream: &str) -> Vec<Owned> {
    let stream = stream.strip_prefix('\u{feff}').unwrap_or(stream);
    let text = stream.replace("\r\n", "\n").replace('\r', "\n");
    let (mut out, mut data, mut name, mut id) =
        (Vec::new(), String::new(), String::new(), String::new());
    let mut lines: Vec<&str> = text.split('\n').collect();
    lines.pop();
    for line in lines {
        if line.is_empty() {
            if !data.is_empty() {
                data.pop();
                out.push((name.clone(), data.clone(), id.clone()));
            }
            data.clear();
            name.clear();
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => name = value.to_owned(),
            "data" => data += &format!("{value}\n"),
            "id" if !value.contains('\0') => id = value.to_owned(),
            _ => {}
        }
    }
    out
}

fn stream() -> impl Strategy<Value = String> {
    let atom = prop_oneof![
        Just("data: "),
        Just("data"),
        Just("data:"),
        Just("event: "),
        Just("id: "),
        Just("retry: 5"),
        Just(":"),
        Just("\n"),
        Just("\r"),
        Just("\r\n"),
        Just("\n\n"),
        Just(" "),
        Just("x"),
        Just("é"),
        Just("{\"a\":1}"),
        Just("\0"),
        Just("\u{feff}"),
        Just("[DONE]"),
    ];
    prop::collection::vec(atom, 0..60).prop_map(|atoms| atoms.concat())
}

proptest! {
    #[test]
    fn any_split_gives_the_events_of_the_standard(
        stream in stream(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let bytes = stream.as_bytes();
        let mut at: Vec<usize> = cuts.iter().map(|c| c.index(bytes.len() + 1)).collect();
        at.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in at {
            pieces.push(&bytes[from..cut]);
            from = cut;
        }
        pieces.push(&bytes[from..]);
        prop_assert_eq!(all(&pieces), reference(&stream));
    }
}
