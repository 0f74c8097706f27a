//! The status as Prometheus metrics: in its text format, or on request in `OpenMetrics`.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write as _};

use hyper::HeaderMap;
use hyper::header::ACCEPT;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::schema::{Calls, Documents, Skipped, State, Status};
use crate::telemetry::Meters;
use crate::throttle::gate::Reason;

/// How metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Prometheus' text format, which every reader of metrics knows.
    Text,
    /// `OpenMetrics`.
    OpenMetrics,
}

/// The media type of `OpenMetrics`.
const OPEN_METRICS: &str = "application/openmetrics-text";

impl Format {
    /// Returns what those want who accept these media types: `OpenMetrics` only where it is named, in a version that this is, and
    /// nothing else is wanted more.
    pub(super) fn accepted(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
        let (mut open, mut text) = (0.0_f32, 0.0_f32);
        for range in accepted {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut weight, mut version) = (1.0, "");
            for (key, value) in parts.filter_map(|part| part.split_once('=')) {
                match key.trim().to_ascii_lowercase().as_str() {
                    "q" => weight = value.trim().parse::<f32>().ok().filter(|weight| (0.0..=1.0).contains(weight)).unwrap_or(0.0),
                    "version" => version = value.trim().trim_matches('"'),
                    _ => {}
                }
            }
            // A range without a version takes any.
            match &*name {
                OPEN_METRICS if ["", "0.0.1", "1.0.0"].contains(&version) => open = open.max(weight),
                "text/plain" if ["", "0.0.4", "1.0.0"].contains(&version) => text = text.max(weight),
                _ => {}
            }
        }
        if open > 0.0 && open >= text { Self::OpenMetrics } else { Self::Text }
    }

    /// Returns its media type.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Returns the status as metrics, with what is measured.
pub(super) fn render(status: Status, meters: &Meters, format: Format) -> String {
    let text = open_metrics(status, meters);
    match format {
        Format::OpenMetrics => text,
        Format::Text => as_text(&text),
    }
}

/// Writes `OpenMetrics` as the older format has it: a family has the name of its samples, there are no units and no end, and what the
/// format has no type for is a gauge.
fn as_text(open_metrics: &str) -> String {
    let lines = open_metrics.lines();
    let types = lines.clone().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let types: HashMap<_, _> = types.collect();
    let mut text = String::with_capacity(open_metrics.len());
    for line in lines {
        let Some(comment) = line.strip_prefix("# ") else {
            text.push_str(line);
            text.push('\n');
            continue;
        };
        let mut words = comment.splitn(3, ' ');
        let (Some(what), Some(family), rest) = (words.next(), words.next(), words.next().unwrap_or_default()) else { continue };
        let (suffix, kind) = match types.get(family).copied() {
            Some("counter") => ("_total", "counter"),
            Some("info") => ("_info", "gauge"),
            Some("stateset") => ("", "gauge"),
            Some("unknown") | None => ("", "untyped"),
            Some(kind) => ("", kind),
        };
        let _infallible = match what {
            "TYPE" => writeln!(text, "# TYPE {family}{suffix} {kind}"),
            // Quotes are not escaped there.
            "HELP" => writeln!(text, "# HELP {family}{suffix} {}", rest.replace(r#"\""#, "\"")),
            _ => Ok(()),
        };
    }
    text
}

fn open_metrics(status: Status, meters: &Meters) -> String {
    let mut registry = Registry::with_prefix("riverbed");
    meters.register(&mut registry);
    registry.register_collector(Box::new(Snapshot(status)));
    let mut text = String::new();
    encode(&mut text, &registry).expect("writing to a string cannot fail");
    text
}

#[derive(Debug)]
struct Snapshot(Status);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self(status) = self;
        let mut write = Writer(&mut encoder);
        write.build(&status.version)?;
        let is_ready = u64::from(status.state == State::Following);
        write.gauge("ready", "Whether the source folder is followed", is_ready)?;
        documents(&mut write, &status.documents)?;
        skipped(&mut write, &status.skipped)?;
        since_start(&mut write, status)?;
        models(&mut write, status)?;
        storage(&mut write, status)?;
        configuration(&mut write, status)?;
        let day = &status.money;
        write.gauge("day_cost_usd", "Cost of today (UTC), as far as prices are known", day.today_usd)?;
        write.gauge("day_unpriced_calls", "Calls of today at an unknown price", day.today_unpriced_calls)?;
        if let (Some(max), Some(left)) = (day.budget_usd, day.budget_left_usd) {
            write.gauge("day_budget_usd", "Daily budget", max)?;
            write.gauge("day_budget_left_usd", "Rest of the daily budget, less reservations of calls in flight", left)?;
        }
        if let (Some(max), Some(left)) = (day.chat_budget_usd, day.chat_budget_left_usd) {
            write.gauge("day_chat_budget_usd", "Daily budget for chat", max)?;
            write.gauge(
                "day_chat_budget_left_usd",
                "Rest of the daily chat budget, less reservations of calls in flight",
                left,
            )?;
        }
        Ok(())
    }
}

