//! Writes answers as XML: elements in the order given, lists as `<item>`, text escaped.

use std::borrow::Cow;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesStart, BytesText, Event};

/// The content of an element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// Text.
    Text(String),
    /// Elements with names.
    Map(Vec<(&'static str, Self)>),
    /// `<item>` for each.
    List(Vec<Self>),
    /// Nothing: the element is left out.
    Absent,
}

impl Node {
    /// Text of anything that can be displayed.
    pub fn text(value: impl std::fmt::Display) -> Self {
        Self::Text(value.to_string())
    }

    /// Text, or nothing.
    pub fn maybe(value: Option<impl std::fmt::Display>) -> Self {
        value.map_or(Self::Absent, Self::text)
    }

    /// Elements with names, in order.
    pub fn map(members: impl IntoIterator<Item = (&'static str, Self)>) -> Self {
        Self::Map(members.into_iter().collect())
    }

    /// A list of nodes.
    pub fn list(items: impl IntoIterator<Item = Self>) -> Self {
        Self::List(items.into_iter().collect())
    }

    /// A list of texts.
    pub fn texts(items: impl IntoIterator<Item = impl std::fmt::Display>) -> Self {
        Self::list(items.into_iter().map(Self::text))
    }

    /// The members of a map; none for anything else.
    pub fn members(&self) -> &[(&'static str, Self)] {
        match self {
            Self::Map(members) => members,
            _ => &[],
        }
    }

    /// The member of a map.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let found = self.members().iter().find(|(given, _)| *given == name);
        found.map(|(_, node)| node)
    }

    /// The text of a text node.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The items of a list; none for anything else.
    pub fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }
}

/// A whole document with one root element.
pub(super) fn document(root: &str, namespace: Option<&str>, content: &Node) -> String {
    let mut writer = Writer::new(Vec::with_capacity(1024));
    let declaration = BytesDecl::new("1.0", Some("UTF-8"), None);
    // Writing to memory does not fail.
    let _ = writer.write_event(Event::Decl(declaration));
    writer.get_mut().push(b'\n');
    let mut start = BytesStart::new(root);
    if let Some(namespace) = namespace {
        start.push_attribute(("xmlns", namespace));
    }
    element(&mut writer, start, content);
    String::from_utf8_lossy(&writer.into_inner()).into_owned()
}

fn element(writer: &mut Writer<Vec<u8>>, start: BytesStart<'_>, node: &Node) {
    let end = start.to_end().into_owned();
    match node {
        Node::Absent => return,
        Node::Text(text) if text.is_empty() => {
            let _ = writer.write_event(Event::Empty(start));
            return;
        }
        Node::List(items) if items.is_empty() => {
            let _ = writer.write_event(Event::Empty(start));
            return;
        }
        _ => drop(writer.write_event(Event::Start(start))),
    }
    match node {
        Node::Absent => {}
        Node::Text(text) => drop(writer.write_event(Event::Text(BytesText::new(&printable(text))))),
        Node::Map(members) => {
            for (name, member) in members {
                element(writer, BytesStart::new(*name), member);
            }
        }
        Node::List(items) => {
            for item in items {
                element(writer, BytesStart::new("item"), item);
            }
        }
    }
    let _ = writer.write_event(Event::End(end));
}

/// XML 1.0 section 2.2 excludes most control characters, even escaped.
fn printable(text: &str) -> Cow<'_, str> {
    let allowed = |c: char| !c.is_control() || matches!(c, '\t' | '\n' | '\r');
    if text.chars().all(allowed) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if allowed(c) { c } else { '\u{fffd}' }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_lists_and_text_become_elements() {
        let node = Node::map([
            ("requestId", Node::text("r-1")),
            ("gone", Node::Absent),
            ("empty", Node::List(Vec::new())),
            (
                "tagSet",
                Node::list([Node::map([
                    ("key", Node::text("a&b")),
                    ("value", Node::text("<\u{1}>")),
                ])]),
            ),
            ("flag", Node::text(true)),
        ]);
        assert_eq!(
            document("R", Some("urn:x"), &node),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<R xmlns=\"urn:x\"><requestId>r-1</requestId><empty/><tagSet><item>\
             <key>a&amp;b</key><value>&lt;\u{fffd}&gt;</value></item></tagSet><flag>true</flag></R>"
        );
    }
}
