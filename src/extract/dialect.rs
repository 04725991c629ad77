//! What providers send, as rows of tables. A new provider is a row and a fixture.

use std::sync::LazyLock;

use super::trie::{ExpectedId, Trie};

/// A wire format: where its counts stand and what they mean. It belongs to the API, not to who serves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Dialect {
    /// OpenAI's chat completions, completions, embeddings and runs, and everybody's who copied them.
    OpenAi,
    /// OpenAI's Responses, images and transcriptions.
    Responses,
    /// Anthropic's Messages, on whichever host.
    Anthropic,
    /// Google's generateContent, streamGenerateContent and embedContent, also wrapped in Gemini CLI's `response`.
    Gemini,
    /// Google's interactions.
    Interactions,
    /// Google's route that speaks OpenAI's chat completions, and leaves thoughts out of the completion.
    GeminiOpenAi,
    /// Bedrock's Converse, and Amazon's own models.
    Bedrock,
    /// Cohere, both versions.
    Cohere,
    /// DashScope's own API.
    DashScope,
    /// watsonx' text generation.
    Watsonx,
    /// Replicate's predictions.
    Replicate,
    /// Servers that put their counts beside the answer: Ollama, llama.cpp, TGI, Bedrock's Llama and Titan, Aleph Alpha,
    /// Vertex' predict.
    Flat,
}

/// One count, as a wire format names it. What it includes is the dialect's to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Slot {
    Input,
    Output,
    Total,
    CacheRead,
    /// The same under a second name; counts where the first is absent or 0.
    CacheReadAlias,
    CacheWrite,
    CacheWrite5m,
    CacheWrite1h,
    Reasoning,
    /// Input that was heard, beside the prompt where the provider's total says so.
    AudioInput,
    /// Reasoning under a second name. From here on they are [rare](Self::COMMON).
    ReasoningAlias,
    /// What was used, where something else is billed.
    UsedInput,
    UsedOutput,
    /// Input that tools brought, beside the prompt.
    ToolInput,
    /// Text of sources, billed beside the completion.
    Citations,
    /// Stands once for every token of the input, with whatever value. From here on they are [sums](Self::is_sum).
    InputToken,
    /// Input, output and caches of the parts of an answer, to be added up; they are the whole.
    EachInput,
    EachOutput,
    EachCacheRead,
    EachCacheWrite,
    EachCacheWrite1h,
    /// Cache writes of one lifetime, which stands beside them: see [`Signal::Lifetime`].
    CacheDetail,
}

impl Slot {
    pub(super) const ALL: [Self; 22] = [
        Self::Input,
        Self::Output,
        Self::Total,
        Self::CacheRead,
        Self::CacheReadAlias,
        Self::CacheWrite,
        Self::CacheWrite5m,
        Self::CacheWrite1h,
        Self::Reasoning,
        Self::AudioInput,
        Self::ReasoningAlias,
        Self::UsedInput,
        Self::UsedOutput,
        Self::ToolInput,
        Self::Citations,
        Self::InputToken,
        Self::EachInput,
        Self::EachOutput,
        Self::EachCacheRead,
        Self::EachCacheWrite,
        Self::EachCacheWrite1h,
        Self::CacheDetail,
    ];
    /// How many there is always room for; hardly any answer has one of the others.
    pub(super) const COMMON: usize = Self::ReasoningAlias as usize;

    /// The rest of them.
    pub(super) const RARE: usize = Self::ALL.len() - Self::COMMON;

    pub(super) fn bit(self) -> u32 {
        1 << self as u8
    }

    /// Which of the rare ones it is.
    pub(super) fn rare(self) -> Option<usize> {
        (self as usize).checked_sub(Self::COMMON)
    }

    /// Every occurrence within one document adds to it.
    pub(super) fn is_sum(self) -> bool {
        self as u8 >= Self::InputToken as u8
    }
}

/// What a later usage object of the same response does to an earlier one. Never a sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merge {
    /// Takes its place: running totals, of which the last object is the whole truth.
    Replace,
    /// Each count takes the place of its like; those that are not mentioned stand.
    ByField,
}

