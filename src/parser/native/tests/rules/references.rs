//! Variables, secrets and results of other jobs.

use super::In::{File, Scripted, Step};
use super::Row;
use crate::parser::native::codes;

pub(super) fn rows() -> Vec<Row> {
    vec![
        // References.
        (
            Scripted,
            "image: tool:§${BUILD_NUMBR}",
            codes::UNDEFINED_VARIABLE,
            "variable `BUILD_NUMBR` is not defined",
            "did you mean `BUILD_NUMBER`?",
        ),
        (Scripted, "image: 'x:§${A'", codes::BAD_REFERENCE, "the reference is never closed", "close it"),
        (
            Scripted,
            "environment: {A: '§${CI|x}'}",
            codes::BAD_REFERENCE,
            "`|x` is nothing that can be done with a variable",
            "a default is",
        ),
        (
            Scripted,
            "environment: {A: '§${CI/x}'}",
            codes::BAD_REFERENCE,
            "`${CI/x}` does not say what is replaced",
            "${NAME/what/with}",
        ),
        (
            Scripted,
            "environment: {A: '§${1A}'}",
            codes::BAD_REFERENCE,
            "`${1A}` names no variable",
            "a reference is written",
        ),
        (
            Scripted,
            "environment: {A: '§${secrets}'}",
            codes::BAD_REFERENCE,
            "`secrets` alone is no value",
            "secrets.KEY",
        ),
        (
            Scripted,
            "environment: {A: '${{ §secrets }}'}",
            codes::BAD_REFERENCE,
            "`secrets` alone is no value",
            "secrets.KEY",
        ),
        (
            Step,
            "script: ['echo §${secrets.KEY}']",
            codes::SECRET_PLACE,
            "`secrets.KEY` stands where a secret may not",
            "put it into `environment`",
        ),
        (
            Step,
            "script: ['echo ${{ §secrets.KEY }}']",
            codes::SECRET_PLACE,
            "`secrets.KEY` stands where a secret may not",
            "put it into `environment`",
        ),
        (
            Step,
            "environment: {T: 'key ${secrets.KEY}'}\nscript: ['echo ${{ §env.T }}']",
            codes::SECRET_PLACE,
            "`T` holds a secret, and stands where a secret may not",
            "put it into `environment`",
        ),
        (
            Step,
            "script: ['echo §${matrix.v}']",
            codes::UNDEFINED_VARIABLE,
            "variable `matrix.v` is not defined",
            "no axes",
        ),
        (
            Step,
            "script: ['echo §${pipeline.nam}']",
            codes::UNDEFINED_VARIABLE,
            "variable `pipeline.nam` is not defined",
            "did you mean `name`?",
        ),
        (
            Step,
            "script: ['echo §${system.x}']",
            codes::UNDEFINED_VARIABLE,
            "`system` is no named value",
            "named values are `env`",
        ),
        (
            Step,
            "script: ['echo §${job.biuld.status}']",
            codes::UNDEFINED_VARIABLE,
            "variable `job.biuld` is not defined",
            "did you mean `build`?",
        ),
        (
            Step,
            "script: ['echo §${job.build.statsu}']",
            codes::UNDEFINED_VARIABLE,
            "variable `job.build.statsu` is not defined",
            "did you mean `status`?",
        ),
        (
            Step,
            "script: ['echo §${job.build.artifacts.size}']",
            codes::UNDEFINED_VARIABLE,
            "variable `job.build.artifacts.size` is not defined",
            "`count`",
        ),
        (
            Step,
            "script: ['echo ${{ 1 §+ }}']",
            codes::BAD_EXPRESSION,
            "Unexpected end of expression: '+'",
            "docs/expressions.md",
        ),
        (Step, "script: ['echo ${{ 1 / §0 }}']", codes::BAD_EXPRESSION, "division by zero", "docs/expressions.md"),
        // Results of other jobs.
        (
            Step,
            "script: ['echo §${job.build.status}']",
            codes::NO_RESULT,
            "`job.build` is the result of the job itself, which has none while it runs",
            "remove it",
        ),
        (
            File,
            "name: p\njobs:\n  a: {steps: [{name: s, script: x}]}\n  b:\n    environment: {A: '§${job.a.status}'}\n    steps: [{name: s, script: x}]\n",
            codes::NO_RESULT,
            "`job.a` has no value here: `b` does not wait for `a`, in job `b`",
            "add `a` to `depends_on` of `b`",
        ),
        (
            File,
            "name: p\njobs:\n  a:\n    environment: {A: '§${job.c.status}'}\n    steps: [{name: s, script: x}]\n  b: {depends_on: [a], steps: [{name: s, script: x}]}\n  c: {depends_on: [b], steps: [{name: s, script: x}]}\n",
            codes::NO_RESULT,
            "`job.c` has no value here: `c` waits for `a`, in job `a`",
            "turn the dependency round",
        ),
        (
            File,
            "name: p\nglobal_env: {A: '§${job.a.status}'}\njobs:\n  a: {steps: [{name: s, script: x}]}\n",
            codes::NO_RESULT,
            "`job.a` stands where no job is before: `global_env` is every job's",
            "put it into `environment` of a job",
        ),
    ]
}
