use super::*;
use crate::quorum::voters::Voter;
use crate::types::Uuid;

const OPTIONS: Options = Options {
    election_timeout: Duration::from_secs(1),
    fetch_timeout: Duration::from_secs(2),
    election_backoff_max: Duration::from_secs(1),
};
const START: Instant = Instant(Duration::from_secs(100));
const LOG: LogEnd = LogEnd { end: Offset(10), durable_end: Offset(10), last_epoch: LeaderEpoch(4) };

fn key(id: i32) -> ReplicaKey {
    ReplicaKey { id: NodeId(id), directory: Some(Uuid([id as u8; 16])) }
}

fn voters(count: i32) -> Voters {
    let voter = |id| Voter { key: key(id), endpoints: vec![], kraft_versions: 0..=1 };
    (1..=count).map(voter).collect()
}

fn state(epoch: i32, leader: Option<i32>, voted: Option<i32>) -> QuorumState {
    QuorumState { epoch: LeaderEpoch(epoch), leader: leader.map(NodeId), voted: voted.map(key) }
}

fn start(count: i32, state: QuorumState) -> (Raft, Vec<Effect>) {
    let mut raft = Raft::new(key(1), OPTIONS, voters(count), LOG, Offset(0), 42);
    let mut effects = vec![];
    raft.on_start(state, START, &mut effects);
    (raft, effects)
}

fn tick(raft: &mut Raft) -> (Instant, Vec<Effect>) {
    let now = raft.wake_at().expect("something is due");
    let mut effects = vec![];
    raft.on_tick(now, &mut effects);
    (now, effects)
}

fn answer(raft: &mut Raft, from: i32, pre_vote: bool, granted: bool) -> Vec<Effect> {
    let (epoch, mut effects) = (raft.epoch(), vec![]);
    raft.on_vote_answer(NodeId(from), epoch, pre_vote, granted, START, &mut effects);
    effects
}

/// A leader of epoch 5 among three, with its leader-change record written and not yet synced.
fn leader_of_three() -> Raft {
    let (mut raft, _) = start(3, state(4, None, None));
    tick(&mut raft);
    answer(&mut raft, 2, true, true);
    answer(&mut raft, 3, false, true);
    assert!(raft.is_leader());
    raft.on_appended(Offset(11), LeaderEpoch(5));
    raft
}

fn name(role: &Role) -> &'static str {
    match role {
        Role::Unattached { .. } => "unattached",
        Role::Prospective { .. } => "prospective",
        Role::Candidate { .. } => "candidate",
        Role::Leader(_) => "leader",
        Role::Resigned { .. } => "resigned",
        Role::Follower { .. } => "follower",
    }
}

#[test]
fn starts_as_the_file_allows_and_never_as_leader() {
    let table = [
        (state(4, None, None), 4, "unattached"),
        (state(6, Some(1), None), 6, "resigned"),
        (state(6, None, Some(1)), 6, "candidate"),
        (state(6, None, Some(2)), 6, "unattached"),
        (state(6, Some(2), Some(3)), 6, "follower"),
        (state(6, Some(9), None), 6, "unattached"),
        // The log knows of a later epoch than the file: its vote and leader are of the past.
        (state(3, Some(1), None), 4, "unattached"),
        (state(3, None, Some(1)), 4, "unattached"),
    ];
    for (state, epoch, role) in table {
        let (raft, _) = start(3, state.clone());
        assert_eq!((raft.epoch().0, name(raft.role())), (epoch, role), "{state:?}");
    }
}

#[test]
fn a_sole_voter_leads_the_next_epoch_at_once() {
    for (before, epoch) in
        [(state(4, Some(1), None), 5), (state(4, None, None), 5), (state(5, None, Some(1)), 5)]
    {
        let (raft, effects) = start(1, before);
        assert!(raft.is_leader());
        assert_eq!(raft.epoch(), LeaderEpoch(epoch));
        let granting = vec![NodeId(1)];
        let [.., Effect::Persist(persisted), lead] = effects.as_slice() else { panic!() };
        assert_eq!(*persisted, state(epoch, Some(1), None), "durable before it acts as leader");
        assert_eq!(*lead, Effect::Lead { epoch: LeaderEpoch(epoch), granting });
        assert_eq!(raft.wake_at(), None, "a sole voter needs no clock");
    }
}

#[test]
fn a_sole_voter_commits_what_its_disk_has_synced() {
    let (mut raft, _) = start(1, state(4, Some(1), None));
    let mut effects = vec![];
    raft.on_appended(Offset(11), LeaderEpoch(5));
    assert_eq!(raft.high_watermark_told(), None);
    raft.on_durable(Offset(10), &mut effects);
    assert_eq!(effects, [], "nothing of this epoch is durable");
    raft.on_durable(Offset(11), &mut effects);
    assert_eq!(effects, [Effect::Commit { end: Offset(11) }]);
    assert_eq!(raft.high_watermark_told(), Some(Offset(11)));
}