/// Whether a part of the tokens is counted in the number beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// It is.
    Inside,
    /// It is not, and has to be added.
    Outside,
    /// The documentation says that it is, some servers leave it out: outside if only that adds up to the total.
    ByTotal,
    /// The documentation says that it is not, some servers count it in: inside if only that adds up to the total.
    OutsideByTotal,
    /// It is not, and nobody says how much it is: what the total has beyond input and output.
    Remainder,
}

/// A wire format.
pub(super) struct Row {
    pub(super) dialect: Dialect,
    /// Where an object of counts stands, best first.
    places: &'static [&'static str],
    /// The counts within that object.
    counts: &'static [(&'static str, Slot)],
    /// Where the model that answered is named.
    models: &'static [&'static str],
    /// The orders in which documents have their keys, as a rule, that of an answer in one piece first: see
    /// [`Trie::expect`]. From recorded responses.
    orders: &'static [&'static str],
    pub(super) merge: Merge,
    /// Cache reads and writes, against the input.
    pub(super) cache: Part,
    /// Reasoning, against the output.
    pub(super) reasoning: Part,
}

impl Dialect {
    pub(super) const ALL: [Self; 12] = [
        Self::OpenAi,
        Self::Responses,
        Self::Anthropic,
        Self::Gemini,
        Self::Interactions,
        Self::GeminiOpenAi,
        Self::Bedrock,
        Self::Cohere,
        Self::DashScope,
        Self::Watsonx,
        Self::Replicate,
        Self::Flat,
    ];

    pub(super) fn row(self) -> &'static Row {
        &DIALECTS[self as usize]
    }

    /// OpenTelemetry's `gen_ai.provider.name` of whose format this is.
    pub(crate) fn provider(self) -> Option<&'static str> {
        match self {
            Self::OpenAi | Self::Responses => Some("openai"),
            Self::Anthropic => Some("anthropic"),
            Self::Gemini | Self::Interactions | Self::GeminiOpenAi => Some("gcp.gemini"),
            Self::Bedrock => Some("aws.bedrock"),
            Self::Cohere => Some("cohere"),
            Self::DashScope => Some("alibaba_cloud"),
            Self::Watsonx => Some("ibm.watsonx.ai"),
            Self::Replicate => Some("replicate"),
            Self::Flat => None,
        }
    }

    /// Every event with counts in it has `"usage` in it.
    pub(super) fn has_needle(self) -> bool {
        match self {
            Self::OpenAi
            | Self::Responses
            | Self::Anthropic
            | Self::Gemini
            | Self::Interactions
            | Self::GeminiOpenAi
            | Self::Bedrock => true,
            // DashScope's would, but so has every event: there is nothing to pass over.
            Self::Cohere | Self::DashScope | Self::Watsonx | Self::Replicate | Self::Flat => false,
        }
    }

    pub(super) fn bit(self) -> u16 {
        1 << self as u8
    }
}

