//! XML as a tree, read strictly: one root, every entity known, nothing left open.

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

/// Deepest nesting.
const DEEPEST: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    Text(String),
    Element(Element),
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) children: Vec<Node>,
}

fn broken(why: impl std::fmt::Display) -> String {
    why.to_string()
}

impl Element {
    /// The root of a document; the error says why there is none.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader::from_str(text);
        // What is open, the root's own place at the bottom.
        let mut open = vec![Self::default()];
        loop {
            let event = reader.read_event().map_err(broken)?;
            let top = open.last_mut().ok_or_else(|| broken("no root"))?;
            match event {
                Event::Start(start) => {
                    let element = Self::begin(&start)?;
                    if open.len() > DEEPEST {
                        return Err(broken("too deep"));
                    }
                    open.push(element);
                }
                Event::Empty(start) => {
                    let element = Self::begin(&start)?;
                    top.children.push(Node::Element(element));
                }
                // The reader has compared the names.
                Event::End(_) => {
                    let closed = open.pop().ok_or_else(|| broken("no root"))?;
                    let parent = open.last_mut().ok_or_else(|| broken("no root"))?;
                    parent.children.push(Node::Element(closed));
                }
                Event::Text(text) => top.text(&text.xml10_content().map_err(broken)?),
                Event::CData(text) => top.text(&text.xml10_content().map_err(broken)?),
                Event::GeneralRef(entity) => {
                    let name = entity.decode().map_err(broken)?;
                    let letter = match entity.resolve_char_ref().map_err(broken)? {
                        Some(letter) => letter.to_string(),
                        None => match name.as_ref() {
                            "amp" => "&",
                            "lt" => "<",
                            "gt" => ">",
                            "quot" => "\"",
                            "apos" => "'",
                            other => return Err(broken(format!("unknown entity {other}"))),
                        }
                        .to_owned(),
                    };
                    top.text(&letter);
                }
                Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
                Event::DocType(_) => return Err(broken("a document type is not allowed")),
                Event::Eof => break,
            }
        }
        let [place] = open.as_slice() else {
            return Err(broken("an element is not closed"));
        };
        let mut roots = place.children.iter().filter(|node| !node.is_blank());
        match (roots.next(), roots.next()) {
            (Some(Node::Element(root)), None) => Ok(root.clone()),
            _ => Err(broken("a document has one root element")),
        }
    }

    fn begin(start: &BytesStart<'_>) -> Result<Self, String> {
        let name = std::str::from_utf8(start.name().into_inner()).map_err(broken)?;
        let mut attributes = Vec::new();
        for attribute in start.attributes() {
            let attribute = attribute.map_err(broken)?;
            let key = std::str::from_utf8(attribute.key.into_inner()).map_err(broken)?;
            let value = attribute
                .normalized_value(XmlVersion::Implicit1_0)
                .map_err(broken)?;
            attributes.push((key.to_owned(), value.into_owned()));
        }
        Ok(Self {
            name: name.to_owned(),
            attributes,
            children: Vec::new(),
        })
    }

    /// Its text and that of everything in it.
    pub(crate) fn words(&self) -> String {
        let each = self.children.iter().map(|node| match node {
            Node::Text(text) => text.clone(),
            Node::Element(element) => element.words(),
        });
        each.collect()
    }

    /// Pieces of text that follow each other are one.
    fn text(&mut self, more: &str) {
        match self.children.last_mut() {
            Some(Node::Text(text)) => text.push_str(more),
            _ => self.children.push(Node::Text(more.to_owned())),
        }
    }
}

impl Node {
    pub(crate) fn is_blank(&self) -> bool {
        matches!(self, Self::Text(text) if text.trim().is_empty())
    }
}
