//! Handles commands.

use std::ffi::OsStr;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::{CommandReply, Request, View};
use crate::domain::path::Sanitized;
use crate::domain::{DocumentPath, Retry};
use crate::ledger::{DocumentState, Reader};
use crate::report::chain;

/// Documents that are marked in one commit: a long list does not hold up what else is to be committed.
const AT_ONCE: usize = 4096;

/// What answers are found from.
#[derive(Debug)]
pub struct Desk {
    /// How the daemon is doing.
    pub view: Arc<View>,
    /// The channel to the writer.
    pub retries: mpsc::Sender<Retry>,
}

impl Desk {
    /// Answers a request. Dropped, it may leave a part of what was asked undone.
    pub(super) async fn answer(self: &Arc<Self>, request: Request) -> CommandReply {
        let answered = match request {
            Request::Status => self.view.status().await.map(|status| CommandReply::Status(Box::new(status))),
            Request::Retry { paths, all } => self.retry(paths, all).await.map(CommandReply::Retried),
        };
        answered.unwrap_or_else(CommandReply::Error)
    }

    async fn retry(self: &Arc<Self>, paths: Vec<String>, all: bool) -> Result<usize, String> {
        let paths = match (all, paths.is_empty()) {
            (true, true) => self.look(Reader::failed_paths).await?.map_err(|error| chain(&error))?,
            (false, false) => self.look(move |reader| find(reader, &paths)).await??,
            _ => return Err("give either `paths` or `all`".into()),
        };
        for paths in paths.chunks(AT_ONCE) {
            let (done, is_done) = oneshot::channel();
            let stopping = "the daemon is stopping; retry the rest once it has stopped";
            self.retries.send(Retry { paths: paths.to_vec(), done }).await.map_err(|_| stopping)?;
            is_done.await.map_err(|_| stopping)?;
        }
        Ok(paths.len())
    }

    /// Looks into the ledger off the runtime.
    async fn look<T: Send + 'static>(self: &Arc<Self>, look: impl FnOnce(&Reader) -> T + Send + 'static) -> Result<T, String> {
        let view = Arc::clone(&self.view);
        spawn_blocking(move || look(view.reader())).await.map_err(|error| error.to_string())
    }
}

fn find(reader: &Reader, names: &[String]) -> Result<Vec<DocumentPath>, String> {
    let find = |name: &String| match reader.find(OsStr::new(name)).map_err(|error| chain(&error))? {
        Some((path, DocumentState::Failed)) => Ok(path),
        Some((path, state)) => Err(format!("`{}` is {}, not failed", Sanitized(&path), state.as_str())),
        None => Err(format!("`{}` is not known", name.escape_debug())),
    };
    names.iter().map(find).collect()
}
