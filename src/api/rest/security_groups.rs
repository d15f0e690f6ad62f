//! `/v1/security-groups`: rules that allow packets to and from the interfaces that have a group.

use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{blocking, execute};
use crate::api::extract::{Json, NoQuery, PathParts, Query, State, double_option};
use crate::api::problem::Problem;
use crate::api::state::AppState;
use crate::control::ControlError;
use crate::model::naming::Tags;
use crate::model::security_group::{
    AuthorizeRules, CreateSecurityGroup, DeleteSecurityGroup, ModifyRules, ModifySecurityGroup, Peer, RevokeRules,
    RuleChange, RuleForm, RuleRef, RuleSpec, SecurityGroup, SecurityGroupError, SecurityGroupRule,
};
use crate::model::traffic::{Direction, Ports, Protocol};
use crate::model::{Command, ModelError, PrefixListId, ResourceRef, SecurityGroupId, SecurityGroupRuleId, VpcId};

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, modify, delete))
        .routes(routes!(authorize))
        .routes(routes!(replace_rule, revoke_rule))
        .routes(routes!(revoke))
}

/// A security group.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = SecurityGroup)]
pub struct SecurityGroupView {
    /// Its identifier.
    pub id: SecurityGroupId,
    /// Its unique name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its VPC.
    pub vpc_id: VpcId,
    /// What the EC2 API calls its name: unique within the VPC.
    #[schema(example = "default")]
    pub group_name: String,
    /// Free text.
    pub description: String,
    /// Whether it is the one of interfaces that name none.
    pub default: bool,
    /// What may come in.
    pub ingress: Vec<RuleView>,
    /// What may leave.
    pub egress: Vec<RuleView>,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

/// A rule of a security group.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = SecurityGroupRule)]
pub struct RuleView {
    /// Its identifier.
    pub id: SecurityGroupRuleId,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, `all`, or a number.
    #[schema(value_type = String, example = "tcp")]
    pub protocol: Protocol,
    /// Destination ports; of TCP and UDP alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "80")]
    pub ports: Option<Ports>,
    /// The ICMP type; absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    /// The ICMP code; absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_code: Option<u8>,
    /// The addresses of the other side, where the rule names some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "10.0.0.0/16")]
    pub cidr: Option<IpNet>,
    /// The prefix list of the other side, where the rule names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_list_id: Option<PrefixListId>,
    /// The security group of the other side, where the rule names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_id: Option<SecurityGroupId>,
    /// Free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

impl From<&SecurityGroupRule> for RuleView {
    fn from(rule: &SecurityGroupRule) -> Self {
        let messages = rule.traffic.messages();
        let (cidr, prefix_list_id, group_id) = match rule.peer {
            Peer::Cidr(net) => (Some(net), None, None),
            Peer::PrefixList(list) => (None, Some(list), None),
            Peer::Group(group) => (None, None, Some(group)),
        };
        Self {
            id: rule.id,
            protocol: rule.traffic.protocol(),
            ports: rule.traffic.ports(),
            icmp_type: messages.and_then(|messages| messages.kind()),
            icmp_code: messages.and_then(|messages| messages.code()),
            cidr,
            prefix_list_id,
            group_id,
            description: rule.description.clone(),
            tags: rule.tags.clone(),
        }
    }
}

impl From<&SecurityGroup> for SecurityGroupView {
    fn from(group: &SecurityGroup) -> Self {
        let rules = |direction| group.rules_of(direction).map(RuleView::from).collect();
        Self {
            id: group.id,
            name: group.name.clone(),
            vpc_id: group.vpc_id,
            group_name: group.group_name.clone(),
            description: group.description.clone(),
            default: group.is_default(),
            ingress: rules(Direction::Ingress),
            egress: rules(Direction::Egress),
            tags: group.tags.clone(),
        }
    }
}

/// Security groups.
#[derive(Debug, Serialize, ToSchema)]
struct SecurityGroupList {
    security_groups: Vec<SecurityGroupView>,
}

/// Which security groups to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SecurityGroupFilter {
    /// Of this VPC only: identifier or name.
    #[param(value_type = Option<String>)]
    vpc: Option<ResourceRef<VpcId>>,
}

/// A security group to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateSecurityGroupRequest {
    /// A name that no other security group has.
    name: Option<String>,
    /// The VPC: identifier or name.
    #[schema(value_type = String)]
    vpc: ResourceRef<VpcId>,
    /// A name that no other group of the VPC has, for the EC2 API; `name` if left out.
    group_name: Option<String>,
    /// Free text; the group's name if left out.
    description: Option<String>,
    /// What may come in.
    #[serde(default)]
    ingress: Vec<RuleForm>,
    /// What may leave; everything if left out.
    egress: Option<Vec<RuleForm>>,
    /// Tags.
    #[serde(default)]
    tags: Tags,
}

