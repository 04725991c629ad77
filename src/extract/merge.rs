//! What the documents of one response say together.

use super::{
    dialect::{self, Action, Dialect, KINDS, Kind, Merge, PATHS, Part, Signal, Slot},
    scan::{Scalar, Visit},
    text,
    trie::{NodeId, Trie},
};
use crate::{
    event::{Tokens, UsageQuality},
    texts::Texts,
};

/// Counts as a provider sent them. 32 bits hold any count of one response; what does not fit is none.
#[derive(Clone, Copy, Debug)]
struct Counts {
    present: u32,
    common: [u32; Slot::COMMON],
}

impl Counts {
    const NONE: Self = Self { present: 0, common: [0; Slot::COMMON] };

    /// `rare` are those that are not common.
    fn get(&self, slot: Slot, rare: Option<&[u32; Slot::RARE]>) -> Option<u32> {
        if self.present & slot.bit() == 0 {
            return None;
        }
        match slot.rare() {
            None => Some(self.common[slot as usize]),
            Some(at) => Some(rare?[at]),
        }
    }

    /// Those that are there.
    fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        let present = self.present;
        Slot::ALL.into_iter().filter(move |slot| present & slot.bit() != 0)
    }
}

/// What hardly any answer has: there is room for it when it comes.
#[derive(Debug)]
struct Rare {
    /// Counts of the response.
    counts: [u32; Slot::RARE],
    /// Those of the document being read, and where each of them stands.
    in_document: [u32; Slot::RARE],
    origins: [NodeId; Slot::RARE],
    /// Cache writes of one lifetime, of which so much has been seen: how many, and the count that they belong to.
    detail: (Option<u32>, Option<Slot>),
}

impl Rare {
    const NONE: Self = Self {
        counts: [0; Slot::RARE],
        in_document: [0; Slot::RARE],
        origins: [NodeId::NONE; Slot::RARE],
        detail: (None, None),
    };
}

/// The place of a document in which no count has been seen.
const NO_PLACE: u8 = u8::MAX;

/// What is known of the document being read.
#[derive(Debug)]
struct Document {
    /// Where the counts stand that are held.
    place: u8,
    /// The dialects that have all of their paths.
    dialects: u16,
    counts: Counts,
    /// Where each of them stands.
    origins: [NodeId; Slot::COMMON],
    flaw: Option<Flaw>,
    kind: Kind,
    has_code: bool,
    is_error: bool,
    is_finished: bool,
}

impl Document {
    const EMPTY: Self = Self {
        place: NO_PLACE,
        dialects: u16::MAX,
        counts: Counts::NONE,
        origins: [NodeId::NONE; Slot::COMMON],
        flaw: None,
        kind: Kind::UNKNOWN,
        has_code: false,
        is_error: false,
        is_finished: false,
    };

    /// A count at this place comes. Returns whether it counts: no better place has any.
    #[inline(always)]
    fn begin_place(&mut self, place: u8) -> bool {
        if place < self.place {
            self.place = place;
            self.dialects = u16::MAX;
            self.counts.present = 0;
            self.flaw = None;
        }
        place == self.place
    }

    /// The room for a count that is no rare one: for how many, and where it stands.
    #[inline(always)]
    fn common(&mut self, slot: Slot) -> Option<(&mut u32, &mut NodeId)> {
        let at = slot as usize;
        self.counts.common.get_mut(at).zip(self.origins.get_mut(at))
    }
}

/// Why a count is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Flaw {
    Malformed,
    Overflow,
}

/// The longest model that is kept, in bytes.
pub(super) const MAX_MODEL: usize = 200;
/// The longest error type that is kept, in bytes.
const MAX_ERROR_TYPE: usize = 64;

