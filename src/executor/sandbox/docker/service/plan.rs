//! Which services a job has, and the names they are found by (protocols: GitLab 9.5).

use std::collections::BTreeSet;

use crate::executor::sandbox::docker::image::allow;
use crate::executor::sandbox::docker::settings::{ConfiguredService, DockerSettings};
use crate::pipeline::definition::{ImageSpec, ServiceSpec};
use crate::pipeline::{JobFailure, PipelineJob, Variable, Variables};

/// A service with the names that are left for it.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::executor::sandbox::docker) struct PlannedService {
    /// What it is.
    pub spec: ServiceSpec,
    /// The names it is found by.
    pub aliases: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// The port to check in place of those the image exposes.
    pub health_port: Option<u16>,
}

/// Services of a job, and lines that its user should read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::executor::sandbox::docker) struct ServicePlan {
    pub services: Vec<PlannedService>,
    pub remarks: Vec<String>,
}

/// The configured services first, then the job's.
pub(in crate::executor::sandbox::docker) fn plan(
    job: &PipelineJob,
    settings: &DockerSettings,
) -> Result<ServicePlan, JobFailure> {
    let of_job: Vec<&ServiceSpec> = job.services.iter().filter(|service| !service.image.name.is_empty()).collect();
    for service in &of_job {
        check_allowed(&service.image.name, settings)?;
    }
    let configured = settings.services.iter().map(|service| configured_spec(service, &job.variables));
    let all: Vec<ServiceSpec> =
        configured.filter(|service| !service.image.name.is_empty()).chain(of_job.into_iter().cloned()).collect();
    if let Some(limit) = settings.services_limit
        && all.len() > limit as usize
    {
        return Err(JobFailure::configuration(format!(
            "the job has {} services; this runner allows {limit} (`docker.services_limit`)",
            all.len()
        )));
    }
    let mut plan = ServicePlan::default();
    let mut taken = BTreeSet::new();
    for spec in all {
        add(spec, &mut taken, &mut plan);
    }
    Ok(plan)
}

fn check_allowed(image: &str, settings: &DockerSettings) -> Result<(), JobFailure> {
    let configured = settings.services.iter().any(|service| service.name == image);
    if configured || allow::is_allowed(&settings.allowed_services, None, image) {
        return Ok(());
    }
    Err(JobFailure::configuration(format!(
        "the service \"{image}\" is not allowed on this runner (`docker.allowed_services`: {})",
        settings.allowed_services.join(", ")
    )))
}

fn configured_spec(service: &ConfiguredService, variables: &Variables) -> ServiceSpec {
    let pairs = service.environment.iter().filter_map(|pair| pair.split_once('='));
    let own = pairs.map(|(key, value)| Variable::plain(key, variables.expand(value)));
    ServiceSpec {
        image: ImageSpec {
            name: variables.expand(&service.name),
            entrypoint: (!service.entrypoint.is_empty()).then(|| service.entrypoint.clone()),
            ..ImageSpec::default()
        },
        command: service.command.clone(),
        aliases: split_aliases(&variables.expand(&service.alias)),
        variables: variables.iter().filter(|v| v.public).map(|v| as_seen(v, variables)).chain(own).collect(),
        ports: Vec::new(),
    }
}

/// A file variable is its path; services do not have the file, but what refers to the path stays right.
fn as_seen(variable: &Variable, variables: &Variables) -> Variable {
    if variable.file {
        Variable::plain(variable.key.clone(), variables.file_path(&variable.key))
    } else {
        variable.clone()
    }
}

fn split_aliases(text: &str) -> Vec<String> {
    text.split([' ', ',', '\t']).filter(|alias| !alias.is_empty()).map(str::to_owned).collect()
}

fn add(spec: ServiceSpec, taken: &mut BTreeSet<String>, plan: &mut ServicePlan) {
    let mut aliases = Vec::new();
    for alias in image_aliases(&spec.image.name).into_iter().chain(spec.aliases.iter().flat_map(|a| split_aliases(a))) {
        if aliases.contains(&alias) {
            continue;
        }
        if taken.insert(alias.clone()) {
            aliases.push(alias);
        } else {
            let image = &spec.image.name;
            plan.remarks.push(format!("Service {image} is already created. Ignoring the alias {alias}."));
        }
    }
    if aliases.is_empty() {
        plan.remarks.push(format!("Service {} is not started: all its names belong to others", spec.image.name));
        return;
    }
    let health_port = last(&spec.variables, "HEALTHCHECK_TCP_PORT").and_then(|text| text.trim().parse().ok());
    let env = environment(&spec.variables);
    plan.services.push(PlannedService { spec, aliases, env, health_port });
}

