//! An HTTP/1.1 server on loopback that answers by a closure and misbehaves on script.
//!
//! It runs on a thread of its own, so blocking tests and tests on any runtime may
//! use it, and it stops when dropped.
//!
//! ```
//! # use lem_testkit::{FakeServer, Fault, Response, Rule};
//! let server = FakeServer::start(|request| match request.path.as_str() {
//!     "/version" => Response::text(200, "3.17.2"),
//!     _ => Response::new(404),
//! });
//! server.script(Rule::new(Fault::Answer(Response::new(429).header("retry-after", "7"))).times(1));
//! assert!(server.url().starts_with("http://127.0.0.1:"));
//! ```

mod http;
mod serve;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

pub use http::{Request, Response};

type Handler = dyn Fn(&Request) -> Response + Send + Sync;
type Matcher = dyn Fn(&Request) -> bool + Send + Sync;

/// One way to misbehave.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This instead of the handler's answer: a 429, a 503, a 401.
    Answer(Response),
    /// Take the request, never answer, keep the connection open.
    Hang,
    /// Close without a byte of an answer.
    Close,
    /// Send the end of the stream and no byte of an answer, but go on reading.
    HalfClose,
    /// Close after that many bytes of the answer, its head included.
    CloseAfter(usize),
    /// Announce the whole body, send that many bytes of it, close.
    TruncateBody(usize),
    /// The body in pieces of `piece` bytes with a pause before each.
    SlowBody { piece: usize, pause: Duration },
    /// These bytes where an HTTP answer belongs, then close.
    Garbage(Vec<u8>),
}

/// A fault, and the requests that it strikes.
pub struct Rule {
    fault: Fault,
    matches: Box<Matcher>,
    skip: usize,
    times: usize,
    applied: bool,
}

impl Rule {
    /// Strikes every request, for ever, before the handler sees it.
    pub fn new(fault: Fault) -> Self {
        Self {
            fault,
            matches: Box::new(|_| true),
            skip: 0,
            times: usize::MAX,
            applied: false,
        }
    }

    #[must_use]
    pub fn matching(self, matches: impl Fn(&Request) -> bool + Send + Sync + 'static) -> Self {
        Self {
            matches: Box::new(matches),
            ..self
        }
    }

    /// Only requests whose path contains this.
    #[must_use]
    pub fn path(self, part: impl Into<String>) -> Self {
        let part = part.into();
        self.matching(move |request| request.path.contains(&part))
    }

    /// Lets that many matching requests pass first.
    #[must_use]
    pub fn skip(self, skip: usize) -> Self {
        Self { skip, ..self }
    }

    /// Strikes that often, then rests.
    #[must_use]
    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    /// The handler sees the request first: the work is done, only the answer is lost.
    #[must_use]
    pub fn applied(self) -> Self {
        Self {
            applied: true,
            ..self
        }
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("fault", &self.fault)
            .field("skip", &self.skip)
            .field("times", &self.times)
            .field("applied", &self.applied)
            .finish_non_exhaustive()
    }
}

struct Shared {
    handler: Box<Handler>,
    rules: Mutex<Vec<Rule>>,
    requests: Mutex<Vec<Request>>,
}

impl Shared {
    /// Records the request and chooses what happens to it.
    fn take(&self, request: &Request) -> (Option<Fault>, Option<Response>) {
        lock(&self.requests).push(request.clone());
        let struck = lock(&self.rules).iter_mut().find_map(|rule| {
            if rule.times == 0 || !(rule.matches)(request) {
                return None;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                return None;
            }
            rule.times -= 1;
            Some((rule.fault.clone(), rule.applied))
        });
        match struck {
            None => (None, Some((self.handler)(request))),
            Some((fault, applied)) => {
                let needs_answer = matches!(
                    fault,
                    Fault::CloseAfter(_) | Fault::TruncateBody(_) | Fault::SlowBody { .. }
                );
                let answer = (applied || needs_answer).then(|| (self.handler)(request));
                (Some(fault), answer)
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    /// Nobody listens: connections are refused, those that stood are closed.
    Shut,
    Gone,
}

/// See the [module](self).
pub struct FakeServer {
    addr: SocketAddr,
    shared: Arc<Shared>,
    door: watch::Sender<Door>,
    turned: Mutex<mpsc::Receiver<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FakeServer {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// Where no port can be had.
    pub fn start(handler: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            handler: Box::new(handler),
            rules: Mutex::default(),
            requests: Mutex::default(),
        });
        let (door, changes) = watch::channel(Door::Open);
        let (told, turned) = mpsc::channel();
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || serve::run(listener, addr, &shared, changes, &told)
        });
        Self {
            addr,
            shared,
            door,
            turned: Mutex::new(turned),
            thread: Some(thread),
        }
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Adds a rule. The first that matches a request strikes it.
    pub fn script(&self, rule: Rule) {
        lock(&self.shared.rules).push(rule);
    }

    /// Behaves well from now on.
    pub fn clear_script(&self) {
        lock(&self.shared.rules).clear();
    }

    /// Every request so far, in order of arrival, struck or not.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.requests).clone()
    }

    pub fn request_count(&self) -> usize {
        lock(&self.shared.requests).len()
    }

    pub fn clear_requests(&self) {
        lock(&self.shared.requests).clear();
    }

    /// Closes the port and every connection; returns when it is so.
    pub fn go_down(&self) {
        self.turn(Door::Shut);
    }

    /// Listens on the same port again; returns when it is so.
    pub fn come_up(&self) {
        self.turn(Door::Open);
    }

    fn turn(&self, to: Door) {
        if *self.door.borrow() == to {
            return;
        }
        let turned = lock(&self.turned);
        self.door.send_replace(to);
        turned
            .recv_timeout(Duration::from_secs(10))
            .expect("the fake server stands");
    }
}

impl fmt::Debug for FakeServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeServer")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.door.send_replace(Door::Gone);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic in a handler has been shown already
        }
    }
}
