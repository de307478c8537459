//! Administrators: one request after the other, each sent once, as the plan has it.

use std::time::Duration;

use ottla::client::fetch::{EARLIEST, LATEST};
use ottla::client::{CallError, Client, Topic};
use ottla::env::Env;
use ottla::env::clock::Clock;
use ottla::protocol::error::ErrorCode;
use ottla::types::{Offset, Uuid};

use super::{Sights, Stage, told};
use crate::history::{Answer, Operation, What, incarnation};
use crate::plan::clients::{Act, Step};

pub async fn run<E: Env>(env: &E, stage: &Stage, name: &str, index: usize) {
    stage.wait_for_topics(env).await;
    let mut asker = Asker::new(stage, name, stage.client(env, name));
    for Step { after_ms, topic, act } in &stage.plan.admins[index].steps {
        env.clock().sleep(Duration::from_millis(*after_ms)).await;
        if stage.is_healed() {
            return;
        }
        let topic = &stage.plan.topics[*topic].name;
        let asked = match asker.operation(topic, act).await {
            Ok(operation) => asker.ask(operation).await,
            Err(error) => Err(error),
        };
        match asked {
            // A refusal is an answer like any other.
            Ok(()) | Err(CallError::Refused { .. }) => {}
            Err(error) => stage.rest(env, name, &error).await,
        }
    }
}

/// Asks, and writes down what was asked and answered.
pub struct Asker<'a, E: Env> {
    pub name: &'a str,
    stage: &'a Stage,
    client: Client<E>,
    sights: Sights,
    asked: u64,
}

impl<'a, E: Env> Asker<'a, E> {
    pub fn new(stage: &'a Stage, name: &'a str, client: Client<E>) -> Asker<'a, E> {
        Asker { name, stage, client, sights: Sights::default(), asked: 0 }
    }

    /// What an act of the plan comes to, as things stand.
    async fn operation(&mut self, name: &str, act: &Act) -> Result<Operation, CallError> {
        let name = name.to_string();
        Ok(match act.clone() {
            Act::Create { partitions, configs } => {
                Operation::CreateTopic { name, partitions, configs }
            }
            Act::Delete { by_id: false } => Operation::DeleteTopic { name },
            Act::Delete { by_id: true } => {
                let topic = self.client.topic(&name).await?;
                self.sights.note(self.stage, self.name, &topic);
                Operation::DeleteIncarnation { topic: told(&topic) }
            }
            Act::Grow { partitions } => Operation::Grow { name, partitions },
            Act::Configure { changes } => Operation::Configure { name, changes },
            Act::DeleteRecords { partition, percent: 100 } => {
                Operation::DeleteRecords { name, partition, before: -1 }
            }
            Act::DeleteRecords { partition, percent } => {
                let topic = self.client.topic(&name).await?;
                let start = self.offset_at(&topic, partition, EARLIEST).await?;
                let end = self.offset_at(&topic, partition, LATEST).await?;
                let before = start + (end - start).max(0) * i64::from(percent) / 100;
                Operation::DeleteRecords { name, partition, before }
            }
            Act::Describe => Operation::DescribeTopic { name },
            Act::DescribeConfigs => Operation::DescribeConfigs { name },
        })
    }

    async fn offset_at(&mut self, topic: &Topic, at: u32, which: i64) -> Result<i64, CallError> {
        if at as usize >= topic.leaders.len() {
            return Err(CallError::Refused { code: ErrorCode::UnknownTopicOrPartition });
        }
        let found = self.client.offset_at(topic, at, which).await?;
        Ok(found.ok_or(CallError::Missing)?.offset.0)
    }

    pub async fn ask(&mut self, operation: Operation) -> Result<(), CallError> {
        let op = self.asked;
        self.asked += 1;
        self.stage.add(self.name, What::Ask { op, operation: operation.clone() });
        let answered = self.carry_out(operation).await;
        let what = match &answered {
            Ok(answer) => What::Answered { op, answer: answer.clone() },
            Err(error) => match code_of(error) {
                Some(code) if is_definite(error) => What::Denied { op, code: code.code() },
                None if error.is_definite() => What::Denied { op, code: 0 },
                code => What::Unanswered { op, code: code.map(ErrorCode::code) },
            },
        };
        self.stage.add(self.name, what);
        answered.map(drop)
    }

    async fn carry_out(&mut self, operation: Operation) -> Result<Answer, CallError> {
        let client = &mut self.client;
        match operation {
            Operation::CreateTopic { name, partitions, configs } => {
                let configs: Vec<(&str, &str)> =
                    configs.iter().map(|(name, value)| (&name[..], &value[..])).collect();
                let id = client.create_topic(&name, partitions as i32, &configs).await?;
                Ok(Answer::Created { topic: incarnation(&name, id) })
            }
            Operation::DeleteTopic { name } => {
                client.delete_topic(&name).await.map(|()| Answer::Done)
            }
            Operation::DeleteIncarnation { topic } => {
                let id = topic.rsplit_once('#').and_then(|(_, id)| Uuid::parse(id));
                let id = id.ok_or(CallError::Missing)?;
                client.delete_topic_by_id(id).await.map(|()| Answer::Done)
            }
            Operation::Grow { name, partitions } => {
                client.create_partitions(&name, partitions as i32).await.map(|()| Answer::Done)
            }
            Operation::Configure { name, changes } => {
                client.alter_topic(&name, &changes).await.map(|()| Answer::Done)
            }
            Operation::DeleteRecords { name, partition, before } => {
                let topic = client.topic(&name).await?;
                if partition as usize >= topic.leaders.len() {
                    return Err(CallError::Refused { code: ErrorCode::UnknownTopicOrPartition });
                }
                let before = (before >= 0).then_some(Offset(before));
                let offset = client.delete_records(&topic, partition, before).await?.0;
                Ok(Answer::LowWatermark { offset })
            }
            Operation::DescribeTopic { name } => {
                let topic = client.topic(&name).await?;
                self.sights.note(self.stage, self.name, &topic);
                let partitions = topic.leaders.len() as u32;
                Ok(Answer::Topic { topic: told(&topic), partitions })
            }
            Operation::DescribeConfigs { name } => {
                let values = client.topic_configs(&name).await?;
                Ok(Answer::Configs { values })
            }
        }
    }
}

fn code_of(error: &CallError) -> Option<ErrorCode> {
    match error {
        CallError::Refused { code } => Some(*code),
        _ => None,
    }
}

/// Some codes say that nobody knows: so does a controller that resigns with requests under way.
fn is_definite(error: &CallError) -> bool {
    !matches!(
        code_of(error),
        None | Some(
            ErrorCode::RequestTimedOut
                | ErrorCode::UnknownServerError
                | ErrorCode::KafkaStorageError
                | ErrorCode::NetworkException
                | ErrorCode::NotController
        )
    )
}
