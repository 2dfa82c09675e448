//! A server for the page, on this machine only: cross-origin isolation, byte ranges, no caching
//! without asking.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::thread;
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, anyhow, bail};
use tiny_http::{Header, Method, Request, Response, Server, StatusCode};

use crate::workspace;

/// The page fetches several ranges at once.
const THREADS: usize = 8;

/// Sent with every answer. The first two isolate the page, which shared memory needs.
const HEADERS: &[(&str, &str)] = &[
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Embedder-Policy", "require-corp"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-cache"),
    ("Accept-Ranges", "bytes"),
];

/// Serves `www/dist` at `http://localhost:PORT` until the process is stopped.
///
/// # Errors
/// If there is no page, or the port is taken.
pub fn serve(port: u16) -> Result<()> {
    let dist = workspace::www().join("dist");
    if !dist.join("index.html").is_file() {
        bail!("{} holds no page; build it with `make build`", dist.display());
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let server = Server::http(address).map_err(|error| {
        anyhow!("cannot serve on {address}: {error}; choose another port: cargo xtask run --port NUMBER")
    })?;
    let port = server.server_addr().to_ip().map_or(port, |address| address.port());
    println!("dinghy is at http://localhost:{port} (Ctrl-C stops the server)");
    let server = Arc::new(server);
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (server, dist) = (Arc::clone(&server), dist.clone());
            thread::spawn(move || -> Result<()> {
                loop {
                    let request = server.recv().context("the server stopped")?;
                    answer(request, &dist);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().map_err(|_| anyhow!("a thread of the server panicked"))??;
    }
    Ok(())
}

/// Answers one request; what goes wrong is told on standard error, as nobody else is there to hear.
fn answer(request: Request, dist: &Path) {
    let name = request.url().to_owned();
    let result = match reply_to(&request, dist) {
        Ok(reply) => request.respond(reply).context("cannot send the answer"),
        Err(error) => {
            let refusal = Response::from_string("the file cannot be read\n").with_status_code(500);
            request.respond(refusal).context("cannot send the answer").and(Err(error))
        }
    };
    match result {
        Ok(()) => {}
        Err(error) if is_client_gone(&error) => {}
        Err(error) => eprintln!("{name}: {error:#}"),
    }
}

/// Whether an answer failed because the browser no longer wants it, as happens on each reload.
fn is_client_gone(error: &anyhow::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    error
        .root_cause()
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset))
}

type Reply = Response<Box<dyn Read + Send>>;

/// The answer to a request: a file, a part of one, or why not.
fn reply_to(request: &Request, dist: &Path) -> Result<Reply> {
    if !matches!(request.method(), Method::Get | Method::Head) {
        return refusal(405, &[("Allow", "GET, HEAD")]);
    }
    let Some(path) = file_of(request.url(), dist) else { return refusal(404, &[]) };
    let Ok(metadata) = fs::metadata(&path) else { return refusal(404, &[]) };
    if !metadata.is_file() {
        return refusal(404, &[]);
    }
    let length = metadata.len();
    let changed = metadata.modified()?.duration_since(UNIX_EPOCH)?.as_nanos();
    let tag = format!("\"{changed:x}-{length:x}\"");
    if header(request, "If-None-Match").is_some_and(|known| known == tag) {
        return refusal(304, &[("ETag", &tag)]);
    }
    // A part of another version of the file would be worse than the whole of this one.
    let range = match header(request, "Range") {
        Some(range) if header(request, "If-Range").is_none_or(|known| known == tag) => {
            parse_range(range, length)
        }
        _ => Range::Whole,
    };
    let (status, first, count) = match range {
        Range::Whole => (200, 0, length),
        Range::Part { first, count } => (206, first, count),
        Range::OutOfFile => return refusal(416, &[("Content-Range", &format!("bytes */{length}"))]),
    };
    let mut file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    file.seek(SeekFrom::Start(first))?;
    let mut headers = common_headers()?;
    headers.push(new_header("Content-Type", content_type(&path))?);
    headers.push(new_header("ETag", &tag)?);
    if status == 206 {
        let last = first + count - 1;
        headers.push(new_header("Content-Range", &format!("bytes {first}-{last}/{length}"))?);
    }
    let size = usize::try_from(count).context("the file is too large")?;
    // Chunked transfer would hide the length, which the page's progress display needs.
    Ok(Response::new(StatusCode(status), headers, Box::new(file.take(count)) as Box<_>, Some(size), None)
        .with_chunked_threshold(usize::MAX))
}

/// An answer without a file.
fn refusal(status: u16, extra: &[(&str, &str)]) -> Result<Reply> {
    let mut headers = common_headers()?;
    for (name, value) in extra {
        headers.push(new_header(name, value)?);
    }
    Ok(Response::new(StatusCode(status), headers, Box::new(std::io::empty()) as Box<_>, Some(0), None))
}

/// The headers of every answer.
fn common_headers() -> Result<Vec<Header>> {
    HEADERS.iter().map(|(name, value)| new_header(name, value)).collect()
}

fn new_header(name: &str, value: &str) -> Result<Header> {
    Header::from_str(&format!("{name}: {value}")).map_err(|()| anyhow!("not a header: {name}: {value}"))
}

/// The value of a request's header.
fn header<'a>(request: &'a Request, name: &'static str) -> Option<&'a str> {
    request.headers().iter().find(|header| header.field.equiv(name)).map(|header| header.value.as_str())
}

/// What a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
enum Range {
    Whole,
    Part { first: u64, count: u64 },
    OutOfFile,
}

/// Reads a `Range` header for a file of `length` bytes (RFC 9110, section 14.1.2). Several ranges at
/// once and what is malformed are answered with the whole file, as the RFC allows.
fn parse_range(text: &str, length: u64) -> Range {
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|range| range.trim().split_once('-'))
    else {
        return Range::Whole;
    };
    let (first, last) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => (first, last),
        (Ok(first), Err(_)) if last.is_empty() => (first, u64::MAX),
        (Err(_), Ok(count)) if first.is_empty() && count > 0 => (length.saturating_sub(count), u64::MAX),
        (Err(_), Ok(0)) if first.is_empty() => return Range::OutOfFile,
        _ => return Range::Whole,
    };
    if first >= length {
        return Range::OutOfFile;
    }
    Range::Part { first, count: last.min(length - 1) - first + 1 }
}

