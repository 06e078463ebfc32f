//! Input that was not made by a friend.

use std::time::{Duration, Instant};

use super::support::case;

#[test]
fn two_hundred_levels_are_refused_with_their_place() {
    for (open, close) in [("[", "]"), ("{a: ", "}")] {
        let text = format!("prompts: {}1{}\n", open.repeat(200), close.repeat(200));
        let errors = case(&text).errors();
        assert!(errors.contains("nested more than 64 levels"), "{errors}");
        assert!(errors.contains("a.yaml:1:"), "{errors}");
    }
    let block: String = (0..200).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
    assert!(case(&block).errors().contains("nested more than 64 levels"));
}

#[test]
fn a_bomb_of_aliases_does_not_go_off() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..12 {
        let one = format!("*a{}", n - 1);
        text.push_str(&format!("a{n}: &a{n} [{}]\n", vec![one; 10].join(", ")));
    }
    let started = Instant::now();
    assert!(case(&text).errors().contains("too large"));
    assert!(started.elapsed() < Duration::from_secs(20));

    // Few nodes, many bytes.
    let long = "x".repeat(1 << 20);
    let text = format!("a: &a {long}\nb: [{}]\n", vec!["*a"; 1_000].join(", "));
    assert!(case(&text).errors().contains("too large"));
}

#[test]
fn an_alias_of_itself_is_refused_and_others_work() {
    assert!(case("a: &a [*a]\n").errors().contains("itself"));
    let resolved =
        case("model_name: &m x\nnotes: *m\ntags: &t {a: b}\nprompts:\n  texts: [*m, y]\n").good();
    assert_eq!(resolved.config.notes.as_deref(), Some("x"));
    assert_eq!(resolved.config.prompts.texts, ["x", "y"]);
    let merged = case("model_name: m\nbatching: &b {batch_size: 2}\nvllm: {<<: *b}\n").errors();
    assert!(merged.contains("unknown key `vllm.batch_size`"), "{merged}");
}

#[test]
fn what_is_not_text_is_told_from_text() {
    let errors = case("")
        .file("a.yaml", b"model_name: m\nnotes: \xff\xfe\n")
        .errors();
    assert!(
        errors.contains("not UTF-8 text: an invalid byte on line 2"),
        "{errors}"
    );
    let errors = case("")
        .file("a.yaml", b"model_name: m\n\0num_cycles: 0\n")
        .errors();
    assert!(errors.contains("a control character on line 2"), "{errors}");
    let errors = case("").file("a.yaml", b"GGUF\x03\0\0\0\x10\x01").errors();
    assert!(errors.contains("not UTF-8 text"), "{errors}");
    let utf16: Vec<u8> = "model_name: m\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    assert!(
        case("")
            .file("a.yaml", utf16)
            .errors()
            .contains("not UTF-8 text")
    );
    assert_eq!(
        case("\u{feff}model_name: m\r\nnum_cycles: 2\r\n")
            .good()
            .config
            .num_cycles,
        2
    );
}

#[test]
fn a_huge_file_is_refused_before_it_is_parsed() {
    let errors = case("").file("a.yaml", "# x\n".repeat(2 << 20)).errors();
    assert!(errors.contains("larger than 4 MiB"), "{errors}");
}

#[test]
fn a_huge_value_is_cut_where_it_is_shown() {
    let long = "z".repeat(100_000);
    let errors = case(&format!("model_name: m\nbackend: {long}\n{long}: 1\n")).errors();
    assert!(errors.len() < 3_000, "{}", errors.len());
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let errors = case("model_name: m\n\"a\\e[31mb\": 1\nbackend: \"\\x07\"\n").errors();
    assert!(
        !errors.contains('\u{1b}') && !errors.contains('\u{7}'),
        "{errors}"
    );
}
