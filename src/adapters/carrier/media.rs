//! Fetching a recording from where a carrier says it is. Our credentials go to the carrier's own
//! address and nowhere else, whatever a redirection says.

use std::time::Duration;

use dialfleet_engine::port::media::{Download, MediaError};
use futures_util::{StreamExt, TryStreamExt};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{Client, Response, StatusCode};
use url::Url;

use super::client::{self, Purpose};
use super::scrub::Scrub;

/// Longer than anybody works on one recording.
const TOTAL: Duration = Duration::from_secs(600);

/// Fetches for one carrier account.
pub(super) struct Fetcher {
    http: Client,
    /// Where our credentials belong.
    home: Url,
    authorization: Option<HeaderValue>,
    scrub: Scrub,
}

impl Fetcher {
    /// `purpose` as for the account's other requests; its credentials, if there are any, are sent to
    /// `home` only.
    pub(super) fn new(purpose: Purpose, home: Url, scrub: Scrub) -> Result<Self, reqwest::Error> {
        let mut authorization = purpose.authorization.clone();
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
        }
        let http = client::build(&Purpose {
            authorization: None,
            total: TOTAL,
            ..purpose
        })?;
        Ok(Self {
            http,
            home,
            authorization,
            scrub,
        })
    }

    /// Begins to fetch what is at `url`, or at the one address it redirects to.
    pub(super) async fn fetch(&self, url: &Url) -> Result<Download, MediaError> {
        let answer = self.get(url, self.authorization.as_ref()).await?;
        let answer = match moved(url, &answer) {
            None => answer,
            // Nowhere else, and where a link is a key, two keys are one too many.
            Some(Some(next)) => self.get(&next, None).await?,
            Some(None) => {
                return Err(unavailable("it is moved to no usable address"));
            }
        };
        match answer.status() {
            StatusCode::OK => Ok(self.download(answer)),
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(MediaError::NotFound),
            status => Err(unavailable(&format!("HTTP {}", status.as_u16()))),
        }
    }

    async fn get(&self, url: &Url, key: Option<&HeaderValue>) -> Result<Response, MediaError> {
        // In clear only where the carrier itself is (a simulator).
        let plain = self.home.scheme() == "http" && url.scheme() == "http";
        let anonymous = url.username().is_empty() && url.password().is_none();
        if !(url.scheme() == "https" || plain) || !url.has_host() || !anonymous {
            return Err(unavailable("it is at an address that cannot be used"));
        }
        let mut request = self.http.get(url.clone());
        if let Some(value) = key
            && url.origin() == self.home.origin()
        {
            request = request.header(AUTHORIZATION, value.clone());
        }
        let failed = |error: reqwest::Error| unavailable(&self.scrub.chain(&error.without_url()));
        request.send().await.map_err(failed)
    }

    fn download(&self, answer: Response) -> Download {
        let content_type = answer.headers().get(CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        let scrub = self.scrub.clone();
        Download {
            content_type: content_type.unwrap_or_default().to_owned(),
            bytes: answer.content_length(),
            body: answer
                .bytes_stream()
                .map_err(move |error| unavailable(&scrub.chain(&error.without_url())))
                .boxed(),
        }
    }
}

/// Where an answer points to: `None` if it is no redirection.
fn moved(from: &Url, answer: &Response) -> Option<Option<Url>> {
    if ![301, 302, 303, 307, 308].contains(&answer.status().as_u16()) {
        return None;
    }
    let to = answer.headers().get(LOCATION);
    Some(to.and_then(|to| from.join(to.to_str().ok()?).ok()))
}

pub(super) fn unavailable(why: &str) -> MediaError {
    MediaError::Unavailable(why.to_owned())
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::carrier::Secret;
    use crate::carrier::test_server::{Reply, Server};

    fn fetcher(home: &str) -> Fetcher {
        let basic = STANDARD.encode("AC1:hunter2");
        let purpose = Purpose {
            connect: Duration::from_secs(1),
            total: Duration::from_secs(9),
            authorization: HeaderValue::try_from(format!("Basic {basic}")).ok(),
            system_roots: false,
        };
        let home = Url::parse(home).unwrap();
        Fetcher::new(purpose, home, Scrub::new([Secret::new("hunter2")])).unwrap()
    }

    fn sound() -> Reply {
        Reply::Whole(
            "HTTP/1.1 200 OK\r\ncontent-type: audio/x-wav\r\ncontent-length: 4\r\n\r\nRIFF"
                .to_owned(),
        )
    }

    fn redirect(to: &str) -> Reply {
        Reply::Whole(format!(
            "HTTP/1.1 307 T\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n"
        ))
    }

    async fn whole(fetched: Result<Download, MediaError>) -> Result<Vec<u8>, MediaError> {
        let chunks: Vec<_> = fetched?.body.try_collect().await?;
        Ok(chunks.concat())
    }

    fn has_key(server: &Server) -> Vec<bool> {
        let seen = server.seen().into_iter();
        seen.map(|r| r.to_ascii_lowercase().contains("authorization:"))
            .collect()
    }

    #[tokio::test]
    async fn credentials_stay_at_home() {
        let bucket = Server::start([sound()]).await;
        let home = Server::start([
            redirect(&format!("{}/x?sig=1", bucket.base_url)),
            redirect("/elsewhere"),
            sound(),
        ])
        .await;
        let fetcher = fetcher(&home.base_url);
        let url = Url::parse(&format!("{}/rec.wav", home.base_url)).unwrap();
        assert_eq!(whole(fetcher.fetch(&url).await).await.unwrap(), b"RIFF");
        assert_eq!(
            (has_key(&home), has_key(&bucket)),
            (vec![true], vec![false])
        );
        assert_eq!(whole(fetcher.fetch(&url).await).await.unwrap(), b"RIFF");
        assert_eq!(has_key(&home), [true, true, false], "not even within");
    }

    #[tokio::test]
    async fn what_cannot_be_had_is_said() {
        let home = Server::start([
            redirect("ftp://x/"),
            redirect("/again"),
            redirect("/and-again"),
            Reply::Whole("HTTP/1.1 404 N\r\ncontent-length: 0\r\n\r\n".to_owned()),
            Reply::Cut(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nRIFF".to_vec()),
        ])
        .await;
        let fetcher = fetcher(&home.base_url);
        let url = Url::parse(&format!("{}/rec.wav", home.base_url)).unwrap();
        let why = whole(fetcher.fetch(&url).await).await;
        assert!(matches!(why, Err(MediaError::Unavailable(_))), "{why:?}");
        let why = whole(fetcher.fetch(&url).await).await;
        assert_eq!(
            why,
            Err(unavailable("HTTP 307")),
            "one redirection is enough"
        );
        let why = whole(fetcher.fetch(&url).await).await;
        assert_eq!(why, Err(MediaError::NotFound));
        let why = whole(fetcher.fetch(&url).await).await;
        assert!(matches!(why, Err(MediaError::Unavailable(_))), "{why:?}");
        for elsewhere in ["file:///etc/passwd", "http://u:p@127.0.0.1/"] {
            let url = Url::parse(elsewhere).unwrap();
            let why = whole(fetcher.fetch(&url).await).await;
            assert!(matches!(why, Err(MediaError::Unavailable(_))), "{why:?}");
        }
    }
}
