//! `forgehand lint`: what is wrong with pipeline files.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::pipeline_args::{DialectArg, IncludeArgs};
use super::{GlobalArgs, Verdict, pipelines, render};
use crate::config::Locations;
use crate::local::front;
use crate::local::includes::Includes;
use crate::local::project::{LocateError, Project};
use crate::parser::diagnostics::{Checked, json, render as findings, sarif};
use crate::parser::dialect::Dialect;
use crate::parser::native;

/// What the diagnostics' sections say, shipped with the program.
const EXPLANATIONS: &str = include_str!("../../docs/diagnostics.md");

/// Arguments of `lint`.
#[derive(Debug, Args)]
pub struct LintArgs {
    /// Pipeline files, or folders that hold some.
    #[arg(value_name = "PATH", required_unless_present_any = ["explain", "schema"])]
    paths: Vec<PathBuf>,
    /// The files' language, where their paths do not tell.
    #[arg(long, value_name = "NAME")]
    dialect: Option<DialectArg>,
    #[command(flatten)]
    include: IncludeArgs,
    /// How findings are told.
    #[arg(long, value_name = "FORMAT", default_value = "text", conflicts_with = "json")]
    format: Format,
    /// Findings as one JSON array on standard output, `[]` when there is none.
    #[arg(long)]
    json: bool,
    /// Explain a rule by its code, and check nothing.
    #[arg(long, value_name = "CODE", conflicts_with = "paths")]
    explain: Option<String>,
    /// Print the JSON Schema of forgehand.yml, for editors, and check nothing.
    #[arg(long, conflicts_with_all = ["paths", "explain"])]
    schema: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people, with the source.
    Text,
    /// One JSON array.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
}

/// Prints the findings; 2 where one is an error.
pub fn run(args: &LintArgs, locations: &Locations, global: &GlobalArgs) -> Result<Verdict, miette::Report> {
    if let Some(code) = &args.explain {
        return Ok(explain(code));
    }
    if args.schema {
        return Ok(render::json(&native::schema()));
    }
    let format = if args.json { Format::Json } else { args.format };
    let includes = match args.include.includes(locations) {
        Ok(includes) => includes,
        Err(error) => {
            eprintln!("{:?}", miette::Report::new(error));
            return Ok(Verdict::BadInput);
        }
    };
    let mut checked = Vec::new();
    for path in &args.paths {
        match check(path, args.dialect.map(Dialect::from), &includes) {
            Ok(found) => checked.extend(found),
            // The others are told, too.
            Err(error) => checked.push(front::unreadable(path, &error)),
        }
    }
    pipelines::note_includes(&includes);
    for one in &mut checked {
        one.diagnostics.sort();
    }
    let printed = match format {
        Format::Text => print_text(&checked, global),
        Format::Json => {
            let all: Vec<_> = checked.iter().flat_map(|one| json::all(&one.diagnostics, &one.sources)).collect();
            render::json(&all)
        }
        Format::Sarif => render::json(&sarif::log(checked.iter().map(|one| (&one.diagnostics, &one.sources)))),
    };
    let failed = checked.iter().any(|one| one.diagnostics.has_errors());
    Ok(if failed { Verdict::BadInput } else { printed })
}

fn check(
    path: &std::path::Path,
    dialect: Option<Dialect>,
    includes: &Includes,
) -> Result<Vec<Checked<()>>, LocateError> {
    let project = Project::containing(path)?;
    let files = project.pipelines_at(path, dialect)?;
    Ok(files.iter().map(|file| front::lint(&project, file, includes)).collect())
}

/// Findings to standard output: they are what was asked for.
fn print_text(checked: &[Checked<()>], global: &GlobalArgs) -> Verdict {
    use std::io::IsTerminal as _;
    let color = global.color_on(std::io::stdout().is_terminal());
    let look = findings::Look { color, width: 120 };
    let text: String = checked.iter().map(|one| findings::all(&one.diagnostics, &one.sources, look)).collect();
    let printed = render::result(&text);
    let count = |severity| {
        checked.iter().flat_map(|one| one.diagnostics.iter()).filter(|finding| finding.severity == severity).count()
    };
    use crate::parser::diagnostics::Severity;
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let files = checked.len();
    let some = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    eprintln!("{}, {}, {}", some(files, "file"), some(errors, "error"), some(warnings, "warning"));
    if errors + warnings > 0 {
        eprintln!("`forgehand lint --explain CODE` explains a finding by the code that stands over it");
    }
    printed
}

fn explain(code: &str) -> Verdict {
    let heading = format!("### {code}\n");
    let Some(at) = EXPLANATIONS.find(&heading) else {
        eprintln!("error: there is no rule `{code}`; the rules are listed in docs/diagnostics.md");
        return Verdict::BadInput;
    };
    let section = &EXPLANATIONS[at + 4..];
    let end = section.find("\n##").unwrap_or(section.len());
    render::result(&format!("{}\n", section[..end].trim_end()))
}
