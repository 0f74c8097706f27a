//! Media type by a file's name.

use std::path::Path;

/// Kinds of file, by the beginning of their media type, that are not read: markup, another format's container, or no words at all.
const OTHER_KINDS: [&str; 22] = [
    "image/",
    "audio/",
    "video/",
    "font/",
    "model/",
    "text/html",
    "text/xml",
    "text/rtf",
    "text/vcard",
    "application/xml",
    "application/xhtml",
    "application/rtf",
    "application/pdf",
    "application/postscript",
    "application/epub",
    "application/msword",
    "application/vnd.ms-",
    "application/vnd.openxmlformats",
    "application/vnd.oasis",
    "application/zip",
    "application/wasm",
    "application/x-x509",
];

/// Media types outside `text/` that tell more of a text than `text/plain` would.
const TELLING: [&str; 7] = [
    "application/json",
    "application/x-ndjson",
    "application/toml",
    "application/yaml",
    "application/javascript",
    "application/sql",
    "application/x-sh",
];

/// What a name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    /// A text of this media type.
    Text(String),
    /// Another kind of file, of this media type.
    Other(String),
    /// Nothing, or of its media type nothing that decides.
    Unknown(Option<String>),
}

impl Named {
    pub(super) fn of(path: &Path) -> Self {
        match media_type(path) {
            Some(named) if is_other_kind(&named) => Self::Other(named),
            Some(named) if named.starts_with("text/") || TELLING.contains(&named.as_str()) => Self::Text(named),
            named => Self::Unknown(named),
        }
    }

    /// Returns the media type of a text of this name.
    pub(super) fn of_text(self) -> String {
        match self {
            Self::Text(named) => named,
            Self::Other(_) | Self::Unknown(_) => "text/plain".to_owned(),
        }
    }

    /// Returns the media type of bytes of this name that are no text, and show no kind themselves.
    pub(super) fn of_bytes(self) -> String {
        match self {
            Self::Other(named) | Self::Unknown(Some(named)) => named,
            Self::Text(_) | Self::Unknown(None) => "application/octet-stream".to_owned(),
        }
    }
}

fn media_type(path: &Path) -> Option<String> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    // The table knows `.ts` as video, `.mod` (of Go) likewise, and has no word for most of these. Those of Markdown are the names by
    // which GitHub, Pandoc, R, Quarto, Julia, MDX, Livebook and ikiwiki know it.
    match extension.as_str() {
        "md" | "markdown" | "mdown" | "mdwn" | "mdn" | "mdtxt" | "mdtext" | "mdx" | "mdc" | "mkd" | "mkdn" | "mkdown"
        | "markdn" | "livemd" | "rmd" | "rmarkdown" | "qmd" | "jmd" | "ronn" | "workbook" => Some("text/markdown".into()),
        "txt" | "text" | "log" | "rst" | "adoc" | "asciidoc" | "org" => Some("text/plain".into()),
        "ts" | "mts" | "cts" | "tsx" => Some("text/x-typescript".into()),
        _ => mime_guess::from_ext(&extension).first_raw().map(ToOwned::to_owned),
    }
}

fn is_other_kind(media_type: &str) -> bool {
    OTHER_KINDS.iter().any(|kind| media_type.starts_with(kind)) || media_type.ends_with("+xml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_a_text_another_kind_or_nothing() {
        let of = |name: &str| Named::of(Path::new(name));
        assert_eq!(of("a.CSV"), Named::Text("text/csv".into()));
        assert_eq!(of("a.json"), Named::Text("application/json".into()));
        assert_eq!(of("a.kml"), Named::Other("application/vnd.google-earth.kml+xml".into()));
        assert_eq!(of("a.docx").of_bytes(), "application/vnd.openxmlformats-officedocument.wordprocessingml.document");
        assert_eq!(of("a.tex"), Named::Unknown(Some("application/x-tex".into())));
        assert_eq!(of("LICENSE"), Named::Unknown(None));
        assert_eq!((of("a.docx").of_text(), of("LICENSE").of_bytes()), ("text/plain".into(), "application/octet-stream".into()));
    }

    #[test]
    fn markdown_is_known_by_all_its_usual_names() {
        for name in [
            "a.md",
            "A.MD",
            "a.markdown",
            "a.mdown",
            "a.mdwn",
            "a.mdtxt",
            "a.mdtext",
            "a.mdx",
            "a.mkd",
            "a.mkdn",
            "a.mkdown",
            "a.markdn",
            "a.livemd",
            "a.Rmd",
            "a.qmd",
            "a.Rmarkdown",
            "a.jmd",
            "a.ronn",
        ] {
            assert_eq!(Named::of(Path::new(name)), Named::Text("text/markdown".into()), "{name}");
        }
    }
}
