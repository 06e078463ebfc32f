use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

/// The run at the other end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remote {
    pub entity: String,
    pub project: String,
    pub run: String,
}

const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

impl Remote {
    pub fn stream_path(&self) -> String {
        let [entity, project, run] = self.encoded();
        format!("/files/{entity}/{project}/{run}/file_stream")
    }

    /// The run's page.
    pub fn page(&self, base: &str) -> String {
        let [entity, project, run] = self.encoded();
        format!("{}/{entity}/{project}/runs/{run}", app_url(base))
    }

    fn encoded(&self) -> [String; 3] {
        [&self.entity, &self.project, &self.run]
            .map(|part| utf8_percent_encode(part, PLAIN).to_string())
    }
}

/// Where the pages of a server are whose service is at `base`.
fn app_url(base: &str) -> String {
    match base {
        crate::config::SERVICE => "https://wandb.ai".to_owned(),
        base => base.replacen("://api.", "://app.", 1),
    }
}

#[cfg(test)]
mod tests {
    use super::Remote;

    #[test]
    fn a_page_is_where_a_browser_finds_it() {
        let remote = Remote {
            entity: "grün".into(),
            project: "a b".into(),
            run: "r1".into(),
        };
        let cases = [
            ("https://api.wandb.ai", "https://wandb.ai/"),
            ("https://api.wandb.corp", "https://app.wandb.corp/"),
            ("http://localhost:8080", "http://localhost:8080/"),
        ];
        for (base, app) in cases {
            let page = format!("{app}gr%C3%BCn/a%20b/runs/r1");
            assert_eq!(remote.page(base), page);
        }
    }
}
