//! Where paths lead, and what can be asked there.

use http::{HeaderValue, Method};

#[cfg(feature = "dashboard")]
use super::page;
use super::query::{self, Parameter};

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Health,
    Metrics,
    Events,
    Export,
    Dimensions,
    Status,
    Recording,
    Prometheus,
    OpenApi,
    #[cfg(feature = "dashboard")]
    Page(page::Asset),
    Nowhere,
}

impl Route {
    /// All that answer with data.
    pub(super) const DOCUMENTED: [Self; 9] = [
        Self::Health,
        Self::Metrics,
        Self::Events,
        Self::Export,
        Self::Dimensions,
        Self::Status,
        Self::Recording,
        Self::Prometheus,
        Self::OpenApi,
    ];

    /// `path` is what comes after the prefix.
    pub(super) fn at(path: &str) -> Self {
        if let Some(route) = Self::DOCUMENTED.into_iter().find(|route| route.path() == path) {
            return route;
        }
        #[cfg(feature = "dashboard")]
        if let Some(asset) = path.strip_prefix("/metrics/ui").and_then(page::Asset::at) {
            return Self::Page(asset);
        }
        Self::Nowhere
    }

    /// What comes after the prefix. Of the page, where it begins.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Health => "/health",
            Self::Metrics => "/metrics",
            Self::Events => "/events",
            Self::Export => "/export",
            Self::Dimensions => "/dimensions",
            Self::Status => "/status",
            Self::Recording => "/recording",
            Self::Prometheus => "/prometheus",
            Self::OpenApi => "/openapi.json",
            #[cfg(feature = "dashboard")]
            Self::Page(_) => "/metrics/ui",
            Self::Nowhere => "",
        }
    }

    pub(super) fn about(self) -> &'static str {
        match self {
            Self::Health => "Whether it works, and where the events are.",
            Self::Metrics => "What events come to: in all, by model, by time, and by what else is asked for.",
            Self::Events => "Events one by one, the newest first, page by page.",
            Self::Export => "All events of a range as a file, the oldest first.",
            Self::Dimensions => "The values of a dimension, those with the most requests first.",
            Self::Status => "Where the events are, and how the file and the index are.",
            Self::Recording => "Switches recording on or off.",
            Self::Prometheus => "Counters over the whole history, for Prometheus.",
            Self::OpenApi => "This document.",
            #[cfg(feature = "dashboard")]
            Self::Page(_) => "A page to look at.",
            Self::Nowhere => "",
        }
    }

    /// Answers have an `ETag`.
    pub(super) fn has_tag(self) -> bool {
        matches!(self, Self::Metrics | Self::Events | Self::Export | Self::Dimensions | Self::OpenApi)
    }

    pub(super) fn allows(self, method: &Method) -> bool {
        match self {
            Self::Recording => *method == Method::POST,
            _ => matches!(*method, Method::GET | Method::HEAD),
        }
    }

    /// The methods that [`allows`](Self::allows) allows.
    pub(super) fn allowed(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Recording => "POST",
            _ => "GET, HEAD",
        })
    }

    pub(super) fn parameters(self) -> &'static [&'static [Parameter]] {
        match self {
            Self::Metrics => &query::METRICS,
            Self::Events => &query::EVENTS,
            Self::Export => &query::EXPORT,
            Self::Dimensions => &query::DIMENSIONS,
            _ => &[],
        }
    }
}
