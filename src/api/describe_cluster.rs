//! DescribeCluster (key 60), versions 0 to 2: the brokers and the controller.
//!
//!    1  asks for brokers (1) or controllers (2); only a controller's listener answers the latter
//!    2  fenced brokers on demand

use crate::api::Context;
use crate::api::operations::CLUSTER_OPERATIONS;
use crate::env::Env;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::describe_cluster_request::DescribeClusterRequest;
use crate::protocol::messages::describe_cluster_response::{
    DescribeClusterBroker, DescribeClusterResponse,
};
use crate::protocol::wire::Text;

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub async fn handle<E: Env>(
    ctx: Context<E>,
    request: DescribeClusterRequest,
) -> DescribeClusterResponse {
    match request.endpoint_type {
        BROKERS => {}
        CONTROLLERS => {
            let message = "the request was sent to a broker: it does not list controllers";
            return failed(ErrorCode::MismatchedEndpointType, message);
        }
        other => {
            let message = format!("endpoint type {other} is unknown");
            return failed(ErrorCode::UnsupportedEndpointType, &message);
        }
    }
    let image = ctx.broker.image();
    let listener = &ctx.client.listener;
    let shown =
        image.brokers.values().filter(|broker| !broker.fenced || request.include_fenced_brokers);
    let brokers = shown.filter_map(|broker| {
        let endpoint = broker.endpoint(listener)?;
        Some(DescribeClusterBroker {
            broker_id: broker.id.0,
            host: Text::new(&endpoint.host),
            port: i32::from(endpoint.port),
            rack: broker.rack.as_deref().map(Text::new),
            is_fenced: broker.fenced,
        })
    });
    let mut response = DescribeClusterResponse {
        endpoint_type: BROKERS,
        cluster_id: Text::new(ctx.broker.cluster_id()),
        controller_id: ctx.any_broker(&image),
        brokers: brokers.collect(),
        ..DescribeClusterResponse::default()
    };
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    response
}

fn failed(error: ErrorCode, message: &str) -> DescribeClusterResponse {
    DescribeClusterResponse {
        error_code: error.code(),
        error_message: Some(Text::new(message)),
        ..DescribeClusterResponse::default()
    }
}