fn documents(write: &mut Writer<'_, '_>, documents: &Documents) -> fmt::Result {
    let Documents { waiting, done, failed, skipped, gone, oldest_waiting_seconds, since_start } = documents;
    let states = [("waiting", waiting), ("done", done), ("failed", failed), ("skipped", skipped), ("gone", gone)];
    write.gauges("documents_standing", "Documents by state", "state", states.map(|(state, count)| (state, *count)))?;
    let oldest = oldest_waiting_seconds.unwrap_or_default();
    write.gauge("oldest_waiting_seconds", "Age of the oldest pending document", oldest)?;
    if let Some(ended) = since_start {
        let outcomes = [
            ("done", ended.done),
            ("failed", ended.failed),
            ("skipped", ended.skipped),
            ("gone", ended.gone),
            ("unchanged", ended.unchanged),
        ];
        write.counters("documents_ended", "Documents that reached an outcome since the start", "outcome", outcomes)?;
    }
    Ok(())
}

fn skipped(write: &mut Writer<'_, '_>, skipped: &[Skipped]) -> fmt::Result {
    let mut files = BTreeMap::new();
    for of in skipped {
        *files.entry((of.media_type.as_deref().unwrap_or("unknown"), of.class.as_str())).or_insert(0_u64) += of.files;
    }
    let files = files.into_iter().map(|((media_type, reason), files)| ([("media_type", media_type), ("reason", reason)], files));
    write.family("documents_skipped", "Files that hold no document, by media type and reason", files)
}

fn since_start(write: &mut Writer<'_, '_>, status: &Status) -> fmt::Result {
    if let Some(chunks) = &status.chunks {
        let outcomes = [
            ("planned", chunks.planned),
            ("embedded", chunks.embedded),
            ("cached", chunks.cached),
            ("rejected", chunks.rejected),
            ("kept", chunks.kept),
            ("retracted", chunks.retracted),
            ("repaid", chunks.repaid),
        ];
        let help = "Chunks since the start by outcome (cached ones count as embedded too)";
        write.counters("chunks", help, "outcome", outcomes)?;
    }
    let (embed, chat) = (status.calls.unwrap_or_default(), status.questions.unwrap_or_default());
    let by = |of: fn(&Calls) -> u64| [("embed", of(&embed)), ("chat", of(&chat))];
    write.gauges("calls_in_flight", "Calls in flight", "operation", by(|calls| calls.in_flight))?;
    write.counter("texts", "Texts in answered calls for vectors", embed.texts)?;
    let help = "Tokens billed, estimated where the service does not say; for chat the input tokens";
    write.counters("tokens", help, "operation", by(|calls| calls.tokens))?;
    write.counters("retries", "Retried attempts", "operation", by(|calls| calls.retried))?;
    write.counters("throttles", "Throttled attempts", "operation", by(|calls| calls.throttled))?;
    let cost = [("embed", embed.usd), ("chat", chat.usd)];
    write.counters("cost_usd", "Cost since the start, as far as prices are known", "operation", cost)?;
    let answers = &status.answers;
    let states = [("standing", answers.done), ("waiting", answers.waiting), ("failed", answers.failed)];
    let help = "Chat answers by state: current, pending, failed";
    write.gauges("answers", help, "state", states)
}

