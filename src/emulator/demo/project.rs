//! The demo's repository, embedded in the program.

use crate::emulator::repository::{Repository, RepositoryFile};

/// A small shell project with a pipeline that builds, tests and packages it.
pub fn repository() -> Repository {
    Repository::Files(vec![
        RepositoryFile::text(".gitlab-ci.yml", include_str!("../../../fixtures/demo/gitlab-ci.yml")),
        RepositoryFile::text(".gitignore", "out/\ndist/\nbuild.env\nresults.txt\n"),
        RepositoryFile::program("build.sh", include_str!("../../../fixtures/demo/build.sh")),
        RepositoryFile::program("test.sh", include_str!("../../../fixtures/demo/test.sh")),
        RepositoryFile::program("package.sh", include_str!("../../../fixtures/demo/package.sh")),
        RepositoryFile::text("src/greet.sh", include_str!("../../../fixtures/demo/greet.sh")),
        RepositoryFile::text("src/words.txt", include_str!("../../../fixtures/demo/words.txt")),
    ])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::parser::gitlab::compose::Offline;
    use crate::parser::gitlab::pipeline::PipelineContext;
    use crate::parser::gitlab::{LoadOptions, load};

    #[test]
    fn the_demos_pipeline_is_clean() {
        let text = include_str!("../../../fixtures/demo/gitlab-ci.yml").to_owned();
        let files = BTreeMap::from([(".gitlab-ci.yml".to_owned(), text)]);
        let context = PipelineContext::default();
        let checked = load(".gitlab-ci.yml", &files, &Offline, &LoadOptions::default(), &context);
        assert!(checked.diagnostics.is_empty(), "{:?}", checked.diagnostics);
        let definition = checked.value.unwrap().to_definition();
        let names: Vec<&str> = definition.jobs.iter().map(|job| job.name.as_str()).collect();
        assert_eq!(names, ["compile", "unit", "style", "archive"]);
    }
}
