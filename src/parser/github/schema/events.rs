//! The definitions of what starts a workflow.

use super::definition::{Def, MappingDef, Property, Shape};
use super::scope::ScopeSet;
use super::workflow::{
    BOOL, NON_EMPTY, NON_EMPTY_TEXTS, NULL, SCALAR, TEXT, TEXT_OR_TEXTS, TEXTS, mapping, mapping_of,
};

/// An event whose only filter are types.
macro_rules! typed {
    ($($name:ident = $($types:literal)*;)*) => { $(
        static $name: Def = Def::of(Shape::OneOf(&[
            &NULL,
            &Def::of(mapping! { "types" => types!($($types)*); }),
        ]));
    )* };
}

/// A type, or a list of types.
macro_rules! types {
    ($($type:literal)*) => {
        Def::of(Shape::OneOf(&[
            &Def::of(Shape::Words(&[$($type),*])),
            &Def::of(Shape::Sequence(&Def::of(Shape::Words(&[$($type),*])))),
        ]))
    };
}

/// An event of these filters.
macro_rules! filtered {
    ($($name:ident = { $($key:literal => $def:expr);* $(;)? };)*) => { $(
        static $name: Def = Def::of(Shape::OneOf(&[&NULL, &Def::of(mapping! { $($key => $def);* })]));
    )* };
}

/// `on`.
pub(super) static ON: Def = Def::of(Shape::OneOf(&[&WORDS, &LIST, &EVENTS]));

/// Whether GitHub passes over the keys of this mapping that it does not know: those beside the inputs of `workflow_dispatch`.
pub(super) fn passes_over_keys(mapping: &MappingDef) -> bool {
    matches!(mapping.properties, [Property { def, .. }] if std::ptr::eq(*def, &raw const DISPATCH_INPUTS))
}

/// The names of GitHub's events.
pub fn event_names() -> Vec<&'static str> {
    ON.mappings().iter().flat_map(|events| events.properties).map(|property| property.name).collect()
}

/// Whether GitHub has an event of this name.
pub fn is_event(name: &str) -> bool {
    ON.mappings().iter().any(|events| events.property(name).is_some())
}

static LIST: Def = Def::of(Shape::Sequence(&WORDS));

/// The events that may be named without filters. `repository_dispatch` is missing in the official parser, by mistake; GitHub takes it.
static WORDS: Def = Def::of(Shape::Words(&[
    "branch_protection_rule",
    "check_run",
    "check_suite",
    "create",
    "delete",
    "deployment",
    "deployment_status",
    "discussion",
    "discussion_comment",
    "fork",
    "gollum",
    "image_version",
    "issue_comment",
    "issues",
    "label",
    "merge_group",
    "milestone",
    "page_build",
    "project",
    "project_card",
    "project_column",
    "public",
    "pull_request",
    "pull_request_comment",
    "pull_request_review",
    "pull_request_review_comment",
    "pull_request_target",
    "push",
    "registry_package",
    "release",
    "repository_dispatch",
    "schedule",
    "status",
    "watch",
    "workflow_call",
    "workflow_dispatch",
    "workflow_run",
]));

static EVENTS: Def = Def::of(mapping! {
    "branch_protection_rule" => CREATED_EDITED_DELETED;
    "check_run" => CHECK_RUN;
    "check_suite" => CHECK_SUITE;
    "create" => NULL;
    "delete" => NULL;
    "deployment" => NULL;
    "deployment_status" => NULL;
    "discussion" => DISCUSSION;
    "discussion_comment" => CREATED_EDITED_DELETED;
    "fork" => NULL;
    "gollum" => NULL;
    "image_version" => IMAGE_VERSION;
    "issue_comment" => CREATED_EDITED_DELETED;
    "issues" => ISSUES;
    "label" => CREATED_EDITED_DELETED;
    "merge_group" => MERGE_GROUP;
    "milestone" => MILESTONE;
    "page_build" => NULL;
    "project" => PROJECT;
    "project_card" => PROJECT_CARD;
    "project_column" => PROJECT_COLUMN;
    "public" => NULL;
    "pull_request" => PULL_REQUEST;
    "pull_request_comment" => CREATED_EDITED_DELETED;
    "pull_request_review" => PULL_REQUEST_REVIEW;
    "pull_request_review_comment" => CREATED_EDITED_DELETED;
    "pull_request_target" => PULL_REQUEST;
    "push" => PUSH;
    "registry_package" => REGISTRY_PACKAGE;
    "release" => RELEASE;
    "repository_dispatch" => REPOSITORY_DISPATCH;
    "schedule" => SCHEDULE;
    "status" => NULL;
    "watch" => WATCH;
    "workflow_call" => WORKFLOW_CALL;
    "workflow_dispatch" => WORKFLOW_DISPATCH;
    "workflow_run" => WORKFLOW_RUN;
});

