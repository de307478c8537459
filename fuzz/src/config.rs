//! Configuration text: properties and TOML, from any hands.

use ottla::config::reference::Reference;
use ottla::config::settings::Settings;

/// The first byte chooses the format; the rest is the text. Whatever it says, the answer is a
/// configuration or a list of errors, and every error and warning can be shown.
pub fn config(data: &[u8]) {
    let Some((format, text)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(text);
    let mut settings = Settings::default();
    let mut lookup = |reference: Reference<'_>| Ok(format!("{reference:?}"));
    let added = match format {
        b'p' => settings.add_properties("fuzz.properties", &text, &mut lookup),
        _ => settings.add_toml("fuzz.toml", &text, &mut lookup),
    };
    if let Err(error) = added {
        assert!(!error.to_string().is_empty());
        return;
    }
    match settings.finish("here", false) {
        Ok(start) => {
            assert!(!start.listeners.clients.is_empty(), "a broker that nobody can reach");
            let described = ottla::config::describe::describe_broker(&start.layers);
            assert!(described.is_sorted_by(|a, b| a.name < b.name));
        }
        Err(errors) => {
            assert!(!errors.is_empty() && errors.iter().all(|e| !e.to_string().is_empty()))
        }
    }
}