#[test]
fn an_election_goes_by_a_poll_that_disturbs_nobody() {
    let (mut raft, _) = start(3, state(4, None, None));
    let (_, effects) = tick(&mut raft);
    assert_eq!(name(raft.role()), "prospective");
    assert_eq!(raft.epoch(), LeaderEpoch(4), "a poll raises no epoch");
    assert_eq!(effects, [Effect::RequestVotes(raft.vote_request(true))]);

    let effects = answer(&mut raft, 2, true, true);
    assert_eq!(name(raft.role()), "candidate");
    let request = VoteRequest { epoch: LeaderEpoch(5), ..raft.vote_request(false) };
    let persisted = Effect::Persist(state(5, None, Some(1)));
    assert_eq!(effects, [persisted, Effect::RequestVotes(request)], "the vote is durable first");

    assert_eq!(answer(&mut raft, 3, true, true), [], "an answer to the poll is no vote");
    let effects = answer(&mut raft, 3, false, true);
    let granting = vec![NodeId(1), NodeId(3)];
    let lead = Effect::Lead { epoch: LeaderEpoch(5), granting };
    assert_eq!(effects, [Effect::Persist(state(5, Some(1), None)), lead]);
}

#[test]
fn a_lost_poll_and_a_lost_election_end_where_they_should() {
    let (mut raft, _) = start(3, state(6, Some(2), None));
    tick(&mut raft);
    answer(&mut raft, 2, true, false);
    assert_eq!(name(raft.role()), "prospective", "one answer is outstanding");
    answer(&mut raft, 3, true, false);
    assert_eq!(name(raft.role()), "follower", "others hear the leader");

    let (mut raft, _) = start(3, state(6, None, None));
    tick(&mut raft);
    answer(&mut raft, 2, true, false);
    answer(&mut raft, 3, true, false);
    assert_eq!(name(raft.role()), "unattached");

    let (mut raft, _) = start(3, state(6, None, Some(1)));
    answer(&mut raft, 2, false, false);
    answer(&mut raft, 3, false, false);
    assert_eq!(name(raft.role()), "candidate", "it waits before it asks again");
    let (now, _) = tick(&mut raft);
    assert!(now.since(START) <= OPTIONS.election_backoff_max);
    assert_eq!((name(raft.role()), raft.epoch()), ("prospective", LeaderEpoch(6)));
}

/// A replica of epoch 6 in each role, with a log that ends at (4, 10).
fn in_role(role: &str) -> Raft {
    let (mut raft, _) = match role {
        "leader" => start(3, state(5, None, Some(1))),
        "candidate" => start(3, state(6, None, Some(1))),
        "resigned" => start(3, state(6, Some(1), None)),
        "follower" | "follower that fetched" => start(3, state(6, Some(2), None)),
        "unattached, voted for 3" => start(3, state(6, None, Some(3))),
        "unattached" | "prospective" => start(3, state(6, None, None)),
        _ => panic!("{role}"),
    };
    match role {
        "leader" => {
            answer(&mut raft, 2, false, true);
            raft.on_appended(Offset(10), LeaderEpoch(4));
            raft.epoch = LeaderEpoch(6);
        }
        "prospective" => drop(tick(&mut raft)),
        "follower that fetched" => {
            raft.on_fetched(LeaderEpoch(6), Offset(0), START, &mut vec![]);
        }
        _ => {}
    }
    raft
}

#[test]
fn votes_by_the_table() {
    // Role, then: a vote for 3 with an up-to-date log, with a stale one; the same as a poll.
    let table = [
        ("leader", [false, false, false, false]),
        ("candidate", [false, false, true, false]),
        ("resigned", [false, false, true, false]),
        ("follower", [false, false, true, false]),
        ("follower that fetched", [false, false, false, false]),
        ("unattached", [true, false, true, false]),
        ("prospective", [true, false, true, false]),
        ("unattached, voted for 3", [true, true, true, false]),
    ];
    for (role, expected) in table {
        let asks = [(false, 10), (false, 9), (true, 10), (true, 9)];
        let granted = asks.map(|(pre_vote, log_end)| {
            let mut raft = in_role(role);
            let (epoch, last_epoch) = (LeaderEpoch(6), LeaderEpoch(4));
            let log_end = Offset(log_end);
            let asked = VoteRequest { candidate: key(3), epoch, log_end, last_epoch, pre_vote };
            let mut effects = vec![];
            raft.on_vote_request(7, asked, Some(key(1)), START, &mut effects).unwrap();
            let Some(Effect::AnswerVote { request: 7, granted }) = effects.pop() else { panic!() };
            let persists = effects.contains(&Effect::Persist(state(6, None, Some(3))));
            let first = granted && !pre_vote && role != "unattached, voted for 3";
            assert_eq!(persists, first, "{role}: a new vote is durable before it is told");
            granted
        });
        assert_eq!(granted, expected, "{role}");
    }
}

