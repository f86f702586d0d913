//! Requests about calls that exist, and lists read to their last page.

use bytes::Bytes;
use dialfleet_engine::port::carrier::CarrierError;
use form_urlencoded::Serializer;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::error::ApiErrors;
use crate::carrier::client::{self, push};
use crate::carrier::scrub::Scrub;

pub(super) const JSON: &str = "application/json";
/// The most Telnyx gives.
const PAGE_SIZE: &str = "250";
/// Pages of a list; a longer one is refused, because a part of it proves nothing.
const MAX_PAGES: usize = 40;
/// A page of 250 events has some 500 kB.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Asks, and commands.
pub(super) struct Api {
    http: Client,
    /// `…/v2`.
    base: Url,
    scrub: Scrub,
}

pub(super) struct Answer {
    pub(super) status: u16,
    body: Bytes,
}

impl Answer {
    pub(super) fn errors(&self) -> Option<ApiErrors> {
        ApiErrors::read(&self.body)
    }
}

/// `{"data": …}`.
#[derive(Deserialize)]
struct Whole<T> {
    data: T,
}

/// One page of a list. Both fields must be there: what lacks them is no page, and an empty list is a
/// claim that there is nothing.
#[derive(Deserialize)]
struct Page<T> {
    data: Vec<T>,
    meta: Meta,
}

/// Where a list goes on. Telnyx has two ways of paging, and documents one list in both.
#[derive(Deserialize)]
struct Meta {
    #[serde(default)]
    page_number: Option<u64>,
    #[serde(default)]
    total_pages: Option<u64>,
    #[serde(default)]
    total_items: Option<usize>,
    #[serde(default)]
    cursors: Option<Cursors>,
}

#[derive(Deserialize)]
struct Cursors {
    #[serde(default)]
    after: Option<String>,
}

impl Api {
    /// `base` ends in `/v2`.
    pub(super) fn new(http: Client, base: Url, scrub: Scrub) -> Self {
        Self { http, base, scrub }
    }

    /// One record.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, CarrierError> {
        let answer = self.send(self.http.get(self.url(path, &[]))).await?;
        Ok(self.read::<Whole<T>>(&answer)?.data)
    }

    /// Every record that the filters let through, all pages or an error.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        path: &[&str],
        filters: &[(&str, &str)],
    ) -> Result<Vec<T>, CarrierError> {
        let mut records = Vec::new();
        let mut turn: Vec<(&str, String)> = Vec::new();
        for _ in 0..MAX_PAGES {
            let mut query: Vec<(&str, &str)> = filters.to_vec();
            query.push(("page[size]", PAGE_SIZE));
            query.extend(turn.iter().map(|(key, value)| (*key, value.as_str())));
            let answer = self.send(self.http.get(self.url(path, &query))).await?;
            let page: Page<T> = self.read(&answer).map_err(|error| match error {
                // A list that does not exist is not an empty list.
                CarrierError::NotFound => self.unreadable("there is no such list"),
                error => error,
            })?;
            records.extend(page.data);
            match self.next(&page.meta, records.len())? {
                Some(next) => turn = next,
                None => return Ok(records),
            }
        }
        Err(CarrierError::Unavailable(format!(
            "the list has more than {MAX_PAGES} pages"
        )))
    }

    /// What asks for the next page; `None` after the last one.
    fn next(
        &self,
        meta: &Meta,
        read: usize,
    ) -> Result<Option<Vec<(&'static str, String)>>, CarrierError> {
        if let (Some(number), Some(total)) = (meta.page_number, meta.total_pages) {
            let next = number.saturating_add(1);
            return Ok((number < total).then(|| vec![("page[number]", next.to_string())]));
        }
        let after = meta.cursors.as_ref().and_then(|c| c.after.clone());
        if let Some(after) = after.filter(|after| !after.is_empty()) {
            // The name of the size where pages have cursors: known by the first answer, and published for
            // such lists only.
            let limit = ("page[limit]", PAGE_SIZE.to_owned());
            return Ok(Some(vec![limit, ("page[after]", after)]));
        }
        match (meta.total_items, &meta.cursors) {
            (Some(total), _) if total > read => Err(self.unreadable("the list breaks off")),
            (Some(_), _) | (None, Some(_)) => Ok(None),
            (None, None) => Err(self.unreadable("nobody can tell whether the list is complete")),
        }
    }

    /// Gives a command on a call.
    pub(super) async fn command(
        &self,
        path: &[&str],
        body: &Value,
    ) -> Result<Answer, CarrierError> {
        let request = self.http.post(self.url(path, &[]));
        let request = request.header(CONTENT_TYPE, JSON).body(body.to_string());
        self.send(request).await
    }

    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        push(&mut url, path);
        if !query.is_empty() {
            let query = Serializer::new(String::new()).extend_pairs(query).finish();
            url.set_query(Some(&query));
        }
        url
    }

    async fn send(&self, request: RequestBuilder) -> Result<Answer, CarrierError> {
        let unavailable =
            |error: &dyn std::error::Error| CarrierError::Unavailable(self.scrub.chain(error));
        let response = request
            .send()
            .await
            .map_err(|error| unavailable(&error.without_url()))?;
        let status = response.status().as_u16();
        let body = client::read(response, MAX_ANSWER)
            .await
            .map_err(|error| unavailable(&error))?;
        Ok(Answer { status, body })
    }

    fn read<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T, CarrierError> {
        if answer.status != 200 {
            return Err(self.refused(answer));
        }
        serde_json::from_slice(&answer.body).map_err(|error| self.unreadable(&error.to_string()))
    }

    /// An answer that is not the one asked for.
    pub(super) fn refused(&self, answer: &Answer) -> CarrierError {
        let errors = answer.errors();
        let said = errors
            .as_ref()
            .map_or_else(String::new, ApiErrors::sentence);
        let status = answer.status;
        let said = self.scrub.clean(format!("HTTP {status} {said}").trim_end());
        match (status, &errors) {
            (401..=403, _) => CarrierError::Unauthorized(said),
            // Only in Telnyx's own words; a gateway knows nothing about calls.
            (404 | 422, Some(errors)) if errors.is_about_no_call() => CarrierError::NotFound,
            _ => CarrierError::Unavailable(said),
        }
    }

    pub(super) fn unreadable(&self, why: &str) -> CarrierError {
        let said = format!("the answer cannot be read: {why}");
        CarrierError::Unavailable(self.scrub.clean(&said))
    }
}
