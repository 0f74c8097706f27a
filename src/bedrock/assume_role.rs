//! The IAM role of `bedrock.role-arn`.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The ARN of an IAM role: `arn:aws:iam::123456789012:role/name`, in any partition, with or without a path before the name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct RoleArn(String);

/// Says that a text is no role's ARN.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not the ARN of an IAM role (example: `arn:aws:iam::123456789012:role/riverbed`)")]
pub struct NotARoleArn(String);

/// What the owner of a role requires when it is assumed; 2 to 1,224 letters, digits and `+=,.@:/-_` (STS API reference).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct ExternalId(String);

/// Says that a text cannot be an external id.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` cannot be an external id: it has 2 to 1224 letters, digits and characters of `+=,.@:/-_`")]
pub struct NotAnExternalId(String);

impl RoleArn {
    /// Returns the ARN.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ExternalId {
    /// Returns the id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RoleArn {
    type Error = NotARoleArn;

    fn try_from(arn: String) -> Result<Self, Self::Error> {
        let is_role = || {
            let mut parts = arn.splitn(6, ':');
            let starts = parts.next() == Some("arn") && parts.next().is_some_and(|partition| partition.starts_with("aws"));
            let is_iam = parts.next() == Some("iam") && parts.next() == Some("");
            let account = parts.next().unwrap_or_default();
            let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
            let name = parts.next().and_then(|resource| resource.strip_prefix("role/"));
            starts && is_iam && is_account && name.is_some_and(|name| !name.is_empty() && !name.ends_with('/'))
        };
        if is_role() && arn.bytes().all(|byte| byte.is_ascii_graphic()) { Ok(Self(arn)) } else { Err(NotARoleArn(arn)) }
    }
}

impl TryFrom<String> for ExternalId {
    type Error = NotAnExternalId;

    fn try_from(id: String) -> Result<Self, Self::Error> {
        let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@:/-_".contains(&byte);
        if (2..=1224).contains(&id.len()) && id.bytes().all(is_fit) { Ok(Self(id)) } else { Err(NotAnExternalId(id)) }
    }
}

impl From<RoleArn> for String {
    fn from(arn: RoleArn) -> Self {
        arn.0
    }
}

impl From<ExternalId> for String {
    fn from(id: ExternalId) -> Self {
        id.0
    }
}

impl fmt::Display for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_named_by_its_whole_arn() {
        for arn in [
            "arn:aws:iam::123456789012:role/riverbed",
            "arn:aws-us-gov:iam::123456789012:role/service-role/riverbed",
            "arn:aws-cn:iam::123456789012:role/a+b=c",
        ] {
            assert_eq!(RoleArn::try_from(arn.to_owned()).unwrap().as_str(), arn);
        }
        for other in [
            "riverbed",
            "",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::123456789012:user/someone",
            "arn:aws:iam::1234:role/riverbed",
            "arn:aws:sts::123456789012:assumed-role/riverbed/session",
            "arn:aws:iam::123456789012:role/two words",
        ] {
            assert!(RoleArn::try_from(other.to_owned()).is_err(), "{other}");
        }
    }

    #[test]
    fn an_external_id_is_what_sts_takes() {
        assert!(ExternalId::try_from("customer:42/a=b".to_owned()).is_ok());
        for other in ["", "x", "two words", "ümlaut", &"x".repeat(1225)] {
            assert!(ExternalId::try_from(other.to_owned()).is_err(), "{other}");
        }
    }
}
