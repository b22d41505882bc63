//! Dense identifiers. Names become small integers when configuration is compiled, so a request
//! follows array indexes instead of hashing strings. An id is never reused while the process lives.

use std::collections::HashMap;
use std::sync::Arc;

/// Declares one id type and nothing else.
macro_rules! dense_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u32);

        impl $name {
            /// Position in the snapshot's table of this kind.
            #[inline]
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl From<$name> for usize {
            fn from(id: $name) -> Self {
                id.index()
            }
        }

        impl From<u32> for $name {
            fn from(value: u32) -> Self {
                Self(value)
            }
        }
    };
}

dense_id!(
    /// Index of a cluster in [`crate::config::Snapshot::clusters`].
    ClusterId
);
dense_id!(
    /// Index of a listener in [`crate::config::Snapshot::listeners`].
    ListenerId
);
dense_id!(
    /// Index of a route table in [`crate::config::Snapshot::route_tables`].
    RouteTableId
);

dense_id!(
    /// The name of an HTTP filter, by which routes refer to it.
    FilterId
);

/// Gives every name of one kind its dense id. Owned by the snapshot compiler.
///
/// Ids grow only: a removed cluster leaves an empty slot, so an id held by a long-lived
/// stream can never come to mean another cluster.
#[derive(Debug)]
pub struct Interner<Id> {
    ids: HashMap<Arc<str>, Id>,
    names: Vec<Arc<str>>,
}

impl<Id> Default for Interner<Id> {
    fn default() -> Self {
        Self { ids: HashMap::new(), names: Vec::new() }
    }
}

impl<Id: Copy + From<u32>> Interner<Id> {
    /// The id of `name`, created at first sight.
    pub fn intern(&mut self, name: &str) -> Id {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let name: Arc<str> = name.into();
        let id = Id::from(self.names.len() as u32);
        self.names.push(name.clone());
        self.ids.insert(name, id);
        id
    }

    /// The id of `name` if it was ever interned.
    pub fn get(&self, name: &str) -> Option<Id> {
        self.ids.get(name).copied()
    }

    /// The name that got this id.
    pub fn name(&self, id: Id) -> Option<&str>
    where
        Id: Into<usize>,
    {
        self.names.get(id.into()).map(|name| &**name)
    }

    /// Number of ids handed out: the length that an indexed table needs.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// True before the first name.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}
