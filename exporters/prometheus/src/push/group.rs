//! Where a run lies in a Pushgateway.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The path of a run's group: `/metrics/job/lem/instance/<run id>`, as a scrape names
/// it by its labels. A value with a character that a path cannot carry is in base64.
pub fn group(job: &str, instance: &str) -> String {
    format!(
        "/metrics/{}/{}",
        part("job", job),
        part("instance", instance)
    )
}

fn part(label: &str, value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
    match value {
        // an empty value is no part of a path; `=` is how base64 of nothing is written here
        "" => format!("{label}@base64/="),
        // a path's way of saying this folder and the one above
        "." | ".." => format!("{label}@base64/{}", URL_SAFE_NO_PAD.encode(value)),
        _ if value.chars().all(plain) => format!("{label}/{value}"),
        _ => format!("{label}@base64/{}", URL_SAFE_NO_PAD.encode(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::group;

    #[test]
    fn a_value_that_a_path_cannot_carry_is_in_base64() {
        let cases = [
            ("20250615-a.b_c~d", "instance/20250615-a.b_c~d"),
            ("a/b", "instance@base64/YS9i"),
            ("gr\u{fc}n", "instance@base64/Z3LDvG4"),
            ("50%", "instance@base64/NTAl"),
            ("..", "instance@base64/Li4"),
            ("", "instance@base64/="),
        ];
        for (id, expected) in cases {
            assert_eq!(group("lem", id), format!("/metrics/job/lem/{expected}"));
        }
    }
}
