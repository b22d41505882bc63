//! `/`: the list of endpoints as a page.

use super::AdminState;
use super::endpoints::ENDPOINTS;
use super::query::Query;
use super::reply::Reply;

const HEAD: &str = "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>Admin</title></head>\n\
                    <body>\n<h1>Admin</h1>\n<table>\n<tr><th>Command</th><th>Description</th></tr>\n";

/// Answers `/`. Nothing on the page comes from outside the program.
pub(super) fn page(_: &AdminState, _: &Query) -> Reply {
    let mut page = HEAD.to_owned();
    for endpoint in ENDPOINTS.iter().filter(|endpoint| endpoint.path != "/") {
        let path = endpoint.path.trim_start_matches('/');
        let command = if endpoint.mutates {
            format!("<form action=\"{path}\" method=\"post\"><button>{path}</button></form>")
        } else {
            format!("<a href=\"{path}\">{path}</a>")
        };
        page.push_str(&format!("<tr><td>{command}</td><td>{}</td></tr>\n", endpoint.help));
    }
    page.push_str("</table>\n</body>\n</html>\n");
    Reply::html(page)
}