fn last(variables: &[Variable], key: &str) -> Option<String> {
    variables.iter().rev().find(|variable| variable.key == key).map(|variable| variable.value.expose().to_owned())
}

/// The last of a name counts. Secret values may be among them: the list goes to the engine and nowhere else.
fn environment(variables: &[Variable]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut env: Vec<String> = variables
        .iter()
        .rev()
        .filter(|variable| is_environment_name(&variable.key) && seen.insert(variable.key.as_str()))
        .map(|variable| format!("{}={}", variable.key, variable.value.expose()))
        .collect();
    env.reverse();
    env
}

/// What the engine takes as a name: it refuses the whole container for one that it does not.
pub(in crate::executor::sandbox::docker) fn is_environment_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

/// The names made from an image: without tag, digest and the registry's port; `/` becomes `__`, then `-`.
pub(in crate::executor::sandbox::docker) fn image_aliases(image: &str) -> Vec<String> {
    let image = image.split('@').next().unwrap_or(image);
    let (host, path) = match image.split_once('/') {
        Some((first, rest)) if first.contains([':', '.']) || first == "localhost" => (Some(first), rest),
        _ => (None, image),
    };
    let path = match path.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => path,
        _ => path,
    };
    let full = match host {
        Some(host) => format!("{}/{path}", host.split(':').next().unwrap_or(host)),
        None => path.to_owned(),
    };
    let (first, second) = (full.replace('/', "__"), full.replace('/', "-"));
    if first == second { vec![first] } else { vec![first, second] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::sandbox::docker::tests::a_job;

    fn service(image: &str, aliases: &[&str]) -> ServiceSpec {
        ServiceSpec {
            image: ImageSpec { name: image.into(), ..ImageSpec::default() },
            aliases: aliases.iter().map(|a| (*a).to_owned()).collect(),
            ..ServiceSpec::default()
        }
    }

    #[test]
    fn names_are_made_from_the_image_as_gitlab_makes_them() {
        assert_eq!(
            image_aliases("registry.example.com:5000/group/pg:15"),
            ["registry.example.com__group__pg", "registry.example.com-group-pg"]
        );
        assert_eq!(image_aliases("postgres"), ["postgres"]);
        assert_eq!(image_aliases("tutum/wordpress:latest"), ["tutum__wordpress", "tutum-wordpress"]);
        assert_eq!(image_aliases("redis@sha256:abc"), ["redis"]);
        assert_eq!(image_aliases("redis:7.0@sha256:abc"), ["redis"]);
    }

    #[test]
    fn a_name_belongs_to_the_first_service_that_has_it() {
        let mut job = a_job();
        job.services =
            vec![service("redis:1", &["db"]), service("redis:2", &["db, cache"]), service("redis:3", &["db"])];
        let plan = plan(&job, &DockerSettings::default()).unwrap();
        let aliases: Vec<_> = plan.services.iter().map(|service| service.aliases.join(" ")).collect();
        assert_eq!(aliases, ["redis db", "cache"]);
        assert!(plan.remarks.iter().any(|remark| remark.contains("redis:3 is not started")), "{:?}", plan.remarks);
    }

    #[test]
    fn configured_services_come_first_and_see_public_variables_only() {
        let mut job = a_job();
        job.variables.push(Variable::plain("PUBLIC", "1"));
        job.variables.push(Variable { public: false, ..Variable::plain("SECRET", "2") });
        job.services = vec![service("redis:1", &[])];
        let configured = ConfiguredService {
            name: "pg:$PUBLIC".into(),
            alias: "db".into(),
            environment: vec!["PUBLIC=own".into(), "OWN=$SECRET".into(), "HEALTHCHECK_TCP_PORT=99".into()],
            ..ConfiguredService::default()
        };
        let settings = DockerSettings { services: vec![configured], ..DockerSettings::default() };
        let plan = plan(&job, &settings).unwrap();
        assert_eq!(plan.services[0].spec.image.name, "pg:1");
        assert_eq!(plan.services[0].env, ["PUBLIC=own", "OWN=2", "HEALTHCHECK_TCP_PORT=99"]);
        assert_eq!(plan.services[0].health_port, Some(99));
        assert_eq!(plan.services[1].spec.image.name, "redis:1");
    }

    #[test]
    fn the_operator_s_limits_are_told() {
        let mut job = a_job();
        job.services = vec![service("redis:1", &[]), service("pg:1", &[])];
        let few = DockerSettings { services_limit: Some(1), ..DockerSettings::default() };
        assert!(plan(&job, &few).unwrap_err().message.contains("services_limit"));
        let listed = DockerSettings { allowed_services: vec!["redis:*".into()], ..DockerSettings::default() };
        assert!(plan(&job, &listed).unwrap_err().message.contains("pg:1"));
    }
}
