//! Against the real engine.

mod cost;
mod fixtures;
mod held;
mod images;
mod isolation;
mod leftovers;
mod life;
mod networks;
mod prepare;
mod registry;
mod services;

pub(super) use fixtures::a_job;

/// The program of utility containers in tests: this test binary, mounted there and told to run this alone.
#[test]
#[ignore = "runs inside a container"]
fn utility_process() {
    super::utility::main()
}