/// What the documents have said: of tokens, as their provider counts them, and of how it went.
#[derive(Debug)]
pub(super) struct Said {
    counts: Counts,
    rare: Option<Box<Rare>>,
    /// Whose counts they are. `None`: no counts yet.
    pub(super) dialect: Option<Dialect>,
    flaw: Option<Flaw>,
    /// A message came otherwise than it was sent: nothing of what it said counts.
    is_spoiled: bool,
    /// The counts are a beginning; see [`Kind::is_start`].
    is_start: bool,
    /// The counts are of a document that was not whole.
    pub(super) is_half: bool,
    /// The same counts have been told twice, and not the same.
    is_contradicted: bool,
    /// A document was not JSON.
    pub(super) is_malformed: bool,
    /// The body ended within a document.
    pub(super) is_cut: bool,
    /// The body could not be decoded, or grew too large while it was.
    pub(super) failure: Option<UsageQuality>,
    /// The provider reports a failure.
    is_error: bool,
}

impl Said {
    const NOTHING: Self = Self {
        counts: Counts::NONE,
        rare: None,
        dialect: None,
        flaw: None,
        is_spoiled: false,
        is_start: false,
        is_half: false,
        is_contradicted: false,
        is_malformed: false,
        is_cut: false,
        failure: None,
        is_error: false,
    };

    /// Nothing of it counts, since not all of the body could be looked at.
    pub(super) fn unsupported(self) -> Self {
        Self { dialect: self.dialect, failure: Some(UsageQuality::Unsupported), ..Self::NOTHING }
    }

    /// How many there are.
    fn counted(&self, slot: Slot) -> Option<u32> {
        self.counts.get(slot, self.rare.as_ref().map(|rare| &rare.counts))
    }

    /// The counts by our rule: input with caches, output with reasoning.
    pub(super) fn tokens(&self) -> (Tokens, Option<UsageQuality>) {
        let Some(dialect) = self.dialect else {
            let spoiled = self.is_spoiled.then_some(UsageQuality::Malformed);
            return (Tokens::default(), self.flaw.map(Flaw::quality).or(spoiled));
        };
        let row = dialect.row();
        let count = |slot| self.counted(slot).map(u64::from);
        let or_alias = |slot, alias| match count(slot) {
            None | Some(0) => count(alias).or(count(slot)),
            some => some,
        };
        let total = count(Slot::Total);
        let is_billed = count(Slot::Input).is_some() || count(Slot::Output).is_some();
        let cache_read = or_alias(Slot::CacheRead, Slot::CacheReadAlias)
            // Part of what was used, which is not what is billed.
            .filter(|_| !(is_billed && count(Slot::UsedInput).is_some()));
        let cache_read = count(Slot::EachCacheRead).or(cache_read);
        let by_lifetime = match (count(Slot::CacheWrite5m), count(Slot::CacheWrite1h)) {
            (None, None) => None,
            (short, long) => Some(short.unwrap_or(0) + long.unwrap_or(0)),
        };
        let cache_write = count(Slot::EachCacheWrite).or(count(Slot::CacheWrite)).or(by_lifetime);
        let mut reasoning = or_alias(Slot::Reasoning, Slot::ReasoningAlias);
        let used = |slot| count(slot).filter(|_| !is_billed);
        let mut input = count(Slot::EachInput)
            .or(count(Slot::Input))
            .or(used(Slot::UsedInput))
            .or(count(Slot::InputToken));
        let mut output = count(Slot::EachOutput).or(count(Slot::Output)).or(used(Slot::UsedOutput));
        if self.is_start {
            // The placeholder of a beginning is no count of the output.
            output = None;
        }

        let is_flawed = self.flaw.is_some();
        let add = |count: &mut Option<u64>, part: Option<u64>| match (*count, part) {
            // A part alone is no count of the whole, when the rest may be what could not be read.
            (None, _) if is_flawed => {}
            (_, None) => {}
            (before, Some(part)) => *count = Some(before.unwrap_or(0) + part),
        };
        if row.cache == Part::Outside {
            add(&mut input, cache_read);
            add(&mut input, cache_write);
        }
        add(&mut input, count(Slot::ToolInput));
        let adds_up = |input: Option<u64>, output: Option<u64>, part: Option<u64>| {
            total.is_some() && total == Some(input.unwrap_or(0) + output.unwrap_or(0) + part.unwrap_or(0))
        };
        // Perplexity's deep research bills its sources and its reasoning beside the completion, and beside the total.
        let is_research = count(Slot::Citations).is_some();
        let total = if is_research { None } else { total };
        let outside = match row.reasoning {
            _ if is_research => reasoning,
            Part::Outside => reasoning,
            Part::ByTotal if !adds_up(input, output, None) && adds_up(input, output, reasoning) => reasoning,
            Part::OutsideByTotal if !adds_up(input, output, None) => reasoning,
            Part::Remainder => {
                let known = input.unwrap_or(0) + output.unwrap_or(0);
                let rest = total.and_then(|total| total.checked_sub(known)).filter(|rest| *rest > 0);
                reasoning = reasoning.or(rest);
                rest
            }
            Part::Inside | Part::ByTotal | Part::OutsideByTotal => None,
        };
        add(&mut output, outside);
        add(&mut output, count(Slot::Citations));
        if count(Slot::AudioInput) > Some(0) && adds_up(input, output, count(Slot::AudioInput)) {
            add(&mut input, count(Slot::AudioInput));
        }

        let sum = input.zip(output).map(|(input, output)| input + output);
        // There is no call without any input, but there are providers that count none of it.
        let is_nothing = input == Some(0) && output.unwrap_or(0) == 0 && total.unwrap_or(0) == 0;
        let is_inconsistent = is_nothing
            || self.is_contradicted
            || cache_read.unwrap_or(0) + cache_write.unwrap_or(0) > input.unwrap_or(u64::MAX)
            || reasoning > output.or(Some(u64::MAX))
            || count(Slot::EachInput).is_none() && sum.zip(total).is_some_and(|(sum, total)| sum != total);
        let quality = match self.flaw {
            Some(flaw) => Some(flaw.quality()),
            None if self.is_spoiled => Some(UsageQuality::Malformed),
            None if self.is_start => Some(UsageQuality::Partial),
            None if is_inconsistent => Some(UsageQuality::Inconsistent),
            None => None,
        };
        let cache_write_1h = count(Slot::EachCacheWrite1h).or(count(Slot::CacheWrite1h));
        (
            Tokens {
                input,
                output,
                total: sum.or(total),
                cache_read,
                cache_write,
                cache_write_1h,
                reasoning,
            },
            quality,
        )
    }
}