#[test]
fn one_vote_in_an_epoch() {
    let mut raft = in_role("unattached");
    let asked = |id, epoch| VoteRequest {
        candidate: key(id),
        epoch: LeaderEpoch(epoch),
        log_end: Offset(20),
        last_epoch: LeaderEpoch(5),
        pre_vote: false,
    };
    let mut vote = |asked| {
        let mut effects = vec![];
        raft.on_vote_request(0, asked, None, START, &mut effects).map(|()| effects.pop().unwrap())
    };
    let answer = |granted| Ok(Effect::AnswerVote { request: 0, granted });
    assert_eq!(vote(asked(3, 6)), answer(true));
    assert_eq!(vote(asked(2, 6)), answer(false));
    assert_eq!(vote(asked(3, 6)), answer(true), "a repeated request gets the same answer");
    assert_eq!(vote(asked(2, 7)), answer(true), "a new epoch, a new vote");
    let (theirs, ours) = (LeaderEpoch(6), LeaderEpoch(7));
    assert_eq!(vote(asked(3, 6)), Err(VoteError::FencedEpoch { theirs, ours }));
    let other = VoteRequest { candidate: ReplicaKey { directory: None, ..key(2) }, ..asked(2, 7) };
    assert_eq!(vote(other), answer(true), "an unrecorded directory is no difference");
    let moved = ReplicaKey { directory: Some(Uuid([9; 16])), ..key(2) };
    assert_eq!(vote(VoteRequest { candidate: moved, ..asked(2, 7) }), answer(false));
}

#[test]
fn refuses_votes_that_make_no_sense() {
    let mut raft = in_role("unattached");
    let good = VoteRequest {
        candidate: key(3),
        epoch: LeaderEpoch(6),
        log_end: Offset(10),
        last_epoch: LeaderEpoch(4),
        pre_vote: false,
    };
    let bad = [
        VoteRequest { candidate: key(-1), ..good },
        VoteRequest { log_end: Offset(-1), ..good },
        VoteRequest { last_epoch: LeaderEpoch(-1), ..good },
        VoteRequest { last_epoch: LeaderEpoch(6), ..good },
        VoteRequest { last_epoch: LeaderEpoch(7), pre_vote: true, ..good },
    ];
    for asked in bad {
        let result = raft.on_vote_request(0, asked, None, START, &mut vec![]);
        assert!(matches!(result, Err(VoteError::Invalid { .. })), "{asked:?}");
    }
    let legal = VoteRequest { last_epoch: LeaderEpoch(6), pre_vote: true, ..good };
    assert_eq!(raft.on_vote_request(0, legal, None, START, &mut vec![]), Ok(()));
    let (voter, me) = (key(2), key(1));
    let result = raft.on_vote_request(0, good, Some(voter), START, &mut vec![]);
    assert_eq!(result, Err(VoteError::InvalidVoterKey { voter, me }));
}

#[test]
fn higher_epochs_end_a_leadership_and_older_news_change_nothing() {
    let mut raft = leader_of_three();
    let mut effects = vec![];
    raft.on_epoch(LeaderEpoch(4), Some(NodeId(2)), START, &mut effects);
    assert_eq!(effects, []);
    raft.on_epoch(LeaderEpoch(7), Some(NodeId(3)), START, &mut effects);
    assert_eq!(effects, [Effect::StopLeading, Effect::Persist(state(7, Some(3), None))]);
    assert_eq!(name(raft.role()), "follower");
    effects.clear();
    raft.on_epoch(LeaderEpoch(7), Some(NodeId(3)), START, &mut effects);
    assert_eq!(effects, [], "the same leader again is no news");
}

#[test]
fn learning_the_leader_keeps_the_vote() {
    let mut raft = in_role("unattached, voted for 3");
    let mut effects = vec![];
    raft.on_epoch(LeaderEpoch(6), Some(NodeId(2)), START, &mut effects);
    assert_eq!(effects, [Effect::Persist(state(6, Some(2), Some(3)))]);
}

#[test]
fn a_stream_of_epochs_does_not_put_off_an_election() {
    let mut raft = in_role("unattached");
    let due = raft.wake_at();
    raft.on_epoch(LeaderEpoch(8), None, START.after(Duration::from_millis(900)), &mut vec![]);
    assert_eq!(raft.wake_at(), due);
}

