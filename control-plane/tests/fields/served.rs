//! What each field becomes: a value is set at its place in the template, and must be found at its place in the
//! resource that a proxy receives, where it was not before. The table is `served.txt`.

use serde_json::Value;

use super::{NODES, configurations, template};

const TABLE: &str = include_str!("served.txt");
const FIRST_ROUTES: &str = "/virtual_hosts/0/routes";

/// One line of the table.
struct Row<'t> {
    /// A resource of the template, and what lies below its `Spec`.
    place: &'t str,
    value: Value,
    proxy: &'t str,
    resource: &'t str,
    pointer: String,
    expected: Value,
}

impl<'t> Row<'t> {
    fn parse(line: &'t str) -> Option<Self> {
        let (set, found) = line.split_once(" | ")?;
        let (place, value) = set.split_once(" = ")?;
        let (path, expected) = found.split_once(" = ")?;
        let mut path = path.splitn(3, ' ');
        Some(Self {
            place,
            value: serde_json::from_str(value).ok()?,
            proxy: path.next()?,
            resource: path.next()?,
            pointer: path.next()?.replace('$', FIRST_ROUTES),
            expected: serde_json::from_str(expected).ok()?,
        })
    }

    /// The template with the value at its place.
    fn set(&self, template: &Value) -> Value {
        let mut changed = template.clone();
        let (owner, field) = self.place.split_once('/').unwrap();
        let (parent, last) = field.rsplit_once('/').unwrap();
        let parent = format!("/Resources/{owner}/Properties/Spec/{parent}");
        changed.pointer_mut(&parent).unwrap_or_else(|| panic!("no {parent}"))[last] = self.value.clone();
        changed
    }

    /// What is at its place in the resource.
    fn found<'c>(&self, configurations: &'c [Value]) -> Option<&'c Value> {
        let at = NODES.iter().position(|node| *node == self.proxy)?;
        let mut all = configurations[at].as_object()?.values().filter_map(Value::as_array).flatten();
        all.find(|resource| resource["name"] == self.resource)?.pointer(&self.pointer)
    }
}

#[test]
fn every_field_becomes_what_it_should() {
    let template = template();
    let before = configurations(&template).unwrap();
    let lines = TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let rows: Vec<Row<'_>> =
        lines.map(|line| Row::parse(line).unwrap_or_else(|| panic!("no row: {line}"))).collect();
    assert!(rows.len() >= 100, "{} rows", rows.len());
    for row in &rows {
        let Row { place, expected, .. } = row;
        assert_ne!(row.found(&before), Some(expected), "{place}: as it is without");
        let after = configurations(&row.set(&template)).unwrap_or_else(|error| panic!("{place}: {error}"));
        assert_eq!(row.found(&after), Some(expected), "{place} = {}: {}", row.value, row.pointer);
    }
}
