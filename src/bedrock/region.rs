//! Which AWS region, and who says so.

use aws_config::Region;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::ProvideRegion as _;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_sdk_bedrockruntime::config::SharedHttpClient;

use super::Config;

/// Looks for the region where the SDK does and in its order, link by link, so that it can be told where it was found.
///
/// The last link asks the instance metadata service, unless `AWS_EC2_METADATA_DISABLED` is set.
pub(super) async fn find(config: &Config, http: SharedHttpClient) -> Option<(Region, &'static str)> {
    if let Some(region) = &config.region {
        return Some((Region::new(region.clone()), "bedrock.region"));
    }
    for variable in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
        // An empty one is none, though the SDK takes it for one: files for compose are full of them.
        if let Some(region) = std::env::var_os(variable).filter(|region| !region.to_string_lossy().trim().is_empty()) {
            return Some((Region::new(region.to_string_lossy().into_owned()), variable));
        }
    }
    let aws = ProviderConfig::without_region().with_http_client(http);
    let mut profile = ProfileFileRegionProvider::builder().configure(&aws);
    if let Some(name) = &config.profile {
        profile = profile.profile_name(name);
    }
    if let Some(region) = profile.build().region().await {
        return Some((region, "the AWS profile"));
    }
    let instance = ImdsRegionProvider::builder().configure(&aws).build().region().await;
    instance.map(|region| (region, "the instance"))
}
