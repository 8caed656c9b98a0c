//! The steps of one job of a workflow: what the rules decide, in the words of whoever runs steps.

use std::collections::HashMap;

use super::hasher::TreeHasher;
use crate::executor::halt::HaltCause;
use crate::executor::log::{LineStream, StepStatus, Tone};
use crate::executor::steps::{
    Beginning, Checkout, Heard, JobPlace, Next, ReadyStep, Remark, Script, StepEnd, StepEnded, StepNumber, StepProgram,
    StepReport, Work, WorkTree,
};
use crate::parser::github::commands::{Reader, WrittenFiles};
use crate::parser::github::run::{
    self as rules, CheckoutSubmodules, Conclusion, LegEnd, Place, PlacedService, Program, ReadyKind, StepExit, StepId,
};
use crate::pipeline::definition::SubmoduleStrategy;
use crate::pipeline::{JobFailure, Secret};

/// The steps of one job.
pub struct WorkflowSteps {
    program: Program,
    /// The names that the job's services are reached by, in their order, and the ports that their file publishes by number.
    services: Vec<(String, Vec<(u16, u16)>)>,
    readers: HashMap<StepNumber, Reader>,
    end: Option<LegEnd>,
    /// The work tree, as the job's processes see it.
    workspace: String,
}

impl WorkflowSteps {
    /// The steps of a program that has no place yet.
    pub fn new(program: Program, services: Vec<(String, Vec<(u16, u16)>)>) -> Self {
        Self { program, services, readers: HashMap::new(), end: None, workspace: String::new() }
    }

    /// How the job ended, once its steps are over.
    pub fn take_end(&mut self) -> Option<LegEnd> {
        self.end.take()
    }

    /// The place in the rules' words.
    fn placed(&self, place: &JobPlace) -> Place {
        let network = place.network.clone().unwrap_or_default();
        // The operator's own services stand before the job's.
        let others = place.services.len().saturating_sub(self.services.len());
        let services = self.services.iter().zip(place.services.iter().skip(others)).enumerate();
        let ports = |index: usize, published: &[(u16, u16)]| -> Vec<(String, String)> {
            let bound = place.service_ports.get(index).filter(|ports| !ports.is_empty());
            let ports = bound.map_or(published, Vec::as_slice);
            ports.iter().map(|(inner, outer)| (inner.to_string(), outer.to_string())).collect()
        };
        Place {
            workspace: place.project.clone(),
            temp: place.temp.clone(),
            tool_cache: place.tool_cache.clone().unwrap_or_else(|| format!("{}/tools", place.temp)),
            command_files: format!("{}/commands", place.temp),
            event_path: event_path(place),
            runner_name: place.host_name.clone(),
            os: "Linux".to_owned(),
            arch: match std::env::consts::ARCH {
                "aarch64" => "ARM64",
                _ => "X64",
            }
            .to_owned(),
            container: place.container.clone().map(|container| (container, network.clone())),
            services: services
                .map(|(index, ((name, published), id))| PlacedService {
                    name: name.clone(),
                    id: id.clone(),
                    network: network.clone(),
                    ports: ports(index, published),
                })
                .collect(),
            has_ci: false,
        }
    }

    fn start(&mut self, ready: rules::ReadyStep) -> Next {
        let id = ready.id;
        let work = match ready.kind {
            ReadyKind::Script(script) => Work::Script(Script {
                text: script.text,
                extension: script.shell.extension.to_owned(),
                programs: script.shell.programs,
                arguments: script.shell.arguments,
                working_directory: script.working_directory,
            }),
            ReadyKind::Checkout(checkout) if checkout.reference.is_empty() => Work::Checkout(Checkout {
                path: checkout.path,
                clean: checkout.clean,
                submodules: match checkout.submodules {
                    CheckoutSubmodules::No => SubmoduleStrategy::None,
                    CheckoutSubmodules::Yes => SubmoduleStrategy::Normal,
                    CheckoutSubmodules::Recursive => SubmoduleStrategy::Recursive,
                },
            }),
            ReadyKind::Checkout(checkout) => {
                let why = format!(
                    "{}: a local run checks out the work tree as it is, not `{}`",
                    checkout.uses, checkout.reference
                );
                return self.refused(id, why);
            }
            ReadyKind::Action(action) => {
                let why = format!(
                    "`uses: {}`: this version runs `run` steps and actions/checkout of the own repository, no other actions",
                    action.uses
                );
                return self.refused(id, why);
            }
        };
        let files = ready.files;
        self.readers.insert(StepNumber(id.0), self.program.reader(id));
        Next::Start(Box::new(ReadyStep {
            number: StepNumber(id.0),
            attempt: 0,
            tries_left: 0,
            name: ready.name,
            work,
            env: ready.env.into_iter().map(|(name, value)| (name, Secret::new(value))).collect(),
            path: ready.path,
            files: vec![files.env, files.output, files.path, files.state, files.summary],
            timeout: ready.timeout,
            background: ready.background,
            pause: std::time::Duration::ZERO,
            image: None,
            remarks: ready.remarks.iter().map(remark).collect(),
        }))
    }

