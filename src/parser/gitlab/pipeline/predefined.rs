//! The variables that the server defines before a file is read.
//!
//! Source: gitlabhq `lib/gitlab/ci/variables/builder.rb`, `app/models/project.rb`, `app/models/merge_request.rb`.

use super::context::{GitRef, PipelineContext, Source};
use super::variables::Variable;

/// Text as part of a host name: lower case, letters, digits and dashes, at most 63, no dash at either end.
pub fn slug(text: &str) -> String {
    let mapped: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).take(63).collect();
    mapped.trim_matches('-').to_owned()
}

/// What is known of server, project, pipeline and commit, in the server's order.
pub fn of_pipeline(context: &PipelineContext) -> Vec<Variable> {
    let mut list = List::default();
    list.server(context);
    list.project(context);
    list.pipeline(context);
    list.commit(context);
    list.merge_request(context);
    list.0
}

/// Who started the pipeline. These stand over the variables of the file.
pub fn of_user(context: &PipelineContext) -> Vec<Variable> {
    let user = &context.user;
    let mut list = List::default();
    list.add("GITLAB_USER_ID", user.id.to_string());
    list.add("GITLAB_USER_EMAIL", &user.email);
    list.add("GITLAB_USER_LOGIN", &user.login);
    list.add("GITLAB_USER_NAME", &user.name);
    list.0
}

#[derive(Default)]
struct List(Vec<Variable>);

impl List {
    fn add(&mut self, key: &'static str, value: impl AsRef<str>) {
        self.0.push(Variable::public(key, value.as_ref()));
    }

    fn add_if(&mut self, is: bool, key: &'static str, value: impl AsRef<str>) {
        if is {
            self.add(key, value);
        }
    }

    fn server(&mut self, context: &PipelineContext) {
        let server = &context.server;
        let (scheme, rest) = server.url.split_once("://").unwrap_or(("https", &server.url));
        let authority = rest.split('/').next().unwrap_or_default();
        let (host, port) = authority.rsplit_once(':').unwrap_or((authority, ""));
        let port = match (port, scheme) {
            ("", "http") => "80",
            ("", _) => "443",
            (port, _) => port,
        };
        let mut version = server.version.split('.');
        self.add("CI", "true");
        self.add("GITLAB_CI", "true");
        self.add("CI_SERVER", "yes");
        self.add("CI_SERVER_URL", &server.url);
        self.add("CI_SERVER_HOST", host);
        self.add("CI_SERVER_FQDN", authority);
        self.add("CI_SERVER_PORT", port);
        self.add("CI_SERVER_PROTOCOL", scheme);
        self.add("CI_SERVER_SHELL_SSH_HOST", host);
        self.add("CI_SERVER_SHELL_SSH_PORT", "22");
        self.add("CI_SERVER_NAME", "GitLab");
        self.add("CI_SERVER_VERSION", &server.version);
        self.add("CI_SERVER_VERSION_MAJOR", version.next().unwrap_or_default());
        self.add("CI_SERVER_VERSION_MINOR", version.next().unwrap_or_default());
        self.add("CI_SERVER_VERSION_PATCH", version.next().unwrap_or_default());
        self.add("CI_SERVER_REVISION", "");
        self.add("CI_API_V4_URL", format!("{}/api/v4", server.url));
        self.add("CI_API_GRAPHQL_URL", format!("{}/api/graphql", server.url));
        self.add("CI_TEMPLATE_REGISTRY_HOST", "registry.gitlab.com");
        self.add("GITLAB_FEATURES", "");
    }

    fn project(&mut self, context: &PipelineContext) {
        let (server, project) = (&context.server, &context.project);
        let (namespace, name) = project.path.rsplit_once('/').unwrap_or(("", &project.path));
        let root = project.path.split('/').next().unwrap_or_default();
        let path = project.path.to_lowercase();
        let title = if project.title.is_empty() { name } else { &project.title };
        self.add("CI_PROJECT_ID", project.id.to_string());
        self.add("CI_PROJECT_NAME", name);
        self.add("CI_PROJECT_TITLE", title);
        self.add("CI_PROJECT_DESCRIPTION", &project.description);
        self.add("CI_PROJECT_TOPICS", "");
        self.add("CI_PROJECT_PATH", &project.path);
        self.add("CI_PROJECT_PATH_SLUG", slug(&project.path));
        self.add("CI_PROJECT_NAMESPACE", namespace);
        self.add("CI_PROJECT_NAMESPACE_SLUG", slug(namespace));
        self.add("CI_PROJECT_NAMESPACE_ID", "1");
        self.add("CI_PROJECT_ROOT_NAMESPACE", root);
        self.add("CI_PROJECT_URL", format!("{}/{}", server.url, project.path));
        self.add("CI_PROJECT_VISIBILITY", &project.visibility);
        self.add("CI_PROJECT_REPOSITORY_LANGUAGES", project.languages.join(","));
        self.add("CI_PROJECT_CLASSIFICATION_LABEL", "");
        self.add("CI_DEFAULT_BRANCH", &project.default_branch);
        self.add("CI_DEFAULT_BRANCH_SLUG", slug(&project.default_branch));
        self.add("CI_CONFIG_PATH", &context.config_path);
        self.add("CI_PAGES_DOMAIN", &server.pages_domain);
        self.add("CI_PAGES_HOSTNAME", format!("{}.{}", slug(root), server.pages_domain));
        let has_registry = !server.registry.is_empty();
        self.add_if(has_registry, "CI_REGISTRY", &server.registry);
        self.add_if(has_registry, "CI_REGISTRY_IMAGE", format!("{}/{path}", server.registry));
        let host = server.url.split_once("://").map_or(server.url.as_str(), |(_, host)| host);
        self.add("CI_DEPENDENCY_PROXY_SERVER", host);
        self.add("CI_DEPENDENCY_PROXY_GROUP_IMAGE_PREFIX", format!("{host}/{root}/dependency_proxy/containers"));
        self.add(
            "CI_DEPENDENCY_PROXY_DIRECT_GROUP_IMAGE_PREFIX",
            format!("{host}/{}/dependency_proxy/containers", namespace.to_lowercase()),
        );
    }

