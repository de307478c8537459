//! Incarnations of topics: one that was followed by another takes nothing and gives nothing more.

use std::collections::BTreeMap;

use super::gather::{Fate, Tables};
use super::{Excuse, Rules};
use crate::check::Invariant::I38;
use crate::check::Violation;
use crate::history::{Answer, What, name_of};

pub fn check(tables: &Tables, rules: &Rules) -> Result<(), Violation> {
    if rules.excuses.contains(&Excuse::StaleMetadata) {
        return Ok(());
    }
    let deaths = deaths(tables);
    for batch in &tables.batches {
        let topic = tables.logs[batch.log].topic;
        if let (Some(&death), Fate::Acknowledged { .. }) = (deaths.get(topic), batch.fate)
            && batch.handed_over > death
        {
            return fail(tables, topic, death, batch.settled.unwrap_or(batch.handed_over));
        }
    }
    for (place, entry) in tables.history.iter().enumerate() {
        let (What::Read { topic, asked, .. } | What::Listed { topic, asked, .. }) = &entry.what
        else {
            continue;
        };
        if let Some(&death) = deaths.get(topic.as_str())
            && *asked > tables.history[death].at
        {
            return fail(tables, topic, death, place);
        }
    }
    Ok(())
}

fn fail(tables: &Tables, topic: &str, death: usize, place: usize) -> Result<(), Violation> {
    let evidence = format!(
        "{topic} answers, after another topic of its name was created:\n{}\n{}",
        tables.quote(death),
        tables.quote(place)
    );
    Err(Violation::new(I38, evidence))
}

/// Where it was certain that an incarnation is gone: when another one was created, if that was asked
/// for after the first mention of this one.
fn deaths<'a>(tables: &Tables<'a>) -> BTreeMap<&'a str, usize> {
    let mut mentions: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    let mut asked: BTreeMap<(&str, u64), usize> = BTreeMap::new();
    let mut created: Vec<(&str, usize, usize)> = vec![];
    for (place, entry) in tables.history.iter().enumerate() {
        let topic = match &entry.what {
            What::Ask { op, .. } => {
                asked.insert((&entry.process, *op), place);
                continue;
            }
            What::Answered { op, answer: Answer::Created { topic } } => {
                if let Some(&asked) = asked.get(&(entry.process.as_str(), *op)) {
                    created.push((topic, asked, place));
                }
                topic
            }
            What::Produce { topic, .. } | What::Read { topic, .. } | What::Topic { topic, .. } => {
                topic
            }
            _ => continue,
        };
        mentions.entry(name_of(topic)).or_default().entry(topic).or_insert(place);
    }
    let mut deaths = BTreeMap::new();
    for (topic, asked, place) in created {
        for (other, mentioned) in &mentions[name_of(topic)] {
            if *other != topic && *mentioned < asked {
                deaths.entry(*other).or_insert(place);
            }
        }
    }
    deaths
}

#[cfg(test)]
mod tests {
    use super::super::story::Story;
    use super::*;
    use crate::history::Operation;

    fn created(story: Story, id: u32) -> Story {
        let (name, configs) = ("t".to_string(), BTreeMap::new());
        let story = story.ask("a", Operation::CreateTopic { name, partitions: 1, configs });
        story.answer("a", Answer::Created { topic: format!("t#{id}") })
    }

    /// `t#1` with a record, then `t#2`.
    fn followed() -> Story {
        let story = created(Story::expecting(|expected| expected.deleted = true), 1);
        let story = story.send(0, &[1]).acknowledged(0, 0);
        let delete = Operation::DeleteTopic { name: "t".to_string() };
        created(story.ask("a", delete).answer("a", Answer::Done), 2)
    }

    #[test]
    fn an_incarnation_that_was_followed_is_silent() {
        followed().passes();
        followed().send(1, &[2]).acknowledged(1, 1).breaks(I38);
        followed().read(0, &[1]).breaks(I38);
        followed().excused(Excuse::StaleMetadata).read(0, &[1]).passes();
    }

    #[test]
    fn what_was_begun_before_may_still_be_answered() {
        let early = |what: &mut What| {
            if let What::Read { asked, .. } = what {
                *asked = 1;
            }
        };
        followed().read_as("c", 0, &[1], early).passes();
    }
}
