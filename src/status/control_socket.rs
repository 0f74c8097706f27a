//! The daemon's end of the socket.

use std::convert::Infallible;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::Mode;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, error, warn};

use super::commands::Desk;
use super::socket_path::Place;
use super::{CONNECTIONS, CommandReply, LONGEST, Request, TIME, socket_of};

/// The socket. Dropping it takes it away.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode number: what another daemon has put in its place is not taken away.
    file: (u64, u64),
}

impl Socket {
    /// Opens the socket beside a ledger that this process holds. One that lies there is that of a daemon that was killed: had it
    /// lived, it would hold the ledger.
    ///
    /// # Errors
    /// When it cannot be made, or something else than a socket lies there.
    pub fn open(ledger: &Path) -> io::Result<Self> {
        let path = socket_of(ledger);
        match std::fs::symlink_metadata(&path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else than a socket lies in its place"));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(_) | Err(_) => {}
        }
        let socket = UnixSocket::new_stream()?;
        // Linux makes the file with the mode of the descriptor, less the umask: at no moment can anybody else open it.
        rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        // It gets its name once it listens, so that a client that finds it is served.
        let mut beside = path.clone().into_os_string();
        beside.push("-new");
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let place = Place::of(beside.as_ref())?;
        socket.bind(place.path())?;
        let listener = socket.listen(u32::try_from(CONNECTIONS).expect("it is small"))?;
        std::fs::rename(&beside, &path)?;
        let made = std::fs::symlink_metadata(&path)?;
        Ok(Self { listener, path, file: (made.dev(), made.ino()) })
    }

    /// Answers until it is dropped; connections end with it.
    pub async fn serve(self, desk: Desk) -> Infallible {
        let desk = Arc::new(desk);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                Some(ended) = connections.join_next() => if let Err(error) = ended {
                    error!(%error, "a connection ended in a bug of riverbed");
                },
                accepted = self.listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(converse(stream, Arc::clone(&desk)));
                    }
                    Err(error) => {
                        warn!(%error, "cannot accept a command, waiting");
                        // Out of file descriptors, as a rule: it fails again at once until some are given back.
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let is_ours = |found: std::fs::Metadata| (found.dev(), found.ino()) == self.file;
        if std::fs::symlink_metadata(&self.path).is_ok_and(is_ours)
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            debug!(%error, "the socket stays; the next daemon replaces it");
        }
    }
}

/// Answers one client until it has no more requests, is too slow, or asks for too much at once.
async fn converse(stream: UnixStream, desk: Arc<Desk>) {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = (&mut read).take(LONGEST as u64 + 1);
        let Ok(Ok(1..)) = timeout(TIME, bounded.read_until(b'\n', &mut line)).await else { return };
        let is_too_long = line.len() > LONGEST;
        let answer = if is_too_long {
            CommandReply::Error(format!("a request has at most {LONGEST} bytes"))
        } else {
            answer(&line, &desk).await
        };
        let mut json = serde_json::to_vec(&answer).expect("an answer is JSON");
        json.push(b'\n');
        let written = timeout(TIME, write.write_all(&json)).await;
        if is_too_long || !matches!(written, Ok(Ok(()))) {
            return;
        }
    }
}

async fn answer(line: &[u8], desk: &Arc<Desk>) -> CommandReply {
    match serde_json::from_slice::<Request>(line) {
        Err(error) => CommandReply::Error(format!("not a request: {error}")),
        Ok(request) => timeout(TIME, desk.answer(request)).await.unwrap_or_else(|_| {
            CommandReply::Error("the daemon is busy (its disk may be full, its log tells); it may yet do what was asked".into())
        }),
    }
}

#[cfg(test)]
mod tests {
    use bytesize::ByteSize;
    use tokio::sync::mpsc;

    use super::*;
    use crate::ledger::Ledger;

    // Nobody ever sends anything, so the paused clock is at the next timeout at once.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_loses_its_place_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("ledger.db"), ByteSize::mib(1)).unwrap();
        let parts = crate::status::Parts {
            reader: ledger.reader().unwrap(),
            counters: Arc::default(),
            found: Arc::default(),
            claims: crate::domain::Claims::default(),
            answers: std::sync::Arc::default(),
            contexts: std::sync::Arc::default(),
            lanes: crate::throttle::Lanes::default(),
            has_vectors: true,
            prices: crate::domain::Setting::default(),
            stop: tokio_util::sync::CancellationToken::new(),
        };
        let desk = Desk { view: Arc::new(crate::status::View::new(parts)), retries: mpsc::channel(1).0 };
        let (_client, ours) = UnixStream::pair().unwrap();
        let begun = tokio::time::Instant::now();
        converse(ours, Arc::new(desk)).await;
        assert!(begun.elapsed() >= TIME);
    }
}
