//! Who started this run: continuous integration, a scheduler, a cluster.
//!
//! A table of what each one sets, and no code that knows any of them. Several may hold
//! at once (a GitLab job in a pod on a Slurm node): the first of the table names
//! `lem.ci.system`; tags come from all, the first one's before the others'.

use std::collections::BTreeMap;

use super::Root;
use super::git::without_credentials;

/// A service that starts runs.
struct System {
    /// The value of the tag `lem.ci.system`.
    name: &'static str,
    /// The variable that only this service sets, and its value where that matters.
    sign: (&'static str, Option<&'static str>),
    tags: &'static [Tag],
}

/// A tag, and the texts that it may get: the first one whose names are all known.
///
/// `{NAME}` stands for a variable; `{NAME#begin}` for one that begins so, without that
/// beginning. Small names are facts of the machine: `{hostname}`, and `{namespace}`, that
/// of the pod's service account.
type Tag = (&'static str, &'static [&'static str]);

const SYSTEM: &str = "lem.ci.system";
const COMMIT: &str = "git.commit";
const BRANCH: &str = "git.branch";
const REMOTE: &str = "git.remote";
const JOB_ID: &str = "ci.job_id";
const JOB_NAME: &str = "ci.job_name";
const JOB_URL: &str = "ci.job_url";

const SYSTEMS: &[System] = &[
    // Gitea and Forgejo set the same.
    System {
        name: "github-actions",
        sign: ("GITHUB_ACTIONS", Some("true")),
        tags: &[
            (COMMIT, &["{GITHUB_SHA}"]),
            // Of a pull request the branch it comes from; a tag is no branch.
            (BRANCH, &["{GITHUB_HEAD_REF}", "{GITHUB_REF#refs/heads/}"]),
            (REMOTE, &["{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}"]),
            (JOB_ID, &["{GITHUB_RUN_ID}"]),
            (
                JOB_NAME,
                &["{GITHUB_WORKFLOW}/{GITHUB_JOB}", "{GITHUB_JOB}"],
            ),
            (
                JOB_URL,
                &[
                    "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}/attempts/{GITHUB_RUN_ATTEMPT}",
                    "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}",
                ],
            ),
        ],
    },
    System {
        name: "gitlab",
        sign: ("GITLAB_CI", Some("true")),
        tags: &[
            (COMMIT, &["{CI_COMMIT_SHA}"]),
            (
                BRANCH,
                &[
                    "{CI_MERGE_REQUEST_SOURCE_BRANCH_NAME}",
                    "{CI_COMMIT_BRANCH}",
                ],
            ),
            // Not CI_REPOSITORY_URL: the job's token is in it.
            (REMOTE, &["{CI_PROJECT_URL}"]),
            (JOB_ID, &["{CI_JOB_ID}"]),
            (JOB_NAME, &["{CI_JOB_NAME}"]),
            (JOB_URL, &["{CI_JOB_URL}"]),
        ],
    },
    System {
        name: "buildkite",
        sign: ("BUILDKITE", Some("true")),
        tags: &[
            (COMMIT, &["{BUILDKITE_COMMIT}"]),
            (BRANCH, &["{BUILDKITE_BRANCH}"]),
            (REMOTE, &["{BUILDKITE_REPO}"]),
            (JOB_ID, &["{BUILDKITE_JOB_ID}"]),
            (
                JOB_NAME,
                &[
                    "{BUILDKITE_PIPELINE_SLUG}/{BUILDKITE_LABEL}",
                    "{BUILDKITE_PIPELINE_SLUG}",
                ],
            ),
            (
                JOB_URL,
                &[
                    "{BUILDKITE_BUILD_URL}#{BUILDKITE_JOB_ID}",
                    "{BUILDKITE_BUILD_URL}",
                ],
            ),
        ],
    },
    System {
        name: "jenkins",
        sign: ("JENKINS_URL", None),
        tags: &[
            (COMMIT, &["{GIT_COMMIT}"]),
            // CHANGE_BRANCH is where a change request comes from; BRANCH_NAME is then its number.
            (
                BRANCH,
                &[
                    "{CHANGE_BRANCH}",
                    "{BRANCH_NAME}",
                    "{GIT_BRANCH#origin/}",
                    "{GIT_BRANCH}",
                ],
            ),
            (REMOTE, &["{GIT_URL}"]),
            (JOB_ID, &["{BUILD_TAG}", "{BUILD_NUMBER}"]),
            (JOB_NAME, &["{JOB_NAME}"]),
            (JOB_URL, &["{BUILD_URL}"]),
        ],
    },
    System {
        name: "slurm",
        sign: ("SLURM_JOB_ID", None),
        tags: &[
            (
                JOB_ID,
                &[
                    "{SLURM_ARRAY_JOB_ID}_{SLURM_ARRAY_TASK_ID}",
                    "{SLURM_JOB_ID}",
                ],
            ),
            (JOB_NAME, &["{SLURM_JOB_NAME}"]),
            ("slurm.job_id", &["{SLURM_JOB_ID}"]),
            ("slurm.cluster", &["{SLURM_CLUSTER_NAME}"]),
            ("slurm.partition", &["{SLURM_JOB_PARTITION}"]),
            ("slurm.nodes", &["{SLURM_JOB_NODELIST}"]),
        ],
    },
    // Names as OpenTelemetry has them. What the pod's manifest hands on by the downward API
    // has no fixed name: these are the usual ones. Not NODE_NAME: Jenkins has one of its own.
    System {
        name: "kubernetes",
        sign: ("KUBERNETES_SERVICE_HOST", None),
        tags: &[
            (JOB_ID, &["{POD_UID}", POD, "{K8S_POD_NAME}", "{hostname}"]),
            ("k8s.pod.name", &[POD, "{K8S_POD_NAME}", "{hostname}"]),
            (
                "k8s.namespace.name",
                &["{POD_NAMESPACE}", "{K8S_NAMESPACE}", "{namespace}"],
            ),
            ("k8s.node.name", &["{K8S_NODE_NAME}", "{MY_NODE_NAME}"]),
        ],
    },
];

const POD: &str = "{POD_NAME}";

/// A longer value is not what it is taken for.
const MOST_CHARS: usize = 1000;

/// What the service that started this process says of the job, as tags: `lem.ci.system`,
/// `git.commit`, `git.branch`, `git.remote`, `ci.job_id`, `ci.job_name`, `ci.job_url` and,
/// of schedulers, their own. Empty where there is none.
///
/// `lookup` gives a variable's value; an empty one counts as none.
pub fn ci(lookup: impl Fn(&str) -> Option<String>) -> BTreeMap<String, String> {
    let root = Root::system();
    tags(|name| match name {
        "hostname" => {
            let system = rustix::system::uname();
            Some(system.nodename().to_string_lossy().into_owned())
        }
        "namespace" => namespace(&root),
        variable => lookup(variable),
    })
}

fn namespace(root: &Root) -> Option<String> {
    ["var/run", "run"].into_iter().find_map(|run| {
        let file = "secrets/kubernetes.io/serviceaccount/namespace";
        root.read(format!("{run}/{file}")).ok()
    })
}

fn tags(lookup: impl Fn(&str) -> Option<String>) -> BTreeMap<String, String> {
    let lookup = |name: &str| {
        let value = lookup(name)?;
        let value = value.trim();
        (!value.is_empty()).then(|| value.chars().take(MOST_CHARS).collect::<String>())
    };
    let mut tags = BTreeMap::new();
    for system in SYSTEMS {
        let (variable, expected) = system.sign;
        let sign = lookup(variable);
        if sign.is_none_or(|sign| expected.is_some_and(|value| value != sign)) {
            continue;
        }
        tags.entry(SYSTEM.to_owned())
            .or_insert_with(|| system.name.to_owned());
        for (tag, texts) in system.tags {
            let text = texts.iter().find_map(|text| filled(text, &lookup));
            if let Some(text) = text.and_then(|text| cleared(tag, text)) {
                tags.entry((*tag).to_owned()).or_insert(text);
            }
        }
    }
    tags
}

/// The text with its names replaced; none where one of them is not known.
fn filled(text: &str, lookup: &impl Fn(&str) -> Option<String>) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}')?;
        let (name, beginning) = name.split_once('#').unwrap_or((name, ""));
        out.push_str(before);
        out.push_str(lookup(name)?.strip_prefix(beginning)?);
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

/// What a tag may hold: a commit is one, and an address lets nobody in.
fn cleared(tag: &str, text: String) -> Option<String> {
    match tag {
        // Buildkite says `HEAD` before it has looked.
        COMMIT => {
            let is_commit =
                (7..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_commit.then_some(text)
        }
        REMOTE => Some(without_credentials(&text)),
        _ => Some(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHA: &str = "0123456789abcdef0123456789abcdef01234567";

    fn of(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
        tags(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn told(variables: &[(&str, &str)]) -> String {
        of(variables)
            .iter()
            .map(|(tag, value)| format!("{tag}={value}\n"))
            .collect()
    }

    #[test]
    fn a_pull_request_on_github() {
        let told = told(&[
            ("CI", "true"),
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_SHA", SHA),
            ("GITHUB_HEAD_REF", "faster"),
            ("GITHUB_REF", "refs/pull/12/merge"),
            ("GITHUB_SERVER_URL", "https://github.com"),
            ("GITHUB_REPOSITORY", "ada/engine"),
            ("GITHUB_RUN_ID", "77"),
            ("GITHUB_RUN_ATTEMPT", "2"),
            ("GITHUB_WORKFLOW", "measure"),
            ("GITHUB_JOB", "gpu"),
        ]);
        insta::assert_snapshot!(told, @r"
        ci.job_id=77
        ci.job_name=measure/gpu
        ci.job_url=https://github.com/ada/engine/actions/runs/77/attempts/2
        git.branch=faster
        git.commit=0123456789abcdef0123456789abcdef01234567
        git.remote=https://github.com/ada/engine
        lem.ci.system=github-actions
        ");
    }

    #[test]
    fn a_push_has_a_branch_and_a_tag_has_none() {
        let branch = |reference| {
            let tags = of(&[
                ("GITHUB_ACTIONS", "true"),
                ("GITHUB_REF", reference),
                ("GITHUB_HEAD_REF", ""),
            ]);
            tags.get(BRANCH).cloned()
        };
        assert_eq!(branch("refs/heads/a/b"), Some("a/b".to_owned()));
        assert_eq!(branch("refs/tags/v1"), None);
    }

    #[test]
    fn a_merge_request_on_gitlab_in_a_pod_on_a_slurm_node() {
        let told = told(&[
            ("GITLAB_CI", "true"),
            ("CI_COMMIT_SHA", SHA),
            ("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "faster"),
            ("CI_PROJECT_URL", "https://gitlab.example/ada/engine"),
            (
                "CI_REPOSITORY_URL",
                "https://gitlab-ci-token:hunter2@gitlab.example/ada/engine.git",
            ),
            ("CI_JOB_ID", "9"),
            ("CI_JOB_NAME", "measure"),
            ("CI_JOB_URL", "https://gitlab.example/ada/engine/-/jobs/9"),
            ("SLURM_JOB_ID", "41"),
            ("SLURM_JOB_NAME", "bench"),
            ("SLURM_JOB_PARTITION", "h100"),
            ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
            ("hostname", "runner-abc"),
            ("namespace", "ci"),
        ]);
        insta::assert_snapshot!(told, @r"
        ci.job_id=9
        ci.job_name=measure
        ci.job_url=https://gitlab.example/ada/engine/-/jobs/9
        git.branch=faster
        git.commit=0123456789abcdef0123456789abcdef01234567
        git.remote=https://gitlab.example/ada/engine
        k8s.namespace.name=ci
        k8s.pod.name=runner-abc
        lem.ci.system=gitlab
        slurm.job_id=41
        slurm.partition=h100
        ");
    }

    #[test]
    fn jenkins_and_its_credentials() {
        let told = told(&[
            ("JENKINS_URL", "https://ci.example/"),
            ("GIT_COMMIT", SHA),
            ("GIT_BRANCH", "origin/main"),
            ("GIT_URL", "https://ada:hunter2@example.org/engine.git"),
            ("BUILD_TAG", "jenkins-engine-12"),
            ("BUILD_NUMBER", "12"),
            ("JOB_NAME", "engine"),
            ("BUILD_URL", "https://ci.example/job/engine/12/"),
        ]);
        insta::assert_snapshot!(told, @r"
        ci.job_id=jenkins-engine-12
        ci.job_name=engine
        ci.job_url=https://ci.example/job/engine/12/
        git.branch=main
        git.commit=0123456789abcdef0123456789abcdef01234567
        git.remote=https://example.org/engine.git
        lem.ci.system=jenkins
        ");
    }

    #[test]
    fn buildkite_that_has_not_looked_at_the_commit_yet() {
        let told = told(&[
            ("BUILDKITE", "true"),
            ("BUILDKITE_COMMIT", "HEAD"),
            ("BUILDKITE_BRANCH", "main"),
            ("BUILDKITE_REPO", "git@example.org:ada/engine.git"),
            ("BUILDKITE_JOB_ID", "0190"),
            ("BUILDKITE_PIPELINE_SLUG", "engine"),
            (
                "BUILDKITE_BUILD_URL",
                "https://buildkite.com/ada/engine/builds/3",
            ),
        ]);
        insta::assert_snapshot!(told, @r"
        ci.job_id=0190
        ci.job_name=engine
        ci.job_url=https://buildkite.com/ada/engine/builds/3#0190
        git.branch=main
        git.remote=git@example.org:ada/engine.git
        lem.ci.system=buildkite
        ");
    }

    #[test]
    fn an_array_job_and_a_pod_by_themselves() {
        let slurm = of(&[
            ("SLURM_JOB_ID", "42"),
            ("SLURM_ARRAY_JOB_ID", "40"),
            ("SLURM_ARRAY_TASK_ID", "2"),
        ]);
        assert_eq!(slurm[JOB_ID], "40_2");
        assert_eq!(slurm[SYSTEM], "slurm");
        let pod = of(&[
            ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
            ("POD_NAME", "lem-x1"),
            ("POD_NAMESPACE", "bench"),
            ("hostname", "node7"),
            ("namespace", "default"),
        ]);
        assert_eq!(pod["k8s.pod.name"], "lem-x1");
        assert_eq!(pod["k8s.namespace.name"], "bench");
        assert_eq!(pod[JOB_ID], "lem-x1");
        assert_eq!(pod[SYSTEM], "kubernetes");
    }

    #[test]
    fn nothing_is_recognised_where_nothing_is() {
        let at_home = [("CI", "true"), ("GITHUB_SHA", SHA), ("hostname", "laptop")];
        assert!(of(&at_home).is_empty());
        assert!(of(&[("GITHUB_ACTIONS", "false"), ("GITHUB_SHA", SHA)]).is_empty());
    }

    #[test]
    fn the_namespace_of_the_service_account_is_read() {
        let path = "var/run/secrets/kubernetes.io/serviceaccount/namespace";
        let (_dir, root) = crate::environment::testing::tree(&[(path, "bench")]);
        assert_eq!(namespace(&root).as_deref(), Some("bench"));
        let (_dir, root) = crate::environment::testing::tree(&[]);
        assert_eq!(namespace(&root), None);
    }

    proptest! {
        #[test]
        fn hostile_values_break_nothing(value in ".{0,2000}") {
            // Every variable that the table names, and every sign as it must be.
            let tags = tags(|name| {
                let sign = SYSTEMS.iter().find(|system| system.sign.0 == name);
                match sign.and_then(|system| system.sign.1) {
                    Some(expected) => Some(expected.to_owned()),
                    None => Some(value.clone()),
                }
            });
            prop_assert_eq!(tags.get(SYSTEM).map(String::as_str), Some("github-actions"));
            for text in tags.values() {
                prop_assert!(text.chars().count() <= 6 * MOST_CHARS);
            }
        }
    }
}
