//! The bounds of a policy that one entry alone cannot tell: how many, and how many bytes all together.

use std::collections::HashMap;

use super::candidate::{Candidate, PipelineKey};
use super::policy::Policies;
use super::pressure::Pressure;
use super::rules::{Backing, Standing};
use super::verdict::{Cause, Rule};
use crate::pipeline::Owner;

/// Whose newest so many are kept: one artifact, of one pipeline, of one owner.
type Group<'a> = (usize, &'a Owner, Option<&'a PipelineKey>, &'a str);

/// For each candidate the position of the policy that decides.
pub(super) type Deciding = Vec<Option<usize>>;

pub(super) fn deciding(policies: &Policies, candidates: &[Candidate]) -> Deciding {
    candidates.iter().map(|candidate| policies.position(candidate.names())).collect()
}

/// For each policy whether what it speaks of has passed its threshold.
pub(super) fn over_threshold(policies: &Policies, candidates: &[Candidate], deciding: &Deciding) -> Vec<bool> {
    let totals = totals(policies, candidates, deciding);
    let passed = |(threshold, total): (Option<u64>, u64)| threshold.is_some_and(|threshold| total > threshold);
    policies.list().iter().map(|policy| policy.size_threshold).zip(totals).map(passed).collect()
}

fn totals(policies: &Policies, candidates: &[Candidate], deciding: &Deciding) -> Vec<u64> {
    let mut totals = vec![0_u64; policies.list().len()];
    for (candidate, at) in candidates.iter().zip(deciding) {
        if let Some(total) = at.and_then(|at| totals.get_mut(at)) {
            *total = total.saturating_add(candidate.bytes);
        }
    }
    totals
}

/// For each candidate whether its group has as many newer ones as its policy keeps. Protected ones count among the
/// newest.
pub(super) fn surplus(policies: &Policies, candidates: &[Candidate], deciding: &Deciding) -> Vec<bool> {
    let mut newest_first: Vec<usize> = (0..candidates.len()).collect();
    newest_first.sort_by(|a, b| {
        let key = |at: &usize| candidates.get(*at).map(|candidate| (candidate.created_at, &candidate.id));
        key(b).cmp(&key(a))
    });
    let mut seen: HashMap<Group<'_>, u32> = HashMap::new();
    let mut surplus = vec![false; candidates.len()];
    for at in newest_first {
        let (Some(candidate), Some(Some(policy)), Some(surplus)) =
            (candidates.get(at), deciding.get(at), surplus.get_mut(at))
        else {
            continue;
        };
        let Some(limit) = policies.list().get(*policy).and_then(|policy| policy.max_artifacts_per_pipeline) else {
            continue;
        };
        let group = (*policy, &candidate.owner, candidate.pipeline.as_ref(), candidate.series());
        let newer = seen.entry(group).or_default();
        *surplus = *newer >= limit;
        *newer = newer.saturating_add(1);
    }
    surplus
}

/// Marks what has to go so that each policy's total fits: of the entries that the policy decides on, the longest
/// unused. What goes anyway is counted as gone; what is protected, or kept by its job's wish, stays and counts.
pub(super) fn fit_totals(
    policies: &Policies,
    candidates: &[Candidate],
    deciding: &Deciding,
    standings: &mut [Standing],
) {
    let mut totals = totals(policies, candidates, deciding);
    for ((candidate, at), standing) in candidates.iter().zip(deciding).zip(standings.iter()) {
        if let (Standing::Open(open), Some(total)) = (standing, at.and_then(|at| totals.get_mut(at)))
            && open.due.as_ref().is_some_and(|cause| cause.pressure == Pressure::Low)
        {
            *total = total.saturating_sub(candidate.bytes);
        }
    }
    let mut longest_unused: Vec<usize> = (0..candidates.len()).collect();
    longest_unused.sort_by_key(|at| candidates.get(*at).map(Candidate::staleness));
    for at in longest_unused {
        let (Some(candidate), Some(Some(policy)), Some(Standing::Open(open))) =
            (candidates.get(at), deciding.get(at), standings.get_mut(at))
        else {
            continue;
        };
        let (Some(policy), Some(total)) = (policies.list().get(*policy), totals.get_mut(*policy)) else { continue };
        let Some(limit) = policy.max_total_size.filter(|limit| *total > *limit) else { continue };
        let goes_anyway = open.due.as_ref().is_some_and(|cause| cause.pressure == Pressure::Low);
        if open.backing == Backing::Policy && !goes_anyway {
            *total = total.saturating_sub(candidate.bytes);
            let rule = Rule::MaxTotal { limit };
            open.due = Some(Cause { rule, pressure: Pressure::Low, policy: Some(policy.name.clone()) });
        }
    }
}