/// What changes about a security group; a field that is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ModifySecurityGroupRequest {
    /// Another name, or null for none.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<String>)]
    name: Option<Option<String>>,
    /// All that may come in; a rule that is there already keeps its identifier.
    ingress: Option<Vec<RuleForm>>,
    /// All that may leave.
    egress: Option<Vec<RuleForm>>,
    /// All tags.
    tags: Option<Tags>,
}

/// Rules to be added or taken away, all of them or none.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RulesRequest {
    /// Rules about what comes in.
    #[serde(default)]
    ingress: Vec<RuleForm>,
    /// Rules about what leaves.
    #[serde(default)]
    egress: Vec<RuleForm>,
}

impl RulesRequest {
    fn specs(&self) -> Result<Vec<RuleSpec>, Problem> {
        let mut specs = specs("ingress", Direction::Ingress, &self.ingress)?;
        specs.extend(self::specs("egress", Direction::Egress, &self.egress)?);
        match specs.is_empty() {
            true => Err(Problem::invalid("ingress", "There is no rule in the request")
                .remedy("Give a list of rules as 'ingress', 'egress', or both.")),
            false => Ok(specs),
        }
    }
}

/// The rules of a list; what is wrong with one is said with its place.
fn specs(list: &str, direction: Direction, forms: &[RuleForm]) -> Result<Vec<RuleSpec>, Problem> {
    let forms = forms.iter().enumerate();
    forms
        .map(|(place, form)| {
            form.spec(direction)
                .map_err(|error| misplaced(error, &format!("{list}[{place}]")))
        })
        .collect()
}

fn misplaced(error: SecurityGroupError, place: &str) -> Problem {
    let field = match error.field() {
        Some(field) => format!("{place}.{field}"),
        None => place.to_owned(),
    };
    Problem::from(ControlError::from(ModelError::from(error))).field(field)
}

fn reference(path: &PathParts) -> ResourceRef<SecurityGroupId> {
    ResourceRef::new(path.get("group"))
}

fn rule_id(path: &PathParts) -> Result<SecurityGroupRuleId, Problem> {
    let text = path.get("rule");
    text.parse()
        .map_err(|_| ControlError::from(ModelError::not_found::<SecurityGroupRuleId>(text)).into())
}

