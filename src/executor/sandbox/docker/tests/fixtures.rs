//! What tests share: a job, a log, an agent with a folder and a label of its own.

use std::time::Duration;

use crate::pipeline::definition::*;
use crate::pipeline::*;

/// A job that asks for nothing.
pub(in crate::executor::sandbox::docker) fn a_job() -> PipelineJob {
    let forge = ForgeInstance::new("https://gitlab.example.com");
    let id = JobId::new("42");
    PipelineJob {
        key: JobKey::of(&forge, &id, &uuid::Uuid::new_v4().to_string()),
        id,
        name: "job".into(),
        stage: "test".into(),
        owner: Owner { forge, project: ProjectId::new("7"), trust: Trust::Member },
        variables: Variables::default(),
        dirs: JobDirs {
            builds: "/builds".into(),
            project: "/builds/group/project".into(),
            temp: "/builds/group/project.tmp".into(),
        },
        image: None,
        services: Vec::new(),
        registry_auth: RegistryAuth::default(),
        sources: SourceSpec {
            strategy: SourceStrategy::Empty,
            url: String::new(),
            credentials: None,
            url_rewrites: Vec::new(),
            ref_name: String::new(),
            sha: String::new(),
            refspecs: Vec::new(),
            depth: 0,
            object_format: "sha1".into(),
            checkout: false,
            clean_flags: None,
            fetch_flags: Vec::new(),
            submodules: Submodules {
                depth_of_tree: SubmoduleStrategy::None,
                depth: 0,
                paths: Vec::new(),
                update_flags: Vec::new(),
            },
            lfs: false,
            pre_script: Vec::new(),
            post_script: Vec::new(),
            user_agent: String::new(),
            extra_header: None,
        },
        steps: Vec::new(),
        caches: Vec::new(),
        artifacts: Vec::new(),
        dependencies: Vec::new(),
        timeouts: Timeouts {
            job: Duration::from_secs(600),
            prepare: None,
            get_sources: None,
            script: None,
            after_script: Duration::from_secs(300),
            services: Some(Duration::from_secs(30)),
        },
        attempts: Attempts { get_sources: 1, restore_cache: 1, download_artifacts: 1, executor: 1 },
        log: LogSpec {
            sections: false,
            script_sections: false,
            timestamps: false,
            trace_commands: false,
            services: false,
            mask: Vec::new(),
            mask_prefixes: Vec::new(),
            limit: 4 << 20,
        },
        warnings: Vec::new(),
        labels: vec![("com.gitlab.gitlab-runner.job.id".into(), "42".into())],
    }
}
