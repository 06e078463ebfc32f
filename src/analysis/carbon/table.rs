//! Carbon intensity of electricity by country. Source, licence and changes stand in
//! `intensity.csv` itself.

static TABLE: &str = include_str!("intensity.csv");

/// As a result names the source.
pub const SOURCE: &str = "Our World in Data, from Ember and the Energy Institute, CC BY 4.0";

/// One country's yearly mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Country {
    /// ISO 3166-1 alpha-3.
    pub alpha3: &'static str,
    /// ISO 3166-1 alpha-2.
    pub alpha2: &'static str,
    pub name: &'static str,
    pub year: u16,
    /// Grams of CO2-equivalent a kWh, life cycle.
    pub grams: f64,
}

/// Every country, in order of its alpha-3 code.
pub fn countries() -> impl Iterator<Item = Country> {
    TABLE.lines().filter_map(row)
}

/// A country by either of its codes; upper and lower case are one.
pub fn find(zone: &str) -> Option<Country> {
    let zone = zone.trim();
    countries().find(|c| c.alpha2.eq_ignore_ascii_case(zone) || c.alpha3.eq_ignore_ascii_case(zone))
}

/// Comments and the header are no rows.
fn row(line: &'static str) -> Option<Country> {
    let mut cells = line.split(',');
    let mut next = || cells.next();
    let (alpha3, alpha2, name) = (next()?, next()?, next()?);
    Some(Country {
        alpha3,
        alpha2,
        name,
        year: next()?.parse().ok()?,
        grams: next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use super::{TABLE, countries, find};

    #[test]
    fn every_line_is_a_country_and_none_stands_twice() {
        let lines = TABLE.lines().filter(|l| !l.starts_with('#')).count();
        let all: Vec<_> = countries().collect();
        // All but the header.
        assert_eq!(all.len(), lines - 1);
        assert!(all.len() > 200);
        let codes: BTreeSet<_> = all.iter().flat_map(|c| [c.alpha2, c.alpha3]).collect();
        assert_eq!(codes.len(), 2 * all.len());
        for country in all {
            assert_eq!((country.alpha2.len(), country.alpha3.len()), (2, 3));
            assert!((2020..=2023).contains(&country.year), "{country:?}");
            // Iceland's water and heat to Turkmenistan's gas.
            assert!((5.0..1_400.0).contains(&country.grams), "{country:?}");
        }
        assert!(TABLE.contains("CC BY 4.0") && TABLE.contains("Our World in Data"));
    }

    #[test]
    fn a_zone_is_a_code_in_any_case() {
        let france = find("fr").unwrap();
        assert_eq!((france.name, france.year), ("France", 2023));
        assert_eq!(find("FRA"), Some(france));
        assert_eq!(find("France"), None);
        assert_eq!(find(""), None);
        assert_eq!(find("alpha3"), None);
    }
}
