//! The spans of a run beside its metrics in MLflow, by OTLP.

use lem_otlp::{MlflowTraces, OtlpExporter};

use super::mlflow::settings;
use super::{Sink, SinkErrors, Sources};

/// It goes where the sink `mlflow` goes, with a cursor of its own.
pub(super) const SINK: Sink = Sink {
    name: "mlflow-traces",
    enabled: |on| on.mlflow.enabled && on.mlflow.traces,
    make: |sources| {
        let sink = OtlpExporter::for_mlflow(traces(sources)?)
            .map_err(|errors| SinkErrors(errors.iter().map(ToString::to_string).collect()))?;
        Ok(Box::new(sink))
    },
    record: |sources| {
        traces(sources)?;
        Ok(serde_json::to_value(settings(sources)?).unwrap_or_default())
    },
};

fn traces(sources: &Sources<'_>) -> Result<MlflowTraces, SinkErrors> {
    let of = settings(sources)?;
    let uri = of.tracking_uri.clone().unwrap_or_default();
    let scheme = uri
        .split("://")
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    if !matches!(scheme.as_str(), "http" | "https") {
        return Err(SinkErrors(vec![
            "integrations.mlflow.traces: only a tracking server takes spans, and this is a folder. \
             Set integrations.mlflow.tracking_uri (MLFLOW_TRACKING_URI) to http://HOST:5000, or traces: false"
                .to_owned(),
        ]));
    }
    Ok(MlflowTraces {
        tracking_uri: uri,
        experiment_name: of.experiment_name,
        experiment_id: of.experiment_id,
        run_id: of.run_id,
        workspace: of.workspace,
        username: of.username,
        password: of.password,
        token: of.token,
        insecure_tls: of.insecure_tls,
        server_cert_path: of.server_cert_path,
        client_cert_path: of.client_cert_path,
        timeout_s: of.timeout_s,
    })
}