typed! {
    CREATED_EDITED_DELETED = "created" "edited" "deleted";
    CHECK_RUN = "completed" "created" "rerequested" "requested_action";
    CHECK_SUITE = "completed";
    DISCUSSION = "created" "edited" "deleted" "transferred" "pinned" "unpinned" "labeled" "unlabeled" "locked" "unlocked"
        "category_changed" "answered" "unanswered";
    ISSUES = "opened" "edited" "deleted" "transferred" "pinned" "unpinned" "closed" "reopened" "assigned" "unassigned" "labeled"
        "unlabeled" "locked" "unlocked" "milestoned" "demilestoned" "field_added" "field_removed" "typed" "untyped";
    MILESTONE = "created" "closed" "opened" "edited" "deleted";
    PROJECT = "created" "closed" "reopened" "edited" "deleted";
    PROJECT_CARD = "created" "moved" "converted" "edited" "deleted";
    PROJECT_COLUMN = "created" "updated" "moved" "deleted";
    PULL_REQUEST_REVIEW = "submitted" "edited" "dismissed";
    REGISTRY_PACKAGE = "published" "updated";
    RELEASE = "published" "unpublished" "created" "edited" "deleted" "prereleased" "released";
    WATCH = "started";
}

filtered! {
    IMAGE_VERSION = { "types" => types!("created" "ready" "deleted"); "names" => TEXT_OR_TEXTS; "versions" => TEXT_OR_TEXTS };
    MERGE_GROUP = { "types" => types!("checks_requested"); "branches" => TEXT_OR_TEXTS; "branches-ignore" => TEXT_OR_TEXTS };
    PULL_REQUEST = {
        "types" => types!("assigned" "unassigned" "labeled" "unlabeled" "opened" "edited" "closed" "reopened" "synchronize"
            "converted_to_draft" "locked" "unlocked" "enqueued" "dequeued" "milestoned" "demilestoned" "ready_for_review"
            "review_requested" "review_request_removed" "auto_merge_enabled" "auto_merge_disabled" "stacked");
        "branches" => TEXT_OR_TEXTS;
        "branches-ignore" => TEXT_OR_TEXTS;
        "paths" => TEXT_OR_TEXTS;
        "paths-ignore" => TEXT_OR_TEXTS
    };
    PUSH = {
        "branches" => TEXT_OR_TEXTS;
        "branches-ignore" => TEXT_OR_TEXTS;
        "tags" => TEXT_OR_TEXTS;
        "tags-ignore" => TEXT_OR_TEXTS;
        "paths" => TEXT_OR_TEXTS;
        "paths-ignore" => TEXT_OR_TEXTS
    };
    REPOSITORY_DISPATCH = { "types" => NON_EMPTY_TEXTS };
    WORKFLOW_RUN = {
        "types" => types!("requested" "completed" "in_progress");
        "workflows" => TEXT_OR_TEXTS;
        "branches" => TEXT_OR_TEXTS;
        "branches-ignore" => TEXT_OR_TEXTS
    };
    WORKFLOW_CALL = { "inputs" => CALL_INPUTS; "secrets" => CALL_SECRETS; "outputs" => CALL_OUTPUTS };
    WORKFLOW_DISPATCH = { "inputs" => DISPATCH_INPUTS };
}

static SCHEDULE: Def = Def::of(Shape::Sequence(&CRON));
static CRON: Def = Def::of(Shape::Mapping(&MappingDef {
    properties: &[
        Property { name: "cron", def: &NON_EMPTY, required: true },
        Property { name: "timezone", def: &NON_EMPTY, required: false },
    ],
    others: None,
}));

static CALL_INPUTS: Def = Def::of(mapping_of!(CALL_INPUT));
static CALL_INPUT: Def = Def::of(mapping! {
    "description" => TEXT;
    "type" => CALL_INPUT_TYPE, required;
    "required" => BOOL;
    "default" => CALL_INPUT_DEFAULT;
});
static CALL_INPUT_TYPE: Def = Def::of(Shape::Words(&["string", "boolean", "number"]));
static CALL_INPUT_DEFAULT: Def = Def::with(ScopeSet::RUN, Shape::OneOf(&[&TEXT, &BOOL, &super::workflow::NUMBER]));
static CALL_SECRETS: Def = Def::of(mapping_of!(CALL_SECRET));
static CALL_SECRET: Def =
    Def::of(Shape::OneOf(&[&NULL, &Def::of(mapping! { "description" => TEXT; "required" => BOOL; })]));
static CALL_OUTPUTS: Def = Def::of(mapping_of!(CALL_OUTPUT));
static CALL_OUTPUT: Def = Def::of(mapping! { "description" => TEXT; "value" => CALL_OUTPUT_VALUE, required; });
static CALL_OUTPUT_VALUE: Def = Def::with(ScopeSet::RUN.and(ScopeSet::JOBS), Shape::Text);

// Nothing below `inputs:` or an input is in daily use, and GitHub takes it; the official TypeScript parser does not.
static DISPATCH_INPUTS: Def = Def::of(Shape::OneOf(&[&NULL, &Def::of(mapping_of!(DISPATCH_INPUT))]));
static DISPATCH_INPUT: Def = Def::of(Shape::OneOf(&[
    &NULL,
    &Def::of(mapping! {
        "description" => TEXT;
        "type" => DISPATCH_INPUT_TYPE;
        "required" => BOOL;
        "default" => SCALAR;
        "options" => TEXTS;
    }),
]));
static DISPATCH_INPUT_TYPE: Def = Def::of(Shape::Words(&["string", "boolean", "number", "environment", "choice"]));
