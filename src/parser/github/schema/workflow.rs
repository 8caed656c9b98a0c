//! The definitions of a workflow, its jobs and its steps.

use super::definition::{Def, MappingDef, Property, Shape};
use super::events::ON;
use super::scope::ScopeSet;

/// One property: `name: DEF`, with `!` where it must be there.
macro_rules! mapping {
    (@property $name:literal, $def:expr) => { Property { name: $name, def: &$def, required: false } };
    (@property $name:literal, $def:expr, required) => { Property { name: $name, def: &$def, required: true } };
    ($($name:literal => $def:expr $(, $required:ident)?);* $(;)?) => {
        Shape::Mapping(&MappingDef {
            properties: &[$(mapping!(@property $name, $def $(, $required)?)),*],
            others: None,
        })
    };
}
pub(super) use mapping;

/// Any keys, which hold such values.
macro_rules! mapping_of {
    ($def:expr) => {
        Shape::Mapping(&MappingDef { properties: &[], others: Some(&$def) })
    };
}
pub(super) use mapping_of;

macro_rules! defs {
    ($($name:ident = $shape:expr;)*) => { $(pub(super) static $name: Def = Def::of($shape);)* };
}

macro_rules! scoped {
    ($($name:ident in $scope:expr => $shape:expr;)*) => { $(pub(super) static $name: Def = Def::with($scope, $shape);)* };
}

const STATUS_OF_JOBS: ScopeSet = ScopeSet::JOB_BEFORE_MATRIX.and(ScopeSet::STATUS_OF_JOBS);
const STEP_CONDITION: ScopeSet = ScopeSet::RUNNING.and(ScopeSet::STATUS_OF_STEPS).and(ScopeSet::HASH_FILES);

/// A whole workflow.
pub static ROOT: Def = Def::of(mapping! {
    "on" => ON, required;
    "name" => TEXT;
    "description" => TEXT;
    "run-name" => RUN_NAME;
    "defaults" => DEFAULTS;
    "env" => WORKFLOW_ENV;
    "permissions" => PERMISSIONS;
    "concurrency" => WORKFLOW_CONCURRENCY;
    "jobs" => JOBS, required;
});

