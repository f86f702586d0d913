//! Questions about calls, and ending one. Nothing here can place a call: the only POST goes to the
//! address of an existing one.

use dialfleet_domain::id::CarrierCallId;
use dialfleet_domain::money::Money;
use dialfleet_engine::port::carrier::{CallRecord, CarrierError};
use form_urlencoded::Serializer;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, RequestBuilder};
use url::Url;

use super::dial::FORM;
use super::error::{ApiError, NOT_IN_PROGRESS};
use super::record::{CallJson, Page};
use crate::carrier::client::{self, Purpose};
use crate::carrier::scrub::Scrub;

/// The most Twilio gives.
const PAGE_SIZE: &str = "1000";
/// Pages of a list; a longer one is refused, because a part of it proves nothing.
const MAX_PAGES: usize = 20;
/// A page of 1,000 records has some 3 MB.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Asks.
pub(super) struct Lookups {
    http: Client,
    /// The base, without a slash at its end; `next_page_uri` is relative to it.
    base: String,
    /// `…/Accounts/{sid}`.
    account: Url,
    scrub: Scrub,
}

struct Answer {
    status: u16,
    body: bytes::Bytes,
}

impl Lookups {
    pub(super) fn new(
        purpose: &Purpose,
        base: String,
        account: Url,
        scrub: Scrub,
    ) -> Result<Self, reqwest::Error> {
        Ok(Self {
            http: client::build(purpose)?,
            base,
            account,
            scrub,
        })
    }

    pub(super) async fn call(&self, call: &CarrierCallId) -> Result<CallRecord, CarrierError> {
        let answer = self.send(self.http.get(self.call_url(call))).await?;
        let record = self
            .read::<CallJson>(&answer)?
            .record()
            .map_err(|why| self.unreadable(&why))?;
        if record.call_id == *call {
            Ok(record)
        } else {
            Err(self.unreadable("it is about another call"))
        }
    }

    /// What the record says that the call cost, if it says it yet.
    pub(super) async fn cost(&self, call: &CarrierCallId) -> Result<Option<Money>, CarrierError> {
        let answer = self.send(self.http.get(self.call_url(call))).await?;
        let record = self.read::<CallJson>(&answer)?;
        if record.sid != call.as_str() {
            return Err(self.unreadable("it is about another call"));
        }
        Ok(record.price())
    }

    pub(super) async fn hang_up(&self, call: &CarrierCallId) -> Result<(), CarrierError> {
        self.update(call, "Status=completed".to_owned()).await
    }

    /// Changes a live call.
    pub(super) async fn update(
        &self,
        call: &CarrierCallId,
        form: String,
    ) -> Result<(), CarrierError> {
        let request = self
            .http
            .post(self.call_url(call))
            .header(CONTENT_TYPE, FORM);
        let answer = self.send(request.body(form)).await?;
        if (200..300).contains(&answer.status) {
            return Ok(());
        }
        let code = ApiError::read(&answer.body).and_then(|error| error.code());
        match (answer.status, code) {
            (400..=499, Some(NOT_IN_PROGRESS)) => Err(CarrierError::AlreadyEnded),
            _ => Err(self.refused(&answer)),
        }
    }

    /// Every record the filters let through, newest first, all pages or an error.
    pub(super) async fn list(
        &self,
        filters: &[(&str, &str)],
    ) -> Result<Vec<CallRecord>, CarrierError> {
        let query = Serializer::new(String::new())
            .extend_pairs(filters)
            .append_pair("PageSize", PAGE_SIZE)
            .finish();
        let mut url = self.account.clone();
        client::push(&mut url, &["Calls.json"]);
        url.set_query(Some(&query));
        let mut records = Vec::new();
        for _ in 0..MAX_PAGES {
            let answer = self.send(self.http.get(url)).await?;
            let page = self.read::<Page>(&answer).map_err(|error| match error {
                // A list that does not exist is not an empty list.
                CarrierError::NotFound => self.unreadable("there is no list of calls"),
                error => error,
            })?;
            for call in page.calls {
                records.push(call.record().map_err(|why| self.unreadable(&why))?);
            }
            let Some(next) = page.next_page_uri.filter(|uri| !uri.is_empty()) else {
                records.sort_by_key(|record| std::cmp::Reverse(record.created_at));
                return Ok(records);
            };
            url = self.next_page(&next)?;
        }
        Err(CarrierError::Unavailable(format!(
            "the list has more than {MAX_PAGES} pages"
        )))
    }

    /// The next page's address, which must be where our credentials belong.
    fn next_page(&self, uri: &str) -> Result<Url, CarrierError> {
        let text = if uri.starts_with('/') {
            format!("{}{uri}", self.base)
        } else {
            uri.to_owned()
        };
        match Url::parse(&text) {
            Ok(url) if url.origin() == self.account.origin() => Ok(url),
            Ok(_) | Err(_) => Err(self.unreadable("the next page is somewhere else")),
        }
    }

    fn call_url(&self, call: &CarrierCallId) -> Url {
        let mut url = self.account.clone();
        client::push(&mut url, &["Calls", &format!("{call}.json")]);
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

    fn read<T: serde::de::DeserializeOwned>(&self, answer: &Answer) -> Result<T, CarrierError> {
        if answer.status != 200 {
            return Err(self.refused(answer));
        }
        serde_json::from_slice(&answer.body).map_err(|error| self.unreadable(&error.to_string()))
    }

    fn refused(&self, answer: &Answer) -> CarrierError {
        let error = ApiError::read(&answer.body);
        let message = error.as_ref().map_or("", ApiError::message);
        let code = error
            .as_ref()
            .and_then(ApiError::code)
            .map_or_else(String::new, |c| c.to_string());
        let said = self
            .scrub
            .clean(format!("HTTP {} {code} {message}", answer.status).trim_end());
        match answer.status {
            401 | 403 => CarrierError::Unauthorized(said),
            // Only in Twilio's own words; a gateway knows nothing about calls.
            404 if error.is_some() => CarrierError::NotFound,
            _ => CarrierError::Unavailable(said),
        }
    }

    fn unreadable(&self, why: &str) -> CarrierError {
        CarrierError::Unavailable(
            self.scrub
                .clean(&format!("the answer cannot be read: {why}")),
        )
    }
}
