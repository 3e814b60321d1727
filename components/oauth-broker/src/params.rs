//! Reads the parameters of a query or a form.

use std::collections::BTreeMap;

use http::Uri;
use thiserror::Error;

use sealing::Secret;

/// The parameters of a query or a form: each at most once, and one without a value counts as absent (RFC 6749
/// section 3.1).
pub struct Params(Vec<(String, Secret)>);

/// Why parameters cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ParamsError {
    #[error("there are more than {MOST} parameters")]
    TooMany,
    #[error("a parameter is there twice")]
    Repeated,
    #[error("the query is longer than 16 KiB")]
    TooLong,
}

impl From<BTreeMap<String, Secret>> for Params {
    fn from(params: BTreeMap<String, Secret>) -> Self {
        Self(params.into_iter().collect())
    }
}

impl Params {
    pub fn parse(form: &[u8]) -> Result<Self, ParamsError> {
        let mut params: Vec<(String, Secret)> = Vec::new();
        for (name, value) in url::form_urlencoded::parse(form) {
            if params.len() == MOST {
                return Err(ParamsError::TooMany);
            }
            if params.iter().any(|(known, _)| *known == name) {
                return Err(ParamsError::Repeated);
            }
            params.push((name.into_owned(), Secret::from(value.into_owned())));
        }
        Ok(Self(params))
    }

    pub fn of(uri: &Uri) -> Result<Self, ParamsError> {
        let query = uri.query().unwrap_or_default();
        if query.len() > LONGEST {
            return Err(ParamsError::TooLong);
        }
        Self::parse(query.as_bytes())
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.reveal()))
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(known, _)| known == name)?;
        Some(value.reveal()).filter(|value| !value.is_empty())
    }
}

/// Parameters of one query or form.
const MOST: usize = 64;
/// Bytes of a query.
const LONGEST: usize = 16 * 1024;
