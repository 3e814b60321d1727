//! Finds the request that a client's answer belongs to.
//!
//! The answer is a POST of its own, and comes to another instance. The request's id says all that this one needs:
//!
//! * `gh:{server}:{id}`: a legacy upstream asked, under this id. The answer is sent on to it, in the session that this
//!   client's profile has there; the instance that streams the call has no part in it.
//! * `gh.{random}`: a modern upstream asked by its result, and the gateway turned that into a request of its own. The
//!   answer is left as a letter for the instance that waits for it.

pub enum Ask {
    Upstream {
        prefix: String,
        /// The upstream's own id, as it stood.
        id: String,
    },
    Own(String),
}

/// The id under which the client is asked what the upstream called `prefix` asked as `id`.
pub fn outward(prefix: &str, id: &str) -> String {
    json::quoted(&["gh:", prefix, ":", id].concat())
}

/// The name of a request of the gateway's own. As an id it is quoted.
pub fn own(nonce: &str) -> String {
    ["gh.", nonce].concat()
}

/// Whose request the client answers with `id`.
pub fn homeward(id: &str) -> Option<Ask> {
    let id = json::string(id)?;
    if id.starts_with("gh.") {
        return Some(Ask::Own(id.into_owned()));
    }
    let (prefix, id) = id.strip_prefix("gh:")?.split_once(':')?;
    // It goes into a message as it stands.
    let is_id = id.starts_with(|c: char| matches!(c, '"' | '-' | '0'..='9'))
        && serde_json::from_str::<&serde_json::value::RawValue>(id).is_ok_and(|value| value.get() == id);
    is_id.then(|| Ask::Upstream { prefix: prefix.to_owned(), id: id.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_finds_its_way_back_as_it_stood() {
        for id in ["1", "-1.0", "\"a:b\\\"\\u00e9\"", "12345678901234567890123"] {
            match homeward(&outward("my-server_2", id)) {
                Some(Ask::Upstream { prefix, id: back }) => assert_eq!((&*prefix, &*back), ("my-server_2", id)),
                _ => panic!("{id}"),
            }
        }
        assert!(matches!(homeward("\"gh.x\""), Some(Ask::Own(name)) if name == own("x")));
    }

    #[test]
    fn an_id_that_could_become_more_than_an_id_is_nobodys() {
        for id in ["7", "\"x\"", "\"gh:a:\"", "\"gh:a\"", r#""gh:a:1,\"x\":2""#, r#""gh:a:{}""#, r#""gh:a: 1""#] {
            assert!(homeward(id).is_none(), "{id}");
        }
    }
}