/// What is known of a response.
#[derive(Debug)]
pub(super) struct Response {
    /// The dialect of the endpoint, where it is a known one: decides what the documents leave open.
    hint: Option<Dialect>,
    document: Document,
    pub(super) said: Said,
    /// Whole documents that have passed, or as many as are counted.
    documents: u8,
    /// A document counts when its framing says that it came as it was sent, and not at its last byte.
    is_deferred: bool,
    has_pending: bool,
    is_near_end: bool,
    is_terminal: bool,
    /// The model, and the name of an error, are put here, with the others that the call has.
    texts: Texts,
    /// The model is that of a document which is still to be committed.
    is_model_pending: bool,
    /// The name of the error is none, or the last word at [`Signal::Code`], as long as there is no better, which is one only
    /// if there is an error at all.
    is_code: bool,
}

impl Response {
    #[inline(always)]
    pub(super) fn new(hint: Option<Dialect>, texts: Texts) -> Self {
        Self {
            hint,
            document: Document::EMPTY,
            said: Said::NOTHING,
            documents: 0,
            is_deferred: false,
            has_pending: false,
            is_near_end: false,
            is_terminal: false,
            texts,
            is_model_pending: false,
            is_code: true,
        }
    }

    /// More than one document has passed.
    pub(super) fn is_of_many(&self) -> bool {
        self.documents > 1
    }

    pub(super) fn has_model(&self) -> bool {
        self.texts.has_model()
    }

