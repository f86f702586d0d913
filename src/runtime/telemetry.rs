//! Logs to standard error; traces over OTLP when an endpoint is given; trace context that travels
//! with messages.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use thiserror::Error;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// What is logged when nobody says otherwise: what we do, and of the libraries only trouble.
/// Drivers tell their whole topology at info.
pub const DEFAULT_FILTER: &str = "info,lapin=warn,mongodb=warn,hyper=warn,hyper_util=warn,\
reqwest=warn,rustls=warn,h2=warn,opentelemetry=warn,opentelemetry_sdk=warn,opentelemetry_otlp=warn";

/// Added to every filter. lapin warns of a returned message by printing it, and messages hold phone
/// numbers; the adapter reports returned messages itself.
const SILENCED: &str = "lapin::returned_messages=off";

/// One export may take this long; it blocks nothing but the exporter's own thread.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// The most a stop waits for the last spans.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(700);

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people, with colours on a terminal.
    #[default]
    Pretty,
    /// One JSON object a line, for log collectors.
    Json,
}

/// What [`init`] sets up.
#[derive(Debug, Clone)]
pub struct TelemetryConfig {
    /// How log lines look.
    pub format: Format,
    /// `tracing` directives, such as [`DEFAULT_FILTER`]; empty means that.
    pub filter: String,
    /// Base URL of an OTLP collector (HTTP, protobuf): `/v1/traces` is appended. `None`: no traces.
    pub otlp_endpoint: Option<String>,
    /// The service's name in traces.
    pub service: String,
}

/// Why telemetry could not be set up.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The filter cannot be read.
    #[error("the log filter \"{filter}\" is not valid")]
    Filter {
        /// As given.
        filter: String,
        /// What is wrong.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The exporter could not be made, such as for a malformed URL or missing CA certificates.
    #[error("cannot export traces: {0}")]
    Exporter(String),
    /// A subscriber is there already.
    #[error("telemetry was set up before")]
    Twice,
}

/// Keeps the exporter going. Call [`TelemetryGuard::flush`] as the last thing of the process.
#[derive(Debug)]
#[must_use = "spans that wait for export are lost without a flush"]
pub struct TelemetryGuard {
    provider: Option<SdkTracerProvider>,
}

impl TelemetryGuard {
    /// Sends what waits and ends the exporter, in less than a second.
    pub async fn flush(self) {
        let Some(provider) = self.provider else {
            return;
        };
        // The exporter blocks its caller; on a worker thread it would wait for itself.
        let ended =
            tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_TIMEOUT));
        match tokio::time::timeout(FLUSH_TIMEOUT + Duration::from_millis(200), ended).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => {
                tracing::warn!(error = %error, "the last traces were not exported")
            }
            Ok(Err(error)) => tracing::warn!(error = %error, "the trace exporter failed"),
            Err(_) => tracing::warn!("the trace exporter did not end in time"),
        }
    }
}

/// Sets up logs and traces for this process. Call it once, after [`crate::tls::install`].
///
/// # Errors
/// For an unreadable filter or endpoint, and when called twice.
pub fn init(config: &TelemetryConfig) -> Result<TelemetryGuard, TelemetryError> {
    let filter = filter(&config.filter)?;
    // A line that cannot be written (a full disk) is lost: the layer would complain about it on
    // stderr, fail there too, and take whoever logged with it.
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    let lines = match config.format {
        Format::Pretty => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        Format::Json => lines
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .boxed(),
    };
    let provider = config
        .otlp_endpoint
        .as_deref()
        .filter(|endpoint| !endpoint.is_empty())
        .map(|endpoint| exporting(endpoint, &config.service))
        .transpose()?;
    let traces = provider
        .as_ref()
        .map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer("dialfleet")));
    tracing_subscriber::registry()
        .with(filter)
        .with(traces)
        .with(lines)
        .try_init()
        .map_err(|_| TelemetryError::Twice)?;
    Ok(TelemetryGuard { provider })
}

fn filter(directives: &str) -> Result<EnvFilter, TelemetryError> {
    let directives = if directives.trim().is_empty() {
        DEFAULT_FILTER
    } else {
        directives
    };
    let parse = |directives: &str| EnvFilter::builder().parse(directives);
    // Checked by itself first, so that the error names what was asked for and no more.
    parse(directives)
        .and_then(|_| parse(&format!("{directives},{SILENCED}")))
        .map_err(|source| TelemetryError::Filter {
            filter: directives.to_owned(),
            source,
        })
}

