//! The image that this node serves, and the images that are on their way to it.
//!
//! The controller commits an image; the broker opens what it names and then publishes it; only then
//! do clients see it. So a leader that Metadata names is one that already answers.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::metadata::delta::Delta;
use crate::metadata::image::Image;
use crate::types::Offset;

/// Reads the published image. Cheap to clone, and to ask on every request.
#[derive(Clone)]
pub struct MetadataHandle {
    current: Arc<ArcSwap<Image>>,
    published: watch::Receiver<Offset>,
}

/// The other end: held by the broker, which publishes what it has applied.
pub struct Publisher {
    current: Arc<ArcSwap<Image>>,
    published: watch::Sender<Offset>,
}

/// Committed images, in order. A slow reader skips some and is told what changed in all.
pub struct Subscription {
    committed: watch::Receiver<Arc<Image>>,
    last: Arc<Image>,
}

pub fn published(first: Arc<Image>) -> (Publisher, MetadataHandle) {
    let (sender, receiver) = watch::channel(first.provenance.end);
    let current = Arc::new(ArcSwap::new(first));
    let publisher = Publisher { current: current.clone(), published: sender };
    (publisher, MetadataHandle { current, published: receiver })
}

impl MetadataHandle {
    pub fn image(&self) -> Arc<Image> {
        self.current.load_full()
    }

    /// The offset, exclusive, that the published image contains.
    pub fn published_end(&self) -> Offset {
        *self.published.borrow()
    }

    /// Waits until everything below `end` is published. False when the broker stopped first.
    pub async fn published_to(&self, end: Offset) -> bool {
        let mut published = self.published.clone();
        published.wait_for(|&at| at >= end).await.is_ok()
    }
}

impl Publisher {
    /// The broker now serves what `image` says.
    pub fn publish(&self, image: Arc<Image>) {
        let end = image.provenance.end;
        assert!(end >= *self.published.borrow(), "metadata never goes back");
        self.current.store(image);
        self.published.send_replace(end);
    }
}

impl Subscription {
    /// Starts from an empty image: the first step brings everything there is.
    pub fn new(committed: watch::Receiver<Arc<Image>>) -> Subscription {
        Subscription { committed, last: Arc::default() }
    }

    /// The next image and what changed since the one before. `None`: the controller stopped.
    pub async fn next(&mut self) -> Option<(Delta, Arc<Image>)> {
        let last = &self.last;
        let ahead = |image: &Arc<Image>| image.provenance.end > last.provenance.end;
        let image = self.committed.wait_for(ahead).await.ok()?.clone();
        let delta = Delta::between(&self.last, &image);
        self.last = image.clone();
        Some((delta, image))
    }
}
