//! One replica of the metadata quorum: its role, its vote, what is committed.
//!
//! Pure: events come in through `on_*`, what must happen goes out as [`Effect`]s, carried out in
//! order. [`Effect::Persist`] must be on stable storage before anything after it is done: an answer
//! never overtakes the vote it reports. Votes are decided in `ballot`.
//!
//! Invariants, checked after every event:
//!   the epoch never falls; in one epoch at most one candidate gets this replica's vote
//!   durable_end <= log_end; high_watermark <= log_end, and it never falls
//!   only a leader has progress of others, and it voted for nobody else in its epoch

use std::collections::BTreeSet;
use std::time::Duration;

use crate::quorum::progress::Progress;
use crate::quorum::state::QuorumState;
use crate::quorum::voters::{ReplicaKey, Voters};
use crate::types::{Instant, LeaderEpoch, NodeId, Offset};

mod ballot;
#[cfg(test)]
mod tests;

pub struct Raft {
    me: ReplicaKey,
    options: Options,
    voters: Voters,
    epoch: LeaderEpoch,
    leader: Option<NodeId>,
    voted: Option<ReplicaKey>,
    role: Role,
    log: LogEnd,
    high_watermark: Offset,
    /// State of the generator that spreads election timeouts.
    chance: u64,
}

/// `controller.quorum.*`
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Elections start after one to two of these.
    pub election_timeout: Duration,
    pub fetch_timeout: Duration,
    pub election_backoff_max: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogEnd {
    pub end: Offset,
    pub durable_end: Offset,
    /// Of the last record; 0 in an empty log.
    pub last_epoch: LeaderEpoch,
}

#[derive(Clone, Debug)]
pub enum Role {
    /// Knows no leader that it can fetch from.
    Unattached {
        elect_at: Instant,
    },
    /// Asks whether it would win, before it disturbs anyone.
    Prospective {
        poll: Poll,
        elect_at: Instant,
        retries: u32,
    },
    Candidate {
        poll: Poll,
        elect_at: Instant,
        retries: u32,
        lost: bool,
    },
    Leader(Progress),
    /// Led this epoch, and will not again: it may have lost what it had not synced.
    Resigned {
        elect_at: Instant,
    },
    Follower {
        leader: NodeId,
        elect_at: Instant,
        has_fetched: bool,
    },
}

