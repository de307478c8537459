//! The shrinker against failures that are plain functions of the plan.

use super::*;

/// Sequential, and without end.
struct Asked<F> {
    fails: F,
    runs: usize,
    runs_max: usize,
}

impl<F: Fn(&Value) -> bool> Oracle for Asked<F> {
    fn first(
        &mut self,
        count: usize,
        candidate: &(dyn Fn(usize) -> Value + Sync),
    ) -> Option<usize> {
        (0..count).find(|index| {
            if self.is_over() {
                return false;
            }
            self.runs += 1;
            (self.fails)(&candidate(*index))
        })
    }

    fn is_over(&self) -> bool {
        self.runs >= self.runs_max
    }

    fn accept(&mut self, plan: &Value) {
        assert!((self.fails)(plan), "accepted, and yet it does not fail");
    }
}

fn shrunk(plan: &Value, fails: impl Fn(&Value) -> bool) -> (Value, usize) {
    assert!(fails(plan), "there is nothing to shrink");
    let mut asked = Asked { fails, runs: 0, runs_max: usize::MAX };
    let defaults = [("link", json!({ "loss_ppm": 0 }))];
    let small = shrink(plan.clone(), u64::MAX, &defaults, &mut asked);
    (small, asked.runs)
}

/// 100 faults, and three producers of 40 bursts of 5 batches.
fn plan() -> Value {
    let burst = |producer: usize, index: usize| {
        let id = producer * 40 + index;
        json!({ "id": id, "after_ms": 10, "batches": [5, 4, 3, 2, 1], "value_bytes": 500 })
    };
    let producer = |producer| {
        let bursts: Vec<_> = (0..40).map(|index| burst(producer, index)).collect();
        json!({ "compression": "zstd", "in_flight": 5, "bursts": bursts })
    };
    let fault =
        |id: u64| json!({ "at_ms": id * 100, "fault": { "pause": { "broker": 0, "id": id } } });
    json!({
        "format": 1,
        "seed": 7,
        "lasts_ms": 10_000,
        "brokers": [{ "options": { "a.b": "1", "c.d": "2", "e.f": "3" } }],
        "link": { "loss_ppm": 20_000 },
        "producers": (0..3).map(producer).collect::<Vec<_>>(),
        "faults": (0..100).map(fault).collect::<Vec<_>>(),
        "last_kill": { "power": "scattered" },
    })
}

fn ids(plan: &Value, list: &str, id: &str) -> Vec<u64> {
    let mut found = vec![];
    let mut plan = plan.clone();
    plan.change(&Pattern::parse(&format!("{list}/*/{id}")), |id| found.extend(id.as_u64()));
    found
}

/// The numbers of faults and bursts are names here.
fn pair(plan: &Value) -> bool {
    ids(plan, "faults", "fault/pause/id").contains(&17)
        && ids(plan, "producers/*/bursts", "id").contains(&83)
}

#[test]
fn of_two_events_that_fail_together_both_remain_and_nothing_else() {
    let (small, runs) = shrunk(&plan(), pair);
    assert_eq!(ids(&small, "faults", "fault/pause/id"), [17]);
    assert_eq!(ids(&small, "producers/*/bursts", "id"), [83]);
    assert_eq!(small["producers"].as_array().unwrap().len(), 1);
    assert_eq!(events(&plan()), 100 + 3 + 3 * 40 + 3 * 40 * 5);
    assert_eq!(events(&small), 3, "a fault, a producer, a burst");
    assert!(runs < 500, "{runs} runs");
}

#[test]
fn what_does_not_matter_goes_or_takes_its_simplest_value() {
    let (small, _) = shrunk(&plan(), pair);
    assert_eq!(
        small["brokers"][0].get("options").and_then(|o| o.as_object()).map_or(0, |o| o.len()),
        0
    );
    assert_eq!((&small["link"], &small["last_kill"]), (&Value::Null, &Value::Null));
    let producer = &small["producers"][0];
    assert_eq!((&producer["compression"], &producer["in_flight"]), (&Value::Null, &Value::Null));
}

#[test]
fn numbers_come_down_to_where_they_matter() {
    let fails = |plan: &Value| {
        let has = |pattern: &str, least: i64| {
            let mut is_there = false;
            plan.clone().change(&Pattern::parse(pattern), |value| {
                is_there |= value.as_i64().is_some_and(|value| value >= least);
            });
            is_there
        };
        has("producers/*/bursts/*/value_bytes", 37)
            && has("producers/*/in_flight", 2)
            && has("producers/*/bursts/*/batches/*", 1)
            && has("lasts_ms", 900)
    };
    let (small, _) = shrunk(&plan(), fails);
    let producer = &small["producers"][0];
    assert_eq!(producer["in_flight"], json!(2));
    let bytes = producer["bursts"][0]["value_bytes"].as_u64().unwrap();
    assert!((37..=49).contains(&bytes), "{bytes}");
    let lasts = lasts_ms(&small);
    assert!((900..=1000).contains(&lasts), "{lasts}");
}

#[test]
fn a_run_ends_soon_after_its_failure() {
    let mut asked = Asked { fails: |_: &Value| true, runs: 0, runs_max: 1 };
    let small = shrink(plan(), 1_234, &[], &mut asked);
    assert_eq!(lasts_ms(&small), 1_235);
    assert_eq!(ids(&small, "faults", "at_ms").last(), Some(&1_200));
}

#[test]
fn a_burst_comes_when_it_came_before() {
    let bursts = Pattern::parse("producers/*/bursts");
    let small = without(&plan(), &bursts, 39..43);
    assert_eq!(ids(&small, "producers/*/bursts", "id")[38..41], [38, 43, 44]);
    assert_eq!(ids(&small, "producers/*/bursts", "after_ms")[38..41], [10, 40, 10]);
    assert_eq!(small.elements(&bursts), 116);
}

#[test]
fn a_failure_that_needs_luck_is_tried_again() {
    let lucky = |plan: &Value| pair(plan) && (plan["seed"] != json!(7) || events(plan) > 700);
    let (small, _) = shrunk(&plan(), lucky);
    assert_eq!(events(&small), 3);
    assert_ne!(small["seed"], json!(7));
}

#[test]
fn when_time_is_over_the_best_so_far_is_the_answer() {
    let mut asked = Asked { fails: pair, runs: 0, runs_max: 12 };
    let small = shrink(plan(), u64::MAX, &[], &mut asked);
    assert_eq!(asked.runs, 12);
    assert!(pair(&small) && events(&small) < events(&plan()));
}
