//! `openapi.json`: what can be asked and what is answered, for programs (OpenAPI 3.1).
//!
//! Made from the tables that requests are read and answers are written by, so that it cannot say anything else. The shapes
//! of answers allow nothing that is not said here.

use serde_json::{Map, Value, json};

use super::{
    measure,
    query::{Kind, Parameter},
    route::Route,
};

/// The whole document, for routes that lie under `prefix`.
pub(super) fn document(prefix: &str) -> Value {
    let paths = Route::DOCUMENTED.map(|route| (route.path().to_owned(), path(route)));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "tower-llm-usage",
            "summary": "Who used which model, how many tokens, how fast, with what result.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE") },
        },
        "servers": [{ "url": if prefix.is_empty() { "/" } else { prefix } }],
        "security": [{ "bearer": [] }, { "header": [] }],
        "paths": Value::Object(paths.into_iter().collect()),
        "components": {
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer", "description": "The management key." },
                "header": { "type": "apiKey", "in": "header", "name": "X-Management-Key" },
            },
            "schemas": schemas(),
        },
    })
}

fn path(route: Route) -> Value {
    let mut operation = json!({
        "operationId": route.path().trim_start_matches('/').replace(['/', '.'], "_"),
        "summary": route.about(),
        "parameters": route.parameters().iter().copied().flatten().map(parameter).collect::<Vec<_>>(),
        "responses": responses(route),
    });
    if route == Route::Recording {
        let schema = json!({
            "type": "object",
            "properties": { "enabled": { "type": "boolean" } },
            "required": ["enabled"],
            "additionalProperties": false,
        });
        operation["requestBody"] =
            json!({ "required": true, "content": { "application/json": { "schema": schema } } });
        return json!({ "post": operation });
    }
    json!({ "get": operation })
}

fn parameter(parameter: &Parameter) -> Value {
    let Parameter { name, kind, about } = parameter;
    let mut value = json!({ "name": name, "in": "query", "description": about, "schema": schema_of(*kind) });
    match kind {
        Kind::SomeOf(_) => value["explode"] = json!(false),
        Kind::Filter(_) => {
            value["description"] = json!(format!(
                "{about} Given more than once: any of them. `!` in front is \"not\", `*` behind is \"begins with\", `!*` is \
                 what has no value, `\\` takes the character behind it as it is."
            ));
        }
        _ => {}
    }
    if *name == "dimension" {
        value["required"] = json!(true);
    }
    value
}

fn schema_of(kind: Kind) -> Value {
    match kind {
        Kind::Time => json!({
            "anyOf": [
                { "type": "string", "format": "date-time" },
                { "type": "string", "format": "date" },
                { "type": "string", "pattern": "^(now|now-[1-9][0-9]{0,2}[mhdw]|today|yesterday|[0-9]{1,12})?$" },
            ],
            "examples": ["2026-03-01T00:00:00Z", "2026-03-01", "now-24h", "today", "1772355600"],
        }),
        Kind::Range => json!({
            "type": "string",
            "pattern": "^([1-9][0-9]{0,2}[mhdw]|today|yesterday|week|last-week|month|last-month|year|last-year|all)?$",
            "examples": ["24h", "today", "last-month", "all"],
        }),
        Kind::Zone => json!({ "type": "string", "examples": ["UTC", "Europe/Berlin", "America/New_York"] }),
        Kind::OneOf(words) => json!({ "type": "string", "enum": words }),
        Kind::SomeOf(words) => {
            let words: Vec<_> = words.iter().chain(&["all"]).collect();
            json!({ "type": "array", "items": { "type": "string", "enum": words }, "minItems": 1 })
        }
        Kind::Pair(words) => {
            let one = words.join("|");
            let pattern = format!("^({one})(,({one}))?$");
            json!({ "type": "array", "items": { "type": "string", "pattern": pattern }, "maxItems": 8 })
        }
        Kind::Number { most } => json!({ "type": "integer", "minimum": 1, "maximum": most }),
        Kind::Text => json!({ "type": "string" }),
        Kind::Filter("") => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Filter(pattern) => {
            json!({ "type": "array", "items": { "type": "string", "pattern": pattern } })
        }
    }
}

