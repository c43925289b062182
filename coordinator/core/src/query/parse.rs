//! From the text to an expression; what is wrong is told with where it stands.

use pest::Parser as _;
use pest::error::{Error, ErrorVariant, InputLocation};
use pest::iterators::Pair;

use super::{Comparison, Expression, Field, Kind, Value};

/// Longer texts are no queries that people write, and brackets could be nested too deeply.
const CHARS_MAX: usize = 4_096;
/// Brackets and `not` within each other.
const DEPTH_MAX: usize = 64;

#[derive(pest_derive::Parser)]
#[grammar = "query/grammar.pest"]
struct Grammar;

/// A query is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}, at character {at} of '{shown}'")]
pub struct QueryError {
    /// The character, counted from 1.
    pub at: usize,
    /// What is wrong there.
    pub why: String,
    /// The text around it.
    shown: String,
}

impl QueryError {
    fn new(text: &str, byte: usize, why: impl Into<String>) -> Self {
        let before = text.get(..byte).unwrap_or(text).chars().count();
        let begin = before.saturating_sub(40);
        let shown: String = text.chars().skip(begin).take(80).collect();
        let cut = |shown: String| {
            let front = if begin > 0 { "…" } else { "" };
            let back = if text.chars().count() > begin + 80 { "…" } else { "" };
            format!("{front}{shown}{back}")
        };
        Self { at: before + 1, why: why.into(), shown: cut(shown) }
    }
}

pub(super) fn parse(text: &str) -> Result<Expression, QueryError> {
    if text.chars().count() > CHARS_MAX {
        return Err(QueryError::new(text, 0, format!("a query has at most {CHARS_MAX} characters")));
    }
    if let Some(byte) = too_deep(text) {
        return Err(QueryError::new(
            text,
            byte,
            format!("more than {DEPTH_MAX} brackets and 'not' within each other"),
        ));
    }
    let mut pairs = Grammar::parse(Rule::query, text).map_err(|error| not_parsed(text, &error))?;
    let top = pairs.next().expect("the grammar gives an expression");
    either(text, top)
}

/// Where brackets and `not` are too many: the parser and what comes after it take one call for each.
fn too_deep(text: &str) -> Option<usize> {
    let (mut depth, mut quoted) = (0_usize, false);
    for (byte, character) in text.char_indices() {
        let not = !quoted && text.get(byte..byte + 3).is_some_and(|word| word.eq_ignore_ascii_case("not"));
        match character {
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth = depth.saturating_sub(1),
            _ if not => depth += 1,
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Some(byte);
        }
    }
    None
}

fn not_parsed(text: &str, error: &Error<Rule>) -> QueryError {
    let byte = match error.location {
        InputLocation::Pos(byte) | InputLocation::Span((byte, _)) => byte,
    };
    let found = match text.get(byte..).and_then(|rest| rest.split_whitespace().next()) {
        Some(word) => format!("'{}' is not expected", word.chars().take(20).collect::<String>()),
        None => "the query ends".to_owned(),
    };
    let wanted = match &error.variant {
        ErrorVariant::ParsingError { positives, .. } => {
            let mut words: Vec<&str> = positives.iter().filter_map(|rule| word_for(*rule)).collect();
            words.sort_unstable();
            words.dedup();
            words.join(", ")
        }
        ErrorVariant::CustomError { message } => message.clone(),
    };
    let why = if wanted.is_empty() { found } else { format!("{found} where {wanted} could stand") };
    QueryError::new(text, byte, why)
}

const fn word_for(rule: Rule) -> Option<&'static str> {
    match rule {
        Rule::field | Rule::test | Rule::either | Rule::both => Some("a field"),
        Rule::comparison | Rule::compared => Some("= != < <= > or >="),
        Rule::listed | Rule::alike | Rule::r#in | Rule::like => Some("in or like"),
        Rule::text | Rule::inner | Rule::number | Rule::digits | Rule::truth => {
            Some("a value such as \"north\", 3 or true")
        }
        Rule::unit => Some("KiB, MiB, GiB or %"),
        Rule::not | Rule::negated => Some("not"),
        Rule::and | Rule::or => Some("and or or"),
        Rule::open | Rule::group => Some("'('"),
        Rule::comma => Some("','"),
        Rule::close => Some("')'"),
        Rule::EOI => Some("the end"),
        _ => None,
    }
}

fn either(text: &str, pair: Pair<'_, Rule>) -> Result<Expression, QueryError> {
    let parts = without(pair, Rule::or).map(|part| both(text, part)).collect::<Result<_, _>>()?;
    Ok(one_or(parts, Expression::Either))
}

/// What is in it but for the words between.
fn without(pair: Pair<'_, Rule>, between: Rule) -> impl Iterator<Item = Pair<'_, Rule>> {
    pair.into_inner().filter(move |part| part.as_rule() != between)
}

fn both(text: &str, pair: Pair<'_, Rule>) -> Result<Expression, QueryError> {
    let parts = without(pair, Rule::and).map(|part| each(text, part)).collect::<Result<_, _>>()?;
    Ok(one_or(parts, Expression::Both))
}

fn one_or(mut parts: Vec<Expression>, all: fn(Vec<Expression>) -> Expression) -> Expression {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        Some(last) => {
            parts.push(last);
            all(parts)
        }
        None => all(parts),
    }
}

