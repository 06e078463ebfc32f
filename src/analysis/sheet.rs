//! A sheet of numbers, each under its catalogue id: one for every cycle, one for the run.
//!
//! A number of a cycle is kept as numerator and denominator, with the rule by which the
//! cycles of a run fold into one, so that folding needs to know nothing of any metric.

use std::collections::BTreeMap;

use lem_record::{Attributes, Histogram, How, Interval, Quantity, catalogue};

use super::latency;
use super::statistics::Pairs;
use super::uncertainty::Budget;

/// A number with its story.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    pub value: f64,
    pub how: How,
    pub method: Option<String>,
    pub budget: Option<Budget>,
    pub interval: Option<Interval>,
    /// Why it is to be distrusted, where it is.
    pub reason: Option<String>,
}

/// What could not be had says why.
pub type Obtained = Result<Reading, String>;

impl Reading {
    pub fn new(value: f64, how: How) -> Self {
        Self {
            value,
            how,
            method: None,
            budget: None,
            interval: None,
            reason: None,
        }
    }

    #[must_use]
    pub fn method(mut self, method: impl Into<String>) -> Self {
        self.method = Some(method.into());
        self
    }

    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Times an exact factor.
    #[must_use]
    pub fn scaled(mut self, factor: f64) -> Self {
        self.value *= factor;
        self.budget = self.budget.map(|budget| budget.scaled(factor));
        self
    }

    fn quantity(&self) -> Quantity {
        if !self.value.is_finite() {
            return Quantity::absent("the numbers it is computed from overflow");
        }
        Quantity {
            value: Some(self.value),
            how: Some(self.how),
            uncertainty: self.budget.and_then(|budget| budget.expanded()),
            interval: self.interval,
            method: self.method.clone(),
            reason: self.reason.clone(),
        }
    }
}

/// The sum of numbers of which none may be missing. Measured and modelled ones must not
/// come here together; if they do, the sum is what its weakest part is.
pub fn sum(parts: impl IntoIterator<Item = Obtained>) -> Obtained {
    let mut parts = parts.into_iter();
    let mut total = parts.next().ok_or("there is nothing to add up")??;
    for part in parts {
        let part = part?;
        total.value += part.value;
        total.how = total.how.max(part.how);
        total.budget = match (total.budget, part.budget) {
            (Some(a), Some(b)) => Some(a.plus(b)),
            (known, None) | (None, known) => known,
        };
        if let Some(method) = part.method {
            match &mut total.method {
                Some(known) if known.split("; ").any(|m| m == method) => {}
                Some(known) => {
                    known.push_str("; ");
                    known.push_str(&method);
                }
                none => *none = Some(method),
            }
        }
    }
    Ok(total)
}

/// How the cycles of a run become one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// Σ numerators over Σ denominators: a mean where the denominators are 1.
    Ratio,
    Sum,
    Max,
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub id: &'static str,
    pub attributes: Attributes,
    pub fold: Fold,
    num: f64,
    den: f64,
    pub reading: Obtained,
}

/// Values of which a histogram is made.
#[derive(Clone, Debug)]
pub struct Distribution {
    pub id: &'static str,
    pub attributes: Attributes,
    pub how: How,
    pub values: Result<Vec<f64>, String>,
    /// Sum and number of the values of each cycle.
    cycles: Vec<(f64, f64)>,
}

impl Distribution {
    /// `Err` says why there is none.
    pub fn histogram(&self) -> Result<Histogram, String> {
        let values = self.values.as_ref().map_err(Clone::clone)?;
        latency::histogram(latency::bounds(self.id), values)
            .ok_or_else(|| "there is no value".into())
    }

    /// The interval of the mean over cycles: Σ sums over Σ numbers, because the values of
    /// one cycle are not independent.
    pub fn interval(&self) -> Option<Interval> {
        Pairs::of(self.cycles.iter().copied()).interval()
    }
}

#[derive(Clone, Debug, Default)]
pub struct Sheet {
    pub entries: Vec<Entry>,
    pub distributions: Vec<Distribution>,
}

impl Sheet {
    /// A number whose mean over the cycles counts.
    pub fn mean(&mut self, id: &'static str, reading: Obtained) {
        self.ratio(id, reading, 1.0, "");
    }

    /// A number over a count; `none` says why where the count is 0.
    pub fn ratio(&mut self, id: &'static str, num: Obtained, den: f64, none: &str) {
        let reading = num.and_then(|num| {
            if den > 0.0 {
                let value = num.value;
                Ok((value, num.scaled(1.0 / den)))
            } else {
                Err(none.to_owned())
            }
        });
        let (num, reading) = match reading {
            Ok((num, reading)) => (num, Ok(reading)),
            Err(why) => (f64::NAN, Err(why)),
        };
        self.push(id, Fold::Ratio, num, den, reading);
    }

