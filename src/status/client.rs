//! The other commands' end of the socket.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::socket_path::Place;
use super::{CommandReply, LONGEST_ANSWER, Request, TIME, socket_of};

/// A connection to the daemon that holds a ledger.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

/// Says why a daemon did not answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Its socket cannot be opened.
    #[error("cannot open the daemon's socket `{}`", path.display())]
    Closed {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It went away, or was too slow.
    #[error("the daemon behind `{}` does not answer", path.display())]
    Unheard {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It says no.
    #[error("the daemon will not: {0}")]
    Refused(String),
}

impl Connection {
    /// Connects to the daemon that holds a ledger; `None` where none listens.
    ///
    /// # Errors
    /// When there is a socket that cannot be opened.
    pub fn open(ledger: &Path) -> Result<Option<Self>, AskError> {
        let path = socket_of(ledger);
        match Place::of(&path).and_then(|place| UnixStream::connect(place.path())) {
            Ok(stream) => Ok(Some(Self { stream: BufReader::new(stream), path })),
            // Where a daemon was killed, its socket is left.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(None),
            Err(source) => Err(AskError::Closed { path, source }),
        }
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// When there is none, or it is no.
    pub fn ask(&mut self, request: &Request) -> Result<CommandReply, AskError> {
        match self.exchange(request) {
            Ok(CommandReply::Error(said)) => Err(AskError::Refused(said)),
            Ok(answer) => Ok(answer),
            Err(source) => Err(AskError::Unheard { path: self.path.clone(), source }),
        }
    }

    fn exchange(&mut self, request: &Request) -> io::Result<CommandReply> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        let stream = self.stream.get_mut();
        // The daemon answers in `TIME`, once another client has left it a place.
        stream.set_write_timeout(Some(TIME))?;
        stream.set_read_timeout(Some(TIME * 3))?;
        stream.write_all(&line)?;
        line.clear();
        (&mut self.stream).take(LONGEST_ANSWER as u64).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_slice(&line)?)
    }
}
