use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Door, Fault, Request, Response, Shared};

const MAX_HEAD: usize = 256 << 10;
const MAX_BODY: u64 = 1 << 30;

pub(super) fn run(
    listener: std::net::TcpListener,
    addr: SocketAddr,
    shared: &Arc<Shared>,
    mut door: watch::Receiver<Door>,
    told: &mpsc::Sender<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async move {
        listener
            .set_nonblocking(true)
            .expect("a socket that does not block");
        let mut listener = Some(TcpListener::from_std(listener).expect("a listener"));
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                changed = door.changed() => {
                    let now = *door.borrow_and_update();
                    if changed.is_err() || now == Door::Gone {
                        return;
                    }
                    connections.shutdown().await;
                    listener = match now {
                        Door::Open => Some(TcpListener::bind(addr).await.expect("the same port")),
                        Door::Shut | Door::Gone => None,
                    };
                    let _ = told.send(());
                }
                Some(Ok((stream, _))) = async {
                    match &listener {
                        Some(listener) => Some(listener.accept().await),
                        None => None,
                    }
                } => {
                    let shared = Arc::clone(shared);
                    connections.spawn(async move {
                        let _ = connection(stream, &shared).await; // the other end may go at any time
                    });
                }
            }
        }
    });
}

async fn connection(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream).await? {
        let last = request
            .header("connection")
            .is_some_and(|v| v.eq_ignore_ascii_case("close"));
        let headless = request.method == "HEAD";
        let (fault, answer) = shared.take(&request);
        let answer = answer.unwrap_or_else(|| Response::new(500));
        let out = stream.get_mut();
        match fault {
            None => send(out, &answer, headless).await?,
            Some(Fault::Answer(other)) => send(out, &other, headless).await?,
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Close) => return Ok(()),
            Some(Fault::HalfClose) => {
                out.shutdown().await?;
                std::future::pending().await
            }
            Some(Fault::CloseAfter(n)) => {
                let mut whole = answer.head();
                whole.extend_from_slice(&answer.body);
                out.write_all(whole.get(..n).unwrap_or(&whole)).await?;
                return out.shutdown().await;
            }
            Some(Fault::TruncateBody(n)) => {
                out.write_all(&answer.head()).await?;
                out.write_all(answer.body.get(..n).unwrap_or(&answer.body))
                    .await?;
                return out.shutdown().await;
            }
            Some(Fault::SlowBody { piece, pause }) => {
                out.write_all(&answer.head()).await?;
                for piece in answer.body.chunks(piece.max(1)) {
                    tokio::time::sleep(pause).await;
                    out.write_all(piece).await?;
                }
            }
            Some(Fault::Garbage(bytes)) => {
                out.write_all(&bytes).await?;
                return out.shutdown().await;
            }
        }
        if last {
            return Ok(());
        }
    }
    Ok(())
}

async fn send(out: &mut TcpStream, answer: &Response, headless: bool) -> io::Result<()> {
    out.write_all(&answer.head()).await?;
    if !headless {
        out.write_all(&answer.body).await?;
    }
    out.flush().await
}

/// The next request, or none where the client is done.
async fn read_request(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    let Some(first) = line(stream).await? else {
        return Ok(None);
    };
    let mut words = first.split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(bad("no request line"));
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
    };
    while let Some(header) = line(stream).await? {
        if header.is_empty() {
            break;
        }
        let (name, value) = header
            .split_once(':')
            .ok_or_else(|| bad("a header without a colon"))?;
        request
            .headers
            .push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    if request
        .header("expect")
        .is_some_and(|value| value.eq_ignore_ascii_case("100-continue"))
    {
        stream
            .get_mut()
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
            .await?;
    }
    let chunked = request
        .header("transfer-encoding")
        .is_some_and(|v| v.contains("chunked"));
    if chunked {
        loop {
            let size = line(stream)
                .await?
                .ok_or_else(|| bad("a chunk is missing"))?;
            let size = size.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(|_| bad("a chunk without a size"))?;
            read_body(stream, size, &mut request.body).await?;
            line(stream).await?; // the end of the chunk, or of the trailers
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = request.header("content-length") {
        let length = length
            .parse()
            .map_err(|_| bad("a length that is no number"))?;
        read_body(stream, length, &mut request.body).await?;
    }
    Ok(Some(request))
}

async fn read_body(
    stream: &mut (impl AsyncBufRead + Unpin),
    length: u64,
    body: &mut Vec<u8>,
) -> io::Result<()> {
    if length > MAX_BODY {
        return Err(bad("a body of more than 1 GiB"));
    }
    match stream.take(length).read_to_end(body).await? as u64 == length {
        true => Ok(()),
        false => Err(ErrorKind::UnexpectedEof.into()),
    }
}

async fn line(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    let read = stream
        .take(MAX_HEAD as u64)
        .read_until(b'\n', &mut bytes)
        .await?;
    if read == 0 {
        return Ok(None);
    }
    if bytes.pop() != Some(b'\n') {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|_| bad("a head that is not text"))
}

fn bad(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}
