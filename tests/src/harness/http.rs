//! A small HTTP client, which shows an answer as it came: every header, each piece of a body, and
//! whether the body had its proper end.

use std::time::Duration;

use anyhow::{Context, Result};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::CONTENT_TYPE;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// For one answer, or for the next piece of one.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// A request, to be sent as often as one likes. Each time has a connection of its own.
#[derive(Clone, Debug)]
pub struct Call {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl Call {
    /// A request without a body.
    pub fn new(method: Method, path: &str) -> Self {
        Self {
            method,
            path: path.to_owned(),
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// A GET.
    pub fn get(path: &str) -> Self {
        Self::new(Method::GET, path)
    }

    /// A POST of JSON.
    pub fn post(path: &str, body: &Value) -> Self {
        Self::text(path, body.to_string())
    }

    /// A POST of what is said to be JSON.
    pub fn text(path: &str, body: impl Into<Bytes>) -> Self {
        Self {
            body: body.into(),
            ..Self::new(Method::POST, path)
        }
        .header("content-type", "application/json")
    }

    /// A PUT of JSON.
    pub fn put(path: &str, body: &Value) -> Self {
        Self {
            method: Method::PUT,
            ..Self::post(path, body)
        }
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends it, and gives the answer when its head is there.
    ///
    /// # Errors
    ///
    /// If the endpoint, as `http://127.0.0.1:8000`, cannot be reached or answers with no head in time.
    pub async fn send(&self, endpoint: &str) -> Result<Reply> {
        timeout(DEADLINE, self.send_patiently(endpoint))
            .await
            .with_context(|| format!("no answer from {endpoint}{}", self.path))?
    }

    /// As [`Call::send`], without a deadline.
    ///
    /// # Errors
    ///
    /// As [`Call::send`].
    pub async fn send_patiently(&self, endpoint: &str) -> Result<Reply> {
        let address = endpoint
            .strip_prefix("http://")
            .context("an http endpoint")?;
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("cannot connect to {address}"))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(&self.path);
        if !self.headers.iter().any(|(name, _)| name == "host") {
            request = request.header("host", address);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(self.body.clone()))?;
        let response = sender.send_request(request).await?;
        Ok(Reply { response })
    }

    /// Sends it, and gives the whole answer.
    ///
    /// # Errors
    ///
    /// As [`Call::send`], and if the answer breaks off.
    pub async fn answer(&self, endpoint: &str) -> Result<Answer> {
        timeout(DEADLINE, async {
            self.send_patiently(endpoint).await?.whole().await
        })
        .await
        .with_context(|| format!("no answer from {endpoint}{}", self.path))?
    }
}

/// An answer whose body is still to be read. Dropped, its connection is closed.
pub struct Reply {
    response: Response<Incoming>,
}

impl Reply {
    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Its headers.
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The next piece of the body, as it came. `None` at its proper end.
    ///
    /// # Errors
    ///
    /// If the body breaks off or stalls.
    pub async fn next(&mut self) -> Result<Option<String>> {
        loop {
            let frame = timeout(DEADLINE, self.response.body_mut().frame())
                .await
                .context("the stream stalls")?;
            match frame.transpose()? {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(String::from_utf8_lossy(&data).into_owned()));
                    }
                }
            }
        }
    }

    /// What the body holds until its end, proper or not, and whether it was a proper one.
    pub async fn to_its_end(mut self) -> (String, Result<()>) {
        let mut text = String::new();
        loop {
            match self.next().await {
                Ok(Some(piece)) => text += &piece,
                Ok(None) => return (text, Ok(())),
                Err(error) => return (text, Err(error)),
            }
        }
    }

    /// The whole answer.
    ///
    /// # Errors
    ///
    /// If its body breaks off.
    pub async fn whole(self) -> Result<Answer> {
        let (head, body) = self.response.into_parts();
        let bytes = body.collect().await?.to_bytes();
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            text: String::from_utf8_lossy(&bytes).into_owned(),
        })
    }
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub text: String,
}

impl Answer {
    /// A header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// Its `Content-Type`, without parameters.
    pub fn content_type(&self) -> &str {
        let kind = self.header(CONTENT_TYPE.as_str());
        kind.split(';').next().unwrap_or_default()
    }

    /// Its body as JSON.
    ///
    /// # Panics
    ///
    /// If it is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text)
            .unwrap_or_else(|error| panic!("this is no JSON: {error}: {self:#?}"))
    }

    /// Checks the status.
    ///
    /// # Panics
    ///
    /// With everything that came, if it is another one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "status of {self:#?}");
        self
    }
}
