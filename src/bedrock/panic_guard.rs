//! Turns panics inside the SDK into errors: a value that a library cannot use must not end the process.

use std::cell::RefCell;
use std::future::poll_fn;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::pin::pin;
use std::sync::Once;
use std::task::Poll;

/// Says that the SDK panicked. The panic's own words are left out, since they may hold the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the AWS SDK cannot use a value that it was given, and broke off at {place}: with credentials that is a line break, or a control \
     character, in a profile or in what a process or a service answered"
)]
pub struct Panicked {
    /// File and line inside the SDK.
    place: String,
}

thread_local! {
    /// Where the future that this thread polls has panicked; `None` outside of one.
    static CAUGHT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs a future of the SDK's. Cancel safe where the future is.
///
/// # Errors
/// When it panics. It is dropped then, and never polled again; what it shares with others (the pool, the cache of credentials) is
/// behind locks of its own, so that the worst is that the next call fails too.
pub(crate) async fn caught<T>(future: impl Future<Output = T>) -> Result<T, Panicked> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !is_noted(info) {
                others(info);
            }
        }));
    });
    let mut future = pin!(future);
    poll_fn(move |context| {
        let outer = CAUGHT.replace(Some(String::new()));
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        let place = CAUGHT.replace(outer).unwrap_or_default();
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
            Err(_) => Poll::Ready(Err(Panicked { place })),
        }
    })
    .await
}

/// Notes a panic of a future that is caught, so that the next hook need not print it.
fn is_noted(info: &PanicHookInfo<'_>) -> bool {
    CAUGHT.with(|caught| {
        let Ok(mut caught) = caught.try_borrow_mut() else { return false };
        let Some(place) = caught.as_mut() else { return false };
        *place = info.location().map_or_else(|| "an unknown place".into(), |at| format!("{}:{}", short(at.file()), at.line()));
        true
    })
}

/// Returns a path from its crate on: the part before it only says where the program was built.
fn short(file: &str) -> &str {
    let Some(sources) = file.rfind("/src/") else { return file };
    file[..sources].rfind('/').map_or(file, |slash| &file[slash + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_of_the_sdk_is_an_error_that_says_where_and_not_what() {
        let panicked = caught(async {
            tokio::task::yield_now().await;
            panic!("a secret");
        });
        let said = panicked.await.map(|(): ()| ()).unwrap_err().to_string();
        assert!(said.contains("/src/bedrock/panics.rs:") || said.contains(" src/bedrock/panic_guard.rs:"), "{said}");
        assert!(!said.contains("a secret"), "{said}");
        assert_eq!(caught(async { 5 }).await, Ok(5));
    }

    #[tokio::test]
    async fn one_caught_inside_another_leaves_the_outer_one_guarded() {
        let outer = caught(async {
            let inner = caught(async { panic!("inner") }).await.map(|(): ()| ());
            assert!(inner.is_err());
            panic!("outer");
        });
        assert!(outer.await.map(|(): ()| ()).is_err());
        assert_eq!(CAUGHT.take(), None);
    }

    #[test]
    fn a_place_begins_with_the_crate() {
        let file = "/home/x/.cargo/registry/src/index/aws-runtime-1.10.2/src/auth.rs";
        assert_eq!(short(file), "aws-runtime-1.10.2/src/auth.rs");
        assert_eq!(short("src/bedrock/panic_guard.rs"), "src/bedrock/panic_guard.rs");
    }
}
