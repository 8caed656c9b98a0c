//! A pipeline of a checkout, run here and now, without a forge.
//!
//! - [`project`]: the checkout: its root, its files, the pipeline file that a path means.
//! - [`facts`]: what git says about it.
//! - [`front`]: one face for the languages, for commands that only look.
//! - [`includes`]: included files that are not in the checkout, from hosts that the user allowed.
//! - [`request`]: what it is started with: event, ref, variables, secrets, inputs. [`choice`]: which of its jobs.
//! - [`surroundings`]: what a pipeline is told about the world. [`snapshot`]: the work tree as it is, copied once for all jobs.
//! - [`house`]: the private state of a run, beside that of an agent. [`sweep`]: what is left of it by one that was killed.
//! - [`gitlab`]: the jobs of a GitLab pipeline. [`workflow`]: those of a workflow. [`native`]: those of a
//!   `forgehand.yml`. [`worker`]: one of them, run by the agent's own engine.
//! - [`cache_server`]: caches that tools in a workflow's steps ask for themselves.
//! - [`hasher`]: `hashFiles` over the checkout, where nothing runs.
//! - [`reporter`]: the forge of a local run: keeps artifacts and hands them on. [`held`]: so that they stay in the store until its end.
//! - [`events`]: what a run tells; [`live`]: how that looks on a terminal; [`shell`]: a shell where a step failed. [`summary`],
//!   [`junit`]: what is said after it, [`history`]: what is kept of it, [`unhonoured`]: what is said before,
//!   [`ledger`]: what is known of a run when it is over.
//! - [`run`]: one run from its request to its end. [`watch`]: when the next one begins.

pub mod cache_server;
pub mod choice;
pub mod coverage;
pub mod events;
pub mod facts;
pub mod front;
pub mod gitlab;
pub mod hasher;
pub mod held;
pub mod history;
pub mod house;
pub mod includes;
pub mod junit;
pub mod ledger;
pub mod live;
pub mod native;
pub mod project;
pub mod reporter;
pub mod request;
pub mod run;
pub mod shell;
pub mod snapshot;
pub mod summary;
pub mod surroundings;
pub mod sweep;
pub mod unhonoured;
pub mod watch;
pub mod worker;
pub mod workflow;
