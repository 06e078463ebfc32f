//! Texts of common words, for synthetic prompts of engines elsewhere.

use std::sync::Arc;

use rand::Rng;

use super::seed::{Purpose, rng};

/// Short and common, so that in most vocabularies each is one token with the space before it.
const WORDS: [&str; 128] = [
    "time",
    "year",
    "people",
    "way",
    "day",
    "man",
    "thing",
    "woman",
    "life",
    "child",
    "world",
    "school",
    "state",
    "family",
    "student",
    "group",
    "country",
    "problem",
    "hand",
    "part",
    "place",
    "case",
    "week",
    "company",
    "system",
    "program",
    "question",
    "work",
    "government",
    "number",
    "night",
    "point",
    "home",
    "water",
    "room",
    "mother",
    "area",
    "money",
    "story",
    "fact",
    "month",
    "lot",
    "right",
    "study",
    "book",
    "eye",
    "job",
    "word",
    "business",
    "issue",
    "side",
    "kind",
    "head",
    "house",
    "service",
    "friend",
    "father",
    "power",
    "hour",
    "game",
    "line",
    "end",
    "member",
    "law",
    "car",
    "city",
    "community",
    "name",
    "president",
    "team",
    "minute",
    "idea",
    "body",
    "information",
    "back",
    "parent",
    "face",
    "level",
    "office",
    "door",
    "health",
    "person",
    "art",
    "war",
    "history",
    "party",
    "result",
    "change",
    "morning",
    "reason",
    "research",
    "girl",
    "guy",
    "moment",
    "air",
    "teacher",
    "force",
    "education",
    "foot",
    "boy",
    "age",
    "policy",
    "music",
    "market",
    "sense",
    "nation",
    "plan",
    "college",
    "interest",
    "death",
    "experience",
    "effect",
    "use",
    "class",
    "control",
    "care",
    "field",
    "development",
    "role",
    "effort",
    "rate",
    "heart",
    "drug",
    "show",
    "leader",
    "light",
    "voice",
    "wife",
];

/// A text of so many words for each length; the first `shared` words are the same in all.
pub(super) fn texts(lengths: &[u32], shared: u32, seed: u64) -> Vec<Arc<str>> {
    let draw = |purpose: Purpose, count: u32| {
        let mut rng = rng(seed, purpose);
        (0..count)
            .filter_map(|_| WORDS.get(rng.random_range(0..WORDS.len())).copied())
            .collect::<Vec<_>>()
    };
    let prefix = draw(Purpose::SharedPrefix, shared);
    let texts = lengths.iter().zip(0..).map(|(&length, prompt)| {
        let same = prefix.iter().take(length as usize).copied();
        let own = draw(Purpose::Tokens(prompt), length.saturating_sub(shared));
        let words: Vec<&str> = same.chain(own).collect();
        Arc::from(words.join(" "))
    });
    texts.collect()
}

#[cfg(test)]
mod tests {
    use super::texts;

    #[test]
    fn texts_have_as_many_words_as_asked_and_begin_alike() {
        let texts = texts(&[10, 4, 10], 5, 1);
        let words = |i: usize| texts.get(i).map_or(Vec::new(), |t| t.split(' ').collect());
        assert_eq!((words(0).len(), words(1).len()), (10, 4));
        assert_eq!(words(0).get(..5), words(2).get(..5));
        assert_eq!(words(0).get(..4), words(1).get(..4));
        assert_ne!(words(0).get(5..), words(2).get(5..));
        assert_eq!(texts, super::texts(&[10, 4, 10], 5, 1), "by the seed alone");
    }
}
