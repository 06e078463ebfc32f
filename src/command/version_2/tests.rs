#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

/// What is run, and how many notes there are.
fn now(line: &str) -> (String, usize) {
    match translate(&words(line)) {
        Translated::Arguments { arguments, notes } => {
            let arguments: Vec<String> = arguments
                .iter()
                .map(|a| a.to_string_lossy().into_owned())
                .collect();
            (arguments.join(" "), notes.len())
        }
        Translated::Answer { .. } => panic!("{line} is answered"),
        Translated::Became(message) => panic!("{line}: {message}"),
    }
}

fn became(line: &str) -> String {
    match translate(&words(line)) {
        Translated::Became(message) => message,
        _ => panic!("{line} is run or answered"),
    }
}

#[test]
fn an_experiment_is_a_run_with_its_flags() {
    let line = "lem experiment a.yaml --dataset alpaca -n 100 --cycles 5 -o out --gpu-list 0,1 -b4 --backend=vllm --yes";
    let (run, notes) = now(line);
    assert_eq!(
        run,
        "lem run a.yaml --set prompts.dataset=tatsu-lab/alpaca --set prompts.column=instruction \
         --set prompts.sample_size=100 --cycles 5 --output out --set gpus=[0,1] \
         --set batching.batch_size=4 --set backend=vllm"
    );
    assert_eq!(notes, 8, "the verb, and each flag but --cycles");
    assert_eq!(
        now("lem experiment --resume 0042").0,
        "lem run --resume 0042"
    );
    assert_eq!(
        now("lem --verbose experiment a.yaml --dry-run").0,
        "lem run a.yaml --dry-run"
    );
    assert_eq!(
        now("lem run a.yaml -m org/model --streaming").0,
        "lem run a.yaml --set model_name=org/model --set streaming=true"
    );
    assert_eq!(
        now("lem experiment -n -- x").0,
        "lem run --set prompts.sample_size=-- x"
    );
    assert_eq!(now("lem experiment --help").0, "lem run --help");
}

#[test]
fn what_is_of_version_3_is_left_alone() {
    for line in [
        "lem",
        "lem --help",
        "lem run a.yaml --cycles 5 --set x=1 --output o",
        "lem run a.yaml --cycles=5 --mlflow --prometheus=0.0.0.0:9464",
        "lem exec -- experiment -o x",
        "lem results show lem-runs/x --format json",
        "lem results plot lem-runs/x -o y",
        "lem config new a.yaml",
        "lem nonsense",
        "lem experiments",
        "lem config",
    ] {
        assert_eq!(now(line), (line.to_owned(), 0));
    }
}

#[test]
fn verbs_that_became_something_else_say_what() {
    for (line, expected) in [
        ("lem aggregate --all", "lem results aggregate"),
        ("lem batch configs/*.yaml", "lem sweep"),
        ("lem campaign a.yaml b.yaml", "--order interleaved"),
        ("lem schedule a.yaml --interval 6h", "systemd"),
        (
            "lem config generate-grid a.yaml --vary batch_size=1,2",
            "lem sweep plan",
        ),
        (
            "lem experiment a.yaml --preset quick-test",
            "lem config new",
        ),
        ("lem experiment a.yaml --dataset", "needs a value"),
    ] {
        let message = became(line);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn lists_are_answered_in_place() {
    for (line, expected) in [
        ("lem presets", "decoder.temperature: 0.3"),
        ("lem datasets", "tatsu-lab/alpaca"),
        ("lem gpus", "GPU"),
    ] {
        let Translated::Answer { text, note } = translate(&words(line)) else {
            panic!("{line} is not answered");
        };
        assert!(text.contains(expected), "{text}");
        assert!(note.contains(line), "{note}");
    }
    assert_eq!(
        now("lem results show r --json --raw").0,
        "lem results show r --format json"
    );
    assert_eq!(
        now("lem results list -o results --all").0,
        "lem results list results"
    );
    assert_eq!(
        now("lem config new --output a.yaml").0,
        "lem config new a.yaml"
    );
}

#[test]
fn every_flag_goes_to_a_key_that_there_is() {
    use crate::config::keys::keys;
    let old = ["streaming_warmup_requests"];
    for flag in FLAGS {
        let key = match flag.now {
            Now::Set(key) => key,
            Now::Fixed(setting) => setting.split('=').next().unwrap(),
            _ => continue,
        };
        assert!(keys().row(key).is_some() || old.contains(&key), "{key}");
    }
    for key in ["prompts.dataset", "prompts.subset", "prompts.column"] {
        assert!(keys().row(key).is_some(), "{key}");
    }
}

#[test]
fn words_that_are_no_text_are_handed_on() {
    use std::os::unix::ffi::OsStringExt as _;
    let odd = OsString::from_vec(vec![b'-', 0xff]);
    let given = vec![
        "lem".into(),
        "experiment".into(),
        odd.clone(),
        "-o".into(),
        odd.clone(),
    ];
    let Translated::Arguments { arguments, .. } = translate(&given) else {
        panic!("it is not run");
    };
    assert_eq!(
        arguments,
        [
            "lem".into(),
            "run".into(),
            odd.clone(),
            OsString::from("--output"),
            odd
        ]
    );
}
