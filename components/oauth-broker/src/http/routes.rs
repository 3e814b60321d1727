//! Names the routes of the broker: one table of paths, methods and who may send each request.

use http::Method;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    ConnectionsPage,
    Connections,
    ShowOffer,
    StartFlow,
    Callback,
    PostedCallback,
    Token,
    DeleteToken,
    Disconnect,
    Resolve,
    CreateTicket,
    ClientDocument,
    SignIn,
    SignOut,
    ReadAudit,
    Sweep,
    Health,
}

/// Who may send a request with a body. It is checked by the request's head alone, before the body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The body is not read. The handler finds out who is calling.
    NoBody,
    /// The owner's tools, a service or a person, by a key.
    Key,
    /// The owner's tools or a service, by a key.
    ServiceKey,
    /// The same as [`Access::Key`], or a person in a browser, on our own pages.
    KeyOrPerson,
    AdminKey,
    /// A provider's page, from its own site.
    Provider,
    /// Anyone, on our own pages.
    OwnPage,
    /// A person if one is signed in, on our own pages.
    OwnPageOfAnyone,
    /// A signed-in person, on our own pages.
    OwnPageOfPerson,
}

/// A row of the table.
pub struct Entry {
    pub path: &'static str,
    pub methods: &'static [Method],
    pub route: Route,
    pub access: Access,
}

const fn entry(path: &'static str, methods: &'static [Method], route: Route, access: Access) -> Entry {
    Entry { path, methods, route, access }
}

const READ: &[Method] = &[Method::GET, Method::HEAD];
const GET: &[Method] = &[Method::GET];
const POST: &[Method] = &[Method::POST];
const DELETE: &[Method] = &[Method::DELETE];

const ROUTES: [Entry; 17] = [
    entry("/", READ, Route::ConnectionsPage, Access::NoBody),
    entry("/connections", READ, Route::Connections, Access::NoBody),
    entry("/auth/{service}", GET, Route::ShowOffer, Access::NoBody),
    entry("/auth/{service}", POST, Route::StartFlow, Access::OwnPageOfAnyone),
    entry("/callback/{service}", GET, Route::Callback, Access::NoBody),
    entry("/callback/{service}", POST, Route::PostedCallback, Access::Provider),
    entry("/token/{service}", POST, Route::Token, Access::Key),
    entry("/token/{service}", DELETE, Route::DeleteToken, Access::Key),
    entry("/disconnect/{service}", POST, Route::Disconnect, Access::OwnPageOfPerson),
    entry("/resolve", POST, Route::Resolve, Access::ServiceKey),
    entry("/tickets", POST, Route::CreateTicket, Access::KeyOrPerson),
    entry("/client/{service}", READ, Route::ClientDocument, Access::NoBody),
    entry("/sign-in", POST, Route::SignIn, Access::OwnPage),
    entry("/sign-out", POST, Route::SignOut, Access::OwnPage),
    entry("/admin/audit", GET, Route::ReadAudit, Access::NoBody),
    entry("/admin/sweep", POST, Route::Sweep, Access::AdminKey),
    entry("/health", READ, Route::Health, Access::NoBody),
];

/// The rows of the table for a path, with the text that stands for `{service}` in it.
pub struct Matched<'p> {
    path: &'static str,
    pub service: Option<&'p str>,
}

/// Finds the rows for `path`. `None` if there is nothing at this address.
pub fn find(path: &str) -> Option<Matched<'_>> {
    ROUTES.iter().find_map(|entry| match entry.path.strip_suffix(SERVICE) {
        Some(before) => {
            let service = path.strip_prefix(before).filter(|service| !service.contains('/'))?;
            Some(Matched { path: entry.path, service: Some(service) })
        }
        None => (path == entry.path).then_some(Matched { path: entry.path, service: None }),
    })
}

impl Matched<'_> {
    /// The row for a method. `None` if this address does not take it.
    pub fn entry(&self, method: &Method) -> Option<&'static Entry> {
        self.entries().find(|entry| entry.methods.contains(method))
    }

    /// The methods that this address takes, as in the header `Allow`.
    pub fn methods(&self) -> String {
        let mut methods: String = self
            .entries()
            .flat_map(|entry| entry.methods)
            .fold(String::new(), |text, method| text + method.as_str() + ", ");
        methods.push_str("OPTIONS");
        methods
    }

    fn entries(&self) -> impl Iterator<Item = &'static Entry> {
        ROUTES.iter().filter(|entry| entry.path == self.path)
    }
}

const SERVICE: &str = "{service}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_finds_its_rows_and_the_service_that_it_names() {
        let service = |path| find(path).map(|matched| matched.service);
        assert_eq!(service("/auth/github"), Some(Some("github")));
        assert_eq!(service("/connections"), Some(None));
        for path in ["", "//", "/auth", "/auth/a/b", "/connections/", "/connections/x", "/admin", "/admin/x", "/x"] {
            assert_eq!(service(path), None, "{path}");
        }
    }

    #[test]
    fn an_address_takes_the_methods_of_all_its_rows() {
        let matched = find("/token/github").unwrap();
        assert_eq!(matched.methods(), "POST, DELETE, OPTIONS");
        let route = |method| matched.entry(&method).map(|entry| entry.route);
        assert_eq!(route(Method::DELETE), Some(Route::DeleteToken));
        assert_eq!(route(Method::GET), None);
    }

    #[test]
    fn no_two_rows_take_the_same_request() {
        for (position, entry) in ROUTES.iter().enumerate() {
            for other in ROUTES.iter().skip(position + 1).filter(|other| other.path == entry.path) {
                assert!(!entry.methods.iter().any(|method| other.methods.contains(method)), "{}", entry.path);
            }
        }
    }
}