    /// A count over a number that has an uncertainty.
    pub fn per(&mut self, id: &'static str, num: Obtained, den: Obtained) {
        let both = num.and_then(|num| den.map(|den| (num, den)));
        let (num, den, reading) = match both {
            Ok((num, den)) if den.value > 0.0 => {
                let value = num.value / den.value;
                let budget = den.budget.map(|b| b.scaled(value / den.value));
                let reading = Reading {
                    value,
                    how: num.how.max(den.how),
                    method: num.method.or(den.method),
                    budget,
                    interval: None,
                    reason: None,
                };
                (num.value, den.value, Ok(reading))
            }
            Ok(_) => (
                f64::NAN,
                f64::NAN,
                Err("what it is divided by is not above 0".into()),
            ),
            Err(why) => (f64::NAN, f64::NAN, Err(why)),
        };
        self.push(id, Fold::Ratio, num, den, reading);
    }

    /// A count that adds up over the cycles.
    pub fn count(&mut self, id: &'static str, value: f64) {
        self.push(
            id,
            Fold::Sum,
            value,
            1.0,
            Ok(Reading::new(value, How::Measured)),
        );
    }

    /// A number that folds by another rule than the mean.
    pub fn summed(&mut self, id: &'static str, reading: Reading, fold: Fold) {
        self.push(id, fold, reading.value, 1.0, Ok(reading));
    }

    /// Takes back every entry of an id.
    pub fn forget(&mut self, id: &str) {
        self.entries.retain(|entry| entry.id != id);
    }

    /// Gives what is absent another reason, where there is a better one.
    pub fn reasons(&mut self, better: impl Fn(&str, &str) -> Option<String>) {
        let entries = self
            .entries
            .iter_mut()
            .map(|e| (e.id, e.reading.as_mut().err()));
        let distributions = &mut self.distributions;
        let distributions = distributions
            .iter_mut()
            .map(|d| (d.id, d.values.as_mut().err()));
        for (id, why) in entries.chain(distributions) {
            if let Some(why) = why
                && let Some(better) = better(id, why)
            {
                *why = better;
            }
        }
    }

    pub fn peak(&mut self, id: &'static str, reading: Obtained) {
        let num = reading.as_ref().map_or(f64::NAN, |r| r.value);
        self.push(id, Fold::Max, num, 1.0, reading);
    }

    /// Puts another reading in the place of an id's first.
    pub fn replace(&mut self, id: &'static str, reading: Obtained) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.id == id) {
            entry.reading = reading;
        }
    }

    /// Gives the entry that was put last an attribute.
    pub fn with(&mut self, name: &str, value: &str) {
        if let Some(entry) = self.entries.last_mut() {
            entry.attributes.insert(name.into(), value.into());
        }
    }

    fn push(&mut self, id: &'static str, fold: Fold, num: f64, den: f64, reading: Obtained) {
        debug_assert!(
            catalogue::find(id).is_some(),
            "{id} is not in the catalogue"
        );
        self.entries.push(Entry {
            id,
            attributes: Attributes::new(),
            fold,
            num,
            den,
            reading,
        });
    }

    pub fn distribution(&mut self, id: &'static str, values: Result<Vec<f64>, String>) {
        debug_assert!(
            catalogue::find(id).is_some(),
            "{id} is not in the catalogue"
        );
        let cycle = values
            .as_ref()
            .ok()
            .map(|v| (v.iter().sum(), v.len() as f64));
        self.distributions.push(Distribution {
            id,
            attributes: Attributes::new(),
            how: How::Measured,
            values,
            cycles: cycle.into_iter().collect(),
        });
    }

    /// The first entry of an id.
    pub fn reading(&self, id: &str) -> Obtained {
        let entry = self.entries.iter().find(|entry| entry.id == id);
        entry.map_or_else(|| Err("it was not computed".into()), |e| e.reading.clone())
    }

    pub fn quantity(&self, id: &str) -> Quantity {
        as_quantity(&self.reading(id))
    }

    pub fn value(&self, id: &str) -> Option<f64> {
        self.quantity(id).value
    }

    /// Sum or maximum over the attributes of an id.
    pub fn over_attributes(&self, id: &str, with: impl Fn(f64, f64) -> f64) -> Option<f64> {
        let entries = self.entries.iter().filter(|entry| entry.id == id);
        let values = entries.filter_map(|entry| as_quantity(&entry.reading).value);
        values.reduce(with).filter(|v| v.is_finite())
    }

    pub fn histogram(&self, id: &str) -> Result<Histogram, String> {
        self.distributions.iter().find(|d| d.id == id).map_or_else(
            || Err("it was not computed".into()),
            Distribution::histogram,
        )
    }
}

