//! One connection: a socket, TLS over it where asked, and the request that it carries.

use std::io::{self, Read as _, Write as _};

use mio::net::TcpStream;
use rustls::ClientConnection;

use crate::exchange::Exchange;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Until the socket says that it can be written to.
    Connecting,
    Handshaking,
    Open,
}

#[derive(Debug)]
pub struct Connection {
    pub socket: TcpStream,
    pub tls: Option<Box<ClientConnection>>,
    pub phase: Phase,
    /// Tells this connection from others that had its place.
    pub serial: u64,
    /// Which of the host's addresses it goes to.
    pub address: usize,
    pub opened_ns: u64,
    /// Stamp of the last read.
    pub last_ns: u64,
    /// The server has closed its side; what is still in the socket comes first.
    pub closing: bool,
    /// Writing failed; what is still in the socket comes first.
    pub write_error: Option<io::ErrorKind>,
    pub carried: Option<Box<Carried>>,
}

/// The request on a connection.
#[derive(Debug)]
pub struct Carried {
    pub exchange: Exchange,
    pub due_ns: u64,
    pub sent_ns: Option<u64>,
    pub attempt: u32,
    /// The connection had been there before the request.
    pub reused: bool,
    /// Kept until the first byte of the answer: it may have to be sent again.
    pub bytes: Vec<u8>,
    pub written: usize,
    pub last_read_ns: u64,
    /// The end of the answer was marked then, and the body's end must follow soon.
    pub ending_ns: Option<u64>,
}

impl Carried {
    pub fn is_written(&self) -> bool {
        self.written == self.bytes.len()
    }
}

impl Connection {
    /// Writes what the kernel takes.
    pub fn flush(&mut self) -> io::Result<()> {
        let Some(carried) = self.carried.as_mut().filter(|_| self.phase == Phase::Open) else {
            return self.flush_tls();
        };
        match &mut self.tls {
            Some(tls) => {
                let rest = &carried.bytes[carried.written..];
                if !rest.is_empty() {
                    tls.writer().write_all(rest)?;
                    carried.written = carried.bytes.len();
                }
                self.flush_tls()
            }
            None => {
                while !carried.is_written() {
                    match self.socket.write(&carried.bytes[carried.written..]) {
                        Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                        Ok(n) => carried.written += n,
                        Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                        Err(why) if why.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                        Err(why) => return Err(why),
                    }
                }
                Ok(())
            }
        }
    }

    fn flush_tls(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            return Ok(());
        };
        while tls.wants_write() {
            match tls.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(why) => return Err(why),
            }
        }
        Ok(())
    }

    /// Takes bytes off the wire and gives what they hold: themselves, or what TLS makes of them.
    pub fn open_bytes(&mut self, mut raw: &[u8], plain: &mut Vec<u8>) -> Result<(), rustls::Error> {
        let Some(tls) = &mut self.tls else {
            plain.extend_from_slice(raw);
            return Ok(());
        };
        while !raw.is_empty() {
            match tls.read_tls(&mut raw) {
                Ok(0) => break,
                Ok(_) => {}
                Err(why) => return Err(rustls::Error::General(why.to_string())),
            }
            let state = tls.process_new_packets()?;
            let (start, more) = (plain.len(), state.plaintext_bytes_to_read());
            plain.resize(start + more, 0);
            let mut got = 0;
            while got < more {
                match tls.reader().read(&mut plain[start + got..]) {
                    Ok(0) | Err(_) => break,
                    Ok(n) => got += n,
                }
            }
            plain.truncate(start + got);
        }
        Ok(())
    }
}