/// The wire formats, in the order of [`Dialect`]. Where two share every path that was seen, and the request's path
/// did not tell, the first stands.
pub(super) static DIALECTS: [Row; Dialect::ALL.len()] = [
    // https://platform.openai.com/docs/api-reference/chat/object and …/chat-streaming, …/completions/object,
    // …/embeddings. Groq repeats the usage under `x_groq`; DeepSeek, Moonshot, Together and Venice have names of
    // their own for cache reads, DashScope for cache writes, Perplexity and Copilot for reasoning. xAI leaves
    // reasoning out of the completion, Mistral leaves audio out of the prompt; their totals say so.
    Row {
        dialect: Dialect::OpenAi,
        places: &["usage", "x_groq.usage", "choices[].usage", "result.usage"],
        counts: &[
            ("prompt_tokens", Slot::Input),
            ("completion_tokens", Slot::Output),
            ("total_tokens", Slot::Total),
            ("prompt_tokens_details.cached_tokens", Slot::CacheRead),
            ("prompt_token_details.cached_tokens", Slot::CacheRead),
            ("prompt_cache_hit_tokens", Slot::CacheReadAlias),
            ("cached_tokens", Slot::CacheReadAlias),
            ("num_cached_tokens", Slot::CacheReadAlias),
            ("cache_read_input_tokens", Slot::CacheReadAlias),
            ("prompt_tokens_details.cache_write_tokens", Slot::CacheWrite),
            ("prompt_tokens_details.cache_creation_input_tokens", Slot::CacheWrite),
            ("prompt_tokens_details.cache_creation.ephemeral_5m_input_tokens", Slot::CacheWrite5m),
            ("cache_creation_input_tokens", Slot::CacheWrite),
            ("cache_creation.ephemeral_5m_input_tokens", Slot::CacheWrite5m),
            ("cache_creation.ephemeral_1h_input_tokens", Slot::CacheWrite1h),
            ("prompt_tokens_details.audio_tokens", Slot::AudioInput),
            ("completion_tokens_details.reasoning_tokens", Slot::Reasoning),
            ("reasoning_tokens", Slot::ReasoningAlias),
            ("citation_tokens", Slot::Citations),
        ],
        models: &["model"],
        orders: &[
            "id object created model choices usage { prompt_tokens completion_tokens total_tokens prompt_tokens_details { \
                cached_tokens audio_tokens } completion_tokens_details { reasoning_tokens audio_tokens \
                accepted_prediction_tokens rejected_prediction_tokens } } service_tier system_fingerprint",
        ],
        merge: Merge::Replace,
        cache: Part::Inside,
        reasoning: Part::ByTotal,
    },
    // https://platform.openai.com/docs/api-reference/responses/object and …/responses-streaming; cache reads under
    // their second name are Perplexity's: https://docs.perplexity.ai/api-reference/responses-post.
    Row {
        dialect: Dialect::Responses,
        places: &["usage", "response.usage"],
        counts: &[
            ("input_tokens", Slot::Input),
            ("output_tokens", Slot::Output),
            ("total_tokens", Slot::Total),
            ("input_tokens_details.cached_tokens", Slot::CacheRead),
            ("input_tokens_details.cache_read_input_tokens", Slot::CacheReadAlias),
            ("input_tokens_details.cache_write_tokens", Slot::CacheWrite),
            ("output_tokens_details.reasoning_tokens", Slot::Reasoning),
        ],
        models: &["model", "response.model"],
        orders: &[
            "id object created_at status background completed_at error incomplete_details instructions max_output_tokens \
                max_tool_calls model output parallel_tool_calls previous_response_id prompt_cache_key \
                prompt_cache_retention reasoning safety_identifier service_tier store temperature text tool_choice tools \
                top_logprobs top_p truncation usage { input_tokens input_tokens_details { cached_tokens } output_tokens \
                output_tokens_details { reasoning_tokens } total_tokens } user metadata",
            "type sequence_number response { id object created_at status background completed_at error incomplete_details \
                instructions max_output_tokens max_tool_calls model output parallel_tool_calls previous_response_id \
                prompt_cache_key prompt_cache_retention reasoning safety_identifier service_tier store temperature text \
                tool_choice tools top_logprobs top_p truncation usage { input_tokens input_tokens_details { cached_tokens \
                } output_tokens output_tokens_details { reasoning_tokens } total_tokens } user metadata }",
        ],
        merge: Merge::Replace,
        cache: Part::Inside,
        reasoning: Part::Inside,
    },
    // https://docs.claude.com/en/api/messages and …/messages-streaming. `message_start` has the input, and an output
    // that is no more than a placeholder; `message_delta` has running totals. Compaction and other iterations are
    // billed, but not part of the totals beside them: the iterations are the whole.
    Row {
        dialect: Dialect::Anthropic,
        places: &["usage", "message.usage"],
        counts: &[
            ("input_tokens", Slot::Input),
            ("output_tokens", Slot::Output),
            ("cache_read_input_tokens", Slot::CacheReadAlias),
            ("cache_creation_input_tokens", Slot::CacheWrite),
            ("cache_creation.ephemeral_5m_input_tokens", Slot::CacheWrite5m),
            ("cache_creation.ephemeral_1h_input_tokens", Slot::CacheWrite1h),
            ("output_tokens_details.thinking_tokens", Slot::Reasoning),
            ("iterations[].input_tokens", Slot::EachInput),
            ("iterations[].output_tokens", Slot::EachOutput),
            ("iterations[].cache_read_input_tokens", Slot::EachCacheRead),
            ("iterations[].cache_creation_input_tokens", Slot::EachCacheWrite),
            ("iterations[].cache_creation.ephemeral_1h_input_tokens", Slot::EachCacheWrite1h),
        ],
        // A model that stands in for one that refused names itself in the block that says so.
        models: &["model", "message.model", "content_block.to.model"],
        orders: &[
            "model id type role content stop_reason stop_sequence usage { input_tokens cache_creation_input_tokens \
                cache_read_input_tokens cache_creation { ephemeral_5m_input_tokens ephemeral_1h_input_tokens } \
                output_tokens service_tier }",
            "type message { model id type role content stop_reason stop_sequence usage { input_tokens \
                cache_creation_input_tokens cache_read_input_tokens cache_creation { ephemeral_5m_input_tokens \
                ephemeral_1h_input_tokens } output_tokens service_tier } }",
        ],
        merge: Merge::ByField,
        cache: Part::Outside,
        reasoning: Part::Inside,
    },
    // https://ai.google.dev/api/generate-content#UsageMetadata. Thoughts and what tools put into the prompt stand
    // beside the candidates and the prompt.
    Row {
        dialect: Dialect::Gemini,
        places: &["usageMetadata", "response.usageMetadata"],
        counts: &[
            ("promptTokenCount", Slot::Input),
            ("candidatesTokenCount", Slot::Output),
            // Its name where an answer is live.
            ("responseTokenCount", Slot::Output),
            ("totalTokenCount", Slot::Total),
            ("cachedContentTokenCount", Slot::CacheRead),
            ("thoughtsTokenCount", Slot::Reasoning),
            ("toolUsePromptTokenCount", Slot::ToolInput),
        ],
        models: &["modelVersion", "response.modelVersion"],
        orders: &[
            "candidates usageMetadata { promptTokenCount candidatesTokenCount totalTokenCount promptTokensDetails \
                candidatesTokensDetails thoughtsTokenCount } modelVersion responseId",
        ],
        merge: Merge::Replace,
        cache: Part::Inside,
        reasoning: Part::OutsideByTotal,
    },
    // https://ai.google.dev/api/interactions-api
    Row {
        dialect: Dialect::Interactions,
        places: &["usage", "interaction.usage"],
        counts: &[
            ("total_input_tokens", Slot::Input),
            ("total_output_tokens", Slot::Output),
            ("total_tokens", Slot::Total),
            ("total_cached_tokens", Slot::CacheRead),
            ("total_thought_tokens", Slot::Reasoning),
            ("total_tool_use_tokens", Slot::ToolInput),
        ],
        models: &["model", "interaction.model"],
        orders: &[],
        merge: Merge::Replace,
        cache: Part::Inside,
        reasoning: Part::OutsideByTotal,
    },
    // https://ai.google.dev/gemini-api/docs/openai
    Row {
        dialect: Dialect::GeminiOpenAi,
        places: &["usage"],
        counts: &[
            ("prompt_tokens", Slot::Input),
            ("completion_tokens", Slot::Output),
            ("total_tokens", Slot::Total),
            ("prompt_tokens_details.cached_tokens", Slot::CacheRead),
            ("completion_tokens_details.reasoning_tokens", Slot::Reasoning),
        ],
        models: &["model"],
        orders: &[],
        merge: Merge::Replace,
        cache: Part::Inside,
        reasoning: Part::Remainder,
    },
    // https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html; what InvokeModel's streams
    // end with is in botocore's service model alone.
    Row {
        dialect: Dialect::Bedrock,
        places: &["usage", "amazon-bedrock-invocationMetrics"],
        counts: &[
            ("inputTokens", Slot::Input),
            ("outputTokens", Slot::Output),
            ("totalTokens", Slot::Total),
            ("cacheReadInputTokens", Slot::CacheRead),
            ("cacheReadInputTokenCount", Slot::CacheReadAlias),
            ("cacheWriteInputTokens", Slot::CacheWrite),
            ("cacheWriteInputTokenCount", Slot::CacheWrite),
            ("cacheDetails[].inputTokens", Slot::CacheDetail),
            ("inputTokenCount", Slot::Input),
            ("outputTokenCount", Slot::Output),
        ],
        models: &["trace.promptRouter.invokedModelId"],
        orders: &[],
        merge: Merge::Replace,
        cache: Part::Outside,
        reasoning: Part::Inside,
    },
    // https://docs.cohere.com/reference/chat and https://docs.cohere.com/v1/reference/chat. Billed units leave out the
    // chat's template; what was cached is part of what was used, not of what is billed.
    Row {
        dialect: Dialect::Cohere,
        places: &["usage", "delta.usage", "meta", "response.meta"],
        counts: &[
            ("billed_units.input_tokens", Slot::Input),
            ("billed_units.output_tokens", Slot::Output),
            ("tokens.input_tokens", Slot::UsedInput),
            ("tokens.output_tokens", Slot::UsedOutput),
            ("cached_tokens", Slot::CacheReadAlias),
        ],
        models: &[],
        orders: &[],
        merge: Merge::ByField,
        cache: Part::Inside,
        reasoning: Part::Inside,
    },
    // https://help.aliyun.com/zh/model-studio/dashscope-api-reference and …/context-cache. Running totals in every
    // event.
    Row {
        dialect: Dialect::DashScope,
        places: &["usage"],
        counts: &[
            ("input_tokens", Slot::Input),
            ("output_tokens", Slot::Output),
            ("total_tokens", Slot::Total),
            ("prompt_tokens_details.cached_tokens", Slot::CacheRead),
            ("prompt_tokens_details.cache_creation_input_tokens", Slot::CacheWrite),
            ("prompt_tokens_details.cache_creation.ephemeral_5m_input_tokens", Slot::CacheWrite5m),
            ("output_tokens_details.reasoning_tokens", Slot::Reasoning),
        ],
        models: &[],
        orders: &[],
        merge: Merge::Replace,
        cache: Part::Inside,
        reasoning: Part::Inside,
    },
    // https://cloud.ibm.com/apidocs/watsonx-ai#text-generation. A stream tells the input once, and 0 from then on; the
    // output is a running total. Embeddings have their input at the top.
    Row {
        dialect: Dialect::Watsonx,
        places: &["results[]", ""],
        counts: &[("input_token_count", Slot::Input), ("generated_token_count", Slot::Output)],
        models: &["model_id"],
        orders: &[],
        merge: Merge::ByField,
        cache: Part::Inside,
        reasoning: Part::Inside,
    },
    // https://replicate.com/docs/reference/http#predictions.create
    Row {
        dialect: Dialect::Replicate,
        places: &["metrics"],
        counts: &[("input_token_count", Slot::Input), ("output_token_count", Slot::Output)],
        models: &["model"],
        orders: &[],
        merge: Merge::Replace,
        cache: Part::Inside,
        reasoning: Part::Inside,
    },
    // In this order: https://github.com/ollama/ollama/blob/main/docs/api.md,
    // https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md,
    // https://huggingface.co/docs/text-generation-inference/reference/api_reference (which lists the tokens of the
    // prompt, if asked to, and gives their number in streams only), https://docs.sglang.ai/basic_usage/native_api.html,
    // https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-meta.html and …-titan-text.html,
    // https://docs.aleph-alpha.com/api/complete,
    // https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api.
    Row {
        dialect: Dialect::Flat,
        places: &[""],
        counts: &[
            ("prompt_eval_count", Slot::Input),
            ("eval_count", Slot::Output),
            ("tokens_evaluated", Slot::Input),
            ("tokens_predicted", Slot::Output),
            ("details.generated_tokens", Slot::Output),
            ("details.input_length", Slot::Input),
            ("details.prefill[].id", Slot::InputToken),
            ("meta_info.prompt_tokens", Slot::Input),
            ("meta_info.completion_tokens", Slot::Output),
            ("meta_info.cached_tokens", Slot::CacheRead),
            ("prompt_token_count", Slot::Input),
            ("generation_token_count", Slot::Output),
            ("inputTextTokenCount", Slot::Input),
            ("totalOutputTextTokenCount", Slot::Output),
            ("results[].tokenCount", Slot::EachOutput),
            ("num_tokens_prompt_total", Slot::Input),
            ("num_tokens_generated", Slot::Output),
            ("predictions[].embeddings.statistics.token_count", Slot::EachInput),
        ],
        models: &["model", "model_version"],
        orders: &[],
        merge: Merge::ByField,
        cache: Part::Inside,
        reasoning: Part::Inside,
    },
];