    pub(super) fn has_usage(&self) -> bool {
        self.said.dialect.is_some()
    }

    /// The end is near enough that every event is worth a look.
    pub(super) fn is_near_end(&self) -> bool {
        self.is_near_end
    }

    /// The provider has said that this is the end.
    pub(super) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// The provider has reported a failure.
    pub(super) fn is_error(&self) -> bool {
        self.said.is_error
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn model(&self) -> &[u8] {
        self.texts.model()
    }

    pub(super) fn error_type(&self) -> &[u8] {
        if self.is_code && !self.said.is_error { b"" } else { self.texts.error_type() }
    }

    /// The texts that the call has, of its answer those that count. There are none then.
    pub(super) fn take_texts(&mut self) -> Texts {
        if self.error_type().is_empty() {
            self.texts.set_error_type(b"");
        }
        std::mem::take(&mut self.texts)
    }

    /// What there is to say of tokens. There is nothing then.
    pub(super) fn take_said(&mut self) -> Said {
        std::mem::replace(&mut self.said, Said::NOTHING)
    }

    pub(super) fn hint(&self) -> Option<Dialect> {
        self.hint
    }

    /// The framing has said that the provider reports a failure, and what it calls it.
    pub(super) fn note_error(&mut self, kind: &[u8]) {
        self.said.is_error = true;
        self.set_error_type(kind);
    }

    /// The first name counts.
    fn set_error_type(&mut self, name: &[u8]) {
        if self.is_code && !name.is_empty() {
            self.texts.set_error_type(&text::word(name, MAX_ERROR_TYPE));
            self.is_code = false;
        }
    }

    /// The framing has said that this is the end.
    pub(super) fn note_end(&mut self) {
        self.is_terminal = true;
    }

    /// Documents count from now on when they are committed.
    pub(super) fn defer(&mut self) {
        self.is_deferred = true;
    }

    /// The document that has ended is what was sent.
    pub(super) fn commit(&mut self) {
        self.is_model_pending = false;
        if std::mem::take(&mut self.has_pending) {
            self.merge_document();
        }
    }

    /// What was read last is not what was sent.
    pub(super) fn spoil(&mut self) {
        self.has_pending = false;
        self.reset_document();
        self.said.is_spoiled = true;
        if std::mem::take(&mut self.is_model_pending) {
            self.texts.set_model(b"");
        }
    }

    /// The document being read ends here, but is not whole. `open` are the containers that it ends in.
    pub(super) fn cut(&mut self, open: &[NodeId]) {
        // Half a set of running totals is worth less than the whole one before it, and what nobody vouches for is worth
        // nothing.
        if self.said.dialect.is_none() && !self.is_deferred {
            if self.counts_within(open) {
                // What is missing may be a part of what is there: caches belong to the input of some.
                self.document.counts.present = 0;
            }
            self.merge_document();
            self.said.is_half = self.said.dialect.is_some();
        }
        self.reset_document();
    }

    /// One of the containers, or the document itself, has counts of its own, and may have more.
    fn counts_within(&self, open: &[NodeId]) -> bool {
        self.document.counts.slots().map(|slot| self.origin(slot)).any(|origin| {
            PATHS.trie.is_child(NodeId::ROOT, origin)
                || open.iter().any(|open| *open != NodeId::ROOT && PATHS.trie.contains(*open, origin))
        })
    }

    fn set_counted(&mut self, slot: Slot, number: u32) {
        self.said.counts.present |= slot.bit();
        match slot.rare() {
            None => self.said.counts.common[slot as usize] = number,
            Some(at) => self.rare().counts[at] = number,
        }
    }

    /// How many the document has.
    fn in_document(&self, slot: Slot) -> Option<u32> {
        self.document.counts.get(slot, self.said.rare.as_ref().map(|rare| &rare.in_document))
    }

    /// Where the document has them.
    fn origin(&self, slot: Slot) -> NodeId {
        match slot.rare() {
            None => self.document.origins[slot as usize],
            Some(at) => self.said.rare.as_ref().map_or(NodeId::NONE, |rare| rare.origins[at]),
        }
    }

    fn set_in_document(&mut self, slot: Slot, number: u32, origin: NodeId) {
        let document = &mut self.document;
        document.counts.present |= slot.bit();
        match slot.rare() {
            None => {
                document.counts.common[slot as usize] = number;
                document.origins[slot as usize] = origin;
            }
            Some(at) => {
                let rare = self.rare();
                rare.in_document[at] = number;
                rare.origins[at] = origin;
            }
        }
    }

    fn add_in_document(&mut self, slot: Slot, number: u32, origin: NodeId) {
        match self.in_document(slot).unwrap_or(0).checked_add(number) {
            Some(sum) if self.document.flaw != Some(Flaw::Overflow) => {
                self.set_in_document(slot, sum, origin);
            }
            _ => {
                self.document.counts.present &= !slot.bit();
                self.document.flaw = Some(Flaw::Overflow);
            }
        }
    }

    fn rare(&mut self) -> &mut Rare {
        self.said.rare.get_or_insert_with(|| Box::new(Rare::NONE))
    }

    /// The next one begins.
    fn reset_document(&mut self) {
        let document = &mut self.document;
        // What is not present is not looked at.
        document.counts.present = 0;
        document.place = NO_PLACE;
        document.dialects = u16::MAX;
        document.flaw = None;
        document.kind = Kind::UNKNOWN;
        document.has_code = false;
        document.is_error = false;
        document.is_finished = false;
        if let Some(rare) = &mut self.said.rare {
            rare.detail = (None, None);
        }
    }

    /// The document counts.
    fn merge_document(&mut self) {
        self.merge();
        self.reset_document();
    }

    fn merge(&mut self) {
        let document = &self.document;
        self.is_terminal |= document.kind.is_terminal || document.is_finished;
        self.said.is_error |= document.is_error || document.kind.is_error;
        self.is_near_end |= document.kind.is_near_end;
        if document.counts.present == 0 || document.kind.is_part {
            // The only word that DashScope has for a failure.
            self.said.is_error |= document.has_code && self.hint == Some(Dialect::DashScope);
            self.said.flaw = self.said.flaw.max(document.flaw);
            return;
        }
        let dialect = self.dialect_of(document);
        if (self.said.dialect, dialect) == (Some(Dialect::Anthropic), Dialect::Bedrock) && !self.said.is_start
        {
            // Bedrock's envelope repeats what the answer inside of it has told, and less of it.
            let differs = |inner, slot| self.in_document(slot).is_some_and(|outer| inner != Some(outer));
            let count = |each, slot| self.said.counted(each).or(self.said.counted(slot));
            self.said.is_contradicted |= differs(count(Slot::EachInput, Slot::Input), Slot::Input)
                || differs(count(Slot::EachOutput, Slot::Output), Slot::Output);
            return;
        }
        self.said.flaw = document.flaw;
        self.said.is_half = false;
        self.said.is_start = document.kind.is_start;
        self.is_near_end |= !document.kind.is_start;
        if self.said.dialect != Some(dialect) || dialect.row().merge == Merge::Replace {
            self.said.counts = document.counts;
            if let Some(rare) = &mut self.said.rare {
                rare.counts = rare.in_document;
            }
        } else {
            for slot in document.counts.slots() {
                match self.in_document(slot) {
                    // A gateway's 0 is "I did not count that", when the provider has counted it before.
                    Some(0) if slot != Slot::Output && self.said.counted(slot).is_some() => {}
                    Some(count) => self.set_counted(slot, count),
                    None => {}
                }
            }
        }
        self.said.dialect = Some(dialect);
    }

    fn dialect_of(&self, document: &Document) -> Dialect {
        let fits = |dialect: &Dialect| document.dialects & dialect.bit() != 0;
        // Google's route says of its answers that they are OpenAI's, and counts differently.
        let is_disguised =
            |dialect: &Dialect| *dialect == Dialect::OpenAi && self.hint == Some(Dialect::GeminiOpenAi);
        document
            .kind
            .dialect
            .filter(|dialect| fits(dialect) && !is_disguised(dialect))
            .or(self.hint.filter(fits))
            .or(self.said.dialect.filter(fits))
            .or_else(|| Dialect::ALL.into_iter().find(fits))
            .or(self.hint)
            .unwrap_or(Dialect::OpenAi)
    }

    /// Bytes that are held beside the state itself.
    #[cfg(any(test, fuzzing))]
    pub(super) fn held(&self) -> usize {
        self.texts.held() + self.said.rare.as_ref().map_or(0, |rare| size_of_val(&**rare))
    }

    /// Whatever stood at or below `node` in this document, as `slots` say, does not count any more: the key is there
    /// again.
    #[inline(always)]
    fn forget(&mut self, node: NodeId, slots: u32) {
        if self.document.counts.present & slots != 0 {
            self.forget_counts(node, slots);
        }
    }

    #[cold]
    fn forget_counts(&mut self, node: NodeId, slots: u32) {
        for slot in self.document.counts.slots().filter(|slot| slot.bit() & slots != 0) {
            // The same count may stand at another path, too.
            if PATHS.trie.contains(node, self.origin(slot)) {
                self.document.counts.present &= !slot.bit();
            }
        }
    }

    /// A count that is rare; or any, where it does not matter how long it takes.
    #[cold]
    fn count_rare(&mut self, node: NodeId, slot: Slot, number: u32) {
        match slot {
            Slot::CacheDetail => {
                self.rare().detail.0 = Some(number);
                self.count_detail(node);
            }
            Slot::InputToken => self.add_in_document(slot, 1, node),
            slot if slot.is_sum() => self.add_in_document(slot, number, node),
            slot => self.set_in_document(slot, number, node),
        }
    }

    /// A value that is no number of few digits, where a count should be.
    fn count_other(&mut self, node: NodeId, count: dialect::Count, value: Scalar<'_>) {
        let number = match value {
            Scalar::Null => return,
            Scalar::Number(number) => text::count(number),
            _ => Err(text::NotACount::Malformed),
        };
        let document = &mut self.document;
        if !document.begin_place(count.place) {
            return;
        }
        match number {
            Ok(number) => {
                document.dialects &= count.dialects;
                self.count_rare(node, count.slot, number);
            }
            Err(text::NotACount::Malformed) => document.flaw = document.flaw.max(Some(Flaw::Malformed)),
            Err(text::NotACount::Overflow) => document.flaw = Some(Flaw::Overflow),
        }
    }

    /// Counts the cache writes of one lifetime, once all is known of them: in whichever order it comes.
    fn count_detail(&mut self, node: NodeId) {
        let detail = &mut self.rare().detail;
        if let (Some(number), Some(slot)) = *detail {
            *detail = (None, None);
            self.add_in_document(slot, number, node);
        }
    }

    fn signal(&mut self, node: NodeId, signal: Signal, value: Scalar<'_>) {
        match (signal, value) {
            (Signal::Kind, Scalar::Text(word)) => {
                if let Some((_, kind)) = KINDS.iter().find(|(known, _)| known.as_bytes() == word) {
                    self.document.kind = *kind;
                }
            }
            (Signal::Done, Scalar::Bool(true)) | (Signal::Finish, Scalar::Text(_)) => {
                self.document.is_finished = true
            }
            (Signal::ChoiceFinish, Scalar::Text(word)) => {
                self.document.is_error |=
                    word.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"error"));
            }
            (Signal::Error, Scalar::Text(text)) => self.document.is_error |= !text.is_empty(),
            (Signal::Error, Scalar::Other | Scalar::Bool(true)) => self.document.is_error = true,
            (Signal::ErrorType, Scalar::Text(word) | Scalar::Number(word)) => self.set_error_type(word),
            (Signal::ErrorNumber, Scalar::Number(number)) if number != b"0" => {
                self.note_error(number);
            }
            (Signal::Code, Scalar::Text(word)) if !word.is_empty() => {
                self.document.has_code = true;
                if self.is_code {
                    self.texts.set_error_type(&text::word(word, MAX_ERROR_TYPE));
                }
            }
            (Signal::Lifetime, Scalar::Text(lifetime)) => {
                self.rare().detail.1 = match lifetime {
                    b"5m" => Some(Slot::CacheWrite5m),
                    b"1h" => Some(Slot::CacheWrite1h),
                    _ => None,
                };
                self.count_detail(node);
            }
            _ => {}
        }
    }

    /// The value at `node` is an object or array.
    fn open(&mut self, node: NodeId, action: Option<Action>, slots: u32) {
        self.forget(node, slots);
        match action {
            Some(Action::Signal(Signal::Error)) => self.document.is_error = true,
            Some(Action::Signal(Signal::Finish)) => self.document.is_finished = true,
            Some(Action::Signal(Signal::CacheDetail)) => self.rare().detail = (None, None),
            _ => {}
        }
    }

    // Wherever there are counts there are several: to go elsewhere for each would take as long as all that is done.
    #[inline(always)]
    fn count(&mut self, node: NodeId, count: dialect::Count, slots: u32, number: u32) {
        self.forget(node, slots);
        let document = &mut self.document;
        if document.begin_place(count.place) {
            document.dialects &= count.dialects;
            match document.common(count.slot) {
                Some((value, origin)) => {
                    (*value, *origin) = (number, node);
                    document.counts.present |= count.slot.bit();
                }
                None => self.count_rare(node, count.slot, number),
            }
        }
    }

    /// Any other value at `node`.
    fn scalar(&mut self, node: NodeId, action: Option<Action>, slots: u32, value: Scalar<'_>) {
        self.forget(node, slots);
        match (action, value) {
            (Some(Action::Count(count)), value) => self.count_other(node, count, value),
            (Some(Action::Signal(signal)), value) => self.signal(node, signal, value),
            (Some(Action::Model), Scalar::Text(name)) => {
                if name == self.texts.model() {
                    // As in the document before, as a rule.
                    return;
                }
                let name = text::name(name, MAX_MODEL);
                if !name.is_empty() {
                    self.texts.set_model(&name);
                    self.is_model_pending = self.is_deferred;
                }
            }
            _ => {}
        }
    }

    /// A whole document has passed.
    fn end_document(&mut self) {
        self.documents = self.documents.saturating_add(1);
        if self.is_deferred {
            // There is one to a message; should there be more, they count as one.
            self.has_pending = true;
        } else {
            self.merge_document();
        }
    }
}

