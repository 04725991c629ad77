//! Who serves a model, in OpenTelemetry's words (`gen_ai.provider.name`), by what is known and not by what is likely.

/// Domains of providers, of which a host is one or a part of one; sorted.
static DOMAINS: &[(&str, &str)] = &[
    ("ai-gateway.vercel.sh", "vercel"),
    ("api.aleph-alpha.com", "aleph_alpha"),
    ("api.anthropic.com", "anthropic"),
    ("api.avian.io", "avian"),
    ("api.cerebras.ai", "cerebras"),
    ("api.cloudflare.com", "cloudflare"),
    ("api.cohere.ai", "cohere"),
    ("api.cohere.com", "cohere"),
    ("api.deepseek.com", "deepseek"),
    ("api.doubleword.ai", "doubleword"),
    ("api.fireworks.ai", "fireworks"),
    ("api.groq.com", "groq"),
    ("api.jina.ai", "jina"),
    ("api.minimax.chat", "minimax"),
    ("api.minimax.io", "minimax"),
    ("api.minimaxi.com", "minimax"),
    ("api.mistral.ai", "mistral_ai"),
    ("api.moonshot.ai", "moonshot_ai"),
    ("api.moonshot.cn", "moonshot_ai"),
    ("api.openai.com", "openai"),
    ("api.perplexity.ai", "perplexity"),
    ("api.portkey.ai", "portkey"),
    ("api.replicate.com", "replicate"),
    ("api.sambanova.ai", "sambanova"),
    ("api.together.ai", "together_ai"),
    ("api.together.xyz", "together_ai"),
    ("api.venice.ai", "venice"),
    ("api.voyageai.com", "voyage_ai"),
    ("api.writer.com", "writer"),
    ("api.x.ai", "x_ai"),
    ("api.z.ai", "z_ai"),
    ("azuredatabricks.net", "databricks"),
    ("chatgpt.com", "openai"),
    ("cloud.databricks.com", "databricks"),
    ("cloudcode-pa.googleapis.com", "gcp.gemini"),
    ("codestral.mistral.ai", "mistral_ai"),
    ("cognitiveservices.azure.com", "azure.ai.openai"),
    ("dashscope-intl.aliyuncs.com", "alibaba_cloud"),
    ("dashscope-us.aliyuncs.com", "alibaba_cloud"),
    ("dashscope.aliyuncs.com", "alibaba_cloud"),
    ("endpoints.huggingface.cloud", "hugging_face"),
    ("gcp.databricks.com", "databricks"),
    ("generativelanguage.googleapis.com", "gcp.gemini"),
    ("githubcopilot.com", "github_copilot"),
    ("inference.ai.azure.com", "azure.ai.inference"),
    ("inference.huggingface.co", "hugging_face"),
    ("integrate.api.nvidia.com", "nvidia"),
    ("ml.cloud.ibm.com", "ibm.watsonx.ai"),
    ("models.ai.azure.com", "azure.ai.inference"),
    ("ollama.com", "ollama"),
    ("open.bigmodel.cn", "z_ai"),
    ("openai.azure.com", "azure.ai.openai"),
    ("openrouter.ai", "openrouter"),
    ("router.huggingface.co", "hugging_face"),
    ("services.ai.azure.com", "azure.ai.inference"),
    ("snowflakecomputing.com", "snowflake"),
];

/// A name in half the room, to be kept for each call.
pub(crate) type Name = &'static &'static str;

/// Who is behind a host.
pub(crate) fn of_host(host: &str) -> Option<Name> {
    const MAX: usize = 128;
    let mut lower = [0; MAX];
    let lower = lower.get_mut(..host.len())?;
    lower.copy_from_slice(host.as_bytes());
    lower.make_ascii_lowercase();
    let host = std::str::from_utf8(lower).ok()?.trim_end_matches('.');

    // A region stands in front of these without a dot, or between them.
    if host
        .strip_suffix("aiplatform.googleapis.com")
        .is_some_and(|region| region.is_empty() || region.ends_with('-'))
    {
        return Some(&"gcp.vertex_ai");
    }
    let is_amazon = host.ends_with(".amazonaws.com") || host.ends_with(".api.aws");
    if is_amazon && (host.starts_with("bedrock-runtime") || host.starts_with("bedrock-mantle.")) {
        return Some(&"aws.bedrock");
    }
    let mut domain = host;
    loop {
        if let Ok(at) = DOMAINS.binary_search_by_key(&domain, |(known, _)| known) {
            return Some(&DOMAINS[at].1);
        }
        domain = domain.split_once('.')?.1;
    }
}

/// Who can be told from the path, whatever the format: those that serve others' models at paths of their own.
pub(crate) fn of_path(path: &str) -> Option<&'static str> {
    // One walk over the segments, whole ones with a slash before and behind them: a search for each costs more.
    let (front, _) = path.rsplit_once('/')?;
    let mut has = Has::default();
    let mut before = "";
    for (at, segment) in front.split('/').enumerate() {
        match segment {
            "deployments" if before.ends_with("openai") => has.deployments = true,
            _ if at == 0 => {}
            "publishers" => has.publishers = true,
            "models" => has.models = true,
            "projects" => has.projects = true,
            "locations" => has.locations = true,
            "serving-endpoints" => has.serving_endpoints = true,
            "v1" if at > 1 && before == "compatible-mode" => has.compatible_mode = true,
            "v4" if at > 1 && before == "paas" => has.paas = true,
            "accounts" => has.accounts = true,
            "ai" => has.ai = true,
            _ => {}
        }
        before = segment;
    }
    match has {
        Has { publishers: true, models: true, .. } | Has { projects: true, locations: true, .. } => {
            Some("gcp.vertex_ai")
        }
        Has { deployments: true, .. } => Some("azure.ai.openai"),
        Has { serving_endpoints: true, .. } => Some("databricks"),
        Has { compatible_mode: true, .. } => Some("alibaba_cloud"),
        Has { paas: true, .. } => Some("z_ai"),
        Has { accounts: true, ai: true, .. } => Some("cloudflare"),
        _ => None,
    }
}

