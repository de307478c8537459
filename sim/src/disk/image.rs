//! The bytes of one file, sparse: a page that was never written costs nothing and reads as zeroes.
//!
//! Invariant: bytes at or above `len` are zero, so that growing shows zeroes and not the past.

use std::sync::Arc;

use bytes::BytesMut;

const PAGE_BYTES: usize = 4096;

/// Shared until it is written: after a power loss the page cache is what the disk is.
type Page = Arc<[u8; PAGE_BYTES]>;

#[derive(Clone, Default)]
pub struct Image {
    len: u64,
    pages: Vec<Option<Page>>,
    allocated_pages: u64,
}

impl Image {
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn set_len(&mut self, len: u64) {
        if len < self.len {
            let pages = len.div_ceil(PAGE_BYTES as u64) as usize;
            let cut = self.pages.get(pages..).unwrap_or_default();
            self.allocated_pages -= cut.iter().flatten().count() as u64;
            self.pages.truncate(pages);
            let within = len as usize % PAGE_BYTES;
            if within != 0
                && let Some(Some(page)) = self.pages.get_mut(pages - 1)
            {
                Arc::make_mut(page)[within..].fill(0);
            }
        }
        self.len = len;
    }

    /// Grows the file when `data` ends beyond it.
    pub fn write(&mut self, at: u64, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        self.len = self.len.max(at + data.len() as u64);
        for (page, within, part) in pieces(at, data.len()) {
            if self.pages.len() <= page {
                self.pages.resize_with(page + 1, || None);
            }
            let page = self.pages[page].get_or_insert_with(|| {
                self.allocated_pages += 1;
                Arc::new([0; PAGE_BYTES])
            });
            Arc::make_mut(page)[within..within + part.len()].copy_from_slice(&data[part]);
        }
    }

    /// Appends what there is of `len_max` bytes to `into` and says how much.
    pub fn read(&self, at: u64, len_max: usize, into: &mut BytesMut) -> usize {
        let len = (self.len.saturating_sub(at)).min(len_max as u64) as usize;
        into.reserve(len);
        for (page, within, part) in pieces(at, len) {
            match self.pages.get(page) {
                Some(Some(page)) => into.extend_from_slice(&page[within..within + part.len()]),
                _ => into.resize(into.len() + part.len(), 0),
            }
        }
        len
    }

    /// What the file occupies: holes are free.
    pub fn allocated_bytes(&self) -> u64 {
        self.allocated_pages * PAGE_BYTES as u64
    }

    /// How many bytes of a write can be stored when `spare_bytes` are free.
    pub fn fitting(&self, at: u64, len: usize, spare_bytes: u64) -> usize {
        let mut spare_pages = spare_bytes / PAGE_BYTES as u64;
        for (page, _, part) in pieces(at, len) {
            let is_hole = !matches!(self.pages.get(page), Some(Some(_)));
            if is_hole && spare_pages == 0 {
                return part.start;
            }
            spare_pages -= u64::from(is_hole);
        }
        len
    }

    pub fn to_vec(&self) -> Vec<u8> {
        let mut all = BytesMut::new();
        self.read(0, self.len as usize, &mut all);
        all.to_vec()
    }
}

/// Cuts `len` bytes from `at` into (page, offset within it, range of the data).
fn pieces(at: u64, len: usize) -> impl Iterator<Item = (usize, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        (done < len).then(|| {
            let position = at as usize + done;
            let (page, within) = (position / PAGE_BYTES, position % PAGE_BYTES);
            let part = done..len.min(done + PAGE_BYTES - within);
            done = part.end;
            (page, within, part)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::{Chance, Subsystem};

    #[test]
    fn behaves_like_a_plain_vector() {
        let mut chance = Chance::stream(1, Subsystem::Disk, 0, 0);
        let (mut image, mut model) = (Image::default(), Vec::new());
        for _ in 0..3000 {
            let at = chance.index(20_000);
            match chance.index(3) {
                0 => {
                    let mut data = vec![0; chance.index(9000)];
                    chance.fill(&mut data);
                    if !data.is_empty() {
                        model.resize(model.len().max(at + data.len()), 0);
                        model[at..at + data.len()].copy_from_slice(&data);
                        image.write(at as u64, &data);
                    }
                }
                1 => {
                    model.resize(at, 0);
                    image.set_len(at as u64);
                }
                _ => {
                    let len = chance.index(9000);
                    let mut read = BytesMut::new();
                    image.read(at as u64, len, &mut read);
                    let end = model.len().min(at + len);
                    assert_eq!(&read[..], model.get(at..end).unwrap_or_default());
                }
            }
            assert_eq!(image.len(), model.len() as u64);
        }
        assert_eq!(image.to_vec(), model);
    }

    #[test]
    fn a_hole_costs_nothing() {
        let mut image = Image::default();
        image.set_len(1 << 30);
        image.write((1 << 20) * 3, b"x");
        assert_eq!(image.allocated_bytes(), PAGE_BYTES as u64);
    }

    #[test]
    fn only_new_pages_need_space() {
        let mut image = Image::default();
        image.write(10, b"x");
        assert_eq!(image.fitting(0, 4096, 0), 4096);
        assert_eq!(image.fitting(0, 5000, 0), 4096);
        assert_eq!(image.fitting(4000, 9000, 4096), 96 + 4096);
    }
}
