//! Decides which actions of the EC2 API the role of an instance may call: the part of an IAM policy that names actions (IAM
//! guide, "Policy evaluation logic").

use serde::{Deserialize, Serialize};

use crate::model::error::ModelError;

/// The most patterns of a list.
const MOST: usize = 200;

/// The actions that an instance may call. An action that is denied is refused, even if it is allowed too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct IamPolicy {
    /// The allowed actions, as in `ec2:Describe*`; all if left out. `*` stands for any letters, `?` for one; case does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    /// The denied actions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
}

/// Why a policy refuses an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyRefusal {
    /// It is denied.
    Denied,
    /// It is not allowed.
    NotAllowed,
}

impl IamPolicy {
    /// Whether an action, as in `ec2:DescribeVpcs`, may be called.
    pub fn permits(&self, action: &str) -> Result<(), PolicyRefusal> {
        let among = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, action));
        if among(&self.deny) {
            return Err(PolicyRefusal::Denied);
        }
        match &self.allow {
            Some(allowed) if !among(allowed) => Err(PolicyRefusal::NotAllowed),
            _ => Ok(()),
        }
    }

    /// Refuses patterns that IAM does not take, and those that no action of EC2 or STS has.
    pub(super) fn check(&self) -> Result<(), ModelError> {
        let lists = [
            ("metadata.iam_policy.allow", self.allow.as_deref().unwrap_or_default()),
            ("metadata.iam_policy.deny", self.deny.as_slice()),
        ];
        for (field, patterns) in lists {
            let wrong = |given, remedy| Err(ModelError::OutOfRange { field, given, remedy });
            if patterns.len() > MOST {
                return wrong(format!("{} patterns", patterns.len()), "Give at most 200.");
            }
            if let Some(bad) = patterns.iter().find(|pattern| !is_pattern(pattern)) {
                let shown: String = bad.chars().take(100).collect();
                let remedy = "Give '*', or a service and an action as in ec2:Describe*; the services are ec2 and sts.";
                return wrong(format!("'{shown}'"), remedy);
            }
        }
        Ok(())
    }
}

fn is_pattern(text: &str) -> bool {
    let of_action = |action: &str| {
        (1..=128).contains(&action.len()) && action.chars().all(|c| c.is_ascii_alphanumeric() || "*?".contains(c))
    };
    text == "*"
        || text.split_once(':').is_some_and(|(service, action)| {
            ["ec2", "sts"].iter().any(|known| service.eq_ignore_ascii_case(known)) && of_action(action)
        })
}

/// Whether a text is one that a pattern stands for. It goes back to the latest `*` only, so that its time is at most the product
/// of the lengths.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut read) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(letter) = text.get(read) {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at + 1, read));
                at += 1;
            }
            Some(wanted) if *wanted == b'?' || wanted.eq_ignore_ascii_case(letter) => {
                at += 1;
                read += 1;
            }
            _ => match star {
                Some((after, taken)) => {
                    star = Some((after, taken + 1));
                    (at, read) = (after, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(at).all(|rest| *rest == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> IamPolicy {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn an_action_is_called_if_it_is_allowed_and_not_denied() {
        let (denied, not_allowed) = (Err(PolicyRefusal::Denied), Err(PolicyRefusal::NotAllowed));
        for (text, action, wanted) in [
            ("{}", "ec2:CreateVpc", Ok(())),
            (r#"{"allow": ["*"]}"#, "ec2:CreateVpc", Ok(())),
            (r#"{"allow": []}"#, "ec2:CreateVpc", not_allowed),
            (r#"{"allow": ["ec2:Describe*"]}"#, "ec2:DescribeVpcs", Ok(())),
            (r#"{"allow": ["EC2:describe*"]}"#, "ec2:DescribeVpcs", Ok(())),
            (r#"{"allow": ["ec2:Describe*"]}"#, "ec2:CreateVpc", not_allowed),
            (r#"{"allow": ["ec2:DescribeVpc?"]}"#, "ec2:DescribeVpcs", Ok(())),
            (r#"{"allow": ["ec2:DescribeVpc?"]}"#, "ec2:DescribeVpc", not_allowed),
            (
                r#"{"allow": ["ec2:*Private*Addresses"]}"#,
                "ec2:AssignPrivateIpAddresses",
                Ok(()),
            ),
            (r#"{"allow": ["ec2:*Private*"]}"#, "sts:AssumeRole", not_allowed),
            (r#"{"deny": ["ec2:Assign*"]}"#, "ec2:AssignPrivateIpAddresses", denied),
            (r#"{"deny": ["ec2:Assign*"]}"#, "ec2:UnassignPrivateIpAddresses", Ok(())),
            (r#"{"allow": ["*"], "deny": ["sts:*"]}"#, "sts:AssumeRole", denied),
            (
                r#"{"allow": ["ec2:Describe*"], "deny": ["ec2:*"]}"#,
                "ec2:DescribeVpcs",
                denied,
            ),
        ] {
            assert_eq!(policy(text).permits(action), wanted, "{text} {action}");
        }
    }

    #[test]
    fn a_pattern_that_iam_does_not_take_is_refused_by_field() {
        for good in ["*", "ec2:*", "EC2:Describe?pcs", "sts:AssumeRole"] {
            policy(&format!(r#"{{"deny": ["{good}"]}}"#)).check().unwrap();
        }
        for bad in [
            "",
            "DescribeVpcs",
            "ec2:",
            "s3:GetObject",
            "ec2*:Describe",
            "ec2:Describe Vpcs",
            "ec2:a:b",
        ] {
            let error = policy(&format!(r#"{{"deny": ["{bad}"]}}"#)).check().unwrap_err();
            assert_eq!(error.field(), Some("metadata.iam_policy.deny"), "{bad}");
        }
        let many = IamPolicy {
            allow: Some(vec!["*".to_owned(); MOST + 1]),
            deny: Vec::new(),
        };
        assert_eq!(many.check().unwrap_err().field(), Some("metadata.iam_policy.allow"));
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = "*a".repeat(60);
        assert!(!matches(&pattern, &"a".repeat(59)));
        assert!(matches(&pattern, &"a".repeat(10_000)));
    }
}
