//! What did a query or a form say?

use std::collections::BTreeMap;

use http::Uri;

use super::Refusal;
use sealing::Secret;

/// The parameters of a query or a form: each at most once, and one without a value is as good as absent (RFC 6749
/// section 3.1).
pub struct Params(Vec<(String, Secret)>);

impl From<BTreeMap<String, Secret>> for Params {
    fn from(params: BTreeMap<String, Secret>) -> Self {
        Self(params.into_iter().collect())
    }
}

impl Params {
    pub fn parse(form: &[u8]) -> Result<Self, Refusal> {
        let mut params: Vec<(String, Secret)> = Vec::new();
        for (name, value) in url::form_urlencoded::parse(form) {
            if params.len() == MOST {
                return Err(Refusal::Request("there are more than 64 parameters"));
            }
            if params.iter().any(|(known, _)| *known == name) {
                return Err(Refusal::Request("a parameter is there twice"));
            }
            params.push((name.into_owned(), Secret::from(value.into_owned())));
        }
        Ok(Self(params))
    }

    pub fn of(uri: &Uri) -> Result<Self, Refusal> {
        let query = uri.query().unwrap_or_default();
        if query.len() > LONGEST {
            return Err(Refusal::Request("the query is longer than 16 KiB"));
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

const MOST: usize = 64;
const LONGEST: usize = 16 * 1024;