/// A response, while a scanner reads for it.
pub(super) struct Reading<'a> {
    trie: &'static Trie,
    response: &'a mut Response,
}

impl<'a> Reading<'a> {
    pub(super) fn new(response: &'a mut Response) -> Self {
        // Once, since the lock around it is asked each time.
        Self { trie: &PATHS.trie, response }
    }

    pub(super) fn trie(&self) -> &'static Trie {
        self.trie
    }
}

impl Visit for Reading<'_> {
    fn open(&mut self, node: NodeId) {
        let (action, slots) = self.trie.place(node);
        self.response.open(node, action, slots);
    }

    #[inline(always)]
    fn count(&mut self, node: NodeId, number: u32) -> bool {
        let Some((count, slots)) = self.trie.count(node) else { return false };
        self.response.count(node, count, slots, number);
        true
    }

    fn scalar(&mut self, node: NodeId, value: Scalar<'_>) {
        let (action, slots) = self.trie.place(node);
        self.response.scalar(node, action, slots, value);
    }

    fn end(&mut self) {
        self.response.end_document();
    }
}

impl Flaw {
    fn quality(self) -> UsageQuality {
        match self {
            Self::Malformed => UsageQuality::Malformed,
            Self::Overflow => UsageQuality::Overflow,
        }
    }
}
