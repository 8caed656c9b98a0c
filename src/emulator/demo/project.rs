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
    use crate::emulator::ci::{file, plan};

    #[test]
    fn the_demos_pipeline_can_be_read() {
        let pipeline = file::read(include_str!("../../../fixtures/demo/gitlab-ci.yml")).unwrap();
        let planned = plan::plan(&pipeline).unwrap();
        let names: Vec<&str> = planned.jobs.iter().map(|job| job.name.as_str()).collect();
        assert_eq!(names, ["compile", "unit", "style", "archive"]);
        assert_eq!(planned.jobs[3].named_needs().to_vec(), ["compile", "unit", "style"]);
    }
}
