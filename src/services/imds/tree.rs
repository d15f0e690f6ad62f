//! Builds the metadata tree: a directory reads as the list of its entries, a leaf as its value, and an empty entry does
//! not exist (EC2 guide, "Instance metadata categories").

use std::borrow::Cow;

/// Computes a leaf's octets when it is read.
type Value<'a> = Box<dyn Fn() -> Cow<'a, [u8]> + 'a>;

/// A node of the tree.
pub(super) enum Node<'a> {
    /// A value.
    Leaf(Value<'a>),
    /// A directory.
    Directory(Directory<'a>),
}

struct Entry<'a> {
    name: Cow<'a, str>,
    /// Its name in a listing, where that is not its name with a slash after directories.
    shown: Option<String>,
    node: Node<'a>,
}

/// Entries by name.
#[derive(Default)]
pub(super) struct Directory<'a> {
    entries: Vec<Entry<'a>>,
}

impl<'a> Directory<'a> {
    /// Adds a leaf.
    pub(super) fn text(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) -> &mut Self {
        let value = value.into();
        let octets = move || match &value {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.clone().into_bytes()),
        };
        self.leaf(name, octets)
    }

    /// Adds a leaf whose value is computed when it is read.
    pub(super) fn leaf(&mut self, name: impl Into<Cow<'a, str>>, value: impl Fn() -> Cow<'a, [u8]> + 'a) -> &mut Self {
        self.push(name.into(), None, Node::Leaf(Box::new(value)))
    }

    /// Adds a leaf if there is a value.
    pub(super) fn maybe(&mut self, name: &'a str, value: Option<impl Into<Cow<'a, str>>>) -> &mut Self {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }

    /// Adds a leaf with one line for each of `items`, if there are any.
    pub(super) fn lines<T: ToString>(&mut self, name: &'a str, items: &'a [T]) -> &mut Self {
        if items.is_empty() {
            return self;
        }
        self.leaf(name, || {
            let lines: Vec<String> = items.iter().map(ToString::to_string).collect();
            Cow::Owned(lines.join("\n").into_bytes())
        })
    }

    /// Adds a directory, unless it is empty.
    pub(super) fn directory(&mut self, name: impl Into<Cow<'a, str>>, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let mut directory = Self::default();
        fill(&mut directory);
        if directory.entries.is_empty() {
            return self;
        }
        self.push(name.into(), None, Node::Directory(directory))
    }

    /// Adds a directory that its parent's listing shows as `shown`.
    pub(super) fn directory_shown_as(
        &mut self,
        name: impl Into<Cow<'a, str>>,
        shown: String,
        fill: impl FnOnce(&mut Self),
    ) -> &mut Self {
        let mut directory = Self::default();
        fill(&mut directory);
        self.push(name.into(), Some(shown), Node::Directory(directory))
    }

    fn push(&mut self, name: Cow<'a, str>, shown: Option<String>, node: Node<'a>) -> &mut Self {
        self.entries.push(Entry { name, shown, node });
        self
    }

    /// The octets at a path: a leaf's value or a directory's listing.
    pub(super) fn read<'p>(&self, mut path: impl Iterator<Item = &'p str>) -> Option<Cow<'a, [u8]>> {
        let Some(name) = path.next() else {
            return Some(Cow::Owned(self.listing().into_bytes()));
        };
        match &self.entries.iter().find(|entry| entry.name == name)?.node {
            Node::Directory(directory) => directory.read(path),
            Node::Leaf(value) => path.next().is_none().then(value),
        }
    }

    fn listing(&self) -> String {
        let mut lines: Vec<String> = self.entries.iter().map(Entry::line).collect();
        lines.sort_unstable();
        lines.join("\n")
    }
}

impl Entry<'_> {
    fn line(&self) -> String {
        match (&self.shown, &self.node) {
            (Some(shown), _) => shown.clone(),
            (None, Node::Directory(_)) => format!("{}/", self.name),
            (None, Node::Leaf(_)) => self.name.clone().into_owned(),
        }
    }
}