fn responses(route: Route) -> Value {
    let json_of = |name: &str| json!({ "application/json": { "schema": reference(name) } });
    let text = json!({ "schema": { "type": "string" } });
    let content = match route {
        Route::Health => json_of("Health"),
        Route::Metrics => {
            let mut content = json_of("Metrics");
            content["text/csv"] = text.clone();
            content["application/jsonl"] = text;
            content
        }
        Route::Events => json_of("Events"),
        Route::Export => json!({ "text/csv": text, "application/jsonl": text }),
        Route::Dimensions => json_of("Dimensions"),
        Route::Status => json_of("Status"),
        Route::Recording => json_of("Recording"),
        Route::Prometheus => json!({ "text/plain": text, "application/openmetrics-text": text }),
        _ => json!({ "application/json": { "schema": { "type": "object" } } }),
    };
    let error = |about: &str| json!({ "description": about, "content": json_of("Error") });
    let mut responses = Map::new();
    responses.insert("200".to_owned(), json!({ "description": "The answer.", "content": content }));
    if route.has_tag() {
        let about = "The client has the answer: it gave the `ETag` of it in `If-None-Match`.";
        responses.insert("304".to_owned(), json!({ "description": about }));
    }
    for (status, about) in [
        ("400", "The question cannot be understood."),
        ("401", "No key, or a wrong one."),
        ("403", "Not from this address."),
        ("404", "There is no management."),
        ("500", "The answer could not be made."),
        ("503", "Too many are asking. `Retry-After` says when to ask again."),
    ] {
        responses.insert(status.to_owned(), error(about));
    }
    if route == Route::Recording {
        responses.insert("413".to_owned(), error("The body is too long."));
    }
    Value::Object(responses)
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// An object with these fields, all of them there, and with no others.
fn object(fields: Value) -> Value {
    let names: Vec<_> = fields.as_object().into_iter().flat_map(Map::keys).cloned().collect();
    json!({ "type": "object", "properties": fields, "required": names, "additionalProperties": false })
}

fn optional(mut object: Value, names: &[&str]) -> Value {
    if let Some(required) = object["required"].as_array_mut() {
        required.retain(|name| !names.iter().any(|optional| name == optional));
    }
    object
}

/// With all counts and measures, of which only two are always there.
fn row(labels: Value) -> Value {
    let mut fields = labels;
    for (name, measure) in measure::ALL {
        fields[name] = match measure {
            measure::Measure::Sum(_) => count(),
            _ => json!({ "type": ["number", "null"], "minimum": 0 }),
        };
    }
    optional(object(fields), &measure::NAMES[2..])
}

fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

fn or_null(name: &str) -> Value {
    json!({ "type": [name, "null"] })
}

fn list(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

fn schemas() -> Value {
    let series = || list(reference("Bucket"));
    let by =
        ["model", "key", "provider", "operation", "endpoint", "status", "status_code", "stream", "usage"];
    let mut labels = json!({ "timeseries": series() });
    for name in by.into_iter().chain(["weekday", "hour_of_day"]) {
        labels[name] = json!({ "type": ["string", "integer", "boolean", "null"] });
    }
    let group = optional(row(labels), &[&by[..], &["weekday", "hour_of_day", "timeseries"]].concat());
    let filters = json!({ "type": "object", "additionalProperties": list(text()) });
    let event = json!({
        "timestamp": time(), "model": text(), "prompt_tokens": count(), "completion_tokens": count(),
        "total_tokens": count(), "status": count(), "api_key_hash": text(), "provider": text(), "operation": text(),
        "endpoint": text(), "stream": { "type": "boolean" }, "cache_read_tokens": count(),
        "cache_write_tokens": count(), "cache_write_1h_tokens": count(), "reasoning_tokens": count(), "usage": text(),
        "end": text(), "duration_ms": count(), "ttft_ms": count(),
    });
    let event_names: Vec<_> = event.as_object().into_iter().flat_map(Map::keys).map(String::as_str).collect();
    let event_optional: Vec<_> =
        event_names.iter().copied().filter(|name| !["timestamp", "model", "status"].contains(name)).collect();
    json!({
        "Error": optional(
            object(json!({ "error": text(), "code": text(), "param": text(), "allowed": list(text()) })),
            &["param", "allowed"],
        ),
        "Health": optional(
            object(json!({
                "ok": { "type": "boolean" }, "status": { "enum": ["ok", "degraded"] }, "reason": text(),
                "recording": { "type": "boolean" }, "observed": count(), "persisted": count(), "queued": count(),
                "dropped": count(), "events": count(), "models": count(), "first": or_null("string"),
                "last": or_null("string"), "file_bytes": count(), "bad_lines": count(),
                "version": text(),
            })),
            &["reason"],
        ),
        "Recording": object(json!({ "recording": { "type": "boolean" } })),
        "Status": object(json!({
            "version": text(), "since": or_null("string"), "recording": { "type": "boolean" }, "observed": count(),
            "persisted": count(), "queued": count(), "dropped": count(),
            "dropped_by": object(json!({
                "queue_full": count(), "backlog_full": count(), "too_long": count(), "closed": count(),
                "unwritten": count(),
            })),
            "last_flush": or_null("string"),
            "reason": or_null("string"),
            "last_error": { "anyOf": [object(json!({ "at": time(), "message": text() })), { "type": "null" }] },
            "file_bytes": count(), "segments": count(), "segment_bytes": count(), "bad_lines": count(),
            "bad_line_numbers": list(count()),
            "index": object(json!({
                "events": count(), "max_events": count(), "aggregated": count(), "aggregated_by_cap": count(),
                "bytes": count(), "models": count(), "max_models": count(), "keys": count(), "max_keys": count(),
                "first": or_null("string"), "last": or_null("string"),
            })),
        })),
        "Counts": row(json!({})),
        "Bucket": row(json!({ "bucket_start": time() })),
        "Model": row(json!({ "model": text() })),
        "Group": group,
        "Other": optional(row(json!({ "values": count(), "timeseries": series() })), &["timeseries"]),
        "Metrics": object(json!({
            "totals": reference("Counts"),
            "by_model": list(reference("Model")),
            "timeseries": series(),
            "groups": list(object(json!({
                "by": list(text()),
                "rows": list(reference("Group")),
                "other": { "anyOf": [reference("Other"), { "type": "null" }] },
            }))),
            "previous": { "anyOf": [
                object(json!({
                    "from": time(), "to": time(), "totals": reference("Counts"), "timeseries": series(),
                })),
                { "type": "null" },
            ] },
            "meta": object(json!({
                "from": time(), "to": time(), "now": time(), "interval": text(), "tz": text(),
                "fill": or_null("string"), "filters": filters, "group_by": list(text()), "metrics": list(text()),
                "compare": or_null("string"), "limit": count(), "sort": text(), "revision": text(), "events": count(),
            })),
            "from": time(),
            "to": time(),
        })),
        "Events": object(json!({
            "events": list(optional(object(event.clone()), &event_optional)),
            "next": or_null("string"),
            "meta": object(json!({
                "from": time(), "to": time(), "now": time(), "tz": text(), "filters": filters, "limit": count(),
                "revision": text(),
            })),
        })),
        "Dimensions": object(json!({
            "dimension": text(),
            "values": list(object(json!({ "value": text(), "requests": count(), "tokens": count() }))),
            "more": count(),
        })),
    })
}