fn each(text: &str, pair: Pair<'_, Rule>) -> Result<Expression, QueryError> {
    match pair.as_rule() {
        Rule::negated => {
            let inner = pair.into_inner().next_back().expect("the grammar gives what is negated");
            Ok(Expression::Not(Box::new(each(text, inner)?)))
        }
        Rule::group => {
            let inner = pair.into_inner().nth(1).expect("the grammar gives what stands in brackets");
            either(text, inner)
        }
        _ => test(text, pair),
    }
}

fn test(text: &str, pair: Pair<'_, Rule>) -> Result<Expression, QueryError> {
    let mut parts = pair.into_inner();
    let (name, rest) = (parts.next().expect("a field"), parts.next().expect("what is asked of it"));
    let field = field(name.as_str())
        .ok_or_else(|| QueryError::new(text, name.as_span().start(), unknown(name.as_str())))?;
    let rule = rest.as_rule();
    let mut inner = rest
        .into_inner()
        .filter(|pair| {
            !matches!(pair.as_rule(), Rule::r#in | Rule::like | Rule::open | Rule::comma | Rule::close)
        })
        .peekable();
    let negated = inner.next_if(|pair| pair.as_rule() == Rule::not).is_some();
    let expression = match rule {
        Rule::compared => {
            let sign = inner.next().expect("a comparison");
            let comparison = comparison(sign.as_str());
            let ordered = !matches!(comparison, Comparison::Is | Comparison::IsNot);
            if ordered && matches!(field.kind(), Kind::Text | Kind::Truth) {
                let why = format!("'{}' is only compared with = and !=", name.as_str());
                return Err(QueryError::new(text, sign.as_span().start(), why));
            }
            let value = value(text, name.as_str(), &field, inner.next().expect("a value"))?;
            Expression::Compared { field, comparison, value }
        }
        Rule::listed => {
            let values =
                inner.map(|pair| value(text, name.as_str(), &field, pair)).collect::<Result<_, _>>()?;
            Expression::Listed { field, values }
        }
        _ => {
            let pattern = inner.next().expect("a text");
            if !matches!(field.kind(), Kind::Text | Kind::Version) {
                let why = format!("'{}' is no text that could be like another", name.as_str());
                return Err(QueryError::new(text, pattern.as_span().start(), why));
            }
            Expression::Alike { field, pattern: inner_text(pattern) }
        }
    };
    Ok(if negated { Expression::Not(Box::new(expression)) } else { expression })
}

fn unknown(name: &str) -> String {
    format!(
        "there is no field '{name}'; there are name, id, domain, model, version, counter, agent, kernel, online, \
         battery, link, storage_free, memory_free and feature.NAME"
    )
}

fn field(name: &str) -> Option<Field> {
    let (first, of) = name.split_once('.').map_or((name, None), |(first, of)| (first, Some(of.to_owned())));
    Some(match (first, of) {
        ("version", of) => Field::Version(of),
        ("counter", of) => Field::Counter(of),
        ("feature", Some(of)) => Field::Feature(of),
        (_, Some(_)) => return None,
        ("name", _) => Field::Name,
        ("id", _) => Field::Id,
        ("domain", _) => Field::Domain,
        ("model" | "hardware", _) => Field::Model,
        ("agent", _) => Field::Agent,
        ("kernel", _) => Field::Kernel,
        ("online", _) => Field::Online,
        ("battery", _) => Field::Battery,
        ("link", _) => Field::Link,
        ("storage_free", _) => Field::StorageFree,
        ("memory_free", _) => Field::MemoryFree,
        _ => return None,
    })
}

fn comparison(sign: &str) -> Comparison {
    match sign {
        "=" => Comparison::Is,
        "!=" => Comparison::IsNot,
        "<" => Comparison::Below,
        "<=" => Comparison::AtMost,
        ">" => Comparison::Above,
        _ => Comparison::AtLeast,
    }
}

fn inner_text(pair: Pair<'_, Rule>) -> String {
    pair.into_inner().as_str().to_owned()
}

/// A value that the field can be held against.
fn value(text: &str, name: &str, field: &Field, pair: Pair<'_, Rule>) -> Result<Value, QueryError> {
    let begin = pair.as_span().start();
    let value = match pair.as_rule() {
        Rule::text => Value::Text(inner_text(pair)),
        Rule::truth => Value::Truth(pair.as_str().eq_ignore_ascii_case("true")),
        _ => {
            let mut parts = pair.into_inner();
            let digits = parts.next().expect("digits").as_str();
            let times: u64 = match parts.next().map_or("", |unit| unit.as_str().trim()) {
                "KiB" => 1 << 10,
                "MiB" => 1 << 20,
                "GiB" => 1 << 30,
                "TiB" => 1 << 40,
                _ => 1,
            };
            let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(times));
            Value::Number(
                number
                    .ok_or_else(|| QueryError::new(text, begin, format!("{digits} is too large a number")))?,
            )
        }
    };
    let wanted = match (field.kind(), &value) {
        (Kind::Text | Kind::Version, Value::Text(_))
        | (Kind::Number, Value::Number(_))
        | (Kind::Truth, Value::Truth(_)) => return Ok(value),
        (Kind::Text | Kind::Version, _) => "a text in quotes",
        (Kind::Number, _) => "a number",
        (Kind::Truth, _) => "true or false",
    };
    Err(QueryError::new(text, begin, format!("'{name}' is held against {wanted}")))
}