pub fn as_quantity(reading: &Obtained) -> Quantity {
    match reading {
        Ok(reading) => reading.quantity(),
        Err(why) => Quantity::absent(why.clone()),
    }
}

/// Folds the cycles' sheets into the run's.
pub fn fold(cycles: &[&Sheet]) -> Sheet {
    let mut run = Sheet::default();
    let mut groups: BTreeMap<(&'static str, &Attributes), Vec<&Entry>> = BTreeMap::new();
    let mut order = Vec::new();
    for entry in cycles.iter().flat_map(|sheet| &sheet.entries) {
        let group = groups.entry((entry.id, &entry.attributes)).or_default();
        if group.is_empty() {
            order.push((entry.id, &entry.attributes));
        }
        group.push(entry);
    }
    for key in order {
        run.entries.extend(
            groups
                .get(&key)
                .and_then(|group| fold_entries(group, cycles.len())),
        );
    }
    for sheet in cycles {
        for part in &sheet.distributions {
            pool(&mut run.distributions, part);
        }
    }
    run
}

fn fold_entries(group: &[&Entry], cycles: usize) -> Option<Entry> {
    let first = group.first()?;
    let present: Vec<(&Entry, &Reading)> = group
        .iter()
        .filter_map(|entry| entry.reading.as_ref().ok().map(|reading| (*entry, reading)))
        .filter(|(_, reading)| reading.value.is_finite())
        .collect();
    let why = group.iter().find_map(|entry| entry.reading.as_ref().err());
    let Some((_, one)) = present.first() else {
        let reason = why.cloned().unwrap_or_else(|| "no cycle has it".into());
        return Some(Entry {
            reading: Err(reason),
            ..(*first).clone()
        });
    };
    let pairs = Pairs::of(present.iter().map(|(entry, _)| (entry.num, entry.den)));
    let num: f64 = pairs.num.iter().sum();
    let den: f64 = pairs.den.iter().sum();
    let value = match first.fold {
        Fold::Ratio => num / den,
        Fold::Sum => num,
        Fold::Max => pairs.num.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    };
    let how = present.iter().map(|(_, r)| r.how).max().unwrap_or(one.how);
    let mut reading = Reading::new(value, how);
    reading.method.clone_from(&one.method);
    match first.fold {
        Fold::Ratio => {
            reading.interval = pairs.interval();
            reading.budget = fold_budget(&present, &pairs, den);
        }
        Fold::Max => {
            let highest = present.iter().find(|(_, r)| r.value >= value);
            reading.budget = highest.and_then(|(_, r)| r.budget);
        }
        Fold::Sum => {}
    }
    reading.reason = one.reason.clone();
    if present.len() < cycles {
        let why = why.map_or("", String::as_str);
        reading.reason = Some(format!("from {} of {cycles} cycles: {why}", present.len()));
    }
    Some(Entry {
        num,
        den,
        reading: Ok(reading),
        ..(*first).clone()
    })
}

/// The statistical part is the larger of what the budget foresees for the mean and of
/// what the cycles really scatter (s/√n, which contains the former): never below either.
fn fold_budget(present: &[(&Entry, &Reading)], pairs: &Pairs, den: f64) -> Option<Budget> {
    let budgets: Vec<(Budget, f64)> = present
        .iter()
        .filter_map(|(entry, reading)| reading.budget.map(|budget| (budget, entry.den / den)))
        .collect();
    if budgets.len() < present.len() {
        return None;
    }
    let linear = |part: fn(&Budget) -> f64| budgets.iter().map(|(b, w)| part(b) * w).sum::<f64>();
    let foreseen = budgets
        .iter()
        .map(|(b, w)| (b.statistical * w).powi(2))
        .sum::<f64>()
        .sqrt();
    let known = budgets.iter().all(|(b, _)| b.systematic.is_some());
    Some(Budget {
        systematic: known.then(|| linear(|b| b.systematic.unwrap_or(0.0))),
        statistical: foreseen.max(pairs.standard_error().unwrap_or(0.0)),
        shared: linear(|b| b.shared),
    })
}

fn pool(run: &mut Vec<Distribution>, part: &Distribution) {
    let known = run
        .iter_mut()
        .find(|d| d.id == part.id && d.attributes == part.attributes);
    let Some(known) = known else {
        run.push(part.clone());
        return;
    };
    known.cycles.extend(&part.cycles);
    match (&mut known.values, &part.values) {
        (Ok(all), Ok(new)) => all.extend(new),
        (Err(_), Ok(_)) => known.values.clone_from(&part.values),
        (_, Err(_)) => {}
    }
}
