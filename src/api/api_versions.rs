//! ApiVersions (key 18), versions 0 to 5: what this broker speaks, first question of every client.
//!
//!    3  the client names its software; flexible request, but the oldest response header
//!    4  features whose minimum is 0 are listed too
//!    5  the client may say which cluster and node it expects (KIP-1242)
//!
//! A version nobody knows is answered in version 0 with the versions we do speak (KIP-511).

use super::table::ADVERTISED;
use super::{Answer, Call, Context, Respond};
use crate::controller::features::FEATURES;
use crate::env::Env;
use crate::metadata::image::Image;
use crate::protocol::api::ApiKey;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::api_versions_request::ApiVersionsRequest;
use crate::protocol::messages::api_versions_response::{
    ApiVersion, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use crate::protocol::wire::Text;

const VERSION_MAX: i16 = 5;

pub(super) async fn answer<E: Env>(call: Call<E>) -> Answer<E> {
    let (api, correlation_id) = (call.frame.api, call.frame.correlation_id);
    if !(0..=VERSION_MAX).contains(&call.frame.version) {
        let own = ADVERTISED.iter().filter(|(key, _)| *key == ApiKey::ApiVersions);
        let response = ApiVersionsResponse {
            error_code: ErrorCode::UnsupportedVersion.code(),
            api_keys: api_keys(own),
            ..ApiVersionsResponse::default()
        };
        return Respond { api, version: 0, correlation_id }.with(&response, Vec::new());
    }
    call.serve(handle).await
}

async fn handle<E: Env>(ctx: Context<E>, request: ApiVersionsRequest) -> ApiVersionsResponse {
    if let Err(error) = check(&ctx, &request) {
        let error_code = error.code();
        return ApiVersionsResponse { error_code, ..ApiVersionsResponse::default() };
    }
    if ctx.version >= 3 {
        let software = (request.client_software_name, request.client_software_version);
        // Asked twice: the first word counts.
        let _ = ctx.client.software.set(software);
    }
    let image = ctx.broker.image();
    ApiVersionsResponse {
        api_keys: api_keys(ADVERTISED),
        supported_features: supported(ctx.version),
        finalized_features_epoch: image.provenance.end.0 - 1,
        finalized_features: finalized(&image),
        ..ApiVersionsResponse::default()
    }
}

fn check<E: Env>(ctx: &Context<E>, request: &ApiVersionsRequest) -> Result<(), ErrorCode> {
    let (name, version) = (&request.client_software_name, &request.client_software_version);
    if ctx.version >= 3 && !(is_software(name) && is_software(version)) {
        return Err(ErrorCode::InvalidRequest);
    }
    match (&request.cluster_id, request.node_id) {
        (None, -1) => Ok(()),
        (None, _) | (Some(_), -1) => Err(ErrorCode::InvalidRequest),
        (Some(cluster), node) => {
            let ours = **cluster == *ctx.broker.cluster_id() && node == ctx.broker.node().0;
            if ours { Ok(()) } else { Err(ErrorCode::RebootstrapRequired) }
        }
    }
}

/// Letters and digits, with `-` and `.` between them.
fn is_software(text: &str) -> bool {
    let ends = |end: Option<u8>| end.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    ends(text.bytes().next()) && ends(text.bytes().last()) && text.bytes().all(inner)
}

fn api_keys<'a>(
    apis: impl IntoIterator<Item = &'a (ApiKey, std::ops::RangeInclusive<i16>)>,
) -> Vec<ApiVersion> {
    let row = |(key, versions): &(ApiKey, std::ops::RangeInclusive<i16>)| ApiVersion {
        api_key: key.code(),
        min_version: *versions.start(),
        max_version: *versions.end(),
    };
    apis.into_iter().map(row).collect()
}

/// Clients below version 4 take a minimum of 0 for an error (KAFKA-17011).
fn supported(version: i16) -> Vec<SupportedFeatureKey> {
    let shown = FEATURES.iter().filter(|feature| version >= 4 || feature.range.min > 0);
    let shown = shown.map(|feature| SupportedFeatureKey {
        name: Text::new(feature.name),
        min_version: feature.range.min,
        max_version: feature.range.max,
    });
    shown.collect()
}

fn finalized(image: &Image) -> Vec<FinalizedFeatureKey> {
    let features = image.features.iter().map(|(name, &level)| FinalizedFeatureKey {
        name: Text::new(name),
        max_version_level: level,
        min_version_level: level,
    });
    features.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_names_follow_the_pattern_of_kip_511() {
        for good in ["a", "apache-kafka-java", "4.4.0", "librdkafka", "1"] {
            assert!(is_software(good), "{good}");
        }
        for bad in ["", "-a", "a-", ".a", "a b", "ä", "a_b"] {
            assert!(!is_software(bad), "{bad}");
        }
    }
}
