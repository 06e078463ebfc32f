//! The one thing that is wanted of a `.netrc`: a machine's password.

/// The password of `host`, or that of `default`. Whatever cannot be read is skipped.
pub(super) fn password(text: &str, host: &str) -> Option<String> {
    let mut of_default = None;
    let mut entry = Entry::Other;
    let mut words = words(text);
    while let Some(word) = words.next() {
        match word {
            "machine" => {
                entry = match words.next() {
                    Some(name) if name.eq_ignore_ascii_case(host) => Entry::Ours,
                    _ => Entry::Other,
                }
            }
            "default" => entry = Entry::Default,
            "login" | "account" => drop(words.next()),
            "password" => match (words.next(), entry) {
                (Some(found), Entry::Ours) => return Some(found.to_owned()),
                (Some(found), Entry::Default) => of_default = Some(found.to_owned()),
                _ => {}
            },
            _ => {}
        }
    }
    of_default
}

#[derive(Clone, Copy)]
enum Entry {
    Ours,
    Default,
    Other,
}

/// Without comments and macros, which end with an empty line.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut within_macro = false;
    text.lines()
        .filter(move |line| {
            let line = line.trim();
            if line.starts_with("macdef") {
                within_macro = true;
            }
            let skip = within_macro || line.starts_with('#');
            within_macro = within_macro && !line.is_empty();
            !skip
        })
        .flat_map(str::split_whitespace)
}

#[cfg(test)]
mod tests {
    use super::password;

    #[test]
    fn a_machines_password_is_found() {
        let text = "# mine\nmachine other login user password no\n\nmachine api.wandb.ai\n  login user\n  password k1\nmacdef init\nmachine api.wandb.ai password trap\n\ndefault login x password d1\n";
        assert_eq!(password(text, "api.wandb.ai").as_deref(), Some("k1"));
        assert_eq!(password(text, "elsewhere").as_deref(), Some("d1"));
        for text in ["", "machine", "password", "machine h password", "\0"] {
            assert_eq!(password(text, "h"), None, "{text:?}");
        }
    }
}
