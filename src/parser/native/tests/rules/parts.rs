//! What a job has besides: matrices, resources, services, caches, deployments.

use super::In::Job;
use super::Row;
use crate::parser::native::codes;

pub(super) fn rows() -> Vec<Row> {
    vec![
        // Matrices.
        (Job, "matrix: §{}", codes::EMPTY, "`matrix` has no axis", "version: [1, 2]"),
        (
            Job,
            "matrix: §[v]",
            codes::WRONG_TYPE,
            "`matrix` is a mapping of axes to lists, not a list",
            "version: [1, 2]",
        ),
        (Job, "matrix: {v: §[]}", codes::EMPTY, "`v` has no item", "add one"),
        (Job, "matrix: {v: §1}", codes::WRONG_TYPE, "`v` is a list, not a number", "`v: [1]`"),
        (
            Job,
            "matrix: {v: [1, §1]}",
            codes::DUPLICATE_VALUE,
            "the axis `v` has the value `1` twice",
            "remove one of them",
        ),
        (Job, "matrix: {§a b: [1]}", codes::BAD_NAME, "`a b` is no name for an axis", "letters, digits"),
        (
            Job,
            "matrix: {v: [1, 2], exclude: [{§w: 1}]}",
            codes::BAD_MATRIX,
            "`exclude` names `w`, which is no axis",
            "the axes are `v`",
        ),
        (
            Job,
            "matrix: §{v: [1], exclude: [{v: 1}]}",
            codes::BAD_MATRIX,
            "`exclude` takes every combination of the matrix away",
            "leave one",
        ),
        (Job, "matrix: {v: [1], include: §[]}", codes::EMPTY, "`include` has no item", "add one"),
        (
            Job,
            "matrix: {v: [1], include: [§w]}",
            codes::WRONG_TYPE,
            "`include[]` is a mapping of axes to values, not text",
            "axis: value",
        ),
        (
            Job,
            "matrix: {v: [1], fail_fast: §perhaps}",
            codes::WRONG_TYPE,
            "`fail_fast` is `true` or `false`, not text",
            "`fail_fast: true`",
        ),
        (
            Job,
            "matrix: {v: [1], fail_fast: §'${TARGET}'}",
            codes::WRONG_TYPE,
            "`fail_fast` is `true` or `false`, and `${TARGET}` makes `x86`",
            "give the variable one of these",
        ),
        (
            Job,
            "matrix: {v: [1], max_parallel: §0}",
            codes::OUT_OF_RANGE,
            "`max_parallel` is 0, and must be at least 1",
            "`max_parallel: 1`",
        ),
        // Resources, services, caches, deployments.
        (Job, "resources: {memory: §much}", codes::UNKNOWN_VALUE, "`memory` cannot be `much`", "512MiB"),
        (Job, "resources: {cpu: §-1}", codes::UNKNOWN_VALUE, "`cpu` cannot be `-1`", "500m"),
        (Job, "resources: {§ram: 1}", codes::UNKNOWN_KEY, "`resources` has no key `ram`", "`memory`"),
        (Job, "services: §db", codes::WRONG_TYPE, "`services` is a list, not text", "`services: [db]`"),
        (Job, "services: [§{alias: db}]", codes::MISSING_KEY, "the service has no `image`", "postgres"),
        (
            Job,
            "services: [§DB]",
            codes::BAD_IMAGE,
            "`DB` is no image: `DB` has capitals, and repositories are written small",
            "registry/",
        ),
        (Job, "services: [{image: db, alias: §b c}]", codes::BAD_NAME, "`b c` is no name for a host", "`cache.local`"),
        (Job, "services: [{image: db, §ports: [1]}]", codes::UNKNOWN_KEY, "a service has no key `ports`", "`command`"),
        (
            Job,
            "services: [{image: db, command: §x}]",
            codes::WRONG_TYPE,
            "`command` is a list, not text",
            "`command: [x]`",
        ),
        (Job, "cache: §{paths: [a]}", codes::MISSING_KEY, "the cache has no `key`", "key: deps"),
        (Job, "cache: §{key: a}", codes::MISSING_KEY, "the cache has no `paths`", "paths: [target/]"),
        (Job, "cache: {key: §'', paths: [a]}", codes::EMPTY, "`key` is empty", "remove the key"),
        (Job, "cache: {key: k, paths: [§'']}", codes::EMPTY, "`paths[]` is empty", "remove the item"),
        (Job, "cache: {key: k, paths: [§../a]}", codes::BAD_PATH, "`../a` leads out of the workspace", "without `..`"),
        (
            Job,
            "cache: {key: k, paths: [a], policy: §pul}",
            codes::UNKNOWN_VALUE,
            "`policy` cannot be `pul`",
            "did you mean `pull`?",
        ),
        (
            Job,
            "cache: {key: k, paths: [a], §keys: x}",
            codes::UNKNOWN_KEY,
            "a cache has no key `keys`",
            "did you mean `key`?",
        ),
        (Job, "cache: §deps", codes::WRONG_TYPE, "a cache is a mapping of keys, not text", "`key`"),
        (Job, "deployment: §{url: https://a.b}", codes::MISSING_KEY, "`deployment` has no `environment`", "production"),
        (Job, "deployment: {environment: §''}", codes::EMPTY, "`environment` is empty", "remove the key"),
        (
            Job,
            "deployment: {environment: p, url: §not a url}",
            codes::BAD_URL,
            "`not a url` is no address",
            "https://example.org/path",
        ),
        (
            Job,
            "deployment: {environment: p, strategy: §blue}",
            codes::UNKNOWN_VALUE,
            "`strategy` cannot be `blue`",
            "`blue-green`",
        ),
        (
            Job,
            "deployment: {environment: p, §target: x}",
            codes::UNKNOWN_KEY,
            "`deployment` has no key `target`",
            "`strategy`",
        ),
    ]
}
