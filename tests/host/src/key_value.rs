//! The stores behind key-value labels.
//!
//! SQLite or Redis, with Spin's own queries, table and connection handling: one SQLite connection behind a mutex for
//! the whole process, and for Redis the plain keys, so that labels which share a database share the keys.

use crate::runtime_config;
use anyhow::{Context, Result};
use redis::AsyncCommands;
use redis::aio::ConnectionManager;
use rusqlite::{Connection, OptionalExtension};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::OnceCell;

/// The stores of an app by label.
pub struct Stores(HashMap<String, Store>);

impl Stores {
    pub fn open(configs: &BTreeMap<String, runtime_config::Store>) -> Result<Self> {
        configs
            .iter()
            .filter_map(|(label, config)| {
                let store = match config {
                    runtime_config::Store::Spin { path } => Sqlite::open(label, path.as_deref()).map(Store::Sqlite),
                    runtime_config::Store::Redis { url } => Redis::new(url).map(Store::Redis),
                    // Reading the runtime config has refused these.
                    runtime_config::Store::AzureCosmos { .. } | runtime_config::Store::AwsDynamo { .. } => return None,
                };
                let store = store.with_context(|| format!("could not configure key-value store with label {label:?}"));
                Some(store.map(|store| (label.clone(), store)))
            })
            .collect::<Result<_>>()
            .map(Self)
    }

    pub fn get(&self, label: &str) -> Option<&Store> {
        self.0.get(label)
    }
}

/// An open store. What goes wrong is text: the component sees it as `error::other`.
#[derive(Clone)]
pub enum Store {
    Sqlite(Sqlite),
    Redis(Redis),
}

impl Store {
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, String> {
        match self {
            Self::Sqlite(store) => store.get(key),
            Self::Redis(store) => text(store.connection().await?.get(key).await),
        }
    }

    pub async fn set(&self, key: &str, value: &[u8]) -> Result<(), String> {
        match self {
            Self::Sqlite(store) => store.set(key, value),
            Self::Redis(store) => text(store.connection().await?.set(key, value).await),
        }
    }

    pub async fn delete(&self, key: &str) -> Result<(), String> {
        match self {
            Self::Sqlite(store) => store.delete(key),
            Self::Redis(store) => text(store.connection().await?.del(key).await),
        }
    }

    pub async fn exists(&self, key: &str) -> Result<bool, String> {
        match self {
            Self::Sqlite(store) => Ok(store.get(key)?.is_some()),
            Self::Redis(store) => text(store.connection().await?.exists(key).await),
        }
    }

    pub async fn keys(&self) -> Result<Vec<String>, String> {
        match self {
            Self::Sqlite(store) => store.keys(),
            Self::Redis(store) => text(store.connection().await?.keys("*").await),
        }
    }

    /// What opening the store costs: for Redis a ping, whose failure is left to the calls that follow.
    pub async fn opened(&self) -> Result<(), String> {
        if let Self::Redis(store) = self {
            let _ = store.connection().await?.ping::<()>().await;
        }
        Ok(())
    }
}

#[derive(Clone)]
pub struct Sqlite {
    label: Arc<str>,
    connection: Arc<Mutex<Connection>>,
}

impl Sqlite {
    fn open(label: &str, path: Option<&std::path::Path>) -> Result<Self> {
        let connection = match path {
            Some(path) => {
                if let Some(dir) = path.parent() {
                    std::fs::create_dir_all(dir).with_context(|| format!("cannot create the folder {dir:?}"))?;
                }
                Connection::open(path).with_context(|| format!("cannot open {path:?}"))?
            }
            None => Connection::open_in_memory()?,
        };
        connection.execute(
            "CREATE TABLE IF NOT EXISTS spin_key_value (
                store TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (store, key)
            )",
            [],
        )?;
        Ok(Self { label: label.into(), connection: Arc::new(Mutex::new(connection)) })
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, String> {
        self.run(|connection| {
            connection
                .prepare_cached("SELECT value FROM spin_key_value WHERE store = ?1 AND key = ?2")?
                .query_row([&*self.label, key], |row| row.get(0))
                .optional()
        })
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), String> {
        self.run(|connection| {
            connection
                .prepare_cached(
                    "INSERT INTO spin_key_value (store, key, value) VALUES (?1, ?2, ?3)
                     ON CONFLICT (store, key) DO UPDATE SET value = ?3",
                )?
                .execute(rusqlite::params![&*self.label, key, value])
                .map(drop)
        })
    }

