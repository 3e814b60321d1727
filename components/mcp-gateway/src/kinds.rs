//! The kinds of things that servers list: one table for both eras.

use crate::eras::By;
use crate::skills;
use json::Object;

/// What can be listed.
pub struct Kind {
    pub method: &'static str,
    /// Where the entries are in the result.
    pub member: &'static str,
    /// What tells entries apart.
    pub key: &'static str,
    /// What a server declares that has some.
    pub capability: &'static str,
    /// The notification that says that the list has changed.
    pub changed: &'static str,
    pub by: By,
}

pub static TOOLS: Kind = Kind {
    method: "tools/list",
    member: "tools",
    key: "name",
    capability: "tools",
    changed: "notifications/tools/list_changed",
    by: By::Tool,
};
pub static PROMPTS: Kind = Kind {
    method: "prompts/list",
    member: "prompts",
    key: "name",
    capability: "prompts",
    changed: "notifications/prompts/list_changed",
    by: By::Prompt,
};
pub static RESOURCES: Kind = Kind {
    method: "resources/list",
    member: "resources",
    key: "uri",
    capability: "resources",
    changed: "notifications/resources/list_changed",
    by: By::Uri,
};
pub static TEMPLATES: Kind = Kind {
    method: "resources/templates/list",
    member: "resourceTemplates",
    key: "uriTemplate",
    capability: "resources",
    changed: "notifications/resources/list_changed",
    by: By::Uri,
};

/// Of an extension of the newer era (`skills`). It has no notification of its own: servers of the TypeScript SDK say that
/// their resources have changed.
pub static SKILLS: Kind = Kind {
    method: "skills/list",
    member: "skills",
    key: "uri",
    capability: skills::EXTENSION,
    changed: "notifications/resources/list_changed",
    by: By::Skill,
};

pub fn kinds() -> [&'static Kind; 5] {
    [&TOOLS, &PROMPTS, &RESOURCES, &TEMPLATES, &SKILLS]
}

impl Kind {
    pub fn listed_by(method: &str) -> Option<&'static Self> {
        kinds().into_iter().find(|kind| kind.method == method)
    }

    pub fn changed_by(method: &str) -> Option<&'static Self> {
        kinds().into_iter().find(|kind| kind.changed == method)
    }

    /// Returns true if only servers that declare an extension of the newer era have some, and only clients of that era ask.
    pub fn is_of_extension(&self) -> bool {
        self.by == By::Skill
    }

    /// What tells `entry` apart from others of its server, decoded.
    pub fn key_of(&self, entry: &str) -> Option<String> {
        Some(json::string(Object::parse(entry).ok()?.find(self.key)?)?.into_owned())
    }
}

/// Returns true if results of this method say how long they may be kept (2026-07-28).
pub fn is_cacheable(method: &str) -> bool {
    matches!(method, "resources/read" | skills::GET) || Kind::listed_by(method).is_some()
}