fn models(write: &mut Writer<'_, '_>, status: &Status) -> fmt::Result {
    let rates = [
        ("limiter_requests_per_second", "Limit on requests per second; absent while unpaced"),
        ("limiter_tokens_per_second", "Limit on tokens per second; absent while unpaced"),
        ("limiter_requests_ceiling", "Requests per second at which throttling begins, once known"),
        ("limiter_tokens_ceiling", "Tokens per second at which throttling begins, once known"),
    ];
    for (at, (name, help)) in rates.into_iter().enumerate() {
        let rates = status.models.iter().filter_map(|model| {
            let rates = [model.requests_per_second, model.tokens_per_second, model.requests_ceiling, model.tokens_ceiling];
            Some((model.name.as_str(), rates[at]?))
        });
        write.gauges(name, help, "lane", rates)?;
    }
    let closed = status.models.iter().flat_map(|model| {
        Reason::ALL.map(|reason| {
            let is_closed = model.closed.iter().any(|closed| closed.reason == reason.as_str());
            ([("lane", model.name.as_str()), ("reason", reason.as_str())], u64::from(is_closed))
        })
    });
    write.family("gate_closed", "Whether calls are held back, by reason", closed)
}

fn storage(write: &mut Writer<'_, '_>, status: &Status) -> fmt::Result {
    let queues = || status.queues.iter();
    let held = queues().map(|queue| (queue.name.as_str(), queue.held as u64));
    write.gauges("queue_held", "Content of the queues between the stages", "queue", held)?;
    let capacity = queues().map(|queue| (queue.name.as_str(), queue.capacity as u64));
    write.gauges("queue_capacity", "Capacity of the queues between the stages", "queue", capacity)?;
    write.gauge("ledger_bytes", "Size of the ledger with its log", status.storage.ledger_bytes)?;
    write.gauge("cache_bytes", "Size of the vector cache in the ledger", status.storage.cache_bytes)?;
    let outputs = || status.storage.outputs.iter();
    let of = |name: &'static str, help: &'static str| (name, help);
    for ((name, help), values) in [
        (of("output_files", "Files of the output"), outputs().map(|output| output.files).collect::<Vec<_>>()),
        (of("output_bytes", "Size of the output"), outputs().map(|output| output.bytes).collect()),
        (
            of("output_unsynced_bytes", "Committed lines that are not yet synced"),
            outputs().map(|output| output.unsynced_bytes).collect(),
        ),
        (
            of("output_unsound_files", "Files that another program truncated, or that failed to sync"),
            outputs().map(|output| output.unsound_files).collect(),
        ),
    ] {
        write.gauges(name, help, "output", outputs().map(|output| output.name.as_str()).zip(values))?;
    }
    let Some(source) = &status.source else { return Ok(()) };
    let by = ["events", "scans"].map(|by| (by, u64::from(source.by == by)));
    write.gauges("source_watched_by", "How changes in the source folder are detected", "by", by)?;
    let trouble = u64::from(source.trouble.is_some());
    write.gauge("source_trouble", "Whether the source folder cannot be followed at the moment", trouble)?;
    write.gauge("source_settling_files", "Files that are settling", source.settling)?;
    write.counter("source_scans", "Scans of the whole source folder", source.scans)?;
    write.counter(
        "source_watchers_replaced",
        "Watchers that were replaced, since they died or missed events",
        source.watchers_replaced,
    )
}