/// Answers to one round of votes.
#[derive(Clone, Debug, Default)]
pub struct Poll {
    pub granted: BTreeSet<NodeId>,
    pub rejected: BTreeSet<NodeId>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Replace the quorum-state file, durably.
    Persist(QuorumState),
    /// Ask every other voter.
    RequestVotes(VoteRequest),
    /// Answer one that asked.
    AnswerVote { request: u64, granted: bool },
    /// Append the leader-change record in this epoch, then call `on_appended`.
    Lead { epoch: LeaderEpoch, granting: Vec<NodeId> },
    /// Fail what waits for a commit: it may or may not survive.
    StopLeading,
    /// Everything below is committed.
    Commit { end: Offset },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoteRequest {
    pub candidate: ReplicaKey,
    /// A prospective sends the epoch it is in.
    pub epoch: LeaderEpoch,
    pub log_end: Offset,
    pub last_epoch: LeaderEpoch,
    pub pre_vote: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VoteError {
    #[error("vote request of epoch {theirs:?}, this replica is in {ours:?}")]
    FencedEpoch { theirs: LeaderEpoch, ours: LeaderEpoch },
    #[error("vote request with candidate {candidate}, last epoch {last_epoch:?}, end {log_end}")]
    Invalid { candidate: ReplicaKey, last_epoch: LeaderEpoch, log_end: Offset },
    #[error("vote request meant for {voter}, this is {me}")]
    InvalidVoterKey { voter: ReplicaKey, me: ReplicaKey },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    #[error("not the leader of epoch {epoch:?}")]
    NotLeader { epoch: LeaderEpoch },
    #[error("fetch in epoch {theirs:?}, the leader is in {ours:?}")]
    FencedEpoch { theirs: LeaderEpoch, ours: LeaderEpoch },
    #[error("fetch in epoch {theirs:?}, the leader is in {ours:?} still")]
    UnknownEpoch { theirs: LeaderEpoch, ours: LeaderEpoch },
}

impl Raft {
    /// A replica that starts from its disk. Follow with [`Raft::on_start`].
    pub fn new(
        me: ReplicaKey,
        options: Options,
        voters: Voters,
        log: LogEnd,
        committed: Offset,
        chance: u64,
    ) -> Raft {
        assert_eq!(log.durable_end, log.end, "what recovery kept is synced before it counts");
        assert!(committed <= log.end, "committed {committed} beyond the log's end {}", log.end);
        Raft {
            me,
            options,
            voters,
            epoch: LeaderEpoch(0),
            leader: None,
            voted: None,
            role: Role::Unattached { elect_at: Instant::default() },
            log,
            high_watermark: committed,
            chance,
        }
    }

    /// Takes up where `state` left off, but never as the leader it may have been.
    pub fn on_start(&mut self, state: QuorumState, now: Instant, effects: &mut Vec<Effect>) {
        if self.log.last_epoch > state.epoch {
            self.epoch = self.log.last_epoch;
        } else {
            self.epoch = state.epoch;
            self.voted = state.voted;
            self.leader = state.leader.filter(|&leader| leader != self.me.id);
        }
        let led = state.leader == Some(self.me.id) && self.epoch == state.epoch;
        let elect_at = self.election_time(now);
        let voted_for_me = self.voted.is_some_and(|voted| voted.matches(self.me));
        self.role = match self.leader {
            _ if led => Role::Resigned { elect_at },
            _ if voted_for_me && self.voters.contains(self.me) => self.candidate(now, 0),
            Some(leader) if self.voters.get(leader).is_some() => self.follower(leader, now),
            _ => Role::Unattached { elect_at },
        };
        if self.voters.is_only(self.me) {
            if !matches!(self.role, Role::Candidate { .. }) {
                self.run_for_leader(now, 0, effects);
            }
            self.count_votes(now, effects);
        } else if let Role::Candidate { .. } = self.role {
            effects.push(Effect::RequestVotes(self.vote_request(false)));
        }
        self.check();
    }

    /// Time has passed. Call at or after [`Raft::wake_at`].
    pub fn on_tick(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if self.wake_at().is_none_or(|at| now < at) {
            return;
        }
        match &mut self.role {
            Role::Leader(progress) => {
                progress.forget_idle_observers(&self.voters, now);
                self.resign(now, effects);
            }
            Role::Resigned { .. } => {
                let epoch = LeaderEpoch(self.epoch.0 + 1);
                self.enter_epoch(epoch, None, now, effects);
            }
            Role::Unattached { .. } | Role::Follower { .. } => self.ask_around(now, 0, effects),
            Role::Prospective { .. } => self.lose_poll(now),
            Role::Candidate { retries, .. } => {
                let retries = *retries + 1;
                self.ask_around(now, retries, effects);
            }
        }
        self.check();
    }

    /// The log was written up to `end` by us as leader, or by a fetch as follower.
    pub fn on_appended(&mut self, end: Offset, last_epoch: LeaderEpoch) {
        assert!(end >= self.log.end, "appended to {end}, the log had {}", self.log.end);
        assert!(last_epoch >= self.log.last_epoch && last_epoch <= self.epoch);
        self.log.end = end;
        self.log.last_epoch = last_epoch;
        self.check();
    }

    /// Our disk holds everything below `end`.
    pub fn on_durable(&mut self, end: Offset, effects: &mut Vec<Effect>) {
        assert!(end <= self.log.end, "the disk synced {end}, we wrote {}", self.log.end);
        self.log.durable_end = self.log.durable_end.max(end);
        self.advance(effects);
        self.check();
    }

    /// The set of voters in the log changed: it counts from its append on.
    pub fn on_voters(&mut self, voters: Voters, effects: &mut Vec<Effect>) {
        self.voters = voters;
        self.advance(effects);
        self.check();
    }

    /// A replica asked for what follows `offset`, so all below is durable there. The caller has
    /// found its log to agree with ours below `offset`.
    pub fn on_fetch(
        &mut self,
        replica: ReplicaKey,
        epoch: LeaderEpoch,
        offset: Offset,
        now: Instant,
        wall_ms: i64,
        effects: &mut Vec<Effect>,
    ) -> Result<(), FetchError> {
        let (theirs, ours) = (epoch, self.epoch);
        let Role::Leader(progress) = &mut self.role else {
            return Err(FetchError::NotLeader { epoch: ours });
        };
        if theirs < ours {
            return Err(FetchError::FencedEpoch { theirs, ours });
        }
        if theirs > ours {
            return Err(FetchError::UnknownEpoch { theirs, ours });
        }
        progress.on_fetch(replica, offset, self.log.end, now, wall_ms);
        self.advance(effects);
        self.check();
        Ok(())
    }

    /// The leader answered a fetch of ours, in its epoch, and told its high watermark.
    pub fn on_fetched(
        &mut self,
        epoch: LeaderEpoch,
        high_watermark: Offset,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        if epoch != self.epoch {
            return;
        }
        let timeout = self.options.fetch_timeout;
        let Role::Follower { elect_at, has_fetched, .. } = &mut self.role else { return };
        *elect_at = now.after(timeout);
        *has_fetched = true;
        let committed = high_watermark.min(self.log.end);
        if committed > self.high_watermark {
            self.high_watermark = committed;
            effects.push(Effect::Commit { end: committed });
        }
        self.check();
    }

    /// Any message, request or answer, that told of an epoch and perhaps its leader
    /// (BeginQuorumEpoch among them).
    pub fn on_epoch(
        &mut self,
        epoch: LeaderEpoch,
        leader: Option<NodeId>,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        // A peer that takes us for the leader has heard of an epoch that we won, or is mistaken.
        let leader = leader.filter(|&leader| leader != self.me.id);
        let names_leader = epoch == self.epoch && self.leader.is_none() && leader.is_some();
        if epoch > self.epoch || (names_leader && !self.is_leader()) {
            self.enter_epoch(epoch, leader, now, effects);
        }
        self.check();
    }

    /// The leader of `epoch` resigned and wants us to stand at `position` of its list of
    /// successors, 0 first.
    pub fn on_end_epoch(&mut self, epoch: LeaderEpoch, position: u32, len: u32, now: Instant) {
        if epoch != self.epoch || !self.voters.contains(self.me) {
            return;
        }
        let backoff_max = self.options.election_backoff_max;
        if let Role::Follower { elect_at, .. } = &mut self.role {
            let shift = len.saturating_sub(1).min(31);
            let step = backoff_max / (1 << shift);
            let wait = match position {
                0 => Duration::ZERO,
                position => (step * (1 << (position - 1).min(30))).min(backoff_max),
            };
            *elect_at = now.after(wait);
        }
    }

    /// Gives up the leadership: a clean stop, or a majority that is silent.
    pub fn resign(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if !self.is_leader() {
            return;
        }
        self.role = Role::Resigned { elect_at: self.election_time(now) };
        self.leader = None;
        effects.push(Effect::StopLeading);
    }

    pub fn me(&self) -> ReplicaKey {
        self.me
    }

    pub fn voters(&self) -> &Voters {
        &self.voters
    }

    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    pub fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    pub fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    pub fn role(&self) -> &Role {
        &self.role
    }

    pub fn log(&self) -> LogEnd {
        self.log
    }

    /// Everything below is committed, as far as this replica has heard.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// What the leader may tell others: nothing before a record of its own epoch is committed.
    pub fn high_watermark_told(&self) -> Option<Offset> {
        match &self.role {
            Role::Leader(progress) if self.high_watermark <= progress.epoch_start() => None,
            _ => Some(self.high_watermark),
        }
    }

    /// When `on_tick` has something to do.
    pub fn wake_at(&self) -> Option<Instant> {
        match &self.role {
            Role::Leader(progress) => {
                let window = check_quorum_window(&self.options);
                progress.quorum_lost_at(&self.voters, self.me, window)
            }
            Role::Resigned { elect_at } => Some(*elect_at),
            Role::Unattached { elect_at }
            | Role::Prospective { elect_at, .. }
            | Role::Candidate { elect_at, .. }
            | Role::Follower { elect_at, .. } => self.voters.contains(self.me).then_some(*elect_at),
        }
    }

    fn advance(&mut self, effects: &mut Vec<Effect>) {
        let Role::Leader(progress) = &self.role else { return };
        let committed = progress.committed(&self.voters, self.me, self.log.durable_end);
        if let Some(end) = committed.filter(|&end| end > self.high_watermark) {
            self.high_watermark = end;
            effects.push(Effect::Commit { end });
        }
    }

    /// A higher epoch, or the leader of this one. Within an epoch the vote stays.
    fn enter_epoch(
        &mut self,
        epoch: LeaderEpoch,
        leader: Option<NodeId>,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        assert!(epoch >= self.epoch, "epoch {epoch:?} after {:?}", self.epoch);
        if self.is_leader() {
            effects.push(Effect::StopLeading);
        }
        // A stream of new epochs must not put off this replica's own election for ever.
        let elect_at = match self.role {
            Role::Unattached { elect_at } | Role::Candidate { elect_at, lost: false, .. } => {
                elect_at
            }
            _ => self.election_time(now),
        };
        if epoch > self.epoch {
            self.epoch = epoch;
            self.voted = None;
        }
        self.leader = leader;
        self.role = match leader {
            Some(leader) => self.follower(leader, now),
            None => Role::Unattached { elect_at },
        };
        effects.push(Effect::Persist(self.state()));
    }

    fn state(&self) -> QuorumState {
        QuorumState { epoch: self.epoch, leader: self.leader, voted: self.voted }
    }

    fn follower(&self, leader: NodeId, now: Instant) -> Role {
        let elect_at = now.after(self.options.fetch_timeout);
        Role::Follower { leader, elect_at, has_fetched: false }
    }

    /// Uniform between one and two election timeouts.
    fn election_time(&mut self, now: Instant) -> Instant {
        let timeout = self.options.election_timeout;
        now.after(timeout + timeout.mul_f64(self.draw()))
    }

    /// In [0, 1).
    fn draw(&mut self) -> f64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.chance;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn check(&self) {
        assert!(self.log.durable_end <= self.log.end);
        assert!(self.high_watermark <= self.log.end, "committed beyond the end of the log");
        if let Role::Leader(_) = self.role {
            assert_eq!(self.leader, Some(self.me.id));
            assert!(self.voted.is_none(), "a leader's vote was used up by its election");
        }
        if let Role::Candidate { .. } = self.role {
            assert!(self.voted.is_some_and(|voted| voted.matches(self.me)));
        }
    }
}

fn check_quorum_window(options: &Options) -> Duration {
    options.fetch_timeout.mul_f64(1.5)
}