/// Segments of a path.
#[derive(Default)]
struct Has {
    publishers: bool,
    models: bool,
    projects: bool,
    locations: bool,
    deployments: bool,
    serving_endpoints: bool,
    compatible_mode: bool,
    paas: bool,
    accounts: bool,
    ai: bool,
}

/// Who can be told from a header of a response that has the form of many.
#[inline]
pub(crate) fn of_header(name: &str) -> Option<Name> {
    Some(match name {
        "anthropic-organization-id" => &"anthropic",
        // Azure's gateway, which may be followed by what OpenAI itself sends.
        "apim-request-id" => &"azure.ai.openai",
        "fireworks-server-processing-time" => &"fireworks",
        "mistral-correlation-id" => &"mistral_ai",
        "x-ds-trace-id" => &"deepseek",
        "x-groq-region" => &"groq",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same by a search for each.
    fn searched(path: &str) -> Option<&'static str> {
        let has = |words: &[&str]| words.iter().all(|word| path.contains(word));
        let known: [(&[&str], _); 7] = [
            (&["/publishers/", "/models/"], "gcp.vertex_ai"),
            (&["/projects/", "/locations/"], "gcp.vertex_ai"),
            (&["openai/deployments/"], "azure.ai.openai"),
            (&["/serving-endpoints/"], "databricks"),
            (&["/compatible-mode/v1/"], "alibaba_cloud"),
            (&["/paas/v4/"], "z_ai"),
            (&["/accounts/", "/ai/"], "cloudflare"),
        ];
        known.into_iter().find(|(words, _)| has(words)).map(|(_, name)| name)
    }

    proptest! {
        #[test]
        fn a_walk_over_a_path_finds_what_searches_find(
            words in prop::collection::vec(prop::sample::select(vec![
                "publishers", "models", "projects", "locations", "accounts", "ai", "serving-endpoints", "v1", "v4",
                "compatible-mode", "paas", "openai", "deployments", "my-openai", "x", "", "/", "/",
            ]), 0..12),
            between in prop::sample::select(vec!["/", ""]),
        ) {
            let path = words.join(between);
            prop_assert_eq!(of_path(&path), searched(&path), "{}", path);
        }
    }

    #[test]
    fn domains_are_sorted() {
        assert!(DOMAINS.is_sorted_by_key(|(domain, _)| domain));
    }

    #[test]
    fn a_host_is_known_by_its_domain() {
        for (host, expected) in [
            ("api.openai.com", Some("openai")),
            ("API.OpenAI.com.", Some("openai")),
            ("eu.api.openai.com", Some("openai")),
            ("my-resource.openai.azure.com", Some("azure.ai.openai")),
            ("us-central1-aiplatform.googleapis.com", Some("gcp.vertex_ai")),
            ("aiplatform.googleapis.com", Some("gcp.vertex_ai")),
            ("generativelanguage.googleapis.com", Some("gcp.gemini")),
            ("bedrock-runtime.us-east-1.amazonaws.com", Some("aws.bedrock")),
            ("bedrock-runtime-fips.us-east-1.amazonaws.com", Some("aws.bedrock")),
            ("abc.execute-api.us-east-1.amazonaws.com", None),
            ("api.openai.com.example.org", None),
            ("notapi.openai.community", None),
            ("evil-aiplatform.googleapis.com.example", None),
            ("localhost", None),
            ("127.0.0.1", None),
            ("", None),
        ] {
            assert_eq!(of_host(host).copied(), expected, "{host}");
        }
        assert_eq!(of_host(&"a.".repeat(1000)), None);
    }

    /// F39: the format says nothing of who serves it.
    #[test]
    fn a_path_tells_who_serves_the_models_of_others() {
        for (path, expected) in [
            (
                "/v1/projects/p/locations/l/publishers/anthropic/models/claude:rawPredict",
                Some("gcp.vertex_ai"),
            ),
            ("/v1beta1/publishers/google/models/gemini-2.5-pro:generateContent", Some("gcp.vertex_ai")),
            ("/v1/projects/p/locations/l/endpoints/openapi/chat/completions", Some("gcp.vertex_ai")),
            ("/openai/deployments/d/chat/completions", Some("azure.ai.openai")),
            ("/serving-endpoints/chat/completions", Some("databricks")),
            ("/compatible-mode/v1/chat/completions", Some("alibaba_cloud")),
            ("/api/coding/paas/v4/chat/completions", Some("z_ai")),
            ("/client/v4/accounts/a/ai/v1/chat/completions", Some("cloudflare")),
            ("/v1beta/models/gemini-2.5-pro:generateContent", None),
            ("/v1/chat/completions", None),
        ] {
            assert_eq!(of_path(path), expected, "{path}");
        }
    }
}