    fn pipeline(&mut self, context: &PipelineContext) {
        self.add("CI_PIPELINE_IID", context.ids.iid.to_string());
        self.add("CI_PIPELINE_SOURCE", context.source.as_str());
        self.add("CI_PIPELINE_CREATED_AT", &context.ids.created_at);
        self.add_if(context.source == Source::Trigger, "CI_PIPELINE_TRIGGERED", "true");
        if let Some(description) = &context.schedule {
            self.add("CI_PIPELINE_SCHEDULE_DESCRIPTION", description);
        }
    }

    fn commit(&mut self, context: &PipelineContext) {
        let none = super::context::Commit::default();
        let commit = context.commit.as_ref().unwrap_or(&none);
        let message = cut(&commit.message);
        let (title, description) = message.split_once('\n').unwrap_or((message, ""));
        let name = match &context.merge_request {
            Some(request) => &request.source_branch,
            None => context.git_ref.name(),
        };
        self.add("CI_COMMIT_SHA", &commit.sha);
        self.add("CI_COMMIT_SHORT_SHA", commit.sha.get(..8).unwrap_or(&commit.sha));
        self.add("CI_COMMIT_BEFORE_SHA", &commit.before_sha);
        self.add("CI_COMMIT_REF_NAME", name);
        self.add("CI_COMMIT_REF_SLUG", slug(name));
        match &context.git_ref {
            _ if context.merge_request.is_some() => {}
            GitRef::Branch(name) => self.add("CI_COMMIT_BRANCH", name),
            GitRef::Tag { .. } => {}
        }
        self.add("CI_COMMIT_MESSAGE", message);
        self.add("CI_COMMIT_MESSAGE_IS_TRUNCATED", (message.len() < commit.message.len()).to_string());
        self.add("CI_COMMIT_TITLE", title);
        self.add("CI_COMMIT_DESCRIPTION", description.trim_start_matches('\n'));
        self.add("CI_COMMIT_REF_PROTECTED", context.is_protected.to_string());
        self.add("CI_COMMIT_TIMESTAMP", &commit.timestamp);
        self.add("CI_COMMIT_AUTHOR", &commit.author);
        if let GitRef::Tag { name, message } = &context.git_ref {
            self.add("CI_COMMIT_TAG", name);
            self.add("CI_COMMIT_TAG_MESSAGE", message);
        }
    }

    fn merge_request(&mut self, context: &PipelineContext) {
        let Some(request) = &context.merge_request else { return };
        let (project, server) = (&context.project, &context.server);
        let url = format!("{}/{}", server.url, project.path);
        let reference = format!("{}!{}", project.path, request.iid);
        self.add("CI_MERGE_REQUEST_EVENT_TYPE", "detached");
        self.add("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA", "");
        self.add("CI_MERGE_REQUEST_TARGET_BRANCH_SHA", "");
        self.add("CI_MERGE_REQUEST_DIFF_ID", request.iid.to_string());
        self.add("CI_MERGE_REQUEST_DIFF_BASE_SHA", &request.diff_base_sha);
        self.add("CI_MERGE_REQUEST_ID", request.iid.to_string());
        self.add("CI_MERGE_REQUEST_IID", request.iid.to_string());
        self.add("CI_MERGE_REQUEST_REF_PATH", format!("refs/merge-requests/{}/head", request.iid));
        self.add("CI_MERGE_REQUEST_PROJECT_ID", project.id.to_string());
        self.add("CI_MERGE_REQUEST_PROJECT_PATH", &project.path);
        self.add("CI_MERGE_REQUEST_PROJECT_URL", &url);
        self.add("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", &request.target_branch);
        self.add(
            "CI_MERGE_REQUEST_TARGET_BRANCH_PROTECTED",
            (request.target_branch == project.default_branch).to_string(),
        );
        self.add("CI_MERGE_REQUEST_TITLE", &request.title);
        self.add("CI_MERGE_REQUEST_DESCRIPTION", &request.description);
        self.add("CI_MERGE_REQUEST_DESCRIPTION_IS_TRUNCATED", "false");
        self.add("CI_MERGE_REQUEST_DRAFT", request.is_draft.to_string());
        self.add("CI_MERGE_REQUEST_SQUASH_ON_MERGE", "false");
        self.add_if(!request.labels.is_empty(), "CI_MERGE_REQUEST_LABELS", request.labels.join(","));
        self.add("CI_MERGE_REQUEST_SOURCE_PROJECT_ID", project.id.to_string());
        self.add("CI_MERGE_REQUEST_SOURCE_PROJECT_PATH", &project.path);
        self.add("CI_MERGE_REQUEST_SOURCE_PROJECT_URL", &url);
        self.add("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", &request.source_branch);
        self.add("CI_MERGE_REQUEST_SOURCE_BRANCH_PROTECTED", "false");
        self.add("CI_OPEN_MERGE_REQUESTS", reference);
    }
}

/// A message as far as the server hands it on.
fn cut(message: &str) -> &str {
    const MOST: usize = 100_000;
    let mut end = message.len().min(MOST);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.get(..end).unwrap_or_default()
}
