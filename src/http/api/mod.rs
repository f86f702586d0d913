//! `/v1`: one file for each kind of thing. Handlers parse, call one use case, and show the answer.

pub(crate) mod call;
pub(crate) mod campaign;
pub(crate) mod carrier;
pub(crate) mod dnc;
pub(crate) mod import;
pub(crate) mod lead;
pub(crate) mod stream;
pub(crate) mod worker;

use dialfleet_domain::campaign::Campaign;
use dialfleet_domain::id::CampaignId;
use serde::Deserialize;

use crate::error::ApiError;
use crate::state::ApiState;

/// Items of a page, unless the client says otherwise, and at most.
const PAGE: (usize, usize) = (50, 200);

/// The parameters of a list without filters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Paging {
    pub(crate) cursor: Option<String>,
    pub(crate) limit: Option<usize>,
}

/// How many items a page shall have.
pub(crate) fn page_limit(asked: Option<usize>) -> Result<usize, ApiError> {
    let (usual, most) = PAGE;
    match asked.unwrap_or(usual) {
        limit if (1..=most).contains(&limit) => Ok(limit),
        limit => Err(ApiError::bad_request(
            "bad_query",
            format!("limit: must be 1 to {most}, not {limit}"),
        )),
    }
}

/// The id in a path. What cannot be one names nothing.
pub(crate) fn campaign_id(text: String) -> Result<CampaignId, ApiError> {
    CampaignId::parse(text).map_err(|_| ApiError::NotFound("campaign"))
}

/// The campaign in a path, if it is the caller's.
pub(crate) async fn campaign_of(app: &ApiState, id: String) -> Result<Campaign, ApiError> {
    app.fleet
        .campaign(&campaign_id(id)?)
        .await?
        .filter(|campaign| campaign.tenant == *app.tenant())
        .ok_or(ApiError::NotFound("campaign"))
}