    /// A step that cannot be run: it has failed, and the rules hear of it.
    fn refused(&mut self, id: StepId, why: String) -> Next {
        let ended = rules::StepEnded {
            exit: StepExit::Broken(why),
            effects: Default::default(),
            files: WrittenFiles::default(),
        };
        Next::Over(report(self.program.ended(id, ended)))
    }
}

impl StepProgram for WorkflowSteps {
    fn begin(&mut self, place: &JobPlace) -> Beginning {
        let placed = self.placed(place);
        self.workspace.clone_from(&placed.workspace);
        self.program.settle(placed);
        Beginning {
            hide: self.program.masks(),
            files: vec![(event_path(place), self.program.event_json().into_bytes())],
        }
    }

    fn next(&mut self, tree: &WorkTree) -> Next {
        let numbers = |ids: Vec<StepId>| ids.into_iter().map(|id| StepNumber(id.0)).collect();
        match self.program.next(&TreeHasher::new(&tree.root, &self.workspace)) {
            rules::Next::Start(ready) => self.start(*ready),
            rules::Next::Over(over) => Next::Over(report(over)),
            rules::Next::Wait(ids) => Next::Wait(numbers(ids)),
            rules::Next::Cancel(ids) => Next::Cancel(numbers(ids)),
            rules::Next::End(end) => {
                let result = match end.conclusion {
                    Conclusion::Success | Conclusion::Skipped => Ok(()),
                    Conclusion::Failure | Conclusion::Cancelled => Err(JobFailure::exit(1)),
                };
                self.end = Some(*end);
                Next::End(result)
            }
        }
    }

    fn line(&mut self, step: StepNumber, _stream: LineStream, line: &str) -> Heard {
        self.readers.get_mut(&step).map_or_else(Heard::shown, |reader| heard(reader.line(line)))
    }

    fn file(&mut self, step: StepNumber, _path: &str, content: Result<String, String>) -> Heard {
        self.readers.get_mut(&step).map_or_else(Heard::default, |reader| heard(reader.add_matcher(content)))
    }

    fn ended(&mut self, step: StepNumber, ended: StepEnded) -> StepReport {
        let mut effects = self.readers.remove(&step).map(Reader::finish).unwrap_or_default();
        effects.failed |= !ended.problems.is_empty();
        let told = match &ended.end {
            StepEnd::Broken(why) => Some(why.clone()),
            _ => None,
        };
        let exit = match ended.end {
            StepEnd::Code(code) => StepExit::Code(code),
            StepEnd::OutOfMemory => StepExit::Code(137),
            StepEnd::TimedOut => StepExit::TimedOut,
            StepEnd::Cancelled => StepExit::Cancelled,
            StepEnd::Broken(why) => StepExit::Broken(why),
        };
        let mut files = ended.files.into_iter();
        let mut next = || files.next().unwrap_or_default();
        let files = WrittenFiles { env: next(), output: next(), path: next(), state: next(), summary: next() };
        let mut report = report(self.program.ended(StepId(step.0), rules::StepEnded { exit, effects, files }));
        let problems = ended.problems.into_iter().map(|text| Remark { tone: Tone::Error, text });
        // Whoever ran the step has said it.
        report.remarks.retain(|remark| told.as_ref() != Some(&remark.text));
        report.remarks.extend(problems);
        report
    }

    fn cancel(&mut self, _cause: HaltCause, tree: &WorkTree) -> Vec<StepNumber> {
        let ids = self.program.cancel(&TreeHasher::new(&tree.root, &self.workspace));
        ids.into_iter().map(|id| StepNumber(id.0)).collect()
    }
}

/// Where the event's payload lies.
fn event_path(place: &JobPlace) -> String {
    format!("{}/event.json", place.temp)
}

fn remark(remark: &rules::Remark) -> Remark {
    match remark {
        rules::Remark::Error(text) => Remark { tone: Tone::Error, text: text.clone() },
        rules::Remark::Warning(text) => Remark { tone: Tone::Warning, text: text.clone() },
        rules::Remark::Note(text) => Remark::plain(text.clone()),
    }
}

fn report(report: rules::StepReport) -> StepReport {
    StepReport {
        number: StepNumber(report.id.0),
        name: report.name,
        counts: report.conclusion != Conclusion::Success,
        status: match report.outcome {
            Conclusion::Success => StepStatus::Success,
            Conclusion::Failure => StepStatus::Failed,
            Conclusion::Cancelled => StepStatus::Cancelled,
            Conclusion::Skipped => StepStatus::Skipped,
        },
        exit_code: report.exit_code,
        reason: report.reason,
        remarks: report.remarks.iter().map(remark).collect(),
    }
}

fn heard(heard: crate::parser::github::commands::Heard) -> Heard {
    Heard {
        show: heard.show,
        hide: heard.mask.into_iter().map(Secret::new).collect(),
        say: heard.spoken.iter().map(|spoken| Remark::plain(spoken.to_string())).collect(),
        read: heard.matcher_file,
    }
}
