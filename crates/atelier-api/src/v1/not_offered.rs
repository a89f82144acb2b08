//! The operations of the contract that this server does not offer.
//!
//! A client that calls one of them is told so by name (6651), after it has proved who it is: "no such path" would send
//! it looking for a mistake of its own. The table is compared with the contract by a test, so that an operation is
//! either served or listed here.

use atelier_core::refusal::Refusal;
use axum::Router;
use axum::routing::{MethodFilter, on};

use crate::Api;
use crate::answer::Refused;
use crate::call::Call;

/// Method, path, operation.
pub(crate) const NOT_OFFERED: &[(MethodFilter, &str, &str)] = &[
    (MethodFilter::POST, "/v1/{project_id}/notebooks/{id}/create-image", "CreateImage"),
    (MethodFilter::POST, "/v1/{project_id}/images", "RegisterImage"),
    (MethodFilter::GET, "/v1/{project_id}/images/{id}", "ShowImage"),
    (MethodFilter::DELETE, "/v1/{project_id}/images/{id}", "DeleteImage"),
    (MethodFilter::GET, "/v1/{project_id}/images/group", "ListImageGroup"),
    (MethodFilter::PUT, "/v1/{project_id}/images/group/{id}", "UpdateImageGroup"),
    (MethodFilter::DELETE, "/v1/{project_id}/images/group/{id}", "DeleteImageGroup"),
    (MethodFilter::POST, "/v1/{project_id}/images/{image_id}/sync", "SyncImage"),
    (MethodFilter::GET, "/v1/{project_id}/notebooks/{instance_id}/storage", "ListDynamicStorages"),
    (MethodFilter::POST, "/v1/{project_id}/notebooks/{instance_id}/storage", "AttachDynamicStorage"),
    (MethodFilter::GET, "/v1/{project_id}/notebooks/{instance_id}/storage/{storage_id}", "ShowDynamicStorage"),
    (MethodFilter::DELETE, "/v1/{project_id}/notebooks/{instance_id}/storage/{storage_id}", "DetachDynamicStorage"),
    (MethodFilter::POST, "/v1/{project_id}/workspaces", "CreateWorkspace"),
    (MethodFilter::GET, "/v1/{project_id}/workspaces", "ListWorkspace"),
    (MethodFilter::GET, "/v1/{project_id}/workspaces/{workspace_id}", "ShowWorkspace"),
    (MethodFilter::PUT, "/v1/{project_id}/workspaces/{workspace_id}", "UpdateWorkspace"),
    (MethodFilter::DELETE, "/v1/{project_id}/workspaces/{workspace_id}", "DeleteWorkspace"),
    (MethodFilter::GET, "/v1/{project_id}/workspaces/{workspace_id}/quotas", "ShowWorkspaceQuotas"),
    (MethodFilter::PUT, "/v1/{project_id}/workspaces/{workspace_id}/quotas", "UpdateWorkspaceQuotas"),
    (MethodFilter::GET, "/v1/{project_id}/workspaces/users/list", "ListUsers"),
    (MethodFilter::POST, "/v1/{project_id}/workspaces/{workspace_id}/auth", "ValidateAuthorization"),
];

/// The routes of the table.
pub(crate) fn routes(router: Router<Api>) -> Router<Api> {
    NOT_OFFERED.iter().fold(router, |router, &(method, path, operation)| {
        let refuse = move |_: Call| async move { Refused::from(Refusal::unsupported(&format!("`{operation}`"))) };
        router.route(path, on(method, refuse))
    })
}
