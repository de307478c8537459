//! Where each leader's records begin: what a log that was opened knows is what its batches say (I7).

use ottla::types::{LeaderEpoch, Offset};

use super::batches::Batches;
use super::{Log, Verdict, broken};
use crate::check::Invariant::I7;

type Epochs = Vec<(LeaderEpoch, Offset)>;

/// An epoch that wrote nothing may be known at the end, or not.
pub fn recovered(
    log: Log,
    told: &[(LeaderEpoch, Offset)],
    batches: &Batches,
    (start, end): (Offset, Offset),
) -> Verdict {
    let mut derived: Epochs = vec![];
    for batch in batches.after(start) {
        if derived.last().is_none_or(|(epoch, _)| *epoch < batch.epoch) {
            derived.push((batch.epoch, batch.base.max(start)));
        }
    }
    let known: Epochs = told.iter().copied().filter(|(_, begins)| *begins < end).collect();
    if known != derived {
        let evidence = format!(
            "{log} was opened with {start} to {end} and knows of epochs {told:?}; its batches say \
             {derived:?}"
        );
        return broken(I7, evidence);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{LOG, batch, broke, known};
    use super::*;

    fn verdict(told: &[(i32, i64)], start: i64) -> Verdict {
        let batches = known([batch(0, 5, 1, 0), batch(5, 6, 1, 0), batch(6, 9, 4, 0)]);
        let told = told.iter().map(|(epoch, at)| (LeaderEpoch(*epoch), Offset(*at)));
        recovered(LOG, &told.collect::<Vec<_>>(), &batches, (Offset(start), Offset(9)))
    }

    #[test]
    fn the_epochs_of_the_batches_pass() {
        verdict(&[(1, 0), (4, 6)], 0).unwrap();
        verdict(&[(1, 0), (4, 6), (5, 9)], 0).unwrap();
        verdict(&[(1, 3), (4, 6)], 3).unwrap();
        verdict(&[(4, 7)], 7).unwrap();
    }

    #[test]
    fn a_missing_a_wrong_and_an_invented_epoch_are_caught() {
        for told in [&[(4, 6)][..], &[(1, 0)], &[(1, 0), (4, 7)], &[(1, 0), (3, 5), (4, 6)]] {
            assert_eq!(broke(verdict(told, 0)), Some(I7), "{told:?}");
        }
    }
}
