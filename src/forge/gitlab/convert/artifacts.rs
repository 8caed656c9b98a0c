//! Files a job gives away. (protocols: GitLab 3.9, 6.2, 6.3.)

use super::{Context, when_of};
use crate::pipeline::JobFailure;
use crate::pipeline::definition::{ArtifactFormat, ArtifactSpec, FileSelection};

/// The artifacts in the order of the payload.
pub(super) fn artifacts(cx: &Context<'_>) -> Result<Vec<ArtifactSpec>, JobFailure> {
    let mut artifacts = Vec::new();
    for artifact in &cx.payload.artifacts {
        if artifact.paths.is_empty() && !artifact.untracked {
            continue;
        }
        artifacts.push(ArtifactSpec {
            name: artifact.name.clone(),
            files: selection(&artifact.paths, &artifact.exclude, artifact.untracked),
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

/// Globs as they are written: what they are in the job's environment is known once the job has run.
pub(super) fn selection(paths: &[String], exclude: &[String], untracked: bool) -> FileSelection {
    FileSelection { paths: paths.to_vec(), exclude: exclude.to_vec(), untracked }
}
