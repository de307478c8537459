//! The `quorum-state` file: what a replica must not forget about its votes.
//!
//! Version 0 is written under kraft.version 0, version 1 (with the voted directory) above.

use serde_json::{Map, Value};

use crate::quorum::voters::ReplicaKey;
use crate::types::{LeaderEpoch, NodeId, Uuid};

pub const FILE_NAME: &str = "quorum-state";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuorumState {
    pub epoch: LeaderEpoch,
    pub leader: Option<NodeId>,
    pub voted: Option<ReplicaKey>,
}

#[derive(Debug, PartialEq, thiserror::Error)]
pub enum StateError {
    #[error("quorum-state is not JSON: {0}")]
    NotJson(String),
    #[error("quorum-state has data_version {0}; this broker knows 0 and 1")]
    Version(i64),
    #[error("quorum-state: {field} is missing or not what it should be")]
    Field { field: &'static str },
}

impl QuorumState {
    /// The bytes of the file. `voters` are listed in version 0 alone, where no log names them.
    pub fn encode(&self, kraft_version: i16, voters: impl Iterator<Item = NodeId>) -> Vec<u8> {
        let node = |id: Option<NodeId>| Value::from(id.map_or(-1, |id| id.0));
        let mut fields = Map::new();
        if kraft_version == 0 {
            fields.insert("clusterId".into(), "".into());
        }
        fields.insert("leaderId".into(), node(self.leader));
        fields.insert("leaderEpoch".into(), self.epoch.0.into());
        fields.insert("votedId".into(), node(self.voted.map(|voted| voted.id)));
        if kraft_version == 0 {
            let voters = voters.map(|id| serde_json::json!({ "voterId": id.0 })).collect();
            fields.insert("appliedOffset".into(), 0.into());
            fields.insert("currentVoters".into(), Value::Array(voters));
        } else {
            let directory = self.voted.and_then(|voted| voted.directory).unwrap_or(Uuid::ZERO);
            fields.insert("votedDirectoryId".into(), directory.to_string().into());
        }
        fields.insert("data_version".into(), kraft_version.min(1).into());
        Value::Object(fields).to_string().into_bytes()
    }

    pub fn decode(bytes: &[u8]) -> Result<QuorumState, StateError> {
        let fields: Map<String, Value> = serde_json::from_slice(bytes)
            .map_err(|error| StateError::NotJson(error.to_string()))?;
        let version = fields.get("data_version").and_then(Value::as_i64).unwrap_or(0);
        if !(0..=1).contains(&version) {
            return Err(StateError::Version(version));
        }
        let number = |field: &'static str| {
            let value = fields.get(field).and_then(Value::as_i64);
            value.and_then(|value| i32::try_from(value).ok()).ok_or(StateError::Field { field })
        };
        let node = |id: i32| (id >= 0).then_some(NodeId(id));
        let directory = match fields.get("votedDirectoryId") {
            None => None,
            Some(text) => {
                let id = text.as_str().and_then(Uuid::parse);
                let id = id.ok_or(StateError::Field { field: "votedDirectoryId" })?;
                (id != Uuid::ZERO).then_some(id)
            }
        };
        let voted = node(number("votedId")?).map(|id| ReplicaKey { id, directory });
        let epoch = LeaderEpoch(number("leaderEpoch")?);
        Ok(QuorumState { epoch, leader: node(number("leaderId")?), voted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KAFKA_WROTE: &str = r#"{"leaderId":1,"leaderEpoch":2,"votedId":-1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}"#;

    #[test]
    fn reads_what_kafka_wrote_and_says_the_same() {
        let state = QuorumState::decode(KAFKA_WROTE.as_bytes()).unwrap();
        let leader = Some(NodeId(1));
        assert_eq!(state, QuorumState { epoch: LeaderEpoch(2), leader, voted: None });
        let ours: Value = serde_json::from_slice(&state.encode(1, std::iter::empty())).unwrap();
        assert_eq!(ours, serde_json::from_str::<Value>(KAFKA_WROTE).unwrap());
    }

    #[test]
    fn both_versions_read_back_as_written() {
        let directory = Some(Uuid([7; 16]));
        for (kraft_version, directory) in [(0, None), (1, directory), (1, None)] {
            let voted = Some(ReplicaKey { id: NodeId(3), directory });
            let state = QuorumState { epoch: LeaderEpoch(8), leader: None, voted };
            let bytes = state.encode(kraft_version, [NodeId(3), NodeId(4)].into_iter());
            assert_eq!(QuorumState::decode(&bytes), Ok(state));
        }
    }

    #[test]
    fn says_what_is_wrong_with_a_file() {
        let error = |text: &str| QuorumState::decode(text.as_bytes()).unwrap_err();
        assert!(matches!(error(""), StateError::NotJson(_)));
        assert_eq!(error(r#"{"data_version":2}"#), StateError::Version(2));
        assert_eq!(error("{}"), StateError::Field { field: "votedId" });
        let text = r#"{"leaderId":1,"leaderEpoch":9999999999,"votedId":-1,"data_version":1}"#;
        assert_eq!(error(text), StateError::Field { field: "leaderEpoch" });
    }
}