#[test]
fn commits_with_a_majority_that_holds_a_record_of_its_epoch() {
    let mut raft = leader_of_three();
    let fetch = |raft: &mut Raft, id, offset| {
        let (mut effects, now) = (vec![], START);
        raft.on_fetch(key(id), LeaderEpoch(5), Offset(offset), now, 0, &mut effects).unwrap();
        effects
    };
    assert_eq!(fetch(&mut raft, 2, 10), [], "all of the past, nothing of this epoch");
    assert_eq!(fetch(&mut raft, 2, 11), [], "we have not synced it ourselves");
    assert_eq!(fetch(&mut raft, 3, 11), [Effect::Commit { end: Offset(11) }], "without us");

    raft.on_appended(Offset(14), LeaderEpoch(5));
    let mut effects = vec![];
    raft.on_durable(Offset(14), &mut effects);
    assert_eq!(effects, []);
    assert_eq!(fetch(&mut raft, 3, 13), [Effect::Commit { end: Offset(13) }]);

    let imposter = ReplicaKey { directory: Some(Uuid([99; 16])), ..key(2) };
    raft.on_fetch(imposter, LeaderEpoch(5), Offset(14), START, 0, &mut effects).unwrap();
    assert_eq!(effects, [], "the same node with another disk is not the voter");
}

#[test]
fn fetches_of_another_epoch_prove_nothing() {
    let mut raft = leader_of_three();
    let mut fetch =
        |epoch| raft.on_fetch(key(2), LeaderEpoch(epoch), Offset(11), START, 0, &mut vec![]);
    let ours = LeaderEpoch(5);
    assert_eq!(fetch(4), Err(FetchError::FencedEpoch { theirs: LeaderEpoch(4), ours }));
    assert_eq!(fetch(6), Err(FetchError::UnknownEpoch { theirs: LeaderEpoch(6), ours }));
    let epoch = LeaderEpoch(6);
    let mut follower = in_role("follower");
    let result = follower.on_fetch(key(2), epoch, Offset(10), START, 0, &mut vec![]);
    assert_eq!(result, Err(FetchError::NotLeader { epoch }));
}

#[test]
fn a_leader_without_a_majority_resigns_and_never_leads_its_epoch_again() {
    let mut raft = leader_of_three();
    let (now, effects) = tick(&mut raft);
    assert_eq!(now.since(START), OPTIONS.fetch_timeout.mul_f64(1.5));
    assert_eq!(effects, [Effect::StopLeading]);
    assert_eq!(name(raft.role()), "resigned");
    let (_, effects) = tick(&mut raft);
    assert_eq!(effects, [Effect::Persist(state(6, None, None))]);
    assert_eq!(name(raft.role()), "unattached");
}

#[test]
fn a_follower_that_hears_nothing_asks_around() {
    let mut raft = in_role("follower that fetched");
    let mut effects = vec![];
    let heard = START.after(Duration::from_secs(1));
    raft.on_fetched(LeaderEpoch(6), Offset(9), heard, &mut effects);
    assert_eq!(effects, [Effect::Commit { end: Offset(9) }]);
    raft.on_fetched(LeaderEpoch(6), Offset(8), heard, &mut effects);
    raft.on_fetched(LeaderEpoch(6), Offset(30), heard, &mut effects);
    assert_eq!(effects[1..], [Effect::Commit { end: Offset(10) }], "no further than its own log");
    assert_eq!(raft.wake_at(), Some(heard.after(OPTIONS.fetch_timeout)));
    tick(&mut raft);
    assert_eq!(name(raft.role()), "prospective");
}

#[test]
fn successors_stand_one_after_another() {
    for (position, len, wait_ms) in [(0, 3, 0), (1, 3, 250), (2, 3, 500), (1, 2, 500), (9, 3, 1000)]
    {
        let mut raft = in_role("follower");
        raft.on_end_epoch(LeaderEpoch(6), position, len, START);
        let due = START.after(Duration::from_millis(wait_ms));
        assert_eq!(raft.wake_at(), Some(due), "position {position} of {len}");
    }
}

#[test]
fn an_observer_follows_and_never_stands() {
    let observer = ReplicaKey { id: NodeId(9), directory: None };
    let mut raft = Raft::new(observer, OPTIONS, voters(3), LOG, Offset(0), 1);
    raft.on_start(state(6, None, None), START, &mut vec![]);
    assert_eq!(raft.wake_at(), None);
    raft.on_epoch(LeaderEpoch(6), Some(NodeId(2)), START, &mut vec![]);
    assert_eq!(name(raft.role()), "follower");
    assert_eq!(raft.wake_at(), None);
}
