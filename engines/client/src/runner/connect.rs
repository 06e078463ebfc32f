//! Opening connections.

use std::io;
use std::time::Duration;

use mio::Token;
use mio::net::TcpStream;

use super::{Runner, interest, no_queue};
use crate::clock::now_ns;
use crate::connection::{Carried, Connection, Phase};
use crate::receive::ask_for_stamps;
use crate::{Failure, TargetError};

impl Runner<'_> {
    /// Opens connections and waits until they are, or cannot be.
    pub fn preconnect(&mut self, n: usize, stop: &dyn Fn() -> bool) -> Result<(), TargetError> {
        let mut left = n;
        while (left > 0 || self.connecting > 0) && !stop() {
            while left > 0 && self.connecting < self.plan.limits.connecting.max(1) {
                left -= 1;
                // What is wrong will be told of the first request that meets it.
                if self.open(None, 0).is_err() {
                    left = 0;
                }
            }
            self.turn(Duration::from_millis(20))
                .map_err(|e| no_queue(io::Error::other(e.what)))?;
        }
        Ok(())
    }

    /// Starts to open a connection; a failure gives back what it should have carried.
    pub(super) fn open(
        &mut self,
        carried: Option<Box<Carried>>,
        address: usize,
    ) -> Result<(), (Failure, Option<Box<Carried>>)> {
        let to = match self.wire.addresses() {
            Ok(all) => all[address % all.len()],
            Err(failure) => return Err((failure, carried)),
        };
        let tls = match self.wire.session() {
            Ok(tls) => tls,
            Err(failure) => return Err((failure, carried)),
        };
        let mut socket = match TcpStream::connect(to) {
            Ok(socket) => socket,
            Err(why) => return Err((self.connect_failure(address, &why), carried)),
        };
        let place = self.connections.vacant_entry();
        let key = place.key();
        if let Err(why) = self
            .poll
            .registry()
            .register(&mut socket, Token(key), interest())
        {
            return Err((self.connect_failure(address, &why), carried));
        }
        self.serial += 1;
        place.insert(Connection {
            socket,
            tls,
            phase: Phase::Connecting,
            serial: self.serial,
            address,
            opened_ns: now_ns(),
            last_ns: 0,
            closing: false,
            write_error: None,
            carried,
        });
        self.connecting += 1;
        Ok(())
    }

    /// The socket has connected, or will not.
    pub(super) fn connect_settled(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let failed = match connection.socket.take_error() {
            Ok(None) => match connection.socket.peer_addr() {
                Ok(_) => None,
                Err(why) if why.kind() == io::ErrorKind::NotConnected => return,
                Err(why) => Some(why),
            },
            Ok(Some(why)) | Err(why) => Some(why),
        };
        if let Some(why) = failed {
            let address = connection.address;
            let failure = self.connect_failure(address, &why);
            return self.connect_failed(key, failure);
        }
        // Without it a small request could wait for an acknowledgement; not having it is no error.
        let _ = connection.socket.set_nodelay(true);
        ask_for_stamps(&connection.socket);
        self.address = connection.address;
        if connection.tls.is_some() {
            connection.phase = Phase::Handshaking;
            self.flush(key);
        } else {
            self.opened(key);
        }
    }

    /// Connected, and the handshake is over.
    pub(super) fn opened(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.phase = Phase::Open;
        self.connecting -= 1;
        self.report.connections += 1;
        if connection.carried.is_some() {
            self.send(key);
        } else {
            self.idle.push(key);
        }
    }

    /// Goes on to the host's next address, or tells the failure.
    pub(super) fn connect_failed(&mut self, key: usize, failure: Failure) {
        let Some(connection) = self.drop_connection(key) else {
            return;
        };
        let next = connection.address + 1;
        let all = self.wire.addresses().map_or(0, <[_]>::len);
        // Once round, from the address that was tried first.
        let over = all < 2 || next % all == self.address % all;
        if over || matches!(failure, Failure::Tls { .. } | Failure::Resources { .. }) {
            if let Some(carried) = connection.carried {
                self.failed(carried, failure);
            }
            return;
        }
        if let Err((failure, Some(carried))) = self.open(connection.carried, next) {
            self.failed(carried, failure);
        }
    }

    fn connect_failure(&mut self, address: usize, why: &io::Error) -> Failure {
        let address = match self.wire.addresses() {
            Ok(all) => all[address % all.len()].to_string(),
            Err(failure) => return failure,
        };
        match (
            why.kind(),
            why.raw_os_error().map(rustix::io::Errno::from_raw_os_error),
        ) {
            (io::ErrorKind::ConnectionRefused, _) => Failure::Refused { address },
            (_, Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE)) => {
                self.report.ran_out_of_files = true;
                Failure::Resources {
                    what: "open files".into(),
                    remedy: "Raise its limit (ulimit -n), or have fewer requests in flight".into(),
                }
            }
            (_, Some(rustix::io::Errno::ADDRNOTAVAIL)) => Failure::Resources {
                what: "local ports".into(),
                remedy: "Have fewer requests in flight, or widen net.ipv4.ip_local_port_range"
                    .into(),
            },
            _ => Failure::Unreachable {
                address,
                why: why.to_string(),
            },
        }
    }

    pub(super) fn connect_timeout(&mut self, key: usize) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let address = match self.wire.addresses() {
            Ok(all) => all[connection.address % all.len()].to_string(),
            Err(failure) => return self.connect_failed(key, failure),
        };
        let after_ms = u64::try_from(self.target.connect_timeout.as_millis()).unwrap_or(u64::MAX);
        self.connect_failed(key, Failure::ConnectTimeout { address, after_ms });
    }

    pub(super) fn drop_connection(&mut self, key: usize) -> Option<Connection> {
        let mut connection = self.connections.try_remove(key)?;
        if connection.phase != Phase::Open {
            self.connecting -= 1;
        }
        // Closing takes it off the queue in any case.
        let _ = self.poll.registry().deregister(&mut connection.socket);
        Some(connection)
    }
}
