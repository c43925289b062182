//! As much of HTTP/1.1 as the workload needs: requests without a body, connections that stay open.

use std::io::{self, BufRead, Read, Write};

/// A request's head may be this long: longer than any client of a counter needs.
const HEAD_BYTES_MAX: u64 = 8 * 1024;

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method, such as `GET`.
    pub method: String,
    /// The path, without a query.
    pub path: String,
    /// The client wants to ask again on this connection.
    pub keep_alive: bool,
}

/// Why a connection brings no further request.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The client closed the connection between two requests: its ordinary end.
    #[error("read a further request: the client is done")]
    Done,
    /// The connection broke or stayed silent for too long.
    #[error("read a request")]
    Read(#[source] io::Error),
    /// Too long, cut off, with a body, or no HTTP.
    #[error("understand a request: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl Request {
    /// Reads the next request of a connection.
    pub fn read(connection: &mut impl BufRead) -> Result<Self, RequestError> {
        let mut head = connection.take(HEAD_BYTES_MAX);
        let first = read_line(&mut head)?.ok_or(RequestError::Done)?;
        let mut words = first.split_ascii_whitespace();
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(RequestError::Malformed { reason: "no request line" });
        };
        let mut keep_alive = version == "HTTP/1.1";
        loop {
            let line =
                read_line(&mut head)?.ok_or(RequestError::Malformed { reason: "cut off or too long" })?;
            if line.is_empty() {
                break;
            }
            let (name, value) =
                line.split_once(':').ok_or(RequestError::Malformed { reason: "a header without a colon" })?;
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "connection" => keep_alive = keep_alive && !value.eq_ignore_ascii_case("close"),
                "content-length" if value == "0" => {}
                "content-length" | "transfer-encoding" => {
                    return Err(RequestError::Malformed { reason: "a body is not expected" });
                }
                _ => {}
            }
        }
        let path = target.split('?').next().unwrap_or(target);
        Ok(Self { method: method.to_owned(), path: path.to_owned(), keep_alive })
    }
}

/// One line without its end; `None` where the connection or the limit ends before the line does.
fn read_line(head: &mut impl BufRead) -> Result<Option<String>, RequestError> {
    let mut line = Vec::new();
    head.read_until(b'\n', &mut line).map_err(RequestError::Read)?;
    if line.pop() != Some(b'\n') {
        return Ok(None);
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).map(Some).map_err(|_| RequestError::Malformed { reason: "no text" })
}

/// An answer with a JSON body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code with its phrase.
    pub status: &'static str,
    /// The body.
    pub json: String,
}

impl Response {
    /// Sends the answer in one write.
    pub fn write(&self, connection: &mut impl Write, keep_alive: bool) -> io::Result<()> {
        let Self { status, json } = self;
        let length = json.len();
        let connection_header = if keep_alive { "keep-alive" } else { "close" };
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
             connection: {connection_header}\r\n\r\n{json}"
        );
        connection.write_all(answer.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Request, RequestError> {
        Request::read(&mut text.as_bytes())
    }

    #[test]
    fn reads_two_requests_of_one_connection() {
        let mut connection =
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /health?x=1 HTTP/1.1\r\nconnection: Close\r\n\r\n"
                .as_bytes();
        let first = Request::read(&mut connection).unwrap();
        assert_eq!((first.path.as_str(), first.keep_alive), ("/", true));
        let second = Request::read(&mut connection).unwrap();
        assert_eq!((second.path.as_str(), second.keep_alive), ("/health", false));
        assert!(matches!(Request::read(&mut connection), Err(RequestError::Done)));
    }

    #[test]
    fn refuses_what_it_would_misread() {
        let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(9000));
        let cases = [
            "GET /\r\n\r\n",
            "GET / HTTP/1.1\r\nHost",
            "GET / HTTP/1.1\r\nContent-Length: 4\r\n\r\nabcd",
            &long,
        ];
        for text in cases {
            assert!(matches!(read(text), Err(RequestError::Malformed { .. })), "{text:.40}");
        }
    }

    #[test]
    fn an_old_client_is_not_kept_waiting() {
        assert!(!read("GET / HTTP/1.0\r\n\r\n").unwrap().keep_alive);
    }
}
