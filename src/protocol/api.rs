//! The APIs by number, and which headers their messages have.
//!
//! The table is made of `schema/`. Which versions this broker advertises is decided where the
//! requests are answered, not here.

use std::fmt;
use std::ops::RangeInclusive;

include!(concat!(env!("OUT_DIR"), "/api_keys.rs"));

struct Api {
    key: ApiKey,
    name: &'static str,
    from: i16,
    to: i16,
    flexible_from: i16,
    unstable_from: i16,
    on_broker: bool,
    on_controller: bool,
}

impl ApiKey {
    /// Every key, in ascending order.
    pub fn all() -> impl Iterator<Item = ApiKey> {
        APIS.iter().map(|api| api.key)
    }

    pub fn from_code(code: i16) -> Option<ApiKey> {
        let i = APIS.binary_search_by_key(&code, |api| api.key.code()).ok()?;
        Some(APIS[i].key)
    }

    pub fn code(self) -> i16 {
        self as i16
    }

    pub fn name(self) -> &'static str {
        self.api().name
    }

    /// The versions that the codec speaks. Empty for retired keys.
    pub fn versions(self) -> RangeInclusive<i16> {
        self.api().from..=self.api().to
    }

    /// The versions that Kafka 4.4 would advertise, by default.
    pub fn stable_versions(self) -> RangeInclusive<i16> {
        self.api().from..=self.api().to.min(self.api().unstable_from.saturating_sub(1))
    }

    pub fn is_retired(self) -> bool {
        self.versions().is_empty()
    }

    pub fn on_broker(self) -> bool {
        self.api().on_broker
    }

    pub fn on_controller(self) -> bool {
        self.api().on_controller
    }

    /// Of the header before a request. Versions that nobody knows yet are flexible too.
    pub fn request_header_version(self, version: i16) -> i16 {
        if version >= self.api().flexible_from { 2 } else { 1 }
    }

    /// Of the header before a response. A client that opens with ApiVersions cannot know yet what
    /// the broker speaks, so that answer always has the oldest header.
    pub fn response_header_version(self, version: i16) -> i16 {
        let flexible = version >= self.api().flexible_from && self != ApiKey::ApiVersions;
        i16::from(flexible)
    }

    fn api(self) -> &'static Api {
        let i = APIS.binary_search_by_key(&self, |api| api.key);
        &APIS[i.expect("every key is in the table")]
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_and_only_the_four_of_zookeeper_are_retired() {
        for api in ApiKey::all() {
            assert_eq!(ApiKey::from_code(api.code()), Some(api));
            assert_eq!(api.is_retired(), (4..=7).contains(&api.code()), "{api}");
        }
        assert_eq!((ApiKey::from_code(-1), ApiKey::from_code(95)), (None, None));
    }

    #[test]
    fn an_answer_to_api_versions_always_has_the_oldest_header() {
        assert_eq!(ApiKey::ApiVersions.request_header_version(3), 2);
        assert_eq!(ApiKey::ApiVersions.response_header_version(3), 0);
        assert_eq!(ApiKey::Metadata.response_header_version(8), 0);
        assert_eq!(ApiKey::Metadata.response_header_version(9), 1);
    }
}