defs! {
    NULL = Shape::Null;
    BOOL = Shape::Bool;
    NUMBER = Shape::Number;
    TEXT = Shape::Text;
    NON_EMPTY = Shape::NonEmpty;
    TEXTS = Shape::Sequence(&TEXT);
    NON_EMPTY_TEXTS = Shape::Sequence(&NON_EMPTY);
    TEXT_OR_TEXTS = Shape::OneOf(&[&NON_EMPTY, &NON_EMPTY_TEXTS]);
    ANY_LIST = Shape::Sequence(&ANY);
    ANY_MAPPING = mapping_of!(ANY);
    ANY = Shape::OneOf(&[&NULL, &BOOL, &NUMBER, &TEXT, &ANY_LIST, &ANY_MAPPING]);
    SCALAR = Shape::OneOf(&[&TEXT, &BOOL, &NUMBER]);

    DEFAULTS = mapping! { "run" => DEFAULTS_RUN; };
    DEFAULTS_RUN = mapping! { "shell" => NON_EMPTY; "working-directory" => NON_EMPTY; };

    PERMISSIONS = Shape::OneOf(&[&PERMISSION_SCOPES, &PERMISSION_WORDS]);
    PERMISSION_WORDS = Shape::Words(&["read-all", "write-all"]);
    PERMISSION_ANY = Shape::Words(&["read", "write", "none"]);
    PERMISSION_READ = Shape::Words(&["read", "none"]);
    PERMISSION_WRITE = Shape::Words(&["write", "none"]);
    PERMISSION_SCOPES = mapping! {
        "actions" => PERMISSION_ANY;
        "artifact-metadata" => PERMISSION_ANY;
        "attestations" => PERMISSION_ANY;
        "checks" => PERMISSION_ANY;
        "code-quality" => PERMISSION_ANY;
        "contents" => PERMISSION_ANY;
        "copilot-requests" => PERMISSION_WRITE;
        "deployments" => PERMISSION_ANY;
        "discussions" => PERMISSION_ANY;
        "drives" => PERMISSION_ANY;
        "id-token" => PERMISSION_WRITE;
        "issues" => PERMISSION_ANY;
        "models" => PERMISSION_READ;
        "packages" => PERMISSION_ANY;
        "pages" => PERMISSION_ANY;
        "pull-requests" => PERMISSION_ANY;
        "repository-projects" => PERMISSION_ANY;
        "security-events" => PERMISSION_ANY;
        "statuses" => PERMISSION_ANY;
        "vulnerability-alerts" => PERMISSION_READ;
    };

    CONCURRENCY = mapping! { "group" => NON_EMPTY, required; "cancel-in-progress" => BOOL; "queue" => CONCURRENCY_QUEUE; };
    CONCURRENCY_QUEUE = Shape::Words(&["single", "max"]);

    JOBS = mapping_of!(JOB);
    JOB = Shape::OneOf(&[&JOB_OF_STEPS, &JOB_OF_CALL]);
    JOB_OF_STEPS = mapping! {
        "needs" => TEXT_OR_TEXTS;
        "if" => JOB_IF;
        "strategy" => STRATEGY;
        "name" => TEXT_OF_LEG;
        "runs-on" => RUNS_ON, required;
        "timeout-minutes" => NUMBER_OF_LEG;
        "cancel-timeout-minutes" => NUMBER_OF_LEG;
        "continue-on-error" => BOOL_OF_LEG;
        "container" => CONTAINER;
        "services" => SERVICES;
        "env" => JOB_ENV;
        "environment" => ENVIRONMENT;
        "permissions" => PERMISSIONS;
        "concurrency" => JOB_CONCURRENCY;
        "outputs" => JOB_OUTPUTS;
        "defaults" => JOB_DEFAULTS;
        "steps" => STEPS;
        "snapshot" => SNAPSHOT;
    };
    JOB_OF_CALL = mapping! {
        "name" => TEXT_OF_LEG;
        "uses" => NON_EMPTY, required;
        "with" => CALL_WITH;
        "secrets" => CALL_SECRETS;
        "needs" => TEXT_OR_TEXTS;
        "if" => JOB_IF;
        "permissions" => PERMISSIONS;
        "concurrency" => JOB_CONCURRENCY;
        "strategy" => STRATEGY;
    };
    CALL_WITH = mapping_of!(CALL_VALUE);
    CALL_SECRETS = Shape::OneOf(&[&CALL_SECRETS_NAMED, &CALL_SECRETS_ALL]);
    CALL_SECRETS_NAMED = mapping_of!(CALL_SECRET_VALUE);
    CALL_SECRETS_ALL = Shape::Words(&["inherit"]);

    MATRIX = Shape::Mapping(&MappingDef {
        properties: &[
            Property { name: "include", def: &MATRIX_FILTER, required: false },
            Property { name: "exclude", def: &MATRIX_FILTER, required: false },
        ],
        others: Some(&ANY_LIST),
    });
    MATRIX_FILTER = Shape::Sequence(&ANY_MAPPING);
    SNAPSHOT = Shape::OneOf(&[&NON_EMPTY, &SNAPSHOT_MAPPING]);
    SNAPSHOT_MAPPING = mapping! { "image-name" => NON_EMPTY, required; "if" => SNAPSHOT_IF; "version" => NON_EMPTY; };
    RUNS_ON_MAPPING = mapping! { "group" => NON_EMPTY; "labels" => TEXT_OR_TEXTS; };
    ENVIRONMENT_MAPPING = mapping! { "name" => TEXT_OF_LEG, required; "url" => ENVIRONMENT_URL; "deployment" => BOOL; };
    JOB_DEFAULTS = mapping! { "run" => JOB_DEFAULTS_RUN; };
    JOB_OUTPUTS = mapping_of!(JOB_OUTPUT);

    CONTAINER_MAPPING = mapping! {
        "image" => NON_EMPTY;
        "options" => TEXT;
        "env" => CONTAINER_ENV;
        "ports" => NON_EMPTY_TEXTS;
        "volumes" => NON_EMPTY_TEXTS;
        "credentials" => CREDENTIALS;
    };
    SERVICE_MAPPING = mapping! {
        "image" => NON_EMPTY;
        "options" => TEXT;
        "env" => CONTAINER_ENV;
        "ports" => NON_EMPTY_TEXTS;
        "volumes" => NON_EMPTY_TEXTS;
        "credentials" => CREDENTIALS;
        "entrypoint" => TEXT;
        "command" => TEXT;
    };
    CONTAINER_ENV = mapping_of!(JOB_OUTPUT);

    STEPS = Shape::Sequence(&STEP);
    STEP = Shape::OneOf(&[&RUN_STEP, &USES_STEP, &WAIT_STEP, &WAIT_ALL_STEP, &CANCEL_STEP, &PARALLEL_STEP]);
    RUN_STEP = mapping! {
        "name" => STEP_TEXT;
        "id" => NON_EMPTY;
        "if" => STEP_IF;
        "timeout-minutes" => STEP_NUMBER;
        "run" => STEP_TEXT, required;
        "continue-on-error" => STEP_BOOL;
        "env" => STEP_MAP;
        "working-directory" => STEP_TEXT;
        "shell" => NON_EMPTY;
        "background" => BOOL;
    };
    USES_STEP = mapping! {
        "name" => STEP_TEXT;
        "id" => NON_EMPTY;
        "if" => STEP_IF;
        "continue-on-error" => STEP_BOOL;
        "timeout-minutes" => STEP_NUMBER;
        "uses" => NON_EMPTY, required;
        "with" => STEP_MAP;
        "env" => STEP_MAP;
        "background" => BOOL;
    };
    WAIT_STEP = mapping! {
        "name" => STEP_TEXT; "id" => NON_EMPTY; "continue-on-error" => STEP_BOOL; "wait" => TEXT_OR_TEXTS, required;
    };
    WAIT_ALL_STEP = mapping! {
        "name" => STEP_TEXT; "id" => NON_EMPTY; "continue-on-error" => STEP_BOOL; "wait-all" => WAIT_ALL, required;
    };
    WAIT_ALL = Shape::OneOf(&[&NULL, &BOOL]);
    CANCEL_STEP = mapping! {
        "name" => STEP_TEXT; "id" => NON_EMPTY; "continue-on-error" => STEP_BOOL; "cancel" => NON_EMPTY, required;
    };
    PARALLEL_STEP = mapping! { "parallel" => STEPS, required; };
}

