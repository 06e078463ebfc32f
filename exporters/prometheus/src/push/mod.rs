//! `pushgateway`: a run's final numbers in a Pushgateway, from where Prometheus fetches them.

mod config;
mod gateway;
mod group;

pub use config::PushgatewayConfig;
pub use gateway::{Gateway, PushgatewayExporter};
pub use group::group;
