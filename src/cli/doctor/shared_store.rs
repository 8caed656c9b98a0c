//! The store that several machines share can be reached.

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use super::{Check, Finding};
use crate::artifact::remote::Remote;
use crate::artifact::{Interrupt, in_full};
use crate::config::RemoteConfig;
use crate::outbound::Outbound;

const FIX: &str = "see `[store.remote]` in the configuration; jobs run without it, on what this machine has itself";

/// `[store.remote]` answers, and takes our credentials.
pub struct SharedStore {
    /// Where it is.
    pub config: RemoteConfig,
    /// The way to it; or why there is none.
    pub outbound: Result<Outbound, String>,
}

impl Check for SharedStore {
    fn name(&self) -> String {
        format!("shared store {}", self.config.url)
    }

    fn look(&self) -> BoxFuture<'_, Finding> {
        Box::pin(async {
            let outbound = match &self.outbound {
                Ok(outbound) => outbound.clone(),
                Err(error) => return Finding::failed(error.clone(), FIX),
            };
            let (config, runtime) = (self.config.clone(), Handle::current());
            let looked = tokio::task::spawn_blocking(move || {
                let remote = Remote::open(&config, outbound, runtime).map_err(|error| in_full(&error))?;
                remote.look(&Interrupt::default()).map_err(|error| in_full(&error))
            });
            match looked.await {
                Ok(Ok(())) => Finding::Ok("can be looked into".into()),
                Ok(Err(error)) => Finding::warning(error, FIX),
                Err(error) => Finding::failed(format!("it could not be asked: {error}"), FIX),
            }
        })
    }
}
