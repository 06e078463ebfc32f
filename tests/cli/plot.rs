//! `lem results plot`: a figure of a run that was really measured.

use crate::support::{Bench, run_dir, stderr};

#[test]
fn a_run_is_drawn_in_the_terminal_and_into_files() {
    let bench = Bench::new();
    let run = run_dir(&bench.result(&[], 0));
    let run = run.to_str().unwrap();
    let out = bench.verb(&["results", "plot", run], &[]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let drawn = String::from_utf8(out.stdout).unwrap();
    assert!(drawn.contains("Energy of a cycle"), "{drawn}");
    assert!(drawn.contains("phase") && drawn.contains('┤'), "{drawn}");
    assert!(drawn.lines().all(|line| line.chars().count() <= 100));

    let files = [
        "--out", "a.svg", "--out", "a.png", "--cycle", "1", "--width", "500",
    ];
    let out = bench.verb(&[&["results", "plot", run], &files[..]].concat(), &[]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    assert!(out.stdout.is_empty(), "files were asked for");
    let svg = std::fs::read_to_string(bench.path().join("a.svg")).unwrap();
    assert!(svg.starts_with("<svg ") && svg.contains("Energy of cycle 1"));
    let png = std::fs::read(bench.path().join("a.png")).unwrap();
    assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
    // Big-endian, after the header's length and name.
    assert_eq!(png[16..20], 500u32.to_be_bytes());
}

#[test]
fn what_cannot_be_drawn_says_why() {
    let bench = Bench::new();
    let run = run_dir(&bench.result(&[], 0));
    let run = run.to_str().unwrap();
    for (args, code, told) in [
        (&["nowhere"][..], 1, "holds no run"),
        (
            &[run, "--out", "figure.pdf"],
            2,
            "neither a .svg nor a .png",
        ),
        (&[run, "--cycle", "7"], 1, "no cycle 7"),
        (
            &[run, "--what", "clock"],
            1,
            "nothing of what is to be drawn",
        ),
        (&[run, "--out", "nowhere/a.svg"], 1, "cannot be written"),
    ] {
        let out = bench.verb(&[&["results", "plot"], args].concat(), &[]);
        assert_eq!(out.status.code(), Some(code), "{args:?}");
        assert!(stderr(&out).contains(told), "{args:?}: {}", stderr(&out));
    }
}
