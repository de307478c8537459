//! Votes: when to stand, whom to vote for, when an election is won or lost.

use crate::quorum::progress::Progress;
use crate::quorum::raft::{Effect, Poll, Raft, Role, VoteError, VoteRequest};
use crate::quorum::voters::ReplicaKey;
use crate::types::{Instant, LeaderEpoch, NodeId};

const BACKOFF_BASE_MS: u64 = 100;

impl Raft {
    /// Another replica wants our vote. The answer leaves as an effect, after the vote is durable.
    /// `voter` is whom the request was meant for, when it says.
    pub fn on_vote_request(
        &mut self,
        request: u64,
        asked: VoteRequest,
        voter: Option<ReplicaKey>,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) -> Result<(), VoteError> {
        let VoteRequest { candidate, epoch, log_end, last_epoch, pre_vote } = asked;
        if epoch < self.epoch {
            return Err(VoteError::FencedEpoch { theirs: epoch, ours: self.epoch });
        }
        // A prospective has not raised its epoch yet, so its last record may be of that one.
        let too_new = if pre_vote { last_epoch > epoch } else { last_epoch >= epoch };
        if candidate.id.0 < 0 || log_end.0 < 0 || last_epoch.0 < 0 || too_new {
            return Err(VoteError::Invalid { candidate, last_epoch, log_end });
        }
        if epoch > self.epoch {
            self.enter_epoch(epoch, None, now, effects);
        }
        if let Some(voter) = voter.filter(|voter| !voter.matches(self.me)) {
            return Err(VoteError::InvalidVoterKey { voter, me: self.me });
        }
        let granted = if pre_vote { self.would_grant(&asked) } else { self.grants(&asked) };
        if granted && !pre_vote {
            if self.voted.is_none() {
                self.voted = Some(candidate);
                effects.push(Effect::Persist(self.state()));
            }
            let next = self.election_time(now);
            match &mut self.role {
                Role::Unattached { elect_at } | Role::Prospective { elect_at, .. } => {
                    *elect_at = next;
                }
                role => unreachable!("no vote is granted as {role:?}"),
            }
        }
        effects.push(Effect::AnswerVote { request, granted });
        self.check();
        Ok(())
    }

    /// A voter answered our request of `epoch`.
    pub fn on_vote_answer(
        &mut self,
        from: NodeId,
        epoch: LeaderEpoch,
        pre_vote: bool,
        granted: bool,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        if epoch != self.epoch || self.voters.get(from).is_none() {
            return;
        }
        let poll = match &mut self.role {
            Role::Prospective { poll, .. } if pre_vote => poll,
            Role::Candidate { poll, .. } if !pre_vote => poll,
            _ => return,
        };
        if granted {
            poll.granted.insert(from)
        } else {
            poll.rejected.insert(from)
        };
        self.count_votes(now, effects);
        self.check();
    }

    /// Would this replica vote so, were it a real election? Binds nobody.
    fn would_grant(&self, asked: &VoteRequest) -> bool {
        let serves = match self.role {
            Role::Leader(_) => true,
            // One that reached its leader would only help to disturb it. One that never did may:
            // otherwise replicas keep sending each other back to a dead leader.
            Role::Follower { has_fetched, .. } => has_fetched,
            _ => false,
        };
        !serves && self.is_up_to_date(asked)
    }

    fn grants(&self, asked: &VoteRequest) -> bool {
        match (&self.role, self.voted) {
            (Role::Unattached { .. } | Role::Prospective { .. }, Some(voted)) => {
                voted.matches(asked.candidate)
            }
            (Role::Unattached { .. } | Role::Prospective { .. }, None) => {
                self.leader.is_none() && self.is_up_to_date(asked)
            }
            (Role::Leader(_) | Role::Candidate { .. }, _) => false,
            (Role::Resigned { .. } | Role::Follower { .. }, _) => false,
        }
    }

