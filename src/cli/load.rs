//! Reads what the configuration is made of: a file, the environment, the flags.

use std::path::Path;
use std::{env, fs};

use ottla::config::layers::Origin;
use ottla::config::properties;
use ottla::config::reference::Reference;
use ottla::config::settings::{Cluster, Settings, Start};

use super::failure::Failure;
use super::serve::Arguments;

const CLUSTER_ID_BYTES_MAX: usize = 200;

/// The configuration that the command line asks for, checked.
pub fn load(arguments: &Arguments) -> Result<Start, Failure> {
    let mut settings = Settings::default();
    if let Some(path) = &arguments.config {
        add_file(&mut settings, path)?;
    }
    settings.add_environment(variables());
    add_shorthands(
        &mut settings,
        env::var("OTTLA_LISTEN").ok().as_deref(),
        env::var("OTTLA_DATA_DIR").ok().as_deref(),
        |name| Origin::Environment { variable: name.to_owned() },
    );
    for text in &arguments.define {
        settings.add_assignment(text)?;
    }
    let listen = arguments.listen.as_deref();
    let data_dir = arguments.data_dir.as_ref().map(|path| path.to_string_lossy());
    add_shorthands(&mut settings, listen, data_dir.as_deref(), |_| Origin::CommandLine);
    if let Some(id) = arguments.node_id {
        settings.set("node.id", &id.to_string(), Origin::CommandLine);
    }
    let mut start = settings.finish(&machine(), arguments.strict_config)?;
    start.shutdown_grace = arguments.shutdown_grace.unwrap_or(start.shutdown_grace);
    start.cluster = cluster(arguments.cluster_id.clone(), env::var("CLUSTER_ID").ok())?;
    Ok(start)
}

/// Kafka's container image names a new cluster by the variable CLUSTER_ID, and lets an old one be.
fn cluster(wanted: Option<String>, of_image: Option<String>) -> Result<Cluster, Failure> {
    let (cluster, id, place) = match (wanted, of_image) {
        (Some(id), _) => (Cluster::Only(id.clone()), id, "--cluster-id, or OTTLA_CLUSTER_ID"),
        (None, Some(id)) => (Cluster::FoundOrNew(id.clone()), id, "CLUSTER_ID"),
        (None, None) => return Ok(Cluster::Found),
    };
    if id.is_empty() || id.len() > CLUSTER_ID_BYTES_MAX || !id.bytes().all(|c| c.is_ascii_graphic())
    {
        let line = format!(
            "{id:?} (set by {place}) is no id of a cluster: up to {CLUSTER_ID_BYTES_MAX} visible \
             characters, such as MkU3OEVBNTcwNTJENDM2Qg"
        );
        return Err(Failure::Config(vec![line]));
    }
    Ok(cluster)
}

/// `--listen` and `--data-dir`, or the variables that stand for them.
fn add_shorthands(
    settings: &mut Settings,
    listen: Option<&str>,
    data_dir: Option<&str>,
    origin: impl Fn(&str) -> Origin,
) {
    if let Some(at) = listen {
        let listener = if at.contains("://") { at.to_owned() } else { format!("PLAINTEXT://{at}") };
        settings.set("listeners", &listener, origin("OTTLA_LISTEN"));
    }
    if let Some(dir) = data_dir {
        settings.set("log.dirs", dir, origin("OTTLA_DATA_DIR"));
    }
}

fn add_file(settings: &mut Settings, path: &Path) -> Result<(), Failure> {
    let name = path.display().to_string();
    let text = read(path).map_err(|error| {
        Failure::Config(vec![format!("cannot read the configuration {name}: {error}")])
    })?;
    if path.extension().is_some_and(|extension| extension == "properties") {
        settings.add_properties(&name, &text, &mut lookup)?;
    } else {
        settings.add_toml(&name, &text, &mut lookup)?;
    }
    Ok(())
}

/// UTF-8 where it is that, else ISO-8859-1, as Java reads properties.
fn read(path: &Path) -> std::io::Result<String> {
    let bytes = fs::read(path)?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| error.into_bytes().into_iter().map(char::from).collect()))
}

fn lookup(reference: Reference<'_>) -> Result<String, String> {
    match reference {
        Reference::Env(name) => env::var(name).map_err(|error| error.to_string()),
        Reference::File { path, key } => {
            let text = read(Path::new(path)).map_err(|error| error.to_string())?;
            let found = properties::parse(&text).map_err(|error| error.to_string())?;
            let property = found.into_iter().rfind(|property| property.key == key);
            property.map(|property| property.value).ok_or_else(|| "no such key there".to_owned())
        }
    }
}

/// Variables that are not text cannot be options.
fn variables() -> impl Iterator<Item = (String, String)> {
    env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// What clients are told when a listener is on every address.
fn machine() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "localhost".to_owned() } else { name.trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(config: Option<&Path>) -> Arguments {
        Arguments { config: config.map(Path::to_owned), ..Arguments::default() }
    }

    #[test]
    fn the_suffix_of_a_file_says_how_to_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let partitions = |name: &str, text: &[u8]| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            load(&arguments(Some(&path))).map(|start| start.config.num_partitions)
        };
        assert_eq!(partitions("a.properties", b"num.partitions: 3").unwrap(), 3);
        assert_eq!(partitions("a.toml", b"[num]\npartitions = 4").unwrap(), 4);
        assert_eq!(partitions("latin.properties", b"# \xe9\nnum.partitions=5").unwrap(), 5);
        assert!(partitions("b.toml", b"num.partitions: 3").is_err());
    }

    #[test]
    fn flags_win_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("o.toml");
        fs::write(&path, "node.id = 3\nlisteners = \"PLAINTEXT://:1\"\nlog.dirs = \"/a\"").unwrap();
        let start = load(&Arguments {
            node_id: Some(4),
            listen: Some("localhost:2".to_owned()),
            data_dir: Some("/b".into()),
            ..arguments(Some(&path))
        })
        .unwrap();
        assert_eq!((start.config.node_id, start.config.data_dirs()), (4, &["/b".to_owned()][..]));
        assert_eq!(start.listeners.clients[0].port, 2);
    }

    #[test]
    fn the_flag_names_the_only_cluster_and_the_images_variable_a_new_one() {
        let id = |id: &str| Some(id.to_owned());
        assert_eq!(cluster(None, None).unwrap(), Cluster::Found);
        assert_eq!(cluster(None, id("a")).unwrap(), Cluster::FoundOrNew("a".to_owned()));
        assert_eq!(cluster(id("b"), id("a")).unwrap(), Cluster::Only("b".to_owned()));
        for wrong in ["", "a b", &"x".repeat(201)] {
            assert_eq!(cluster(id(wrong), None).unwrap_err().code(), 78, "{wrong}");
        }
    }

    #[test]
    fn secrets_are_read_from_other_files() {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("secret.properties");
        fs::write(&secret, "dirs=/a").unwrap();
        let path = dir.path().join("a.properties");
        fs::write(&path, format!("log.dirs=${{file:{}:dirs}}", secret.display())).unwrap();
        assert_eq!(load(&arguments(Some(&path))).unwrap().config.data_dirs(), ["/a"]);
    }

    #[test]
    fn a_missing_file_is_a_wrong_configuration() {
        let failure = load(&arguments(Some(Path::new("/nowhere/o.toml")))).unwrap_err();
        assert_eq!(failure.code(), 78);
        assert!(failure.lines()[0].contains("cannot read the configuration /nowhere/o.toml"));
    }
}
