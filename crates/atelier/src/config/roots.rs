//! `[[volumes.roots]]`: the folders of this machine that notebooks can have as dedicated volumes.

use std::path::{Path, PathBuf};

use atelier_core::volume::MAX_URI_CHARS;
use atelier_runtime::Root;

use super::kinds;
use super::reader::Reader;
use super::tables::{Fields, List};

const ROOTS: List = List { name: "volumes.roots", item: "root", keys: &["uri", "path"] };

/// None of them may hold, or lie in, one of the folders `ours`: whoever has a notebook there could read and write everything of
/// everybody. A root is where its path leads now, whatever somebody makes of that later.
pub(super) fn read(reader: &mut Reader, ours: &[&Path]) -> Vec<Root> {
    let ours: Vec<_> = ours.iter().map(|folder| real(folder)).collect();
    ROOTS.read(reader, |fields| root(fields, &ours), |root| root.uri.as_str()).unwrap_or_default()
}

fn root(fields: &mut Fields<'_>, ours: &[PathBuf]) -> Option<Root> {
    let wanted = format!("`host:/path` without `.` and `..`, at most {MAX_URI_CHARS} characters long");
    let uri = fields.take("uri", &wanted, kinds::parsed);
    let path = fields.take("path", "an absolute path", kinds::path)?;
    if !path.is_dir() {
        let path = path.display();
        fields.refuse("path", format!("`path` of a root must be a folder that is there, not `{path}`"));
    }
    let found = real(&path);
    if let Some(folder) = ours.iter().find(|ours| found.starts_with(ours) || ours.starts_with(&found)) {
        let (path, folder) = (path.display(), folder.display());
        fields.refuse("path", format!("`path` of a root must neither hold `{folder}` nor lie in it, as `{path}` does"));
    }
    Some(Root { uri: uri?, path: found })
}

/// Where a path leads, as far as it is there.
fn real(path: &Path) -> PathBuf {
    let known = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    known.map_or_else(|| path.to_owned(), |(above, real)| real.join(path.strip_prefix(above).unwrap_or(path)))
}