    fn is_up_to_date(&self, asked: &VoteRequest) -> bool {
        (asked.last_epoch, asked.log_end) >= (self.log.last_epoch, self.log.end)
    }

    /// Pre-vote: asks whether an election would be won.
    pub(super) fn ask_around(&mut self, now: Instant, retries: u32, effects: &mut Vec<Effect>) {
        assert!(self.voters.contains(self.me), "an observer never stands");
        let poll = Poll { granted: [self.me.id].into(), ..Poll::default() };
        let elect_at = self.election_time(now);
        self.role = Role::Prospective { poll, elect_at, retries };
        effects.push(Effect::RequestVotes(self.vote_request(true)));
        self.count_votes(now, effects);
    }

    /// Raises the epoch by one and votes for itself.
    pub(super) fn run_for_leader(&mut self, now: Instant, retries: u32, effects: &mut Vec<Effect>) {
        self.epoch = LeaderEpoch(self.epoch.0.checked_add(1).expect("2^31 elections"));
        self.leader = None;
        self.voted = Some(self.me);
        self.role = self.candidate(now, retries);
        effects.push(Effect::Persist(self.state()));
        effects.push(Effect::RequestVotes(self.vote_request(false)));
    }

    pub(super) fn candidate(&mut self, now: Instant, retries: u32) -> Role {
        let poll = Poll { granted: [self.me.id].into(), ..Poll::default() };
        let elect_at = self.election_time(now);
        Role::Candidate { poll, elect_at, retries, lost: false }
    }

    pub(super) fn count_votes(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let majority = self.voters.majority();
        let out_of_reach = self.voters.len() - majority;
        match &mut self.role {
            Role::Prospective { poll, retries, .. } => {
                let (won, retries) = (poll.granted.len() >= majority, *retries);
                if won {
                    self.run_for_leader(now, retries, effects);
                    self.count_votes(now, effects);
                } else if poll.rejected.len() > out_of_reach {
                    self.lose_poll(now);
                }
            }
            Role::Candidate { poll, elect_at, retries, lost } => {
                if poll.granted.len() >= majority {
                    let granting = poll.granted.iter().copied().collect();
                    self.lead(granting, now, effects);
                } else if poll.rejected.len() > out_of_reach && !*lost {
                    *lost = true;
                    let (retries, latest) = (*retries, *elect_at);
                    let again = now.after(self.backoff(retries)).min(latest);
                    if let Role::Candidate { elect_at, .. } = &mut self.role {
                        *elect_at = again;
                    }
                }
            }
            _ => {}
        }
    }

    /// Nobody would vote for us: back to the leader that others still hear, or wait for one.
    pub(super) fn lose_poll(&mut self, now: Instant) {
        self.role = match self.leader {
            Some(leader) => self.follower(leader, now),
            None => Role::Unattached { elect_at: self.election_time(now) },
        };
    }

    fn lead(&mut self, granting: Vec<NodeId>, now: Instant, effects: &mut Vec<Effect>) {
        assert!(self.log.last_epoch < self.epoch, "an epoch is led once");
        self.leader = Some(self.me.id);
        self.voted = None;
        self.role = Role::Leader(Progress::new(self.log.end, now));
        effects.push(Effect::Persist(self.state()));
        effects.push(Effect::Lead { epoch: self.epoch, granting });
    }

    pub(super) fn vote_request(&self, pre_vote: bool) -> VoteRequest {
        VoteRequest {
            candidate: self.me,
            epoch: self.epoch,
            log_end: self.log.end,
            last_epoch: self.log.last_epoch,
            pre_vote,
        }
    }

    fn backoff(&mut self, retries: u32) -> std::time::Duration {
        let spread = (1u64 << retries.min(16)) as f64 * self.draw();
        let wait = std::time::Duration::from_millis(BACKOFF_BASE_MS * (spread as u64 + 1));
        wait.min(self.options.election_backoff_max)
    }
}
