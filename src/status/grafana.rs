//! A dashboard for Grafana and alert rules for Prometheus, on the metrics of the status server.

use serde_json::{Value, json};

/// Alert rules for Prometheus, as YAML.
pub const ALERTS: &str = include_str!("alerts.yml");

/// A panel: its title, the unit that Grafana knows, and its queries with their legends.
struct Panel(&'static str, &'static str, &'static [(&'static str, &'static str)]);

const PANELS: [Panel; 15] = [
    Panel(
        "Documents a minute",
        "short",
        &[("sum by (outcome) (rate(riverbed_documents_ended_total[$__rate_interval])) * 60", "{{outcome}}")],
    ),
    Panel("Documents by state", "short", &[("riverbed_documents_standing", "{{state}}")]),
    Panel("Oldest pending document", "s", &[("riverbed_oldest_waiting_seconds", "age")]),
    Panel("Texts a second", "short", &[("rate(riverbed_texts_total[$__rate_interval])", "texts")]),
    Panel(
        "Attempts a second, by outcome",
        "short",
        &[("sum by (operation, outcome) (rate(riverbed_calls_total[$__rate_interval]))", "{{operation}}: {{outcome}}")],
    ),
    Panel(
        "Latency of calls",
        "s",
        &[
            (
                "histogram_quantile(0.5, sum by (operation, le) (rate(riverbed_call_seconds_bucket[$__rate_interval])))",
                "{{operation}}, median",
            ),
            (
                "histogram_quantile(0.99, sum by (operation, le) (rate(riverbed_call_seconds_bucket[$__rate_interval])))",
                "{{operation}}, 99 %",
            ),
            (
                "histogram_quantile(0.99, sum by (operation, le) (rate(riverbed_call_wait_seconds_bucket[$__rate_interval])))",
                "{{operation}}, 99 % of waits",
            ),
        ],
    ),
    Panel(
        "The quota: kept and found",
        "short",
        &[("riverbed_limiter_requests_per_second", "{{lane}} kept"), ("riverbed_limiter_requests_ceiling", "{{lane}} found")],
    ),
    Panel("Calls in flight", "short", &[("riverbed_calls_in_flight", "{{operation}}")]),
    Panel("Calls held back", "short", &[("riverbed_gate_closed", "{{lane}}: {{reason}}")]),
    Panel("Questions and answers", "short", &[("riverbed_answers", "{{state}}")]),
    Panel(
        "Tokens a minute",
        "short",
        &[("sum by (operation) (rate(riverbed_tokens_total[$__rate_interval])) * 60", "{{operation}}")],
    ),
    Panel(
        "Cost an hour",
        "currencyUSD",
        &[("sum by (operation) (rate(riverbed_cost_usd_total[$__rate_interval])) * 3600", "{{operation}}")],
    ),
    Panel("Cost today", "currencyUSD", &[("riverbed_day_cost_usd", "spent"), ("riverbed_day_budget_usd", "budget")]),
    Panel("Queues", "percentunit", &[("riverbed_queue_held / riverbed_queue_capacity", "{{queue}}")]),
    Panel(
        "On the disks",
        "bytes",
        &[("riverbed_ledger_bytes", "ledger"), ("riverbed_cache_bytes", "cache"), ("riverbed_output_bytes", "{{output}}")],
    ),
];

/// Panels side by side, and their size in Grafana's grid of 24 columns.
const ACROSS: usize = 3;
const WIDTH: usize = 8;
const HEIGHT: usize = 8;

/// Returns the dashboard as JSON, ready to be imported.
#[must_use]
pub fn dashboard() -> String {
    let source = json!({ "type": "prometheus", "uid": "${source}" });
    let panel = |(at, Panel(title, unit, queries)): (usize, &Panel)| {
        let queries = queries.iter().enumerate().map(|(number, (query, legend))| {
            json!({ "refId": format!("Q{number}"), "datasource": source, "expr": query, "legendFormat": legend })
        });
        json!({
            "id": at + 1,
            "type": "timeseries",
            "title": title,
            "datasource": source,
            "gridPos": { "x": at % ACROSS * WIDTH, "y": at / ACROSS * HEIGHT, "w": WIDTH, "h": HEIGHT },
            "fieldConfig": { "defaults": { "unit": unit, "min": 0 }, "overrides": [] },
            "targets": queries.collect::<Vec<Value>>(),
        })
    };
    let dashboard = json!({
        "uid": "riverbed",
        "title": "riverbed",
        "tags": ["riverbed"],
        "schemaVersion": 39,
        "refresh": "10s",
        "time": { "from": "now-1h", "to": "now" },
        "templating": { "list": [{ "name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus" }] },
        "panels": PANELS.iter().enumerate().map(panel).collect::<Vec<Value>>(),
    });
    serde_json::to_string_pretty(&dashboard).expect("a dashboard is JSON") + "\n"
}
