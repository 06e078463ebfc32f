//! Reading from a socket with the time at which the kernel received the bytes.
//!
//! A thread that has to wait for a core reads late; the kernel's stamp does not wait. Linux gives
//! it with each read of a TCP socket, for the last segment that the read took from, so that it is
//! never earlier than the arrival of any of the bytes. It is in wall time: [`Clocks`] brings it to
//! CLOCK_MONOTONIC, and one that does not fit between what was read before and now is not used.

use crate::clock;

#[cfg(not(target_os = "linux"))]
pub use elsewhere::{ask_for_stamps, receive};
#[cfg(target_os = "linux")]
pub use linux::{ask_for_stamps, receive};

/// The distance between the two clocks, taken anew every millisecond.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    pub read_ns: u64,
    real_minus_mono_ns: i128,
}

impl Clocks {
    pub fn read() -> Self {
        let before = clock::now_ns();
        let real = clock::real_ns();
        let after = clock::now_ns();
        let middle = before + after.saturating_sub(before) / 2;
        Self {
            read_ns: middle,
            real_minus_mono_ns: i128::from(real) - i128::from(middle),
        }
    }

    /// The kernel's stamp on our clock, where it lies between the two times.
    pub fn stamp(&self, real_ns: u64, not_before: u64, not_after: u64) -> Option<u64> {
        let mono = u64::try_from(i128::from(real_ns) - self.real_minus_mono_ns).ok()?;
        (not_before..=not_after).contains(&mono).then_some(mono)
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::os::fd::AsRawFd;

    use mio::net::TcpStream;

    /// Whether the kernel will tell.
    pub fn ask_for_stamps(socket: &TcpStream) -> bool {
        let on: libc::c_int = 1;
        // SAFETY: the option's value is an int, which lives through the call, and its size is told.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_TIMESTAMPNS,
                (&raw const on).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        result == 0
    }

    /// Room for one stamp, aligned as headers of control messages are.
    #[repr(C)]
    union Control {
        _align: libc::cmsghdr,
        bytes: [u8; 64],
    }

    /// Reads, and gives with the number of bytes the wall time of their arrival.
    pub fn receive(socket: &TcpStream, buffer: &mut [u8]) -> io::Result<(usize, Option<u64>)> {
        let mut part = libc::iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: buffer.len(),
        };
        let mut control = Control { bytes: [0; 64] };
        // SAFETY: a msghdr of zeros is an empty one.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = size_of::<Control>() as _;
        // SAFETY: the message points to the buffer and to the control bytes, both of which outlive
        // the call, with their sizes.
        let got = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
        let Ok(got) = usize::try_from(got) else {
            return Err(io::Error::last_os_error());
        };
        Ok((got, stamp(&message)))
    }

    fn stamp(message: &libc::msghdr) -> Option<u64> {
        // SAFETY: the kernel has filled the control bytes up to msg_controllen; the macros stay
        // within them, and the payload of this type is a timespec, read without regard to its place.
        unsafe {
            let mut header = libc::CMSG_FIRSTHDR(message);
            while !header.is_null() {
                if (*header).cmsg_level == libc::SOL_SOCKET
                    && (*header).cmsg_type == libc::SCM_TIMESTAMPNS
                {
                    let time: libc::timespec =
                        std::ptr::read_unaligned(libc::CMSG_DATA(header).cast());
                    let seconds = u64::try_from(time.tv_sec).ok()?;
                    let nanos = u64::try_from(time.tv_nsec).ok()?;
                    return seconds.checked_mul(1_000_000_000)?.checked_add(nanos);
                }
                header = libc::CMSG_NXTHDR(message, header);
            }
        }
        None
    }
}

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::io::{self, Read as _};

    use mio::net::TcpStream;

    pub fn ask_for_stamps(_socket: &TcpStream) -> bool {
        false
    }

    pub fn receive(mut socket: &TcpStream, buffer: &mut [u8]) -> io::Result<(usize, Option<u64>)> {
        Ok((socket.read(buffer)?, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_that_does_not_fit_is_not_used() {
        let clocks = Clocks {
            read_ns: 0,
            real_minus_mono_ns: 1000,
        };
        assert_eq!(clocks.stamp(1500, 400, 600), Some(500));
        assert_eq!(
            clocks.stamp(1500, 501, 600),
            None,
            "before what was read before"
        );
        assert_eq!(
            clocks.stamp(1500, 0, 499),
            None,
            "in the future: the clock was set"
        );
        assert_eq!(
            clocks.stamp(500, 0, 499),
            None,
            "before the start of the machine"
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_late_reader_sees_the_true_time() {
        use std::io::Write as _;
        use std::time::Duration;

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let socket = mio::net::TcpStream::from_std(socket);
        assert!(ask_for_stamps(&socket));
        // The kernel takes the wish up in its own time.
        std::thread::sleep(Duration::from_millis(50));
        let before = clock::now_ns();
        peer.write_all(b"token").unwrap();
        let after = clock::now_ns();
        std::thread::sleep(Duration::from_millis(50));
        let mut buffer = [0; 10];
        let (got, stamp) = receive(&socket, &mut buffer).unwrap();
        assert_eq!(&buffer[..got], b"token");
        let at = Clocks::read().stamp(stamp.unwrap(), 0, u64::MAX).unwrap();
        assert!(
            (before..=after + 20_000_000).contains(&at),
            "{before} {at} {after}"
        );
    }
}
