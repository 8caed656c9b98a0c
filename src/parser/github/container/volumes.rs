//! `volumes` of a container: `/path`, `name:/path`, `/machine:/path:ro`; and `--mount`.

use crate::pipeline::definition::{VolumeSource, VolumeSpec};

/// One volume.
///
/// # Errors
/// It is none.
pub fn volume(text: &str) -> Result<VolumeSpec, String> {
    let parts: Vec<&str> = text.trim().split(':').collect();
    let (source, target, mode) = match parts[..] {
        [target] => (None, target, ""),
        [source, target] => (Some(source), target, ""),
        [source, target, mode] => (Some(source), target, mode),
        _ => return Err(format!("`{text}` is no volume, like `name:/path` or `/path`")),
    };
    let read_only = mode.split(',').any(|word| word == "ro" || word == "readonly");
    Ok(VolumeSpec { source: source_of(source, text)?, target: target_of(target, text)?, read_only })
}

/// What `--mount type=…,source=…,target=…` asks for; a folder in memory is `Err(Some(path))` of the inner result.
pub fn mount(text: &str) -> Result<Result<VolumeSpec, String>, String> {
    let (mut kind, mut source, mut target, mut read_only) = ("volume", None, None, false);
    for pair in text.split(',') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, "true"));
        match key.trim() {
            "type" => kind = value,
            "source" | "src" => source = Some(value),
            "target" | "destination" | "dst" => target = Some(value),
            "readonly" | "ro" => read_only = value != "false" && value != "0",
            _ => {}
        }
    }
    let target = target_of(target.unwrap_or_default(), text)?;
    match kind {
        "tmpfs" => Ok(Err(target)),
        "volume" => Ok(Ok(VolumeSpec { source: source_of(source, text)?, target, read_only })),
        "bind" => {
            let source = VolumeSource::Machine(source.unwrap_or_default().to_owned());
            Ok(Ok(VolumeSpec { source, target, read_only }))
        }
        other => Err(format!("`--mount {text}`: `{other}` is no type of a mount that is known here")),
    }
}

fn source_of(source: Option<&str>, text: &str) -> Result<VolumeSource, String> {
    match source {
        None | Some("") => Ok(VolumeSource::Anonymous),
        Some(path) if path.starts_with(['/', '.', '~']) => Ok(VolumeSource::Machine(path.to_owned())),
        Some(name) if name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c)) => {
            Ok(VolumeSource::Named(name.to_owned()))
        }
        Some(name) => Err(format!("`{text}`: `{name}` is neither the name of a volume nor an absolute path")),
    }
}

fn target_of(target: &str, text: &str) -> Result<String, String> {
    if target.starts_with('/') && !target.trim_matches('/').is_empty() {
        Ok(target.to_owned())
    } else {
        Err(format!("`{text}`: the path in the container has to be absolute, and not its root"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_anonymous_named_or_of_the_machine() {
        assert_eq!(volume("/data").unwrap().source, VolumeSource::Anonymous);
        let named = volume("my_v-1:/data:ro").unwrap();
        assert_eq!((named.source, named.read_only), (VolumeSource::Named("my_v-1".into()), true));
        assert_eq!(volume("/etc:/data").unwrap().source, VolumeSource::Machine("/etc".into()));
        assert_eq!(volume("./x:/data").unwrap().source, VolumeSource::Machine("./x".into()));
        for wrong in ["", "data", "a:b", "a:/", "a:/b:c:d", "a b:/c"] {
            assert!(volume(wrong).is_err(), "{wrong}");
        }
        let mounted = mount("type=volume,source=v,target=/d,readonly").unwrap().unwrap();
        assert_eq!((mounted.source, mounted.read_only), (VolumeSource::Named("v".into()), true));
        assert_eq!(mount("type=tmpfs,dst=/t").unwrap(), Err("/t".to_owned()));
    }
}
