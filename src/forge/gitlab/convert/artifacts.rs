//! Files a job gives away. (protocols: GitLab 3.9, 6.2, 6.3.)

use super::{Context, shell_text, when_of};
use crate::pipeline::JobFailure;
use crate::pipeline::definition::{ArtifactFormat, ArtifactSpec, FileSelection};

/// The artifacts in the order of the payload.
pub(super) fn artifacts(cx: &Context<'_>, warnings: &mut Vec<String>) -> Result<Vec<ArtifactSpec>, JobFailure> {
    let mut artifacts = Vec::new();
    for artifact in &cx.payload.artifacts {
        if artifact.paths.is_empty() && !artifact.untracked {
            continue;
        }
        artifacts.push(ArtifactSpec {
            name: expand(cx, &artifact.name, warnings),
            files: selection(cx, &artifact.paths, &artifact.exclude, artifact.untracked, warnings),
            when: when_of(&artifact.when, "an artifact")?,
            kind: artifact.artifact_type.clone(),
            format: format(&artifact.artifact_format)?,
            format_on_wire: artifact.artifact_format.clone(),
            expire_in: artifact.expire_in.clone(),
        });
    }
    Ok(artifacts)
}

fn format(text: &str) -> Result<ArtifactFormat, JobFailure> {
    match text {
        "" | "zip" => Ok(ArtifactFormat::Zip),
        "zipzstd" => Ok(ArtifactFormat::ZipZstd),
        "tarzstd" => Ok(ArtifactFormat::TarZstd),
        "gzip" => Ok(ArtifactFormat::Gzip),
        "raw" => Ok(ArtifactFormat::Raw),
        other => Err(super::refuse(format!(
            "the job asks for the artifact format `{other}`, which this runner does not support"
        ))),
    }
}

/// Globs as the official helper expands them.
pub(super) fn selection(
    cx: &Context<'_>,
    paths: &[String],
    exclude: &[String],
    untracked: bool,
    warnings: &mut Vec<String>,
) -> FileSelection {
    FileSelection {
        paths: paths.iter().map(|path| expand(cx, path, warnings)).collect(),
        exclude: exclude.iter().map(|path| expand(cx, path, warnings)).collect(),
        untracked,
    }
}

fn expand(cx: &Context<'_>, text: &str, warnings: &mut Vec<String>) -> String {
    shell_text::expand(text, cx.variables).unwrap_or_else(|| {
        warnings.push(format!(
            "{text:?} is taken as it is: only variables and their defaults can be expanded in names and paths"
        ));
        text.to_owned()
    })
}