scoped! {
    RUN_NAME in ScopeSet::RUN => Shape::Text;
    WORKFLOW_ENV in ScopeSet::RUN.and(ScopeSet::SECRETS) => mapping_of!(TEXT);
    WORKFLOW_CONCURRENCY in ScopeSet::RUN => Shape::OneOf(&[&TEXT, &CONCURRENCY]);
    JOB_IF in STATUS_OF_JOBS => Shape::Text;
    STRATEGY in ScopeSet::JOB_BEFORE_MATRIX => mapping! { "fail-fast" => BOOL; "max-parallel" => NUMBER; "matrix" => MATRIX; };
    TEXT_OF_LEG in ScopeSet::LEG => Shape::Text;
    NUMBER_OF_LEG in ScopeSet::LEG => Shape::Number;
    BOOL_OF_LEG in ScopeSet::LEG => Shape::Bool;
    CALL_VALUE in ScopeSet::LEG => Shape::OneOf(&[&TEXT, &BOOL, &NUMBER]);
    CALL_SECRET_VALUE in ScopeSet::LEG.and(ScopeSet::SECRETS) => Shape::OneOf(&[&TEXT, &BOOL, &NUMBER]);
    SNAPSHOT_IF in ScopeSet::LEG => Shape::Text;
    RUNS_ON in ScopeSet::LEG => Shape::OneOf(&[&NON_EMPTY, &NON_EMPTY_TEXTS, &RUNS_ON_MAPPING]);
    JOB_ENV in ScopeSet::LEG.and(ScopeSet::SECRETS) => mapping_of!(TEXT);
    JOB_CONCURRENCY in ScopeSet::LEG => Shape::OneOf(&[&NON_EMPTY, &CONCURRENCY]);
    ENVIRONMENT in ScopeSet::LEG => Shape::OneOf(&[&TEXT, &ENVIRONMENT_MAPPING]);
    ENVIRONMENT_URL in ScopeSet::RUNNING => Shape::Text;
    JOB_DEFAULTS_RUN in ScopeSet::LEG.and(ScopeSet::ENV) => mapping! { "shell" => NON_EMPTY; "working-directory" => NON_EMPTY; };
    JOB_OUTPUT in ScopeSet::RUNNING.and(ScopeSet::SECRETS) => Shape::Text;
    CONTAINER in ScopeSet::LEG => Shape::OneOf(&[&TEXT, &CONTAINER_MAPPING]);
    SERVICES in ScopeSet::LEG => mapping_of!(SERVICE);
    SERVICE in ScopeSet::LEG => Shape::OneOf(&[&NON_EMPTY, &SERVICE_MAPPING]);
    CREDENTIALS in ScopeSet::RUN.and(ScopeSet::SECRETS).and(ScopeSet::ENV) =>
        mapping! { "username" => NON_EMPTY; "password" => NON_EMPTY; };
    STEP_TEXT in ScopeSet::STEP => Shape::Text;
    STEP_NUMBER in ScopeSet::STEP => Shape::Number;
    STEP_BOOL in ScopeSet::STEP => Shape::Bool;
    STEP_MAP in ScopeSet::STEP => mapping_of!(TEXT);
    STEP_IF in STEP_CONDITION => Shape::Text;
}