/// What a document says beside its counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// A word that tells the document's kind: see [`KINDS`].
    Kind,
    /// `true` in the last document of a stream.
    Done,
    /// Why the answer ended: there in the last document of a stream.
    Finish,
    /// Why a choice, or all of it, ended; a word that begins with `error` is a failure.
    ChoiceFinish,
    /// An error, unless it is null.
    Error,
    /// The provider's name for an error.
    ErrorType,
    /// The number of an error, 0 for none.
    ErrorNumber,
    /// A word that names an error, if the document is one; DashScope has nothing else to say so.
    Code,
    /// Cache writes of one lifetime begin here.
    CacheDetail,
    /// How long the cache writes beside it are kept.
    Lifetime,
}

/// Where the signals stand.
static SIGNALS: &[(&str, Signal)] = &[
    ("type", Signal::Kind),
    ("object", Signal::Kind),
    ("event_type", Signal::Kind),
    ("done", Signal::Done),
    // llama.cpp's.
    ("stop", Signal::Done),
    ("candidates[].finishReason", Signal::Finish),
    ("response.candidates[].finishReason", Signal::Finish),
    // Of a prompt that is not answered there is one word.
    ("promptFeedback.blockReason", Signal::Finish),
    ("response.promptFeedback.blockReason", Signal::Finish),
    // Anthropic's completions and Bedrock's Llama.
    ("stop_reason", Signal::Finish),
    // TGI's.
    ("generated_text", Signal::Finish),
    // InvokeModel's last word.
    ("amazon-bedrock-invocationMetrics", Signal::Finish),
    ("choices[].finish_reason", Signal::ChoiceFinish),
    // Cohere's, both versions.
    ("finish_reason", Signal::ChoiceFinish),
    ("delta.finish_reason", Signal::ChoiceFinish),
    ("delta.error", Signal::Error),
    ("error", Signal::Error),
    ("error.type", Signal::ErrorType),
    ("error.code", Signal::ErrorType),
    ("error.status", Signal::ErrorType),
    ("error_type", Signal::ErrorType),
    ("code", Signal::Code),
    // Cloudflare's and watsonx'.
    ("errors[]", Signal::Error),
    ("errors[].code", Signal::ErrorType),
    ("choices[].error", Signal::Error),
    ("x_groq.error", Signal::Error),
    ("response.error", Signal::Error),
    ("response.error.code", Signal::ErrorType),
    // A run's.
    ("last_error", Signal::Error),
    ("last_error.code", Signal::ErrorType),
    // MiniMax', with status 200: https://platform.minimax.io/docs/api-reference/text-post
    ("base_resp.status_code", Signal::ErrorNumber),
    ("usage.cacheDetails[]", Signal::CacheDetail),
    ("usage.cacheDetails[].ttl", Signal::Lifetime),
];

