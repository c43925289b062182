//! Health checks from arguments: `http=URL`, `tcp=HOST:PORT`, `exec='cmd arg'`, `unit=NAME`, `healthcheck`.

use std::str::FromStr;

use takt_common::release::Probe;

/// A health check from the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeArg(pub Probe);

/// A health check is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("probe '{probe}': {why}")]
pub struct ProbeError {
    probe: String,
    why: &'static str,
}

impl FromStr for ProbeArg {
    type Err = ProbeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = |why| ProbeError { probe: text.chars().take(160).collect(), why };
        if text == "healthcheck" {
            return Ok(Self(Probe::Healthcheck));
        }
        let (kind, rest) = text.split_once('=').ok_or_else(|| refused(FORMS))?;
        let probe = match kind {
            "http" if rest.strip_prefix("http://").is_some_and(|rest| !rest.is_empty()) => {
                Probe::Http(rest.to_owned())
            }
            "http" => return Err(refused("a URL that begins with http:// is expected")),
            "tcp" if rest.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && is_port(port)) => {
                Probe::Tcp(rest.to_owned())
            }
            "tcp" => return Err(refused("HOST:PORT is expected")),
            "exec" => Probe::Exec(words(rest).map_err(refused)?),
            "unit" if is_unit(rest) => Probe::Unit(rest.to_owned()),
            "unit" => return Err(refused("a systemd unit is expected, such as counter.service")),
            _ => return Err(refused("the kinds of probe are http, tcp, exec, unit and healthcheck")),
        };
        Ok(Self(probe))
    }
}

/// What is expected.
const FORMS: &str = "http=URL, tcp=HOST:PORT, exec='COMMAND ARG', unit=NAME or healthcheck is expected";

/// What systemd takes for a unit (systemd.unit(5)): with its type, and nothing that could be an option or a path.
fn is_unit(text: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || ":-_.\\@".contains(letter);
    let named = text.rsplit_once('.').is_some_and(|(name, kind)| !name.is_empty() && !kind.is_empty());
    named && text.len() <= 255 && text.chars().all(plain) && !text.starts_with(['-', '.'])
}

/// A number, or a device variable that stands for one.
fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port > 0) || (text.starts_with("${") && text.ends_with('}'))
}

/// Words as a shell would split them, with quotes but without any expansion.
fn words(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for letter in text.chars() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, letter) if letter.is_whitespace() => words.extend(word.take()),
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    match (quote, words.is_empty()) {
        (Some(_), _) => Err("a quote is not closed"),
        (None, true) => Err("a command is expected"),
        (None, false) => Ok(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(text: &str) -> Probe {
        text.parse::<ProbeArg>().unwrap().0
    }

    #[test]
    fn each_kind_is_read() {
        assert_eq!(probe("unit=counter@1.service"), Probe::Unit("counter@1.service".to_owned()));
        assert_eq!(probe("healthcheck"), Probe::Healthcheck);
        assert_eq!(
            probe("http=http://127.0.0.1:80/h?a=b"),
            Probe::Http("http://127.0.0.1:80/h?a=b".to_owned())
        );
        assert_eq!(probe("tcp=127.0.0.1:${port}"), Probe::Tcp("127.0.0.1:${port}".to_owned()));
        assert_eq!(probe("tcp=[::1]:80"), Probe::Tcp("[::1]:80".to_owned()));
        let words = ["sh", "-c", "test -f \"/a b\"", ""].map(str::to_owned).to_vec();
        assert_eq!(probe("exec=sh  -c 'test -f \"/a b\"' ''"), Probe::Exec(words));
    }

    #[test]
    fn what_is_no_probe_is_refused() {
        for text in [
            "",
            "http",
            "http=",
            "http=https://a",
            "http=http://",
            "tcp=a",
            "tcp=:1",
            "tcp=a:0",
            "tcp=a:b",
            "icmp=a",
            "unit=",
            "unit=counter",
            "unit=-a.service",
            "unit=../a.service",
            "unit=a b.service",
            "healthcheck=1",
        ] {
            assert!(text.parse::<ProbeArg>().is_err(), "{text}");
        }
        assert!("exec=".parse::<ProbeArg>().is_err());
        assert!("exec=sh 'a".parse::<ProbeArg>().unwrap_err().to_string().contains("quote"));
    }
}
