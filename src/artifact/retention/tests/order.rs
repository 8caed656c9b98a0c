//! The order of the rules: each one beats all that come after it, whatever these say.

use proptest::prelude::*;

use super::*;

/// Policies that would delete nearly everything, or keep it.
fn policies() -> impl Strategy<Value = Vec<RetentionPolicy>> {
    let one = (0..3u32, proptest::option::of(0..40u32), proptest::option::of(0..40u32), -3..3i32, any::<bool>());
    proptest::collection::vec(one, 0..4).prop_map(|list| {
        let build = |(at, (pattern, age, unused, priority, enabled)): (usize, (u32, _, _, _, _))| RetentionPolicy {
            max_age_days: age,
            delete_after_days_unused: unused,
            max_total_size: (at == 3).then_some(0),
            priority,
            enabled,
            ..policy(&format!("p{at}"), ["", "^a", "b$"][pattern as usize])
        };
        list.into_iter().enumerate().map(build).collect()
    })
}

fn expiry() -> impl Strategy<Value = Expiry> {
    prop_oneof![Just(Expiry::None), Just(Expiry::Never), (-100 * DAY..100 * DAY).prop_map(|by| Expiry::At(ago(by)))]
}

fn candidate() -> impl Strategy<Value = Candidate> {
    let times = (0..60 * DAY, 0..60 * DAY, expiry());
    let claims = (0..2u32, 0..2u32, any::<bool>(), any::<bool>());
    let rest = ("[ab]{1,4}", any::<bool>(), 0..50_000u64);
    (times, claims, rest).prop_map(|((age, unused, expiry), (queued, running, pinned, leased), (name, fork, bytes))| {
        Candidate {
            name,
            bytes,
            expiry,
            pinned,
            leased,
            references: References { queued, running },
            owner: owner("p", if fork { Trust::Fork } else { Trust::Member }),
            ..entry("e", age, unused.min(age))
        }
    })
}

/// Nothing protects it.
fn free() -> impl Strategy<Value = Candidate> {
    candidate().prop_map(|candidate| Candidate {
        references: References::default(),
        pinned: false,
        leased: false,
        expiry: if candidate.expiry == Expiry::Never { Expiry::None } else { candidate.expiry },
        ..candidate
    })
}

fn decided(policies: &[RetentionPolicy], per_cent: u64, candidate: &Candidate) -> Verdict {
    verdict(policies, &full(per_cent), candidate.clone())
}

fn deciding(policies: &[RetentionPolicy], candidate: &Candidate) -> Option<RetentionPolicy> {
    Policies::new(policies.to_vec()).unwrap().deciding(&candidate.name).cloned()
}

proptest! {
    #[test]
    fn claimed_entries_never_go(policies in policies(), per_cent in 0..130u64, candidate in candidate()) {
        let verdict = decided(&policies, per_cent, &candidate);
        let code = if candidate.references.count() > 0 {
            "referenced"
        } else if candidate.pinned {
            "pinned"
        } else if candidate.expiry == Expiry::Never {
            "never_expires"
        } else if candidate.leased {
            "leased"
        } else {
            return Ok(());
        };
        prop_assert_eq!(verdict.code(), code);
        prop_assert!(!verdict.deletes());
    }

    #[test]
    fn grace_beats_wishes_policies_matrix_and_pressure(
        policies in policies(), hours in 0..100u32, per_cent in 0..130u64, candidate in free(),
    ) {
        let policies: Vec<_> =
            policies.into_iter().map(|p| RetentionPolicy { grace_period_hours: (hours > 50).then_some(hours), ..p }).collect();
        let grace = deciding(&policies, &candidate).and_then(|p| p.grace_period_hours).unwrap_or(24);
        let in_grace = candidate.last_accessed > ago(i64::from(grace) * HOUR);
        let verdict = decided(&policies, per_cent, &candidate);
        prop_assert_eq!(verdict.code() == "grace", in_grace, "{}", verdict);
    }

    #[test]
    fn a_wish_beats_policies_and_matrix(
        policies in policies(), per_cent in 0..95u64, by in -90 * DAY..90 * DAY, candidate in free(),
    ) {
        prop_assume!(candidate.last_accessed <= ago(DAY));
        let candidate = Candidate { expiry: Expiry::At(ago(by)), ..candidate };
        let verdict = decided(&policies, per_cent, &candidate);
        prop_assert_eq!(verdict.code(), if by >= 0 { "expired" } else { "expires_later" });
    }

    #[test]
    fn a_policy_beats_the_matrix_and_only_the_first_decides(
        policies in policies(), per_cent in 0..80u64, candidate in free(),
    ) {
        prop_assume!(candidate.last_accessed <= ago(DAY));
        let candidate = Candidate { expiry: Expiry::None, ..candidate };
        let Some(policy) = deciding(&policies, &candidate) else { return Ok(()) };
        let older = |bound: Option<u32>, since: Timestamp| bound.is_some_and(|days| since < ago(i64::from(days) * DAY));
        let over = older(policy.max_age_days, candidate.created_at)
            || older(policy.delete_after_days_unused, candidate.last_accessed)
            || policy.max_total_size.is_some_and(|total| candidate.bytes > total);
        let verdict = decided(&policies, per_cent, &candidate);
        prop_assert_eq!(verdict.deletes(), over, "{}", &verdict);
        if let Verdict::Delete(cause) = verdict {
            prop_assert_eq!(cause.policy, Some(policy.name));
        }
    }

    #[test]
    fn from_95_per_cent_everything_unclaimed_goes(policies in policies(), per_cent in 95..130u64, candidate in free()) {
        // Of no size, so that no limit of the plan is met by it.
        let verdict = decided(&policies, per_cent, &Candidate { bytes: 0, ..candidate.clone() });
        prop_assert_eq!(verdict.deletes(), candidate.last_accessed <= ago(DAY), "{}", verdict);
    }

    #[test]
    fn more_pressure_never_saves_an_entry(
        policies in policies(), lower in 0..130u64, higher in 0..130u64, candidate in candidate(),
    ) {
        let goes = |per_cent: u64| decided(&policies, per_cent, &candidate).deletes();
        prop_assert!(!goes(lower.min(higher)) || goes(lower.max(higher)));
    }

    #[test]
    fn a_plan_accounts_for_each_entry_once(
        policies in policies(), per_cent in 0..130u64, list in proptest::collection::vec(candidate(), 0..60),
    ) {
        let list: Vec<_> =
            list.into_iter().enumerate().map(|(n, c)| Candidate { id: EntryId::new(n.to_string()), ..c }).collect();
        let plan = plan(&policies, &full(per_cent), list.clone());
        let mut ids: Vec<_> = plan.deletions.iter().chain(&plan.kept).map(|judged| judged.candidate.id.clone()).collect();
        prop_assert!(plan.deletions.iter().all(|judged| judged.verdict.deletes()));
        prop_assert!(plan.kept.iter().all(|judged| !judged.verdict.deletes()));
        ids.sort();
        let mut expected: Vec<_> = list.into_iter().map(|candidate| candidate.id).collect();
        expected.sort();
        prop_assert_eq!(ids, expected);
    }
}
