//! Bytes, and ends, that came from the sockets.

use std::io;

use super::{End, Piece, Runner};
use crate::Failure;
use crate::connection::Phase;
use crate::exchange::{Read, Step};

impl Runner<'_> {
    /// Takes up what was read from one socket.
    pub(super) fn piece(&mut self, piece: Piece, raw: &[u8]) {
        let key = piece.connection;
        let Some(connection) = self
            .connections
            .get_mut(key)
            .filter(|c| c.serial == piece.serial)
        else {
            return;
        };
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        let mut bytes = raw;
        if connection.tls.is_some() {
            let opened = connection.open_bytes(raw, &mut plain);
            // Answers of the handshake, and alerts, go out in any case.
            self.flush(key);
            if let Err(why) = opened {
                let failure = self.wire.tls_failure(&why);
                self.plain = plain;
                return self.connection_failed(key, failure, piece.at_ns);
            }
            bytes = &plain;
            let Some(connection) = self.connections.get(key) else {
                return;
            };
            let shaken = connection
                .tls
                .as_ref()
                .is_none_or(|tls| !tls.is_handshaking());
            if connection.phase == Phase::Handshaking && shaken {
                self.opened(key);
            }
        }
        if !bytes.is_empty() {
            self.bytes(
                key,
                Read {
                    bytes,
                    at_ns: piece.at_ns,
                    number: piece.number,
                },
            );
        }
        self.plain = plain;
        if let Some(end) = piece.end {
            // The bytes before it may have ended the request, and another may use the place.
            if self
                .connections
                .get(key)
                .is_some_and(|c| c.serial == piece.serial)
            {
                self.ended(key, end, piece.at_ns);
            }
        }
    }

    fn bytes(&mut self, key: usize, read: Read<'_>) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let Some(carried) = connection.carried.as_mut().filter(|c| c.sent_ns.is_some()) else {
            // Nothing was asked.
            self.idle.retain(|idle| *idle != key);
            if let Some(carried) = self.drop_connection(key).and_then(|c| c.carried) {
                self.failed(
                    carried,
                    Failure::Garbage {
                        what: "it came before the request".into(),
                    },
                );
            }
            return;
        };
        carried.last_read_ns = read.at_ns;
        let step = carried.exchange.read(read, self.sink);
        let written = carried.is_written();
        match step {
            Ok(Step::More) => {}
            Ok(Step::Ending) => {
                carried.ending_ns.get_or_insert(read.at_ns);
            }
            Ok(Step::Done { reusable }) => self.finished(key, reusable && written, read.at_ns),
            Err(failure) => self.connection_failed(key, failure, read.at_ns),
        }
    }

    /// The connection has ended, by the server's will or an error.
    fn ended(&mut self, key: usize, end: End, at_ns: u64) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let why = match end {
            End::Closed => "the server closed it".to_owned(),
            End::Error(kind) => io::Error::from(kind).to_string(),
        };
        if connection.phase != Phase::Open {
            let failure = Failure::Tls {
                host: self.wire.host.clone(),
                why,
            };
            return self.connect_failed(key, failure);
        }
        let Some(carried) = &mut connection.carried else {
            self.idle.retain(|idle| *idle != key);
            self.drop_connection(key);
            return;
        };
        let result = match end {
            End::Closed => carried.exchange.end_of_input(at_ns, self.sink),
            End::Error(_) => {
                carried
                    .exchange
                    .interrupted(Failure::Broken { why }, at_ns, self.sink)
            }
        };
        match result {
            Ok(()) => self.finished(key, false, at_ns),
            Err(failure) => self.connection_failed(key, failure, at_ns),
        }
    }
}