/// A provider whose batch processor exports on a thread of its own. That thread needs the blocking
/// HTTP client: with the asynchronous one nothing is exported, and flushing still reports success.
fn exporting(endpoint: &str, service: &str) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(traces_url(endpoint))
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|error| TelemetryError::Exporter(error.to_string()))?;
    Ok(SdkTracerProvider::builder()
        .with_resource(
            Resource::builder()
                .with_service_name(service.to_owned())
                .build(),
        )
        .with_batch_exporter(exporter)
        .build())
}

/// An endpoint given in code is used as it is, unlike one in the environment.
fn traces_url(endpoint: &str) -> String {
    let base = endpoint.trim_end_matches('/');
    if base.ends_with("/v1/traces") {
        base.to_owned()
    } else {
        format!("{base}/v1/traces")
    }
}

/// Puts the current span's W3C trace context into `headers`; nothing when traces are off.
pub fn inject(headers: &mut BTreeMap<String, String>) {
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut Headers(headers));
}

/// Makes `span` a child of the trace in `headers`, if there is one. Call it before the span is
/// entered: afterwards it has its place already.
pub fn set_parent(span: &Span, headers: &BTreeMap<String, String>) {
    let parent =
        TraceContextPropagator::new().extract_with_context(&Context::new(), &Carried(headers));
    if parent.span().span_context().is_valid() {
        // An error says that traces are off or the span runs already: nothing is lost but the link.
        let _ = span.set_parent(parent);
    }
}

struct Headers<'a>(&'a mut BTreeMap<String, String>);

impl Injector for Headers<'_> {
    fn set(&mut self, key: &str, value: String) {
        // An empty `tracestate` says nothing.
        if !value.is_empty() {
            self.0.insert(key.to_owned(), value);
        }
    }
}

struct Carried<'a>(&'a BTreeMap<String, String>);

impl Extractor for Carried<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn filters_are_checked_and_default() {
        assert!(filter(DEFAULT_FILTER).is_ok());
        assert!(filter(" ").unwrap().to_string().contains("lapin=warn"));
        let asked = filter("debug,lapin=trace").unwrap().to_string();
        assert!(asked.contains("lapin::returned_messages=off"), "{asked}");
        let error = filter("info,dialfleet=loud").unwrap_err();
        assert!(error.to_string().contains("dialfleet=loud"), "{error}");
    }

    #[test]
    fn the_traces_path_is_appended_once() {
        assert_eq!(
            traces_url("http://localhost:4318"),
            "http://localhost:4318/v1/traces"
        );
        assert_eq!(
            traces_url("http://localhost:4318/v1/traces/"),
            "http://localhost:4318/v1/traces"
        );
    }

    #[test]
    fn trace_context_travels_in_headers() {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let mut sent = BTreeMap::new();
            tracing::info_span!("sender").in_scope(|| inject(&mut sent));
            let trace = sent["traceparent"].split('-').nth(1).unwrap().to_owned();

            let receiver = tracing::info_span!("receiver");
            set_parent(&receiver, &sent);
            let mut passed_on = BTreeMap::new();
            receiver.in_scope(|| inject(&mut passed_on));
            assert_eq!(
                passed_on["traceparent"].split('-').nth(1),
                Some(trace.as_str())
            );
            assert_ne!(passed_on["traceparent"], sent["traceparent"]);

            set_parent(
                &tracing::info_span!("stranger"),
                &BTreeMap::from([("traceparent".into(), "x".into())]),
            );
        });
    }

    #[test]
    fn without_traces_nothing_is_injected() {
        let mut headers = BTreeMap::new();
        tracing::info_span!("plain").in_scope(|| inject(&mut headers));
        assert_eq!(headers, BTreeMap::new());
    }

    /// The trap this guards against: an exporter that drops everything and reports success.
    #[tokio::test]
    async fn a_flush_delivers_spans_to_the_collector() {
        crate::tls::install();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let collector = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = vec![0; 64 * 1024];
            let n = stream.read(&mut request).unwrap();
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .unwrap();
            String::from_utf8_lossy(&request[..n]).into_owned()
        });
        let provider = exporting(&endpoint, "dialfleet-test").unwrap();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info_span!("exported").in_scope(|| {});
        });
        TelemetryGuard {
            provider: Some(provider),
        }
        .flush()
        .await;
        let request = collector.join().unwrap();
        assert!(request.starts_with("POST /v1/traces "), "{request}");
    }
}