/// Lists that every answer has, and of whose elements only those matter that have one of [`NEEDLES`] in them.
static SPARSE: &[&str] = &["choices", "candidates", "response.candidates"];

/// What makes an element of a sparse list matter: how a key begins, or a reason to finish.
pub(super) const NEEDLES: [&[u8]; 3] = [b"error", b"usage", b"finishReason"];

/// Sparse lists as they are spelled around a text, behind their bracket, from recorded responses: nothing in them matters,
/// whatever the text is. With a space behind each colon as Google sends them, and without as many pass them on.
pub(super) static SPELLINGS: [Spelling; 2] = [
    Spelling {
        before: br#"{"content": {"parts": [{"text": ""#,
        after: [br#""}],"role": "model"}}]"#, br#""}],"role": "model"},"index": 0}]"#],
    },
    Spelling {
        before: br#"{"content":{"parts":[{"text":""#,
        after: [br#""}],"role":"model"},"index":0}]"#, br#""}],"role":"model"}}]"#],
    },
];

/// How a list that nobody wants is spelled around a number, with its bracket, from recorded responses. It ends in `}]`.
pub(super) static DETAILS: [&[u8]; 2] =
    [br#"[{"modality": "TEXT","tokenCount": "#, br#"[{"modality":"TEXT","tokenCount":"#];

/// What stands around a text.
pub(super) struct Spelling {
    pub(super) before: &'static [u8],
    /// From the quote on that ends it, to the end of the list: one of these.
    pub(super) after: [&'static [u8]; 2],
}

/// What a document of a known kind is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// The only wire format that has it.
    pub(super) dialect: Option<Dialect>,
    /// Nothing follows it.
    pub(super) is_terminal: bool,
    /// Its counts are a beginning: the output is a placeholder.
    pub(super) is_start: bool,
    /// The end is near: what follows is to be looked at, needles or not.
    pub(super) is_near_end: bool,
    /// It reports a failure.
    pub(super) is_error: bool,
    /// Its counts are a part of those that another document of the same response has.
    pub(super) is_part: bool,
}

impl Kind {
    /// Nobody knows what it is.
    pub(super) const UNKNOWN: Self = Self {
        dialect: None,
        is_terminal: false,
        is_start: false,
        is_near_end: false,
        is_error: false,
        is_part: false,
    };
}

const fn kind(dialect: Dialect) -> Kind {
    Kind { dialect: Some(dialect), ..Kind::UNKNOWN }
}

const fn last(dialect: Dialect) -> Kind {
    Kind { is_terminal: true, ..kind(dialect) }
}

/// The words at a [`Signal::Kind`] that mean something.
pub(super) static KINDS: &[(&str, Kind)] = &[
    ("message", kind(Dialect::Anthropic)),
    ("message_start", Kind { is_start: true, ..kind(Dialect::Anthropic) }),
    ("message_delta", Kind { is_near_end: true, ..kind(Dialect::Anthropic) }),
    ("message_stop", last(Dialect::Anthropic)),
    // Anthropic's and Responses' as a type, Mistral's and vLLM's as an object, Google's as an event.
    ("error", Kind { is_error: true, is_terminal: true, ..Kind::UNKNOWN }),
    ("response", kind(Dialect::Responses)),
    ("response.completed", last(Dialect::Responses)),
    ("response.incomplete", last(Dialect::Responses)),
    ("response.failed", Kind { is_error: true, ..last(Dialect::Responses) }),
    ("image_generation.completed", last(Dialect::Responses)),
    ("image_edit.completed", last(Dialect::Responses)),
    ("transcript.text.done", last(Dialect::Responses)),
    ("speech.audio.done", last(Dialect::Responses)),
    ("interaction.complete", last(Dialect::Interactions)),
    ("interaction.completed", last(Dialect::Interactions)),
    ("message-end", last(Dialect::Cohere)),
    ("stream-end", last(Dialect::Cohere)),
    ("chat.completion", kind(Dialect::OpenAi)),
    ("chat.completion.chunk", kind(Dialect::OpenAi)),
    // Mistral's transcriptions.
    ("transcription.done", last(Dialect::OpenAi)),
    // A run streams its steps, too.
    ("thread.run.step", Kind { is_part: true, ..kind(Dialect::OpenAi) }),
];

/// Where a path leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Count(Count),
    Model,
    Signal(Signal),
}

/// A path that leads to a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) slot: Slot,
    /// Which of all places it belongs to; the lowest is the best.
    pub(super) place: u8,
    /// The dialects that have this path, one bit each.
    pub(super) dialects: u16,
}

impl Action {
    /// The counts that stand here, one bit each.
    pub(super) fn slots(self) -> u32 {
        match self {
            Self::Count(Count { slot: Slot::CacheDetail, .. }) => {
                Slot::CacheWrite5m.bit() | Slot::CacheWrite1h.bit()
            }
            Self::Count(count) => count.slot.bit(),
            Self::Model | Self::Signal(_) => 0,
        }
    }

    /// What stands here adds up over the elements of an array.
    pub(super) fn is_sum(self) -> bool {
        matches!(self, Self::Count(count) if count.slot.is_sum())
    }

    /// The same path in another dialect.
    ///
    /// # Panics
    ///
    /// If the two do not agree on what stands there.
    pub(super) fn merge(self, other: Self) -> Self {
        match (self, other) {
            (Self::Count(count), Self::Count(other))
                if (count.slot, count.place) == (other.slot, other.place) =>
            {
                Self::Count(Count { dialects: count.dialects | other.dialects, ..count })
            }
            _ if self == other => self,
            _ => panic!("two dialects disagree about one path: {self:?}, {other:?}"),
        }
    }
}

/// Every path of every dialect, and what is known of documents beside that.
pub(super) struct Paths {
    pub(super) trie: Trie,
    /// What an answer begins with, as a rule, by dialect.
    firsts: [ExpectedId; Dialect::ALL.len()],
}

impl Paths {
    /// What an answer begins with, as a rule.
    pub(super) fn first(&self, dialect: Dialect) -> ExpectedId {
        self.firsts[dialect as usize]
    }
}

pub(super) static PATHS: LazyLock<Paths> = LazyLock::new(|| {
    let mut places = Vec::new();
    let mut paths = Vec::new();
    for row in &DIALECTS {
        for &place in row.places {
            let rank = places.iter().position(|known| *known == place).unwrap_or_else(|| {
                places.push(place);
                places.len() - 1
            });
            for &(count, slot) in row.counts {
                let path = keys(place).chain(keys(count)).collect();
                let count = Count { slot, place: rank as u8, dialects: row.dialect.bit() };
                paths.push((path, Action::Count(count)));
            }
        }
        paths.extend(row.models.iter().map(|model| (keys(model).collect(), Action::Model)));
    }
    paths.extend(SIGNALS.iter().map(|&(path, signal)| (keys(path).collect(), Action::Signal(signal))));
    let mut trie = Trie::new(paths);
    SPARSE.iter().for_each(|list| trie.set_sparse(keys(list)));
    let firsts = Dialect::ALL.map(|dialect| {
        let firsts = dialect.row().orders.iter().map(|order| trie.expect(order));
        firsts.reduce(|first, _| first).unwrap_or(ExpectedId::NONE)
    });
    Paths { trie, firsts }
});

fn keys(path: &'static str) -> impl Iterator<Item = &'static str> {
    path.split('.').filter(|key| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_the_order_of_the_dialects() {
        for (at, row) in DIALECTS.iter().enumerate() {
            assert_eq!(row.dialect as usize, at);
        }
    }

    #[test]
    fn what_is_wanted_of_a_sparse_list_begins_with_a_needle() {
        let begins = |key: &str| NEEDLES.iter().any(|needle| key.as_bytes().starts_with(needle));
        let counts = DIALECTS.iter().flat_map(|row| {
            let below =
                |place: &'static str| row.counts.iter().map(move |(count, _)| format!("{place}.{count}"));
            row.places.iter().copied().flat_map(below)
        });
        let models = DIALECTS.iter().flat_map(|row| row.models).map(|path| (*path).to_owned());
        // Of a reason to finish only an error matters.
        let signals = SIGNALS.iter().filter(|(_, signal)| *signal != Signal::ChoiceFinish);
        let signals = signals.map(|(path, _)| (*path).to_owned());
        let paths: Vec<_> = counts.chain(models).chain(signals).collect();
        for list in SPARSE {
            let inside = format!("{list}[].");
            let wanted = paths.iter().filter_map(|path| path.trim_start_matches('.').strip_prefix(&inside));
            let wanted: Vec<_> = wanted.collect();
            assert_ne!(wanted.len(), 0, "{list}");
            for rest in wanted {
                assert!(begins(rest), "{inside}{rest}");
            }
        }
    }

    #[test]
    fn no_two_dialects_disagree_about_a_path() {
        LazyLock::force(&PATHS);
    }
}
