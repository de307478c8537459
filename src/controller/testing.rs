//! A controller without a log, for the tests of what it decides.

use std::sync::Arc;

use crate::config::layers::Layers;
use crate::controller::brokers::{self, Registration};
use crate::controller::operation::{Chance, Context, Decided, Settings};
use crate::metadata::image::{Broker, Endpoint, Image};
use crate::metadata::record::{MetadataVersion, encode};
use crate::protocol::messages::decode_metadata_record;
use crate::protocol::messages::feature_level_record::FeatureLevelRecord;
use crate::protocol::wire::Text;
use crate::types::{BrokerEpoch, NodeId, Offset, Uuid};

pub fn broker(id: i32) -> Broker {
    Broker {
        id: NodeId(id),
        epoch: BrokerEpoch(i64::from(id)),
        incarnation: Uuid([id as u8; 16]),
        endpoints: vec![],
        features: Default::default(),
        rack: None,
        fenced: false,
        in_controlled_shutdown: false,
        is_migrating_zk: false,
        directories: vec![Uuid([100 + id as u8; 16])],
        cordoned_directories: None,
    }
}

pub struct World {
    pub image: Image,
    pub settings: Settings,
    pub chance: Chance,
}

impl World {
    /// An image at the level of a new cluster, without brokers.
    pub fn empty() -> World {
        let settings = Settings {
            node: NodeId(1),
            layers: Layers::default(),
            num_partitions: 2,
            default_replication_factor: 1,
            delete_topics: true,
        };
        let mut world = World { image: Image::default(), settings, chance: Chance::new(1) };
        for feature in crate::controller::features::FEATURES {
            let name = Text::new(feature.name);
            let record = FeatureLevelRecord { name, feature_level: feature.fresh };
            world.image.apply(&record.into(), 0).unwrap();
        }
        world
    }

    /// With broker 1, serving.
    pub fn with_broker() -> World {
        let mut world = World::empty();
        let registration = World::registration(1);
        let epoch = world.run(|context| brokers::register(context, &registration)).unwrap();
        world.run(|context| brokers::unfence(context, NodeId(1), epoch)).unwrap();
        world
    }

    pub fn registration(incarnation: u8) -> Registration {
        let (name, host) = ("PLAINTEXT".into(), "localhost".into());
        Registration {
            id: NodeId(1),
            incarnation: Uuid([incarnation; 16]),
            endpoints: vec![Endpoint { name, host, port: 9092, security_protocol: 0 }],
            rack: None,
            directories: vec![Uuid([101; 16])],
            stopped_in: None,
        }
    }

    /// Decides, and applies the records as they come out of a log.
    pub fn run<R>(&mut self, decide: impl FnOnce(&mut Context<'_>) -> Decided<R>) -> R {
        let layers = self.settings.layers_at(&self.image);
        let mut context = Context {
            image: &self.image,
            next: self.image.provenance.end,
            settings: &self.settings,
            layers: &layers,
            chance: &mut self.chance,
        };
        let Decided { records, response } = decide(&mut context);
        let level = MetadataVersion::of(&self.image);
        let mut next = self.image.clone();
        for record in &records {
            let (read, version) = decode_metadata_record(encode(record, level).unwrap()).unwrap();
            next.apply(&read, version).unwrap();
            next.provenance.end = Offset(next.provenance.end.0 + 1);
        }
        self.image = next;
        response
    }

    pub fn topic(&self, name: &str) -> &Arc<crate::metadata::topic::Topic> {
        self.image.topic(name).unwrap()
    }
}
