//! The page: HTML, SVG and script without a build step, all in one document. It reads `/mesh` every few seconds.

/// Everything is in it, nothing is fetched but `/mesh`.
pub const PAGE: &str = concat!(
    "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n",
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>Outrigger mesh</title>\n",
    "<style>\n",
    include_str!("page/style.css"),
    "</style>\n",
    include_str!("page/body.html"),
    "<script>\n",
    include_str!("page/words.js"),
    include_str!("page/layout.js"),
    include_str!("page/graph.js"),
    include_str!("page/tables.js"),
    "</script>\n</html>\n",
);