    fn delete(&self, key: &str) -> Result<(), String> {
        self.run(|connection| {
            connection
                .prepare_cached("DELETE FROM spin_key_value WHERE store = ?1 AND key = ?2")?
                .execute([&*self.label, key])
                .map(drop)
        })
    }

    fn keys(&self) -> Result<Vec<String>, String> {
        self.run(|connection| {
            connection
                .prepare_cached("SELECT key FROM spin_key_value WHERE store = ?1")?
                .query_map([&*self.label], |row| row.get(0))?
                .collect()
        })
    }

    fn run<T>(&self, query: impl FnOnce(MutexGuard<'_, Connection>) -> rusqlite::Result<T>) -> Result<T, String> {
        blocking(|| text(query(self.connection.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))))
    }
}

#[derive(Clone)]
pub struct Redis {
    client: redis::Client,
    connection: Arc<OnceCell<ConnectionManager>>,
}

impl Redis {
    fn new(url: &str) -> Result<Self> {
        let client = redis::Client::open(url).context("invalid Redis URL")?;
        Ok(Self { client, connection: Arc::default() })
    }

    /// Made at the first use: a Redis that is away does not keep the app from starting.
    async fn connection(&self) -> Result<ConnectionManager, String> {
        let connect = || async { self.client.get_connection_manager().await };
        text(self.connection.get_or_try_init(connect).await.cloned())
    }
}

/// Lets other tasks go on elsewhere meanwhile, where the runtime has an elsewhere.
fn blocking<T>(work: impl FnOnce() -> T) -> T {
    let elsewhere = tokio::runtime::Handle::try_current()
        .is_ok_and(|handle| handle.runtime_flavor() == tokio::runtime::RuntimeFlavor::MultiThread);
    if elsewhere { tokio::task::block_in_place(work) } else { work() }
}

fn text<T>(result: Result<T, impl std::fmt::Display>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stores(path: &std::path::Path) -> Stores {
        let spin = || runtime_config::Store::Spin { path: Some(path.to_owned()) };
        Stores::open(&[("default".to_owned(), spin()), ("other".to_owned(), spin())].into()).unwrap()
    }

    #[tokio::test]
    async fn a_store_keeps_what_is_set_until_it_is_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/kv.db");
        let opened = stores(&path);
        let store = opened.get("default").unwrap();
        store.set("k", b"\x00v1").await.unwrap();
        store.set("k", b"\x00v2").await.unwrap();
        assert_eq!(store.get("k").await.unwrap().as_deref(), Some(&b"\x00v2"[..]));
        assert!(store.exists("k").await.unwrap());
        assert_eq!(store.keys().await.unwrap(), ["k"]);
        assert_eq!(opened.get("other").unwrap().get("k").await.unwrap(), None, "labels are apart");
        drop(opened);

        let reopened = stores(&path);
        let store = reopened.get("default").unwrap();
        assert!(store.exists("k").await.unwrap());
        store.delete("k").await.unwrap();
        store.delete("k").await.unwrap();
        assert_eq!(store.get("k").await.unwrap(), None);
    }

    #[tokio::test]
    async fn without_a_path_the_store_is_in_memory() {
        let stores =
            Stores::open(&[("default".to_owned(), runtime_config::Store::Spin { path: None })].into()).unwrap();
        let store = stores.get("default").unwrap();
        store.set("k", b"v").await.unwrap();
        assert_eq!(store.get("k").await.unwrap().as_deref(), Some(&b"v"[..]));
        assert!(stores.get("absent").is_none());
    }
}