fn configuration(write: &mut Writer<'_, '_>, status: &Status) -> fmt::Result {
    let Some(configuration) = &status.configuration else { return Ok(()) };
    write.counter("config_reloads", "Reloads of the configuration", configuration.reloads)?;
    let failed = u64::from(configuration.error.is_some());
    write.gauge(
        "config_reload_failed",
        "Whether the last reload failed, so that the previous configuration is in effect",
        failed,
    )?;
    let waiting = configuration.needs_restart.len() as u64;
    write.gauge("config_needs_restart", "Changed keys that take effect with a restart", waiting)
}

/// Writes one metric after the other.
struct Writer<'a, 'b>(&'a mut DescriptorEncoder<'b>);

impl Writer<'_, '_> {
    fn build(&mut self, version: &str) -> fmt::Result {
        let mut metric = self.0.encode_descriptor("build", "The version of riverbed", None, MetricType::Info)?;
        metric.encode_info(&[("version", version)])
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue + Copy) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn counter(&mut self, name: &str, help: &str, value: impl EncodeCounterValue + Copy) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Counter)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn gauges<'l>(
        &mut self,
        name: &str,
        help: &str,
        label: &'l str,
        values: impl IntoIterator<Item = (&'l str, impl EncodeGaugeValue)>,
    ) -> fmt::Result {
        self.family(name, help, values.into_iter().map(|(of, value)| ([(label, of)], value)))
    }

    fn family(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (impl EncodeLabelSet, impl EncodeGaugeValue)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: [(&str, impl EncodeCounterValue + Copy); N],
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (of, value) in values {
            metric.encode_family(&[(label, of)])?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(values: &[&'static str]) -> Format {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(ACCEPT, hyper::header::HeaderValue::from_static(value));
        }
        Format::accepted(&headers)
    }

    #[test]
    fn open_metrics_is_for_those_alone_who_ask_for_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
                          text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        for open in [prometheus, "application/openmetrics-text", "APPLICATION/OpenMetrics-Text; version=\"1.0.0\", text/plain"] {
            assert_eq!(accepted(&[open]), Format::OpenMetrics, "{open}");
        }
        let text = [
            "*/*",
            "text/plain",
            "text/plain; version=0.0.4",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0.2,text/plain;q=0.9",
            "application/openmetrics-text; version=9.0.0",
            "application/openmetrics-text; q=nonsense",
            "application/*",
            "",
        ];
        for text in text {
            assert_eq!(accepted(&[text]), Format::Text, "{text}");
        }
        assert_eq!(accepted(&[]), Format::Text);
        assert_eq!(accepted(&["text/plain;q=0.1", "application/openmetrics-text"]), Format::OpenMetrics);
    }

    #[test]
    fn the_older_format_has_its_own_names_and_no_end() {
        let open = "# HELP riverbed_calls A \\\"quoted\\\" text.\n# TYPE riverbed_calls counter\nriverbed_calls_total{a=\"# EOF\"} 1\n\
                    # HELP riverbed_call_seconds How long.\n# TYPE riverbed_call_seconds histogram\n# UNIT riverbed_call_seconds seconds\n\
                    riverbed_call_seconds_sum 0.5\n# HELP riverbed_build The version.\n# TYPE riverbed_build info\n\
                    riverbed_build_info{version=\"1\"} 1\n# EOF\n";
        let text = "# HELP riverbed_calls_total A \"quoted\" text.\n# TYPE riverbed_calls_total counter\nriverbed_calls_total{a=\"# EOF\"} 1\n\
                    # HELP riverbed_call_seconds How long.\n# TYPE riverbed_call_seconds histogram\n\
                    riverbed_call_seconds_sum 0.5\n# HELP riverbed_build_info The version.\n# TYPE riverbed_build_info gauge\n\
                    riverbed_build_info{version=\"1\"} 1\n";
        assert_eq!(as_text(open), text);
    }
}
