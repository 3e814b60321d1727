//! Reads what `servers.json` changes about the tools of a server.

use std::borrow::Cow;

use super::server::{Fault, one, wrong};
use crate::places::Places;
use json::Object;

/// Other words for `tools.allow` and `tools.deny`: Gemini CLI, Windsurf, Roo Code.
pub const ALLOWS: [&str; 2] = ["includeTools", "enabledTools"];
pub const DENIES: [&str; 2] = ["excludeTools", "disabledTools"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    Flag,
    Hold,
    /// What comes later is held too.
    Freeze,
}

/// What the file changes about the tools of a server.
#[derive(Default)]
pub struct Tools<'a> {
    pub allow: Option<Vec<Cow<'a, str>>>,
    pub deny: Vec<Cow<'a, str>>,
    /// Their own names, and those they have here.
    pub rename: Pairs<'a>,
    /// The other way.
    pub renamed: Pairs<'a>,
    /// Their own names, and their descriptions here.
    pub describe: Pairs<'a>,
    pub pin: Option<Pin>,
    /// Their own names, and the digests of their definitions.
    pub pins: Pairs<'a>,
}

/// What belongs to each of some names.
#[derive(Default)]
pub struct Pairs<'a> {
    places: Places<'a>,
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl Tools<'_> {
    /// Returns true if this tool is seen and called.
    pub fn offers(&self, tool: &str) -> bool {
        let fits = |patterns: &[Cow<'_, str>]| patterns.iter().any(|pattern| glob(pattern, tool));
        self.allow.as_deref().is_none_or(fits) && !fits(&self.deny)
    }

    /// Returns true if the tools are offered as the server has them, so that nothing has to be looked at.
    pub fn change_nothing(&self) -> bool {
        let Self { allow, deny, rename, renamed: _, describe, pin, pins: _ } = self;
        let is_empty = |of: &Pairs<'_>| of.pairs.is_empty();
        allow.is_none() && deny.is_empty() && is_empty(rename) && is_empty(describe) && pin.is_none()
    }
}

impl<'a> Pairs<'a> {
    /// Returns false if the name has something already.
    fn add(&mut self, name: Cow<'a, str>, value: Cow<'a, str>) -> bool {
        let is_new = self.places.note(name.clone(), self.pairs.len()) == self.pairs.len();
        if is_new {
            self.pairs.push((name, value));
        }
        is_new
    }

    pub fn of(&self, name: &str) -> Option<&str> {
        self.pairs.get(self.places.find(name)?).map(|(_, value)| &**value)
    }
}

/// The rules of an entry with these keys.
pub fn read<'a>(keys: &Object<'a>) -> Result<Tools<'a>, Fault> {
    let listed = |key: &'static str| match one(keys, key)? {
        None => Ok(None),
        Some(list) => names_in(list).map(Some).ok_or_else(|| wrong(key, "has to be a list of names")),
    };
    let [other_allow, other_deny] =
        [ALLOWS, DENIES].map(|words| words.into_iter().find_map(|key| listed(key).transpose()));
    let (other_allow, other_deny) = (other_allow.transpose()?, other_deny.transpose()?);
    let others = Tools { allow: other_allow, deny: other_deny.unwrap_or_default(), ..Tools::default() };
    let Some(text) = one(keys, "tools")? else { return Ok(others) };
    if others.allow.is_some() || !others.deny.is_empty() {
        return Err(wrong("tools", "stands beside another program's key for the same: keep one of them"));
    }
    if let Some(allow) = names_in(text) {
        return Ok(Tools { allow: Some(allow), ..Tools::default() });
    }
    let tools = Object::parse(text)
        .map_err(|_| wrong("tools", "has to be a list of names or {\"allow\": […], \"deny\": […]}"))?;
    let known = ["allow", "deny", "rename", "describe", "pin", "pins"];
    if let Some((key, _)) = tools.members().find(|(key, _)| !known.contains(&&***key)) {
        return Err(Fault::Misconfigured(format!("unknown key \"{key}\" in \"tools\"")));
    }
    let patterns = |key| match one(&tools, key)? {
        None => Ok(None),
        Some(patterns) => {
            names_in(patterns).map(Some).ok_or_else(|| wrong("tools", &format!("\"{key}\" has to be a list of names")))
        }
    };
    let pairs = |key| {
        let mut pairs = Pairs::default();
        let Some(text) = one(&tools, key)? else { return Ok(pairs) };
        let shape = || wrong("tools", &format!("\"{key}\" has to be an object of strings"));
        for (own, text) in Object::parse(text).map_err(|_| shape())?.members() {
            if !pairs.add(own.clone(), json::string(text).ok_or_else(shape)?) {
                return Err(wrong("tools", &format!("\"{key}\" has \"{own}\" twice")));
            }
        }
        Ok(pairs)
    };
    let rename = pairs("rename")?;
    let mut renamed = Pairs::default();
    for (own, here) in &rename.pairs {
        if !renamed.add(here.clone(), own.clone()) {
            return Err(wrong("tools", &format!("\"rename\" gives the name \"{here}\" twice")));
        }
    }
    let pins = pairs("pins")?;
    let is_digest = |text: &str| text.strip_prefix("sha256-").is_some_and(|digest| digest.len() == 44);
    if let Some((tool, _)) = pins.pairs.iter().find(|(_, digest)| !is_digest(digest)) {
        return Err(wrong("tools", &format!("\"pins\" has no \"sha256-…\" for \"{tool}\", as /mcp/servers shows it")));
    }
    let pin = match one(&tools, "pin")?.map(json::string) {
        None => (!pins.pairs.is_empty()).then_some(Pin::Hold),
        Some(pin) => Some(match pin.as_deref() {
            Some("flag") => Pin::Flag,
            Some("hold") => Pin::Hold,
            Some("freeze") => Pin::Freeze,
            _ => return Err(wrong("tools", "\"pin\" has to be \"flag\", \"hold\" or \"freeze\"")),
        }),
    };
    Ok(Tools {
        pin,
        pins,
        allow: patterns("allow")?,
        deny: patterns("deny")?.unwrap_or_default(),
        rename,
        renamed,
        describe: pairs("describe")?,
    })
}

/// The strings of the list that `text` is.
fn names_in(text: &str) -> Option<Vec<Cow<'_, str>>> {
    json::array(text)?.into_iter().map(json::string).collect()
}

/// Returns true if `pattern`, in which `*` stands for any characters, is all of `name`.
pub fn glob(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(rest) = pieces.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    let Some(mut rest) = rest.strip_suffix(last) else { return false };
    for piece in pieces {
        let Some((_, after)) = rest.split_once(piece) else { return false };
        rest = after;
    }
    true
}