/// The file that an address names, or nothing if it would lie outside of the page's folder.
fn file_of(url: &str, dist: &Path) -> Option<PathBuf> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let name = percent_decoded(path.strip_prefix('/')?)?;
    let name = if name.is_empty() || name.ends_with('/') { format!("{name}index.html") } else { name };
    let relative = Path::new(&name);
    let stays_inside = relative.components().all(|component| matches!(component, Component::Normal(_)));
    stays_inside.then(|| dist.join(relative))
}

/// Replaces each `%XX`; nothing if one is malformed or the result is not UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

/// The type of a file by its name's ending.
fn content_type(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("wasm") => "application/wasm",
        Some("woff2") => "font/woff2",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Range, file_of, parse_range};

    #[test]
    fn a_range_is_clipped_to_the_file() {
        assert_eq!(parse_range("bytes=0-9", 100), Range::Part { first: 0, count: 10 });
        assert_eq!(parse_range("bytes=90-200", 100), Range::Part { first: 90, count: 10 });
        assert_eq!(parse_range("bytes=40-", 100), Range::Part { first: 40, count: 60 });
        assert_eq!(parse_range("bytes=-30", 100), Range::Part { first: 70, count: 30 });
        assert_eq!(parse_range("bytes=-300", 100), Range::Part { first: 0, count: 100 });
    }

    #[test]
    fn a_range_behind_the_end_is_refused() {
        assert_eq!(parse_range("bytes=100-", 100), Range::OutOfFile);
        assert_eq!(parse_range("bytes=-0", 100), Range::OutOfFile);
        assert_eq!(parse_range("bytes=0-0", 0), Range::OutOfFile);
    }

    #[test]
    fn a_malformed_range_gets_the_whole_file() {
        for range in ["bytes=", "bytes=9-1", "bytes=a-b", "lines=1-2", "bytes=0-1,3-4"] {
            assert_eq!(parse_range(range, 100), Range::Whole, "{range}");
        }
    }

    #[test]
    fn an_address_stays_inside_the_folder() {
        let dist = Path::new("/dist");
        assert_eq!(file_of("/?a=b", dist).unwrap(), Path::new("/dist/index.html"));
        assert_eq!(file_of("/a%20b.js", dist).unwrap(), Path::new("/dist/a b.js"));
        for address in ["/../x", "/a/../../x", "/%2e%2e/x", "//x", "/%2fx", "/%zz", "x"] {
            assert_eq!(file_of(address, dist), None, "{address}");
        }
    }
}