/// Lists security groups
#[utoipa::path(get, path = "/v1/security-groups", tag = "security-groups", operation_id = "list_security_groups",
    params(SecurityGroupFilter),
    responses(
        (status = 200, description = "Security groups, by identifier", body = SecurityGroupList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list(
    State(state): State<AppState>,
    Query(filter): Query<SecurityGroupFilter>,
) -> Result<axum::Json<SecurityGroupList>, Problem> {
    blocking(move || {
        let groups = state.controller.security_groups(filter.vpc.as_ref());
        let groups = groups.map_err(|error| Problem::from(error).named_in_body())?;
        let security_groups = groups.iter().map(SecurityGroupView::from).collect();
        Ok(axum::Json(SecurityGroupList { security_groups }))
    })
    .await
}

/// Makes a security group
#[utoipa::path(post, path = "/v1/security-groups", tag = "security-groups", operation_id = "create_security_group",
    request_body = CreateSecurityGroupRequest,
    responses(
        (status = 201, description = "The new group", body = SecurityGroupView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn create(
    State(state): State<AppState>,
    _: NoQuery,
    Json(request): Json<CreateSecurityGroupRequest>,
) -> Result<impl IntoResponse, Problem> {
    let egress = request.egress.as_deref();
    let command = CreateSecurityGroup {
        name: request.name,
        vpc: request.vpc,
        group_name: request.group_name,
        description: request.description,
        ingress: specs("ingress", Direction::Ingress, &request.ingress)?,
        egress: egress
            .map(|forms| specs("egress", Direction::Egress, forms))
            .transpose()?,
        tags: request.tags,
    };
    let view: SecurityGroupView = (&execute(state, command).await.map_err(Problem::named_in_body)?).into();
    let location = format!("/v1/security-groups/{}", view.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], axum::Json(view)))
}

/// Shows a security group
#[utoipa::path(get, path = "/v1/security-groups/{group}", tag = "security-groups", operation_id = "get_security_group",
    params(("group" = String, Path, description = "Identifier or name")),
    responses(
        (status = 200, description = "The group with its rules", body = SecurityGroupView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
) -> Result<axum::Json<SecurityGroupView>, Problem> {
    blocking(move || {
        Ok(axum::Json(
            (&state.controller.security_group(&reference(&path))?).into(),
        ))
    })
    .await
}

/// Changes a security group, all its rules at once if they are given
#[utoipa::path(patch, path = "/v1/security-groups/{group}", tag = "security-groups",
    operation_id = "modify_security_group",
    params(("group" = String, Path, description = "Identifier or name")), request_body = ModifySecurityGroupRequest,
    responses(
        (status = 200, description = "The group as it is now", body = SecurityGroupView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn modify(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
    Json(request): Json<ModifySecurityGroupRequest>,
) -> Result<axum::Json<SecurityGroupView>, Problem> {
    let all =
        |name, direction, forms: Option<&[RuleForm]>| forms.map(|forms| specs(name, direction, forms)).transpose();
    let command = ModifySecurityGroup {
        group: reference(&path),
        name: request.name,
        ingress: all("ingress", Direction::Ingress, request.ingress.as_deref())?,
        egress: all("egress", Direction::Egress, request.egress.as_deref())?,
        tags: request.tags,
    };
    Ok(axum::Json((&execute(state, command).await?).into()))
}

/// Deletes a security group that nothing needs
#[utoipa::path(delete, path = "/v1/security-groups/{group}", tag = "security-groups",
    operation_id = "delete_security_group",
    params(("group" = String, Path, description = "Identifier or name")),
    responses(
        (status = 204, description = "It is gone"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn delete(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<StatusCode, Problem> {
    execute(state, DeleteSecurityGroup(reference(&path))).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Edits a group that the path names, and gives it as it is afterwards. What the body names is another matter.
async fn edited<C>(
    state: AppState,
    group: ResourceRef<SecurityGroupId>,
    command: impl FnOnce(ResourceRef<SecurityGroupId>) -> C + Send + 'static,
) -> Result<axum::Json<SecurityGroupView>, Problem>
where
    C: Command<Error = ModelError> + Send + 'static,
{
    blocking(move || {
        let id: ResourceRef<SecurityGroupId> = state.controller.security_group(&group)?.id.into();
        let done = state.controller.execute(command(id.clone()));
        done.map_err(|error| Problem::from(error).named_in_body())?;
        Ok(axum::Json((&state.controller.security_group(&id)?).into()))
    })
    .await
}

/// Adds rules to a security group, all of them or none
#[utoipa::path(post, path = "/v1/security-groups/{group}/rules", tag = "security-groups",
    operation_id = "authorize_rules",
    params(("group" = String, Path, description = "Identifier or name")), request_body = RulesRequest,
    responses(
        (status = 200, description = "The group as it is now", body = SecurityGroupView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn authorize(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
    Json(request): Json<RulesRequest>,
) -> Result<axum::Json<SecurityGroupView>, Problem> {
    let rules = request.specs()?;
    edited(state, reference(&path), |group| AuthorizeRules { group, rules }).await
}

/// Takes rules away from a security group that allow exactly this, all of them or none
#[utoipa::path(post, path = "/v1/security-groups/{group}/revoke", tag = "security-groups",
    operation_id = "revoke_rules",
    params(("group" = String, Path, description = "Identifier or name")), request_body = RulesRequest,
    responses(
        (status = 200, description = "The group as it is now", body = SecurityGroupView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn revoke(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
    Json(request): Json<RulesRequest>,
) -> Result<axum::Json<SecurityGroupView>, Problem> {
    let like = |rule: RuleSpec| RuleRef::Like(rule.direction, rule.traffic, rule.peer);
    let rules = request.specs()?.into_iter().map(like).collect();
    let command = |group| RevokeRules {
        group,
        rules,
        direction: None,
    };
    edited(state, reference(&path), command).await
}

/// Gives a rule another meaning; it keeps its identifier
#[utoipa::path(put, path = "/v1/security-groups/{group}/rules/{rule}", tag = "security-groups",
    operation_id = "replace_rule",
    params(
        ("group" = String, Path, description = "Identifier or name"),
        ("rule" = String, Path, description = "Identifier"),
    ),
    request_body = RuleForm,
    responses(
        (status = 200, description = "The group as it is now", body = SecurityGroupView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn replace_rule(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
    Json(form): Json<RuleForm>,
) -> Result<axum::Json<SecurityGroupView>, Problem> {
    let rule = rule_id(&path)?;
    let refused = |error| Problem::from(ControlError::from(ModelError::from(error)));
    let change = RuleChange {
        traffic: form.traffic().map_err(refused)?,
        peer: form.peer().map_err(refused)?,
        description: form.description.filter(|text| !text.is_empty()),
    };
    let command = move |group| ModifyRules {
        group,
        rules: vec![(rule, change)],
    };
    edited(state, reference(&path), command).await
}

/// Takes a rule away from a security group
#[utoipa::path(delete, path = "/v1/security-groups/{group}/rules/{rule}", tag = "security-groups",
    operation_id = "revoke_rule",
    params(
        ("group" = String, Path, description = "Identifier or name"),
        ("rule" = String, Path, description = "Identifier"),
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn revoke_rule(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<StatusCode, Problem> {
    let command = RevokeRules {
        group: reference(&path),
        rules: vec![RuleRef::Id(rule_id(&path)?)],
        direction: None,
    };
    execute(state, command).await?;
    Ok(StatusCode::NO_CONTENT)
}
