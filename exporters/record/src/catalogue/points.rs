use super::MetricDef;
use crate::{Attributes, How};

/// Groups of ids whose numbers must say how they were obtained.
const TOLD_GROUPS: [&str; 8] = [
    "energy",
    "power",
    "efficiency",
    "baseline",
    "flops",
    "quality",
    "carbon",
    "cost",
];
/// Ids besides.
const TOLD: [&str; 2] = ["sample.power", "sample.energy"];

impl MetricDef {
    /// Whether a number must say how it was obtained, so that measured and modelled
    /// are never summed: energy, power, FLOPs, quality, and what follows from them.
    pub fn tells_how(&self) -> bool {
        let group = self.id.split('.').next().unwrap_or_default();
        TOLD_GROUPS.contains(&group) || TOLD.contains(&self.id)
    }

    /// Everything that tells a point from others, for sinks whose series have
    /// attributes: the fixed ones, its own, `lem.how` where [`Self::tells_how`], and
    /// `lem.cycle` where it is of one cycle (a cycle's number and the run's are two
    /// series, with the same time at the end of the last cycle).
    pub fn point_attributes(&self, own: &Attributes, how: How, cycle: Option<u32>) -> Attributes {
        let mut all = self.all_attributes(own);
        if self.tells_how() {
            all.insert("lem.how".to_owned(), how.as_str().to_owned());
        }
        if let Some(cycle) = cycle {
            all.insert("lem.cycle".to_owned(), cycle.to_string());
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use crate::catalogue::find;
    use crate::{Attributes, How};

    #[test]
    fn a_point_tells_how_and_of_which_cycle() {
        let told = |id: &str, cycle| {
            let def = find(id)?;
            let all = def.point_attributes(&Attributes::new(), How::Modelled, cycle);
            Some(
                all.into_iter()
                    .map(|(k, v)| format!("{k}={v}"))
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(
            told("energy.prefill", Some(2)),
            Some(vec![
                "lem.cycle=2".into(),
                "lem.how=modelled".into(),
                "lem.phase=prefill".into()
            ])
        );
        assert_eq!(
            told("sample.power", None),
            Some(vec!["lem.how=modelled".into()])
        );
        assert_eq!(told("sample.power_limit", None), Some(Vec::new()));
        assert_eq!(told("run.duration", None), Some(Vec::new()));
    }
}
